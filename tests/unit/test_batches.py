"""What a batch call leaves undone is asked for again: bounded, and nothing gets lost."""

from collections.abc import Sequence
from itertools import batched
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_notifications.aws.batches import (
    ATTEMPTS,
    BATCH_GET,
    BATCH_WRITE,
    EVENTS_BATCH,
    SQS_BATCH,
    NotReadError,
    get_all,
    get_items,
    until_done,
)


class Service:
    """Does at each call as many of what it is asked as it is told to."""

    def __init__(self, capacities: Sequence[int]) -> None:
        self.capacities = list(capacities)
        self.calls: list[list[int]] = []
        self.done: list[int] = []
        self.waits: list[float] = []

    def call(self, asked: list[int]) -> list[int]:
        self.calls.append(asked)
        capacity = self.capacities[len(self.calls) - 1]
        self.done += asked[:capacity]
        return asked[capacity:]

    def run(self, pending: list[int]) -> list[int]:
        return until_done(pending, self.call, sleep=self.waits.append)


@given(
    st.lists(st.integers(), unique=True),
    st.lists(st.integers(0, 10), min_size=ATTEMPTS, max_size=ATTEMPTS),
)
def test_every_entry_is_either_done_once_or_returned(
    pending: list[int], capacities: list[int]
) -> None:
    service = Service(capacities)
    left = service.run(pending)
    assert sorted(service.done + left) == sorted(pending)


@given(
    st.lists(st.integers(), unique=True),
    st.lists(st.integers(0, 10), min_size=ATTEMPTS, max_size=ATTEMPTS),
)
def test_calls_and_waits_are_bounded_and_no_more_than_needed(
    pending: list[int], capacities: list[int]
) -> None:
    service = Service(capacities)
    left = service.run(pending)
    assert len(service.calls) <= ATTEMPTS
    assert all(service.calls)  # never asked to do nothing
    assert len(service.waits) == max(0, len(service.calls) - 1)
    assert all(0 <= each <= 2 for each in service.waits)
    if left:
        assert len(service.calls) == ATTEMPTS


def test_nothing_to_do_calls_nothing() -> None:
    service = Service([])
    assert service.run([]) == []
    assert service.calls == []


def test_only_what_is_left_is_asked_for_again() -> None:
    service = Service([1, 1, 1])
    assert service.run([1, 2, 3]) == []
    assert service.calls == [[1, 2, 3], [2, 3], [3]]


def test_what_is_never_done_is_returned_after_the_last_attempt() -> None:
    service = Service([0] * ATTEMPTS)
    assert service.run([1, 2]) == [1, 2]
    assert len(service.calls) == 5


def test_an_error_of_the_call_is_passed_on_at_once() -> None:
    """boto3 has tried again by itself already."""
    calls = 0

    def fails(_pending: list[int]) -> list[int]:
        nonlocal calls
        calls += 1
        raise ConnectionError

    with pytest.raises(ConnectionError):
        until_done([1], fails, sleep=lambda _seconds: None)
    assert calls == 1


def test_the_sizes_that_aws_takes() -> None:
    """Each from the API reference of the call."""
    assert (SQS_BATCH, EVENTS_BATCH, BATCH_WRITE) == (10, 10, 25)


class Table:
    """DynamoDB, which reads at each call as many keys of each table as it is told to."""

    def __init__(self, capacities: Sequence[int], there: set[int]) -> None:
        self.capacities = list(capacities)
        self.there = there
        self.requests: list[dict[str, Any]] = []

    def batch_get_item(self, **given: Any) -> dict[str, Any]:
        """Read what there is of the first keys; leave the others."""
        requests = given["RequestItems"]
        self.requests.append(requests)
        capacity = self.capacities[len(self.requests) - 1]
        left = {
            name: {**each, "Keys": each["Keys"][capacity:]}
            for name, each in requests.items()
            if each["Keys"][capacity:]
        }
        found = {
            name: [key for key in each["Keys"][:capacity] if key in self.there]
            for name, each in requests.items()
        }
        return {"Responses": found, "UnprocessedKeys": left}

    @property
    def client(self) -> Any:
        """As boto3's client."""
        return self


@given(
    st.lists(st.integers(0, 20), unique=True),
    st.lists(st.integers(0, 20), unique=True),
    st.sets(st.integers(0, 20)),
    st.lists(st.integers(0, 10), min_size=ATTEMPTS, max_size=ATTEMPTS),
)
def test_all_that_there_is_of_several_tables_is_read_or_it_is_an_error(
    ones: list[int], others: list[int], there: set[int], capacities: list[int]
) -> None:
    table = Table(capacities, there)
    requests = {
        name: {"Keys": keys, "ConsistentRead": True}
        for name, keys in (("ones", ones), ("others", others))
        if keys
    }
    unread = max(len(ones), len(others)) - sum(capacities)
    if unread > 0:
        with pytest.raises(NotReadError, match=r"left \d+ keys unread"):
            get_items(table.client, requests, sleep=lambda _: None)
        assert len(table.requests) == ATTEMPTS
        return
    items = get_items(table.client, requests, sleep=lambda _: None)
    assert items.keys() == requests.keys()
    assert items.get("ones", []) == [key for key in ones if key in there]
    assert items.get("others", []) == [key for key in others if key in there]
    for request in table.requests:
        assert all(each["ConsistentRead"] for each in request.values())


@given(st.integers(0, 350))
def test_any_number_of_keys_is_read_a_hundred_at_a_time(number: int) -> None:
    table = Table([1000] * 9, set(range(number)))
    keys: Any = range(number)
    read = get_all(table.client, "ones", keys, sleep=lambda _: None, ConsistentRead=True)
    assert list(read) == list(range(number))
    assert [len(each["ones"]["Keys"]) for each in table.requests] == [
        len(batch) for batch in batched(keys, BATCH_GET)
    ]
    assert all(each["ones"]["ConsistentRead"] for each in table.requests)
