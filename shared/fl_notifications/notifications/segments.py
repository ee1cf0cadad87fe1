"""The segments of a large training: ranges of the sort key, each made by one `FanOut` at a time."""

from bisect import bisect
from typing import Final

from fl_notifications.trainings.items import PARTICIPANT_PREFIX

_BEGINNINGS: Final = "123456789abcdef"
"""Where a segment ends and the next one begins: at the first hexadecimal digit of the uuid."""

SEGMENTS: Final = len(_BEGINNINGS) + 1

_LAST_CHARACTER: Final = "\U0010ffff"


def segment_of(uuid: str) -> int:
    """The segment that a uuid lies in, as it is spelt in the key; always the same one."""
    return bisect(_BEGINNINGS, uuid[:1])


def key_range(segment: int) -> tuple[str, str]:
    """The first and the last sort key that may lie in a segment.

    The first segment is open below and the last above, so that every key is in exactly one.
    """
    low = _BEGINNINGS[segment - 1] if segment else ""
    high = chr(ord(_BEGINNINGS[segment]) - 1) if segment < len(_BEGINNINGS) else ""
    return f"{PARTICIPANT_PREFIX}{low}", f"{PARTICIPANT_PREFIX}{high}{_LAST_CHARACTER}"
