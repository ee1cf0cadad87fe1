"""Whom a change is told, decided by the training as it was when the change was made."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fl_notifications.outcomes.runs import Run, run_key
from fl_notifications.trainings.items import REDRIVEN_AS
from tests.integration.faults import Faults
from tests.integration.handlers import Function
from tests.integration.stack import Record, Stack
from tests.made import (
    ACTOR,
    MODEL_UUID,
    OWN_MODEL_UUID,
    TRAINING_UUID,
    item,
    participant_item,
    training_item,
    uuid_of,
)

OTHER_UUID = uuid_of("another training")
EARLY = "2020-01-01T00:00:00+00:00"
START, UPDATE = "TRAINING_START", "UPDATE_ROUND_START"
FINISHED, ERROR, REMOVED = "TRAINING_FINISHED", "TRAINING_ERROR", "CLIENT_REMOVED"
NAMES = {uuid_of(name): name for name in ("one", "two", "late", "bad", "actor")}


class Server:
    """Writes to the table, and has the builder process what it has written."""

    def __init__(self, stack: Stack, build: Function) -> None:
        self.stack = stack
        self.build = build
        self._heard: set[str] = set()

    def training(self, state: str, round_number: int = 0, **values: Any) -> None:
        """Write the training."""
        self.stack.put(training_item(state=state, round=round_number, **values))

    def join(self, *names: str, **values: Any) -> None:
        """Write participants, who joined long ago unless something else is said."""
        for name in names:
            self.stack.put(participant_item(name, **({"joined_at": EARLY} | values)))

    def delete(self, entity: str = "TRAINING") -> None:
        """Delete the training, or somebody of it."""
        entity = entity if entity == "TRAINING" else f"PARTICIPANT#{uuid_of(entity)}"
        key = item({"training_uuid": TRAINING_UUID, "entity": entity})
        self.stack.dynamodb.delete_item(TableName=self.stack.trainings_table, Key=key)

    def process(self, event: Record | None = None) -> list[str]:
        """Have everything processed that was written; returns what failed."""
        result = self.build(event or self.stack.changes())
        return [each["itemIdentifier"] for each in result["batchItemFailures"]]

    def told(self) -> dict[str, list[str]]:
        """What each receiver is told since, in order, and each id once, as the ledger has it."""
        found: dict[str, list[str]] = {}
        for each in self.stack.delivered():
            if each["notification_id"] in self._heard:
                continue
            self._heard.add(each["notification_id"])
            name = NAMES[each["receiver"]["uuid"].lower()]
            found.setdefault(name, []).append(each["notification_type"])
        return found

    def processed(self) -> dict[str, list[str]]:
        """What each receiver is told by what was written."""
        assert self.process() == []
        return self.told()

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """What the bus was told since."""
        return [(each["detail-type"], each["detail"]) for each in self.stack.outcomes()]

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters."""
        messages = self.stack.messages(self.stack.output("StreamDlqUrl"))
        return [json.loads(each["body"]) for each in messages]

    def entry(self) -> Run:
        """The entry of the training's run."""
        found = self.stack.ledger(run_key(TRAINING_UUID)["notification_id"]["S"])
        assert found is not None
        return Run.from_item(found)


@pytest.fixture
def server(stack: Stack, build: Function) -> Server:
    return Server(stack, build)


@pytest.fixture
def running(server: Server) -> Server:
    """A training in its first round, with two participants; that much was told."""
    server.join("one", "two")
    server.training("INITIAL")
    server.training("ONGOING")
    assert server.processed() == {"one": [START, UPDATE], "two": [START, UPDATE]}
    server.events()
    return server


# --- who leaves, and when -------------------------------------------------------------------------


def test_who_is_removed_just_before_the_end_is_told_the_removal(running: Server) -> None:
    running.delete("one")
    running.training("COMPLETED")
    told = running.processed()
    assert told == {"one": [REMOVED], "two": [FINISHED], "actor": [FINISHED]}


def test_a_clean_up_after_the_end_takes_the_end_from_nobody(running: Server) -> None:
    running.training("COMPLETED")
    running.delete("one")
    running.delete("two")
    assert running.processed() == {"one": [FINISHED], "two": [FINISHED], "actor": [FINISHED]}


