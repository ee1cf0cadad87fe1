"""Items of the table Waiting, and when a participant is asked to poll again."""

import random
from datetime import timedelta
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from fl_notifications.outcomes.waiting import (
    ReceiverSeen,
    WaitingNotification,
    WaitingRound,
    due_shard,
)
from fl_notifications.trainings.model import OnDeadline
from functions.mailbox.polling import Polling
from tests.made import NOW, TRAINING_UUID, delivery, uuid_of

HOUR = timedelta(hours=1)
numbers = st.integers(0, 10**40 - 1)


@given(numbers, st.sampled_from([str.upper, str.lower, lambda text: f"{{{text}}}"]))
def test_a_notification_comes_back_from_its_item_in_the_mailbox_of_its_receiver(
    number: int, spell: object
) -> None:
    made = delivery("one")
    spelt = spell(made.receiver.uuid)  # type: ignore[operator]
    made = made.model_copy(update={"receiver": made.receiver.model_copy(update={"uuid": spelt})})
    waiting = WaitingNotification.deposited(made, str(number), at=NOW, deadline=HOUR)
    assert waiting.owner == f"MAILBOX#{uuid_of('one')}"
    assert WaitingNotification.from_item(waiting.to_item()) == waiting
    assert waiting.training == TRAINING_UUID


@given(numbers, numbers)
def test_sort_keys_are_in_the_order_of_the_queue_however_many_digits_it_gives(
    one: int, other: int
) -> None:
    keys = [
        WaitingNotification.deposited(delivery("one"), str(each), at=NOW, deadline=HOUR).what
        for each in (one, other)
    ]
    assert (keys[0] < keys[1]) == (one < other)
    assert keys[0] > "#", "the receiver's own item sorts first"


@given(st.uuids())
def test_an_owner_is_always_in_the_same_one_of_sixteen_shards(uuid: object) -> None:
    owner = f"MAILBOX#{uuid}"
    assert due_shard(owner) == f"due#{crc32(owner.encode()) % 16}"


@given(st.sampled_from(OnDeadline), st.none() | st.integers(60, 10**6), st.none() | st.just("7"))
def test_a_round_comes_back_from_its_item(
    policy: OnDeadline, deadline: int | None, run: str | None
) -> None:
    one = WaitingRound(
        training_uuid=TRAINING_UUID,
        state="ONGOING",
        round=3,
        kind="UPDATE_ROUND_START",
        run=run,
        source="0012",
        began_at=NOW,
        policy=policy,
        deadline_seconds=deadline,
    )
    item = one.to_item()
    assert WaitingRound.from_item(item) == one
    assert ("due_at" in item) == ("due_shard" in item) == (deadline is not None)


def test_what_cannot_be_read_of_a_receiver_counts_as_absent() -> None:
    seen = ReceiverSeen.from_item({"seen_at": {"S": "soon"}, "active_at": {"N": "1"}})
    assert seen == ReceiverSeen(None, None)
    assert ReceiverSeen.from_item(ReceiverSeen(NOW, NOW).to_item("MAILBOX#1")) == ReceiverSeen(
        NOW, NOW
    )


@given(st.integers(0, 10**7), st.integers(0, 1000))
def test_the_wait_grows_with_the_age_of_the_last_notification_within_its_bounds(
    age: int, seed: int
) -> None:
    polling = Polling(2, 60, random.Random(seed))  # noqa: S311 - nothing secret
    wait = polling.wait_seconds(NOW - timedelta(seconds=age), NOW)
    wanted = min(max(age / 20, 2), 60)
    assert 0.9 * wanted - 0.1 <= wait <= 1.1 * wanted + 0.1
    assert 54 <= polling.wait_seconds(None, NOW) <= 66
