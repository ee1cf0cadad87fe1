"""Log lines and metrics: one vocabulary, and nothing in it that is not meant for a log."""

import logging
import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest

from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.outcome import OutcomeKind
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import Logger
from fl_notifications.telemetry.metrics import Tally
from fl_notifications.trainings.items import UnreadableItemError
from tests.log_lines import SECRETS, check_metrics, parse_lines
from tests.made import NOW, TRAINING_UUID, delivery, outcome, uuid_of

SERVICE = "test_journal"
STACK = "a-stack"
# On every line, by the logger itself.
COMMON = {"level", "timestamp", "service"}
IDS = {"training_uuid", "notification_id", "notification_type", "receiver_uuid", "round"}
LATER = NOW + timedelta(milliseconds=1500)


class Written:
    """A journal, and what it has written."""

    def __init__(self, captured: pytest.CaptureFixture[str], level: int = logging.INFO) -> None:
        self._captured = captured
        self._stream = StringIO()
        self.journal = Journal(Logger(SERVICE, level, self._stream), Tally(STACK))

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def line(self) -> dict[str, Any]:
        (line,) = parse_lines(self.text)
        return line

    def metrics(self) -> dict[str, dict[str, list[float]]]:
        """By type of notification: names and values."""
        self._captured.readouterr()
        self.journal.flush()
        lines = parse_lines(self._captured.readouterr().out)
        return {line.get("notification_type", "-"): check_metrics(line) for line in lines}


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Written:
    return Written(capsys)


def values(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in COMMON | IDS | {"message"}}


def test_every_line_has_a_time_in_utc_with_milliseconds_a_level_and_the_service(
    written: Written,
) -> None:
    written.journal.built(delivery(), LATER)
    line = written.line()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["timestamp"])
    assert (line["level"], line["step"], line["service"]) == ("INFO", "built", SERVICE)


def test_built(written: Written) -> None:
    written.journal.built(delivery(), LATER)
    line = written.line()
    assert set(line) == COMMON | IDS | {"step", "queued_ms"}
    assert {key: line[key] for key in IDS} == {
        "training_uuid": TRAINING_UUID,
        "notification_id": delivery().notification_id,
        "notification_type": "UPDATE_ROUND_START",
        "receiver_uuid": uuid_of("one"),
        "round": 3,
    }
    assert values(line) == {"step": "built", "queued_ms": 1500}


def test_built_twice_in_one_invocation_is_told_once(written: Written) -> None:
    """As with a participant that joins while the training starts: the queue drops the second."""
    for _ in range(2):
        written.journal.built(delivery(), LATER)
    assert written.line()["step"] == "built"
    assert written.metrics() == {"UPDATE_ROUND_START": {"Built": [1], "RepeatsSuppressed": [1]}}
    written.journal.built(delivery(), LATER)
    assert written.metrics() == {"UPDATE_ROUND_START": {"Built": [1]}}


def test_attempted(written: Written) -> None:
    written.journal.attempted(
        delivery(), attempt=2, status_code=503, reason="answered 503", latency_ms=12.345
    )
    assert set(written.line()) >= IDS
    assert values(written.line()) == {
        "step": "attempted",
        "attempt": 2,
        "status_code": 503,
        "reason": "answered 503",
        "latency_ms": 12.3,
    }


def test_attempted_in_vain(written: Written) -> None:
    written.journal.attempted(
        delivery(), attempt=1, status_code=None, reason="timeout", latency_ms=10000.0
    )
    assert values(written.line()) == {
        "step": "attempted",
        "attempt": 1,
        "reason": "timeout",
        "latency_ms": 10000.0,
    }


