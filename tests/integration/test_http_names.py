"""Names over a real name server and real sockets: looked up once, judged whole, called by number.

127.0.0.2 and 127.0.0.3 stand for public addresses here (they are opened), 127.0.0.66 for a private
one.
"""

import errno
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_notifications.deliveries.guard import EndpointGuard
from fl_notifications.deliveries.post import (
    MAX_LOOKUPS,
    Answer,
    Forbidden,
    Poster,
    Resolver,
    Responded,
    Unable,
    Unreachable,
    in_turn,
    system_resolve,
)
from tests.receivers.wire import NameServer, Receiver, hang, status

NAME = "receiver.example"
PUBLIC, OTHER_PUBLIC, PRIVATE = "127.0.0.2", "127.0.0.3", "127.0.0.66"
GUARD = EndpointGuard([ip_network(PUBLIC), ip_network(OTHER_PUBLIC)], allow_plain_http=True)
LOOPBACK = EndpointGuard([ip_network("127.0.0.0/8")], allow_plain_http=True)
SLACK_SECONDS = 1.0


def poster(resolve: Resolver, timeout_seconds: float = 10) -> Poster:
    return Poster(GUARD, timeout_seconds=timeout_seconds, resolve=resolve)


def post(poster: Poster, port: int, name: str = NAME) -> Answer:
    return poster.post(f"http://{name}:{port}/inbox", {}, b"{}")


def test_a_name_is_looked_up_once_and_kept_for_the_host_header() -> None:
    with NameServer({NAME: [[PUBLIC]]}) as names, Receiver(status(200), host=PUBLIC) as receiver:
        assert post(poster(names.resolve), receiver.port) == Responded(200, None)
        assert names.lookups(NAME) == 1
    assert f"\r\nHost: {NAME}:{receiver.port}\r\n".encode() in receiver.requests[0]


def test_a_name_that_changes_its_address_between_two_look_ups_gains_nothing() -> None:
    """DNS rebinding: a good address for the check, a private one for the connection."""
    with ExitStack() as stack:
        names = stack.enter_context(NameServer({NAME: [[PUBLIC], [PRIVATE]]}))
        public = stack.enter_context(Receiver(status(200), host=PUBLIC))
        private = stack.enter_context(Receiver(status(200), host=PRIVATE, port=public.port))
        ours = poster(names.resolve)

        assert post(ours, public.port) == Responded(200, None)
        assert names.lookups(NAME) == 1
        assert (public.connections, private.connections) == (1, 0)

        assert post(ours, public.port) == Unreachable("address not allowed")
        assert names.lookups(NAME) == 2
        assert (public.connections, private.connections) == (1, 0)


@pytest.mark.parametrize(
    "addresses",
    [
        [PRIVATE],
        [PUBLIC, PRIVATE],
        [PRIVATE, PUBLIC],
        [PUBLIC, OTHER_PUBLIC, PRIVATE],
        [PUBLIC, "10.0.0.1"],
        [PUBLIC, "0.0.0.0"],  # noqa: S104 - an address to refuse, not to bind to
        [PUBLIC, "::1"],
        [PUBLIC, "::ffff:127.0.0.2"],
        [PUBLIC, "::127.0.0.2"],
        [PUBLIC, "64:ff9b::7f00:2"],
        [PUBLIC, "fe80::1"],
        [*[f"203.0.114.{number}" for number in range(50)], PRIVATE],
    ],
)
def test_a_mix_of_good_and_bad_addresses_is_refused_without_a_connection(
    addresses: Sequence[str],
) -> None:
    with ExitStack() as stack:
        names = stack.enter_context(NameServer({NAME: [addresses]}))
        public = stack.enter_context(Receiver(status(200), host=PUBLIC))
        private = stack.enter_context(Receiver(status(200), host=PRIVATE, port=public.port))
        assert post(poster(names.resolve), public.port) == Unreachable("address not allowed")
    assert (public.connections, private.connections) == (0, 0)


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "168.63.129.16"])
def test_a_name_of_a_metadata_service_is_refused(address: str) -> None:
    guard = EndpointGuard([ip_network("0.0.0.0/0"), ip_network("::/0")], allow_plain_http=True)
    with NameServer({NAME: [[address]]}) as names:
        ours = Poster(guard, timeout_seconds=10, resolve=names.resolve)
        assert post(ours, 80) == Unreachable("metadata address")


