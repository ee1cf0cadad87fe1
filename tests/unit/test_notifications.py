"""What is said on the wire, to whom, and what follows: class by class."""

import json
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.deliveries.queue import QUEUE_VARIABLE, DeliveryQueue, queue_from_environment
from fl_notifications.notification_type import NotificationType
from fl_notifications.notifications.bodies import ModelBody
from fl_notifications.notifications.notification import (
    CALLBACK_FAILURE,
    CALLBACK_SUCCESS,
    NOTIFICATION_CLASSES,
    AnyTrainingNotification,
    ClientRemovedNotification,
    Notification,
    TrainingErrorNotification,
    TrainingFinishedNotification,
    TrainingModelTestNotification,
    TrainingNotification,
    TrainingRoundStartNotification,
    TrainingStartNotification,
    TrainingSWAGRoundStartNotification,
)
from fl_notifications.settings import SettingsError
from fl_notifications.trainings.model import Participant, Receiver, Training
from tests.made import (
    ACTOR,
    MODEL_UUID,
    NOW,
    OWN_MODEL_UUID,
    TRAINING_UUID,
    participant,
    training,
    uuid_of,
)

ONE, TWO = participant("one"), participant("two")
ROUND_CLASSES = {
    TrainingRoundStartNotification,
    TrainingSWAGRoundStartNotification,
    TrainingModelTestNotification,
}
OTHER_CLASSES = set(NOTIFICATION_CLASSES.values()) - ROUND_CLASSES


class KeepingQueue(DeliveryQueue):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Delivery] = []

    def send(
        self,
        deliveries: Iterable[Delivery],
        on_accepted: Callable[[Sequence[Delivery]], None] = lambda _deliveries: None,
    ) -> int:
        taken = list(deliveries)
        self.sent += taken
        on_accepted(taken)
        return len(taken)


def payload(notification: AnyTrainingNotification) -> str:
    (made,) = notification.deliveries(source="1", created_at=NOW)
    return made.payload


# --- on the wire, byte by byte --------------------------------------------------------------------


def test_training_start_names_the_model() -> None:
    assert payload(TrainingStartNotification.from_training(training(), [ONE])) == (
        '{"notification_type": "TRAINING_START", '
        f'"body": {{"global_model_uuid": "{MODEL_UUID}"}}, "training_uuid": "{TRAINING_UUID}"}}'
    )


def test_update_round_start_names_the_round_and_then_the_model() -> None:
    assert payload(TrainingRoundStartNotification.from_training(training(), [ONE])) == (
        '{"notification_type": "UPDATE_ROUND_START", '
        f'"body": {{"round": 3, "global_model_uuid": "{MODEL_UUID}"}}, '
        f'"training_uuid": "{TRAINING_UUID}"}}'
    )


def test_swag_round_start_says_the_same_two_again_as_data() -> None:
    assert payload(TrainingSWAGRoundStartNotification.from_training(training(), [ONE])) == (
        '{"notification_type": "SWAG_ROUND_START", '
        f'"body": {{"round": 3, "global_model_uuid": "{MODEL_UUID}", '
        f'"data": {{"round": 3, "global_model_uuid": "{MODEL_UUID}"}}}}, '
        f'"training_uuid": "{TRAINING_UUID}"}}'
    )


def test_model_test_round_names_the_round_and_then_the_model() -> None:
    assert payload(TrainingModelTestNotification.from_training(training(), [ONE])) == (
        '{"notification_type": "MODEL_TEST_ROUND", '
        f'"body": {{"round": 3, "global_model_uuid": "{MODEL_UUID}"}}, '
        f'"training_uuid": "{TRAINING_UUID}"}}'
    )


def test_training_finished_names_the_model() -> None:
    told = TrainingFinishedNotification.from_training(training(actor=ONE), [ONE])
    assert payload(told) == (
        '{"notification_type": "TRAINING_FINISHED", '
        f'"body": {{"global_model_uuid": "{MODEL_UUID}"}}, "training_uuid": "{TRAINING_UUID}"}}'
    )


def test_client_removed_has_data_and_nothing_in_it() -> None:
    assert payload(ClientRemovedNotification.from_training(training(), [ONE])) == (
        '{"notification_type": "CLIENT_REMOVED", '
        f'"body": {{"data": {{}}}}, "training_uuid": "{TRAINING_UUID}"}}'
    )


def test_training_error_says_why_and_in_which_round() -> None:
    ended = training(actor=ONE, error={"reason": "no quorum", "receiver_uuid": ONE.uuid})
    assert payload(TrainingErrorNotification.from_training(ended, [ONE])) == (
        '{"notification_type": "TRAINING_ERROR", '
        '"body": {"data": {"reason": "no quorum", "round": 3}}, '
        f'"training_uuid": "{TRAINING_UUID}"}}'
    )


