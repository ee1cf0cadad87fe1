"""What a batch call leaves undone is asked for again: bounded, and nothing gets lost."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_notifications.aws.batches import (
    ATTEMPTS,
    BATCH_WRITE,
    EVENTS_BATCH,
    SQS_BATCH,
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
