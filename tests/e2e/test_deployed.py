"""What is deployed, wherever that is."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fl_notifications_cli.overview import look
from fl_notifications_cli.stack import STACK_FILE, STACK_VARIABLE, Stack
from tests.cloudformation import observability
from tests.e2e.pipeline.kit import eventually

OUTPUTS = {
    "TrainingsTable",
    "LedgerTable",
    "WaitingTable",
    "MailboxUrl",
    "DeliveriesQueueUrl",
    "DeliveriesDlqUrl",
    "FanOutsQueueUrl",
    "FanOutsDlqUrl",
    "StreamDlqUrl",
    "CallbacksDlqUrl",
    "OutcomesBus",
    "SigningSecretArn",
    "LogGroup",
}


def test_others_are_told_what_they_need_to_know(stack: Stack) -> None:
    assert set(stack.outputs) == OUTPUTS


def test_the_nested_stack_is_deployed_with_all_its_alarms_and_the_dashboard(stack: Stack) -> None:
    written = observability()["Resources"].values()
    count = sum(each["Type"] == "AWS::CloudWatch::Alarm" for each in written)
    assert look(stack, datetime.now(UTC)).alarm_count == count
    name = f"{stack.name}-{stack.region}"
    dashboards = stack.client("cloudwatch").list_dashboards(DashboardNamePrefix=name)
    assert [each["DashboardName"] for each in dashboards["DashboardEntries"]] == [name]


def test_the_commands_find_it_and_say_what_was_told(
    stack: Stack, request: pytest.FixtureRequest
) -> None:
    """By its name, or the local one by its description."""
    named, environment = ["--stack-name", stack.name], dict(os.environ)
    if stack.local:
        directory: Path = request.getfixturevalue("local_stack").directory
        named, environment[STACK_VARIABLE] = [], str(directory / STACK_FILE.name)

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [Path(sys.executable).parent / "fl-notifications", *arguments, *named],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout.strip()

    training = run("training", "create", "--participant", f"{uuid4()}=mailbox:")
    run("training", "start", training)

    def told() -> list[str]:
        steps: list[dict[str, Any]] = json.loads(run("trace", training, "--json"))
        return [each["notification_type"] for each in steps if each["step"] == "deposited"]

    eventually(told, lambda types: types == ["TRAINING_START", "UPDATE_ROUND_START"], "the trace")
    assert json.loads(run("status", "--json"))["trainings"]["states"]["ONGOING"] >= 1
