"""The story of a training's notifications: steps put together by notification and receiver.

Pure: steps in, stories out.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fl_notifications_cli.tracing.steps import (
    OF_TRAININGS,
    TYPE_UNKNOWN,
    Step,
    StepKind,
    in_order,
    spelled,
)

UNDECIDED = "undecided"
"""Shown for a notification that has no outcome yet."""

UNSUCCESSFUL = frozenset({"rejected", "failed"})
"""The outcomes that somebody has to look at."""

OUTCOMES = ("failed", "rejected", UNDECIDED, TYPE_UNKNOWN, "superseded", "accepted")
"""All outcomes, the worst first."""


@dataclass(frozen=True, slots=True)
class NotificationStory:
    """One notification to one receiver, from being built to its callback.

    Args:
        steps: its steps in order of time; at least one.
    """

    steps: tuple[Step, ...]

    @property
    def notification_id(self) -> str | None:
        """The notification's id."""
        return self.steps[0].notification_id

    @property
    def notification_type(self) -> str | None:
        """Its type, as on the wire."""
        return next((s.notification_type for s in self.steps if s.notification_type), None)

    @property
    def receiver_uuid(self) -> str | None:
        """Who gets it."""
        return next((s.receiver_uuid for s in self.steps if s.receiver_uuid), None)

    @property
    def round(self) -> int | None:
        """The round that it announces, if it announces one."""
        return next((s.round for s in self.steps if s.round is not None), None)

    @property
    def conclusion(self) -> Step | None:
        """The step that decided it.

        A crash may repeat a step: the last one counts. Where the window that was read begins
        after the conclusion, the callback's line still knows the outcome.
        """
        for kind in (StepKind.CONCLUDED, StepKind.CALLED_BACK):
            for step in reversed(self.steps):
                if step.kind is kind and step.outcome:
                    return step
        return None

    @property
    def outcome(self) -> str:
        """How it ended, or `undecided`."""
        return (self.conclusion and self.conclusion.outcome) or UNDECIDED

    @property
    def why(self) -> str:
        """Why it ended so, as far as the log says: the last status or the reason, or nothing."""
        ended = self.conclusion
        if ended is None or ended.kind is not StepKind.CONCLUDED:
            return ""
        if ended.status_code is not None and ended.reason in (
            None,
            f"answered {ended.status_code}",
        ):
            return f"HTTP {ended.status_code}"
        return ended.reason or ""

    @property
    def follow_up(self) -> str | None:
        """What its callback did, if the log says so."""
        return next(
            (s.reason for s in reversed(self.steps) if s.kind is StepKind.CALLED_BACK and s.reason),
            None,
        )

    @property
    def attempts(self) -> int:
        """How many POSTs the log shows."""
        return sum(step.kind is StepKind.ATTEMPTED for step in self.steps)


@dataclass(frozen=True, slots=True)
class ReceiverStory:
    """All that a training sent to one receiver.

    Args:
        receiver_uuid: the receiver, None if lines did not name one.
        steps: all steps in order of time.
        notifications: the notifications, in the order in which they begin.
    """

    receiver_uuid: str | None
    steps: tuple[Step, ...]
    notifications: tuple[NotificationStory, ...]

    @property
    def outcomes(self) -> Counter[str]:
        """How many notifications ended how."""
        return Counter(notification.outcome for notification in self.notifications)

    @property
    def needs_a_look(self) -> bool:
        """Whether something has not arrived."""
        return any(notification.outcome != "accepted" for notification in self.notifications)

    @property
    def retried(self) -> bool:
        """Whether something took more than one attempt."""
        return any(notification.attempts > 1 for notification in self.notifications)


@dataclass(frozen=True, slots=True)
class TrainingStory:
    """All that is known about the notifications of one training.

    Args:
        training_uuid: the training.
        steps: all steps in order of time; may be empty.
        receivers: one story for each receiver, in the order in which they appear.
        unreadable: what could not be read, so that nobody was told, in order of time.
        overdue: rounds that lasted longer than their deadline, and what followed, likewise.
    """

    training_uuid: str
    steps: tuple[Step, ...]
    receivers: tuple[ReceiverStory, ...]
    unreadable: tuple[Step, ...] = ()
    overdue: tuple[Step, ...] = ()

    @property
    def notifications(self) -> tuple[NotificationStory, ...]:
        """All notifications, receiver by receiver."""
        return tuple(n for receiver in self.receivers for n in receiver.notifications)

    @property
    def outcomes(self) -> Counter[str]:
        """How many notifications ended how."""
        return Counter(notification.outcome for notification in self.notifications)

    @property
    def failures(self) -> tuple[NotificationStory, ...]:
        """What was rejected or failed, in order of time."""
        return tuple(
            sorted(
                (n for n in self.notifications if n.outcome in UNSUCCESSFUL),
                key=lambda n: n.steps[-1].at,
            )
        )


def tell(training_uuid: str, steps: Iterable[Step]) -> TrainingStory:
    """Put the steps of one training together.

    Args:
        training_uuid: the training.
        steps: its steps, in any order.
    """
    ordered = in_order(steps)
    by_notification: dict[tuple[str | int | None, ...], list[Step]] = {}
    for step in ordered:
        if step.kind in OF_TRAININGS:
            continue
        by_notification.setdefault(step.notification_key, []).append(step)
    by_receiver: dict[str | None, list[NotificationStory]] = {}
    for group in by_notification.values():
        notification = NotificationStory(tuple(group))
        by_receiver.setdefault(notification.receiver_uuid, []).append(notification)
    receivers = tuple(
        ReceiverStory(
            receiver,
            in_order(step for notification in notifications for step in notification.steps),
            tuple(notifications),
        )
        for receiver, notifications in by_receiver.items()
    )
    unreadable, overdue = (
        tuple(step for step in ordered if step.kind is kind)
        for kind in (StepKind.UNREADABLE, StepKind.OVERDUE)
    )
    return TrainingStory(training_uuid, ordered, receivers, unreadable, overdue)


def tell_all(steps: Iterable[Step]) -> list[TrainingStory]:
    """Put the steps of any trainings together, each by itself, in the order in which they begin."""
    by_training: dict[str, list[Step]] = {}
    for step in in_order(steps):
        by_training.setdefault(spelled(step.training_uuid), []).append(step)
    # As the log spells it, which is what the FL server knows it by.
    return [tell(own[0].training_uuid, own) for own in by_training.values()]