def test_who_leaves_after_the_end_was_told_hears_it_once(stack: Stack, running: Server) -> None:
    running.training("COMPLETED")
    sent = Faults(running.build.app.clients.sqs)
    running.process()
    running.delete("one")
    running.process()
    ids = Counter(
        entry["MessageDeduplicationId"]
        for call in sent.calls["SendMessageBatch"]
        for entry in call["Entries"]
        if uuid_of("one") in entry["MessageGroupId"]
    )
    assert list(ids.values()) == [2]


def test_who_leaves_after_an_error_is_told_the_error_and_the_removal(running: Server) -> None:
    running.training("ERROR", error={"reason": "disk full"})
    running.delete("one")
    told = running.processed()
    assert told == {"one": [ERROR, REMOVED], "two": [ERROR], "actor": [ERROR]}


def test_a_training_that_is_deleted_while_it_runs_tells_everybody_so(running: Server) -> None:
    running.delete()
    running.delete("one")
    running.process()
    messages = running.stack.delivered()
    assert sorted(NAMES[each["receiver"]["uuid"]] for each in messages) == ["actor", "one", "two"]
    data = {"reason": "the training was deleted", "round": 0}
    assert all(each["content"]["body"] == {"data": data} for each in messages)
    assert all(each["notification_type"] == ERROR for each in messages)


def test_a_training_that_is_deleted_after_its_end_tells_the_end_to_who_leaves(
    running: Server,
) -> None:
    running.training("COMPLETED")
    running.delete()
    running.delete("one")
    assert running.processed() == {"one": [FINISHED], "two": [FINISHED], "actor": [FINISHED]}


def test_who_leaves_two_weeks_after_the_end_is_told_nothing(running: Server) -> None:
    running.training("COMPLETED")
    running.processed()
    running.delete("one")
    event = running.stack.changes()
    stream = event["Records"][0]["dynamodb"]
    stream["ApproximateCreationDateTime"] += timedelta(days=14, minutes=1).total_seconds()
    assert running.process(event) == []
    assert running.told() == {}


