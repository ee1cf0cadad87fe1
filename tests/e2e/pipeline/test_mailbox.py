"""Participants that nobody can call: their mailbox, from outside, with plain signed requests."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from standardwebhooks import Webhook

from fl_notifications_cli.local.stack import LocalStack
from fl_notifications_cli.stack import Stack
from tests.e2e.pipeline.kit import (
    FINISHED,
    START,
    FlServer,
    MasterSecret,
    Outcomes,
    TrainingItem,
    eventually,
    function_name,
    receiver_secret,
    some_uuid,
    workers,
)

TIMEOUT: Final = 30.0
"""Of a request: the emulator lets some hang whose worker was killed.

Not much shorter: it starts one more worker for each repetition, which a busy machine cannot afford.
"""


WITHIN_SECONDS: Final = 150.0
"""For all clients to get through, whatever is killed meanwhile, on a busy machine."""


@dataclass(frozen=True)
class Box:
    """A receiver's mailbox, as somebody who has only its secret sees it."""

    url: str
    secret: str
    uuid: str
    message_endpoint: str = "mailbox:"
    name: str = "behind a firewall"

    def post(self, body: str, *, headers: Mapping[str, str] | None = None) -> httpx.Response:
        now, request_id = datetime.now(UTC), f"req_{uuid.uuid4().hex}"
        signed = {
            "content-type": "application/json",
            "webhook-id": request_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(request_id, now, body),
        }
        given = signed if headers is None else dict(headers)
        return httpx.post(self.url, content=body, headers=given, timeout=TIMEOUT, trust_env=False)

    def poll(self, acknowledge: Iterable[Mapping[str, str]] = ()) -> dict[str, Any]:
        said = {"receiver": self.uuid, "max": 25, "acknowledge": list(acknowledge)}
        answer = self.post(json.dumps(said))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def poll_until(self, number: int) -> list[dict[str, Any]]:
        """Poll until so many wait; their bodies, each with its id."""
        found = eventually(
            lambda: self.poll()["notifications"],
            lambda waiting: len(waiting) >= number,
            f"{number} notifications in a mailbox",
        )
        return [json.loads(each["body"]) | each["headers"] for each in found]

    def accept(self, notifications: Iterable[Mapping[str, Any]]) -> list[Any]:
        said = [{"id": each["webhook-id"], "outcome": "accepted"} for each in notifications]
        told: list[Any] = self.poll(said)["acknowledged"]
        return told


@pytest.fixture
def box(stack: Stack, master_secret: MasterSecret) -> Box:
    return new_box(stack, master_secret)


def new_box(stack: Stack, master_secret: MasterSecret) -> Box:
    receiver = some_uuid()
    secret = receiver_secret(master_secret.current(), receiver)
    return Box(stack.output("MailboxUrl"), secret, receiver)


def join(training: TrainingItem, *boxes: Box) -> None:
    for each in boxes:
        training.put(f"PARTICIPANT#{each.uuid}", message_endpoint=each.message_endpoint)


def begin(fl_server: FlServer, *boxes: Box, **options: Any) -> TrainingItem:
    training = fl_server.training(state=None)
    join(training, *boxes)
    fl_server.let_it_be_read()
    training.write("ONGOING", 0, options=options)
    return training


def kinds(outcomes: Outcomes, training: TrainingItem, box: Box) -> Counter[tuple[str, str]]:
    return Counter(
        (event["detail-type"], event["detail"]["notification_id"])
        for event in outcomes.events(training, box.uuid)
    )


def sweep(stack: Stack) -> None:
    """Run the function that a rule runs once a minute: too long for a test."""
    answer = stack.client("lambda").invoke(FunctionName=function_name(stack, "Sweep"))
    assert "FunctionError" not in answer, answer["Payload"].read()


def make_due(stack: Stack, owner: str) -> None:
    client, table = stack.client("dynamodb"), stack.output("WaitingTable")
    found = client.query(
        TableName=table,
        KeyConditionExpression="#owner = :owner",
        ExpressionAttributeNames={"#owner": "owner"},
        ExpressionAttributeValues={":owner": {"S": owner}},
        ConsistentRead=True,
    )["Items"]
    for item in found:
        if "due_at" in item:
            client.put_item(TableName=table, Item={**item, "due_at": {"N": "1000"}})


