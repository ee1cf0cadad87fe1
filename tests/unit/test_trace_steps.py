import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_notifications_cli.tracing.steps import (
    Step,
    StepKind,
    Wanted,
    in_order,
    parse_step,
    timestamp,
)
from tests.trace_lines import START, TRAINING, MadeUpTraining, line

KEYS = {
    "at",
    "step",
    "training_uuid",
    "notification_id",
    "notification_type",
    "receiver_uuid",
    "round",
    "attempt",
    "outcome",
    "status_code",
    "reason",
}


def test_a_line_of_the_log_becomes_a_step() -> None:
    step = parse_step(
        line(
            START,
            "attempted",
            notification_id="n",
            notification_type="UPDATE_ROUND_START",
            receiver_uuid="r",
            round=12,
            attempt=2,
            status_code=503,
            reason="answered 503",
            latency_ms=41.6,
        )
    )

    assert step == Step(
        at=START,
        kind=StepKind.ATTEMPTED,
        training_uuid=TRAINING,
        notification_id="n",
        notification_type="UPDATE_ROUND_START",
        receiver_uuid="r",
        round=12,
        attempt=2,
        status_code=503,
        reason="answered 503",
        latency_ms=42,
    )


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "START RequestId: 6f9c2f2e Version: $LATEST",
        '{"step": "attempted", ',
        '{"step": ["attempted"]}',
        '["step"]',
        '"step"',
        '{"step":' * 5000,
        line(START, None),
        line(START, "unheard of"),
        line(START, "built", timestamp="yesterday"),
        line(START, "built", timestamp=17),
        line(START, "built", training_uuid=None),
        '{"_aws": {"CloudWatchMetrics": []}, "notification_type": "-", "Built": [1.0]}',
    ],
)
def test_foreign_lines_are_no_steps(foreign: str) -> None:
    assert parse_step(foreign) is None


@given(st.text() | st.dictionaries(st.text(), st.text()).map(json.dumps))
def test_no_line_is_an_error(text: str) -> None:
    parse_step(text)
    parse_step('{"step":"built",' + text)


@given(
    st.dictionaries(
        st.sampled_from(
            ["notification_id", "receiver_uuid", "round", "attempt", "status_code", "latency_ms"]
        ),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.lists(st.integers())
        | st.dictionaries(st.text(), st.text()),
    )
)
def test_a_field_of_another_type_is_left_out_not_the_step(fields: dict[str, object]) -> None:
    step = parse_step(line(START, "built", **fields))

    assert step is not None
    for name in ("round", "attempt", "status_code", "latency_ms"):
        assert type(getattr(step, name)) in (int, type(None))
    json.dumps(step.as_json(), allow_nan=False)


def test_a_prefix_before_the_json_does_not_matter() -> None:
    assert parse_step("2026-03-01T02:30:00Z 6f9c INFO " + line(START, "built")) is not None


def test_json_has_exactly_the_promised_keys() -> None:
    step = parse_step(line(START, "held back", reason="no time left"))

    assert step is not None
    assert set(step.as_json()) == KEYS
    assert step.as_json()["at"] == "2026-03-01T02:30:00.000Z"
    assert step.as_json()["step"] == "held back"


@pytest.mark.parametrize(
    "written",
    ["2026-03-01T02:30:00.000Z", "2026-03-01 03:30:00,000+0100", "2026-03-01T02:30:00+00:00"],
)
def test_times_are_shown_in_utc_with_milliseconds(written: str) -> None:
    step = parse_step(line(START, "built", timestamp=written))

    assert step is not None
    assert timestamp(step.at) == "2026-03-01T02:30:00.000Z"


# --- order ---------------------------------------------------------------------------------------

_STEPS = st.builds(
    Step,
    at=st.integers(0, 5).map(lambda ms: START + timedelta(milliseconds=ms)),
    kind=st.sampled_from(StepKind),
    training_uuid=st.just(TRAINING),
    notification_id=st.sampled_from(["a", "b", "c"]),
    attempt=st.none() | st.integers(1, 3),
)


@given(st.lists(_STEPS))
def test_ordering_loses_and_adds_nothing(steps: list[Step]) -> None:
    assert sorted(map(repr, in_order(steps))) == sorted(map(repr, steps))


@given(st.lists(_STEPS))
def test_steps_are_in_the_order_of_their_own_times(steps: list[Step]) -> None:
    times = [step.at for step in in_order(steps)]

    assert times == sorted(times)


@given(st.lists(_STEPS))
def test_ordering_twice_is_ordering_once(steps: list[Step]) -> None:
    assert in_order(in_order(steps)) == in_order(steps)


@given(st.lists(_STEPS, unique_by=lambda step: step.at), st.randoms())
def test_the_order_of_reading_does_not_matter_when_times_differ(
    steps: list[Step], chance: object
) -> None:
    shuffled = list(steps)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]

    assert in_order(shuffled) == in_order(steps)


def test_within_a_millisecond_a_notification_goes_through_its_life_in_order() -> None:
    first = [
        Step(START, kind, TRAINING, "first")
        for kind in (StepKind.CONCLUDED, StepKind.ATTEMPTED, StepKind.BUILT)
    ]
    second = [Step(START, StepKind.BUILT, TRAINING, "second")]

    assert [(s.notification_id, s.kind) for s in in_order([*first, *second])] == [
        ("first", StepKind.BUILT),
        ("first", StepKind.ATTEMPTED),
        ("first", StepKind.CONCLUDED),
        ("second", StepKind.BUILT),
    ]


# --- what is asked for ---------------------------------------------------------------------------


def test_a_whole_training_is_understood() -> None:
    lines = list(MadeUpTraining(receivers=50, rounds=3).lines())

    assert all(parse_step(text) for text in lines)


@pytest.mark.parametrize(
    ("wanted", "included"),
    [
        (Wanted(TRAINING), True),
        (Wanted(TRAINING.upper()), True),
        (Wanted(TRAINING.replace("-", "")), True),
        (Wanted("another"), False),
        (Wanted(TRAINING, receiver="aaaa"), True),
        (Wanted(TRAINING, receiver="AAAA1111-2222-3333-4444-555566667777"), True),
        (Wanted(TRAINING, receiver="1111"), False),
        (Wanted(TRAINING, notification="n"), True),
        (Wanted(TRAINING, notification="x"), False),
        (Wanted(TRAINING, since=START), True),
        (Wanted(TRAINING, since=START + timedelta(milliseconds=1)), False),
    ],
)
def test_what_is_asked_for_is_included(wanted: Wanted, included: bool) -> None:  # noqa: FBT001
    step = Step(
        START, StepKind.BUILT, TRAINING, "n-1", receiver_uuid="aaaa1111-2222-3333-4444-555566667777"
    )

    assert wanted.includes(step) is included


def test_a_step_of_no_receiver_is_not_that_of_a_certain_one() -> None:
    assert not Wanted(TRAINING, receiver="a").includes(Step(START, StepKind.BUILT, TRAINING))


@pytest.mark.parametrize("name", ["deposited", "fetched", "acknowledged"])
def test_the_way_through_a_mailbox_is_read(name: str) -> None:
    line = {
        "timestamp": "2026-03-01T12:00:00.000+00:00",
        "step": name,
        "training_uuid": "6b1e6f1c-0f3a-4c57-9d7b-2f6a3e0c9a11",
        "notification_id": "n1",
    }
    step = parse_step(json.dumps(line))
    assert step is not None
    assert step.kind.value == name
    concluded = parse_step(json.dumps(line | {"step": "concluded", "outcome": "accepted"}))
    assert concluded is not None
    assert in_order([concluded, step]) == (step, concluded)
