"""What the trainings table should say, as the server's own database has it.

A server with a database of its own has two stores that no transaction spans. So it writes, in its
own transaction, one row per training: this is what the table should say. After the commit the row
is carried over (`Reconciler`), and by a command again, until both agree. What counts is the row's
latest version: nothing depends on one call, and what was overtaken is skipped.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fl_notifications.trainings.model import (
    FINAL_STATES,
    RUNNING_STATES,
    Receiver,
    TrainingState,
    Uuid,
)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Member(_Model):
    """One membership of a participant.

    Attributes:
        joined_at: when it joined, ISO 8601; who leaves and joins again has another one.
        model_uuid: the model that it trains, if not the training's.
    """

    message_endpoint: str
    joined_at: str
    model_uuid: Uuid | None = None


class Partly(_Model):
    """A round of which only some participants were told so far, each with a model of its own.

    It is carried over when all are: then everybody's model is known.
    """

    state: TrainingState
    round: int
    told: frozenset[Uuid]


class Desired(_Model):
    """What the trainings table should say of a training.

    Attributes:
        version: grows with each change.
        run: counts how often the training was set back to `INITIAL`.
        resumed: counts how often it went on after its end.
        deleted: whether it should not be there at all.
        participants: by uuid.
        reason: why it is in `ERROR`, if the server has set that.
        partly: see `Partly`.
    """

    training_uuid: Uuid
    version: int = 0
    run: int = 0
    resumed: int = 0
    deleted: bool = False
    state: TrainingState = TrainingState.INITIAL
    round: int = 0
    model_uuid: Uuid
    actor: Receiver
    participants: Mapping[Uuid, Member] = Field(default_factory=dict)
    options: Mapping[str, Any] = Field(default_factory=dict)
    selected: tuple[Uuid, ...] | None = None
    settings: Mapping[str, Any] | None = None
    reason: str | None = None
    partly: Partly | None = None

    @property
    def running(self) -> bool:
        """Whether the training runs."""
        return not self.deleted and self.state in RUNNING_STATES


@dataclass(frozen=True)
class Seen:
    """A training as the server's own database has it.

    Attributes:
        participants: who takes part now.
        models: by participant, of those that train another model than the training's; None if the
            server says so by its announcements only.
        reason: why it is in `ERROR`.
    """

    training_uuid: str
    state: TrainingState
    round: int
    model_uuid: str
    actor: Receiver
    participants: Iterable[Receiver]
    options: Mapping[str, Any]
    models: Mapping[str, str] | None = None
    selected: tuple[str, ...] | None = None
    settings: Mapping[str, Any] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Announced:
    """A round that the server tells by a call, as fl-demonstrator does, and to whom.

    Attributes:
        told: participants.
        model_uuid: the model that these are to train.
    """

    state: TrainingState
    round: int
    told: frozenset[str]
    model_uuid: str


def desired(old: Desired | None, seen: Seen, now: str, *, by_calls: bool = False) -> Desired:
    """What the table should say after a change in the server's own database.

    Args:
        old: what it should have said before; None for a new training.
        seen: the training now.
        now: the time, for who has joined.
        by_calls: whether rounds are told by calls (`announced`), not by state and round alone.

    Returns:
        The old one, if nothing has changed; else with the next version.
    """
    known = {} if old is None else old.participants
    participants = {
        each.uuid: Member(
            message_endpoint=each.message_endpoint,
            joined_at=known[each.uuid].joined_at if each.uuid in known else now,
            model_uuid=_own_model(each.uuid, known, seen),
        )
        for each in seen.participants
    }
    state, round_ = _place(old, seen, by_calls=by_calls)
    ended = old is not None and (old.deleted or old.state in FINAL_STATES)
    new = Desired(
        training_uuid=seen.training_uuid,
        version=0 if old is None else old.version,
        run=_count(old, "run", old is not None and _set_back(old, state)),
        resumed=_count(old, "resumed", ended and state in RUNNING_STATES),
        state=state,
        round=round_,
        model_uuid=seen.model_uuid,
        actor=seen.actor,
        participants=participants,
        options=dict(seen.options),
        selected=seen.selected,
        settings=seen.settings,
        reason=seen.reason if state is TrainingState.ERROR else None,
        partly=old.partly if old is not None and state in RUNNING_STATES else None,
    )
    return _complete(old, new)


def announced(old: Desired, call: Announced) -> Desired:
    """What the table should say after the server has told a round by a call.

    A round that is told to some of the participants only, as daisy-chaining does with a model for
    each, is one when all are told.
    """
    if old.deleted or old.state in FINAL_STATES:
        return old
    partly = old.partly
    here = (call.state, call.round)
    if partly is None or (partly.state, partly.round) != here:
        partly = Partly(state=call.state, round=call.round, told=frozenset())
    own = None if call.model_uuid == old.model_uuid else call.model_uuid
    participants = {
        uuid: member.model_copy(update={"model_uuid": own}) if uuid in call.told else member
        for uuid, member in old.participants.items()
    }
    partly = partly.model_copy(update={"told": partly.told | call.told})
    new = old.model_copy(update={"participants": participants, "partly": partly})
    return _complete(old, new)


def settled(old: Desired) -> Desired:
    """The row without waiting any longer for the rest of a round that was told partly."""
    if old.partly is None:
        return old
    everybody = old.partly.model_copy(update={"told": frozenset(old.participants)})
    return _complete(old, old.model_copy(update={"partly": everybody}))


def gone(old: Desired) -> Desired:
    """What the table should say after the training was deleted."""
    return _complete(old, old.model_copy(update={"deleted": True, "partly": None}))


def _complete(old: Desired | None, new: Desired) -> Desired:
    """Take over a round once all participants were told; count the version if anything changed."""
    partly = new.partly
    if partly is not None and partly.told >= frozenset(new.participants) and new.participants:
        new = new.model_copy(update={"state": partly.state, "round": partly.round, "partly": None})
    if old is not None and new == old:
        return old
    return new.model_copy(update={"version": new.version + 1})


def _place(old: Desired | None, seen: Seen, *, by_calls: bool) -> tuple[TrainingState, int]:
    going_on = old is not None and old.running and seen.state in RUNNING_STATES
    if by_calls and old is not None and going_on:
        return old.state, old.round  # until the next call
    return seen.state, seen.round


def _set_back(old: Desired, state: TrainingState) -> bool:
    return state is TrainingState.INITIAL and (old.deleted or old.state is not state)


def _count(old: Desired | None, name: str, one_more: bool) -> int:  # noqa: FBT001 - private
    return (0 if old is None else int(getattr(old, name))) + one_more


def _own_model(uuid: str, known: Mapping[str, Member], seen: Seen) -> str | None:
    if seen.models is not None:
        return seen.models.get(uuid)
    return known[uuid].model_uuid if uuid in known else None