def test_a_participant_with_a_mailbox_is_told_in_order_and_acknowledges(
    fl_server: FlServer, box: Box, outcomes: Outcomes
) -> None:
    training = begin(fl_server, box)
    found = box.poll_until(2)
    assert [each["notification_type"] for each in found] == [START, "UPDATE_ROUND_START"]
    assert {each["training_uuid"] for each in found} == {training.uuid}
    told = box.accept(found)
    assert [(each["outcome"], each["applied"]) for each in told] == [("accepted", True)] * 2
    training.write("COMPLETED")
    (finished,) = box.poll_until(1)
    assert finished["notification_type"] == FINISHED
    box.accept([finished])
    expected = {("Notification Accepted", each["webhook-id"]) for each in (*found, finished)}
    eventually(lambda: set(kinds(outcomes, training, box)), lambda s: s == expected, "outcomes")
    assert box.poll()["notifications"] == []


def test_an_address_that_only_looks_like_a_mailbox_has_failed_at_once(
    fl_server: FlServer, box: Box, outcomes: Outcomes
) -> None:
    training = fl_server.training(state=None)
    training.put(f"PARTICIPANT#{box.uuid}", message_endpoint="mailbox:me")
    fl_server.let_it_be_read()
    training.write("ONGOING")
    eventually(
        lambda: {kind for kind, _ in kinds(outcomes, training, box)},
        lambda found: found == {"Notification Failed"},
        "a failed notification",
    )


def test_what_nobody_acknowledges_removes_its_participant(
    stack: Stack, fl_server: FlServer, box: Box, master_secret: MasterSecret
) -> None:
    silent = new_box(stack, master_secret)
    training = begin(fl_server, box, silent, failure_policy="quorum")
    box.accept(box.poll_until(2))
    silent.poll_until(2)
    make_due(stack, f"MAILBOX#{silent.uuid}")
    sweep(stack)
    eventually(lambda: training.participants, lambda p: p == {box.uuid}, "one participant")
    (removed,) = [
        each for each in silent.poll_until(1) if each["notification_type"] == "CLIENT_REMOVED"
    ]
    silent.accept([removed])


def test_who_does_not_report_within_the_deadline_is_removed(
    stack: Stack, fl_server: FlServer, box: Box, master_secret: MasterSecret, outcomes: Outcomes
) -> None:
    silent = new_box(stack, master_secret)
    deadline = {"round_deadline_seconds": 60, "on_deadline": "remove_unreported"}
    training = begin(fl_server, box, silent, **deadline)
    box.accept(box.poll_until(2))
    silent.accept(silent.poll_until(2))
    training.put(f"PARTICIPANT#{box.uuid}", message_endpoint="mailbox:", reported="ONGOING#0")
    client, table = stack.client("dynamodb"), stack.output("WaitingTable")
    key = {"owner": {"S": f"TRAINING#{training.uuid}"}, "what": {"S": "ROUND"}}
    item = eventually(
        lambda: client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item"),
        bool,
        "the round's item",
    )
    assert item is not None
    assert item["policy"] == {"S": "remove_unreported"}
    began_at = datetime.now(UTC) - timedelta(seconds=90)
    overdue: dict[str, Any] = {
        "began_at": {"S": began_at.isoformat()},
        "due_at": {"N": str(int(began_at.timestamp()) + 60)},
    }
    client.put_item(TableName=table, Item={**item, **overdue})
    sweep(stack)
    eventually(lambda: training.participants, lambda p: p == {box.uuid}, "one participant")
    assert client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item") is None


def test_a_rejection_removes_its_participant(
    stack: Stack, fl_server: FlServer, box: Box, master_secret: MasterSecret
) -> None:
    rejecting = new_box(stack, master_secret)
    training = begin(fl_server, box, rejecting)
    (start, first) = rejecting.poll_until(2)
    rejecting.accept([start])
    told = rejecting.poll([{"id": first["webhook-id"], "outcome": "rejected", "reason": "no-gpu"}])
    assert told["acknowledged"] == [
        {"id": first["webhook-id"], "outcome": "rejected", "applied": True}
    ]
    eventually(lambda: training.participants, lambda p: p == {box.uuid}, "one participant")


def test_what_is_not_signed_by_the_receiver_changes_nothing(
    fl_server: FlServer, box: Box, stack: Stack, master_secret: MasterSecret
) -> None:
    begin(fl_server, box)
    found = box.poll_until(2)
    thief = Box(box.url, new_box(stack, master_secret).secret, box.uuid)
    body = json.dumps(
        {
            "receiver": box.uuid,
            "acknowledge": [{"id": found[0]["webhook-id"], "outcome": "rejected"}],
        }
    )
    refused = thief.post(body)
    assert refused.status_code == 401
    assert abs(refused.json()["server_time"] - time.time()) < 60
    assert box.post(body, headers={}).status_code == 401
    assert box.post("x" * 70_000).status_code == 413
    assert box.post("{}").status_code == 400
    assert httpx.get(box.url, timeout=TIMEOUT, trust_env=False).status_code == 405
    assert len(box.poll_until(2)) == 2


