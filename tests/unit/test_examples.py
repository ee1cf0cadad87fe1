"""What the README tells people to type is what the examples do, which the end-to-end tests run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


SYSTEMD_ANALYZE = shutil.which("systemd-analyze")


@pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="there is no systemd here")
def test_systemd_has_no_complaint_about_the_bridges_unit(tmp_path: Path) -> None:
    given = PROJECT / "examples" / "mailbox_bridge" / "fl-mailbox-bridge.service"
    unit = tmp_path / given.name
    command = "/opt/fl-notifications/bin/fl-notifications"
    assert given.read_text().count(f"ExecStart={command} ") == 1
    # It looks whether the program is there.
    unit.write_text(
        given.read_text().replace(f"ExecStart={command} ", f"ExecStart={sys.executable} ")
    )

    verify = [SYSTEMD_ANALYZE or "", "verify", "--man=no", str(unit)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