def test_a_name_that_leads_to_the_runtime_api_is_refused() -> None:
    guard = EndpointGuard(
        [ip_network("127.0.0.0/8")], allow_plain_http=True, own_services={("127.0.0.1", 9001)}
    )
    with NameServer({NAME: [["127.0.0.1"]]}) as names:
        ours = Poster(guard, timeout_seconds=10, resolve=names.resolve)
        assert post(ours, 9001) == Unreachable("own service")


def test_an_address_needs_no_look_up() -> None:
    def never(host: str) -> Sequence[str]:
        raise AssertionError(host)

    with Receiver(status(200), host=PUBLIC) as receiver:
        assert post(poster(never), receiver.port, PUBLIC) == Responded(200, None)


def test_a_refused_url_is_not_looked_up() -> None:
    with NameServer({NAME: [[PUBLIC]]}) as names:
        ours = Poster(EndpointGuard(), timeout_seconds=10, resolve=names.resolve)
        assert post(ours, 80) == Forbidden("plain http not allowed")
        assert names.lookups(NAME) == 0


def test_a_name_that_does_not_exist_may_exist_later() -> None:
    with NameServer({}) as names:
        assert post(poster(names.resolve), 80) == Unreachable("name not resolved")


@pytest.mark.parametrize("text", ["", "nonsense", "127.1", "fe80::1%x%y", "\x00"])
def test_a_resolver_s_answer_that_is_no_address_is_none(text: str) -> None:
    assert post(poster(lambda _: [text]), 80) == Unreachable("name not resolved")


def test_a_scoped_address_is_refused() -> None:
    assert post(poster(lambda _: ["fe80::1%lo"]), 80) == Unreachable("address not allowed")


def test_an_address_that_refuses_the_connection_gives_way_to_the_next() -> None:
    with (
        NameServer({NAME: [[PUBLIC, OTHER_PUBLIC]]}) as names,
        Receiver(status(200), host=OTHER_PUBLIC) as receiver,
    ):
        assert post(poster(names.resolve), receiver.port) == Responded(200, None)
        assert (receiver.connections, names.lookups(NAME)) == (1, 1)


@pytest.mark.parametrize("addresses", [[PUBLIC, "2600::1"], ["2600::1", PUBLIC]])
def test_the_reason_is_that_of_an_address_there_is_a_way_to(
    monkeypatch: pytest.MonkeyPatch, addresses: Sequence[str]
) -> None:
    class WithoutIpv6(socket.socket):
        def connect(self, address: tuple[str, int], /) -> None:  # type: ignore[override]
            raise OSError(errno.ENETUNREACH if ":" in address[0] else errno.ECONNREFUSED, "")

    monkeypatch.setattr("socket.socket", WithoutIpv6)
    assert post(poster(lambda _: addresses), 80) == Unreachable("connection refused")


def test_an_answer_of_one_address_is_not_asked_for_again_at_another() -> None:
    with ExitStack() as stack:
        names = stack.enter_context(NameServer({NAME: [[PUBLIC, OTHER_PUBLIC]]}))
        first = stack.enter_context(Receiver(status(503), host=PUBLIC))
        other = stack.enter_context(Receiver(status(200), host=OTHER_PUBLIC, port=first.port))
        assert post(poster(names.resolve), first.port) == Responded(503, None)
    assert (len(first.requests), len(other.requests)) == (1, 0)


def test_an_address_that_swallows_everything_leaves_time_for_the_next() -> None:
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver(status(200), host=OTHER_PUBLIC))
        stack.enter_context(swallowing(PUBLIC, receiver.port))
        ours = poster(lambda _: [PUBLIC, OTHER_PUBLIC], timeout_seconds=1)
        started = time.monotonic()
        assert post(ours, receiver.port) == Responded(200, None)
        assert time.monotonic() - started == pytest.approx(0.5, abs=0.3)


