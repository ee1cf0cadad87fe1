from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_notifications_cli.tracing import log_reader
from fl_notifications_cli.tracing.log_reader import (
    Bounds,
    Follower,
    LogReader,
    filter_pattern,
)
from fl_notifications_cli.tracing.steps import Wanted, parse_step
from tests.trace_lines import START, TRAINING, MadeUpTraining, line, receiver_uuid

if TYPE_CHECKING:
    from mypy_boto3_logs.client import CloudWatchLogsClient

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ms(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)


class FakeLogs:
    """CloudWatch Logs with one group.

    Args:
        events: (time in ms, message).
        page: How many events are looked at for one page, if there are tokens.
        tokens: Whether there are tokens; without, a page ends at the limit, and that is that.
    """

    def __init__(
        self, events: list[tuple[int, str]], *, page: int = 3, tokens: bool = True
    ) -> None:
        self.events = sorted(events, key=lambda event: event[0])
        self.page = page
        self.tokens = tokens
        self.requests: list[dict[str, Any]] = []

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        terms = [term.strip('"') for term in request["filterPattern"].split()]
        inside = [
            {"timestamp": at, "message": message, "logStreamName": "s"}
            | ({"eventId": f"{at} {message}"} if self.tokens else {})
            for at, message in self.events
            if request.get("startTime", at) <= at <= request.get("endTime", at)
        ]
        start = int(request.get("nextToken", "0"))
        seen = inside[start : start + self.page] if self.tokens else inside
        found = [e for e in seen if all(term in str(e["message"]) for term in terms)]
        answer: dict[str, Any] = {"events": found[: request["limit"]]}
        if self.tokens and start + self.page < len(inside):
            answer["nextToken"] = str(start + self.page)
        return answer


def reader(logs: FakeLogs, **options: Any) -> LogReader:
    return LogReader(cast("CloudWatchLogsClient", logs), "/group", **options)


_EVENTS = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from(["this one", "not that"])), max_size=40
)


@given(_EVENTS, st.integers(1, 10))
def test_every_matching_line_is_read_once_page_by_page(
    events: list[tuple[int, str]], page: int
) -> None:
    numbered = [(at, f"{message} {i}") for i, (at, message) in enumerate(events)]
    wanted = sorted(message for _, message in numbered if "this" in message)

    assert sorted(reader(FakeLogs(numbered, page=page)).lines('"this"')) == wanted


@given(st.lists(st.integers(0, 100), max_size=40, unique=True))
def test_every_line_is_read_once_without_tokens_too(times: list[int]) -> None:
    """As an emulator may answer: full pages, and nothing that says that there is more."""
    logs = FakeLogs([(at, f"line {at}") for at in times], tokens=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_reader, "PAGE_SIZE", 4)
        read = list(reader(logs).lines(""))

    assert read == [f"line {at}" for at in sorted(times)]


def test_it_ends_even_if_a_page_can_not_hold_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "PAGE_SIZE", 4)
    logs = FakeLogs([(7, f"line {i}") for i in range(9)] + [(8, "after")], tokens=False)
    reading = reader(logs)

    read = list(reading.lines(""))

    assert read == ["line 0", "line 1", "line 2", "line 3", "after"]
    assert reading.cut_short is not None


def test_an_empty_page_with_a_token_is_not_the_end() -> None:
    logs = FakeLogs([(1, "no"), (2, "no"), (3, "yes")], page=1)

    assert list(reader(logs).lines('"yes"')) == ["yes"]


def test_too_many_lines_end_the_reading_and_it_says_so() -> None:
    logs = FakeLogs([(i, "x") for i in range(100)], page=10)
    reading = reader(logs, bounds=Bounds(lines=25))

    assert len(list(reading.lines(""))) == 30
    assert reading.cut_short == "stopped after 30 lines"


def test_too_much_time_ends_the_reading_and_it_says_so() -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 20.0
        return now[0]

    reading = reader(
        FakeLogs([(i, "x") for i in range(100)], page=10), bounds=Bounds(seconds=50), clock=clock
    )

    assert len(list(reading.lines(""))) == 30
    assert reading.cut_short == "stopped after 50 s"


