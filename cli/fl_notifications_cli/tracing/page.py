"""The story of a training as one self-contained HTML page.

The page loads nothing from anywhere: style, script and data are in it, and its content security
policy allows only that one script. The log's texts are data to it, never markup.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from fl_notifications_cli.tracing.steps import Step, StepKind
from fl_notifications_cli.tracing.story import OUTCOMES, TrainingStory
from fl_notifications_cli.tracing.terminal import Name, nameless

_KINDS = {kind: number for number, kind in enumerate(StepKind)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACEHOLDER = re.compile(r"@@([A-Z]+)@@")


def page(
    story: TrainingStory, *, made_at: datetime, note: str | None = None, name: Name = nameless
) -> str:
    """Write the page.

    Args:
        story: the training's story.
        made_at: when the log was read.
        note: what a reader has to know about what is missing, if anything is.
        name: what receivers are called.
    """
    files = resources.files("fl_notifications_cli.tracing") / "html"
    template, style, script = (
        (files / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")
    )
    parts = {
        "POLICY": (
            "default-src 'none'; img-src data:; "
            f"style-src {_source(style)}; script-src {_source(script)}; "
            "base-uri 'none'; form-action 'none'"
        ),
        "TITLE": html.escape(f"Training {story.training_uuid}: notifications"),
        "STYLE": style,
        "DATA": _embeddable(_columns(story, made_at, note, name)),
        "SCRIPT": script,
    }
    # One pass, so that nothing in the data is taken for a placeholder.
    return _PLACEHOLDER.sub(lambda match: parts[match[1]], template)


def _source(text: str) -> str:
    """The content security policy's name for an inline style or script."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _embeddable(value: Any) -> str:
    """JSON that can stand in a script element: no `<` that could end it or begin a comment."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


class _Names:
    """Numbers for texts that occur often."""

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self.names = list(names)
        self._numbers = {name: number for number, name in enumerate(names)}

    def number(self, name: str | None) -> int:
        """The text's number; None and the empty text are the same."""
        name = name or ""
        if name not in self._numbers:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]


def _columns(
    story: TrainingStory, made_at: datetime, note: str | None, name: Name
) -> dict[str, Any]:
    """The story by columns: a hundred thousand steps take a few megabytes.

    Times are milliseconds: of a notification's first step since `t0` (epoch milliseconds), of
    every other since the step before. What is not known is -1 (round, reason, outcome, latency,
    queued) or 0 (attempt, status).
    """
    start = _milliseconds(story.steps[0].at) if story.steps else 0
    receivers, types, reasons = _Names(), _Names(), _Names()
    outcomes = _Names(OUTCOMES)
    notifications: dict[str, list[Any]] = {
        name: [] for name in ("id", "receiver", "type", "round", "outcome", "steps")
    }
    steps: dict[str, list[int]] = {
        name: []
        for name in ("dt", "kind", "attempt", "outcome", "status", "reason", "latency", "queued")
    }
    for receiver in story.receivers:
        for notification in receiver.notifications:
            notifications["id"].append(notification.notification_id or "")
            notifications["receiver"].append(receivers.number(receiver.receiver_uuid))
            notifications["type"].append(types.number(notification.notification_type))
            notifications["round"].append(_or(notification.round, -1))
            notifications["outcome"].append(outcomes.number(notification.outcome))
            told = tuple(_without_repeats(notification.steps))
            notifications["steps"].append(len(told))
            before = start
            for step in told:
                at = _milliseconds(step.at)
                steps["dt"].append(at - before)
                before = at
                _add_step(steps, step, outcomes, reasons)
    return {
        "training": story.training_uuid,
        "made_at": _milliseconds(made_at),
        "note": note or "",
        "t0": start,
        "receivers": receivers.names,
        "names": [name(uuid) or "" for uuid in receivers.names],
        "types": types.names,
        "outcomes": outcomes.names,
        "reasons": reasons.names,
        "notifications": notifications,
        "steps": steps,
    }


def _without_repeats(steps: Iterable[Step]) -> Iterator[Step]:
    """The steps but for what was built again: it is not sent, and would stretch the line."""
    built = False
    for step in steps:
        if step.kind is not StepKind.BUILT or not built:
            yield step
        built = built or step.kind is StepKind.BUILT


def _add_step(columns: dict[str, list[int]], step: Step, outcomes: _Names, reasons: _Names) -> None:
    columns["kind"].append(_KINDS[step.kind])
    columns["attempt"].append(_or(step.attempt, 0))
    columns["outcome"].append(outcomes.number(step.outcome) if step.outcome else -1)
    columns["status"].append(_or(step.status_code, 0))
    columns["reason"].append(reasons.number(step.reason) if step.reason else -1)
    columns["latency"].append(_or(step.latency_ms, -1))
    columns["queued"].append(_or(step.queued_ms, -1))


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def _milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // (_EPOCH.resolution * 1000)
