import json
from collections.abc import Callable

import pytest

from fl_notifications_cli.participants import (
    Answer,
    Behaviour,
    Participant,
    Request,
    always,
    flaky,
    rejecting,
)


def request(label: str = "TRAINING_START", *, webhook_id: str = "one") -> Request:
    kind, _, round_number = label.partition(" ")
    body = {"round": int(round_number)} if round_number else {}
    return Request(
        at=0.0,
        path="/",
        headers={"webhook-id": webhook_id},
        body=json.dumps({"notification_type": kind, "body": body}).encode(),
    )


def participant(behaviour: Behaviour) -> Participant:
    return Participant("somebody", "uuid", "http://127.0.0.1:1/", behaviour)


@pytest.mark.parametrize("label", ["TRAINING_START", "UPDATE_ROUND_START 3"])
def test_a_request_is_named_by_type_and_round(label: str) -> None:
    assert request(label).label == label


def test_always_answers_alike() -> None:
    assert [always(500)(request(), attempt) for attempt in (1, 2)] == [Answer(500), Answer(500)]


def test_flaky_fails_the_first_attempts_of_each_notification() -> None:
    somebody = participant(flaky(2))

    answers = [
        somebody.receive(request(webhook_id=webhook_id)).status
        for webhook_id in ("one", "other", "one", "one", "other", "other")
    ]

    assert answers == [503, 503, 503, 200, 503, 200]


def test_rejecting_rejects_one_round_only() -> None:
    behaviour = rejecting(1)

    answers = [
        behaviour(request(label), 1).status
        for label in ("TRAINING_START", "UPDATE_ROUND_START 0", "UPDATE_ROUND_START 1")
    ]

    assert answers == [200, 200, 400]


def test_everything_received_is_kept_with_its_answer() -> None:
    somebody = participant(always(202))

    somebody.receive(request("UPDATE_ROUND_START 0"))
    somebody.receive(request("UPDATE_ROUND_START 1", webhook_id="two"))

    assert somebody.labels == ["UPDATE_ROUND_START 0", "UPDATE_ROUND_START 1"]
    assert [answer for _, answer in somebody.exchanges] == [Answer(202), Answer(202)]


@pytest.mark.parametrize(
    ("condition", "met"), [(lambda seen: len(seen) == 1, True), (lambda seen: not seen, False)]
)
def test_waiting_ends_with_the_condition_or_the_time(
    condition: Callable[[object], bool], *, met: bool
) -> None:
    somebody = participant(always())
    somebody.receive(request())

    assert somebody.wait_for(condition, timeout_seconds=0.01) is met
