"""`listen`: what it answers, what it verifies, and what it shows."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_notifications.deliveries.signing import receiver_secret
from fl_notifications.webhooks import signature_headers
from fl_notifications_cli.listening.answering import parse_script, scripted
from fl_notifications_cli.listening.command import Ear, Heard, render
from fl_notifications_cli.participants import Answer, Request, uuid_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = receiver_secret("master", uuid_of("http://127.0.0.1:8900/"))
BODY = {"notification_type": "UPDATE_ROUND_START", "body": {"round": 3}, "training_uuid": "t"}


def request(secret: str = SECRET, body: str | None = None, at: datetime = NOW) -> Request:
    payload = json.dumps(BODY) if body is None else body
    headers = signature_headers([secret], "an-id", at, payload)
    return Request(at.timestamp(), "/", headers, payload.encode())


def ear(
    heard: list[Heard], *, forward: Callable[[Request], Answer] | None = None, script: str = "202"
) -> Ear:
    return Ear([SECRET], forward, parse_script(script), heard.append, now=lambda: NOW)


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("202", [202, 202, 202]),
        ("503x2,202", [503, 503, 202, 202]),
        ("close, 429 ,204", [None, 429, 204, 204]),
        ("closex2,200", [None, None, 200]),
    ],
)
def test_a_script_answers_the_attempts_in_order_and_the_last_goes_on(
    text: str, answers: list[int | None]
) -> None:
    script = parse_script(text)

    assert [scripted(script, n).status for n in range(1, len(answers) + 1)] == answers


@pytest.mark.parametrize("text", ["", "ok", "99", "1000", "202x0", "202x", "202;503", "202x9999"])
def test_what_is_no_script_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="503x2,202"):
        parse_script(text)


@given(st.lists(st.tuples(st.integers(200, 999), st.integers(1, 1000)), min_size=1, max_size=5))
def test_every_script_says_what_it_was_written_for(parts: list[tuple[int, int]]) -> None:
    text = ",".join(f"{status}x{number}" for status, number in parts)

    assert parse_script(text) == tuple(status for status, number in parts for _ in range(number))


def test_what_is_signed_is_verified_and_answered_by_the_script() -> None:
    heard: list[Heard] = []
    listening = ear(heard, script="503,202")

    assert [listening.hear(request(), n).status for n in (1, 2)] == [503, 202]
    assert [each.problem for each in heard] == [None, None]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (request(receiver_secret("another", uuid_of("x"))), "no signature fits"),
        (request(at=NOW - timedelta(minutes=9)), "signed more than 0:05:00 ago"),
        (request(body="[]"), "the body is not a JSON object"),
        (Request(0.0, "/", {}, b"{}"), "no webhook-id"),
        (Request(0.0, "/", request().headers, b"\xff"), "the body is not UTF-8"),
    ],
)
def test_what_is_not_verified_is_said_and_not_handed_on(wrong: Request, problem: str) -> None:
    heard: list[Heard] = []

    def forward(_request: Request) -> Answer:
        raise AssertionError("handed on")

    assert ear(heard, forward=forward).hear(wrong, 1).status == 401
    assert heard[0].problem is not None
    assert heard[0].problem.startswith(problem)
    assert "not verified" in render(heard[0]).plain
    assert heard[0].misdirected == ("--receiver UUID" in render(heard[0]).plain)


def test_what_is_signed_for_another_receiver_says_how_to_listen_for_it() -> None:
    heard: list[Heard] = []
    ear(heard).hear(request(receiver_secret("another", uuid_of("x"))), 1)

    assert "Is it for another receiver? Listen with --receiver UUID.\n" in render(heard[0]).plain


def test_a_body_is_broken_between_words_and_stays_indented() -> None:
    heard: list[Heard] = []
    uuid = "0f61ab17-bd8d-4fc1-9246-8d4e27a49801"
    body = json.dumps({**BODY, "training_uuid": uuid, "settings": "x " * 40})
    ear(heard).hear(request(body=body), 1)

    lines = render(heard[0], width=60).plain.splitlines()

    assert all(line.startswith("  ") for line in lines[1:])
    assert max(map(len, lines)) <= 60
    assert any(uuid in line for line in lines)
    assert f"  {body}\n" in render(heard[0]).plain


def test_what_is_verified_is_handed_on_and_answered_alike() -> None:
    heard: list[Heard] = []
    handed: list[Request] = []

    def forward(each: Request) -> Answer:
        handed.append(each)
        return Answer(429, {"Retry-After": "7"})

    answer = ear(heard, forward=forward).hear(request(), 1)

    assert answer == Answer(429, {"Retry-After": "7"})
    assert handed == [request()]


def test_a_notification_is_shown_with_type_ids_body_and_answer() -> None:
    heard: list[Heard] = []
    ear(heard, script="503x2,202").hear(request(), 2)

    text = render(heard[0]).plain

    assert "UPDATE_ROUND_START 3  ✓ verified  → 503" in text
    assert "webhook-id an-id  attempt 2" in text
    assert json.dumps(BODY) in text


@given(st.binary(max_size=60), st.text(max_size=20))
def test_whatever_comes_is_shown_without_steering_the_terminal(body: bytes, name: str) -> None:
    odd = Request(0.0, "/", {"webhook-id": name}, body)
    heard: list[Heard] = []

    assert ear(heard).hear(odd, 1).status == 401
    assert all(line.isprintable() for line in render(heard[0]).plain.split("\n"))


def test_an_address_has_one_uuid() -> None:
    assert uuid_of("http://127.0.0.1:8900") == uuid_of("http://127.0.0.1:8900/")
    assert uuid_of("http://127.0.0.1:8900") != uuid_of("http://127.0.0.1:8901")
