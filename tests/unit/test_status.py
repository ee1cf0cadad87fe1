"""`status`: what it asks a stack, and what it shows of the answers."""

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from fl_notifications.trainings.model import TrainingState
from fl_notifications_cli import overview as asked
from fl_notifications_cli.overview import QUEUES, Overview, look
from fl_notifications_cli.stack import Stack
from fl_notifications_cli.status import as_dict, render
from tests.trace_lines import TRAINING, line, receiver_uuid

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
OUTPUTS = {
    **{output: f"https://sqs.example/0/{output.removesuffix('Url')}" for output in QUEUES},
    "TrainingsTable": "trainings",
    "LogGroup": "/group",
}


def refused(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, operation)


class FakeAws:
    """All services in one: answers by operation; an exception is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "get_queue_attributes": {"Attributes": depth()},
            "get_metric_data": {"MetricDataResults": []},
            "list_stack_resources": [{"StackResourceSummaries": []}],
            "describe_alarms": {"MetricAlarms": []},
            "scan": {"Items": []},
            "query": [{"Count": 0}],
            "filter_log_events": {"events": []},
            **answers,
        }
        self.requests: list[tuple[str, Mapping[str, Any]]] = []

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> Any:
            self.requests.append((operation, request))
            answer = self.answers[operation]
            answer = answer(request) if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    def get_paginator(self, operation: str) -> "FakeAws._Paginator":
        return FakeAws._Paginator(self, operation)

    class _Paginator:
        def __init__(self, aws: "FakeAws", operation: str) -> None:
            self._aws, self._operation = aws, operation

        def paginate(self, **request: Any) -> Any:
            yield from getattr(self._aws, self._operation)(**request)


def depth(waiting: int = 0, in_flight: int = 0, delayed: int = 0) -> dict[str, str]:
    return {
        "ApproximateNumberOfMessages": str(waiting),
        "ApproximateNumberOfMessagesNotVisible": str(in_flight),
        "ApproximateNumberOfMessagesDelayed": str(delayed),
    }


def stack(aws: FakeAws, outputs: Mapping[str, str] = OUTPUTS) -> Stack:
    services = ("sqs", "cloudwatch", "cloudformation", "dynamodb", "logs")
    return Stack("fl", "eu-central-1", None, outputs, dict.fromkeys(services, aws))


def shown(aws: FakeAws, *, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(render(stack(aws), look(stack(aws), NOW)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def concluded(ago: timedelta, outcome: str, **fields: Any) -> dict[str, Any]:
    at = NOW - ago
    fields = {"receiver_uuid": receiver_uuid(1), "notification_type": "TRAINING_START", **fields}
    return {
        "eventId": f"{at} {outcome}",
        "timestamp": int(at.timestamp() * 1000),
        "message": line(at, "concluded", outcome=outcome, **fields),
    }


def log(*events: dict[str, Any]) -> Any:
    def answer(request: Mapping[str, Any]) -> dict[str, Any]:
        end = request.get("endTime", float("inf"))
        inside = [e for e in events if request["startTime"] <= e["timestamp"] <= end]
        return {"events": sorted(inside, key=lambda event: int(event["timestamp"]))}

    return answer


def training(uuid: str, state: str, number: int) -> dict[str, Any]:
    return {"training_uuid": {"S": uuid}, "state": {"S": state}, "round": {"N": str(number)}}


def test_a_quiet_stack_is_one_screen_without_dashes_but_for_ages() -> None:
    text = shown(FakeAws(list_stack_resources=alarms("a", "b")))

    assert len(text.splitlines()) < 24
    assert "alarms   none of 2 ringing" in text
    assert "0 trainings running" in text
    assert text.count("\N{EN DASH}") == len(QUEUES)


def test_queues_are_shown_with_depth_and_age() -> None:
    aws = FakeAws(
        get_queue_attributes={"Attributes": depth(1200, 34, 5)},
        get_metric_data={"MetricDataResults": [{"Id": "q0", "Values": [125.0, 60.0]}]},
    )

    said = look(stack(aws), NOW).queues
    assert (said[0].waiting, said[0].in_flight, said[0].delayed) == (1200, 34, 5)
    assert [queue.oldest_seconds for queue in said] == [125.0, None, None, None, None]
    assert "1,200" in shown(aws)
    assert "2 min 05 s" in shown(aws)


def alarms(*names: str) -> list[dict[str, Any]]:
    return [
        {
            "StackResourceSummaries": [
                {"ResourceType": "AWS::CloudWatch::Alarm", "PhysicalResourceId": name}
                for name in names
            ]
            + [{"ResourceType": "AWS::SQS::Queue", "PhysicalResourceId": "q"}]
        }
    ]


def test_the_alarms_of_this_stack_that_ring_are_named() -> None:
    aws = FakeAws(
        list_stack_resources=alarms("fl-Dead", "fl-Old"),
        describe_alarms={
            "MetricAlarms": [
                {"AlarmName": "fl-Dead", "StateReason": "1 > 0", "StateUpdatedTimestamp": NOW}
            ]
        },
    )

    text = shown(aws)

    assert "1 of 2 ringing" in text
    assert "fl-Dead since 2026-03-01 03:00: 1 > 0" in text
    [request] = [r for operation, r in aws.requests if operation == "describe_alarms"]
    assert request["AlarmNames"] == ["fl-Dead", "fl-Old"]


def test_the_alarms_of_the_nested_stack_are_found() -> None:
    nested = {"ResourceType": "AWS::CloudFormation::Stack", "PhysicalResourceId": "nested"}

    def pages(request: Mapping[str, Any]) -> list[dict[str, Any]]:
        if request["StackName"] == "nested":
            return alarms("fl-Dead", "fl-Old")
        return [{"StackResourceSummaries": [nested]}]

    assert "none of 2 ringing" in shown(FakeAws(list_stack_resources=pages))


def test_running_trainings_are_shown_with_their_participants() -> None:
    aws = FakeAws(
        scan={
            "Items": [
                training("t-1", "ONGOING", 3),
                training("t-2", "MODEL_TEST", 4),
                training("t-3", "COMPLETED", 9),
            ]
        },
        query=[{"Count": 700}, {"Count": 12}],
    )

    said = look(stack(aws), NOW).trainings

    assert said is not None
    assert [(t.training_uuid, t.state, t.round, t.participants) for t in said.running] == [
        ("t-1", "ONGOING", 3, 712),
        ("t-2", "MODEL_TEST", 4, 712),
    ]
    assert said.states == {"ONGOING": 1, "MODEL_TEST": 1, "COMPLETED": 1}
    assert "2 trainings running   in the table: 1 ONGOING, 1 MODEL_TEST, 1 COMPLETED\n" in shown(
        aws
    )


def test_dead_letters_lead_to_the_command_that_lists_them() -> None:
    hint = "What is dead, and why: fl-notifications dead-letters\n"

    assert hint not in shown(FakeAws())
    assert hint in shown(FakeAws(get_queue_attributes={"Attributes": depth(1)}))


def test_counts_stay_together_where_a_line_ends() -> None:
    """No number in one line, and what it counts in the next."""
    aws = FakeAws(
        scan={"Items": [training(str(n), state, 1) for n, state in enumerate(TrainingState)]},
        filter_log_events=log(
            *(
                concluded(timedelta(seconds=n), outcome)
                for n, outcome in enumerate(("failed", "rejected", "superseded", "accepted"))
            )
        ),
    )

    assert (
        "3 trainings running   in the table: 1 ONGOING, 1 SWAG_ROUND, 1 MODEL_TEST,\n"
        "  1 INITIAL, 1 ERROR, 1 COMPLETED\n"
    ) in shown(aws, width=80)
    assert (
        "Outcomes of the last 15 minutes: ✗ 1 failed, ✗ 1 rejected, - 1 superseded,\n"
        "  ✓ 1 accepted\n"
    ) in shown(aws, width=80)


def test_a_large_table_is_not_read_to_its_end() -> None:
    aws = FakeAws(
        scan=lambda _request: {
            "Items": [training("t", "COMPLETED", 1)],
            "LastEvaluatedKey": {"training_uuid": {"S": "t"}},
        }
    )

    said = look(stack(aws), NOW).trainings

    assert said is not None
    assert not said.complete
    assert sum(operation == "scan" for operation, _ in aws.requests) <= 21


def test_participants_are_counted_up_to_a_limit() -> None:
    aws = FakeAws(
        scan={"Items": [training("t", "ONGOING", 1)]},
        query=[{"Count": 10, "LastEvaluatedKey": {}}] * 50,
    )

    assert "≥ 50" in shown(aws)


def test_recent_outcomes_are_counted_and_told_by_training_alike_ones_together() -> None:
    rejected = {"status_code": 400, "reason": "answered 400", "round": 1}
    aws = FakeAws(
        filter_log_events=log(
            *(concluded(timedelta(seconds=n), "accepted") for n in range(60, 71)),
            *(concluded(timedelta(seconds=n), "rejected", **rejected) for n in range(111)),
            concluded(timedelta(seconds=5), "failed", reason="timeout"),
        )
    )

    said = look(stack(aws), NOW).outcomes

    assert said is not None
    assert said.recent == {"accepted": 11, "failed": 1, "rejected": 111}
    assert said.complete
    assert [(group.number, group.outcome, group.why) for group in said.groups] == [
        (1, "failed", "timeout"),
        (111, "rejected", "HTTP 400"),
        (11, "accepted", ""),
    ]
    assert said.groups[1].last.at == NOW
    for width in (80, 160):
        assert f"training {TRAINING}\n" in shown(aws, width=width)
        assert "✗ rejected  03:00:00  TRAINING_START 1: HTTP 400" in shown(aws, width=width)


def test_when_nothing_happened_it_looks_further_back() -> None:
    aws = FakeAws(
        filter_log_events=log(
            concluded(timedelta(days=2), "rejected"), concluded(timedelta(hours=1), "superseded")
        )
    )

    said = look(stack(aws), NOW).outcomes

    assert said is not None
    assert said.recent == {}
    assert [group.outcome for group in said.groups] == ["superseded"]
    assert "The last before, within 6 hours" in shown(aws)


def test_alarms_that_the_emulator_does_not_evaluate_are_a_dash() -> None:
    aws = FakeAws(list_stack_resources=alarms("a"))
    local = Stack("fl", "eu-central-1", "http://127.0.0.1:1", OUTPUTS, stack(aws)._clients)
    console = Console(file=io.StringIO(), width=80)

    console.print(render(local, look(local, NOW)))

    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "alarms   \N{EN DASH} (the emulator evaluates none)" in said
    assert "ringing" not in said


@pytest.mark.parametrize(
    "operation",
    [
        "get_queue_attributes",
        "get_metric_data",
        "list_stack_resources",
        "scan",
        "filter_log_events",
    ],
)
def test_what_is_refused_is_a_dash_and_the_rest_is_shown(operation: str) -> None:
    aws = FakeAws(**{operation: refused(operation)})

    said = look(stack(aws), NOW)

    assert said.problems
    assert all("AccessDenied" in problem for problem in said.problems)
    assert "\N{EN DASH}" in shown(aws)
    assert "Not to be had" in shown(aws)


def test_an_output_that_is_missing_costs_only_its_part() -> None:
    outputs = {name: value for name, value in OUTPUTS.items() if name != "CallbacksDlqUrl"}

    said = look(stack(FakeAws(), outputs), NOW)

    assert [queue.waiting for queue in said.queues] == [0, 0, 0, 0, None]
    assert said.outcomes is not None


def test_json_says_the_same() -> None:
    aws = FakeAws(
        list_stack_resources=alarms("fl-Dead"),
        describe_alarms={"MetricAlarms": [{"AlarmName": "fl-Dead"}]},
        scan={"Items": [training("t", "ONGOING", 3)]},
        filter_log_events=log(concluded(timedelta(minutes=1), "accepted")),
    )
    overview: Overview = look(stack(aws), NOW)

    said = json.loads(json.dumps(as_dict(stack(aws), overview)))

    assert said["at"] == "2026-03-01T03:00:00.000Z"
    assert [queue["name"] for queue in said["queues"]] == list(QUEUES.values())
    assert said["alarms"] == [{"name": "fl-Dead", "since": None, "reason": ""}]
    assert said["trainings"]["running"][0]["training_uuid"] == "t"
    assert said["outcomes"]["groups"][0]["training_uuid"] == TRAINING
    assert said["problems"] == []


def test_dead_letters_are_told_from_work_to_do() -> None:
    assert [asked.QueueState(name).dead for name in QUEUES.values()] == [
        False,
        True,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    aws = FakeAws(
        scan={"Items": [training(TRAINING, "ONGOING", 3)]},
        filter_log_events=log(concluded(timedelta(minutes=1), "failed", reason="timeout " * 9)),
    )

    assert max(map(len, shown(aws, width=width).splitlines())) <= width
