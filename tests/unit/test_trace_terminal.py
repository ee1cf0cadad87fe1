import io
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fl_notifications_cli.tracing.steps import Step, StepKind, parse_step
from fl_notifications_cli.tracing.story import TrainingStory, tell
from fl_notifications_cli.tracing.terminal import printable, render, step_line
from tests.trace_lines import START, TRAINING, MadeUpTraining, receiver_uuid

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

    assert f"{receiver_uuid(1)}   UPDATE_ROUND_START 1" in failures
    assert "✗ failed, connection refused, 6 attempts, then: participant removed" in failures


def test_what_failed_is_red() -> None:
    assert RED in shown(story(r1="dead"), colour=True)
    assert RED not in shown(story(), colour=True)


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