@pytest.mark.parametrize("error", [None, {}, {"reason": 7}, {"reason": ["a"]}, {"note": "a"}])
def test_training_error_without_a_reason_says_so_in_words_of_ours(error: object) -> None:
    told = TrainingErrorNotification.from_training(training(error=error), [])
    assert told.serialize()["body"]["data"] == {
        "reason": "the server ended the training with an error",
        "round": 3,
    }


def test_a_long_reason_is_cut() -> None:
    told = TrainingErrorNotification.from_training(training(error={"reason": "x" * 5000}), [])
    assert told.body.data.reason == "x" * 1000


@pytest.mark.parametrize("kind", NOTIFICATION_CLASSES)
def test_every_notification_is_ascii_json_with_the_three_keys_in_order(
    kind: NotificationType,
) -> None:
    ended = training(error={"reason": "Größe ≠ 0"}, actor=ONE)
    text = payload(NOTIFICATION_CLASSES[kind].from_training(ended, [ONE]))
    assert text.isascii()
    assert list(json.loads(text)) == ["notification_type", "body", "training_uuid"]
    assert json.loads(text)["notification_type"] == kind.value


# --- a model of one's own -------------------------------------------------------------------------


def bodies(kind: type[AnyTrainingNotification], *receivers: Receiver) -> dict[str, str]:
    told = kind.from_training(training(), receivers)
    return {
        made.receiver.uuid: made.content["body"].get("global_model_uuid")
        for made in told.deliveries(source="1", created_at=NOW)
    }


def test_a_model_of_ones_own_replaces_the_trainings_in_an_update_round_for_that_one_only() -> None:
    daisy = participant("daisy", model_uuid=OWN_MODEL_UUID)
    assert bodies(TrainingRoundStartNotification, ONE, daisy, TWO) == {
        ONE.uuid: MODEL_UUID,
        daisy.uuid: OWN_MODEL_UUID,
        TWO.uuid: MODEL_UUID,
    }


@pytest.mark.parametrize(
    "kind",
    [
        TrainingStartNotification,
        TrainingSWAGRoundStartNotification,
        TrainingModelTestNotification,
        TrainingFinishedNotification,
    ],
)
def test_a_model_of_ones_own_changes_nothing_else(kind: type[AnyTrainingNotification]) -> None:
    daisy = participant("daisy", model_uuid=OWN_MODEL_UUID)
    assert bodies(kind, daisy)[daisy.uuid] == MODEL_UUID


def test_a_swag_round_has_no_model_of_ones_own_in_data_either() -> None:
    daisy = participant("daisy", model_uuid=OWN_MODEL_UUID)
    told = TrainingSWAGRoundStartNotification.from_training(training(), [daisy])
    assert OWN_MODEL_UUID not in json.dumps(told.serialize(daisy))


# --- who is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TrainingFinishedNotification, TrainingErrorNotification])
def test_the_end_is_told_to_the_participants_and_then_the_actor(
    kind: type[TrainingFinishedNotification | TrainingErrorNotification],
) -> None:
    assert list(kind.from_training(training(), [ONE, TWO]).receivers) == [ONE, TWO, ACTOR]
    assert list(kind.from_training(training(), []).receivers) == [ACTOR]


@pytest.mark.parametrize("kind", [TrainingFinishedNotification, TrainingErrorNotification])
@pytest.mark.parametrize("spelt", [str.upper, lambda uuid: uuid.replace("-", "")])
def test_an_actor_that_takes_part_is_told_once(
    kind: type[TrainingFinishedNotification | TrainingErrorNotification],
    spelt: Callable[[str], str],
) -> None:
    actor = Receiver(uuid=spelt(TWO.uuid), message_endpoint="https://actor.example/")
    assert list(kind.from_training(training(actor=actor), [ONE, TWO]).receivers) == [ONE, TWO]


@pytest.mark.parametrize(
    "kind",
    [*ROUND_CLASSES, TrainingStartNotification, ClientRemovedNotification],
    ids=lambda kind: kind.__name__,
)
def test_everything_else_is_told_to_the_participants_alone(
    kind: type[AnyTrainingNotification],
) -> None:
    assert list(kind.from_training(training(), [ONE, TWO]).receivers) == [ONE, TWO]


@pytest.mark.parametrize("kind", NOTIFICATION_CLASSES.values(), ids=lambda kind: kind.__name__)
def test_receivers_that_come_one_at_a_time_can_be_told_more_than_once(
    kind: type[AnyTrainingNotification],
) -> None:
    made = kind.from_training(training(), iter([ONE, TWO]))
    first, second = (
        [each.notification_id for each in made.deliveries(source="1", created_at=NOW)]
        for _ in range(2)
    )
    assert len(first) >= 2
    assert first == second


