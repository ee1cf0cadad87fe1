"""The write side: how an FL server creates, advances and ends trainings.

A step of the training is one conditional write, so that two servers, or one that repeats itself,
cannot undo each other's. What is written reaches the participants by itself; each method says who
is told what. A step whose answer was lost, and that boto3 repeats, is recognised as done.

Examples:
    >>> trainings = TrainingRepository(boto3.client("dynamodb"), table_name)
    >>> trainings.create(training_uuid, model_uuid, actor, participants)
    >>> trainings.start(training_uuid)
    >>> trainings.next_round(training_uuid, model_uuid=new_model_uuid, after=0)
    >>> trainings.finish(training_uuid)
"""

import itertools
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack
from uuid import UUID

from fl_notifications.aws.batches import Sleep
from fl_notifications.clock import Clock, SystemClock
from fl_notifications.deliveries.guard import EndpointGuard
from fl_notifications.server.checks import (
    DEFAULT_GUARD,
    Options,
    check_endpoint,
    check_selected,
    check_settings,
    checked_uuid,
    read_options,
)
from fl_notifications.server.errors import (
    NotDeletedError,
    ParticipantExistsError,
    ParticipantNotFoundError,
    ParticipantsNotWrittenError,
    TooFewParticipantsError,
    TrainingExistsError,
    TrainingNotFoundError,
    TrainingRepositoryError,
    WrongStateError,
)
from fl_notifications.server.writes import TRANSACTION, Table, attributes
from fl_notifications.trainings.items import (
    PARTICIPANT_PREFIX,
    REMOVED_PREFIX,
    TRAINING_ENTITY,
    AnyUuid,
    Item,
    UnreadableItemError,
    participant_key,
    training_key,
)
from fl_notifications.trainings.model import (
    FINAL_STATES,
    RUNNING_STATES,
    Participant,
    Progress,
    Receiver,
    Training,
    TrainingOptions,
    TrainingState,
    canonical,
)
from fl_notifications.trainings.removals import Removal

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

__all__ = [
    "ParticipantExistsError",
    "ParticipantNotFoundError",
    "ParticipantsNotWrittenError",
    "RoundArguments",
    "TooFewParticipantsError",
    "TrainingExistsError",
    "TrainingNotFoundError",
    "TrainingRepository",
    "TrainingRepositoryError",
    "TrainingStatus",
    "WrongStateError",
]

LONG_BEFORE: Final = timedelta(hours=1)
"""How long before its adoption a participant of a running training is taken to have joined."""

_TRIES: Final = 5


class RoundArguments(TypedDict, total=False):
    """What every method that starts a round takes; what is not given stays as it is.

    Attributes:
        model_uuid: the new global model.
        round: the number of the round, instead of the one that follows.
        backwards: whether a number below the current one is meant so.
        selected: uuids of those who take part in this round and in the next ones, at most 1,000:
            nobody else is told of them. An empty list is nobody, None is everybody.
        settings: for everybody who is told of the round, at most 16 KiB of JSON; None takes them
            back.
    """

    model_uuid: AnyUuid | None
    round: int
    backwards: bool
    selected: Iterable[AnyUuid] | None
    settings: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """Where a training is.

    Attributes:
        training: the training.
        participants: how many take part.
        reported: how many of them have reported the current round, see `reported`.
        unreadable: what is wrong with items that are no participants by the contract.
        removals: whom the service has removed, and why.
    """

    training: Training
    participants: int
    reported: int
    unreadable: tuple[str, ...]
    removals: tuple[Removal, ...]


