"""Traces: what goes on to the next service, and what X-Ray's daemon is sent."""

import json
from typing import Any

import pytest

from fl_notifications.telemetry.tracing import (
    DAEMON_VARIABLE,
    HEADER_VARIABLE,
    TRACED_MESSAGES,
    Traces,
    trace_id,
)

ROOT = "1-581cf771-a006649127e371903a2de979"
PARENT = "70de5b6f19ff9a0a"
HEADER = f"Root={ROOT};Parent={PARENT};Sampled=1;Lineage=a87bd80c:1"
UNSAMPLED = HEADER.replace("Sampled=1", "Sampled=0")


class Daemon:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, tuple[str, int]]] = []

    def send(self, data: bytes, address: tuple[str, int]) -> None:
        self.datagrams.append((data, address))

    @property
    def documents(self) -> list[dict[str, Any]]:
        heads, documents = [], []
        for data, _ in self.datagrams:
            head, _, document = data.decode().partition("\n")
            heads.append(json.loads(head))
            documents.append(json.loads(document))
        assert all(head == {"format": "json", "version": 1} for head in heads)
        return documents


@pytest.fixture
def environment() -> dict[str, str]:
    return {HEADER_VARIABLE: HEADER, DAEMON_VARIABLE: "169.254.79.129:2000"}


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


def test_work_is_sent_to_the_daemon_as_a_part_of_the_function_s_segment(
    environment: dict[str, str], daemon: Daemon
) -> None:
    """https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html"""
    traces = Traces(environment, send=daemon.send, now=lambda: 1000.0)
    traces.add("attempt", 0.25, training_uuid="t", notification_type="X", status_code=None)
    (document,) = daemon.documents
    assert len(document["id"]) == 16
    assert int(document["id"], 16) >= 0
    assert document | {"id": ""} == {
        "name": "attempt",
        "id": "",
        "trace_id": ROOT,
        "parent_id": "70de5b6f19ff9a0a",
        "type": "subsegment",
        "start_time": 999.75,
        "end_time": 1000.0,
        "annotations": {"training_uuid": "t", "notification_type": "X"},
    }
    assert daemon.datagrams[0][1] == ("169.254.79.129", 2000)


def test_a_block_is_work_even_if_it_fails(environment: dict[str, str], daemon: Daemon) -> None:
    traces = Traces(environment, send=daemon.send)
    with pytest.raises(ZeroDivisionError), traces.span("build", training_uuid="t"):
        raise ZeroDivisionError
    (document,) = daemon.documents
    assert document["start_time"] <= document["end_time"]


@pytest.mark.parametrize(
    "changed",
    [
        {HEADER_VARIABLE: UNSAMPLED},
        {HEADER_VARIABLE: ""},
        {HEADER_VARIABLE: "nonsense;Sampled=1"},
        {DAEMON_VARIABLE: ""},
        {DAEMON_VARIABLE: "tcp:127.0.0.1:2000 udp:x"},
    ],
)
def test_what_is_not_traced_sends_nothing(
    environment: dict[str, str], daemon: Daemon, changed: dict[str, str]
) -> None:
    Traces(environment | changed, send=daemon.send).add("attempt", 1.0)
    assert daemon.datagrams == []


def test_without_tracing_nothing_is_handed_on() -> None:
    """Also none of it needs a socket: those are refused in unit tests."""
    traces = Traces({})
    assert (traces.header(), traces.message_header()) == (None, None)
    traces.add("attempt", 1.0)


def test_a_daemon_that_is_not_there_disturbs_nothing(environment: dict[str, str]) -> None:
    def send(_data: bytes, _address: tuple[str, int]) -> None:
        raise BlockingIOError

    Traces(environment, send=send).add("attempt", 1.0)


def test_the_header_is_handed_on_as_it_is(environment: dict[str, str], daemon: Daemon) -> None:
    assert Traces(environment, send=daemon.send).header() == HEADER


def test_only_the_first_messages_of_an_invocation_are_followed(
    environment: dict[str, str], daemon: Daemon
) -> None:
    traces = Traces(environment, send=daemon.send)
    headers = [traces.message_header() for _ in range(TRACED_MESSAGES + 5)]
    assert headers == [HEADER] * TRACED_MESSAGES + [UNSAMPLED] * 5
    environment[HEADER_VARIABLE] = HEADER.replace("a0a;", "a0b;")
    assert traces.message_header() == environment[HEADER_VARIABLE]


@pytest.mark.parametrize(
    ("header", "expected"), [(HEADER, ROOT), ("Sampled=1", None), ("", None), (None, None)]
)
def test_the_trace_s_id(header: str | None, expected: str | None) -> None:
    assert trace_id({} if header is None else {HEADER_VARIABLE: header}) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            f"Root={ROOT};Parent={PARENT};Sampled=1",
            "00-581cf771a006649127e371903a2de979-70de5b6f19ff9a0a-01",
        ),
        (
            f"Sampled=1;Lineage=1:x:0;Parent={PARENT};Root={ROOT}",
            "00-581cf771a006649127e371903a2de979-70de5b6f19ff9a0a-01",
        ),
        (f"Root={ROOT};Parent={PARENT};Sampled=0", None),
        (f"Root={ROOT};Sampled=1", None),
        (f"Root={ROOT}\r\nx: y;Parent={PARENT};Sampled=1", None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_a_receiver_is_told_the_trace_as_w3c_writes_it(header: str, expected: str | None) -> None:
    assert Traces({HEADER_VARIABLE: header}).traceparent() == expected


def test_without_a_trace_a_receiver_is_told_none() -> None:
    assert Traces({}).traceparent() is None
