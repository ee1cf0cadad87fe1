"""Carries a row of `Desired` over to the trainings table, and says what the table knows better.

Every write is a transaction with the item `SERVER` of the training, which holds the version that
was carried over last: a fencing token. So two processes that carry over different versions do not
disturb each other: the older one is refused from the first write of the newer one on. Whoever dies
in the middle leaves a table from which the next one goes on.

What the service itself has done is not undone: a participant that it has removed, or an end that it
has set, is reported, so that the server does the same in its own database.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import batched
from typing import TYPE_CHECKING, Any, Final

from fl_notifications.aws.batches import Sleep
from fl_notifications.clock import Clock, SystemClock
from fl_notifications.server.checks import check_settings
from fl_notifications.server.desired import Desired, Member
from fl_notifications.server.errors import TrainingRepositoryError
from fl_notifications.server.writes import TRANSACTION, Table, attributes
from fl_notifications.trainings.items import (
    PARTICIPANT_PREFIX,
    REMOVED_PREFIX,
    TRAINING_ENTITY,
    Item,
    participant_key,
    plain,
    training_key,
)
from fl_notifications.trainings.model import FINAL_STATES, TrainingState
from fl_notifications.trainings.removals import Removal

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SERVER_ENTITY: Final = "SERVER"
"""Sort key of the fencing token; an item of the server's own, which the service leaves alone."""

_ROUNDS: Final = 5
"""How often the table is read again when somebody else has changed it meanwhile."""

_PUTS: Final = (TRANSACTION - 1) // 2
"""Participants in one transaction: each with the check that it was not removed."""


class NotCarriedOverError(TrainingRepositoryError):
    """The table kept changing; nothing is lost, carrying over again goes on."""


@dataclass(frozen=True)
class Ended:
    """A training that the service has ended while the server thinks that it runs.

    Attributes:
        state: `ERROR`, or what else the table says.
        reason: of its error.
        receiver_uuid: whose outcome led to it.
    """

    state: TrainingState
    reason: str | None
    receiver_uuid: str | None


@dataclass(frozen=True)
class Report:
    """What was carried over, and what the server does not know yet.

    Attributes:
        steps: what was done, or with `dry_run` would be.
        overtaken: whether a newer version is there already; nothing more was done then.
        removed: participants that the service has removed, but the server has not.
        ended: an end that the service has set, but the server has not.
    """

    steps: tuple[str, ...] = ()
    overtaken: bool = False
    removed: tuple[Removal, ...] = ()
    ended: Ended | None = None

    @property
    def agreed(self) -> bool:
        """Whether both sides say the same now."""
        return not (self.overtaken or self.removed or self.ended)


@dataclass(frozen=True)
class _Actual:
    """What the table says of a training."""

    training: Mapping[str, Any] | None
    members: Mapping[str, Mapping[str, Any]]
    removals: Mapping[str, Removal]
    version: int
    run: int
    resumed: int

    @property
    def state(self) -> str | None:
        return None if self.training is None else self.training.get("state")


@dataclass(frozen=True)
class _Step:
    """One transaction, and how people would call it.

    Attributes:
        text: what it does.
        actions: of DynamoDB, beside the fencing token.
        counts: what the fencing token says of run and resumptions from then on.
    """

    text: str
    actions: tuple[Any, ...] = ()
    counts: tuple[int, int] | None = None