class TrainingRepository:
    """Trainings and their participants in the trainings table.

    Args:
        client: boto3's client.
        table_name: the stack's output `TrainingsTable`.
        clock: tells the time of joining, starting and changing.
        guard: which endpoints are usable; without one, every public or private https or http URL
            that the stack could be told to call.
        sleep: waits between two tries of a call, in seconds.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table_name: str,
        *,
        clock: Clock | None = None,
        guard: EndpointGuard = DEFAULT_GUARD,
        sleep: Sleep = time.sleep,
    ) -> None:
        self._clock = _Unrepeated(clock or SystemClock())
        self._guard = guard
        self._table = Table(client, table_name, sleep=sleep)

    # --- reading ---------------------------------------------------------------------------------

    def get(self, training_uuid: AnyUuid) -> Training:
        """Read a training.

        Raises:
            TrainingNotFoundError: if there is none.
            UnreadableItemError: if its item is not a training by the contract.
        """
        item = self._table.item(training_key(training_uuid))
        if item is None:
            raise TrainingNotFoundError(f"there is no training {training_uuid}")
        return Training.from_item(item)

    def participants(self, training_uuid: AnyUuid) -> Iterator[Participant]:
        """Read the participants of a training, page by page as they are asked for.

        Raises:
            UnreadableItemError: at an item that is not a participant.
        """
        for item in self._table.items(training_uuid, PARTICIPANT_PREFIX):
            yield Participant.from_item(item)

    def removals(self, training_uuid: AnyUuid) -> list[Removal]:
        """Whom the service has removed from a training, and why.

        A participant that is missing and not among these was not written yet, or was removed by
        `remove_participant`. One that has joined again is still among them, with the `joined_at`
        of its earlier membership.

        Raises:
            UnreadableItemError: at an item that is no such note.
        """
        return [Removal.from_item(i) for i in self._table.items(training_uuid, REMOVED_PREFIX)]

    def status(self, training_uuid: AnyUuid) -> TrainingStatus:
        """Read where a training is: its state, how many take part, have reported, were removed.

        Raises:
            TrainingNotFoundError: if there is none.
            UnreadableItemError: if its item is not a training by the contract.
        """
        training = self.get(training_uuid)
        mark, found, reported = _mark(training.state, training.round), 0, 0
        unreadable = []
        for item in self._table.items(training_uuid, PARTICIPANT_PREFIX):
            try:
                participant = Participant.from_item(item)
            except UnreadableItemError as error:
                unreadable.append(str(error))
                continue
            found += 1
            reported += participant.reported == mark
        removals = tuple(self.removals(training_uuid))
        return TrainingStatus(training, found, reported, tuple(unreadable), removals)

    # --- a training's life -----------------------------------------------------------------------

    def create(  # noqa: PLR0913 - each is an attribute of the contract
        self,
        training_uuid: AnyUuid,
        model_uuid: AnyUuid,
        actor: Receiver,
        participants: Iterable[Receiver] = (),
        *,
        options: Options | None = None,
        round: int = 0,  # noqa: A002 - the attribute's name
        selected: Iterable[AnyUuid] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Training:
        """Create a training in the state `INITIAL`, with its participants; tells nobody.

        Args:
            training_uuid: of the training.
            model_uuid: the global model that the first round trains.
            actor: who has ordered the training.
            participants: who takes part.
            options: the failure policy and what else is the training's choice.
            round: number of the first round: not 0 if the model was trained before.
            selected: see `RoundArguments`.
            settings: see `RoundArguments`.

        Raises:
            TrainingExistsError: if there is a training with this uuid.
            ParticipantsNotWrittenError: if not all participants could be written; the training
                exists then, and `add_participants` goes on where this stopped.
            EndpointError: if an endpoint is not usable.
            OptionError: if an option is unknown or wrong.
        """
        now = self._now()
        check_endpoint(self._guard, actor, "actor")
        training = _training(
            training_uuid=training_uuid,
            state=TrainingState.INITIAL,
            round=round,
            model_uuid=model_uuid,
            actor=actor,
            last_update=now,
            options=read_options(options or {}),
            selected=selected,
            settings=settings,
        )
        items = self._participant_items(training_uuid, participants, now)
        first = list(itertools.islice(items, 1))  # so that a wrong one is found before the write
        if not self._table.put_new(_training_item(training)):
            raise TrainingExistsError(f"training {training_uuid} exists")
        self._put_participants(itertools.chain(first, items))
        return training

    def adopt(  # noqa: PLR0913 - each is an attribute of the contract
        self,
        training_uuid: AnyUuid,
        model_uuid: AnyUuid,
        actor: Receiver,
        participants: Iterable[Receiver] = (),
        *,
        state: TrainingState,
        round: int,  # noqa: A002 - the attribute's name
        options: Options | None = None,
    ) -> Training:
        """Write a training that runs already, started by another system; tells nobody.

        Everybody is told the next change. Participants are taken to have joined an hour before,
        unless they say when: so nobody is told a start that it knows.

        Args:
            training_uuid: of the training.
            model_uuid: the current global model.
            actor: who has ordered the training.
            participants: who takes part.
            state: where it is.
            round: likewise.
            options: the failure policy and what else is the training's choice.

        Raises:
            TrainingExistsError: if there is a training with this uuid.
            ParticipantsNotWrittenError: if not all participants could be written; nothing else
                was then, and adopting again is safe.
            EndpointError: if an endpoint is not usable.
            OptionError: if an option is unknown or wrong.
        """
        now = self._now()
        check_endpoint(self._guard, actor, "actor")
        training = _training(
            training_uuid=training_uuid,
            state=state,
            round=round,
            model_uuid=model_uuid,
            actor=actor,
            last_update=now,
            options=read_options(options or {}),
            selected=None,
            settings=None,
        )
        if self._table.item(training_key(training_uuid)) is not None:
            raise TrainingExistsError(f"training {training_uuid} exists")
        before = (datetime.fromisoformat(now) - LONG_BEFORE).isoformat()
        # The training last: what joins before it leads to nothing.
        self._put_participants(self._participant_items(training_uuid, participants, before))
        item = {**_training_item(training), "adopted_at": {"S": now}}
        if not self._table.put_new(item):
            raise TrainingExistsError(f"training {training_uuid} exists")
        return training

    def start(self, training_uuid: AnyUuid, **announced: Unpack[RoundArguments]) -> None:
        """`INITIAL` becomes `ONGOING`: tells `TRAINING_START` and `UPDATE_ROUND_START`.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is not `INITIAL`.
            TooFewParticipantsError: if nobody takes part, fewer than `min_participants`, or not
                everybody in `required_participants`.
        """
        place = self._place(training_uuid)
        place.check({TrainingState.INITIAL})
        self._check_enough(place)
        changes = {"started_at": self._now(), **_round_changes(place, announced)}
        self._step(training_uuid, {TrainingState.INITIAL}, TrainingState.ONGOING, changes)

    def next_round(
        self,
        training_uuid: AnyUuid,
        *,
        after: int | None = None,
        **announced: Unpack[RoundArguments],
    ) -> int:
        """The next update round starts: tells the participants `UPDATE_ROUND_START`.

        Args:
            training_uuid: of the training.
            after: the round that has ended; with it, repeating the call does not skip a round.
            **announced: see `RoundArguments`. With a `round` that is the current one it is told
                only if the state was another one: as after a test of the model.

        Returns:
            The new round.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is not running, not in the round `after`, or if the round would
                go backwards.
        """
        return self._start_round(
            training_uuid, TrainingState.ONGOING, announced, after=after, advance=True
        )

    def swag_round(
        self, training_uuid: AnyUuid, *, advance: bool = False, **announced: Unpack[RoundArguments]
    ) -> int:
        """A SWAG round starts: tells the participants `SWAG_ROUND_START`.

        Args:
            training_uuid: of the training.
            advance: whether this is a new round, as it has to be after another SWAG round.
            **announced: see `RoundArguments`.

        Returns:
            The round.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is not running, or if the round would go backwards.
        """
        return self._start_round(
            training_uuid, TrainingState.SWAG_ROUND, announced, advance=advance
        )

    def model_test(
        self, training_uuid: AnyUuid, *, advance: bool = False, **announced: Unpack[RoundArguments]
    ) -> int:
        """The global model is to be tested: tells the participants `MODEL_TEST_ROUND`.

        Args:
            training_uuid: of the training.
            advance: whether this is a new round, as it has to be after another test.
            **announced: see `RoundArguments`.

        Returns:
            The round.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is not running, or if the round would go backwards.
        """
        return self._start_round(
            training_uuid, TrainingState.MODEL_TEST, announced, advance=advance
        )

    def finish(self, training_uuid: AnyUuid, *, model_uuid: AnyUuid | None = None) -> None:
        """The training is completed: tells the participants and the actor `TRAINING_FINISHED`.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is not running.
        """
        changes = {} if model_uuid is None else {"model_uuid": checked_uuid(model_uuid, "model")}
        self._step(training_uuid, RUNNING_STATES, TrainingState.COMPLETED, changes)

    def fail(self, training_uuid: AnyUuid, reason: str) -> None:
        """The training ends: tells participants and actor `TRAINING_ERROR` with this reason.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is over already.
        """
        for last in (False,) * (_TRIES - 1) + (True,):
            place = self._place(training_uuid)
            place.check(frozenset(TrainingState) - FINAL_STATES)
            # Where it was, so that `resume` knows.
            error = {"reason": reason, "at": self._now(), "state": place.state.value}
            changes = {"error": {**error, "round": place.round}}
            try:
                self._step(training_uuid, {place.state}, TrainingState.ERROR, changes, place.round)
            except WrongStateError:
                if last:
                    raise
            else:
                return

    def resume(
        self,
        training_uuid: AnyUuid,
        *,
        state: TrainingState | None = None,
        **announced: Unpack[RoundArguments],
    ) -> TrainingState:
        """A training in `ERROR` goes on: tells the participants the round in which it is.

        Those who joined meanwhile are told `TRAINING_START` before it.

        Args:
            training_uuid: of the training.
            state: in which state it goes on; without one, where it was.
            **announced: see `RoundArguments`; without a `round`, the one in which it was.

        Returns:
            The state.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is not in `ERROR`, or if nobody knows where it was.
            TooFewParticipantsError: as for `start`.
        """
        place = self._place(training_uuid)
        place.check({TrainingState.ERROR})
        self._check_enough(place)
        going_on = state or place.before
        if going_on not in RUNNING_STATES:
            raise WrongStateError(
                f"training {training_uuid}: say in which state it goes on: its error does not"
            )
        changes = {"error": None, **_round_changes(place, announced)}
        self._step(training_uuid, {TrainingState.ERROR}, going_on, changes)
        return going_on

    def restart(
        self,
        training_uuid: AnyUuid,
        *,
        round: int = 0,  # noqa: A002 - the attribute's name
        model_uuid: AnyUuid | None = None,
    ) -> None:
        """Begin from the start again, from any state: tells `TRAINING_START`, `UPDATE_ROUND_START`.

        What is still on its way of the run before is superseded. If this breaks off in the middle
        the training is `INITIAL`, and `start` goes on.

        Args:
            training_uuid: of the training.
            round: number of the first round.
            model_uuid: the global model; without one it stays as it is.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it was changed meanwhile.
            TooFewParticipantsError: as for `start`.
        """
        place = self._place(training_uuid)
        self._check_enough(place)
        changes: dict[str, Any] = {"error": None, "round": round}
        if model_uuid is not None:
            changes["model_uuid"] = checked_uuid(model_uuid, "model_uuid")
        self._step(training_uuid, {place.state}, TrainingState.INITIAL, changes)
        self.start(training_uuid)

    def delete(self, training_uuid: AnyUuid) -> bool:
        """Delete a training with all that belongs to it.

        If it runs, the participants and the actor are told `TRAINING_ERROR`, "the training was
        deleted"; if it is over, nobody is told anything that was not on its way already. The
        training goes first, so that nobody is told to have been removed from it. Deleting again,
        after an error, goes on where it stopped.

        Returns:
            Whether there was such a training.

        Raises:
            NotDeletedError: if DynamoDB did not delete all items, after several tries.
        """
        existed = self._table.delete(training_key(training_uuid))
        kinds = (PARTICIPANT_PREFIX, REMOVED_PREFIX)
        keys = (
            {"training_uuid": item["training_uuid"], "entity": item["entity"]}
            for kind in kinds
            for item in self._table.items(training_uuid, kind)
        )
        if left := self._table.delete_all(keys):
            raise NotDeletedError(f"training {training_uuid}: {left} or more items are left")
        return existed

    # --- what may change meanwhile ---------------------------------------------------------------

    def set_options(self, training_uuid: AnyUuid, options: Options) -> None:
        """Replace a training's options; tells nobody.

        If it runs, what they ask for is looked at at once: with fewer participants than
        `min_participants` it becomes `ERROR`.

        Raises:
            OptionError: if an option is unknown or wrong.
            TrainingNotFoundError: if there is no such training.
        """
        self._set(training_uuid, {"options": _options_map(read_options(options))})

    def select(self, training_uuid: AnyUuid, selected: Iterable[AnyUuid] | None) -> None:
        """Say who takes part in the next rounds; tells nobody, and takes back nothing.

        Args:
            training_uuid: of the training.
            selected: see `RoundArguments`.

        Raises:
            TrainingNotFoundError: if there is no such training.
        """
        uuids = None if selected is None else check_selected(selected)
        self._set(training_uuid, {"selected": uuids})

    def set_settings(
        self,
        training_uuid: AnyUuid,
        settings: Mapping[str, Any] | None,
        *,
        participant_uuid: AnyUuid | None = None,
    ) -> None:
        """Say what the next rounds' notifications carry as `settings`; tells nobody.

        Args:
            training_uuid: of the training.
            settings: at most 16 KiB of JSON; None takes them back.
            participant_uuid: whom they are for; its keys go before the training's. Without one
                they are for all.

        Raises:
            SettingsValueError: if they are no JSON, or too large.
            TrainingNotFoundError: if there is no such training or participant.
        """
        changes = {"settings": None if settings is None else check_settings(settings)}
        if participant_uuid is None:
            self._set(training_uuid, changes)
        else:
            self._set_participant(training_uuid, participant_uuid, changes)

    def set_actor(self, training_uuid: AnyUuid, actor: Receiver) -> None:
        """Change the actor, or its endpoint; tells nobody, takes effect with the next attempt.

        Raises:
            EndpointError: if the endpoint is not usable.
            TrainingNotFoundError: if there is no such training.
        """
        check_endpoint(self._guard, actor, "actor")
        receiver = Receiver(uuid=actor.uuid, message_endpoint=actor.message_endpoint)
        self._set(training_uuid, {"actor": receiver.model_dump()})

    # --- participants ----------------------------------------------------------------------------

    def add_participants(self, training_uuid: AnyUuid, participants: Iterable[Receiver]) -> None:
        """Let many participants join at once: tells them `TRAINING_START` if the training runs.

        Unlike `add_participant` this replaces what was known of them; if one is there twice, the
        later one counts.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if the training is over.
            EndpointError: if an endpoint is not usable; those before it may have been written.
            ParticipantsNotWrittenError: if not all could be written, after several tries.
        """
        self._place(training_uuid).check(frozenset(TrainingState) - FINAL_STATES)
        self._put_participants(self._participant_items(training_uuid, participants, self._now()))

    def add_participant(
        self,
        training_uuid: AnyUuid,
        participant: Receiver,
        *,
        model_uuid: AnyUuid | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Participant:
        """Let a participant join: tells it `TRAINING_START` if the training is running.

        With the option `late_joiners: current_round` it is told the current round, too.

        Args:
            training_uuid: of the training.
            participant: who joins.
            model_uuid: a model of its own to train next, if not the training's.
            settings: of its own, see `set_settings`.

        Returns:
            The participant, with the time at which it joined.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if the training is over.
            ParticipantExistsError: if it has joined already.
            EndpointError: if its endpoint is not usable.
        """
        check_endpoint(self._guard, participant, "participant")
        joined = Participant(
            uuid=participant.uuid,
            message_endpoint=participant.message_endpoint,
            joined_at=self._now(),
            model_uuid=None if model_uuid is None else checked_uuid(model_uuid, "model_uuid"),
            settings=None if settings is None else check_settings(settings),
        )
        item = _participant_item(training_uuid, joined)
        not_over = self._table.check_action(
            training_key(training_uuid),
            "attribute_exists(entity) AND NOT #state IN (:completed, :error)",
            {"#state": "state"},
            {":completed": TrainingState.COMPLETED.value, ":error": TrainingState.ERROR.value},
        )
        put = self._table.put_action(item, "attribute_not_exists(entity)")
        failed = self._table.transact([not_over, put])
        if failed and self._table.item(participant_key(training_uuid, joined.uuid)) != item:
            if 0 in failed:
                state = self._place(training_uuid).state
                raise WrongStateError(f"training {training_uuid} is {state}")
            raise ParticipantExistsError(
                f"{participant.uuid} has joined training {training_uuid} already"
            )
        return joined

    def remove_participant(self, training_uuid: AnyUuid, participant_uuid: AnyUuid) -> bool:
        """Remove a participant: tells it `CLIENT_REMOVED` if the training runs.

        With the option `announce_removals`, all others are told `PARTICIPANT_REMOVED`. A running
        training that is left with too few, or without a required one, becomes `ERROR`.

        Returns:
            Whether there was such a participant; false, too, if it was this call that removed it
            but whose first answer was lost.
        """
        return self._table.delete(participant_key(training_uuid, participant_uuid))

    def set_endpoint(
        self, training_uuid: AnyUuid, participant_uuid: AnyUuid, endpoint: str
    ) -> None:
        """Change where a participant is reached; tells nobody, takes effect with the next attempt.

        What is being retried goes to the new endpoint, too.

        Raises:
            EndpointError: if the endpoint is not usable.
            ParticipantNotFoundError: if there is no such participant.
        """
        receiver = Receiver(uuid=participant_uuid, message_endpoint=endpoint)
        check_endpoint(self._guard, receiver, "participant")
        self._set_participant(training_uuid, participant_uuid, {"message_endpoint": endpoint})

    def set_model(
        self, training_uuid: AnyUuid, participant_uuid: AnyUuid, model_uuid: AnyUuid | None
    ) -> None:
        """Say which model a participant trains in the next rounds; None: the training's.

        Tells nobody.

        Raises:
            ParticipantNotFoundError: if there is no such participant.
        """
        model = None if model_uuid is None else checked_uuid(model_uuid, "model_uuid")
        self._set_participant(training_uuid, participant_uuid, {"model_uuid": model})

    def set_models(
        self,
        training_uuid: AnyUuid,
        models: Mapping[str, AnyUuid | None] | Mapping[UUID, AnyUuid | None],
    ) -> frozenset[str]:
        """Say which model each of many participants trains in the next rounds; tells nobody.

        A hundred in one call of DynamoDB. Call it before the round, as daisy-chaining (FedDC) does.

        Args:
            training_uuid: of the training.
            models: by participant; None: the training's.

        Returns:
            Those that do not take part any more.
        """
        gone: set[str] = set()
        checked = {
            str(uuid): None if model is None else checked_uuid(model, f"model_uuid of {uuid}")
            for uuid, model in models.items()
        }
        for batch in itertools.batched(checked.items(), TRANSACTION):
            left = list(batch)
            while left and (failed := self._table.transact(self._models(training_uuid, left))):
                gone |= {left[place][0] for place in failed}
                left = [each for each in left if each[0] not in gone]
        return frozenset(gone)

    def _models(
        self, training_uuid: AnyUuid, models: Iterable[tuple[str, str | None]]
    ) -> Iterator[Any]:
        for uuid, model in models:
            key = participant_key(training_uuid, uuid)
            changes = {"model_uuid": model}
            yield self._table.update_action(key, changes, "attribute_exists(entity)", {}, {})

    def reported(
        self,
        training_uuid: AnyUuid,
        participant_uuid: AnyUuid,
        *,
        state: TrainingState | None = None,
        round: int | None = None,  # noqa: A002 - the attribute's name
    ) -> None:
        """Note that a participant's result of a round has arrived; tells nobody.

        The option `on_deadline: remove_unreported` spares those who have reported.

        Args:
            training_uuid: of the training.
            participant_uuid: whose result it is.
            state: of the round; without one, the current one's.
            round: likewise.

        Raises:
            TrainingNotFoundError: if there is no such training or participant.
        """
        if state is None or round is None:
            place = self._place(training_uuid)
            mark = _mark(state or place.state, place.round if round is None else round)
        else:
            mark = _mark(state, round)
        changes = {"reported": mark}
        self._set_participant(training_uuid, participant_uuid, changes)

    # --- how -------------------------------------------------------------------------------------

    def _place(self, training_uuid: AnyUuid) -> "_Place":
        item = self._table.item(training_key(training_uuid))
        if item is None:
            raise TrainingNotFoundError(f"there is no training {training_uuid}")
        return _Place.from_item(training_uuid, item)

    def _start_round(
        self,
        training_uuid: AnyUuid,
        state: TrainingState,
        announced: RoundArguments,
        *,
        after: int | None = None,
        advance: bool,
    ) -> int:
        place = self._place(training_uuid)
        current = place.round if after is None else after
        changes = _round_changes(place, announced)
        number: int = changes.setdefault("round", current + 1 if advance else current)
        self._step(training_uuid, RUNNING_STATES, state, changes, current)
        return number

    def _step(
        self,
        training_uuid: AnyUuid,
        allowed: Collection[TrainingState],
        state: TrainingState,
        changes: Mapping[str, Any],
        current_round: int | None = None,
    ) -> None:
        """Change a training's state and more, if it is in one of the allowed states."""
        values: dict[str, Any] = {
            f":allowed{number}": each.value for number, each in enumerate(sorted(allowed))
        }
        condition, names = f"#state IN ({', '.join(values)})", {"#state": "state"}
        if current_round is not None:
            condition += " AND #round = :current_round"
            values[":current_round"] = current_round
            names["#round"] = "round"
        wished = {**changes, "state": state.value, "last_update": self._now()}
        key = training_key(training_uuid)
        if not self._table.update(key, wished, condition, names, values):
            self._place(training_uuid).check(allowed, current_round)
            raise WrongStateError(f"training {training_uuid} was changed meanwhile; try again")

    def _check_enough(self, place: "_Place") -> None:
        """Refuse what the failure policy would end at once."""
        options, uuid = place.options, place.training_uuid
        wanted = max(1, options.min_participants)
        missing = {canonical(each) for each in options.required_participants}
        found = 0
        for item in self._table.items(uuid, PARTICIPANT_PREFIX):
            try:
                participant = Participant.from_item(item)
            except UnreadableItemError:
                continue  # does not count for the failure policy either
            found += 1
            missing.discard(canonical(participant.uuid))
            if found >= wanted and not missing:
                return
        if found < wanted:
            raise TooFewParticipantsError(
                f"training {uuid} has {found} participants; it needs {wanted}"
            )
        raise TooFewParticipantsError(
            f"training {uuid} lacks required participants: {', '.join(sorted(missing))}"
        )

    def _set(self, training_uuid: AnyUuid, changes: Mapping[str, Any]) -> None:
        wished = {**changes, "last_update": self._now()}
        key = training_key(training_uuid)
        if not self._table.update(key, wished, "attribute_exists(entity)", {}, {}):
            raise TrainingNotFoundError(f"there is no training {training_uuid}")

    def _set_participant(
        self, training_uuid: AnyUuid, participant_uuid: AnyUuid, changes: Mapping[str, Any]
    ) -> None:
        key = participant_key(training_uuid, participant_uuid)
        if not self._table.update(key, changes, "attribute_exists(entity)", {}, {}):
            raise ParticipantNotFoundError(
                f"training {training_uuid} has no participant {participant_uuid}"
            )

    def _participant_items(
        self, training_uuid: AnyUuid, participants: Iterable[Receiver], joined_at: str
    ) -> Iterator[dict[str, Any]]:
        for each in participants:
            check_endpoint(self._guard, each, "participant")
            given = each.model_dump(exclude_none=True) if isinstance(each, Participant) else {}
            settings = given.get("settings")
            yield _participant_item(
                training_uuid,
                Participant(
                    uuid=each.uuid,
                    message_endpoint=each.message_endpoint,
                    joined_at=joined_at,
                    model_uuid=given.get("model_uuid"),
                    settings=None if settings is None else check_settings(settings),
                ),
            )

    def _put_participants(self, items: Iterable[Mapping[str, Any]]) -> None:
        if left := self._table.put_all(items):
            raise ParticipantsNotWrittenError(f"{left} participants are not written")

    def _now(self) -> str:
        return self._clock.now()


