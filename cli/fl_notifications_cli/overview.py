"""How a stack is doing right now: what `status` shows.

Each part is asked for by itself: what can't be had is None, and `problems` says why.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError

from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.scanning import count_participants, scan_trainings, whole
from fl_notifications_cli.stack import Stack
from fl_notifications_cli.tracing.log_reader import Bounds, LogReader
from fl_notifications_cli.tracing.steps import (
    Step,
    StepKind,
    parse_step,
)
from fl_notifications_cli.tracing.story import OUTCOMES
from fl_notifications_cli.tracing.terminal import why

QUEUES = {
    "DeliveriesQueueUrl": "deliveries",
    "DeliveriesDlqUrl": "dead deliveries",
    "FanOutsDlqUrl": "dead fan-outs",
    "StreamDlqUrl": "dead stream records",
    "CallbacksDlqUrl": "dead callbacks",
}
"""Output -> what lies in that queue. What is dead needs somebody to look at it."""

RECENT = timedelta(minutes=15)
"""How far back outcomes are counted."""

_OLDER = (timedelta(hours=6), timedelta(days=7))
_MOST_TRAININGS = 20
_ALARMS_AT_ONCE = 100
_AGE_WINDOW = timedelta(minutes=10)
_LOG_BOUNDS = Bounds(lines=50_000, seconds=15)


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue.

    Args:
        name: what lies in it, in words.
        waiting: messages that can be received.
        in_flight: messages that are being worked on, or wait for their next attempt.
        delayed: messages that were sent with a delay.
        oldest_seconds: age of the oldest message, in seconds.
    """

    name: str
    waiting: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    oldest_seconds: float | None = None

    @property
    def dead(self) -> bool:
        """Whether messages in it were given up."""
        return self.name.startswith("dead ")


@dataclass(frozen=True, slots=True)
class AlarmState:
    """One alarm that rings.

    Args:
        name: its name.
        since: since when.
        reason: CloudWatch's words.
    """

    name: str
    since: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class RunningTraining:
    """One training that is running.

    Args:
        training_uuid: which.
        state: its state.
        round: its round.
        participants: how many it has; None if not counted.
        more: whether there are more participants than were counted.
        last_update: when the FL server last touched it, as it wrote it.
    """

    training_uuid: str
    state: str
    round: int | None
    participants: int | None
    more: bool
    last_update: str | None


@dataclass(frozen=True, slots=True)
class Trainings:
    """The trainings in the table.

    Args:
        running: those in flight.
        states: how many there are in each state.
        complete: whether the whole table was looked at.
    """

    running: tuple[RunningTraining, ...]
    states: Counter[str]
    complete: bool


@dataclass(frozen=True, slots=True)
class OutcomeGroup:
    """Notifications of one training that ended alike.

    Args:
        training_uuid: the training.
        outcome: accepted, rejected, failed or superseded.
        notification_type: their type; None for those that were accepted, whatever they are.
        round: the round that they announce, if they do.
        why: status or reason; empty for those that were accepted.
        number: how many.
        last: the last one's conclusion: when, and who got it.
    """

    training_uuid: str
    outcome: str
    notification_type: str | None
    round: int | None
    why: str
    number: int
    last: Step


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What was concluded lately.

    Args:
        window: how far back was looked: `RECENT`, or further if nothing happened.
        groups: what was concluded, training by training, the one that changed last first, in each
            the worst first.
        recent: how many notifications ended how within `RECENT`.
        complete: whether all lines of that time were read.
    """

    window: timedelta
    groups: tuple[OutcomeGroup, ...]
    recent: Counter[str]
    complete: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it; None is what can't be had.

    Args:
        at: when it was asked for.
        queues: one for each of `QUEUES`.
        alarms: the alarms that ring.
        alarm_count: how many alarms the stack has.
        trainings: what the trainings table says.
        outcomes: what the log says.
        problems: what can't be had, and why.
    """

    at: datetime
    queues: tuple[QueueState, ...]
    alarms: tuple[AlarmState, ...] | None
    alarm_count: int | None
    trainings: Trainings | None
    outcomes: Outcomes | None
    problems: tuple[str, ...]


