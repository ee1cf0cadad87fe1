import base64
import hashlib
import html
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fl_notifications_cli import tracing
from fl_notifications_cli.tracing.page import page
from fl_notifications_cli.tracing.steps import OF_TRAININGS, Step, StepKind, parse_step
from fl_notifications_cli.tracing.story import OUTCOMES, TrainingStory, tell
from tests.trace_lines import START, TRAINING, MadeUpTraining

MADE_AT = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>&\u2028@@DATA@@'\""


def story(receivers: int = 3, rounds: int = 2) -> TrainingStory:
    lines = MadeUpTraining(receivers, rounds).lines()
    return tell(TRAINING, [step for text in lines if (step := parse_step(text))])


class _Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[int, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text[len(self.found) - 1] = self.text.get(len(self.found) - 1, "") + data


def embedded(text: str) -> dict[str, Any]:
    elements = _Elements(text)
    [data] = [
        elements.text[i]
        for i, (_, attributes) in enumerate(elements.found)
        if attributes.get("id") == "data"
    ]
    said: dict[str, Any] = json.loads(data)
    return said


def test_the_page_asks_nobody_for_anything() -> None:
    text = page(story(), made_at=MADE_AT)
    outside = [
        value
        for _, attributes in _Elements(text).found
        for name, value in attributes.items()
        if name in ("src", "href", "action", "srcset") and value not in ("data:,", None)
    ]

    assert [value for value in outside if not value.startswith("#")] == []
    assert "@import" not in text
    assert "url(" not in text
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|import)\s*\(", text)


def test_only_its_own_script_and_style_may_run() -> None:
    text = page(story(), made_at=MADE_AT)
    elements = _Elements(text)
    [policy] = [
        attributes["content"] or ""
        for _, attributes in elements.found
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]

    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        [content] = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in html.unescape(policy)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_no_text_from_the_log_is_markup() -> None:
    hostile = Step(
        START,
        StepKind.CONCLUDED,
        HOSTILE,
        notification_id=HOSTILE,
        notification_type=HOSTILE,
        receiver_uuid=HOSTILE,
        outcome=HOSTILE,
        reason=HOSTILE,
    )
    harmless = page(tell(TRAINING, [Step(START, StepKind.CONCLUDED, "t")]), made_at=MADE_AT)

    text = page(tell(HOSTILE, [hostile]), made_at=MADE_AT, note=HOSTILE)

    assert [tag for tag, _ in _Elements(text).found] == [
        tag for tag, _ in _Elements(harmless).found
    ]
    assert embedded(text)["reasons"] == [HOSTILE]
    assert embedded(text)["note"] == HOSTILE


@given(st.text())
def test_any_text_arrives_as_it_is(text: str) -> None:
    step = Step(START, StepKind.ATTEMPTED, text, receiver_uuid=text, reason=text or None)

    said = embedded(page(tell(text, [step]), made_at=MADE_AT))

    assert said["training"] == text
    assert said["receivers"] == [text]
    assert said["reasons"] == ([text] if text else [])


def test_the_columns_hold_the_whole_story() -> None:
    told = story()
    said = embedded(page(told, made_at=MADE_AT))
    notifications, steps = said["notifications"], said["steps"]
    kinds = list(StepKind)
    read: list[Step] = []
    place = 0
    for number, notification in enumerate(told.notifications):
        at = told.steps[0].at
        assert notifications["id"][number] == notification.notification_id
        assert said["outcomes"][notifications["outcome"][number]] == notification.outcome
        for step in notification.steps:
            at += timedelta(milliseconds=steps["dt"][place])
            assert at == step.at
            assert kinds[steps["kind"][place]] is step.kind
            assert steps["status"][place] == (step.status_code or 0)
            assert steps["attempt"][place] == (step.attempt or 0)
            read.append(step)
            place += 1

    assert len(read) == len(told.steps)
    assert said["outcomes"][: len(OUTCOMES)] == list(OUTCOMES)
    assert {len(column) for column in steps.values()} == {len(told.steps)}
    assert {len(column) for column in notifications.values()} == {len(told.notifications)}


def test_what_is_built_again_does_not_stretch_a_notification() -> None:
    """It is not sent: the line would seem to end minutes after its outcome."""
    kinds = (StepKind.BUILT, StepKind.CONCLUDED, StepKind.BUILT)
    told = tell(
        TRAINING,
        [Step(START + timedelta(minutes=n), kind, TRAINING, "n") for n, kind in enumerate(kinds)],
    )

    said = embedded(page(told, made_at=MADE_AT))

    assert said["notifications"]["steps"] == [2]
    assert [list(StepKind)[number] for number in said["steps"]["kind"]] == list(kinds[:2])


def test_a_big_training_stays_small() -> None:
    """1,000 receivers x 20 rounds may take 10 MB; a tenth of that may take a tenth."""
    assert len(page(story(100, 20), made_at=MADE_AT)) < 1_000_000


def test_the_script_numbers_the_steps_as_the_page_does() -> None:
    script = (Path(tracing.__file__).parent / "html" / "page.js").read_text()
    names = re.search(r"STEP_NAMES = (\[.*\]);", script)
    numbers = re.search(r"const (BUILT = 0.*);", script)

    assert names is not None
    assert numbers is not None
    told = [kind.value for kind in StepKind if kind not in OF_TRAININGS]
    assert json.loads(names[1]) == told
    assert [int(each.split(" = ")[1]) for each in numbers[1].split(", ")] == list(range(len(told)))
