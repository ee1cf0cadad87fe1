"""The message on the queue: what goes in comes out, and nothing else is taken for one."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fl_notifications.deliveries.delivery import ANNOUNCED_STATE, Delivery, DeliveryReceiver
from fl_notifications.notification_type import NotificationType
from fl_notifications.trainings.model import RUNNING_STATES
from tests.made import NOW, TRAINING_UUID, delivery, uuid_of

texts = st.text(max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
deliveries = st.builds(
    Delivery,
    notification_id=st.text(
        st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1, max_size=128
    ),
    notification_type=st.sampled_from(NotificationType),
    training_uuid=st.none() | st.uuids().map(str),
    receiver=st.builds(DeliveryReceiver, uuid=st.uuids().map(str), message_endpoint=texts),
    round=st.none() | st.integers(0, 10**6),
    content=st.dictionaries(texts, json_values, max_size=3),
    callback_success=st.none() | texts,
    callback_error=st.none() | texts,
    created_at=st.datetimes(
        min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - the time zone is added
        max_value=datetime(2200, 1, 1),  # noqa: DTZ001 - likewise
        timezones=st.just(UTC),
    ),
)


@settings(max_examples=50)
@given(deliveries)
def test_what_goes_into_the_queue_comes_out_of_it(made: Delivery) -> None:
    assert Delivery.model_validate_json(made.message) == made


@settings(max_examples=50)
@given(deliveries)
def test_a_message_has_only_characters_that_the_queue_takes(made: Delivery) -> None:
    """SQS refuses U+FFFE, U+FFFF and most control characters (SendMessage, "Important")."""
    assert made.message.isascii()
    assert min(made.message) >= " "


@settings(max_examples=50)
@given(deliveries)
def test_what_is_posted_is_the_content_before_and_after_the_queue(made: Delivery) -> None:
    """The signature is over these bytes: the same on every attempt."""
    assert Delivery.model_validate_json(made.message).payload == made.payload
    assert json.loads(made.payload) == made.content


def test_the_order_of_keys_is_kept_on_the_queue() -> None:
    content = {"notification_type": "X", "body": {"round": 1, "a": 2}, "training_uuid": "y"}
    made = delivery(content=content)
    assert Delivery.model_validate_json(made.message).payload == (
        '{"notification_type": "X", "body": {"round": 1, "a": 2}, "training_uuid": "y"}'
    )


def test_the_message_is_pinned() -> None:
    """Messages wait in the queue for up to 14 days: a new release must read those of the old."""
    assert json.loads(delivery().message) == {
        "notification_id": delivery().notification_id,
        "notification_type": "UPDATE_ROUND_START",
        "training_uuid": TRAINING_UUID,
        "receiver": {"uuid": uuid_of("one"), "message_endpoint": "https://one.example/messages"},
        "round": 3,
        "content": delivery().content,
        "callback_success": "training_notification_callback_success",
        "callback_error": "training_notification_callback_failure",
        "created_at": "2026-03-01T12:00:00Z",
        "joined_at": None,
        "run": None,
        "started_at": None,
        "own": False,
    }


@pytest.mark.parametrize("nested", [False, True], ids=["at the top", "in the receiver"])
def test_keys_of_a_newer_version_are_ignored(nested: bool) -> None:  # noqa: FBT001 - a parameter
    message: dict[str, Any] = json.loads(delivery().message)
    (message["receiver"] if nested else message)["extra"] = 1
    assert Delivery.model_validate(message) == delivery()


ADDED = {"joined_at", "run", "started_at", "own", "again"}
"""What the first version did not know."""


def test_a_message_of_the_first_version_concerns_whoever_takes_part_now() -> None:
    message = json.loads(delivery().message)
    old = Delivery.model_validate({k: v for k, v in message.items() if k not in ADDED})
    assert delivery().knows_membership
    assert not old.knows_membership
    assert not Delivery.model_validate_json(old.message).knows_membership


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="created_at"):
        Delivery.model_validate(json.loads(delivery().message) | {"created_at": "2026-03-01T12:00"})


@pytest.mark.parametrize("field", sorted(set(Delivery.model_fields) - ADDED))
def test_a_missing_field_is_refused_by_name(field: str) -> None:
    """Also the optional ones: what is absent was not written by us."""
    message = json.loads(delivery().message)
    del message[field]
    with pytest.raises(ValidationError, match=f"{field}\n  Field required"):
        Delivery.model_validate(message)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("notification_id", ""),
        ("notification_id", "x" * 129),
        ("notification_type", "NO_SUCH_TYPE"),
        ("training_uuid", "no uuid"),
        ("receiver", {"uuid": "no uuid", "message_endpoint": ""}),
        ("round", "three"),
        ("content", []),
        ("created_at", "yesterday"),
    ],
)
def test_a_wrong_field_is_refused(field: str, value: object) -> None:
    message = json.loads(delivery().message) | {field: value}
    with pytest.raises(ValidationError, match=field):
        Delivery.model_validate(message)


def test_a_group_is_a_training_and_a_receiver() -> None:
    one, two = delivery("one"), delivery("two")
    assert one.group == f"{TRAINING_UUID}:{uuid_of('one')}"
    assert len({one.group, two.group, one.model_copy(update={"training_uuid": None}).group}) == 3


def test_a_group_is_the_same_however_its_uuids_are_spelt() -> None:
    other = DeliveryReceiver(uuid=f"{{{uuid_of('one').upper()}}}", message_endpoint="")
    made = delivery(training_uuid=f"urn:uuid:{TRAINING_UUID.upper()}", receiver=other)
    assert made.group == delivery("one").group


def test_the_longest_group_and_id_are_within_the_queues_limits() -> None:
    longest = "urn:uuid:" + uuid_of("one")
    receiver = DeliveryReceiver(uuid=longest, message_endpoint="")
    made = delivery(training_uuid=longest, receiver=receiver)
    assert len(made.group) <= 128
    assert len(made.notification_id) <= 128


def test_the_round_types_announce_each_a_running_state() -> None:
    assert set(ANNOUNCED_STATE.values()) == RUNNING_STATES
    assert len(ANNOUNCED_STATE) == len(RUNNING_STATES)


def test_the_time_of_the_change_keeps_its_time_zone() -> None:
    assert Delivery.model_validate_json(delivery().message).created_at == NOW