class _Unrepeated:
    """A clock that never tells the same time twice.

    So a write is told from every other one by its time, and so is a membership.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: datetime | None = None
        self._lock = threading.Lock()

    def now(self) -> str:
        with self._lock:
            now = self._clock.now()
            if self._last is not None and now <= self._last:
                now = self._last + timedelta(microseconds=1)
            self._last = now
        return now.isoformat()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a training is: as much of it as a step has to know."""

    training_uuid: AnyUuid
    state: TrainingState
    round: int
    options: TrainingOptions
    before: TrainingState | None  # where it was when it became `ERROR`, if its error says so

    @classmethod
    def from_item(cls, training_uuid: AnyUuid, item: Item) -> "_Place":
        progress = Progress.from_item(item)
        try:
            training = Training.from_item(item)
        except UnreadableItemError:
            # What a step does not need must not hold it up; the service says what is wrong.
            options, error = TrainingOptions(), None
        else:
            options, error = training.options, training.error
        state = (error or {}).get("state")
        before = TrainingState(state) if state in set(TrainingState) else None
        return cls(training_uuid, progress.state, progress.round, options, before)

    def check(self, allowed: Collection[TrainingState], current_round: int | None = None) -> None:
        if self.state not in allowed:
            raise WrongStateError(
                f"training {self.training_uuid} is {self.state} in round {self.round},"
                f" not {' or '.join(sorted(allowed))}"
            )
        if current_round is not None and current_round < self.round:
            raise WrongStateError(
                f"round {current_round} of training {self.training_uuid} is over:"
                f" round {self.round} has begun already"
            )
        if current_round is not None and current_round > self.round:
            raise WrongStateError(
                f"round {current_round} of training {self.training_uuid} has not begun:"
                f" it is in round {self.round}"
            )


