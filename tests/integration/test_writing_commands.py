"""The commands that write or call: `training`, `tell-again`, `ring` and `listen --forward-to`."""

from collections.abc import Callable, Iterator
from io import StringIO
from uuid import UUID

import boto3
import pytest

from fl_notifications.deliveries.signing import receiver_secret
from fl_notifications.receiver import verify
from fl_notifications_cli import main, ring, tell_again, training
from fl_notifications_cli.listening.answering import forwarded
from fl_notifications_cli.local.deployed import Function as Deployed
from fl_notifications_cli.participants import Answer, ParticipantServer, Request, uuid_of
from fl_notifications_cli.stack import Stack as CliStack
from tests.cloudformation import REGION, STACK_NAME
from tests.integration.handlers import Function
from tests.integration.stack import Stack
from tests.made import TRAINING_UUID, item, participant_item, training_item
from tests.made import uuid_of as uuid_named

type Cli = Callable[..., tuple[int, str, str]]

URL = "http://127.0.0.1:8900/"


@pytest.fixture
def cli(stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command as a person does: exit status, standard output, standard error."""
    outputs = ("TrainingsTable", "LedgerTable", "DeliveriesQueueUrl", "SigningSecretArn")
    deployed = CliStack(
        STACK_NAME,
        REGION,
        None,
        {name: stack.output(name) for name in outputs},
        {"dynamodb": stack.dynamodb, "sqs": boto3.client("sqs"), "secretsmanager": stack.secrets},
    )
    for module in (training, tell_again, ring):
        monkeypatch.setattr(module, "find_stack", lambda *_args, **_options: deployed)
    environment = stack.environment("DeliverNotification")
    monkeypatch.setattr(
        ring, "deployed_function", lambda _stack, name: Deployed(name, "", "", environment)
    )

    def call(*arguments: str, says: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fl-notifications", *arguments])
        monkeypatch.setattr("sys.stdin", StringIO(says))
        code: object = 0
        try:
            main.main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        assert code is None or isinstance(code, int)
        return code or 0, said.out, said.err

    return call


def state(stack: Stack, uuid: str) -> tuple[str, int]:
    found = stack.item(uuid)
    assert found is not None
    return found["state"]["S"], int(found["round"]["N"])


# --- training -------------------------------------------------------------------------------------


def test_a_training_is_led_from_its_creation_to_its_end(stack: Stack, cli: Cli) -> None:
    code, out, err = cli("training", "create", "--participant", URL)
    uuid = out.strip()

    assert code == 0
    assert str(UUID(uuid)) == uuid
    assert f"participant {uuid_of(URL)}  {URL}" in err
    assert state(stack, uuid) == ("INITIAL", 0)
    for command, expected in (
        (("start",), ("ONGOING", 0)),
        (("next-round", "--after", "0"), ("ONGOING", 1)),
        (("test",), ("MODEL_TEST", 1)),
        (("finish",), ("COMPLETED", 1)),
    ):
        code, out, _ = cli("training", command[0], uuid[:8], *command[1:])
        assert code == 0
        assert f"fl-notifications trace {uuid}" in out
        assert state(stack, uuid) == expected


def test_each_mailbox_is_somebody_else_s(stack: Stack, cli: Cli) -> None:
    mailboxes = ("--participant", "mailbox:", "--participant", "mailbox:")
    code, _, err = cli("training", "create", *mailboxes)
    assert code == 0
    one, other = [line for line in err.splitlines() if "mailbox:" in line]
    assert one != other


def test_a_training_is_created_as_asked_for(stack: Stack, cli: Cli) -> None:
    one, actor = uuid_named("one"), uuid_named("actor")
    cli(
        *("training", "create", TRAINING_UUID),
        *("--participant", f"{one}=https://one.example/?a=b"),
        *("--participant", "https://two.example/?a=b"),
        *("--actor", f"{actor}=https://actor.example/"),
        *("--failure-policy", "quorum", "--min-participants", "2"),
    )

    _, out, _ = cli("training", "show", TRAINING_UUID)

    assert f"{'actor':18}{actor}" in out
    assert f"{'failure policy':18}quorum" in out
    assert f"{'min participants':18}2" in out
    assert "2 participants" in out
    assert f"{one}  joined " in out
    assert "https://one.example/?a=b" in out
    assert uuid_of("https://two.example/?a=b") in out


def test_the_end_for_everybody_is_asked_for(stack: Stack, cli: Cli) -> None:
    stack.put(training_item())

    assert cli("training", "fail", TRAINING_UUID, "a fire", says="n\n")[0] == 1
    assert state(stack, TRAINING_UUID) == ("ONGOING", 3)
    assert cli("training", "fail", TRAINING_UUID, "a fire", "--yes")[0] == 0
    assert state(stack, TRAINING_UUID)[0] == "ERROR"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("start", TRAINING_UUID), "ONGOING"),
        (("next-round", TRAINING_UUID, "--after", "1"), "round 3 has begun already"),
        (("start", "0" * 8), "no training that begins with '00000000'"),
        (("start", uuid_named("nobody")), "has no training"),
        (("create", TRAINING_UUID, "--participant", URL), "exists"),
    ],
)
def test_what_the_write_side_refuses_is_said(
    stack: Stack, cli: Cli, arguments: tuple[str, ...], why: str
) -> None:
    stack.put(training_item())

    code, _, err = cli("training", *arguments)

    assert code == 1
    assert err.startswith("error: ")
    assert why in err


def test_a_beginning_that_fits_two_trainings_names_both(stack: Stack, cli: Cli) -> None:
    other = TRAINING_UUID[:-1] + "2"
    stack.put(training_item(), training_item(training_uuid=other))

    _, _, err = cli("training", "start", TRAINING_UUID[:6])

    assert TRAINING_UUID in err
    assert other in err


# --- tell-again -----------------------------------------------------------------------------------


@pytest.fixture
def participants() -> Iterator[ParticipantServer]:
    with ParticipantServer() as server:
        yield server


def work(stack: Stack, deliver: Function) -> None:
    """Deliver what is in the queue."""
    while (batch := stack.receive())["Records"]:
        stack.settle(batch, deliver(batch))


def again(cli: Cli, receiver: str, *arguments: str, says: str = "") -> tuple[int, str, str]:
    return cli("tell-again", TRAINING_UUID, "--receiver", receiver, *arguments, says=says)


@pytest.mark.parametrize(
    ("now", "labels"),
    [
        ({"state": "ONGOING"}, ["TRAINING_START", "UPDATE_ROUND_START 3"]),
        ({"state": "SWAG_ROUND"}, ["TRAINING_START", "SWAG_ROUND_START 3"]),
        ({"state": "MODEL_TEST"}, ["TRAINING_START", "MODEL_TEST_ROUND 3"]),
        ({"state": "COMPLETED"}, ["TRAINING_FINISHED"]),
        ({"state": "ERROR"}, ["TRAINING_ERROR"]),
        ({"state": "ONGOING", "selected": [uuid_named("two")]}, ["TRAINING_START"]),
    ],
)
def test_a_participant_is_told_again_what_is_current_each_time_anew(
    stack: Stack,
    cli: Cli,
    deliver: Function,
    participants: ParticipantServer,
    now: dict[str, object],
    labels: list[str],
) -> None:
    one = participants.add(uuid_=uuid_named("one"))
    joined = {"message_endpoint": one.message_endpoint, "joined_at": "2026-03-01T11:00:00+00:00"}
    stack.put(training_item(**now), participant_item("one", **joined), participant_item("two"))

    for _ in range(2):
        assert again(cli, one.uuid, "--yes")[0] == 0
        work(stack, deliver)

    assert one.labels == labels * 2
    assert len({request.webhook_id for request in one.requests}) == 2 * len(labels)


def test_nothing_follows_from_how_it_ends(
    stack: Stack, cli: Cli, deliver: Function, participants: ParticipantServer
) -> None:
    one = participants.add(lambda *_: Answer(400), uuid_=uuid_named("one"))
    stack.put(training_item(), participant_item("one", message_endpoint=one.message_endpoint))

    again(cli, one.uuid, "--yes")
    work(stack, deliver)

    assert [each["detail"]["callback"] for each in stack.outcomes()] == [None, None]


def test_the_actor_can_be_told_the_end_again(stack: Stack, cli: Cli) -> None:
    stack.put(training_item(state="COMPLETED"))

    assert again(cli, uuid_named("actor"), "--yes")[0] == 0

    assert [each["receiver"]["uuid"] for each in stack.delivered()] == [uuid_named("actor")]


def test_the_beginning_of_the_receiver_is_enough(stack: Stack, cli: Cli) -> None:
    stack.put(training_item(), participant_item("one"), participant_item("two"))

    code, out, _ = again(cli, uuid_named("one")[:8], "--yes")

    assert code == 0
    assert {each["receiver"]["uuid"] for each in stack.delivered()} == {uuid_named("one")}
    assert f"fl-notifications trace {TRAINING_UUID} --receiver {uuid_named('one')[:8]}\n" in out


@pytest.mark.parametrize(("text", "why"), [("x", "begins with 'x'"), ("", "2 participants begin")])
def test_a_beginning_of_nobody_or_of_several_is_refused(
    stack: Stack, cli: Cli, text: str, why: str
) -> None:
    stack.put(training_item(), participant_item("one"), participant_item("two"))

    code, _, err = again(cli, text, "--yes")

    assert code == 1
    assert why in err
    assert stack.delivered() == []


def test_it_is_asked_first(stack: Stack, cli: Cli) -> None:
    stack.put(training_item(), participant_item("one"))

    code, out, _ = again(cli, uuid_named("one"), says="n\n")

    assert code == 1
    assert "TRAINING_START, UPDATE_ROUND_START 3?" in out
    assert stack.delivered() == []


@pytest.mark.parametrize(
    ("items", "why"),
    [
        ([training_item()], "is no participant"),
        ([training_item(state="INITIAL"), participant_item("one")], "has not started"),
        ([training_item(round="x"), participant_item("one")], "field round"),
        ([training_item(), item({"training_uuid": TRAINING_UUID, "entity": "x"})], "participant"),
    ],
)
def test_if_nothing_is_current_it_says_why(
    stack: Stack, cli: Cli, items: list[dict[str, object]], why: str
) -> None:
    stack.put(*items)

    code, _, err = again(cli, uuid_named("one"), "--yes")

    assert code == 1
    assert why in err
    assert stack.delivered() == []


# --- ring -----------------------------------------------------------------------------------------


def test_a_ring_is_signed_for_the_receiver_and_stores_nothing(
    stack: Stack, cli: Cli, participants: ParticipantServer
) -> None:
    one = participants.add(uuid_=uuid_named("one"))
    stack.put(training_item(), participant_item("one", message_endpoint=one.message_endpoint))

    code, out, _ = cli("ring", "--receiver", one.uuid)

    assert code == 0
    assert f"POST {one.message_endpoint}" in out
    assert "✓ accepted: answered 200, after " in out
    [request] = one.requests
    master = stack.secrets.get_secret_value(SecretId=stack.output("SigningSecretArn"))
    verified = verify(
        request.headers, request.body, receiver_secret(master["SecretString"], one.uuid)
    )
    assert (verified.type, verified.body) == ("TEST", {"data": {}})
    assert stack.delivered() == []
    assert stack.dynamodb.scan(TableName=stack.ledger_table)["Count"] == 0


def test_an_address_is_rung_as_the_receiver_that_listen_would_be(
    stack: Stack, cli: Cli, participants: ParticipantServer
) -> None:
    one = participants.add()

    cli("ring", one.message_endpoint)

    [request] = one.requests
    master = stack.secrets.get_secret_value(SecretId=stack.output("SigningSecretArn"))
    secret = receiver_secret(master["SecretString"], uuid_of(one.message_endpoint))
    assert verify(request.headers, request.body, secret).type == "TEST"


@pytest.mark.parametrize(
    ("status", "said"), [(503, "not accepted: answered 503"), (None, "not reached: ")]
)
def test_what_is_not_accepted_is_a_failure(
    cli: Cli, participants: ParticipantServer, status: int | None, said: str
) -> None:
    code, out, _ = cli("ring", participants.add(lambda *_: Answer(status)).message_endpoint)

    assert code == 1
    assert said in out


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("http://10.0.0.1/", "address not allowed"),
        ("http://169.254.169.254/latest", "metadata address"),
        ("ftp://127.0.0.1/", "url not http or https"),
    ],
)
def test_the_guard_of_the_stack_is_asked(cli: Cli, endpoint: str, why: str) -> None:
    code, out, _ = cli("ring", endpoint)

    assert code == 1
    assert f"not called: {why}" in out


def test_who_is_to_be_rung_must_be_known(stack: Stack, cli: Cli) -> None:
    one = uuid_named("one")
    assert cli("ring")[0] == 2
    assert "name its ENDPOINT" in cli("ring", "--receiver", one)[2]
    other = TRAINING_UUID[:-1] + "2"
    stack.put(
        participant_item("one"),
        participant_item("one", training_uuid=other, message_endpoint="https://else.example/"),
    )
    _, _, err = cli("ring", "--receiver", one)
    assert "https://else.example/" in err
    assert "https://one.example/messages" in err


# --- listen --forward-to --------------------------------------------------------------------------


def test_a_request_is_handed_on_unchanged_and_answered_alike() -> None:
    with ParticipantServer() as server:
        one = server.add(lambda *_: Answer(429, {"Retry-After": "7"}))
        headers = {
            "content-type": "application/json",
            "webhook-id": "an id",
            "webhook-timestamp": "1",
            "webhook-signature": "v1,x",
            "host": "elsewhere",
        }

        answer = forwarded(one.message_endpoint, Request(0.0, "/", headers, b'{"a":  1}'))

        assert answer == Answer(429, {"Retry-After": "7"})
        [request] = one.requests
        assert request.body == b'{"a":  1}'
        assert {name: request.headers[name] for name in headers if name != "host"} == {
            name: value for name, value in headers.items() if name != "host"
        }
        assert request.headers["host"] != "elsewhere"


def test_a_redirect_is_not_followed_and_nobody_there_is_a_bad_gateway() -> None:
    with ParticipantServer() as server:
        two = server.add()
        one = server.add(lambda *_: Answer(302, {"Location": two.message_endpoint}))
        request = Request(0.0, "/", {}, b"{}")

        assert forwarded(one.message_endpoint, request).status == 302
        assert two.requests == []
    assert forwarded(one.message_endpoint, request).status == 502
