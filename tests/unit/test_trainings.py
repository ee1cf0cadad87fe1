"""Items of the trainings table: what is read, and what is refused by name."""

import base64
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from boto3.dynamodb.types import TypeSerializer
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fl_notifications.trainings.items import UnreadableItemError, item_name
from fl_notifications.trainings.model import (
    FINAL_STATES,
    RUNNING_STATES,
    FailurePolicy,
    Participant,
    Receiver,
    Training,
    TrainingOptions,
    TrainingState,
    same_uuid,
)
from tests.made import (
    ACTOR,
    MODEL_UUID,
    OWN_MODEL_UUID,
    TRAINING_UUID,
    item,
    participant,
    participant_item,
    training,
    training_item,
    uuid_of,
)

TRAINING_NAME = f"item 'TRAINING' of training '{TRAINING_UUID}'"
PARTICIPANT_NAME = f"item 'PARTICIPANT#{uuid_of('one')}' of training '{TRAINING_UUID}'"


def refusal(parse: Callable[[dict[str, Any]], object], image: dict[str, Any]) -> tuple[str, str]:
    """The item and the field that are named when an item cannot be read."""
    with pytest.raises(UnreadableItemError) as caught:
        parse(image)
    assert str(caught.value) == (
        f"{caught.value.item}: field {caught.value.field}: {caught.value.reason}"
    )
    return caught.value.item, caught.value.field


def read_or_refused[T](
    parse: Callable[[dict[str, Any]], T], image: dict[str, Any]
) -> T | UnreadableItemError:
    try:
        return parse(image)
    except UnreadableItemError as error:
        return error


# --- what is read ---------------------------------------------------------------------------------


def test_a_training_with_everything() -> None:
    image = training_item(
        last_update="2026-01-01T00:00:00Z",
        options={
            "failure_policy": "quorum",
            "min_participants": 2,
            "required_participants": [uuid_of("one")],
        },
        error={"reason": "no quorum"},
    )
    assert Training.from_item(image) == Training(
        training_uuid=TRAINING_UUID,
        state=TrainingState.ONGOING,
        round=3,
        model_uuid=MODEL_UUID,
        actor=ACTOR,
        last_update="2026-01-01T00:00:00Z",
        options=TrainingOptions(
            failure_policy=FailurePolicy.QUORUM,
            min_participants=2,
            required_participants=frozenset({uuid_of("one")}),
        ),
        error={"reason": "no quorum"},
    )


def test_a_training_with_no_more_than_it_must_have() -> None:
    read = Training.from_item(training_item())
    assert read == training()
    assert (read.last_update, read.error, read.error_reason) == (None, None, None)
    assert read.options == TrainingOptions(
        failure_policy=FailurePolicy.STRICT, min_participants=1, required_participants=frozenset()
    )


def test_a_participant_with_and_without_what_is_optional() -> None:
    assert Participant.from_item(participant_item("one")) == participant("one")
    image = participant_item("one", joined_at="2026-01-01T00:00:00Z", model_uuid=OWN_MODEL_UUID)
    assert Participant.from_item(image) == participant(
        "one", joined_at="2026-01-01T00:00:00Z", model_uuid=OWN_MODEL_UUID
    )


@pytest.mark.parametrize("required", [[uuid_of("one")], {uuid_of("one")}], ids=["list", "set"])
def test_required_participants_may_be_a_list_or_a_string_set(required: object) -> None:
    image = training_item(options={"required_participants": required})
    assert Training.from_item(image).options.required_participants == {uuid_of("one")}


def test_an_endpoint_may_be_any_string() -> None:
    """Whether it is a usable URL is for the delivery to find out."""
    for endpoint in ("", "not a URL", "ftp://x", "x" * 300_000, "Größe\u0000"):
        image = participant_item("one", message_endpoint=endpoint)
        assert Participant.from_item(image).message_endpoint == endpoint