def test_the_mailbox_is_killed_while_many_acknowledge_and_nothing_is_lost_or_contradicted(
    local_stack: LocalStack,
    stack: Stack,
    fl_server: FlServer,
    master_secret: MasterSecret,
    outcomes: Outcomes,
) -> None:
    boxes = [new_box(stack, master_secret) for _ in range(8)]
    training = begin(fl_server, *boxes)
    for each in boxes:
        each.poll_until(2)
    over = threading.Event()

    def work(box: Box) -> None:
        """A client that dies and comes back: it knows nothing of what it did."""
        until = time.monotonic() + WITHIN_SECONDS
        while time.monotonic() < until:
            try:
                waiting = box.poll()["notifications"]
                if not waiting:
                    return
                box.accept([each["headers"] for each in waiting])
            except (httpx.HTTPError, AssertionError):
                time.sleep(0.2)
        raise TimeoutError(f"a mailbox is not empty after {WITHIN_SECONDS} s")

    def kill() -> int:
        kills = 0
        while not over.wait(0.7) and kills < 12:
            for pid in workers(local_stack, "Mailbox"):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
        return kills

    with ThreadPoolExecutor(len(boxes) + 1) as threads:
        killing = threads.submit(kill)
        list(threads.map(work, boxes))
        over.set()
        assert killing.result() > 0
    for each in boxes:
        found = eventually(
            lambda box=each: kinds(outcomes, training, box),  # type: ignore[misc] # mypy's
            lambda events: len(events) >= 2,
            "two outcomes",
        )
        assert {kind for kind, _ in found} == {"Notification Accepted"}
        assert len({notification for _, notification in found}) == 2
        assert each.poll()["notifications"] == []


CLIENT: Final = """
import os, time
from fl_notifications.receiver import RejectedError
from fl_notifications.receiver.mailbox import Mailbox

def work(notification):
    print(notification.id, flush=True)
    time.sleep(0.02)
    if os.environ["SAYS"] == "rejected":
        raise RejectedError("no-gpu")

with Mailbox(os.environ["URL"], os.environ["RECEIVER"], os.environ["SECRET"]) as mailbox:
    mailbox.run(work)
"""
"""A participant's own program with the client library."""

KILLED: Final = 4
"""Lives of a client that end by SIGKILL; the one after these is left alone."""


@dataclass
class Lives:
    """A participant whose program is killed, and started again.

    Attributes:
        waited: ids that were in the mailbox before each life.
        got: ids that each life was handed.
    """

    box: Box
    chance: random.Random
    waited: list[set[str]] = field(default_factory=list)
    got: list[set[str]] = field(default_factory=list)

    def waiting(self) -> set[str]:
        return {each["headers"]["webhook-id"] for each in self.box.poll()["notifications"]}

    def live(self) -> None:
        """Live until nothing waits any more."""
        while waiting := self.waiting():
            self.waited.append(waiting)
            self._one(killed=len(self.got) < KILLED)

    def _one(self, *, killed: bool) -> None:
        says = ("accepted", "rejected")[len(self.got) % 2]
        given = {"URL": self.box.url, "RECEIVER": self.box.uuid, "SECRET": self.box.secret}
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT],
            env={"PATH": os.environ["PATH"], "SAYS": says, **given},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            if killed:
                # It works for some 0.12 s, and acknowledges then.
                time.sleep(self.chance.uniform(0, 0.35))
            else:
                eventually(self.waiting, lambda left: not left, "an empty mailbox")
        finally:
            process.kill()
            rest, _ = process.communicate()
        # The last line may have been cut.
        self.got.append({line for line in (first + rest).split("\n")[:-1] if line})


def test_clients_are_killed_while_they_acknowledge_and_nothing_is_lost_or_contradicted(
    stack: Stack, fl_server: FlServer, master_secret: MasterSecret, outcomes: Outcomes
) -> None:
    boxes = [new_box(stack, master_secret) for _ in range(3)]
    trainings = [begin(fl_server, *boxes) for _ in range(3)]
    for each in boxes:
        each.poll_until(6)
    # Nothing follows from a rejection of what is left: a start and the end of each training.
    for training in trainings:
        training.write("COMPLETED")
    for each in boxes:
        eventually(
            lambda box=each: Counter(one["notification_type"] for one in box.poll_until(1)),  # type: ignore[misc] # mypy's
            lambda found: found == {START: 3, FINISHED: 3},
            "a start and an end of each training",
        )
    lives = [Lives(each, random.Random(number)) for number, each in enumerate(boxes)]  # noqa: S311

    with ThreadPoolExecutor(len(lives)) as threads:
        list(threads.map(Lives.live, lives))

    for life in lives:
        # What was not acknowledged comes again; what was does not.
        assert all(got <= waited for waited, got in zip(life.waited, life.got, strict=True))
        assert all(after <= before for before, after in itertools.pairwise(life.waited))
        assert set().union(*life.got) == life.waited[0]
        told = eventually(
            lambda life=life: _of(life, trainings, outcomes),  # type: ignore[misc] # mypy's
            lambda found, life=life: found.keys() >= life.waited[0],  # type: ignore[misc] # mypy's
            "an outcome of each",
        )
        assert all(len(told[each]) == 1 for each in life.waited[0]), "two outcomes of one"
    assert max(len(life.got) for life in lives) > 1, "nobody was killed before it had acknowledged"