@contextmanager
def swallowing(host: str, port: int) -> Iterator[None]:
    """A place that answers no connection attempt, as its queue of them is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex((host, port))
        yield


def test_only_a_few_of_many_addresses_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    class Refusing(socket.socket):
        def connect(self, address: tuple[str, int], /) -> None:  # type: ignore[override]
            tried.append(address[0])
            raise ConnectionRefusedError

    many = [f"8.8.8.{number}" for number in range(200)]
    monkeypatch.setattr("socket.socket", Refusing)
    assert post(poster(lambda _: many), 80) == Unreachable("connection refused")
    assert len(set(tried)) == len(tried) == 4
    assert set(tried) < set(many)


def test_a_look_up_that_hangs_costs_the_deadline_and_no_more() -> None:
    with NameServer({NAME: []}) as names:
        started = time.monotonic()
        assert post(poster(names.resolve, 0.3), 80) == Unreachable("timeout")
        assert 0.3 <= time.monotonic() - started < 0.3 + SLACK_SECONDS


def test_names_that_hang_do_not_make_others_wait() -> None:
    release = threading.Event()

    def resolve(host: str) -> Sequence[str]:
        if host.startswith("hanging"):
            release.wait(20)
        return [PUBLIC]

    ours = poster(resolve, 3)
    with Receiver(status(200), host=PUBLIC) as receiver:
        threads = [
            threading.Thread(target=post, args=(ours, 80, f"hanging{number}.example"))
            for number in range(30)
        ]
        for thread in threads:
            thread.start()
        started = time.monotonic()
        assert post(ours, receiver.port) == Responded(200, None)
        assert time.monotonic() - started < SLACK_SECONDS
        release.set()
        for thread in threads:
            thread.join()


def test_look_ups_left_behind_are_bounded_and_come_back() -> None:
    release = threading.Event()

    def resolve(host: str) -> Sequence[str]:
        release.wait(20)
        return [PUBLIC]

    ours = poster(resolve, 0.01)
    for _ in range(MAX_LOOKUPS):
        assert post(ours, 80) == Unreachable("timeout")
    assert post(ours, 80) == Unable("no threads left")
    release.set()
    patient = time.monotonic() + 10
    while isinstance(post(ours, 1), Unable):
        assert time.monotonic() < patient
        time.sleep(0.01)


def test_threads_for_look_ups_are_used_again() -> None:
    ours = poster(lambda _: [PUBLIC])
    before = threading.active_count()
    for _ in range(100):
        post(ours, 1)
    assert threading.active_count() - before <= 3


def test_threads_for_look_ups_end_when_they_are_not_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fl_notifications.deliveries.post.IDLE_SECONDS", 0.05)
    ours = poster(lambda _: [PUBLIC])
    before = threading.active_count()
    for _ in range(3):
        assert post(ours, 1) == Unreachable("connection refused")
        patient = time.monotonic() + 10
        while threading.active_count() > before:
            assert time.monotonic() < patient
            time.sleep(0.01)


def test_no_more_threads_is_no_fault_of_the_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert post(poster(lambda _: [PUBLIC]), 80) == Unable("no threads left")


@pytest.mark.parametrize(
    ("number", "answer"),
    [
        (errno.EMFILE, Unable("no sockets left")),
        (errno.ENFILE, Unable("no sockets left")),
        (errno.ENOBUFS, Unable("no memory left")),
        (errno.ENOMEM, Unable("no memory left")),
        (errno.ENETUNREACH, Unable("no way out")),
        (errno.EHOSTUNREACH, Unable("no way out")),
        (errno.ECONNREFUSED, Unreachable("connection refused")),
    ],
)
def test_what_is_wrong_with_every_connection_is_no_fault_of_the_receiver(
    monkeypatch: pytest.MonkeyPatch, number: int, answer: Answer
) -> None:
    class Broken(socket.socket):
        def connect(self, address: tuple[str, int], /) -> None:  # type: ignore[override]
            raise OSError(number, address[0])

    monkeypatch.setattr("socket.socket", Broken)
    assert post(poster(lambda _: [PUBLIC, "2600::1"]), 80) == answer


def test_no_route_to_one_receiver_is_its_own_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(socket.socket):
        def connect(self, address: tuple[str, int], /) -> None:  # type: ignore[override]
            if address[0] == "8.8.8.8":
                raise OSError(errno.ENETUNREACH, "")

    monkeypatch.setattr("socket.socket", Cut)
    assert post(poster(lambda _: ["8.8.8.8"]), 80) == Unreachable("no route")


def test_without_sockets_nobody_is_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("socket.socket", refuse)
    assert post(poster(lambda _: [PUBLIC]), 80) == Unable("no sockets left")


CONTROL = "sqs.example"


@pytest.mark.parametrize("control", [[PUBLIC], []], ids=["resolves", "does not"])
@pytest.mark.parametrize("hangs", [True, False], ids=["in time", "at once"])
def test_a_resolver_that_answers_nobody_is_no_fault_of_the_receiver(
    control: list[str],
    hangs: bool,  # noqa: FBT001 - a parameter
) -> None:
    over = threading.Event()

    def resolve(host: str) -> Sequence[str]:
        if host == CONTROL:
            return control
        if hangs:
            over.wait(5)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    ours = Poster(GUARD, timeout_seconds=0.4, resolve=resolve, control=CONTROL)
    own = Unreachable("timeout" if hangs else "name not resolved")
    assert post(ours, 80) == (own if control else Unable("no resolver"))
    over.set()


def test_a_resolver_that_swallows_everything_is_no_fault_of_the_receiver() -> None:
    over = threading.Event()

    def resolve(_host: str) -> Sequence[str]:
        over.wait(5)
        return []

    ours = Poster(GUARD, timeout_seconds=0.3, resolve=resolve, control=CONTROL)
    started = time.monotonic()
    assert post(ours, 80) == Unable("no resolver")
    assert time.monotonic() - started < 0.3 + SLACK_SECONDS
    over.set()


# --- addresses in turn ----------------------------------------------------------------------------

V4 = [ip_address(f"203.0.114.{number}") for number in range(1, 5)]
V6 = [ip_address(f"2600::{number}") for number in range(1, 5)]
families = st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(any)


@given(families, st.booleans(), st.randoms(), st.text(max_size=5))
def test_each_turn_begins_with_another_address_whatever_order_the_resolver_gives(
    counts: tuple[int, int],
    v6_first: bool,  # noqa: FBT001 - a parameter
    chance: random.Random,
    key: str,
) -> None:
    v4, v6 = V4[: counts[0]], V6[: counts[1]]
    first = []
    for turn in range(len(v4) + len(v6)):
        chance.shuffle(v4)
        chance.shuffle(v6)
        ordered = in_turn([*v6, *v4] if v6_first else [*v4, *v6], turn, key)
        assert set(ordered) == {*v4, *v6}
        first.append(ordered[0])
    assert set(first) == {*v4, *v6}


@given(st.integers(0, 10), st.text(max_size=5))
def test_the_families_alternate_and_the_resolver_s_first_is_first(turn: int, key: str) -> None:
    ordered = in_turn([*V6, *V4], turn, key)
    versions = [address.version for address in ordered]
    assert versions == ([6, 4] * 4 if turn % 2 == 0 else [4, 6] * 4)


def test_the_last_of_five_addresses_is_reached_although_four_refuse() -> None:
    with Receiver(status(200), host="127.0.0.9") as receiver:
        addresses = [*(f"127.0.0.{number}" for number in range(3, 7)), "127.0.0.9"]
        ours = Poster(LOOPBACK, timeout_seconds=10, resolve=lambda _: addresses)
        url = f"http://{NAME}:{receiver.port}/inbox"
        answers = [ours.post(url, {}, b"{}", turn=turn) for turn in range(6)]
    assert Responded(200, None) in answers


def test_an_address_that_hangs_costs_one_attempt() -> None:
    with (
        Receiver(hang(), host="127.0.0.3") as hanging,
        Receiver(status(200), host="127.0.0.4", port=hanging.port),
    ):
        ours = Poster(LOOPBACK, timeout_seconds=0.3, resolve=lambda _: ["127.0.0.3", "127.0.0.4"])
        url = f"http://{NAME}:{hanging.port}/inbox"
        answers = [ours.post(url, {}, b"{}", turn=turn) for turn in range(2)]
    assert sorted(map(str, answers)) == sorted(
        map(str, [Responded(200, None), Unreachable("timeout")])
    )


def test_the_system_s_resolver_gives_addresses() -> None:
    assert "127.0.0.1" in system_resolve("localhost")


def test_the_system_s_resolver_is_asked_for_the_name_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def getaddrinfo(host: object, port: object, **_: object) -> list[object]:
        asked.append((host, port))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 0))]

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    assert system_resolve("xn--mnchen-3ya.example") == ["8.8.8.8"]
    assert asked == [(b"xn--mnchen-3ya.example", None)]
