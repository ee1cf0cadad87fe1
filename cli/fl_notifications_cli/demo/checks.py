"""What must be true when the demo is over."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from standardwebhooks import Webhook, WebhookVerificationError

from fl_notifications.deliveries.signing import receiver_secret
from fl_notifications.trainings.model import Training, TrainingState
from fl_notifications_cli.demo.cast import DEADLINE_SECONDS, FAILURES, Cast, Role
from fl_notifications_cli.demo.record import (
    Entry,
    about,
    accepted,
    attempts,
    told,
)
from fl_notifications_cli.demo.story import (
    ERROR,
    FINISHED,
    REMOVED,
    ROUND_0,
    ROUND_1,
    START,
    SWAG,
    TEST,
)

WHOLE = [START, ROUND_0, ROUND_1, SWAG, TEST, FINISHED]
"""What a participant is told of the whole first training."""

_UNREPORTED = "not reported by the deadline"
_OVERDUE = ("remove_unreported", "then: 1 participants removed")
"""What the log says in the end: that the round is overdue with its policy, and what followed."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that was checked.

    Attributes:
        text: what must be true.
        found: what is so instead; empty if it is true.
    """

    text: str
    found: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is true."""
        return not self.found


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the trainings left behind.

    Attributes:
        cast: who took part.
        quorum_training: the training with a quorum as it is in the table.
        strict_training: the strict one.
        deadline_training: the one with a deadline.
        quorum_participants: who is a participant of the first one.
        strict_participants: who is one of the strict one.
        deadline_participants: who is one of the one with a deadline.
        deadline_removals: who was removed from that one, and why.
        overdue: what the log says of rounds that lasted too long, and of what followed.
        ledger: all entries about them.
        master_secret: that the receivers' secrets are derived from.
        waiting: messages in the queue of deliveries that were not there before.
        new_dead_letters: messages that came into dead-letter queues meanwhile.
        missed: what was waited for in vain.
    """

    cast: Cast
    quorum_training: Training
    strict_training: Training
    deadline_training: Training
    quorum_participants: set[str]
    strict_participants: set[str]
    deadline_participants: set[str]
    deadline_removals: Mapping[str, str]
    overdue: Sequence[str]
    ledger: Sequence[Entry]
    master_secret: str
    waiting: int
    new_dead_letters: int
    missed: Sequence[str]


def checks(seen: Evidence) -> Iterator[Check]:
    """Check everything that the demo shows."""
    for missed in seen.missed:
        yield Check(f"in time: {missed}", "it did not come")
    yield from _quorum(seen)
    yield from _strict(seen)
    yield from _deadline(seen)
    yield from _all(seen)


def _quorum(seen: Evidence) -> Iterator[Check]:
    cast = seen.cast.quorum
    steady = [role for role in cast.roles if role.name.startswith("healthy") or role.name == "slow"]
    flaky, rejecting, late, down = (
        cast.role(name) for name in ("flaky", "rejecting", "late", "down")
    )
    yield _same(
        f"{len(steady)} healthy and slow participants: each of {len(WHOLE)} notifications once,"
        " in order",
        {role.name: (accepted(role), _once(role)) for role in steady},
        {role.name: (WHOLE, True) for role in steady},
    )
    yield _same(
        "the flaky one: the same, each accepted at the third attempt with the same webhook-id",
        (accepted(flaky), set(attempts(flaky))),
        (WHOLE, {FAILURES + 1}),
    )
    firewalled = cast.role("firewalled")
    polls = firewalled.polls.number if firewalled.polls else 0
    yield _same(
        f"the one behind a firewall: the same, fetched from its mailbox in {polls} polls; nobody"
        " has called it",
        (
            accepted(firewalled),
            _once(firewalled),
            {entry.attempts for entry in about(seen.ledger, cast, firewalled)},
        ),
        (WHOLE, True, {0}),
    )
    yield _same(
        "the late one: the start when it joined, and all from the next round on",
        (accepted(late), _once(late)),
        ([WHOLE[0], *WHOLE[2:]], True),
    )
    yield _same(
        "the rejecting one: removed after round 1, told so, and nothing after that",
        (told(rejecting), _once(rejecting), rejecting.participant.uuid in seen.quorum_participants),
        ([START, ROUND_0, ROUND_1, REMOVED], True, False),
    )
    yield _unreachable(
        "the one that is down: every notification failed after all attempts; removed, as the"
        " quorum holds",
        about(seen.ledger, cast, down),
        {"TRAINING_START", "UPDATE_ROUND_START", "CLIENT_REMOVED"},
    )
    yield _same("the actor: told of the end only", told(cast.actor), [FINISHED])
    lasting = {role.participant.uuid for role in cast.roles} - {
        rejecting.participant.uuid,
        down.participant.uuid,
    }
    yield _same(
        f"the table: COMPLETED in round 1, with the {len(lasting)} others as participants",
        (seen.quorum_training.state, seen.quorum_training.round, seen.quorum_participants),
        (TrainingState.COMPLETED, 1, lasting),
    )


def _strict(seen: Evidence) -> Iterator[Check]:
    cast = seen.cast.strict
    down = cast.role("down")
    survivors = [role for role in cast.roles if role is not down]
    yield _same(
        f"strict: {len(survivors)} survivors are told of start, round 0 and the error, in order",
        {role.name: (accepted(role), _once(role)) for role in survivors},
        {role.name: ([START, ROUND_0, ERROR], True) for role in survivors},
    )
    yield _same("strict: the actor is told of the error", told(cast.actor), [ERROR])
    yield _unreachable(
        "strict: the one that is down: every notification failed after all attempts",
        about(seen.ledger, cast, down),
        {"TRAINING_START", "UPDATE_ROUND_START", "TRAINING_ERROR"},
    )
    error = seen.strict_training.error or {}
    yield _same(
        "strict: the table says ERROR, because of whom, and nobody was removed",
        (
            seen.strict_training.state,
            down.participant.uuid in error.values(),
            seen.strict_participants,
        ),
        (TrainingState.ERROR, True, {role.participant.uuid for role in cast.roles}),
    )


def _deadline(seen: Evidence) -> Iterator[Check]:
    cast = seen.cast.deadline
    silent = cast.role("silent")
    chosen, *others = [role for role in cast.roles if role is not silent]
    yield _same(
        f"deadline: after {DEADLINE_SECONDS} s the log says that the round is overdue, and who was"
        " removed",
        [word in said for word, said in zip(_OVERDUE, seen.overdue, strict=False)],
        [True] * len(_OVERDUE),
    )
    yield _same(
        "deadline: the silent one accepted its round and did not report; removed, and told so",
        (
            accepted(silent),
            _once(silent),
            {uuid: _UNREPORTED in reason for uuid, reason in seen.deadline_removals.items()},
        ),
        ([START, ROUND_0, REMOVED], True, {silent.participant.uuid: True}),
    )
    yield _same(
        "selected: round 1 goes to one participant and to nobody else; all that are left are told"
        " of the end",
        {role.name: (accepted(role), _once(role)) for role in (chosen, *others, cast.actor)},
        {
            chosen.name: ([START, ROUND_0, ROUND_1, FINISHED], True),
            **{role.name: ([START, ROUND_0, FINISHED], True) for role in others},
            cast.actor.name: ([FINISHED], True),
        },
    )
    yield _same(
        "deadline: the table says COMPLETED in round 1, without the silent one",
        (seen.deadline_training.state, seen.deadline_training.round, seen.deadline_participants),
        (
            TrainingState.COMPLETED,
            1,
            {role.participant.uuid for role in cast.roles if role is not silent},
        ),
    )


def _all(seen: Evidence) -> Iterator[Check]:
    roles = [role for production in seen.cast.all for role in production.told]
    fetched = sum(len(role.participant.requests) for role in roles if role.polls)
    posted = sum(len(role.participant.requests) for role in roles if not role.polls)
    yield _same(
        f"{posted} POSTs, {fetched} fetched: each signed with its receiver's own secret",
        [problem for role in roles for problem in _unsigned(role, seen.master_secret)],
        [],
    )
    outcomes = Counter(entry.outcome or "open" for entry in seen.ledger)
    said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    yield _same(
        f"{outcomes.total()} notifications: each has its outcome ({said})",
        outcomes["open"],
        0,
    )
    yield _same(
        "nothing is left in the queue, nothing came into the dead-letter queues",
        (seen.waiting, seen.new_dead_letters),
        (0, 0),
    )


def _once(role: Role) -> bool:
    return set(attempts(role)) <= {1}


def _unreachable(text: str, entries: Sequence[Entry], kinds: set[str]) -> Check:
    tries = {entry.attempts for entry in entries}
    found = _same(
        text,
        (sorted(entry.kind for entry in entries), {entry.outcome for entry in entries}),
        (sorted(kinds), {"failed"}),
    )
    if found.holds and len(tries) != 1:
        return Check(text, f"attempts: {sorted(tries)}")
    return found


def _unsigned(role: Role, master_secret: str) -> Iterator[str]:
    webhook = Webhook(receiver_secret(master_secret, role.participant.uuid))
    for request in role.participant.requests:
        try:
            webhook.verify(request.body, dict(request.headers))
        except WebhookVerificationError as error:
            yield f"{role.name}, {request.label}: {error}"


def _same(text: str, found: object, wanted: object) -> Check:
    if found == wanted:
        return Check(text)
    if isinstance(found, dict) and isinstance(wanted, dict):  # the same keys
        wanted = {key: value for key, value in wanted.items() if found[key] != value}
        found = {key: found[key] for key in wanted}
    return Check(text, f"{found!r}, not {wanted!r}")
