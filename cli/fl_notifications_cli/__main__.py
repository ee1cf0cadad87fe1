"""Starts the commands. Where the extra that a command needs is missing, says which it is."""

import re
import sys
from importlib.metadata import requires

_DISTRIBUTIONS = {"yaml": "pyyaml"}
"""Modules whose distribution has another name."""


def main() -> None:
    """Run the command that the arguments name; exits with 1 if something has to be installed."""
    try:
        from fl_notifications_cli.main import main as run  # noqa: PLC0415 - may be missing Typer

        run()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing.startswith("fl_notifications"):
            raise
        print(
            f"error: {missing} is not installed; this brings it:\n"
            f'  pip install "fl-notifications[{_extra_with(missing)}]"',
            file=sys.stderr,
        )
        sys.exit(1)


def _extra_with(module: str) -> str:
    """The extra that brings a module; that of the commands if none says so."""
    name = _DISTRIBUTIONS.get(module, module.replace("_", "-"))
    for requirement in requires("fl-notifications") or ():
        found = re.fullmatch(r"([A-Za-z0-9._-]+).*extra == ['\"]([a-z]+)['\"].*", requirement)
        if found is not None and found[1].lower() == name:
            return found[2]
    return "cli"


if __name__ == "__main__":
    main()
