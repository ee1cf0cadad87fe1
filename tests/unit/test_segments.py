"""Segments of a large training: every participant is in exactly one, and always in the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_notifications.notifications.segments import SEGMENTS, key_range, segment_of

uuids = st.uuids().map(str)
spelt = st.one_of(uuids, uuids.map(str.upper), uuids.map(lambda each: f"{{{each}}}"), st.text())


def holding(uuid: str) -> list[int]:
    """The segments whose range a uuid's sort key lies in; DynamoDB compares bytes."""
    key = f"PARTICIPANT#{uuid}".encode()
    ranges = [key_range(segment) for segment in range(SEGMENTS)]
    return [
        number
        for number, (first, last) in enumerate(ranges)
        if first.encode() <= key <= last.encode()
    ]


@given(spelt.filter(lambda each: each.isprintable()))
def test_a_participant_lies_in_the_range_of_its_segment_and_in_no_other(uuid: str) -> None:
    assert holding(uuid) == [segment_of(uuid)]


@pytest.mark.parametrize("digit", "0123456789abcdef")
def test_each_hexadecimal_digit_has_a_segment(digit: str) -> None:
    assert segment_of(f"{digit}b1e6f1c-0f3a-4c57-9d7b-2f6a3e0c9a11") == int(digit, 16)
