"""What `import fl_notifications` offers, and what it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fl_notifications

SOURCE = Path(fl_notifications.__file__)


def test_the_names_for_people_and_for_type_checkers_are_the_same_and_in_order() -> None:
    checked, *_ = (each for each in ast.parse(SOURCE.read_text()).body if isinstance(each, ast.If))
    imported = {
        (f"{each.module}".removeprefix("fl_notifications."), name.name)
        for each in checked.body
        if isinstance(each, ast.ImportFrom)
        for name in each.names
    }
    places = fl_notifications._PLACES.items()
    assert imported == {(place, name) for place, names in places for name in names.split()}
    assert {name for _, name in imported} == set(fl_notifications.__all__)
    assert dir(fl_notifications) == sorted(fl_notifications.__all__)


@pytest.mark.parametrize("name", fl_notifications.__all__)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(fl_notifications, name).__doc__


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        fl_notifications.Nonsense  # type: ignore[attr-defined] # noqa: B018


def test_the_import_alone_loads_nothing_else() -> None:
    """Every cold start of a function pays for it."""
    program = (
        "import sys; before = set(sys.modules); import fl_notifications;"
        "print(*sorted({each.partition('.')[0] for each in set(sys.modules) - before}))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=SOURCE.parent.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert not set(said.split()) & {"boto3", "botocore", "pydantic", "standardwebhooks", "json"}
