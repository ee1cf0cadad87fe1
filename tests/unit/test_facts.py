"""What is superseded, and where a notification goes, by what the tables say."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_notifications.deliveries.delivery import ANNOUNCED_STATE, Delivery
from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.facts import Facts, ParticipantFacts, TrainingFacts
from fl_notifications.outcomes.ledger import UnreadableEntryError
from fl_notifications.trainings.model import TrainingState
from tests.made import TRAINING_UUID, delivery, item, participant_item, training_item, uuid_of

STARTS = frozenset({NotificationType.TRAINING_START, *ANNOUNCED_STATE})
ONE = uuid_of("one")
HERE = ParticipantFacts("https://here.example/", "1st")
ROUND_3 = TrainingFacts((TrainingState.ONGOING, 3), (uuid_of("actor"), "https://actor.example/now"))


def facts(
    training: TrainingFacts | None = ROUND_3,
    participant: ParticipantFacts | None = HERE,
    run: str | None = None,
) -> Facts:
    runs = {} if run is None else {TRAINING_UUID: run}
    return Facts({}, runs, {TRAINING_UUID: training}, {(TRAINING_UUID, ONE): participant})


participants = st.none() | st.builds(
    ParticipantFacts, st.just("https://x.example/"), st.sampled_from([None, "1st"]), st.booleans()
)
progresses = st.none() | st.tuples(st.sampled_from(TrainingState), st.integers(0, 4))
trainings = st.none() | st.builds(TrainingFacts, progresses, st.none())
anything = st.builds(facts, trainings, participants, st.sampled_from([None, "8", "10"]))
deliveries = st.builds(
    lambda kind, joined_at, run, number: delivery(
        notification_type=kind, joined_at=joined_at, run=run, round=number
    ),
    st.sampled_from(NotificationType),
    st.sampled_from([None, "1st", "2nd"]),
    st.sampled_from([None, "9", "x", ""]),
    st.integers(0, 4),
)


@given(anything, deliveries)
def test_only_starts_and_rounds_are_ever_superseded(known: Facts, made: Delivery) -> None:
    if known.why_superseded(made) is not None:
        assert made.notification_type in STARTS


@given(anything, deliveries)
def test_what_a_users_program_sends_is_not_and_goes_where_it_says(
    known: Facts, made: Delivery
) -> None:
    own = made.model_copy(update={"own": True})
    assert known.why_superseded(own) is None
    assert known.address_of(own) == made.receiver.message_endpoint


@given(anything, deliveries)
def test_a_round_is_told_only_in_the_announced_state_and_round(
    known: Facts, made: Delivery
) -> None:
    training = known.trainings[TRAINING_UUID]
    if training is None or training.progress is None:
        return
    announced = (ANNOUNCED_STATE.get(made.notification_type), made.round)
    if announced[0] is not None and training.progress != announced:
        assert known.why_superseded(made) is not None


@given(anything, deliveries)
def test_reading_more_that_says_the_same_changes_nothing(known: Facts, made: Delivery) -> None:
    again = known.updated_with(known)
    assert again == known
    assert again.why_superseded(made) == known.why_superseded(made)


START = delivery(notification_type=NotificationType.TRAINING_START, joined_at="1st")
ROUND = delivery(joined_at="1st")


@pytest.mark.parametrize("made", [START, ROUND], ids=["start", "round"])
@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (facts(), None),
        (facts(run="9"), None),
        (facts(run="10"), None),
        (facts(run="11"), "the training is in a later run"),
        (facts(None), "the training is gone"),
        (facts(participant=None), "the receiver is no longer a participant"),
        (facts(participant=replace(HERE, joined_at="2nd")), "the receiver has joined again"),
        (facts(participant=replace(HERE, joined_at=None)), "the receiver has joined again"),
        (facts(participant=ParticipantFacts("", None, readable=False)), None),
        (facts(TrainingFacts(None, None)), None),
        (facts(TrainingFacts((TrainingState.INITIAL, 3), None)), "the training is INITIAL"),
    ],
)
def test_a_notification_that_starts_something_is_superseded(
    made: Delivery, known: Facts, reason: str | None
) -> None:
    assert known.why_superseded(made.model_copy(update={"run": "10"})) == reason


@pytest.mark.parametrize("state", [TrainingState.COMPLETED, TrainingState.ERROR])
def test_a_start_is_told_after_the_end_too(state: TrainingState) -> None:
    """The training may go on, and the start is told once in a run."""
    assert facts(TrainingFacts((state, 3), None)).why_superseded(START) is None
    assert (
        facts(TrainingFacts((state, 3), None)).why_superseded(ROUND) == f"the training is {state}"
    )


def test_what_was_read_again_counts_although_it_is_no_longer_there() -> None:
    gone = facts().updated_with(facts(None, None))
    assert gone.why_superseded(ROUND) == "the training is gone"


BUILT = "https://one.example/messages"


@pytest.mark.parametrize(
    ("known", "address"),
    [
        (facts(), "https://here.example/"),
        (facts(None), "https://here.example/"),
        (facts(participant=replace(HERE, joined_at="2nd")), "https://here.example/"),
        (facts(participant=None), BUILT),
        (facts(participant=ParticipantFacts("", None, readable=False)), BUILT),
        (facts(replace(ROUND_3, actor=(ONE, "https://now.example/"))), "https://here.example/"),
        (
            facts(replace(ROUND_3, actor=(ONE, "https://now.example/")), None),
            "https://now.example/",
        ),
    ],
)
def test_the_address_is_the_one_that_the_table_has(known: Facts, address: str) -> None:
    assert known.address_of(ROUND) == address


@pytest.mark.parametrize("values", [{"joined_at": 7}, {"message_endpoint": None}])
def test_a_participant_that_cannot_be_read_is_still_one(values: dict[str, object]) -> None:
    assert not ParticipantFacts.from_item(participant_item("one", **values)).readable


def test_null_counts_as_absent() -> None:
    null = {"joined_at": {"NULL": True}}
    assert ParticipantFacts.from_item(participant_item("one") | null).joined_at is None


@pytest.mark.parametrize("actor", ["someone", {"uuid": "x", "message_endpoint": "y"}, {}])
def test_an_unreadable_actor_hides_no_progress(actor: object) -> None:
    training = TrainingFacts.from_item(training_item() | item({"actor": actor}))
    assert training == TrainingFacts((TrainingState.ONGOING, 3), None)


def test_an_unreadable_entry_concerns_its_own_notification_only() -> None:
    known = Facts({ROUND.notification_id: UnreadableEntryError("at")}, {}, {}, {})
    with pytest.raises(UnreadableEntryError):
        known.entry_of(ROUND)
    assert known.entry_of(ROUND.model_copy(update={"notification_id": "other"})) is None
