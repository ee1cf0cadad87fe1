"""Whatever comes to the mailbox: 4xx, nothing is changed, and nothing of it is told to anybody.

`FUZZ_CASES` says how many requests there are (5,000 unless set). A tenth of them is thought out by
Hypothesis, which makes small what fails; the others are made by chance, from a seed.
"""

import base64
import json
import logging
import os
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl_notifications.deliveries.signing import MasterSecrets, receiver_secret
from fl_notifications.telemetry.journal import Journal
from fl_notifications.telemetry.logger import Logger
from fl_notifications.telemetry.metrics import Tally
from fl_notifications.webhooks import signature_headers
from functions.mailbox.mailbox import Mailbox
from functions.mailbox.request import Request
from tests.made import NOW, StoppedClock, uuid_of

if TYPE_CHECKING:
    from functions.mailbox.exchange import Exchange

CASES = int(os.environ.get("FUZZ_CASES", "5000"))
MASTER = "the master secret"
ONE = uuid_of("one")
CANARY = "hunter2canary"
"""In every request; must be in no answer and no line."""

pytestmark = pytest.mark.timeout(max(120, CASES // 20))


class _Untouched:
    """In place of all that could be changed."""

    def __init__(self) -> None:
        self.served = 0

    def exchange(self, _request: Request, _secrets: Sequence[str]) -> dict[str, Any]:
        self.served += 1
        return {}


class _Known:
    """In place of the secrets."""

    def get(self) -> tuple[str, ...]:
        return (MASTER, "the one before")


class Under:
    """The mailbox under test, with what it has logged."""

    def __init__(self) -> None:
        self.log = StringIO()
        logger = Logger("fuzzed_mailbox", logging.DEBUG, self.log)
        self.untouched = _Untouched()
        self.mailbox = Mailbox(
            exchange=cast("Exchange", self.untouched),
            secrets=cast("MasterSecrets", _Known()),
            clock=StoppedClock(),
            journal=Journal(logger, Tally("fuzzed")),
        )

    def check(self, event: Mapping[str, Any]) -> int:
        answer = self.mailbox.answer(event)
        status: int = answer["statusCode"]
        assert 400 <= status < 500, answer
        assert self.untouched.served == 0
        assert len(answer["body"]) < 300
        assert CANARY not in json.dumps(answer)
        assert self.log.getvalue() == "", "a refusal is no line: whoever floods it pays nothing"
        return status


def valid() -> dict[str, Any]:
    acknowledge = [
        {"id": CANARY, "outcome": "accepted"},
        {"id": f"{CANARY}2", "outcome": "rejected", "reason": "no-gpu"},
    ]
    return {"receiver": ONE, "max": 10, "acknowledge": acknowledge}


def event_of(
    body: str | bytes, headers: Mapping[str, str], *, method: str = "POST", path: str = "/"
) -> dict[str, Any]:
    encoded = isinstance(body, bytes)
    text = base64.b64encode(body).decode() if isinstance(body, bytes) else body
    return {
        "rawPath": path,
        "headers": dict(headers),
        "requestContext": {"http": {"method": method}},
        "body": text,
        "isBase64Encoded": encoded,
    }


def signed(body: str, *, secret: str, at: datetime = NOW) -> dict[str, str]:
    return signature_headers([secret], f"req_{CANARY}", at, body)


def secret_of(name: str) -> str:
    return receiver_secret(MASTER, uuid_of(name))


def test_the_request_that_all_others_are_made_of_is_served() -> None:
    under = Under()
    body = json.dumps(valid())
    answer = under.mailbox.answer(event_of(body, signed(body, secret=secret_of("one"))))
    assert answer["statusCode"] == 200
    assert under.untouched.served == 1


# --- thought out by Hypothesis --------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
names = st.sampled_from(
    ("webhook-id", "webhook-timestamp", "webhook-signature", "authorization", CANARY)
)
unsigned_headers = st.dictionaries(
    names, st.text(max_size=40) | st.sampled_from((CANARY, "v1,", "1772366400", "v1,AAAA v1,é"))
)


@settings(max_examples=max(1, CASES // 20), suppress_health_check=list(HealthCheck))
@given(
    body=st.binary(max_size=200) | st.text(max_size=200) | anything.map(json.dumps),
    headers=unsigned_headers,
    method=st.sampled_from(("POST", "GET", "PUT", "OPTIONS", CANARY)),
    path=st.sampled_from(("/", "//", "/../", f"/{CANARY}", "")),
)
def test_nothing_that_is_not_signed_is_served(
    body: str | bytes, headers: dict[str, str], method: str, path: str
) -> None:
    Under().check(event_of(body, headers, method=method, path=path))


@settings(max_examples=max(1, CASES // 20), suppress_health_check=list(HealthCheck))
@given(
    key=st.sampled_from(("receiver", "max", "acknowledge", "max ", CANARY, "notification_type")),
    value=anything,
)
def test_nothing_that_is_no_request_is_served_although_it_is_signed(key: str, value: Any) -> None:
    under = Under()
    said = valid() | {key: value}
    body = json.dumps(said)
    answer = under.mailbox.answer(event_of(body, signed(body, secret=secret_of("one"))))
    if answer["statusCode"] != 200:
        assert answer["statusCode"] in {400, 401}
        assert CANARY not in json.dumps(answer)
        assert under.log.getvalue() == ""
    else:
        assert key in {"max", "acknowledge"}
        assert not value or 1 <= value <= 25


# --- made by chance -------------------------------------------------------------------------------


def mutated(chance: random.Random, said: dict[str, Any]) -> str:
    """A valid body with something wrong in it, or, if it comes to nothing, a valid one."""
    junk: Any = chance.choice(
        (
            None,
            [],
            {},
            -1,
            26,
            1e999,
            "",
            CANARY,
            CANARY * 9000,
            ONE.upper(),
            [[]] * 30,
            {CANARY: 1},
        )
    )
    match chance.randrange(6):
        case 0:
            said[chance.choice((*said, CANARY))] = junk
        case 1:
            said["acknowledge"][chance.randrange(2)][chance.choice(("id", "outcome", CANARY))] = (
                junk
            )
        case 2:
            said["acknowledge"] *= 14
        case 3:
            del said[chance.choice(("receiver", "max"))]
    text = json.dumps(said)
    if chance.random() < 0.5:
        at = chance.randrange(len(text))
        text = (
            text[:at] + chance.choice(("", "\x00", '"', "{", "[" * 5000, "é", "\ud800")) + text[at:]
        )
    return text


def forged(chance: random.Random, body: str) -> dict[str, str]:
    """Headers that sign a body, but not as its receiver would now."""
    plain = body.encode(errors="replace").decode()
    match chance.randrange(5):
        case 0:
            return {}
        case 1:
            return signed(plain, secret=secret_of("another receiver"))
        case 2:
            minutes = chance.choice((-10_000, -6, 6, 10_000))
            at = NOW + timedelta(minutes=minutes)
            return signed(plain, secret=secret_of("one"), at=at)
        case 3:
            headers = signed(plain, secret=secret_of("one"))
            name = chance.choice(list(headers))
            headers[name] = chance.choice(("", CANARY, "9" * 5000, "v1,", "v1a,AAAA", "-1", "0x1"))
            return headers
        case _:
            return signed(f"{plain} ", secret=secret_of("one"))


def test_nothing_of_many_forged_requests_is_served_logged_or_answered() -> None:
    chance = random.Random(20260301)  # noqa: S311 - a seed, nothing secret
    under = Under()
    statuses = set()
    for _ in range(max(1, CASES * 9 // 10)):
        body = mutated(chance, valid())
        headers = {"x-other": CANARY, **forged(chance, body)}
        statuses.add(under.check(event_of(body, headers)))
    assert {400, 401, 413} <= statuses
