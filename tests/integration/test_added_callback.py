"""A callback, added by docs/callbacks.md: the rules accept it, and say what it lacks."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent

import pytest

from tests.cloudformation import ROOT

RULES = ["tests/unit/test_template.py", "tests/unit/test_layout.py"]
ALARMS = ("Errors", "Throttles", "Lost", "RuleLost")


def renamed(text: str) -> str:
    for old, new in (
        ("callback_success", "keep_rejection"),
        ("callback-success", "keep-rejection"),
        ("CallbackSuccess", "KeepRejection"),
    ):
        text = text.replace(old, new)
    return text


def put_after(path: Path, line: str, added: str) -> None:
    text = path.read_text()
    assert text.count(f"\n{line}\n") == 1
    path.write_text(text.replace(f"\n{line}\n", f"\n{line}\n{added}\n"))


@pytest.fixture
def fork(tmp_path: Path) -> Path:
    """A checkout with the callback, as the guide says it."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("functions", "shared", "cli", "tests", "benchmarks", "events"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    own = tmp_path / "functions" / "keep_rejection"
    shutil.copytree(ROOT / "functions" / "callback_success", own, ignore=ignored)
    for path in own.glob("*.py"):
        path.write_text(renamed(path.read_text()))
    template, observability = tmp_path / "template.yaml", tmp_path / "observability.yaml"
    (block,) = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / "callbacks.md").read_text(), re.DOTALL
    )
    # Behind the anchors that it refers to.
    added = indent(dedent(block), "  ")
    template.write_text(
        template.read_text().replace("\n  Observability:\n", f"\n{added}\n  Observability:\n")
    )
    handed = "        CallbackFailure: !Ref CallbackFailure"
    put_after(template, handed, renamed(handed.replace("Failure", "Success")))
    asked = "  CallbackSuccess: { Type: String, Description: A function. }"
    put_after(observability, asked, renamed(asked))
    text = observability.read_text()
    for kind in ALARMS:
        (alarm,) = re.findall(rf"^  CallbackSuccess{kind}Alarm:\n(?:    .*\n)+", text, re.MULTILINE)
        put_after(observability, "Resources:", renamed(alarm))
    return tmp_path


def judged(fork: Path) -> "subprocess.CompletedProcess[str]":
    """Have the rules look at a checkout."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *RULES],
        cwd=fork,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_callback_that_is_added_by_the_guide_breaks_no_rule(fork: Path) -> None:
    done = judged(fork)

    assert done.returncode == 0, done.stdout[-4000:]


def test_what_an_added_callback_lacks_is_said(fork: Path) -> None:
    template, observability = fork / "template.yaml", fork / "observability.yaml"
    head, own = template.read_text().split("\n  KeepRejection:\n")
    for line in (
        "      MemorySize: 256\n",
        "            RetryPolicy: *RuleRetries\n",
        "        - *LogsAndTraces\n",
    ):
        assert line in own
        own = own.replace(line, "", 1)
    template.write_text(f"{head}\n  KeepRejection:\n{own}")
    text = observability.read_text()
    observability.write_text(text.replace("KeepRejectionErrorsAlarm", "SomeAlarm"))
    (fork / "functions" / "keep_rejection" / "settings.py").unlink()

    said = judged(fork).stdout

    for needed in (
        "KeepRejection: say MemorySize",
        "the target of KeepRejection needs RetryPolicy: *RuleRetries",
        "KeepRejectionRole needs *LogsAndTraces",
        "observability.yaml needs the alarm KeepRejectionErrorsAlarm",
        "functions.keep_rejection.settings is missing",
    ):
        assert needed in said
    assert "KeyError" not in said  # which says nothing to who has added something