def test_held_back(written: Written) -> None:
    written.journal.held_back(delivery(), "no time left")
    assert set(written.line()) >= IDS
    assert values(written.line()) == {"step": "held back", "reason": "no time left"}


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        (OutcomeKind.ACCEPTED, "INFO"),
        (OutcomeKind.REJECTED, "WARNING"),
        (OutcomeKind.FAILED, "WARNING"),
        (OutcomeKind.SUPERSEDED, "INFO"),
    ],
)
def test_concluded(written: Written, kind: OutcomeKind, level: str) -> None:
    told = outcome(kind)
    written.journal.concluded(kind, told)
    line = written.line()
    assert set(line) >= IDS
    assert line["level"] == level
    known = {"status_code": told.status_code, "reason": told.reason}
    assert values(line) == {
        "step": "concluded",
        "attempt": 1,
        "outcome": kind.value,
        "queued_ms": 2000,
        **{key: value for key, value in known.items() if value is not None},
    }


@pytest.mark.parametrize(
    ("kind", "level"), [(OutcomeKind.ACCEPTED, "INFO"), (OutcomeKind.FAILED, "WARNING")]
)
def test_what_follows_a_failure_is_a_warning(
    written: Written, kind: OutcomeKind, level: str
) -> None:
    written.journal.called_back(outcome(kind), kind, "done")
    assert written.line()["level"] == level


def test_called_back(written: Written) -> None:
    written.journal.called_back(
        outcome(OutcomeKind.REJECTED), OutcomeKind.REJECTED, "participant removed"
    )
    assert set(written.line()) >= IDS
    assert values(written.line()) == {
        "step": "called back",
        "outcome": "rejected",
        "status_code": 400,
        "reason": "participant removed",
    }


def test_an_unreadable_item_is_an_error_that_names_item_and_field(written: Written) -> None:
    written.journal.unreadable(UnreadableItemError("item 'X'", "actor.uuid", "must be a UUID"))
    line = written.line()
    assert line["level"] == "ERROR"
    assert values(line) == {"item": "item 'X'", "field": "actor.uuid", "reason": "must be a UUID"}


def test_a_repeat_is_no_step(written: Written) -> None:
    """A step stands for what happened to the notification; a repeat is nothing new."""
    written.journal.repeated(delivery())
    assert written.text == ""
    assert written.metrics() == {"UPDATE_ROUND_START": {"RepeatsSuppressed": [1]}}


def test_trouble_has_the_error_and_the_ids_that_are_given(written: Written) -> None:
    try:
        raise ConnectionError("no answer")  # noqa: TRY301 - it is to have a traceback
    except ConnectionError as error:
        written.journal.trouble("something", error, messages=3)
    line = written.line()
    assert (line["level"], line["message"], line["messages"]) == ("ERROR", "something", 3)
    assert line["error"] == "ConnectionError"
    (place,) = line["error_at"]
    assert re.fullmatch(r"tests/unit/test_journal\.py:\d+ test_trouble_\w+", place)


def everything(journal: Journal) -> None:
    """Each kind of line once, about a delivery full of what must not be seen."""
    journal.built(delivery(), LATER)
    journal.attempted(delivery(), attempt=1, status_code=200, reason=None, latency_ms=1)
    journal.held_back(delivery(), "no time left")
    journal.repeated(delivery())
    for kind in OutcomeKind:
        journal.concluded(kind, outcome(kind))
        journal.called_back(outcome(kind), kind, "logged")


def test_no_line_has_an_endpoint_a_payload_or_a_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    written = Written(capsys, logging.DEBUG)
    everything(written.journal)
    assert "repeat suppressed" in written.text
    assert [each for each in SECRETS if each in written.text] == []


def test_words_from_elsewhere_are_cut_and_stay_on_one_line(written: Written) -> None:
    """A state that no server of ours has written, say, in the reason of a superseded one."""
    written.journal.held_back(delivery(), "a\nb" + "x" * 5000)
    assert written.line()["reason"] == "a?b" + "x" * 997


def test_every_step_is_one_of_five(written: Written) -> None:
    everything(written.journal)
    assert {line["step"] for line in parse_lines(written.text)} == {
        "built",
        "attempted",
        "held back",
        "concluded",
        "called back",
    }


