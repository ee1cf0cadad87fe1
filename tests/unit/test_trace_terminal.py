import io
import json
import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fl_notifications_cli.tracing.steps import Step, StepKind, parse_step
from fl_notifications_cli.tracing.story import TrainingStory, tell
from fl_notifications_cli.tracing.terminal import printable, render, shortened, step_line
from tests.trace_lines import START, TRAINING, MadeUpTraining, line, receiver_uuid

RED = "\x1b[31m"


def story(receivers: int = 4, **behaviours: str) -> TrainingStory:
    numbered = {int(name[1:]): behaviour for name, behaviour in behaviours.items()}
    lines = MadeUpTraining(receivers, 3, behaviours=numbered or {0: "healthy"}).lines()
    return tell(TRAINING, [step for text in lines if (step := parse_step(text))])


def shown(told: TrainingStory, *, width: int = 160, colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, highlight=False, force_terminal=colour, no_color=not colour
    )
    for part in render(told, width=width):
        console.print(part)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_every_receiver_has_a_table_with_each_of_its_steps() -> None:
    told = story()
    text = shown(told)

    for receiver in told.receivers:
        assert f"Receiver {receiver.receiver_uuid}" in text
    assert text.count(" attempted ") == sum(s.kind is StepKind.ATTEMPTED for s in told.steps)


def test_what_failed_is_said_with_why_and_what_followed() -> None:
    text = shown(story(r1="dead"))
    [_, failures] = text.split("What failed")

    assert "✗ 1 failed: UPDATE_ROUND_START 1, connection refused, 6 attempts\n" in failures
    assert "  then: participant removed\n" in failures
    assert f"  {receiver_uuid(1)}\n" in failures


def test_alike_failures_are_told_together_those_with_consequences_first() -> None:
    dead = {f"r{number}": "dead" for number in range(5)}
    text = shown(story(9, **dead), width=80).split("What failed")[1]

    assert text.index("UPDATE_ROUND_START 1") < text.index("CLIENT_REMOVED")
    assert "✗ 5 failed: UPDATE_ROUND_START 1" in text
    assert "… and 2 more" in text


def test_the_actor_is_marked() -> None:
    actor = receiver_uuid(2)
    console = Console(file=io.StringIO(), width=80)
    for part in render(story(), width=80, name=lambda uuid: "actor" if uuid == actor else None):
        console.print(part)

    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"Receiver {actor} (actor)" in text
    assert text.count("(actor)") == 1


def test_a_change_that_nobody_was_told_of_says_why() -> None:
    said = {
        "timestamp": START.isoformat(),
        "message": "unreadable item",
        "item": f"item 'TRAINING' of training '{TRAINING}'",
        "field": "state",
        "reason": "must be one of them",
    }
    step = parse_step(json.dumps(said))
    assert step is not None

    text = shown(tell(TRAINING, [step, step]), width=80)

    assert "Not announced\nTRAINING: field state: must be one of them\n" in text
    assert "  2 times, last 2026-03-01 02:30:00.000\n" in text
    assert "No notifications.\n" in text
    assert "dead-letters" in text


def test_a_round_that_is_overdue_is_said_with_what_followed() -> None:
    ids = {"timestamp": START.isoformat(), "training_uuid": TRAINING}
    told = {"state": "ONGOING", "round": 3, "policy": "remove_unaccepted"}
    said = [
        {**ids, **told, "step": "overdue"},
        {**ids, "message": "change followed", "event": "Training Overdue", "reason": "2 removed"},
        {**ids, "message": "change followed", "event": "Training Started", "reason": "told"},
    ]

    steps = [step for each in said if (step := parse_step(json.dumps(each)))]

    at = "2026-03-01 02:30:00.000  "
    *_, head, overdue, followed = shown(tell(TRAINING, steps)).splitlines()
    why = "longer than its deadline (on_deadline: remove_unaccepted)"
    assert head == "Overdue"
    assert overdue == f"{at}ONGOING, round 3: {why}"
    assert followed.rstrip() == f"{at}then: 2 removed"


def test_what_is_built_twice_is_marked() -> None:
    """A start is built again with each round of the first minutes; the queue drops it."""
    ids = {"notification_id": "n", "receiver_uuid": "r"}
    said = [line(START, "built", **ids), line(START + timedelta(seconds=1), "built", **ids)]

    steps = [step for each in said if (step := parse_step(each))]
    rows = [row for row in shown(tell(TRAINING, steps)).splitlines() if "built" in row]

    assert [row.rstrip().endswith("again: the same id is told once") for row in rows] == [
        False,
        True,
    ]


@pytest.mark.parametrize("width", [60, 80])
def test_counts_stay_together_where_a_line_ends(width: int) -> None:
    """No mark or number in one line, and what it counts in the next."""
    text = shown(story(5, r1="dead", r2="rejecting", r3="superseded"), width=width)

    assert re.search(r"notifications:.*,\n  [^ ]", text)
    assert not re.search(r"[✗✓…-] ?[0-9]*\n", text)


