"""What goes over the wire: bytes, headers and signatures, as a receiver on a bare socket has it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from fl_notifications_cli.local.stack import LocalStack
from fl_notifications_cli.participants import ParticipantServer, Request, flaky
from fl_notifications_cli.stack import Stack
from tests.e2e.pipeline.kit import (
    START,
    FlServer,
    MasterSecret,
    TrainingItem,
    arrived,
    eventually,
    expect,
    kill_workers,
    let_all_be_delivered,
    receiver_secret,
    some_uuid,
)
from tests.receivers.wire import Receiver, status

BARE = pytest.mark.local("its receivers are bare sockets at 127.0.0.1")
OWN_MODEL = "00000000-0000-4000-8000-00000000000a"


@dataclass
class Bare:
    """A participant on a bare socket."""

    uuid: str
    receiver: Receiver

    @property
    def message_endpoint(self) -> str:
        return self.receiver.url

    def wait_for(self, number: int) -> list[bytes]:
        """Wait for so many requests."""
        return eventually(
            lambda: list(self.receiver.requests),
            lambda requests: len(requests) >= number,
            f"{number} requests",
        )


@dataclass
class Whole:
    """A whole training, with all that its participants have been sent."""

    training: TrainingItem
    stays: Bare
    goes: Bare
    raw: list[bytes]
    raw_of_who_goes: list[bytes]

    def body(self, kind: str) -> str:
        """The body of the request of a kind, as text."""
        [found] = [
            body
            for request in (*self.raw, *self.raw_of_who_goes[-1:])
            if f'"notification_type": "{kind}"'
            in (body := request.partition(b"\r\n\r\n")[2].decode())
        ]
        return found


@pytest.fixture(scope="module")
def whole(fl_server: FlServer) -> Iterator[Whole]:
    """A training that goes through all states."""
    with ExitStack() as exits:
        bare = [Bare(some_uuid(), exits.enter_context(Receiver(status(200)))) for _ in range(2)]
        stays, goes = bare
        training = fl_server.training(state=None)
        for each in bare:
            training.put(f"PARTICIPANT#{each.uuid}", message_endpoint=each.message_endpoint)
        steps: list[Callable[[], object]] = [
            lambda: training.write("ONGOING", 3),
            lambda: training.write("SWAG_ROUND", 4),
            lambda: training.write("MODEL_TEST", 5),
            lambda: training.write("COMPLETED", 5),
            lambda: training.write("ERROR", 5, error={"reason": "the disk is full"}),
        ]
        told = 0
        for step in steps:
            step()
            told += 2 if told == 0 else 1
            stays.wait_for(told)
            if told == 2:
                goes.wait_for(told)
                training.client.delete_item(
                    TableName=training.table, Key=training.key(f"PARTICIPANT#{goes.uuid}")
                )
                goes.wait_for(told + 1)
        yield Whole(training, stays, goes, stays.wait_for(told), goes.wait_for(3))


@BARE
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("TRAINING_START", '{"global_model_uuid": "MODEL"}'),
        ("UPDATE_ROUND_START", '{"round": 3, "global_model_uuid": "MODEL"}'),
        (
            "SWAG_ROUND_START",
            '{"round": 4, "global_model_uuid": "MODEL", "data": SAME}'.replace(
                "SAME", '{"round": 4, "global_model_uuid": "MODEL"}'
            ),
        ),
        ("MODEL_TEST_ROUND", '{"round": 5, "global_model_uuid": "MODEL"}'),
        ("TRAINING_FINISHED", '{"global_model_uuid": "MODEL"}'),
        ("TRAINING_ERROR", '{"data": {"reason": "the disk is full", "round": 5}}'),
        ("CLIENT_REMOVED", '{"data": {}}'),
    ],
)
def test_the_body_is_exactly(kind: str, body: str, whole: Whole) -> None:
    expected = (
        (f'{{"notification_type": "{kind}", "body": {body}, "training_uuid": "TRAINING"}}')
        .replace('MODEL"', f'{whole.training.model_uuid}"')
        .replace('TRAINING"', f'{whole.training.uuid}"')
    )

    assert whole.body(kind) == expected


@pytest.mark.parametrize("error", [None, "a note of the server's own", {"note": "no reason"}])
def test_an_error_always_has_a_reason(
    error: object, fl_server: FlServer, participants: ParticipantServer
) -> None:
    actor = participants.add()
    training = fl_server.training(state=None, actor=actor)
    training.write("ERROR", 3, **({} if error is None else {"error": error}))

    [request] = expect(actor, "TRAINING_ERROR")
    reason = request.message["body"]["data"].pop("reason")
    assert isinstance(reason, str)
    assert reason
    assert request.message["body"] == {"data": {"reason": reason, "round": 3}}


@BARE
def test_every_request_is_a_plain_post_of_known_length(whole: Whole) -> None:
    assert len(whole.raw) == 6
    for raw in whole.raw:
        head, _, body = raw.partition(b"\r\n\r\n")
        request_line, *lines = head.decode("ascii").split("\r\n")
        headers = [line.partition(": ") for line in lines]
        names = [name.lower() for name, _, _ in headers]
        values = {name.lower(): value for name, _, value in headers}

        assert request_line == "POST /inbox HTTP/1.1"
        assert len(names) == len(set(names)), "a header twice"
        assert values["content-type"] == "application/json"
        assert values["content-length"] == str(len(body))
        assert values["host"] == f"127.0.0.1:{whole.stays.receiver.port}"
        assert not {"transfer-encoding", "content-encoding", "expect"} & set(names)
        assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= set(names)


def test_a_participants_own_model_is_for_the_update_round_only(
    fl_server: FlServer, participants: ParticipantServer
) -> None:
    own, other = participants.add(), participants.add()
    training = fl_server.training(other, state=None)
    training.join(own, model_uuid=OWN_MODEL)

    for state in ("ONGOING", "SWAG_ROUND", "MODEL_TEST", "COMPLETED"):
        training.write(state)
        told = {"ONGOING": 2, "SWAG_ROUND": 3, "MODEL_TEST": 4, "COMPLETED": 5}[state]
        for each in (own, other):
            arrived(each, told)

    models = {
        each.uuid: [request.message["body"]["global_model_uuid"] for request in each.requests]
        for each in (own, other)
    }
    same = training.model_uuid
    assert models == {own.uuid: [same, OWN_MODEL, same, same, same], other.uuid: [same] * 5}


# --- signatures ----------------------------------------------------------------------------------


def test_every_request_is_signed_with_the_receivers_own_secret(
    fl_server: FlServer, participants: ParticipantServer, master_secret: MasterSecret
) -> None:
    one, other = participants.add(), participants.add()
    fl_server.training(one, other, state="ONGOING")
    for each in (one, other):
        arrived(each, 2)
    master = master_secret.current()

    for each, stranger in ((one, other), (other, one)):
        for request in each.requests:
            verify(receiver_secret(master, each.uuid), request)
            with pytest.raises(WebhookVerificationError):
                verify(receiver_secret(master, stranger.uuid), request)
            forged = Request(request.at, request.path, request.headers, request.body + b" ")
            with pytest.raises(WebhookVerificationError):
                verify(receiver_secret(master, each.uuid), forged)


def test_the_secret_is_derived_from_the_uuid_in_lower_case(
    fl_server: FlServer, participants: ParticipantServer, master_secret: MasterSecret
) -> None:
    one = participants.add(uuid_=some_uuid().upper())
    fl_server.training(one, state="MODEL_TEST")

    verify(receiver_secret(master_secret.current(), one.uuid.lower()), arrived(one, 1)[0])


def test_each_attempt_has_the_same_id_and_a_time_and_signature_of_its_own(
    fl_server: FlServer, participants: ParticipantServer, master_secret: MasterSecret
) -> None:
    one = participants.add(flaky(2))
    training = fl_server.training(state="ONGOING")
    fl_server.let_it_be_read()
    training.join(one)

    attempts = expect(one, *[START] * 3)

    assert len({request.webhook_id for request in attempts}) == 1
    assert len({request.body for request in attempts}) == 1
    assert len({request.headers["webhook-timestamp"] for request in attempts}) == 3
    assert len({request.headers["webhook-signature"] for request in attempts}) == 3
    for request in attempts:
        verify(receiver_secret(master_secret.current(), one.uuid), request)


def test_both_secrets_sign_during_a_rotation(
    local_stack: LocalStack,
    stack: Stack,
    fl_server: FlServer,
    participants: ParticipantServer,
    master_secret: MasterSecret,
) -> None:
    """The secrets are read once a minute, and by every new worker: here is no time to wait."""
    one = participants.add()
    training = fl_server.training(one, state="MODEL_TEST")
    expect(one, START, "MODEL_TEST_ROUND 0")
    let_all_be_delivered(stack)

    previous = master_secret.rotate(some_uuid())
    kill_workers(local_stack, "DeliverNotification")
    training.write("MODEL_TEST", 1)
    during = expect(one, START, "MODEL_TEST_ROUND 0", "MODEL_TEST_ROUND 1")[-1]
    let_all_be_delivered(stack)

    master_secret.forget_previous()
    kill_workers(local_stack, "DeliverNotification")
    training.write("MODEL_TEST", 2)
    rounds = [f"MODEL_TEST_ROUND {number}" for number in range(3)]
    after = expect(one, START, *rounds)[-1]

    current = master_secret.current()
    assert [len(signatures(request)) for request in (during, after)] == [2, 1]
    verify(receiver_secret(current, one.uuid), during)
    verify(receiver_secret(previous, one.uuid), during)
    verify(receiver_secret(current, one.uuid), after)
    with pytest.raises(WebhookVerificationError):
        verify(receiver_secret(previous, one.uuid), after)


def signatures(request: Request) -> list[str]:
    """The signatures of a request."""
    return request.headers["webhook-signature"].split(" ")


def verify(secret: str, request: Request) -> None:
    """Verify a request as any receiver does; raises if it is not from whoever has the secret."""
    assert all(signature.startswith("v1,") for signature in signatures(request))
    said = Webhook(secret).verify(request.body, dict(request.headers))
    assert said == json.loads(request.body)
