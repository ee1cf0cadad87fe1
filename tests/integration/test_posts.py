"""POSTs side by side, made by one thread, over real sockets."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from fl_notifications.deliveries.guard import EndpointGuard
from fl_notifications.deliveries.post import Forbidden, Poster, Responded, Unreachable
from fl_notifications.deliveries.posts import Ended, Posts
from tests.receivers.wire import Behaviour, Receiver, hang, status

GUARD = EndpointGuard([ip_network("127.0.0.0/8")], allow_plain_http=True)


def after(seconds: float) -> Behaviour:
    """Accept after a while."""

    def behave(connection: socket.socket, over: threading.Event) -> None:
        over.wait(seconds)
        status(200)(connection, over)

    return behave


@pytest.fixture
def posts() -> Iterator[Posts]:
    made = Posts(Poster(GUARD, timeout_seconds=10))
    yield made
    made.close()


def all_of(posts: Posts, count: int) -> list[Ended]:
    """Wait until so many have ended."""
    ended: list[Ended] = []
    patient = time.monotonic() + 10
    while len(ended) < count:
        assert time.monotonic() < patient
        ended += posts.wait(1)
    return ended


def test_receivers_that_take_their_time_do_so_side_by_side(posts: Posts) -> None:
    with ExitStack() as stack:
        receivers = [stack.enter_context(Receiver(after(0.2))) for _ in range(10)]
        started = time.monotonic()
        for each in receivers:
            posts.start(each.url, {}, b"{}")
        ended = all_of(posts, 10)
        assert time.monotonic() - started < 1.9  # one after the other they take 2
    assert {each.answer for each in ended} == {Responded(200, None)}
    assert all(each.seconds >= 0.2 for each in ended)


def test_each_has_the_answer_of_its_own_receiver(posts: Posts) -> None:
    with ExitStack() as stack:
        receivers = [stack.enter_context(Receiver(status(200 + n))) for n in range(20)]
        numbers = [posts.start(each.url, {}, b"{}") for each in receivers]
        ended = {each.number: each.answer for each in all_of(posts, 20)}
    assert ended == {number: Responded(200 + n, None) for n, number in enumerate(numbers)}


def test_one_that_hangs_ends_at_its_deadline_and_holds_up_nobody() -> None:
    posts = Posts(Poster(GUARD, timeout_seconds=0.5))
    with Receiver(hang()) as hanging, Receiver(status(200)) as healthy:
        first = posts.start(hanging.url, {}, b"{}")
        second = posts.start(healthy.url, {}, b"{}")
        (ended,) = posts.wait(5)
        assert (ended.number, ended.answer) == (second, Responded(200, None))
        (ended,) = posts.wait(5)
        assert (ended.number, ended.answer) == (first, Unreachable("timeout"))
        assert 0.5 <= ended.seconds < 2


def test_waiting_ends_when_it_was_said_though_nothing_has_ended(posts: Posts) -> None:
    with Receiver(hang()) as hanging:
        posts.start(hanging.url, {}, b"{}")
        started = time.monotonic()
        assert posts.wait(0.1) == []
        assert 0.1 <= time.monotonic() - started < 2


def test_after_the_first_the_others_are_given_a_little_time(posts: Posts) -> None:
    with Receiver(after(0.05)) as slow, Receiver(status(200)) as quick:
        for each in (slow, quick):
            posts.start(each.url, {}, b"{}")
        assert [each.number for each in posts.wait(5, linger=0.4)] == [1, 2]


def test_what_is_refused_at_once_has_ended_at_once(posts: Posts) -> None:
    posts.start("ftp://127.0.0.1/", {}, b"{}")
    (ended,) = posts.wait(0)
    assert ended.answer == Forbidden("url not http or https")


def test_one_that_cannot_be_made_does_not_end_the_others(posts: Posts) -> None:
    with Receiver(status(200)) as receiver:
        broken = posts.start(receiver.url, {"Host": "another"}, b"{}")
        posts.start(receiver.url, {}, b"{}")
        first, second = all_of(posts, 2)
    assert (first.number, type(first.answer)) == (broken, ValueError)
    assert second.answer == Responded(200, None)


def test_an_answer_that_came_while_nobody_looked_counts() -> None:
    """The thread may be at a call of AWS, until the deadline has passed."""
    answering, answered = threading.Event(), threading.Event()

    def behave(connection: socket.socket, over: threading.Event) -> None:
        answering.wait(10)
        status(200)(connection, over)
        answered.set()

    posts = Posts(Poster(GUARD, timeout_seconds=1))
    with Receiver(behave) as receiver:
        started = time.monotonic()
        posts.start(receiver.url, {}, b"{}")
        while not receiver.requests:
            assert posts.wait(0.01) == []
        answering.set()
        assert answered.wait(5)
        time.sleep(max(0.0, started + 1.05 - time.monotonic()))
        assert [each.answer for each in posts.wait(0)] == [Responded(200, None)]


def test_what_is_given_up_leaves_no_connection_open(posts: Posts) -> None:
    closed = threading.Event()

    def behave(connection: socket.socket, _over: threading.Event) -> None:
        if not connection.recv(1):
            closed.set()

    with Receiver(behave) as receiver:
        posts.start(receiver.url, {}, b"{}")
        posts.wait(0.1)
        posts.close()
        assert closed.wait(5)
        assert posts.wait(0) == []


def test_names_are_looked_up_beside_the_rest() -> None:
    release = threading.Event()

    def resolve(host: str) -> list[str]:
        if host == "slow.example":
            release.wait(10)
        return ["127.0.0.1"]

    posts = Posts(Poster(GUARD, timeout_seconds=5, resolve=resolve))
    with Receiver(status(200)) as receiver:
        slow = posts.start(f"http://slow.example:{receiver.port}/", {}, b"{}")
        posts.start(f"http://quick.example:{receiver.port}/", {}, b"{}")
        (ended,) = posts.wait(5)
        assert ended.number != slow
        release.set()
        (ended,) = posts.wait(5)
        assert (ended.number, ended.answer) == (slow, Responded(200, None))
