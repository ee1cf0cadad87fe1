"""How several processes share out the tests (`make test` starts them)."""

import re
from typing import Any, Final

import pytest

_TOGETHER: Final = ("tests/e2e/", "tests/browser/")
"""Their tests share a stack, or a browser: one process runs them all, early, beside the others."""
_BY_FILE: Final = ("tests/unit/", "tests/aws/")
"""Their tests are so short that handing out each would take as long."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out one test at a time to whichever process is free, but for those above."""
    from xdist.scheduler import (  # type: ignore[import-untyped] # noqa: PLC0415 - is there now
        LoadScopeScheduling,
    )

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # likewise without types
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(_BY_FILE):
                return nodeid.partition("::")[0]
            return next((each for each in _TOGETHER if nodeid.startswith(each)), nodeid)

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # All processes must find the tests in the same order, and parameters may come from a set.
    items.sort(key=lambda item: (item.path, item.location[1] or 0, item.nodeid))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    # Likewise: a time may be a moment later in the next process.
    is_time = isinstance(val, str) and re.search(r"\d\d:\d\d:\d\d", val)
    return argname if is_time else None
