"""The participants' side: verifying, serving, and the mailbox's client without a network."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_notifications.receiver import (
    BadSecretError,
    LaterError,
    Mailbox,
    MailboxError,
    MailboxToken,
    MessageTooNewError,
    MessageTooOldError,
    MissingHeaderError,
    NotANotificationError,
    Notification,
    RejectedError,
    Reply,
    WrongSignatureError,
    respond,
    verify,
)
from fl_notifications.receiver.forward import Forwarder
from fl_notifications.webhooks import check_signature, signature_headers
from tests.made import NOW, TRAINING_UUID, uuid_of

SECRET = f"whsec_{base64.b64encode(b'a secret of thirty-two bytes....').decode()}"
OTHER_SECRET = f"whsec_{base64.b64encode(b'another one of thirty-two bytes.').decode()}"
CONTENT = json.dumps(
    {
        "notification_type": "UPDATE_ROUND_START",
        "body": {"round": 3, "global_model_uuid": uuid_of("model"), "settings": {"epochs": 2}},
        "training_uuid": TRAINING_UUID,
    }
)


def signed(content: str = CONTENT, secret: str = SECRET, at: datetime = NOW) -> dict[str, str]:
    return signature_headers([secret], "some-id", at, content)


# --- verify ---------------------------------------------------------------------------------------


def test_a_notification_is_read() -> None:
    found = verify(signed(), CONTENT.encode(), SECRET, now=NOW)

    assert (found.id, found.type, found.round) == ("some-id", "UPDATE_ROUND_START", 3)
    assert (found.training_uuid, found.model_uuid) == (TRAINING_UUID, uuid_of("model"))
    assert found.settings == {"epochs": 2}
    assert found.content == CONTENT.encode()


def test_names_of_headers_count_in_any_case() -> None:
    headers = {name.title(): value for name, value in signed().items()}
    assert verify(headers, CONTENT, SECRET, now=NOW).id == "some-id"


def test_one_of_several_secrets_is_enough_while_they_are_changed() -> None:
    assert verify(signed(), CONTENT, [OTHER_SECRET, SECRET], now=NOW).round == 3


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_told(name: str) -> None:
    headers = signed()
    del headers[name]
    with pytest.raises(MissingHeaderError, match=name):
        verify(headers, CONTENT, SECRET, now=NOW)


@pytest.mark.parametrize("timestamp", ["soon", "-1", "1e9", "9" * 30, "9" * 5000, "١٢٣"])
def test_a_timestamp_that_is_none_is_told(timestamp: str) -> None:
    with pytest.raises(MissingHeaderError, match="webhook-timestamp"):
        verify(signed() | {"webhook-timestamp": timestamp}, CONTENT, SECRET, now=NOW)


def test_a_replay_is_too_old() -> None:
    with pytest.raises(MessageTooOldError):
        verify(signed(at=NOW - timedelta(minutes=5, seconds=1)), CONTENT, SECRET, now=NOW)


def test_the_future_is_too_new() -> None:
    with pytest.raises(MessageTooNewError):
        verify(signed(at=NOW + timedelta(minutes=5, seconds=1)), CONTENT, SECRET, now=NOW)


def test_another_secret_is_told() -> None:
    with pytest.raises(WrongSignatureError):
        verify(signed(), CONTENT, OTHER_SECRET, now=NOW)


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_a_body_with_any_byte_changed_is_forged(at: int, by: int) -> None:
    content = bytearray(CONTENT.encode())
    content[at] ^= by
    with pytest.raises(WrongSignatureError):
        verify(signed(), bytes(content), SECRET, now=NOW)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"notification_type": 1, "body": {}}', '{"notification_type": "A"}'],
)
def test_what_is_signed_but_no_notification_is_told(content: str) -> None:
    with pytest.raises(NotANotificationError):
        verify(signed(content), content, SECRET, now=NOW)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_a", "c2VjcmV0"])
def test_a_secret_that_is_none_is_told_and_not_quoted(secret: str) -> None:
    with pytest.raises(BadSecretError, match=r"must be whsec_ and base64$"):
        verify(signed(), CONTENT, secret, now=NOW)


@given(
    st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "other"]),
        st.text(max_size=40),
    ),
    st.binary(max_size=40),
)
def test_nothing_but_these_errors_comes_of_hostile_input(
    headers: dict[str, str], body: bytes
) -> None:
    with pytest.raises(
        (MissingHeaderError, MessageTooOldError, MessageTooNewError, WrongSignatureError)
    ):
        verify(headers, body, SECRET, now=NOW)


# --- serve ----------------------------------------------------------------------------------------


def raising(error: Exception) -> Callable[[Notification], None]:
    def handle(_notification: Notification) -> None:
        raise error

    return handle


def respond_now(
    handle: Callable[[Notification], object], *, secret: str = SECRET, content: str = CONTENT
) -> Reply:
    headers = signed(content, at=datetime.now(UTC))
    return respond(headers, content.encode(), secret, handle)


def test_returning_accepts() -> None:
    got: list[Notification] = []
    assert respond_now(got.append) == Reply(200)
    assert [each.round for each in got] == [3]


def test_raising_says_what_to_answer() -> None:
    assert respond_now(raising(RejectedError("no-gpu"))) == Reply(422)
    assert respond_now(raising(LaterError())) == Reply(503)
    assert respond_now(raising(LaterError(1.2))) == Reply(503, {"Retry-After": "2"})


def test_what_is_not_ours_is_refused_unseen() -> None:
    unseen = raising(AssertionError("it was handed on"))
    assert respond_now(unseen, secret=OTHER_SECRET) == Reply(401)
    assert respond_now(unseen, content="{}") == Reply(400)
    assert respond({}, b"", SECRET, unseen) == Reply(400)


def test_an_error_of_the_handler_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        respond_now(raising(KeyError("a bug")))


# --- token ----------------------------------------------------------------------------------------


def test_a_token_says_what_it_is_and_comes_back() -> None:
    token = MailboxToken.model_validate(
        {"url": "https://mailbox.example/", "receiver": uuid_of("one"), "secret": SECRET}
    )
    assert str(token).startswith("fl-mailbox-1.")
    assert MailboxToken.parse(f" {token}\n") == token
    assert SECRET not in repr(token)


@given(st.text(max_size=60).map(lambda text: f"fl-mailbox-1.{text}") | st.text(max_size=60))
def test_a_token_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a mailbox token"):
        MailboxToken.parse(text)


# --- the mailbox's client -------------------------------------------------------------------------


@dataclass
class World:
    """A mailbox in memory that keeps the contract, a network with faults, and a virtual clock."""

    waiting: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    faults: Iterator[str] = field(default_factory=lambda: iter(()))
    seconds: float = 0.0
    server_ahead: timedelta = timedelta()
    requests: int = 0
    acknowledged: list[dict[str, str]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def mailbox(self, secret: str = SECRET) -> Mailbox:
        def sleep(seconds: float) -> None:
            self.seconds += seconds
            self.slept.append(seconds)

        return Mailbox(
            "https://mailbox.example/",
            uuid_of("one"),
            secret,
            client=httpx.Client(transport=httpx.MockTransport(self.answer)),
            now=self.now,
            monotonic=lambda: self.seconds,
            sleep=sleep,
        )

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def add(self, notification_id: str, training: str = "a", round_number: int = 0) -> None:
        self.waiting[notification_id] = json.dumps(
            {
                "notification_type": "UPDATE_ROUND_START",
                "body": {"round": round_number},
                "training_uuid": uuid_of(training),
            }
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        fault = next(self.faults, "")
        if fault == "refused":
            raise httpx.ConnectError("nobody there")
        if fault.isdigit():
            return httpx.Response(int(fault), headers={"Retry-After": "5"})
        server_now = self.now() + self.server_ahead
        try:
            check_signature(dict(request.headers), request.content, [SECRET], now=server_now)
        except (MessageTooOldError, MessageTooNewError, WrongSignatureError):
            return httpx.Response(401, json={"server_time": server_now.timestamp()})
        answer = self._answer(json.loads(request.content), server_now)
        if fault == "lost":
            raise httpx.ReadError("the answer is lost")
        return httpx.Response(200, json=answer)

    def _answer(self, said: dict[str, Any], at: datetime) -> dict[str, Any]:
        assert len(said["acknowledge"]) <= 25
        told = []
        for each in said["acknowledge"]:
            before = self.outcomes.setdefault(each["id"], each["outcome"])
            self.waiting.pop(each["id"], None)
            self.acknowledged.append(each)
            told.append({"id": each["id"], "outcome": before, "applied": before == each["outcome"]})
        found = [
            {"headers": signature_headers([SECRET], each, at, body), "body": body}
            for each, body in list(self.waiting.items())[: said["max"]]
        ]
        more = len(self.waiting) > len(found)
        return {
            "acknowledged": told,
            "notifications": found,
            "more": more,
            "poll_after_seconds": 2,
        }


def take(
    mailbox: Mailbox, count: int, errors: dict[str, list[Exception]] | None = None
) -> list[str]:
    """Work on so many notifications, then stop; returns their ids."""
    handed: list[str] = []
    with mailbox:
        for received in mailbox:
            with received as notification:
                handed.append(notification.id)
                if len(handed) == count:
                    mailbox.stop()
                if left := (errors or {}).get(notification.id):
                    raise left.pop(0)
    return handed


def test_what_waits_is_handed_out_and_acknowledged() -> None:
    world = World()
    world.add("n1")
    world.add("n2")

    assert take(world.mailbox(), 2) == ["n1", "n2"]
    assert world.acknowledged == [
        {"id": "n1", "outcome": "accepted"},
        {"id": "n2", "outcome": "accepted"},
    ]
    assert world.requests == 2


def test_a_rejection_says_why() -> None:
    world = World()
    world.add("n1")
    take(world.mailbox(), 1, {"n1": [RejectedError("no-gpu")]})
    assert world.acknowledged == [{"id": "n1", "outcome": "rejected", "reason": "no-gpu"}]


def test_what_is_postponed_comes_again_and_holds_up_its_training_only() -> None:
    world = World()
    for training in ("a", "b"):
        for number in (1, 2):
            world.add(f"{training}{number}", training)

    handed = take(world.mailbox(), 5, {"a1": [LaterError(30)]})

    assert handed == ["a1", "b1", "b2", "a1", "a2"]
    assert world.seconds >= 30


def test_another_exception_goes_further_and_acknowledges_nothing() -> None:
    world = World()
    world.add("n1")
    with pytest.raises(KeyError):
        take(world.mailbox(), 1, {"n1": [KeyError("a bug")]})
    assert not world.acknowledged


def test_run_survives_an_exception_and_comes_back_to_the_notification() -> None:
    world = World()
    world.add("n1")
    mailbox = world.mailbox()
    handed: list[str] = []

    def handle(notification: Notification) -> None:
        handed.append(notification.id)
        if len(handed) == 1:
            raise KeyError("a bug")
        mailbox.stop()

    mailbox.run(handle)
    assert handed == ["n1", "n1"]
    assert world.acknowledged == [{"id": "n1", "outcome": "accepted"}]


def test_it_waits_as_it_is_told() -> None:
    world = World()
    mailbox = world.mailbox()

    def count(seconds: float) -> None:
        world.seconds += seconds
        if world.seconds >= 6:
            mailbox.stop()

    mailbox._sleep = count
    assert list(mailbox) == []
    assert world.requests == 3


def test_a_clock_that_is_off_is_corrected() -> None:
    world = World(server_ahead=timedelta(hours=2))
    world.add("n1")
    assert take(world.mailbox(), 1) == ["n1"]
    assert world.requests == 3, "one was refused"


def test_a_wrong_secret_is_told() -> None:
    with pytest.raises(MailboxError, match="401"):
        take(World().mailbox(OTHER_SECRET), 1)


@pytest.mark.parametrize("status", ["400", "403", "404", "405", "413", "302"])
def test_a_refusal_for_good_is_told(status: str) -> None:
    with pytest.raises(MailboxError, match=status):
        take(World(faults=iter([status])).mailbox(), 1)


def test_it_backs_off_and_heeds_retry_after() -> None:
    world = World(faults=iter(["refused"] * 4 + ["503"]))
    world.add("n1")
    assert take(world.mailbox(), 1) == ["n1"]
    assert 0.8 * (1 + 2 + 4 + 8 + 16) <= world.seconds <= 1.2 * (1 + 2 + 4 + 8 + 16)


def test_an_acknowledgement_whose_answer_is_lost_is_sent_again() -> None:
    world = World(faults=iter(["", "lost"]))
    world.add("n1")
    world.add("n2")
    mailbox = world.mailbox()
    handed = []
    for received in mailbox:
        with received as notification:
            handed.append(notification.id)
        if len(handed) == 2:
            world.add("n3")
        if len(handed) == 3:
            mailbox.stop()
    assert handed == ["n1", "n2", "n3"], "n1 and n2 are not handed out again"
    assert world.outcomes == {"n1": "accepted", "n2": "accepted", "n3": "accepted"}


def test_work_that_takes_long_is_acknowledged_meanwhile() -> None:
    world = World()
    for number in range(4):
        world.add(f"n{number}")
    mailbox = world.mailbox()
    seen = []
    for received in mailbox:
        with received:
            seen.append(len(world.acknowledged))
            world.seconds += 6
            if len(seen) == 4:
                mailbox.stop()
    assert seen == [0, 0, 2, 2]


@given(
    trainings=st.lists(st.sampled_from("abc"), min_size=1, max_size=30),
    faults=st.lists(st.sampled_from(["", "lost", "refused", "503", "429"]), max_size=20),
    errors=st.dictionaries(
        st.integers(0, 29),
        st.lists(st.sampled_from([LaterError(), LaterError(3), RejectedError()]), max_size=3),
    ),
)
def test_whatever_happens_each_is_worked_on_in_order_before_it_is_acknowledged(
    trainings: list[str], faults: list[str], errors: dict[int, list[Exception]]
) -> None:
    world = World(faults=iter(faults))
    for number, training in enumerate(trainings):
        world.add(f"n{number:02}", training)
    left = {f"n{number:02}": list(each) for number, each in errors.items()}
    done: list[str] = []
    mailbox = world.mailbox()
    for received in mailbox:
        with received as notification:
            assert notification.id not in world.outcomes
            assert notification.id not in done, "worked on twice although nothing crashed"
            if left.get(notification.id):
                error = left[notification.id].pop(0)
                if isinstance(error, RejectedError):
                    done.append(notification.id)
                raise error
            done.append(notification.id)
        if len(done) == len(trainings):
            mailbox.stop()

    for training in "abc":
        numbers = [each for each in done if trainings[int(each[1:])] == training]
        assert numbers == sorted(numbers)
    world.faults = iter(())
    mailbox.close()
    assert set(world.outcomes) == set(done) == set(map("n{:02}".format, range(len(trainings))))


# --- the bridge -----------------------------------------------------------------------------------


def forwarded(answer: Callable[[httpx.Request], httpx.Response]) -> None:
    notification = verify(signed(), CONTENT, SECRET, now=NOW)
    client = httpx.Client(transport=httpx.MockTransport(answer))
    Forwarder("http://127.0.0.1:8000/messages", client=client)(notification)


def test_a_notification_is_forwarded_unchanged() -> None:
    got: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        got.append(request)
        return httpx.Response(202)

    forwarded(answer)

    assert got[0].method == "POST"
    assert got[0].content == CONTENT.encode()
    assert got[0].headers["content-type"] == "application/json"
    assert got[0].headers["content-length"] == str(len(CONTENT))
    assert verify(dict(got[0].headers), got[0].content, SECRET, now=NOW).id == "some-id"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_the_local_server_may_ask_for_another_try(status: int) -> None:
    with pytest.raises(LaterError) as later:
        forwarded(lambda _request: httpx.Response(status, headers={"Retry-After": "7"}))
    assert later.value.seconds == 7


def test_a_local_server_that_is_not_there_means_later() -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody there")

    with pytest.raises(LaterError):
        forwarded(answer)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 501, 505])
def test_all_else_rejects(status: int) -> None:
    with pytest.raises(RejectedError) as rejected:
        forwarded(lambda _request: httpx.Response(status))
    assert rejected.value.reason == f"answered-{status}"