@pytest.mark.parametrize(
    "spelling",
    [
        str(UUID(int=10)),
        str(UUID(int=10)).upper(),
        UUID(int=10).hex,
        f"{{{UUID(int=10)}}}",
        UUID(int=10).urn,
    ],
)
def test_a_uuid_is_kept_as_it_is_spelt(spelling: str) -> None:
    assert Receiver(uuid=spelling, message_endpoint="").uuid == spelling
    assert same_uuid(spelling, str(UUID(int=10)))
    assert not same_uuid(spelling, str(UUID(int=11)))
    options = TrainingOptions(required_participants=frozenset({spelling}))
    assert options.requires(str(UUID(int=10)))
    assert not options.requires(str(UUID(int=11)))


def test_a_uuid_object_is_taken_as_its_text() -> None:
    uuid = UUID(int=10)
    assert Receiver.model_validate({"uuid": uuid, "message_endpoint": ""}).uuid == str(uuid)
    options = TrainingOptions.model_validate({"required_participants": [uuid]})
    assert options.required_participants == {str(uuid)}


# Characters that SQS takes in a message group's id: the uuids become part of one.
SQS_CHARACTERS = set(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)


@given(
    st.one_of(
        st.text(alphabet="0123456789abcdefABCDEF-{}uridn:", max_size=50),
        # What int(…, 16) reads, and with it UUID(): spaces, signs, digits of any script.
        st.text(alphabet=" \n\t+-_x09aF٣", min_size=28, max_size=36),
        st.text(max_size=45),
    )
)
def test_what_passes_for_a_uuid_can_be_in_a_message_group(text: str) -> None:
    try:
        Receiver(uuid=text, message_endpoint="")
    except ValidationError:
        return
    assert set(text) <= SQS_CHARACTERS
    assert len(f"{text}:{text}") <= 128
    UUID(text)


@pytest.mark.parametrize(
    "text", [" " + "1" * 31, "1" * 31 + "\n", "0x" + "1" * 30, "+" + "1" * 31, "٣" * 32]
)
def test_what_only_looks_like_a_uuid_is_refused(text: str) -> None:
    UUID(text)  # Python reads it
    image = participant_item("one", entity=f"PARTICIPANT#{text}")
    assert refusal(Participant.from_item, image)[1] == "entity"


# --- what is the server's own ---------------------------------------------------------------------

# Any value of DynamoDB, as Lambda shows it in a stream: binary is base64 text.
_BINARY = st.binary(max_size=8).map(lambda data: base64.b64encode(data).decode())
_NUMBER = st.one_of(
    st.integers(-(10**20), 10**20).map(str), st.sampled_from(["1.5", "-2.25", "1E+20", "0"])
)
_SCALARS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.text(max_size=8).map(lambda value: {"S": value}),
    _NUMBER.map(lambda value: {"N": value}),
    _BINARY.map(lambda value: {"B": value}),
    st.booleans().map(lambda value: {"BOOL": value}),
    st.just({"NULL": True}),
    st.lists(st.text(max_size=8), min_size=1, unique=True).map(lambda value: {"SS": value}),
    st.lists(_NUMBER, min_size=1, unique=True).map(lambda value: {"NS": value}),
    st.lists(_BINARY, min_size=1, unique=True).map(lambda value: {"BS": value}),
)
any_value: st.SearchStrategy[dict[str, Any]] = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda value: {"L": value}),
        st.dictionaries(st.text(max_size=8), inner, max_size=3).map(lambda value: {"M": value}),
    ),
    max_leaves=5,
)
foreign = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(
        lambda name: name not in {*Training.model_fields, *Participant.model_fields, "entity"}
    ),
    any_value,
    max_size=3,
)


@settings(max_examples=50)
@given(foreign)
def test_attributes_of_the_servers_own_are_ignored(attributes: dict[str, Any]) -> None:
    assert Training.from_item(attributes | training_item()) == training()
    assert Participant.from_item(attributes | participant_item("one")) == participant("one")


@settings(max_examples=50)
@given(foreign)
def test_so_are_those_inside_the_actor_and_the_options(attributes: dict[str, Any]) -> None:
    image = training_item(options={"min_participants": 2})
    image["actor"]["M"] |= attributes
    image["options"]["M"] |= attributes
    assert Training.from_item(image) == training(options=TrainingOptions(min_participants=2))