def _of(
    life: Lives, trainings: Iterable[TrainingItem], outcomes: Outcomes
) -> Mapping[str, set[str]]:
    """The outcomes of what a client was told, by id."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for training in trainings:
        for kind, notification in kinds(outcomes, training, life.box):
            found[notification].add(kind)
    return found


# --- the unchanged stock client behind the bridge -------------------------------------------------


class StockClient:
    """What the stock client's server does with a POST, as fl-demonstrator-client 1.0.1 was seen to.

    A stand-in, as the client itself needs torch. One request at a time, HTTP/1.0, no length of an
    answer, whatever the path. It knows nothing of signatures or mailboxes.
    """

    ANSWERS: Final = {
        START: 200,
        "UPDATE_ROUND_START": 202,
        "MODEL_TEST_ROUND": 202,
        FINISHED: 200,
    }
    """By type; a type that it does not know is 400 if its body has `data`, and 500 if not."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.answers: list[int] = []
        client = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert set(said) == {"notification_type", "body", "training_uuid"}
                unknown = 400 if "data" in said["body"] else 500
                status = client.ANSWERS.get(said["notification_type"], unknown)
                client.got.append(said)
                client.answers.append(status)
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/messages"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def stock_client() -> Iterator[StockClient]:
    client = StockClient()
    yield client
    client.server.shutdown()
    client.server.server_close()


def bridge(token: str, url: str, log: Path) -> subprocess.Popen[bytes]:
    command = Path(sys.executable).parent / "fl-notifications"
    environment = {"PATH": os.environ["PATH"], "FL_MAILBOX_TOKEN": token}
    with log.open("ab") as out:
        return subprocess.Popen(
            [command, "receive", "--forward-to", url], env=environment, stdout=out, stderr=out
        )


def invite(stack: Stack, receiver_uuid: str, directory: Path) -> str:
    """What the command prints, for a stack that it finds as it is found here."""
    named = ["--stack-name", stack.name]
    if stack.local:
        description = {
            "endpoint_url": stack.endpoint_url,
            "region": stack.region,
            "stack_name": stack.name,
            "outputs": dict(stack.outputs),
        }
        (directory / ".local").mkdir()
        (directory / ".local" / "stack.json").write_text(json.dumps(description))
        named = []
    command = Path(sys.executable).parent / "fl-notifications"
    done = subprocess.run(
        [command, "invite", receiver_uuid, *named],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_stock_client_takes_part_in_a_whole_training_without_an_open_port(
    stack: Stack,
    fl_server: FlServer,
    box: Box,
    stock_client: StockClient,
    outcomes: Outcomes,
    tmp_path: Path,
) -> None:
    token = invite(stack, box.uuid, tmp_path)
    log = tmp_path / "bridge.log"
    process = bridge(token, stock_client.url, log)

    def accepted() -> int:
        return log.read_text().count("accepted")

    try:
        training = begin(fl_server, box)
        eventually(lambda: len(stock_client.got), lambda n: n == 2, "start and round")
        eventually(accepted, lambda n: n == 2, "their acknowledgement")
        # It survives a restart.
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        training.write("MODEL_TEST")
        process = bridge(token, stock_client.url, log)
        # The bridge says so before it acknowledges; an end before that would supersede it.
        eventually(accepted, lambda n: n == 3, "the test")
        eventually(
            lambda: len(kinds(outcomes, training, box)), lambda n: n == 3, "its acknowledgement"
        )
        training.write("COMPLETED")
        eventually(lambda: len(stock_client.got), lambda n: n == 4, "the end")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert [each["notification_type"] for each in stock_client.got] == [
        START,
        "UPDATE_ROUND_START",
        "MODEL_TEST_ROUND",
        FINISHED,
    ]
    assert stock_client.answers == [200, 202, 202, 200]
    assert box.poll()["notifications"] == []
    said = log.read_text()
    assert said.count("accepted") == 4
    assert box.secret not in said
    assert "global_model_uuid" not in said
