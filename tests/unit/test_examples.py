"""What the README tells people to type is what the examples do, which the end-to-end tests run."""

import re
from pathlib import Path

from fl_notifications_cli.local.tools import PROJECT

README = (PROJECT / "README.md").read_text()


def commands(text: str) -> list[str]:
    """The calls of the console script, in order."""
    found = re.findall(r"^(?:until )?((?:T=\$\()?fl-notifications [^;#\n]*)", text, re.MULTILINE)
    return [each.strip() for each in found]


def test_the_first_success_in_the_readme_is_the_example_that_is_run() -> None:
    section = README.split("## A first success")[1].split("**A receiver of your own**")[0]
    shown = commands("".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL)))
    script = (PROJECT / "examples" / "hello" / "hello.sh").read_text()
    run = commands(re.sub(r"\"| --port .*", "", script.replace("$PORT", "8900")))

    assert shown == run
    assert 4 <= len(shown) <= 10


def test_every_example_is_named_in_the_list_and_every_link_leads_somewhere() -> None:
    examples = PROJECT / "examples"
    text = (examples / "README.md").read_text()
    folders = {path.name for path in examples.iterdir() if path.is_dir()} - {"__pycache__"}

    linked = {Path(target) for target in re.findall(r"\]\(([^)]+)\)", text)}

    assert {path.name for path in linked} == folders
    assert all((examples / path).is_dir() for path in linked)