def _round_changes(place: _Place, announced: RoundArguments) -> dict[str, Any]:
    """The attributes that a round comes with."""
    changes: dict[str, Any] = {}
    if "round" in announced:
        number = changes["round"] = announced["round"]
        if number < place.round and not announced.get("backwards", False):
            raise WrongStateError(
                f"training {place.training_uuid} is in round {place.round}, after round {number}: "
                "say backwards=True if that is meant"
            )
    if (model_uuid := announced.get("model_uuid")) is not None:
        changes["model_uuid"] = checked_uuid(model_uuid, "model_uuid")
    if "selected" in announced:
        given = announced["selected"]
        changes["selected"] = None if given is None else check_selected(given)
    if "settings" in announced:
        settings = announced["settings"]
        changes["settings"] = None if settings is None else check_settings(settings)
    return changes


def _training(*, selected: Any, settings: Any, **values: Any) -> Training:
    return Training.model_validate(
        {
            **values,
            "selected": None if selected is None else check_selected(selected),
            "settings": None if settings is None else check_settings(settings),
        }
    )


def _training_item(training: Training) -> dict[str, Any]:
    plain = training.model_dump(mode="python", exclude_none=True, exclude={"options"})
    plain["actor"] = {key: plain["actor"][key] for key in Receiver.model_fields}
    plain["state"] = training.state.value
    if training.selected is not None:
        plain["selected"] = sorted(training.selected)
    if options := _options_map(training.options):
        plain["options"] = options
    return {**attributes({"entity": TRAINING_ENTITY, **plain})}


def _options_map(options: TrainingOptions) -> dict[str, Any]:
    """What somebody has chosen; the defaults are the service's."""
    chosen = options.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    if "required_participants" in chosen:
        chosen["required_participants"] = sorted(chosen["required_participants"])
    return chosen


def _participant_item(training_uuid: AnyUuid, participant: Participant) -> dict[str, Any]:
    plain = participant.model_dump(exclude_none=True, exclude={"uuid"})
    return {**participant_key(training_uuid, participant.uuid), **attributes(plain)}


def _mark(state: TrainingState, round_: int) -> str:
    return f"{state.value}#{round_}"
