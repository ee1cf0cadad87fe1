"""Order, many at once, and that nobody waits for another."""

import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from fl_notifications_cli.participants import (
    Answer,
    Participant,
    ParticipantServer,
    Request,
    always,
    flaky,
)
from fl_notifications_cli.stack import Stack
from tests.e2e.pipeline.kit import (
    ERROR,
    FINISHED,
    REMOVED,
    START,
    FlServer,
    Outcomes,
    arrived,
    eventually,
    expect,
    some_uuid,
    update,
)


@pytest.fixture
def refuses(stack: Stack) -> Iterator[Participant]:
    """A participant whom nobody gets through to; it is tried again and again."""
    with closing(socket.socket()) as not_listening:
        not_listening.bind(("127.0.0.1", 0))
        port = not_listening.getsockname()[1]
        here, anywhere = f"http://127.0.0.1:{port}/", "https://nobody.invalid/"
        endpoint = here if stack.local else anywhere
        yield Participant("refuses", some_uuid(), endpoint, always())


def test_nobody_waits_for_a_receiver_that_hangs_or_refuses(
    fl_server: FlServer, outcomes: Outcomes, long_lived: ParticipantServer, refuses: Participant
) -> None:
    """By the order of what arrives, not by the clock.

    The emulator has one batch of a FIFO queue under way at a time: a hanging attempt holds up what
    is in the next batch. So much is allowed for each notification here, and no more.
    """

    def hang(_request: Request, _attempt: int) -> Answer:
        return Answer(200, after_seconds=600)

    hangs = long_lived.add(hang, name="hangs")
    healthy = [long_lived.add(name=f"healthy {number}") for number in range(3)]
    training = fl_server.training(
        hangs, refuses, *healthy, state=None, options={"failure_policy": "quorum"}
    )
    fl_server.let_it_be_read()

    training.write("ONGOING", 0)
    first = [arrived(each, 2)[1].at for each in healthy]
    training.write("ONGOING", 1)
    second = [arrived(each, 3)[2].at for each in healthy]
    training.write("COMPLETED", 1)
    for each in healthy:
        expect(each, START, update(0), update(1), FINISHED)

    attempts = [request.at for request in hangs.requests if request.label == START]
    assert len([at for at in attempts if at < max(first)]) <= 2, (attempts, first)
    assert len([at for at in attempts if at < max(second)]) <= 4, (attempts, second)
    # The end supersedes no start: it is tried until all attempts are used up.
    event = outcomes.wait_for(training, hangs, START)
    hangs.behaviour = always()  # or its end would hold up the tests that follow
    assert event["detail-type"] == "Notification Failed"


def test_what_comes_later_waits_until_the_receiver_has_taken_what_came_before(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    one, other = participants.add(flaky(1)), participants.add()
    training = fl_server.training(one, other, state="ONGOING")
    expect(other, START, update(0))
    expect(one, *[START] * 2, *[update(0)] * 2)

    training.write("COMPLETED")
    expect(one, *[START] * 2, *[update(0)] * 2, *[FINISHED] * 2)


def test_quick_changes_are_told_in_their_order(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    """Who has left again is told no start any more, but always that it was removed."""
    times = 12
    busy_at = {1, 2, 11, 18}
    known: list[str] = []

    def busy_now_and_then(request: Request, attempt: int) -> Answer:
        if attempt == 1:
            known.append(request.webhook_id)
        return Answer(503 if attempt == 1 and len(known) in busy_at else 200)

    receivers = [participants.add(), participants.add(busy_now_and_then)]
    training = fl_server.training(state="ONGOING")
    fl_server.let_it_be_read()

    for number in range(times):
        for each in receivers:
            training.join(each, joined_at=f"2026-03-01T12:00:{number:02}+00:00")
            training.leave(each)

    for each in receivers:
        told = eventually(
            partial(_told_once, each), lambda told: told.count(REMOVED) == times, "all removals"
        )
        starts = [at for at, label in enumerate(told) if label == START]
        assert all(told[at + 1] == REMOVED for at in starts), told


def _told_once(receiver: Participant) -> list[str]:
    """What a receiver was told, in order, whatever it asked to be told again."""
    return list({each.webhook_id: each.label for each in receiver.requests}.values())


def test_quick_rounds_never_go_back(
    fl_server: FlServer, participants: ParticipantServer, outcomes: Outcomes
) -> None:
    """A round that is over when it would be sent is left out; what is sent is in order."""
    rounds = 30
    one = participants.add()
    training = fl_server.training(one, state="ONGOING")
    for number in range(1, rounds):
        training.write("ONGOING", number)
    eventually(lambda: one.labels, lambda seen: seen[-1:] == [update(rounds - 1)], "the last round")
    training.write("COMPLETED", rounds)

    eventually(lambda: one.labels, lambda seen: seen[-1:] == [FINISHED], "the end")
    assert one.labels[0] == START
    told = [request.round for request in one.requests[1:-1]]
    assert told == sorted(set(told), key=lambda number: number or 0)
    outcomes.wait_for(training, one, FINISHED)
    ended = {
        event["detail"]["round"]: event["detail-type"]
        for event in outcomes.events(training, one.uuid)
        if event["detail"]["round"] is not None
    }
    assert ended == {
        number: f"Notification {'Accepted' if number in told else 'Superseded'}"
        for number in range(rounds)
    }


def test_300_participants_beside_small_trainings(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    """Each gets everything exactly once and in order, in trainings that run at the same time."""
    many = [participants.add(name=f"one of many, {number}") for number in range(300)]
    large = fl_server.training(state=None)
    fl_server.join_all(large, many)
    small = []
    for number in range(6):
        few = [participants.add(name=f"training {number}") for _ in range(3)]
        small.append((fl_server.training(*few), few))

    large.write("ONGOING")
    for training, _ in small:
        training.write("ONGOING")
    for training, few in small:
        for each in few:
            expect(each, START, update(0))
        training.write("ERROR" if training is small[0][0] else "COMPLETED")
    for number, (training, few) in enumerate(small):
        for each in few:
            requests = expect(each, START, update(0), FINISHED if number else ERROR)
            assert {request.message["training_uuid"] for request in requests} == {training.uuid}
    for each in many:
        expect(each, START, update(0))

    # In order after everything else: had anybody been sent anything twice, it would be there.
    fl_server.let_it_be_read()
    for each in many:
        requests = expect(each, START, update(0))
        assert {request.message["training_uuid"] for request in requests} == {large.uuid}
    ids = {request.webhook_id for each in many for request in each.requests}
    assert len(ids) == 2 * len(many)
