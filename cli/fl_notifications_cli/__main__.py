"""Starts the commands. Where what they need is missing, says how to install it."""

import sys


def main() -> None:
    """Run the command that the arguments name; exits with 1 if something has to be installed."""
    try:
        from fl_notifications_cli.main import main as run  # noqa: PLC0415 - Typer may be missing

        run()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing.startswith("fl_notifications"):
            raise
        print(
            f"error: the commands need more than the library ({missing} is not installed):\n"
            '  pip install "fl-notifications[cli]"',
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