def test_what_dynamodb_deletes_as_expired_is_told_to_nobody_but_the_server(
    running: Server,
) -> None:
    running.delete("one")
    running.delete()
    event = running.stack.changes()
    for record in event["Records"]:
        record["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert running.process(event) == []
    assert running.told() == {}
    assert [kind for kind, _ in running.events()] == ["Participant Removed", "Training Ended"]


# --- who joins, and when --------------------------------------------------------------------------


def test_an_item_written_over_another_one_has_left_and_joined(running: Server) -> None:
    running.join("one", joined_at="2020-01-02T00:00:00+00:00")
    assert running.processed() == {"one": [START]}


def test_the_same_membership_written_again_is_told_nothing(running: Server) -> None:
    running.join("one", message_endpoint="https://new.example/")
    assert running.processed() == {}


def test_who_left_and_joins_again_without_a_joined_at_is_told_the_start(running: Server) -> None:
    running.join("late", joined_at=None)
    assert running.processed() == {"late": [START]}
    running.delete("late")
    running.join("late", joined_at=None)
    assert running.processed() == {"late": [REMOVED, START]}


@pytest.mark.parametrize(
    "joined_at",
    [
        "2020-01-01T00:00:00",
        "2020-01-01",
        "some time",
        timedelta(hours=2),
        timedelta(minutes=-1),
    ],
)
def test_whose_joining_is_not_clearly_before_the_run_is_told_the_start_before_each_round(
    running: Server, joined_at: str | timedelta
) -> None:
    if isinstance(joined_at, timedelta):  # as of the test, which may come minutes after its making
        joined_at = (datetime.now(UTC) + joined_at).isoformat(timespec="seconds")
    running.join("late", joined_at=joined_at)
    own = running.stack.changes()
    running.training("ONGOING", 1)
    running.process()
    assert running.told()["late"] == [START, UPDATE]
    running.process(own)
    assert running.told() == {}, "the start has the same id"


def test_who_joined_before_the_start_is_told_it_by_the_start_alone(server: Server) -> None:
    server.join("one", joined_at=None)
    joining = server.stack.changes()
    server.training("ONGOING")
    assert server.process() == []
    assert server.told() == {"one": [START, UPDATE]}
    assert server.process(joining) == []
    assert server.told() == {}


def test_a_late_joiner_is_told_the_current_round_if_the_training_wants_it(
    running: Server,
) -> None:
    running.training("MODEL_TEST", 2, options={"late_joiners": "current_round"})
    assert running.processed()["one"] == ["MODEL_TEST_ROUND"]
    running.join("late")
    assert running.processed() == {"late": [START, "MODEL_TEST_ROUND"]}


def test_options_that_change_within_a_round_count_for_who_joins_then(running: Server) -> None:
    running.training("ONGOING", options={"late_joiners": "current_round"})
    running.join("late")
    assert running.processed() == {"late": [START, UPDATE]}


def test_the_current_round_has_the_id_of_its_fan_out(running: Server) -> None:
    running.training("ONGOING", 1, options={"late_joiners": "current_round"})
    change = running.stack.changes()
    running.join("late")
    joining = running.stack.changes()
    running.process(change)
    by_fan_out = {
        each["notification_type"]: each["notification_id"]
        for each in running.stack.delivered()
        if each["receiver"]["uuid"] == uuid_of("late")
    }
    sent = Faults(running.build.app.clients.sqs)
    running.process(joining)
    entries = [e for call in sent.calls["SendMessageBatch"] for e in call["Entries"]]
    assert [json.loads(each["MessageBody"])["notification_type"] for each in entries] == [
        START,
        UPDATE,
    ]
    assert entries[1]["MessageDeduplicationId"] == by_fan_out[UPDATE]


# --- runs -----------------------------------------------------------------------------------------


def test_a_restart_is_a_run_of_its_own_and_tells_the_start_again(running: Server) -> None:
    running.training("ERROR")
    running.training("INITIAL")
    running.training("ONGOING")
    told = running.processed()
    assert told["one"] == told["two"] == [ERROR, START, UPDATE]


@pytest.mark.parametrize("end", ["ERROR", "COMPLETED"])
def test_who_joins_after_the_end_is_told_the_start_when_the_run_goes_on(
    running: Server, end: str
) -> None:
    run = running.entry().run
    running.training(end)
    running.join("late")
    running.processed()
    running.training("SWAG_ROUND", 1)
    told = running.processed()
    assert told["late"] == [START, "SWAG_ROUND_START"]
    assert told["one"] == ["SWAG_ROUND_START"], "its start has the id of the run"
    assert running.entry().run == run


@pytest.mark.parametrize("between", [("ERROR", "INITIAL"), ("INITIAL", "ERROR")])
def test_with_initial_in_between_a_new_run_begins(
    running: Server, between: tuple[str, ...]
) -> None:
    run = running.entry().run
    for state in between:
        running.training(state)
    running.training("ONGOING")
    assert running.processed()["one"][-2:] == [START, UPDATE]
    assert running.entry().run != run


def test_a_training_that_is_deleted_and_made_again_begins_a_new_run(server: Server) -> None:
    server.join("one", joined_at=None)
    server.training("ONGOING")
    assert server.processed() == {"one": [START, UPDATE]}
    server.delete()
    server.training("ONGOING")
    assert server.processed()["one"] == [ERROR, START, UPDATE]


def test_the_start_goes_first_whatever_state_a_run_begins_with(server: Server) -> None:
    server.join("one")
    server.training("INITIAL")
    server.training("MODEL_TEST", 3)
    assert server.processed() == {"one": [START, "MODEL_TEST_ROUND"]}


def test_a_training_older_than_the_service_goes_on_with_its_run(server: Server) -> None:
    server.join("one")
    server.training("ONGOING", 4)
    server.stack.changes()
    server.training("ONGOING", 5)
    assert server.processed() == {"one": [UPDATE]}
    assert server.entry().run == "0"
    server.delete("one")
    assert server.processed() == {"one": [REMOVED]}


def test_a_training_that_is_adopted_is_told_to_nobody_until_it_goes_on(server: Server) -> None:
    server.join("one")
    server.training("ONGOING", 4, adopted_at="2026-01-01T00:00:00Z")
    assert server.processed() == {}
    server.training("ONGOING", 5, adopted_at="2026-01-01T00:00:00Z")
    server.join("late", joined_at=datetime.now(UTC).isoformat())
    assert server.processed() == {"one": [UPDATE], "late": [START, UPDATE]}


def test_deliveries_say_their_run_start_and_membership(server: Server) -> None:
    server.join("one")
    server.training("ONGOING", started_at="2026-01-01T00:00:00Z")
    number = server.stack.changes()
    server.process(number)
    for each in server.stack.delivered():
        assert each["run"] == number["Records"][-1]["dynamodb"]["SequenceNumber"]
        assert each["started_at"] == "2026-01-01T00:00:00Z"
        assert each["joined_at"] == EARLY


def test_the_entry_is_kept_while_the_training_runs_and_two_weeks_longer(running: Server) -> None:
    name = run_key(TRAINING_UUID)["notification_id"]["S"]
    assert "expires_at" not in (running.stack.ledger(name) or {})
    running.training("COMPLETED")
    running.process()
    found = running.stack.ledger(name)
    assert found is not None
    left = int(found["expires_at"]["N"]) - datetime.now(UTC).timestamp()
    assert timedelta(days=14).total_seconds() == pytest.approx(left, abs=60)
    running.training("ONGOING", 1)
    running.process()
    assert "expires_at" not in (running.stack.ledger(name) or {})


def test_a_lock_costs_no_write(running: Server) -> None:
    now = running.stack.item(TRAINING_UUID)
    assert now is not None
    running.stack.put(now | item({"lock": "held", "last_update": "2026-01-01T00:00:00Z"}))
    faults = Faults(running.build.app.clients.dynamodb)
    assert running.processed() == {}
    assert set(faults.calls) == {"GetItem"}


@pytest.mark.parametrize("actor", [uuid_of("one"), uuid_of("one").upper()])
def test_an_actor_that_takes_part_is_told_once_however_it_is_spelt(
    server: Server, actor: str
) -> None:
    server.join("one")
    server.training("ONGOING")
    me = {"uuid": actor, "message_endpoint": "https://one.example/"}
    server.training("COMPLETED", actor=me)
    assert server.processed() == {"one": [START, UPDATE, FINISHED]}


def test_the_reason_of_an_earlier_error_is_not_told_again(running: Server) -> None:
    running.training("ERROR", error={"reason": "disk full"})
    running.training("ONGOING", 1, error={"reason": "disk full"})
    running.training("ERROR", 1, error={"reason": "disk full"})
    running.process()
    reasons = [
        each["content"]["body"]["data"]["reason"]
        for each in running.stack.delivered()
        if each["notification_type"] == ERROR and each["receiver"]["uuid"] == uuid_of("one")
    ]
    assert reasons == ["disk full", "the server ended the training with an error"]


# --- what cannot be read, and what comes again ----------------------------------------------------


def test_what_could_not_be_read_is_announced_by_the_record_that_mends_it(running: Server) -> None:
    running.training("ONGOING", 1, model_uuid="none")
    running.training("ONGOING", 1, model_uuid=OWN_MODEL_UUID)
    running.training("ONGOING", 1, model_uuid=MODEL_UUID)
    assert running.processed() == {"one": [UPDATE], "two": [UPDATE]}
    assert [each["field"] for each in running.letters()] == ["model_uuid"]


def test_an_unreadable_start_that_is_mended_tells_the_start(server: Server) -> None:
    server.join("one")
    server.training("INITIAL")
    server.training("STARTED")
    server.training("ONGOING")
    assert server.processed() == {"one": [START, UPDATE]}


def test_a_deletion_ends_a_run_that_only_its_own_record_knows_of(server: Server) -> None:
    """The record of the start became a dead letter for another reason."""
    server.join("one")
    server.training("INITIAL")
    server.process()
    server.training("ONGOING")
    server.stack.changes()
    server.delete()
    assert server.processed() == {"one": [ERROR], "actor": [ERROR]}


def test_a_participant_that_is_mended_has_joined_and_is_told_the_current_round(
    running: Server,
) -> None:
    running.join("late", message_endpoint=None)
    running.join("late")
    assert running.processed() == {"late": [START, UPDATE]}
    assert len(running.letters()) == 1


def test_a_participant_that_is_mended_after_the_end_is_told_the_end(running: Server) -> None:
    running.join("late", message_endpoint=None)
    running.training("COMPLETED")
    running.processed()
    running.join("late")
    assert running.processed() == {"late": [FINISHED]}


def test_a_participant_deleted_while_unreadable_is_a_dead_letter_and_an_event(
    running: Server,
) -> None:
    running.join("late", message_endpoint=None)
    running.delete("late")
    assert running.processed() == {}
    assert [each["record"]["eventName"] for each in running.letters()] == ["INSERT", "REMOVE"]
    kinds = [kind for kind, _ in running.events()]
    assert kinds == ["Participant Unreadable", "Participant Removed"]


def test_records_behind_anothers_failure_come_again_and_change_nothing(running: Server) -> None:
    running.stack.put(participant_item("bad", training_uuid=OTHER_UUID))
    running.stack.put(training_item(training_uuid=OTHER_UUID))
    running.join("late", joined_at=None)
    running.delete("one")
    running.training("ONGOING", 1)
    running.training("COMPLETED", 1)
    event = running.stack.changes()
    faults = Faults(running.build.app.clients.sqs)
    faults.leave_undone(
        "SendMessageBatch", lambda entry: OTHER_UUID in entry["MessageGroupId"], times=5
    )
    assert len(running.process(event)) == 1
    assert running.process(event) == []
    told = running.told()
    assert told.pop("bad") == [START, UPDATE]
    assert told == {
        "one": [REMOVED],
        "two": [UPDATE, FINISHED],
        "late": [START, UPDATE, FINISHED],
        "actor": [FINISHED],
    }


def redriven(event: Record) -> Record:
    return {"Records": [{**record, REDRIVEN_AS: "a letter"} for record in event["Records"]]}


def test_a_redriven_record_above_what_is_told_is_told_like_any_other(running: Server) -> None:
    running.training("ONGOING", 1)
    assert running.process(redriven(running.stack.changes())) == []
    assert running.told() == {"one": [UPDATE], "two": [UPDATE]}
    assert running.entry().training.round == 1


def test_a_redriven_start_that_is_overtaken_tells_the_start_with_the_ids_of_the_run(
    server: Server,
) -> None:
    server.join("one")
    server.training("INITIAL")
    server.process()
    server.training("ONGOING", 0)
    start = server.stack.changes()
    server.training("ONGOING", 1)
    assert server.processed() == {"one": [START, UPDATE]}
    server.events()
    sent = Faults(server.build.app.clients.sqs)
    server.process(redriven(start))
    (call,) = sent.calls["SendMessageBatch"]
    assert [json.loads(each["MessageBody"])["notification_type"] for each in call["Entries"]] == [
        START
    ]
    assert server.told() == {}, "the ledger knows its id"
    assert server.events() == []


def test_the_last_record_that_was_told_tells_an_actor_that_is_mended(running: Server) -> None:
    running.training("COMPLETED", actor={"uuid": ACTOR.uuid})
    last = running.stack.changes()
    running.process(last)
    assert running.told() == {"one": [FINISHED], "two": [FINISHED]}
    last["Records"][-1]["dynamodb"]["NewImage"] = training_item(state="COMPLETED", round=0)
    running.process(redriven(last))
    assert running.told() == {"actor": [FINISHED]}


def test_a_redriven_participant_is_judged_by_the_training_as_it_is_now(running: Server) -> None:
    running.join("late")
    joining = running.stack.changes()
    running.training("COMPLETED")
    running.processed()
    running.process(redriven(joining))
    assert running.told() == {}
    running.delete("late")
    running.processed()


def test_a_record_that_fails_for_five_minutes_while_others_succeed_is_a_dead_letter(
    running: Server,
) -> None:
    running.stack.put(participant_item("bad", training_uuid=OTHER_UUID))
    running.stack.put(training_item(training_uuid=OTHER_UUID))
    running.training("ONGOING", 1)
    event = running.stack.changes()
    faults = Faults(running.build.app.clients.sqs)
    faults.leave_undone("SendMessageBatch", lambda entry: OTHER_UUID in entry["MessageGroupId"])
    failed = running.process(event)
    assert len(failed) == 1
    assert running.process(event) == failed
    patience = running.build.app.batches.patience
    patience._first_failures[failed[0]] -= timedelta(minutes=5)
    assert running.process(event) == []
    (letter,) = running.letters()
    assert letter["record"]["dynamodb"]["SequenceNumber"] == failed[0]
    assert letter["training_uuid"] == OTHER_UUID
    assert "NotEnqueuedError" in letter["reason"]


def test_a_record_that_fails_alone_stays_in_the_stream(running: Server) -> None:
    """It may be an outage of AWS: nothing is lost by waiting."""
    running.training("ONGOING", 1)
    event = running.stack.changes()
    faults = Faults(running.build.app.clients.sqs)
    faults.leave_undone("SendMessageBatch", lambda _: True)
    failed = running.process(event)
    patience = running.build.app.batches.patience
    patience._first_failures[failed[0]] -= timedelta(hours=2)
    assert running.process(event) == failed
    assert running.letters() == []


# --- events ---------------------------------------------------------------------------------------


def about(event: Record, **values: Any) -> dict[str, Any]:
    """What every event of a change says, of the last record of an event."""
    stream = event["Records"][-1]["dynamodb"]
    at = datetime.fromtimestamp(stream["ApproximateCreationDateTime"], UTC)
    return {
        "training_uuid": TRAINING_UUID,
        "sequence": stream["SequenceNumber"],
        "at": at.isoformat().replace("+00:00", "Z"),
        **values,
    }


def test_a_start_is_told_to_the_server(server: Server) -> None:
    server.join("one", "two")
    server.training("ONGOING")
    event = server.stack.changes()
    server.process(event)
    ((kind, detail),) = server.events()
    run = event["Records"][-1]["dynamodb"]["SequenceNumber"]
    assert kind == "Training Started"
    assert detail == about(
        event,
        run=run,
        state="ONGOING",
        round=0,
        participants=2,
        callback="enforce_quorum",
    )


@pytest.mark.parametrize("changed", [{"round_number": 1}, {"options": {"min_participants": 2}}])
def test_a_change_within_a_run_is_told_to_the_server(
    running: Server, changed: Mapping[str, Any]
) -> None:
    running.training("ONGOING", **changed)
    event = running.stack.changes()
    running.process(event)
    ((kind, detail),) = running.events()
    assert kind == "Training Changed"
    assert detail == about(
        event,
        run=running.entry().run,
        state="ONGOING",
        round=changed.get("round_number", 0),
        participants=2,
        callback="enforce_quorum",
    )


def test_the_end_is_told_to_the_server_with_its_reason(running: Server) -> None:
    error = {"reason": "answered 400", "receiver_uuid": uuid_of("one"), "notification_id": "n"}
    running.training("ERROR", error=error)
    event = running.stack.changes()
    running.process(event)
    ((kind, detail),) = running.events()
    assert kind == "Training Ended"
    run = running.entry().run
    assert detail == about(event, run=run, state="ERROR", round=0, callback=None, **error)


def test_a_deletion_is_told_to_the_server_as_the_end(running: Server) -> None:
    running.delete()
    running.process()
    ((kind, detail),) = running.events()
    assert (kind, detail["state"]) == ("Training Ended", "DELETED")
    assert detail["reason"] == "the training was deleted"


@pytest.mark.parametrize("joined_at", [EARLY, None])
def test_a_removal_by_the_service_is_told_with_its_reason(
    running: Server, joined_at: str | None
) -> None:
    removed = {
        "training_uuid": TRAINING_UUID,
        "entity": f"REMOVED#{uuid_of('one')}",
        "reason": "answered 400",
        "notification_id": "n",
        "at": "2026-01-01T00:00:00Z",
    }
    running.stack.put(item(removed | ({"joined_at": joined_at} if joined_at else {})))
    running.delete("one")
    event = running.stack.changes()
    running.process(event)
    ((kind, detail),) = running.events()
    is_its_own = joined_at == EARLY
    assert kind == "Participant Removed"
    assert detail == about(
        event,
        run=running.entry().run,
        receiver_uuid=uuid_of("one"),
        joined_at=EARLY,
        reason="answered 400" if is_its_own else None,
        notification_id="n" if is_its_own else None,
        callback="enforce_quorum",
    )


def test_an_unreadable_participant_is_told_to_the_server(running: Server) -> None:
    running.join("bad", message_endpoint=7)
    event = running.stack.changes()
    running.process(event)
    ((kind, detail),) = running.events()
    assert kind == "Participant Unreadable"
    assert detail == about(
        event,
        run=running.entry().run,
        entity=f"PARTICIPANT#{uuid_of('bad')}",
        field="message_endpoint",
        reason="Input should be a valid string",
        callback="enforce_quorum",
    )


def test_events_that_the_bus_does_not_take_make_the_record_come_again(running: Server) -> None:
    running.training("ONGOING", 1)
    event = running.stack.changes()
    faults = Faults(running.build.app.clients.events)
    faults.leave_undone("PutEvents", lambda _: True, times=5)
    assert len(running.process(event)) == 1
    assert running.process(event) == []
    assert [kind for kind, _ in running.events()] == ["Training Changed"]


# --- selection and settings -----------------------------------------------------------------------


def test_rounds_go_to_the_selected_only_and_they_alone_are_read(running: Server) -> None:
    running.training("ONGOING", 1, selected={uuid_of("one").upper(), uuid_of("nobody")})
    faults = Faults(running.build.app.clients.dynamodb)
    assert running.processed() == {"one": [UPDATE]}
    assert len(faults.calls["BatchGetItem"]) == 1
    assert {each.get("Select") for each in faults.calls.get("Query", [])} == {"COUNT"}
    running.training("COMPLETED", 1, selected=[])
    assert running.processed() == {"one": [FINISHED], "two": [FINISHED], "actor": [FINISHED]}


def test_a_start_goes_to_all_and_its_round_to_the_selected(server: Server) -> None:
    server.join("one", "two")
    server.training("ONGOING", selected=[uuid_of("one")])
    assert server.processed() == {"one": [START, UPDATE], "two": [START]}


def test_nobody_selected_is_nobody(running: Server) -> None:
    running.training("ONGOING", 1, selected=[])
    assert running.processed() == {}


def test_another_selection_within_a_round_tells_nobody(running: Server) -> None:
    running.training("ONGOING", selected=[uuid_of("one")])
    assert running.processed() == {}


def test_a_late_joiner_is_told_the_current_round_only_if_it_is_selected(running: Server) -> None:
    running.training("ONGOING", selected=[], options={"late_joiners": "current_round"})
    running.join("late")
    assert running.processed() == {"late": [START]}


def test_settings_go_with_the_round_the_participants_own_over_the_trainings(
    server: Server,
) -> None:
    server.join("one", settings={"epochs": 2, "rate": {"max": 1}})
    server.join("two")
    server.training("ONGOING", settings={"epochs": 1, "name": "a"})
    server.process()
    found = {
        NAMES[each["receiver"]["uuid"]]: each["content"]["body"].get("settings")
        for each in server.stack.delivered()
        if each["notification_type"] == UPDATE
    }
    assert found == {
        "one": {"epochs": 2, "name": "a", "rate": {"max": 1}},
        "two": {"epochs": 1, "name": "a"},
    }


@pytest.mark.parametrize("settings", ["fast", {"w": "w" * 9_000}, {"w": b"w"}])
def test_who_has_unusable_settings_is_told_no_round_and_everything_else(
    server: Server, settings: Any
) -> None:
    server.join("one", settings=settings)
    server.join("two")
    server.training("ONGOING", settings={"v": "v" * 9_000})
    server.training("COMPLETED")
    assert server.processed() == {
        "one": [START, FINISHED],
        "two": [START, UPDATE, FINISHED],
        "actor": [FINISHED],
    }
    ((field, entity),) = {(each["field"], each["entity"]) for each in server.letters()}
    assert field.partition(".")[0] == "settings"
    assert entity == f"PARTICIPANT#{uuid_of('one')}"


# --- who is left ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["answered 400", None])
def test_all_others_are_told_of_a_removal_if_the_training_wants_it(
    running: Server, reason: str | None
) -> None:
    running.training("ONGOING", options={"announce_removals": True})
    running.process()
    removed = {"training_uuid": TRAINING_UUID, "entity": f"REMOVED#{uuid_of('one')}"}
    if reason is not None:
        running.stack.put(item(removed | {"reason": reason, "joined_at": EARLY}))
    running.delete("one")
    running.process()
    messages = running.stack.delivered()
    told = {NAMES[each["receiver"]["uuid"]]: each for each in messages}
    assert told["one"]["notification_type"] == REMOVED
    assert told["two"]["content"] == {
        "notification_type": "PARTICIPANT_REMOVED",
        "body": {
            "data": {
                "participant_uuid": uuid_of("one"),
                "reason": reason or "removed by the server",
            }
        },
        "training_uuid": TRAINING_UUID,
    }
    assert (told["two"]["callback_success"], told["two"]["callback_error"]) == (None, None)
    assert len(messages) == 2


def test_nobody_else_is_told_of_a_removal_otherwise(running: Server) -> None:
    running.delete("one")
    assert running.processed() == {"one": [REMOVED]}