def look(stack: Stack, now: datetime) -> Overview:
    """Ask a stack how it is doing.

    Args:
        stack: the stack.
        now: the current time, with an offset.
    """
    problems: list[str] = []

    def part[T](name: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except (ClientError, BotoCoreError, CommandError) as error:
            problems.append(f"{name}: {_words(error)}")
            return None

    ages = part("ages of messages", lambda: _ages(stack, now)) or {}
    queues = tuple(
        part(name, partial(_queue, stack, output, name, ages)) or QueueState(name)
        for output, name in QUEUES.items()
    )
    alarms = part("alarms", lambda: _alarms(stack))
    trainings = part("trainings", lambda: _trainings(stack))
    outcomes = part("outcomes", lambda: _outcomes(stack, now))
    return Overview(
        at=now,
        queues=queues,
        alarms=alarms and alarms[0],
        alarm_count=alarms and alarms[1],
        trainings=trainings,
        outcomes=outcomes,
        problems=tuple(problems),
    )


def _words(error: Exception) -> str:
    if isinstance(error, ClientError):
        said = error.response.get("Error", {})
        return f"{said.get('Code')}: {said.get('Message')}"
    return str(error)


def _queue_name(stack: Stack, output: str) -> str:
    return stack.output(output).rsplit("/", 1)[-1]


def _queue(stack: Stack, output: str, name: str, ages: dict[str, float]) -> QueueState:
    attributes = stack.client("sqs").get_queue_attributes(
        QueueUrl=stack.output(output),
        AttributeNames=[
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ],
    )["Attributes"]
    return QueueState(
        name,
        whole(attributes.get("ApproximateNumberOfMessages")),
        whole(attributes.get("ApproximateNumberOfMessagesNotVisible")),
        whole(attributes.get("ApproximateNumberOfMessagesDelayed")),
        ages.get(output),
    )


def _ages(stack: Stack, now: datetime) -> dict[str, float]:
    """Age of each queue's oldest message, where CloudWatch has it."""
    numbered = {f"q{number}": output for number, output in enumerate(QUEUES)}
    answer = stack.client("cloudwatch").get_metric_data(
        MetricDataQueries=[
            {
                "Id": label,
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/SQS",
                        "MetricName": "ApproximateAgeOfOldestMessage",
                        "Dimensions": [{"Name": "QueueName", "Value": _queue_name(stack, output)}],
                    },
                    "Period": 60,
                    "Stat": "Maximum",
                },
            }
            for label, output in numbered.items()
        ],
        StartTime=now - _AGE_WINDOW,
        EndTime=now,
        ScanBy="TimestampDescending",
    )
    return {
        numbered[result["Id"]]: result["Values"][0]
        for result in answer["MetricDataResults"]
        if result.get("Id") in numbered and result.get("Values")
    }


def _alarms(stack: Stack) -> tuple[tuple[AlarmState, ...], int]:
    # They belong to the nested stack.
    nested = _resources(stack, stack.name, "AWS::CloudFormation::Stack")
    names = [
        alarm
        for name in (stack.name, *nested)
        for alarm in _resources(stack, name, "AWS::CloudWatch::Alarm")
    ]
    ringing = []
    for start in range(0, len(names), _ALARMS_AT_ONCE):
        answer = stack.client("cloudwatch").describe_alarms(
            AlarmNames=names[start : start + _ALARMS_AT_ONCE],
            StateValue="ALARM",
            MaxRecords=_ALARMS_AT_ONCE,
        )
        ringing += [
            AlarmState(
                alarm["AlarmName"], alarm.get("StateUpdatedTimestamp"), alarm.get("StateReason", "")
            )
            for alarm in answer["MetricAlarms"]
        ]
    return tuple(ringing), len(names)


def _resources(stack: Stack, name: str, kind: str) -> list[str]:
    """Physical ids of a stack's resources of one type."""
    pages = stack.client("cloudformation").get_paginator("list_stack_resources")
    return [
        resource["PhysicalResourceId"]
        for page in pages.paginate(StackName=name, PaginationConfig={"MaxItems": 1000})
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == kind and "PhysicalResourceId" in resource
    ]


def _trainings(stack: Stack) -> Trainings:
    client, table = stack.client("dynamodb"), stack.output("TrainingsTable")
    states: Counter[str] = Counter()
    running: list[RunningTraining] = []
    complete = True
    for row in scan_trainings(client, table):
        if row is None:
            complete = False
            break
        states[row.state] += 1
        if not row.running:
            continue
        uuid = row.training_uuid
        counted, more = (
            count_participants(client, table, uuid)
            if len(running) < _MOST_TRAININGS
            else (None, False)
        )
        running.append(RunningTraining(uuid, row.state, row.round, counted, more, row.last_update))
    return Trainings(tuple(running), states, complete)


def _outcomes(stack: Stack, now: datetime) -> Outcomes:
    reader = LogReader(stack.client("logs"), stack.output("LogGroup"), bounds=_LOG_BOUNDS)
    groups = _grouped(_concluded(reader, now - RECENT))
    complete = reader.cut_short is None
    recent: Counter[str] = Counter()
    for group in groups:
        recent[group.outcome] += group.number
    window = RECENT
    for older in _OLDER:  # nothing happened: what was the last thing that did?
        if groups or not complete:
            break
        window = older
        groups = _grouped(_concluded(reader, now - older))
    return Outcomes(window, groups, recent, complete)


def _concluded(reader: LogReader, since: datetime) -> Iterator[Step]:
    for line in reader.lines('"concluded"', since=since):
        step = parse_step(line)
        if step is not None and step.kind is StepKind.CONCLUDED:
            yield step


type _Alike = tuple[str, str, str | None, int | None, str]


def _grouped(steps: Iterable[Step]) -> tuple[OutcomeGroup, ...]:
    numbers: Counter[_Alike] = Counter()
    last: dict[_Alike, Step] = {}
    changed: dict[str, datetime] = {}
    for step in steps:
        alike: tuple[str | None, int | None, str] = (None, None, "")
        if step.outcome != "accepted":
            alike = (step.notification_type, step.round, why(step))
        key = (step.training_uuid, step.outcome or "?", *alike)
        numbers[key] += 1
        last[key] = max(last.get(key, step), step, key=lambda each: each.at)
        changed[step.training_uuid] = max(changed.get(step.training_uuid, step.at), step.at)
    groups = [OutcomeGroup(*key, numbers[key], last[key]) for key in numbers]
    return tuple(
        sorted(
            groups,
            key=lambda group: (
                -changed[group.training_uuid].timestamp(),
                group.training_uuid,
                OUTCOMES.index(group.outcome) if group.outcome in OUTCOMES else -1,
                -group.number,
            ),
        )
    )
