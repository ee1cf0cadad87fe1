"""Who takes part in the demo, and in what."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import httpx

from fl_notifications.receiver.forward import Forwarder
from fl_notifications.receiver.mailbox import TIMEOUT_SECONDS, Mailbox
from fl_notifications.trainings.model import Receiver, TrainingOptions
from fl_notifications_cli.participants import (
    Behaviour,
    Participant,
    ParticipantServer,
    always,
    flaky,
    rejecting,
)
from fl_notifications_cli.secret import read_secret
from fl_notifications_cli.stack import Stack

SLOW_SECONDS = 2.0
_BRIDGE_SECONDS = 10.0
FAILURES = 2
REJECTED_ROUND = 1
HEALTHY = 4
SURVIVORS = 2
PROMPT = 2
DEADLINE_SECONDS = 60
"""The shortest that the service takes."""

QUORUM = TrainingOptions.model_validate({"failure_policy": "quorum", "min_participants": 5})
DEADLINE = TrainingOptions.model_validate(
    {
        "failure_policy": "quorum",
        "min_participants": PROMPT,
        "round_deadline_seconds": DEADLINE_SECONDS,
        "on_deadline": "remove_unreported",
    }
)


@dataclass(slots=True, eq=False)  # each its own
class Polls:
    """Requests to a mailbox.

    Attributes:
        number: How many were answered so far.
    """

    number: int = 0

    def count(self, _answer: httpx.Response) -> None:
        """Count one."""
        self.number += 1


@dataclass(frozen=True, slots=True)
class Role:
    """A participant, or the actor of a training.

    Attributes:
        participant: The HTTP server behind it, with all that it got.
        remark: How it behaves, for people.
        down: Whether its server is stopped before anything is sent.
        polls: Of its mailbox, as nobody can call it; None if it is called.
    """

    participant: Participant
    remark: str
    down: bool = False
    polls: Polls | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.participant.name

    @property
    def receiver(self) -> Receiver:
        """What the FL server knows of it."""
        endpoint = "mailbox:" if self.polls else self.participant.message_endpoint
        return Receiver(uuid=self.participant.uuid, message_endpoint=endpoint)


@dataclass(frozen=True, slots=True)
class Production:
    """A training with all that are told of it.

    Attributes:
        title: For people.
        options: Its failure policy, and its deadline.
        actor: Who ordered it.
        roles: The participants.
    """

    title: str
    options: TrainingOptions
    actor: Role
    roles: Sequence[Role]
    training_uuid: str = field(default_factory=lambda: str(uuid4()))

    def role(self, name: str) -> Role:
        """Return the participant of a name."""
        return next(role for role in self.roles if role.name == name)

    @property
    def told(self) -> Sequence[Role]:
        """Participants and actor."""
        return [*self.roles, self.actor]


@dataclass(frozen=True, slots=True)
class Cast:
    """The trainings of the demo.

    Attributes:
        quorum: Goes on without those who reject, or cannot be reached.
        strict: Ends with the first that cannot be reached.
        deadline: Goes on without who has not reported in time; its second round is for a few.
    """

    quorum: Production
    strict: Production
    deadline: Production

    @property
    def all(self) -> Sequence[Production]:
        """All of them."""
        return [self.quorum, self.strict, self.deadline]


@contextmanager
def bridge(url: str, secret: str, participant: Participant) -> Iterator[Polls]:
    """Hand on to a participant what waits in its mailbox, as `receive --forward-to` does.

    Args:
        url: The mailbox's address.
        secret: The participant's.
        participant: Its server, which only this process calls.
    """
    polls = Polls()
    client = httpx.Client(timeout=TIMEOUT_SECONDS, event_hooks={"response": [polls.count]})
    with Mailbox(url, participant.uuid, secret, client=client) as mailbox:
        forward = Forwarder(participant.message_endpoint)
        thread = threading.Thread(target=mailbox.run, args=(forward,), daemon=True)
        thread.start()
        try:
            yield polls
        finally:
            mailbox.stop()
            thread.join(_BRIDGE_SECONDS)
            forward.close()


@contextmanager
def cast(stack: Stack) -> Iterator[Cast]:
    """Start the servers of all trainings; each participant has one of its own.

    Args:
        stack: Where the mailbox is of the one that nobody can call.
    """
    with ExitStack() as servers:

        def behind_a_firewall(name: str) -> Role:
            participant = servers.enter_context(ParticipantServer()).add(name=name)
            secret = read_secret(stack, participant.uuid)
            polls = servers.enter_context(bridge(stack.output("MailboxUrl"), secret, participant))
            return Role(participant, "has a mailbox and the bridge", polls=polls)

        def role(name: str, remark: str, behaviour: Behaviour | None = None) -> Role:
            server = servers.enter_context(ParticipantServer())
            return Role(server.add(behaviour, name=name), remark)

        def down(name: str) -> Role:
            with ParticipantServer() as server:
                participant = server.add(name=name)
            return Role(participant, "nobody listens at its port", down=True)

        quorum = Production(
            title="Quorum",
            options=QUORUM,
            actor=role("actor", "ordered the training"),
            roles=[
                *(role(f"healthy {number + 1}", "accepts") for number in range(HEALTHY)),
                role("slow", f"takes {SLOW_SECONDS:.0f} s", always(after_seconds=SLOW_SECONDS)),
                role("flaky", f"503 {FAILURES} times, then accepts", flaky(FAILURES)),
                role("rejecting", f"400 in round {REJECTED_ROUND}", rejecting(REJECTED_ROUND)),
                behind_a_firewall("firewalled"),
                role("late", "joins when round 0 runs"),
                down("down"),
            ],
        )
        strict = Production(
            title="Strict",
            options=TrainingOptions(),
            actor=role("actor", "ordered the training"),
            roles=[
                *(role(f"survivor {number + 1}", "accepts") for number in range(SURVIVORS)),
                down("down"),
            ],
        )
        deadline = Production(
            title="Deadline",
            options=DEADLINE,
            actor=role("actor", "ordered the training"),
            roles=[
                *(role(f"prompt {number + 1}", "accepts, and reports") for number in range(PROMPT)),
                role("silent", "accepts, and never reports"),
            ],
        )
        yield Cast(quorum, strict, deadline)