@pytest.mark.parametrize("width", [80, 140])
def test_following_breaks_no_words(width: int) -> None:
    step = Step(
        START,
        StepKind.ATTEMPTED,
        TRAINING,
        "n",
        "SWAG_ROUND_START",
        receiver_uuid(1),
        10,
        reason="connection refused " * 6,
    )
    rows = step_line(step, width=width).plain.splitlines()

    assert max(map(len, rows)) <= width
    assert " ".join(" ".join(rows).split()) == " ".join(step_line(step).plain.split())


@given(st.sets(st.text(alphabet="ab-", min_size=0, max_size=12), min_size=1))
def test_shortened_ids_are_beginnings_that_tell_them_apart(ids: set[str]) -> None:
    short = shortened(ids)

    assert len(set(short.values())) == len(ids)
    assert all(each.startswith(short[each]) for each in ids)


def test_what_failed_is_red() -> None:
    assert RED in shown(story(r1="dead"), colour=True)
    assert RED not in shown(story(), colour=True)


def test_a_type_that_a_client_does_not_know_is_no_failure() -> None:
    fields = {
        "notification_id": "n",
        "notification_type": "TRAINING_ERROR",
        "receiver_uuid": "r",
        "outcome": "rejected",
        "type_unknown": True,
        "reason": "answered 400",
    }
    step = parse_step(line(START, "concluded", **fields))
    assert step is not None
    text = shown(tell(TRAINING, [step]), colour=True)
    assert RED not in text
    assert "- 1 type unknown" in re.sub("\x1b[^m]*m", "", text)
    assert "What failed" not in text


def test_without_failures_there_is_no_such_table() -> None:
    text = shown(story())

    assert "What failed" not in text
    assert "4 receivers, 20 notifications: ✓ 20 accepted" in text


def test_of_many_receivers_only_those_with_trouble_are_shown() -> None:
    text = shown(story(200, r1="dead", r2="flaky"))

    assert text.count("Receiver ") == 1
    assert "199 receivers accepted everything, 1 of them not at the first attempt" in text
    assert "--receiver" in text


@pytest.mark.parametrize("width", [60, 80, 115, 200])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    lines = shown(story(r1="dead", r2="rejecting"), width=width).splitlines()

    assert max(map(len, lines)) <= width


def test_a_new_day_is_shown() -> None:
    told = tell(
        TRAINING,
        [
            Step(
                START + timedelta(days=day), StepKind.BUILT, TRAINING, f"n{day}", receiver_uuid="r"
            )
            for day in range(2)
        ],
    )

    lines = [text.split() for text in shown(told).splitlines()]

    assert ["2026-03-02"] in lines
    assert lines.index(["2026-03-02"]) + 1 == lines.index(["02:30:00.000", "?", "n1", "built"])


@given(st.text())
def test_no_text_can_steer_the_terminal(text: str) -> None:
    assert printable(text).isprintable()
    step = Step(START, StepKind.ATTEMPTED, TRAINING, text, text, text, reason=text)
    assert step_line(step).plain.isprintable()


def test_markup_in_the_log_is_only_text() -> None:
    told = tell(
        TRAINING,
        [Step(START, StepKind.ATTEMPTED, TRAINING, "n", "[red]T[/]", "[b]r[/b]", reason="[/nope]")],
    )

    text = shown(told)

    assert "Receiver [b]r[/b]" in text
    assert "[red]T[/]" in text
    assert "[/nope]" in text


def test_a_status_that_the_reason_repeats_is_said_once() -> None:
    step = Step(
        START, StepKind.ATTEMPTED, TRAINING, "n", status_code=503, reason="answered 503", attempt=1
    )

    assert step_line(step).plain.endswith("HTTP 503")


def test_what_is_accepted_repeats_no_status_and_needs_one_line_at_80_columns() -> None:
    said = line(
        START,
        "concluded",
        notification_id="n",
        receiver_uuid="r",
        notification_type="UPDATE_ROUND_START",
        round=0,
        outcome="accepted",
        status_code=200,
        attempt=1,
        queued_ms=12_300,
    )
    step = parse_step(said)
    assert step is not None

    [row] = [row for row in shown(tell(TRAINING, [step]), width=80).splitlines() if "conc" in row]

    assert row.rstrip().endswith("✓ accepted, after 12.3s")


def test_what_went_through_a_mailbox_is_shown_step_by_step() -> None:
    said = [
        line(START, "built", **(ids := {"notification_id": "n", "receiver_uuid": "r"})),
        line(START, "deposited", **ids, queued_ms=90),
        line(START, "fetched", **ids),
        line(START, "acknowledged", **ids, outcome="rejected"),
        line(START, "concluded", **ids, outcome="rejected", reason="rejected: no-gpu"),
    ]

    text = shown(tell(TRAINING, [step for each in said if (step := parse_step(each))]), width=80)

    rows = [row.split("?")[1].split() for row in text.splitlines() if row.startswith("02:30")]
    assert [row[0] for row in rows] == [
        "built",
        "deposited",
        "fetched",
        "acknowledged",
        "concluded",
    ]
    assert rows[3][1:] == ["✗", "rejected"]