# --- metrics --------------------------------------------------------------------------------------


def test_metrics_are_there_for_each_type_of_a_stack_and_for_the_stack(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    """An alarm can't add up types; and a second stack in the account has metrics of its own."""
    written.journal.built(delivery(), LATER)
    written.journal.flush()
    (line,) = parse_lines(capsys.readouterr().out)
    check_metrics(line)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "FLNotifications"
    assert [sorted(each) for each in directive["Dimensions"]] == [
        ["notification_type", "stack"],
        ["stack"],
    ]
    assert (line["notification_type"], line["stack"]) == ("UPDATE_ROUND_START", STACK)


def test_what_belongs_to_no_type_is_a_metric_of_the_stack_alone(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    written.journal.unreadable(UnreadableItemError("item 'X'", "actor", "?"))
    written.journal.flush()
    (line,) = parse_lines(capsys.readouterr().out)
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["stack"]]


def test_counts_are_added_up_and_durations_are_kept(written: Written) -> None:
    for latency in (10.0, 20.0, 40.0):
        written.journal.attempted(
            delivery(), attempt=1, status_code=200, reason=None, latency_ms=latency
        )
    assert written.metrics() == {
        "UPDATE_ROUND_START": {"Attempts": [3], "DeliveryLatency": [10, 20, 40]}
    }


def test_each_kind_of_step_has_its_metric(written: Written) -> None:
    everything(written.journal)
    written.journal.unreadable(UnreadableItemError("item 'X'", "actor", "?"))
    assert written.metrics() == {
        "UPDATE_ROUND_START": {
            "Built": [1],
            "Attempts": [1],
            "DeliveryLatency": [1],
            "HeldBack": [1],
            "RepeatsSuppressed": [1],
            "Accepted": [1],
            "Rejected": [1],
            "Failed": [1],
            "Superseded": [1],
            "TimeToOutcome": [2000] * 4,
            # Of what was tried to the end: a superseded notification says nothing of its receiver.
            "FailedShare": [0, 100, 100],
        },
        "-": {"UnreadableItems": [1]},
    }


@pytest.mark.parametrize(
    ("kind", "status", "apart"),
    [
        *(("TRAINING_ERROR", status, True) for status in (400, 404, 405, 501)),
        ("CLIENT_REMOVED", 400, True),
        *(("CLIENT_REMOVED", f"rejected: answered-{s}", True) for s in (400, 404, 405, 501)),
        ("CLIENT_REMOVED", "rejected: answered-403", False),
        ("UPDATE_ROUND_START", "rejected: answered-400", False),
        ("TRAINING_ERROR", 403, False),
        ("TRAINING_ERROR", 500, False),
        ("TRAINING_FINISHED", 400, False),
        ("UPDATE_ROUND_START", 400, False),
    ],
)
def test_a_type_that_an_old_client_does_not_know_is_counted_apart(
    written: Written, kind: str, status: int | str, *, apart: bool
) -> None:
    made = delivery(notification_type=NotificationType(kind))
    said = {"reason": status, "status_code": None}  # by the bridge, from behind a firewall
    said = said if isinstance(status, str) else {"status_code": status}
    ended = outcome(OutcomeKind.REJECTED, made).model_copy(update=said)
    written.journal.concluded(OutcomeKind.REJECTED, ended)
    line = written.line()
    assert line["outcome"] == "rejected"
    assert line.get("type_unknown", False) is apart
    assert line["level"] == ("INFO" if apart else "WARNING")
    counted = written.metrics()[kind]
    assert ("TypeUnknown" in counted, "Rejected" in counted, "FailedShare" in counted) == (
        apart,
        not apart,
        not apart,
    )


def test_nothing_leaks_from_one_invocation_into_the_next(written: Written) -> None:
    written.journal.built(delivery(), LATER)
    assert written.metrics() != {}
    assert written.metrics() == {}
