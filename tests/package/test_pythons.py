"""The library's own unit tests on the other Pythons that it runs on."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cloudformation import ROOT
from tests.package.kit import Environment, locked, run

UNIT: Final = Path("tests") / "unit"
LIBRARY: Final = {"fl_notifications", "boto3", "botocore", "httpx", "pydantic", "standardwebhooks"}
TOOLS: Final = {"AntiSSRF", "hypothesis", "pytest"}
"""In the dependency group `library-tests`."""
IN_LAMBDA_ALONE: Final = "fl_notifications.telemetry"


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{node.module}"


def is_about_the_library_alone(path: Path) -> bool:
    found = {each for each in imports(path) if each != "tests.made"}
    tops = {each.partition(".")[0] for each in found} - sys.stdlib_module_names
    return (
        "fl_notifications" in tops
        and tops <= LIBRARY | TOOLS
        and not any(each.startswith(IN_LAMBDA_ALONE) for each in found)
    )


@pytest.mark.parametrize("version", ["3.12", "3.14"])
def test_the_library_runs_on(version: str, wheel: Path, tmp_path: Path) -> None:
    environment = Environment.make(tmp_path / "venv", version)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(locked("--no-dev", "--extra", "receiver", "--group", "library-tests"))
    environment.install("--requirement", requirements)
    environment.install("--no-deps", wheel)
    files = sorted(
        each for each in (ROOT / UNIT).glob("test_*.py") if is_about_the_library_alone(each)
    )
    assert len(files) > 10
    # The installed library, not that of the checkout.
    options = ("-q", "-p", "no:cacheprovider", "-o", "pythonpath=.")
    run(environment.python, "-m", "pytest", *options, *files, cwd=ROOT)