def test_a_whole_reading_is_not_cut_short() -> None:
    reading = reader(FakeLogs([(1, "x")]))

    list(reading.lines(""))

    assert reading.cut_short is None


# --- the filter ----------------------------------------------------------------------------------


def test_the_filter_asks_for_what_is_known_whole() -> None:
    receiver = receiver_uuid(1)

    assert filter_pattern(Wanted(TRAINING)) == f'"{TRAINING}"'
    assert filter_pattern(Wanted(TRAINING, receiver)) == f'"{TRAINING}" "{receiver}"'
    assert filter_pattern(Wanted(TRAINING, None, receiver)) == f'"{TRAINING}" "{receiver}"'
    assert filter_pattern(Wanted(TRAINING, receiver[:7])) == f'"{TRAINING}"'


@given(st.text())
def test_no_text_can_be_more_than_a_term(text: str) -> None:
    pattern = filter_pattern(Wanted(text))

    assert pattern in ("", f'"{text}"')
    assert not set(text) & set('"\\ {}[]%') or pattern == ""


# --- steps ---------------------------------------------------------------------------------------


def made_up_events() -> list[tuple[int, str]]:
    events = []
    for number, text in enumerate(MadeUpTraining(receivers=4, rounds=2).lines()):
        step = parse_step(text)
        assert step is not None
        # Dated at the end of the invocation, not when it was written.
        events.append((ms(step.at) // 5000 * 5000 + 5000, text))
        events.append((ms(step.at), f"START RequestId: {number} {TRAINING}"))
    return events


def test_all_steps_of_a_training_are_read() -> None:
    logs = FakeLogs([*made_up_events(), (ms(START), line(START, "built", training_uuid="other"))])

    steps = list(reader(logs).steps(Wanted(TRAINING)))

    assert len(steps) == len(list(MadeUpTraining(receivers=4, rounds=2).lines()))


def test_one_receiver_is_read_by_the_beginning_of_its_uuid() -> None:
    receiver = receiver_uuid(2)

    steps = list(reader(FakeLogs(made_up_events())).steps(Wanted(TRAINING, receiver[:6])))

    assert {step.receiver_uuid for step in steps} == {receiver}


def test_since_is_judged_by_the_time_in_the_line() -> None:
    since = START + timedelta(minutes=10)
    logs = FakeLogs(
        [
            (ms(since) + 5000, line(since - timedelta(seconds=1), "built", notification_id="old")),
            (ms(since) - 40, line(since, "built", notification_id="new")),
        ]
    )

    steps = list(reader(logs).steps(Wanted(TRAINING, since=since)))

    assert [step.notification_id for step in steps] == ["new"]


# --- following -----------------------------------------------------------------------------------


def followed(logs: FakeLogs, now: Callable[[], datetime]) -> Follower:
    return Follower(reader(logs), Wanted(TRAINING), now=now)


def test_each_step_is_followed_once_however_late_it_becomes_visible() -> None:
    texts = list(MadeUpTraining(receivers=3, rounds=1).lines())
    clock = [START]
    logs = FakeLogs([])
    follower = followed(logs, lambda: clock[0])
    got = []
    for number, text in enumerate(texts):
        step = parse_step(text)
        assert step is not None
        # Every third line appears only a minute after its time.
        at = clock[0] - timedelta(seconds=60 if number % 3 == 0 else 0)
        logs.events.append((ms(at), text))
        logs.events.sort(key=lambda event: event[0])
        got += follower.poll()
        clock[0] += timedelta(seconds=2)

    assert sorted(map(repr, got)) == sorted(repr(parse_step(text)) for text in texts)


def test_what_is_old_is_not_asked_for_again_and_again() -> None:
    clock = [START]
    logs = FakeLogs([(ms(START), line(START, "built"))])
    follower = followed(logs, lambda: clock[0])
    follower.poll()
    clock[0] += timedelta(hours=1)
    follower.poll()
    logs.requests.clear()

    assert follower.poll() == []
    assert logs.requests[0]["startTime"] >= ms(START + timedelta(minutes=57))
