"""Whatever a receiver, a network or a URL does, a POST ends in an answer of ours.

`FUZZ_CASES` says how many cases there are in all (5,000 unless set): POSTs, but for a share that
goes to the reader of answers alone. Hypothesis thinks an example out; ten cases are made of each by
damaging it, which costs less than thinking ten out.
"""

import os
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from ipaddress import ip_network
from itertools import pairwise
from random import Random
from typing import get_args

import pytest
import trustme
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from fl_notifications.deliveries.guard import EndpointGuard, ForbiddenReason
from fl_notifications.deliveries.post import (
    MAX_ANSWER_BYTES,
    MAX_INTERIM_BYTES,
    Answer,
    Forbidden,
    Poster,
    Responded,
    Unreachable,
    UnreachableReason,
    _AnswerReader,
)
from tests.receivers.scripted import End, Script, ScriptedReceiver

CASES = int(os.environ.get("FUZZ_CASES", "5000"))
VARIANTS = 10
NAME = "receiver.example"
GUARD = EndpointGuard([ip_network("127.0.0.0/8")], allow_plain_http=True)

pytestmark = pytest.mark.timeout(max(120, CASES // 20))


def share(percent: int) -> settings:
    """Give the settings of a test that has this share of all cases."""
    return settings(
        max_examples=max(1, CASES * percent // 100 // VARIANTS),
        deadline=None,  # the machine may be busy
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


# Answers: well-formed, damaged, and anything.

_LINE_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])
_TEXT = st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b""))
_STATUS_LINES = st.builds(
    lambda minor, code, reason, end: b"HTTP/1.%d %d%s%s" % (minor, code, reason, end),
    st.integers(0, 9),
    st.one_of(
        st.integers(100, 999), st.sampled_from([100, 101, 103, 200, 204, 302, 304, 429, 503])
    ),
    st.one_of(st.just(b""), st.just(b" "), _TEXT.map(lambda text: b" " + text)),
    _LINE_ENDS,
)
_FIELDS = st.one_of(
    st.builds(lambda name, value: name + b":" + value, _TEXT, _TEXT),
    st.builds(
        lambda name, value: name + b": " + value,
        st.sampled_from([b"Retry-After", b"retry-after", b"RETRY-AFTER", b"Retry-After "]),
        st.one_of(
            st.integers(-1, 10**70).map(lambda number: b"%d" % number),
            st.just(b"Wed, 21 Oct 2026 07:28:00 GMT"),
            _TEXT,
        ),
    ),
    st.builds(
        lambda value: b"Content-Length: " + value,
        st.one_of(st.integers(-1, 10**6).map(lambda number: b"%d" % number), _TEXT),
    ),
    st.sampled_from(
        [
            b"Transfer-Encoding: chunked",
            b"Content-Encoding: gzip",
            b"Connection: keep-alive",
            b"Location: http://169.254.169.254/",
            b" folded",
            b"no colon",
            b"X: " + b"a" * 3000,
        ]
    ),
)
_HEADS = st.builds(
    lambda line, fields, end: line + b"".join(field + end for field in fields) + end,
    _STATUS_LINES,
    st.lists(_FIELDS, max_size=5),
    _LINE_ENDS,
)
_BODIES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b"", b"5\r\nhello\r\n0\r\n\r\n", b"\x1f\x8b\x08\x00", b"a" * 10_000]),
)
_WELL_FORMED = st.builds(
    lambda heads, body: b"".join(heads) + body, st.lists(_HEADS, min_size=1, max_size=3), _BODIES
)


ANSWERS = st.one_of(_WELL_FORMED, _WELL_FORMED, st.binary(max_size=300))
SEEDS = st.integers(0, 2**64 - 1)