@settings(max_examples=50)
@given(any_value)
def test_whatever_a_server_keeps_as_error_the_training_can_be_read(value: dict[str, Any]) -> None:
    """No reason not to tell people that the training is over."""
    read = Training.from_item(training_item() | {"error": value})
    assert read.error_reason is None or isinstance(read.error_reason, str)


@settings(max_examples=50)
@given(any_value)
def test_whatever_the_reason_is_it_is_text_or_none(value: dict[str, Any]) -> None:
    read = Training.from_item(training_item() | {"error": {"M": {"reason": value}}})
    assert read.error_reason == value.get("S")


# --- what is not read -----------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["training_uuid", "state", "round", "model_uuid", "actor"])
def test_a_missing_field_of_a_training_is_named(field: str) -> None:
    image = training_item()
    del image[field]
    name = "item 'TRAINING' of training '?'" if field == "training_uuid" else TRAINING_NAME
    assert refusal(Training.from_item, image) == (name, field)


@pytest.mark.parametrize("field", ["uuid", "message_endpoint"])
def test_a_missing_field_of_the_actor_is_named_with_a_dot(field: str) -> None:
    image = training_item()
    del image["actor"]["M"][field]
    assert refusal(Training.from_item, image) == (TRAINING_NAME, f"actor.{field}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("training_uuid", "no uuid"),
        ("state", "PAUSED"),
        ("state", "ongoing"),
        ("state", 1),
        ("round", -1),
        ("round", Decimal("1.5")),
        ("round", "3"),
        ("round", True),
        ("model_uuid", "no uuid"),
        ("model_uuid", 7),
        ("actor", "somebody"),
        ("actor", ["somebody"]),
        ("last_update", 1767225600),
        ("last_update", "x" * 65),
        ("options", "strict"),
    ],
)
def test_a_wrong_field_of_a_training_is_named(field: str, value: object) -> None:
    image = training_item() | item({field: value})
    assert refusal(Training.from_item, image)[1] == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("failure_policy", "lenient"),
        ("failure_policy", True),
        ("min_participants", -1),
        ("min_participants", "2"),
        ("min_participants", Decimal("1.5")),
        ("min_participants", False),
        ("required_participants", "no list"),
        ("required_participants", 1),
    ],
)
def test_a_wrong_option_is_named(field: str, value: object) -> None:
    image = training_item(options={field: value})
    assert refusal(Training.from_item, image) == (TRAINING_NAME, f"options.{field}")


def test_a_required_participant_that_is_no_uuid_is_named() -> None:
    image = training_item(options={"required_participants": [uuid_of("one"), "no uuid"]})
    name, field = refusal(Training.from_item, image)
    assert name == TRAINING_NAME
    assert field.startswith("options.required_participants")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message_endpoint", None),
        ("message_endpoint", 7),
        ("message_endpoint", ["https://one.example/"]),
        ("message_endpoint", b"https://one.example/"),
        ("joined_at", 1767225600),
        ("joined_at", "x" * 65),
        ("model_uuid", "no uuid"),
        ("model_uuid", True),
    ],
)
def test_a_missing_or_wrong_field_of_a_participant_is_named(field: str, value: object) -> None:
    image = participant_item("one", **{field: value})
    assert refusal(Participant.from_item, image) == (PARTICIPANT_NAME, field)


@pytest.mark.parametrize("entity", ["TRAINING", "PARTICIPANT", "PARTICIPANT#", "PARTICIPANT#abc"])
def test_a_participants_key_that_holds_no_uuid_is_named(entity: str) -> None:
    image = participant_item("one", entity=entity)
    assert refusal(Participant.from_item, image)[1] == "entity"


def test_a_participant_of_a_training_without_a_uuid_is_refused() -> None:
    image = participant_item("one", training_uuid="no uuid")
    assert refusal(Participant.from_item, image)[1] == "training_uuid"


def test_binary_is_no_text_even_if_a_stream_shows_it_so() -> None:
    image = participant_item("one") | {"message_endpoint": {"B": "aHR0cHM6Ly9vbmUuZXhhbXBsZS8="}}
    assert refusal(Participant.from_item, image)[1] == "message_endpoint"