# --- what follows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ROUND_CLASSES, ids=lambda kind: kind.__name__)
def test_the_round_types_name_both_callbacks_and_the_round(
    kind: type[TrainingRoundStartNotification],
) -> None:
    told = kind.from_training(training(), [ONE])
    (made,) = told.deliveries(source="1", created_at=NOW)
    assert (told.callback_success, told.callback_error, told.round) == (
        "training_notification_callback_success",
        "training_notification_callback_failure",
        3,
    )
    assert (made.callback_success, made.callback_error, made.round) == (
        CALLBACK_SUCCESS,
        CALLBACK_FAILURE,
        3,
    )


@pytest.mark.parametrize("kind", OTHER_CLASSES, ids=lambda kind: kind.__name__)
def test_the_other_types_name_no_callback_and_no_round(kind: type[AnyTrainingNotification]) -> None:
    told = kind.from_training(training(actor=ONE), [ONE])
    (made,) = told.deliveries(source="1", created_at=NOW)
    assert (told.callback_success, told.callback_error, told.round) == (None, None, None)
    assert (made.callback_success, made.callback_error, made.round) == (None, None, None)


def test_there_is_one_class_for_each_type() -> None:
    others = {NotificationType.PARTICIPANT_REMOVED}  # says something of somebody else
    assert set(NOTIFICATION_CLASSES) == set(NotificationType) - others
    assert all(cls.type is kind for kind, cls in NOTIFICATION_CLASSES.items())
    assert all(issubclass(cls, TrainingNotification) for cls in NOTIFICATION_CLASSES.values())


# --- sending --------------------------------------------------------------------------------------


class Greeting(Notification[ModelBody]):
    """A notification of a program's own, about no training."""

    type = NotificationType.CLIENT_REMOVED


def test_a_notification_of_ones_own_needs_no_training_and_names_no_callback() -> None:
    queue = KeepingQueue()
    told = Greeting(receivers=[ONE], body=ModelBody(global_model_uuid=MODEL_UUID))
    assert len(told.send(queue=queue)) == 1
    (sent,) = queue.sent
    assert sent.training_uuid is None
    assert (sent.callback_success, sent.callback_error, sent.round) == (None, None, None)
    body = f'{{"global_model_uuid": "{MODEL_UUID}"}}'
    assert sent.payload == f'{{"notification_type": "CLIENT_REMOVED", "body": {body}}}'


def test_send_makes_one_message_per_receiver_and_says_how_many() -> None:
    queue = KeepingQueue()
    told = TrainingFinishedNotification.from_training(training(), [ONE, TWO])
    assert len(told.send(queue=queue)) == 3
    assert [each.receiver.uuid for each in queue.sent] == [ONE.uuid, TWO.uuid, ACTOR.uuid]


def test_send_can_name_other_callbacks() -> None:
    queue = KeepingQueue()
    told = TrainingRoundStartNotification.from_training(training(), [ONE])
    told.send("mine", queue=queue)
    told.send(callback_error="mine", queue=queue)
    told.send("good", "bad", queue=queue)
    assert [(each.callback_success, each.callback_error) for each in queue.sent] == [
        ("mine", CALLBACK_FAILURE),
        (CALLBACK_SUCCESS, "mine"),
        ("good", "bad"),
    ]


@pytest.mark.parametrize("kind", NOTIFICATION_CLASSES.values(), ids=lambda kind: kind.__name__)
def test_sending_twice_tells_twice(kind: type[AnyTrainingNotification]) -> None:
    queue = KeepingQueue()
    told = kind.from_training(training(actor=ONE), [ONE])
    told.send(queue=queue)
    kind.from_training(training(actor=ONE), [ONE]).send(queue=queue)
    first, second = queue.sent
    assert first.notification_id != second.notification_id


def test_without_a_queue_and_its_environment_variable_send_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(QUEUE_VARIABLE, raising=False)
    queue_from_environment.cache_clear()
    with pytest.raises(SettingsError, match=r"DELIVERIES_QUEUE_URL.*DeliveriesQueueUrl"):
        TrainingStartNotification.from_training(training(), [ONE]).send()


# --- ids ------------------------------------------------------------------------------------------


def ids(kind: NotificationType, source: str, *receivers: Receiver, **changed: object) -> list[str]:
    told = NOTIFICATION_CLASSES[kind].from_training(training(actor=ONE, **changed), receivers)
    return [each.notification_id for each in told.deliveries(source=source, created_at=NOW)]


@pytest.mark.parametrize("kind", NOTIFICATION_CLASSES)
def test_building_twice_from_the_same_source_gives_the_same_ids(kind: NotificationType) -> None:
    assert ids(kind, "17", ONE, TWO) == ids(kind, "17", ONE, TWO)