def roll(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - reproducible damage, no secret


def variants(data: bytes, dice: Random) -> Iterator[bytes]:
    """Give the data as it is, and copies that are damaged in a few places or cut off."""
    yield data
    for _ in range(VARIANTS - 1):
        copy = bytearray(data)
        for _ in range(dice.choice([0, 1, 1, 2, 4])):
            at = dice.randint(0, len(copy))
            until = dice.choice([at, at, at + 1, at + 1, at + dice.randint(0, 9)])
            copy[at:until] = dice.choice(
                [b"", b"\n", b"\r\n", b" ", dice.randbytes(1), dice.randbytes(3), copy[:at]]
            )
        yield bytes(copy[: dice.randint(0, len(copy))] if dice.random() < 0.3 else copy)


_VERSIONS = frozenset(b"HTTP/1.%d" % minor for minor in range(10))
_CODES = frozenset(b"%d" % number for number in range(100, 1000))


def expected(data: bytes) -> Answer:
    """Read an answer a second way, line by line: what must come of it if it then ends."""
    rest, interim_left = data, MAX_INTERIM_BYTES
    while True:
        answer = rest[:MAX_ANSWER_BYTES]
        if not answer:
            return Unreachable("connection lost")
        line, end, headers = answer.partition(b"\n")
        version, _, code = line.removesuffix(b"\r").partition(b" ")
        code, _, reason = code.partition(b" ")
        if not end or version not in _VERSIONS or code not in _CODES or b"\r" in reason:
            return Unreachable("protocol error")
        status = int(code)
        if status >= 200:
            return Responded(status, _expected_retry_after(headers))
        # An interim answer: it does not count as a part of the final one.
        length = len(line) + 1
        ended = False
        while not ended:
            line, end, _ = rest[length:interim_left].partition(b"\n")
            if not end or status == 101:
                return Unreachable("protocol error")
            ended = line.removesuffix(b"\r") == b""
            length += len(line) + 1
        interim_left -= length
        if interim_left <= 0:
            return Unreachable("protocol error")
        rest = rest[length:]


def _expected_retry_after(headers: bytes) -> str | None:
    for line, following in pairwise(headers.split(b"\n")):
        field = line.removesuffix(b"\r")
        if not field:
            return None
        name, _, value = field.partition(b":")
        value = value.strip(b" \t")
        printable = all(0x20 <= byte < 0x7F for byte in value)
        folded = following.startswith((b" ", b"\t"))
        if name.lower() == b"retry-after" and 0 < len(value) <= 64 and printable and not folded:
            return value.decode()
    return None


def hold_what_always_holds(answer: Answer, sent: bytes) -> None:
    match answer:
        case Responded(status, retry_after):
            assert 200 <= status <= 999
            assert b" %d" % status in sent[: MAX_INTERIM_BYTES + MAX_ANSWER_BYTES]
            if retry_after is not None:
                assert retry_after.isprintable()
                assert retry_after.isascii()
                assert 0 < len(retry_after) <= 64
                assert retry_after.encode() in sent[: MAX_INTERIM_BYTES + MAX_ANSWER_BYTES]
        case Unreachable(reason):
            assert reason in get_args(UnreachableReason.__value__)
        case Forbidden():
            pytest.fail("the endpoint is allowed")


ENDS: Sequence[End] = ("close", "reset", "hang")
ENDS_WEIGHTS = (16, 3, 1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def receiver(authority: trustme.CA) -> Iterator[ScriptedReceiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    receiver = ScriptedReceiver(context)
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@cache
def poster(timeout_seconds: float, tls: ssl.SSLContext | None) -> Poster:
    return Poster(GUARD, timeout_seconds=timeout_seconds, resolve=lambda _: ["127.0.0.1"], tls=tls)


def post(receiver: ScriptedReceiver, script: Script, tls: ssl.SSLContext | None = None) -> Answer:
    receiver.script = script
    # Only what may hang needs to be hasty; what may not has all the time a busy machine takes.
    seconds = 0.05 if script.end == "hang" else 0.5 if script.flip_at is not None else 20
    scheme = "http" if script.tls == "no" else "https"
    return poster(seconds, tls).post(f"{scheme}://{NAME}:{receiver.port}/", {}, b"{}")


@share(50)
@given(answer=ANSWERS, seed=SEEDS)
@example(answer=b"HTTP/1.1 100 Continue\r\n\r\n", seed=0)
@example(answer=b"HTTP/1.1 100 X\r\n\r\n" * 240 + b"HTTP/1.1 100 X\r\n\r\nHTTP/1.1", seed=0)
def test_any_answer_is_read_as_its_lines_say(
    receiver: ScriptedReceiver, answer: bytes, seed: int
) -> None:
    dice = roll(seed)
    for data in variants(answer, dice):
        end: End = dice.choices(ENDS, ENDS_WEIGHTS)[0]
        note(f"{data!r}, {end}")
        got = post(receiver, Script(data, end))
        hold_what_always_holds(got, data)
        # A reset may overtake what was sent; who hangs may yet send more.
        if end == "close" or (end == "hang" and isinstance(got, Responded)):
            assert got == expected(data)
        if end == "hang" and isinstance(got, Unreachable):
            assert got.reason in {"timeout", "protocol error"}


@share(20)
@given(answer=ANSWERS, seed=SEEDS)
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(answer: bytes, seed: int) -> None:
    dice = roll(seed)
    for data in variants(answer, dice):
        reader = _AnswerReader()
        at = 0
        while not reader.complete:
            piece = data[at : at + min(reader.room, dice.choice([1, 2, 9, 99, 9999]))]
            reader.feed(piece)
            at += len(piece)
        note(f"{data!r}, read to {at}")
        if reader.status is None:
            assert Unreachable(reader.failure) == expected(data)
        else:
            assert Responded(reader.status, reader.retry_after) == expected(data)


_RECORDS = st.builds(
    lambda kind, version, size, rest: struct.pack(">BHH", kind, version, size) + rest,
    st.sampled_from([20, 21, 22, 23, 24, 0, 255]),
    st.sampled_from([0x0300, 0x0301, 0x0303, 0x0304, 0x7F1C]),
    st.integers(0, 0xFFFF),
    st.binary(max_size=200),
)


@share(10)
@given(answer=st.one_of(st.binary(max_size=200), _RECORDS), seed=SEEDS)
def test_any_answer_to_a_handshake_that_is_no_tls_is_unreachable(
    receiver: ScriptedReceiver, trusting: ssl.SSLContext, answer: bytes, seed: int
) -> None:
    dice = roll(seed)
    for data in variants(answer, dice):
        end: End = dice.choices(ENDS, ENDS_WEIGHTS)[0]
        note(f"{data!r}, {end}")
        got = post(receiver, Script(data, end, tls="raw"), trusting)
        assert isinstance(got, Unreachable)
        assert got.reason in {"tls error", "connection lost", "timeout"}


@share(5)
@given(answer=ANSWERS, seed=SEEDS)
def test_an_answer_in_tls_is_the_one_sent_or_none(
    receiver: ScriptedReceiver, trusting: ssl.SSLContext, answer: bytes, seed: int
) -> None:
    """Whatever byte of the server's side of TLS is changed, nobody puts words in its mouth."""
    dice = roll(seed)
    for data in variants(answer, dice):
        flip_at = dice.choice([None, dice.randint(0, 1500), dice.randint(0, 3000)])
        note(f"{data!r}, changed at {flip_at}")
        script = Script(data, tls="yes", flip_at=flip_at, flip=dice.randint(1, 255))
        got = post(receiver, script, trusting)
        hold_what_always_holds(got, data)
        told = expected(data)
        if flip_at is None:
            assert got == told
        elif isinstance(got, Responded):
            assert isinstance(told, Responded)
            # Cut off at a changed byte, it may have lost headers.
            assert got in {told, Responded(told.status, None)}


_URLS = st.one_of(
    st.text(max_size=60),
    st.builds(
        lambda scheme, host, port, rest: f"{scheme}://{host}{port}{rest}",
        st.sampled_from(["http", "https", "HTTP", "ftp", ""]),
        st.one_of(
            st.ip_addresses().map(
                lambda address: f"[{address}]" if ":" in str(address) else address
            ),
            st.text(max_size=20),
            st.from_regex(r"[a-z0-9.\-_]{1,70}", fullmatch=True),
            st.sampled_from(["[::1]", "[fe80::1%25lo]", "localhost", "0x7f.1", "user@host", "%31"]),
        ),
        st.one_of(
            st.just(""), st.integers(-1, 70000).map(lambda port: f":{port}"), st.text(max_size=3)
        ),
        st.one_of(st.just("/"), st.text(max_size=10).map(lambda text: f"/{text}")),
    ),
)


@share(15)
@given(
    text=_URLS,
    resolved=st.one_of(
        st.lists(st.one_of(st.ip_addresses().map(str), st.text(max_size=10)), max_size=5),
        st.sampled_from([OSError("no"), socket.gaierror(-2, "no"), UnicodeError("no")]),
    ),
    seed=SEEDS,
)
def test_any_url_and_any_look_up_end_in_an_answer(
    monkeypatch: pytest.MonkeyPatch, text: str, resolved: list[str] | Exception, seed: int
) -> None:
    def resolve(_host: str) -> Sequence[str]:
        if isinstance(resolved, Exception):
            raise resolved
        return resolved

    monkeypatch.setattr(
        "fl_notifications.deliveries.post._connect_one", _refuse
    )  # no case calls anybody
    poster = Poster(EndpointGuard(allow_plain_http=True), timeout_seconds=20, resolve=resolve)
    encoded = text.encode("utf-8", "surrogatepass")
    for url in [data.decode("utf-8", "surrogateescape") for data in variants(encoded, roll(seed))]:
        note(repr(url))
        match poster.post(url, {}, b"{}"):
            case Forbidden(reason):
                assert reason in get_args(ForbiddenReason.__value__)
            case Unreachable(reason):
                # A name that leads to a forbidden address may lead elsewhere at the next attempt.
                assert reason in {"address not allowed", "connection refused", "name not resolved"}
            case Responded():
                pytest.fail("nobody was called")


def _refuse(*_: object) -> socket.socket:
    raise ConnectionRefusedError
