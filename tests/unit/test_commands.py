"""The commands that read a stack, and what all commands have: help, version, hints at typos."""

import json
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from fl_notifications_cli import main, outputs, trainings
from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.stack import Stack
from fl_notifications_cli.tracing.terminal import since
from tests.trace_lines import receiver_uuid

OUTPUTS = {
    "TrainingsTable": "the table",
    "DeliveriesQueueUrl": "http://127.0.0.1:4566/0/deliveries.fifo",
    "OutcomesBus": "bus",
}

type Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the console script: exit status, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fl-notifications", *arguments])
        code: object = 0
        try:
            main.main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        assert code is None or isinstance(code, int)
        return code or 0, said.out, said.err

    return call


def test_the_version_is_that_of_the_package(run: Run) -> None:
    code, out, _ = run("--version")

    assert code == 0
    assert out.startswith("fl-notifications 0.")


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", [[], *([name] for name in main.COMMANDS)])
def test_every_command_has_help_that_fits_80_columns(
    run: Run, command: list[str], option: str
) -> None:
    code, out, _ = run(*command, option)

    assert code == 0
    assert "Usage: fl-notifications" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_help_groups_the_commands_each_in_one_group(run: Run) -> None:
    _, out, _ = run("--help")

    assert sorted(name for names in main.PANELS.values() for name in names) == sorted(main.COMMANDS)
    assert [panel for panel in main.PANELS if f"─ {panel} ─" not in out] == []


def test_help_is_in_paragraphs(run: Run) -> None:
    """Lines are broken by the width, not where the docstring breaks them."""
    _, out, _ = run("trace", "--help")

    assert "\n Reads the stack's log and shows a table for each receiver, in the order of" in out
    assert "\n time and with what failed in red, and a summary." in out


@pytest.mark.parametrize("command", [[], *([name] for name in main.COMMANDS), ["training", "fail"]])
def test_no_help_shows_what_only_a_programmer_knows(run: Run, command: list[str]) -> None:
    _, out, _ = run(*command, "--help")

    assert not re.findall(r"<bool>|<int range>|\[\[|\{[a-z_]+\}", out)


@pytest.mark.usefixtures("local")
def test_an_error_breaks_no_word_on_a_terminal_and_no_line_in_a_file(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "no training 00000000-0000-4000-8000-000000000000: see to the uuid\nor 'trainings'"

    def refuse(*_: object) -> None:
        raise CommandError(message)

    monkeypatch.setattr(outputs, "variables", refuse)

    assert run("outputs", "--export") == (1, "", f"error: {message}\n")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    code, _, err = run("outputs", "--export")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", err).splitlines()
    assert code == 1
    assert " ".join(line.strip() for line in lines) == f"error: {message}".replace("\n", " ")
    assert max(map(len, lines)) <= 60


def test_a_typo_is_answered_with_what_was_meant(run: Run) -> None:
    code, _, err = run("stauts")

    assert code == 2
    assert "Did you mean 'status'" in err


@pytest.mark.usefixtures("local")
def test_a_stack_that_dies_is_said_without_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    monkeypatch.setattr(outputs, "variables", die)

    code, out, err = run("outputs", "--export")

    assert code == 1
    assert out == ""
    assert err.startswith("error: the stack does not answer any more")
    assert "Traceback" not in err


class FakeTable:
    """A trainings table; it has two participants for each training."""

    def __init__(self, *items: dict[str, Any]) -> None:
        self.items = items

    def scan(self, **_request: Any) -> dict[str, Any]:
        return {"Items": list(self.items)}

    def get_paginator(self, _operation: str) -> "FakeTable":
        return self

    def paginate(self, **_request: Any) -> list[dict[str, Any]]:
        return [{"Count": 2}]


def item(number: int, state: str, last_update: str | None = None) -> dict[str, Any]:
    made = {
        "training_uuid": {"S": receiver_uuid(number)},
        "state": {"S": state},
        "round": {"N": str(number)},
    }
    return made if last_update is None else made | {"last_update": {"S": last_update}}


NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Stack:
    table = FakeTable(
        item(1, "COMPLETED", "2026-02-01T00:00:00+00:00"),
        item(2, "ONGOING", "2026-03-01T02:00:00+00:00"),
        item(3, "ONGOING", "2026-03-01T02:59:00+00:00"),
        item(4, "ERROR", "yesterday"),
        item(5, "FINISHING"),
    )
    stack = Stack("fl", "eu-central-1", "http://127.0.0.1:4566", OUTPUTS, {"dynamodb": table})
    for module in (outputs, trainings):
        monkeypatch.setattr(module, "find_stack", lambda *_args, **_options: stack)
    return stack


@pytest.mark.usefixtures("local")
def test_trainings_are_listed_by_state_the_latest_first(run: Run) -> None:
    _, out, _ = run("trainings")
    _, said, _ = run("trainings", "--json")
    rows = [(row["training_uuid"], row["state"]) for row in json.loads(said)]

    assert rows == [
        (receiver_uuid(5), "FINISHING"),
        (receiver_uuid(3), "ONGOING"),
        (receiver_uuid(2), "ONGOING"),
        (receiver_uuid(4), "ERROR"),
        (receiver_uuid(1), "COMPLETED"),
    ]
    assert "5 trainings in stack fl: 1 FINISHING, 2 ONGOING, 1 ERROR, 1 COMPLETED\n" in out
    assert [uuid for uuid, _ in rows] == [row.split()[0] for row in out.splitlines()[2:-1]]
    assert out.splitlines()[-1].startswith("FINISHING: no such state, so nobody is told; fl-")


@pytest.mark.usefixtures("local")
def test_trainings_of_one_state_can_be_asked_for_and_the_rest_is_counted(run: Run) -> None:
    _, out, _ = run("trainings", "--state", "ongoing", "--limit", "1")

    assert receiver_uuid(3) in out
    assert receiver_uuid(2) not in out
    assert "… and 1 more" in out


def test_the_age_is_since_the_last_update(local: Stack) -> None:
    listed = trainings.read(local, None, 9)

    ages = {row.round: since(row.last_update, NOW) for row, _ in listed.rows}

    assert ages == {5: "–", 4: "–", 3: "60 s", 2: "60 min", 1: "28 d"}  # noqa: RUF001  # a dash


@pytest.mark.usefixtures("local")
def test_outputs_as_shell_hold_all_that_a_program_needs(run: Run) -> None:
    _, out, _ = run("outputs", "--export")

    said = dict(
        shlex.split(line)[1].split("=", 1) for line in out.splitlines() if line.startswith("export")
    )
    assert said == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_REGION": "eu-central-1",
        "TRAININGS_TABLE": "the table",
        "DELIVERIES_QUEUE_URL": OUTPUTS["DeliveriesQueueUrl"],
        "OUTCOMES_BUS": "bus",
    }


def test_no_key_is_exported_for_a_stack_on_aws() -> None:
    aws = Stack("fl", "eu-central-1", None, OUTPUTS)

    assert not [name for name, _ in outputs.variables(aws) if "KEY" in name or "ENDPOINT" in name]


@pytest.mark.usefixtures("local")
def test_outputs_are_printed_one_per_line(run: Run) -> None:
    _, out, _ = run("outputs")

    assert [line.split()[0] for line in out.splitlines()] == sorted(OUTPUTS)
    assert json.loads(run("outputs", "--json")[1]) == OUTPUTS