class Reconciler:
    """Makes the trainings table say what the server's rows say.

    Args:
        client: boto3's client.
        table_name: the stack's output `TrainingsTable`.
        clock: tells the time of starting and changing.
        sleep: waits between two tries of a call, in seconds.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table_name: str,
        *,
        clock: Clock | None = None,
        sleep: Sleep = time.sleep,
    ) -> None:
        self._table = Table(client, table_name, sleep=sleep)
        self._clock = clock or SystemClock()

    def carry_over(self, row: Desired, *, dry_run: bool = False) -> Report:
        """Make the table say what a row says.

        Participants join, then others leave, then state and round change: so a round is told to
        whom the row means, with the models that it means. When a training ends, the state changes
        first, so that all hear of it. Safe to repeat, and from any number of processes at once.

        Args:
            row: what the table should say.
            dry_run: whether only to say what differs.

        Raises:
            NotCarriedOverError: if the table kept changing.
            ClientError: if DynamoDB refuses a call.
        """
        done: list[str] = []
        for _ in range(_ROUNDS):
            actual = self._read(row.training_uuid)
            report = Report(tuple(done), actual.version > row.version, *_back(row, actual))
            if report.overtaken:
                return report
            steps = list(_steps(self._table, row, actual, self._clock.now().isoformat()))
            if dry_run:
                return replace(report, steps=tuple(step.text for step in steps))
            if not steps and actual.version < row.version:
                steps = [_Step("")]
            outcome = self._do(row, actual, steps, done)
            if outcome is not None:
                return replace(report, steps=tuple(done), overtaken=not outcome)
        raise NotCarriedOverError(f"training {row.training_uuid} kept changing; try again")

    def _do(
        self, row: Desired, actual: _Actual, steps: Iterable[_Step], done: list[str]
    ) -> bool | None:
        """Do the steps; false: overtaken; None: the table has changed meanwhile."""
        counts = (actual.run, actual.resumed)
        for step in steps:
            counts = step.counts or counts
            failed = self._table.transact([self._fence(row, counts), *step.actions])
            if failed:
                return False if 0 in failed else None
            if step.text:
                done.append(step.text)
        return True

    def _fence(self, row: Desired, counts: tuple[int, int]) -> Any:
        return self._table.update_action(
            _server_key(row.training_uuid),
            {"version": row.version, "run": counts[0], "resumed": counts[1]},
            "attribute_not_exists(entity) OR #version <= :version",
            {},
            {},
        )

    def _read(self, training_uuid: str) -> _Actual:
        training = None
        members, removals = {}, {}
        server: Mapping[str, Any] = {}
        for item in self._table.items(training_uuid):
            entity = item["entity"]["S"]
            if entity == TRAINING_ENTITY:
                training = _plain(item)
            elif entity == SERVER_ENTITY:
                server = _plain(item)
            elif entity.startswith(PARTICIPANT_PREFIX):
                members[entity.removeprefix(PARTICIPANT_PREFIX)] = _plain(item)
            elif entity.startswith(REMOVED_PREFIX):
                removal = Removal.from_item(item)
                removals[removal.participant_uuid] = removal
        counts = (int(server.get(name, 0)) for name in ("version", "run", "resumed"))
        return _Actual(training, members, removals, *counts)


def _back(row: Desired, actual: _Actual) -> tuple[tuple[Removal, ...], Ended | None]:
    """What the table knows and the row does not."""
    if row.deleted:
        return (), None
    removed = tuple(
        actual.removals[uuid]
        for uuid, member in row.participants.items()
        if _was_removed(uuid, member, actual)
    )
    return removed, _ended(row, actual)


def _was_removed(uuid: str, member: Member, actual: _Actual) -> bool:
    removal = actual.removals.get(uuid)
    return removal is not None and removal.joined_at == member.joined_at


def _ended(row: Desired, actual: _Actual) -> Ended | None:
    """An end of this very run that the row does not know of."""
    if not row.running or actual.state is None or actual.state not in FINAL_STATES:
        return None
    if (row.run, row.resumed) != (actual.run, actual.resumed):
        return None
    error = (actual.training or {}).get("error")
    error = error if isinstance(error, dict) else {}
    return Ended(TrainingState(actual.state), error.get("reason"), error.get("receiver_uuid"))


def _steps(table: Table, row: Desired, actual: _Actual, now: str) -> Iterator[_Step]:
    """What is to be done, in order."""
    if row.deleted:
        yield from _delete(table, row, actual)
        return
    counts = (row.run, row.resumed)
    state = actual.state
    if state is None:
        given = {"entity": TRAINING_ENTITY, **_training(row, TrainingState.INITIAL, now)}
        item = attributes({name: value for name, value in given.items() if value is not None})
        put = table.put_action(item, "attribute_not_exists(entity)")
        yield _Step("create the training", (put,), counts)
        state = TrainingState.INITIAL
    elif actual.run < row.run and state != TrainingState.INITIAL:
        changes = {**_training(row, TrainingState.INITIAL, now), "error": None}
        yield _Step("set it back to INITIAL", (_update(table, row, actual, changes),), counts)
        actual = replace(actual, training={**(actual.training or {}), **changes})
        state = TrainingState.INITIAL
    if _ended(row, actual) is not None:
        return  # what else the row says is about a training that is over
    yield from _join(table, row, actual)
    parts = [_leave(table, row, actual), _move(table, row, actual, state, now)]
    if row.state in FINAL_STATES:
        parts.reverse()
    for part in parts:
        yield from part


def _move(table: Table, row: Desired, actual: _Actual, state: str, now: str) -> Iterator[_Step]:
    """State, round and what else the training's item says."""
    wished = _training(row, row.state, now)
    known = dict(actual.training or _training(row, TrainingState.INITIAL, now))
    differing = [
        name for name, value in wished.items() if name != "last_update" and value != known.get(name)
    ]
    if not differing:
        return
    if state == TrainingState.INITIAL and row.running:
        wished["started_at"] = now
    if row.state is not TrainingState.ERROR and known.get("error") is not None:
        wished["error"] = None
    if row.state is TrainingState.ERROR and state != TrainingState.ERROR:
        reason = row.reason or "the server ended the training with an error"
        wished["error"] = {"reason": reason, "at": now, "state": state, "round": row.round}
    text = f"{row.state.value} in round {row.round}"
    if "state" not in differing and "round" not in differing:
        text = f"change {', '.join(sorted(differing))}"
    known["state"] = state
    update = _update(table, row, replace(actual, training=known), wished)
    yield _Step(text, (update,), (row.run, row.resumed))


