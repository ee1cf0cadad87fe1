"""The write side: how an FL server creates, advances and ends trainings.

A step of the training is one conditional write, so that two servers, or one that repeats itself,
cannot undo each other's. What is written reaches the participants by itself.

Example:
    >>> trainings = TrainingRepository(boto3.client("dynamodb"), table_name)
    >>> trainings.create(training_uuid, model_uuid, actor, participants)
    >>> trainings.start(training_uuid)
    >>> trainings.next_round(training_uuid, model_uuid=new_model_uuid, after=0)
    >>> trainings.finish(training_uuid)
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeSerializer
from botocore.exceptions import ClientError

from fl_notifications.aws.batches import BATCH_WRITE, put_items
from fl_notifications.aws.errors import condition_failed
from fl_notifications.clock import Clock, SystemClock
from fl_notifications.trainings.items import (
    Item,
    UnreadableItemError,
    participant_key,
    training_key,
)
from fl_notifications.trainings.model import (
    FINAL_STATES,
    RUNNING_STATES,
    Participant,
    Receiver,
    Training,
    TrainingOptions,
    TrainingState,
)
from fl_notifications.trainings.table import TrainingTable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class TrainingRepositoryError(Exception):
    """A step that the training does not allow; the table is as it was."""


class TrainingExistsError(TrainingRepositoryError):
    """There is a training with this uuid already."""


class TrainingNotFoundError(TrainingRepositoryError):
    """There is no training with this uuid."""


class ParticipantExistsError(TrainingRepositoryError):
    """The participant has joined the training already."""


class WrongStateError(TrainingRepositoryError):
    """The training is not in a state or round from which the step is possible."""


class ParticipantsNotWrittenError(TrainingRepositoryError):
    """DynamoDB did not take all participants, after several tries.

    Adding all of them again is safe before the start. While the training runs it lets those that
    were written join anew, so that they are told `TRAINING_START` once more.
    """


class TrainingRepository:
    """Trainings and their participants in the trainings table."""

    def __init__(
        self, client: "DynamoDBClient", table_name: str, *, clock: Clock | None = None
    ) -> None:
        """Use the table that the stack's output `TrainingsTable` names."""
        self._client = client
        self._table_name = table_name
        self._clock = clock or SystemClock()
        self._table = TrainingTable(client, table_name)

    # --- reading ---------------------------------------------------------------------------------

    def get(self, training_uuid: str) -> Training:
        """Read a training.

        Raises:
            TrainingNotFoundError: if there is none.
            UnreadableItemError: if its item is not a training by the contract.
        """
        training = self._table.training(training_uuid)
        if training is None:
            raise TrainingNotFoundError(f"there is no training {training_uuid}")
        return training

    def participants(self, training_uuid: str) -> Iterator[Participant]:
        """Read the participants of a training, page by page as they are asked for.

        Raises:
            UnreadableItemError: at an item that is not a participant.
        """
        for page in self._table.participant_pages(training_uuid, _raise):
            yield from page.participants

    # --- a training's life -----------------------------------------------------------------------

    def create(
        self,
        training_uuid: str,
        model_uuid: str,
        actor: Receiver,
        participants: Iterable[Receiver] = (),
        *,
        options: TrainingOptions | None = None,
    ) -> Training:
        """Create a training in the state `INITIAL`, with its participants; tells nobody.

        Raises:
            TrainingExistsError: if there is a training with this uuid.
            ParticipantsNotWrittenError: if not all participants could be written; the training
                exists then, and `add_participants` goes on where this stopped.
        """
        training = Training(
            training_uuid=training_uuid,
            state=TrainingState.INITIAL,
            round=0,
            model_uuid=model_uuid,
            actor=actor,
            last_update=self._now(),
            options=options or TrainingOptions(),
        )
        item = {
            **training_key(training_uuid),
            **_attributes(training.model_dump(mode="json", exclude_none=True)),
        }
        try:
            self._client.put_item(
                TableName=self._table_name,
                Item=item,
                ConditionExpression="attribute_not_exists(entity)",
            )
        except ClientError as error:
            if condition_failed(error):
                raise TrainingExistsError(f"training {training_uuid} exists") from None
            raise
        self.add_participants(training_uuid, participants)
        return training

    def start(self, training_uuid: str) -> None:
        """`INITIAL` becomes `ONGOING`: tells `TRAINING_START` and `UPDATE_ROUND_START`.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is not `INITIAL`.
        """
        self._step(training_uuid, {TrainingState.INITIAL}, {"state": TrainingState.ONGOING.value})

    def next_round(
        self, training_uuid: str, *, model_uuid: str | None = None, after: int | None = None
    ) -> int:
        """The next update round starts: tells `UPDATE_ROUND_START`.

        Args:
            training_uuid: of the training.
            model_uuid: the new global model; without one it stays as it is.
            after: the round that has ended; with it, repeating the call does not skip a round.

        Returns:
            The new round.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is not running, or not in the round `after`.
        """
        ended = self.get(training_uuid).round if after is None else after
        self._step(
            training_uuid,
            RUNNING_STATES,
            _with_model({"state": TrainingState.ONGOING.value, "round": ended + 1}, model_uuid),
            current_round=ended,
        )
        return ended + 1

    def swag_round(
        self, training_uuid: str, *, model_uuid: str | None = None, advance: bool = False
    ) -> int:
        """A SWAG round starts: tells `SWAG_ROUND_START`.

        Args:
            training_uuid: of the training.
            model_uuid: the new global model; without one it stays as it is.
            advance: whether this is a new round, as it has to be after another SWAG round.

        Returns:
            The round.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is not running.
        """
        return self._round_of(training_uuid, TrainingState.SWAG_ROUND, model_uuid, advance=advance)

    def model_test(
        self, training_uuid: str, *, model_uuid: str | None = None, advance: bool = False
    ) -> int:
        """The global model is to be tested: tells `MODEL_TEST_ROUND`.

        Args:
            training_uuid: of the training.
            model_uuid: the new global model; without one it stays as it is.
            advance: whether this is a new round, as it has to be after another test.

        Returns:
            The round.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is not running.
        """
        return self._round_of(training_uuid, TrainingState.MODEL_TEST, model_uuid, advance=advance)

    def finish(self, training_uuid: str, *, model_uuid: str | None = None) -> None:
        """The training is completed: tells `TRAINING_FINISHED`.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is not running.
        """
        self._step(
            training_uuid,
            RUNNING_STATES,
            _with_model({"state": TrainingState.COMPLETED.value}, model_uuid),
        )

    def fail(self, training_uuid: str, reason: str) -> None:
        """The training ends with an error: tells `TRAINING_ERROR` with this reason.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if it is over already.
        """
        self._step(
            training_uuid,
            frozenset(TrainingState) - FINAL_STATES,
            {
                "state": TrainingState.ERROR.value,
                "error": {"reason": reason, "at": self._now()},
            },
        )

    # --- participants ----------------------------------------------------------------------------

    def add_participants(self, training_uuid: str, participants: Iterable[Receiver]) -> None:
        """Let many participants join at once, before or after the start.

        Unlike `add_participant` this checks nothing, and replaces what was known of them; if one is
        there twice, the later one counts.

        Raises:
            ParticipantsNotWrittenError: if not all could be written, after several tries.
        """
        joined_at = self._now()
        items = (
            _participant_item(
                training_uuid,
                Participant(
                    uuid=each.uuid,
                    message_endpoint=each.message_endpoint,
                    joined_at=joined_at,
                    model_uuid=each.model_uuid if isinstance(each, Participant) else None,
                ),
            )
            for each in participants
        )
        for batch in itertools.batched(items, BATCH_WRITE, strict=False):
            # DynamoDB refuses a call that names an item twice.
            by_key = {item["entity"]["S"]: item for item in batch}
            if left := put_items(self._client, self._table_name, by_key.values()):
                raise ParticipantsNotWrittenError(f"{len(left)} participants are not written")

    def add_participant(
        self, training_uuid: str, participant: Receiver, *, model_uuid: str | None = None
    ) -> Participant:
        """Let a participant join: tells it `TRAINING_START` if the training is running.

        Args:
            training_uuid: of the training.
            participant: who joins.
            model_uuid: a model of its own to train next, if not the training's.

        Returns:
            The participant, with the time at which it joined.

        Raises:
            TrainingNotFoundError: if there is no such training.
            WrongStateError: if the training is over.
            ParticipantExistsError: if it has joined already.
        """
        joined = Participant(
            uuid=participant.uuid,
            message_endpoint=participant.message_endpoint,
            joined_at=self._now(),
            model_uuid=model_uuid,
        )
        try:
            self._client.transact_write_items(
                TransactItems=[
                    {
                        "ConditionCheck": {
                            "TableName": self._table_name,
                            "Key": training_key(training_uuid),
                            "ConditionExpression": "attribute_exists(entity) "
                            "AND NOT #state IN (:completed, :error)",
                            "ExpressionAttributeNames": {"#state": "state"},
                            "ExpressionAttributeValues": {
                                ":completed": {"S": TrainingState.COMPLETED.value},
                                ":error": {"S": TrainingState.ERROR.value},
                            },
                        }
                    },
                    {
                        "Put": {
                            "TableName": self._table_name,
                            "Item": _participant_item(training_uuid, joined),
                            "ConditionExpression": "attribute_not_exists(entity)",
                        }
                    },
                ]
            )
        except ClientError as error:
            reasons = [
                reason.get("Code") for reason in error.response.get("CancellationReasons", [])
            ]
            if reasons[:1] == ["ConditionalCheckFailed"]:
                state = self.get(training_uuid).state
                raise WrongStateError(f"training {training_uuid} is {state}") from None
            if reasons[1:] == ["ConditionalCheckFailed"]:
                raise ParticipantExistsError(
                    f"{participant.uuid} has joined training {training_uuid} already"
                ) from None
            raise
        return joined

    def remove_participant(self, training_uuid: str, participant_uuid: str) -> bool:
        """Remove a participant: tells it `CLIENT_REMOVED`.

        Returns:
            Whether there was such a participant.
        """
        answer = self._client.delete_item(
            TableName=self._table_name,
            Key=participant_key(training_uuid, participant_uuid),
            ReturnValues="ALL_OLD",
        )
        return bool(answer.get("Attributes"))

    def set_model(self, training_uuid: str, participant_uuid: str, model_uuid: str | None) -> None:
        """Say which model a participant trains in the next rounds; None: the training's.

        Raises:
            TrainingNotFoundError: if there is no such participant.
        """
        expression = "SET model_uuid = :model" if model_uuid else "REMOVE model_uuid"
        values: dict[str, Any] = (
            {"ExpressionAttributeValues": {":model": {"S": model_uuid}}} if model_uuid else {}
        )
        try:
            self._client.update_item(
                TableName=self._table_name,
                Key=participant_key(training_uuid, participant_uuid),
                UpdateExpression=expression,
                ConditionExpression="attribute_exists(entity)",
                **values,
            )
        except ClientError as error:
            if condition_failed(error):
                raise TrainingNotFoundError(
                    f"training {training_uuid} has no participant {participant_uuid}"
                ) from None
            raise

    # --- how -------------------------------------------------------------------------------------

    def _round_of(
        self,
        training_uuid: str,
        state: TrainingState,
        model_uuid: str | None,
        *,
        advance: bool,
    ) -> int:
        current = self.get(training_uuid).round
        new_round = current + 1 if advance else current
        self._step(
            training_uuid,
            RUNNING_STATES,
            _with_model({"state": state.value, "round": new_round}, model_uuid),
            current_round=current,
        )
        return new_round

    def _step(
        self,
        training_uuid: str,
        allowed: Iterable[TrainingState],
        values: Mapping[str, Any],
        *,
        current_round: int | None = None,
    ) -> None:
        """Set attributes of a training, if it is in one of the allowed states."""
        values = {**values, "last_update": self._now()}
        allowed_values = {
            f":allowed{number}": state for number, state in enumerate(sorted(allowed))
        }
        condition = f"#state IN ({', '.join(allowed_values)})"
        given: dict[str, Any] = {key: state.value for key, state in allowed_values.items()}
        if current_round is not None:
            condition += " AND #round = :current_round"
            given[":current_round"] = current_round
        names = {f"#{name}": name for name in {*values, "state"}}
        if current_round is not None:
            names["#round"] = "round"
        try:
            self._client.update_item(
                TableName=self._table_name,
                Key=training_key(training_uuid),
                UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in values),
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=_attributes(
                    given | {f":{name}": value for name, value in values.items()}
                ),
            )
        except ClientError as error:
            if not condition_failed(error):
                raise
            training = self.get(training_uuid)
            wanted = ", ".join(sorted(allowed))
            if current_round is not None:
                wanted += f" in round {current_round}"
            raise WrongStateError(
                f"training {training_uuid} is {training.state} in round {training.round}, "
                f"not {wanted}"
            ) from None

    def _now(self) -> str:
        return self._clock.now().isoformat()


def _with_model(values: dict[str, Any], model_uuid: str | None) -> dict[str, Any]:
    return values if model_uuid is None else {**values, "model_uuid": model_uuid}


def _participant_item(training_uuid: str, participant: Participant) -> dict[str, Any]:
    attributes = participant.model_dump(mode="json", exclude_none=True, exclude={"uuid"})
    return {**participant_key(training_uuid, participant.uuid), **_attributes(attributes)}


def _attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    serializer = TypeSerializer()
    return {key: serializer.serialize(value) for key, value in values.items()}


def _raise(error: UnreadableItemError, _item: Item) -> None:
    raise error