def test_ids_stay_the_same_from_one_release_to_the_next() -> None:
    """The ledger keeps them for 30 days: a change would let notifications be sent again."""
    assert {kind.value: ids(kind, "17", ONE)[0] for kind in NOTIFICATION_CLASSES} == {
        "UPDATE_ROUND_START": "d42a74c2-8b6f-5298-a72e-edb7f8b1b095",
        "SWAG_ROUND_START": "ee6e4ed2-9deb-5a7f-993c-52c7868beed3",
        "TRAINING_START": "48b37807-69c8-5412-9558-0518c905ba1c",
        "TRAINING_FINISHED": "66028ac8-d780-5901-8f0c-4136226aa524",
        "CLIENT_REMOVED": "8f9812f0-2223-5e13-8b65-910b94d5c6a7",
        "MODEL_TEST_ROUND": "1ea2eab7-e8eb-5ffd-8b92-86ba36d264a1",
        "TRAINING_ERROR": "6ac5f1c1-6bf2-52d9-bd1f-849946bc84b9",
    }


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([TRAINING_UUID, uuid_of("another training")]),
            st.sampled_from(["1", "2"]),
            st.sampled_from(list(NOTIFICATION_CLASSES)),
            st.sampled_from([ONE, TWO]),
        ),
        unique=True,
        min_size=2,
    )
)
def test_another_training_source_type_or_receiver_gives_another_id(
    these: list[tuple[str, str, NotificationType, Participant]],
) -> None:
    told = {
        (made.training_uuid, kind, receiver.uuid, source): made.notification_id
        for training_uuid, source, kind, receiver in these
        for made in NOTIFICATION_CLASSES[kind]
        .from_training(training(training_uuid=training_uuid, actor=receiver), [receiver])
        .deliveries(source=source, created_at=NOW)
    }
    assert len(set(told.values())) == len(told)


def test_the_start_has_one_id_for_each_joining_whatever_it_is_built_from() -> None:
    kind = NotificationType.TRAINING_START
    joined = participant("one", joined_at="2026-01-01T00:00:00Z")
    again = participant("one", joined_at="2026-01-02T00:00:00Z")
    assert ids(kind, "1", joined) == ids(kind, "2", joined)
    assert ids(kind, "1", joined) == ids(kind, "1", joined, round=9, model_uuid=OWN_MODEL_UUID)
    assert len({ids(kind, "1", each)[0] for each in (ONE, joined, again)}) == 3


def test_a_moved_endpoint_does_not_change_the_starts_id() -> None:
    kind = NotificationType.TRAINING_START
    moved = participant("one", message_endpoint="https://elsewhere.example/")
    assert ids(kind, "1", ONE) == ids(kind, "1", moved)


# --- names ----------------------------------------------------------------------------------------


def test_types_have_the_references_values_and_descriptions() -> None:
    assert {each.value: each.description for each in NotificationType} == {
        "UPDATE_ROUND_START": "Start update round",
        "SWAG_ROUND_START": "Start swag round",
        "TRAINING_START": "Training start",
        "TRAINING_FINISHED": "Training finished",
        "CLIENT_REMOVED": "Client removed",
        "MODEL_TEST_ROUND": "Start model round",
        "TRAINING_ERROR": "Training error",
        "PARTICIPANT_REMOVED": "Participant removed",
    }
    assert all(each.name == each.value for each in NotificationType)
    assert NotificationType("CLIENT_REMOVED") is NotificationType.CLIENT_REMOVED


def test_the_round_body_of_a_notification_is_a_model_of_its_own() -> None:
    told = TrainingRoundStartNotification.from_training(training(), [ONE])
    assert (told.body.round, told.body.global_model_uuid) == (3, MODEL_UUID)
    assert told.type is NotificationType.UPDATE_ROUND_START
    assert told.training_uuid == TRAINING_UUID


def test_serialize_without_a_receiver_gives_what_is_said_to_all() -> None:
    daisy = participant("daisy", model_uuid=OWN_MODEL_UUID)
    told: TrainingRoundStartNotification = TrainingRoundStartNotification.from_training(
        training(), [daisy]
    )
    assert told.serialize()["body"] == {"round": 3, "global_model_uuid": MODEL_UUID}


def test_the_trainings_state_does_not_matter_to_what_is_said() -> None:
    late: Training = training(state="SWAG_ROUND")
    assert TrainingStartNotification.from_training(late, [ONE]).serialize() == (
        TrainingStartNotification.from_training(training(), [ONE]).serialize()
    )


def test_a_time_without_a_zone_is_refused_at_the_door() -> None:
    told = TrainingRoundStartNotification.from_training(training(), [ONE])
    with pytest.raises(ValidationError, match="should have timezone"):
        list(told.deliveries(source="1", created_at=NOW.replace(tzinfo=None)))