def _update(table: Table, row: Desired, actual: _Actual, changes: Mapping[str, Any]) -> Any:
    """Change the training, if it is where it was read."""
    known = actual.training or {}
    return table.update_action(
        training_key(row.training_uuid),
        {name: value for name, value in changes.items() if name != "training_uuid"},
        "#state = :was_state AND #round = :was_round",
        {"#state": "state", "#round": "round"},
        {":was_state": known.get("state"), ":was_round": known.get("round")},
    )


def _join(table: Table, row: Desired, actual: _Actual) -> Iterator[_Step]:
    """Who joins, and whose endpoint, model or settings have changed."""
    puts, updates = [], []
    for uuid, member in row.participants.items():
        if _was_removed(uuid, member, actual):
            continue
        known = actual.members.get(uuid)
        wished = member.model_dump()
        key = participant_key(row.training_uuid, uuid)
        if known is None or known.get("joined_at") != member.joined_at:
            present = {name: value for name, value in wished.items() if value is not None}
            put = table.put_action({**key, **attributes(present)})
            note = {**key, "entity": {"S": f"{REMOVED_PREFIX}{uuid}"}}
            condition = "attribute_not_exists(joined_at) OR joined_at <> :joined_at"
            check = table.check_action(note, condition, {}, {":joined_at": member.joined_at})
            puts.append((put, check))
        elif any(known.get(name) != value for name, value in wished.items()):
            condition, values = "joined_at = :was", {":was": member.joined_at}
            updates.append(table.update_action(key, wished, condition, {}, values))
    for batch in batched(puts, _PUTS):
        yield _Step(f"{len(batch)} join", tuple(action for pair in batch for action in pair))
    for some in batched(updates, TRANSACTION - 1):
        yield _Step(f"change {len(some)} participants", tuple(some))


def _leave(table: Table, row: Desired, actual: _Actual) -> Iterator[_Step]:
    """Who leaves."""
    leaving = [uuid for uuid in actual.members if uuid not in row.participants]
    for batch in batched(leaving, TRANSACTION - 1):
        keys = (participant_key(row.training_uuid, uuid) for uuid in batch)
        yield _Step(f"{len(batch)} leave", tuple(table.delete_action(key) for key in keys))


def _delete(table: Table, row: Desired, actual: _Actual) -> Iterator[_Step]:
    """The training first, so that all are told that it was deleted; its fencing token stays."""
    if actual.training is not None:
        delete = table.delete_action(training_key(row.training_uuid))
        yield _Step("delete the training", (delete,), (row.run, row.resumed))
    keys = [participant_key(row.training_uuid, uuid) for uuid in actual.members]
    keys += [
        {**training_key(row.training_uuid), "entity": {"S": f"{REMOVED_PREFIX}{uuid}"}}
        for uuid in actual.removals
    ]
    for batch in batched(keys, TRANSACTION - 1):
        actions = tuple(table.delete_action(key) for key in batch)
        yield _Step(f"delete {len(actions)} items that belong to it", actions)


def _training(row: Desired, state: TrainingState, now: str) -> dict[str, Any]:
    """The training's attributes; those that it should not have are None."""
    return {
        "training_uuid": row.training_uuid,
        "state": state.value,
        "round": row.round,
        "model_uuid": row.model_uuid,
        "actor": row.actor.model_dump(include={"uuid", "message_endpoint"}),
        "options": dict(row.options) or None,
        "last_update": now,
        "selected": None if row.selected is None else sorted(row.selected),
        "settings": None if row.settings is None else check_settings(row.settings),
    }


def _server_key(training_uuid: str) -> dict[str, Any]:
    return {**training_key(training_uuid), "entity": {"S": SERVER_ENTITY}}


def _plain(item: Item) -> dict[str, Any]:
    return {name: plain(item, name, "item") for name in item}
