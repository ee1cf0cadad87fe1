"""Records of the stream, as Lambda shows them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from functions.build_notifications.records import Change, ChangeKind
from tests.made import TRAINING_UUID, participant_item, training_item, uuid_of


def record(**values: Any) -> dict[str, Any]:
    image = values.pop("new", training_item())
    stream = {
        "ApproximateCreationDateTime": 1767225600.0,
        "Keys": {key: image[key] for key in ("training_uuid", "entity")},
        "NewImage": image,
        "SequenceNumber": "4421584500000000017450439091",
        "SizeBytes": 26,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    return {"eventID": "1", "eventName": "INSERT", "dynamodb": stream} | values


def test_an_insert_of_a_training() -> None:
    change = Change.from_record(record())
    assert change.kind is ChangeKind.INSERT
    assert (change.training_uuid, change.entity) == (TRAINING_UUID, "TRAINING")
    assert change.sequence_number == "4421584500000000017450439091"
    assert change.at == datetime(2026, 1, 1, tzinfo=UTC)
    assert (change.old, change.new) == (None, training_item())
    assert (change.of_training, change.of_participant, change.by_ttl) == (True, False, False)


def test_a_removal_has_only_an_old_image() -> None:
    image = participant_item("one")
    removed = record(new=image, eventName="REMOVE")
    removed["dynamodb"]["OldImage"] = removed["dynamodb"].pop("NewImage")
    change = Change.from_record(removed)
    assert (change.kind, change.old, change.new) == (ChangeKind.REMOVE, image, None)
    assert change.entity == f"PARTICIPANT#{uuid_of('one')}"
    assert (change.of_training, change.of_participant) == (False, True)


@pytest.mark.parametrize(
    ("identity", "by_ttl"),
    [
        ({"type": "Service", "principalId": "dynamodb.amazonaws.com"}, True),
        ({"type": "Service", "principalId": "other.amazonaws.com"}, False),
        (None, False),
        ({}, False),
    ],
)
def test_a_deletion_by_ttl_is_known_by_who_did_it(identity: object, by_ttl: bool) -> None:  # noqa: FBT001 - a parameter
    assert Change.from_record(record(userIdentity=identity)).by_ttl is by_ttl


@pytest.mark.parametrize("entity", ["TRAININGS", "training", "PARTICIPANT", "MODEL#1", ""])
def test_other_items_are_neither_a_training_nor_a_participant(entity: str) -> None:
    change = Change.from_record(record(new=training_item(entity=entity)))
    assert not change.of_training
    assert not change.of_participant


def test_the_record_itself_is_kept_for_the_dead_letter() -> None:
    given = record()
    assert Change.from_record(given).record is given