def test_an_error_says_nothing_of_what_is_in_the_field() -> None:
    """It goes into the log, where neither endpoints nor models' names belong."""
    for image in (
        participant_item("one", message_endpoint=["https://secret.example/"]),
        participant_item("one", model_uuid="https://secret.example/"),
        training_item(state="https://secret.example/"),
        training_item(actor={"uuid": "https://secret.example/", "message_endpoint": ""}),
    ):
        parse = Participant if "message_endpoint" in image else Training
        with pytest.raises(UnreadableItemError) as caught:
            parse.from_item(image)
        assert "secret" not in str(caught.value)


_broken_values = st.one_of(
    any_value,
    # No value of DynamoDB at all.
    st.sampled_from(
        [{}, {"S": 7}, {"N": "many"}, {"N": "NaN"}, {"N": None}, {"X": 1}, {"B": "?"}, {"S": None}]
    ),
)


@settings(max_examples=50)
@given(
    image=st.dictionaries(
        st.sampled_from([*Training.model_fields, "entity"]), _broken_values, min_size=1
    )
)
def test_any_image_of_a_training_is_read_or_refused_by_name(image: dict[str, Any]) -> None:
    whole = training_item() | image
    read = read_or_refused(Training.from_item, whole)
    if isinstance(read, UnreadableItemError):
        assert read.field.split(".")[0] in Training.model_fields
        assert read.reason
        assert read.item == item_name(whole)
    else:
        assert read.state.value == whole["state"]["S"]
        assert read.round >= 0


@settings(max_examples=50)
@given(
    image=st.dictionaries(
        st.sampled_from(["training_uuid", "entity", "message_endpoint", "joined_at", "model_uuid"]),
        _broken_values,
        min_size=1,
    )
)
def test_any_image_of_a_participant_is_read_or_refused_by_name(image: dict[str, Any]) -> None:
    whole = participant_item("one") | image
    read = read_or_refused(Participant.from_item, whole)
    if isinstance(read, UnreadableItemError):
        assert read.field in whole
        assert read.reason
    else:
        assert read.message_endpoint == whole["message_endpoint"]["S"]


@given(st.sets(st.sampled_from(["state", "round", "model_uuid", "actor"]), min_size=1))
def test_of_several_missing_fields_one_is_named(missing: set[str]) -> None:
    image = {key: value for key, value in training_item().items() if key not in missing}
    assert refusal(Training.from_item, image)[1] in missing


def test_long_keys_are_cut_in_an_items_name() -> None:
    image = item({"training_uuid": "t" * 500, "entity": "e" * 500})
    assert item_name(image) == f"item '{'e' * 100}' of training '{'t' * 100}'"
    assert item_name({}) == "item '?' of training '?'"


# --- numbers --------------------------------------------------------------------------------------


@given(st.integers(0, 10**30))
def test_whole_numbers_are_read_however_they_are_written(number: int) -> None:
    for text in (f"{number}", f"{number}.0", f"{number}E0"):
        assert Training.from_item(training_item() | {"round": {"N": text}}).round == number


# --- states ---------------------------------------------------------------------------------------


def test_every_state_but_initial_is_running_or_final() -> None:
    assert set(TrainingState) == RUNNING_STATES | FINAL_STATES | {TrainingState.INITIAL}
    assert not RUNNING_STATES & FINAL_STATES


def test_models_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        training().round = 4  # type: ignore[misc]


def test_what_boto3_writes_is_read() -> None:
    """Items as a program gets them, with Decimal and bytes."""
    image = {
        key: TypeSerializer().serialize(value)
        for key, value in {
            "training_uuid": TRAINING_UUID,
            "entity": "TRAINING",
            "state": "ONGOING",
            "round": Decimal(3),
            "model_uuid": MODEL_UUID,
            "actor": ACTOR.model_dump() | {"logo": b"\x00\xff"},
            "weights": b"\x00\xff",
        }.items()
    }
    assert Training.from_item(image) == training()
