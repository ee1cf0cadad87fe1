"""What the write side checks before it writes: endpoints, options, settings, who is selected."""

from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from fl_notifications.deliveries.guard import EndpointGuard
from fl_notifications.server.checks import (
    DEFAULT_GUARD,
    check_endpoint,
    check_selected,
    check_settings,
    read_options,
)
from fl_notifications.server.errors import EndpointError, OptionError, SettingsValueError
from fl_notifications.trainings.model import FailurePolicy, Receiver, TrainingOptions
from tests.made import uuid_of


def receiver(endpoint: str) -> Receiver:
    return Receiver(uuid=uuid_of("one"), message_endpoint=endpoint)


@pytest.mark.parametrize(
    "endpoint", ["https://one.example/messages", "http://127.0.0.1:8000/", "mailbox:"]
)
def test_a_usable_endpoint_passes(endpoint: str) -> None:
    check_endpoint(DEFAULT_GUARD, receiver(endpoint), "participant")


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("", "url not http or https"),
        ("ooo://one.example/", "url not http or https"),
        ("https://user@one.example/", "userinfo in url"),
        ("https://one.example:99999/", "invalid port"),
        ("https://one.example/#part", "fragment in url"),
        ("mailbox:/one", "url not http or https"),
        ("Mailbox:", "url not http or https"),
        ("https://one.example/" + "x" * 2048, "url too long"),
    ],
)
def test_an_unusable_endpoint_is_refused_by_receiver_and_reason_and_never_quoted(
    endpoint: str, why: str
) -> None:
    with pytest.raises(EndpointError, match=f"participant {uuid_of('one')}: message_endpoint") as e:
        check_endpoint(DEFAULT_GUARD, receiver(endpoint), "participant")
    assert why in str(e.value)
    assert not endpoint or endpoint not in str(e.value)


def test_a_stack_that_calls_no_plain_http_may_say_so() -> None:
    with pytest.raises(EndpointError, match="plain http not allowed"):
        check_endpoint(EndpointGuard(), receiver("http://one.example/"), "participant")


def test_options_may_be_given_by_name() -> None:
    options = read_options({"failure_policy": "quorum", "min_participants": 2})
    assert options == TrainingOptions(failure_policy=FailurePolicy.QUORUM, min_participants=2)
    assert read_options(options) is options


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("min_participant", "min_participants"),
        ("failurePolicy", "failure_policy"),
        ("deadline", "on_deadline"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_known_one(wrong: str, near: str) -> None:
    with pytest.raises(OptionError, match=f"'{wrong}' is not known; did you mean '{near}'"):
        read_options({wrong: 1})


def test_a_wrong_value_of_an_option_is_refused_by_name() -> None:
    with pytest.raises(OptionError, match="options: min_participants: "):
        read_options({"min_participants": -1})


def test_who_is_selected_counts_once_and_at_most_a_thousand_are() -> None:
    one, two = uuid_of("one"), uuid_of("two")
    assert check_selected([two, one, two]) == [two, one]
    assert check_selected([]) == []
    with pytest.raises(ValueError, match="selected: must be a UUID"):
        check_selected(["everybody"])
    with pytest.raises(ValueError, match="selected: 1001 participants; at most 1000"):
        check_selected(uuid_of(f"{number}") for number in range(1001))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"rate": float("nan")}, "rate: out of range"),
        ({"rate": 1e300}, "rate: out of range"),
        ({"rate": {"a": [0, b"x"]}}, r"rate.a\[1\]: bytes is no JSON"),
        ({"rates": {1, 2}}, "rates: set is no JSON"),
        ({"weights": "x" * 16384}, "16399 bytes as JSON; at most 16384"),
    ],
)
def test_settings_that_no_notification_can_carry_are_refused_by_key(
    settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(SettingsValueError, match=why):
        check_settings(settings)


NUMBERS = st.integers(-(10**37), 10**37) | st.floats(-1e100, 1e100, allow_subnormal=False).filter(
    lambda x: x == 0 or abs(x) > 1e-100
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=5), VALUES, max_size=4))
def test_whatever_passes_comes_back_from_dynamodb_as_it_was(settings: dict[str, Any]) -> None:
    stored = TypeSerializer().serialize(check_settings(settings))
    assert _floats(TypeDeserializer().deserialize(stored)) == _floats(settings)


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _floats(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_floats(inner) for inner in value]
    return float(value) if isinstance(value, Decimal | int | float) else value
