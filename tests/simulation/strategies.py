"""What Hypothesis chooses: trainings, what happens to them, how receivers answer, the faults."""

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.simulation.faults import KINDS, Fault, Occasion, Outage
from tests.simulation.plans import (
    DEAD,
    FLAKY,
    FORBIDDEN,
    HEALTHY,
    MAILBOXES,
    SILENT,
    SLOW,
    Action,
    Plan,
    Stamps,
    Step,
    rejecting,
)
from tests.simulation.receivers import Behaviour, Mail, Reply
from tests.simulation.scenario import A_PAGE_AN_INVOCATION, LARGEST, LOCAL, SMALLEST, Scenario

RETRY_AFTERS = (None, "0", "7", "120", "100000", "Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-5")
TROUBLES = ("connection refused", "connection lost", "tls error", "name not resolved", "timeout")

replies = st.one_of(
    st.builds(
        Reply,
        status=st.sampled_from((200, 202, 204, 301, 400, 404, 408, 425, 429, 500, 501, 503, 505))
        | st.integers(200, 999),
        retry_after=st.sampled_from(RETRY_AFTERS),
        seconds=st.sampled_from((0.05, 0.0, 2.0, 9.9)),
    ),
    st.builds(
        Reply,
        status=st.none(),
        trouble=st.sampled_from(TROUBLES),
        seconds=st.sampled_from((0.0, 3.0, 1000.0)),
    ),
)
behaviours = st.one_of(
    st.just(HEALTHY),
    st.sampled_from((DEAD, SILENT, SLOW, FLAKY, FORBIDDEN, rejecting(), rejecting(first=2))),
    st.sampled_from(tuple(MAILBOXES.values())),
    st.builds(Behaviour, st.lists(replies, min_size=1, max_size=8).map(tuple)),
)
PAUSES = (0.0, 0.05, 0.3, 1.0, 5.0, 20.0, 60.0, 290.0, 400.0, 4000.0)
ACTIONS = (
    *(Action.NEXT_ROUND, Action.NEXT_ROUND, Action.JOIN, Action.JOIN, Action.LEAVE, Action.LEAVE),
    *(Action.SWAG, Action.MODEL_TEST, Action.RESUME, Action.FINISH, Action.FAIL, Action.RESET),
    *(Action.START, Action.TOUCH, Action.EXPIRE, Action.MOVE, Action.DELETE, Action.BREAK),
    *(Action.MEND, Action.BREAK_PARTICIPANT, Action.ROTATE, Action.REJOIN, Action.OVERWRITE),
    *(Action.MOVE_ACTOR, Action.FINISH_AND_CLEAN, Action.FAIL_AND_CLEAN, Action.RESTART),
    *(Action.RAISE, Action.SPOIL_OPTIONS, Action.CREATE, Action.REDRIVE, Action.UPGRADE),
    Action.REPORT,
)
FUNCTIONS = ("BuildNotifications", "DeliverNotification", "CallbackFailure", "Mailbox", "Sweep")
CALLS = (
    "batch_get_item",
    "batch_write_item",
    "change_message_visibility_batch",
    "get_item",
    "put_events",
    "query",
    "send_message_batch",
    "transact_write_items",
    "update_item",
)


@dataclass(frozen=True)
class Focus:
    """Where a search looks closer: what it chooses from.

    Attributes:
        choices: whether trainings have selected participants, settings and announced removals.
    """

    behaviours: st.SearchStrategy[Behaviour] = behaviours
    actions: tuple[Action, ...] = ACTIONS
    pauses: tuple[float, ...] = PAUSES
    occasions: tuple[Occasion, ...] = (*Occasion, Occasion.CALL, Occasion.CALL, Occasion.POST)
    places: tuple[str, ...] = ("", *FUNCTIONS, *CALLS)
    policies: tuple[str | None, ...] = (None, "strict", "quorum")
    outages: bool = True
    choices: bool = False


EVERYTHING = Focus()
MAILS = Focus(
    behaviours=st.sampled_from((*MAILBOXES.values(), HEALTHY)),
    actions=(
        *(Action.NEXT_ROUND, Action.NEXT_ROUND, Action.REJOIN, Action.LEAVE, Action.JOIN),
        *(Action.MOVE, Action.FINISH, Action.RESTART, Action.FAIL, Action.RESUME, Action.ROTATE),
    ),
    pauses=(0.0, 0.3, 1.0, 3.0, 5.0, 60.0, 400.0, 4000.0),
    occasions=(Occasion.CALL, Occasion.CALL, Occasion.INVOKE, Occasion.EVENT, Occasion.DELETE),
    places=("Mailbox", "Sweep", "DeliverNotification", "batch_write_item", "put_events", "query"),
    outages=False,
)
"""Mailboxes whose functions die, and participants that do."""

MEMBERSHIPS = Focus(
    behaviours=st.sampled_from((HEALTHY, HEALTHY, DEAD, FLAKY, rejecting(first=1))),
    actions=(
        *(Action.REJOIN, Action.OVERWRITE, Action.JOIN, Action.LEAVE, Action.MOVE, Action.EXPIRE),
        *(Action.NEXT_ROUND, Action.FAIL, Action.RESUME, Action.RESTART, Action.FINISH),
        *(Action.DELETE, Action.CREATE, Action.RESET, Action.START, Action.FINISH_AND_CLEAN),
        *(Action.BREAK_PARTICIPANT, Action.BREAK, Action.MEND, Action.REDRIVE),
    ),
    pauses=(0.0, 0.01, 0.1, 0.3, 1.0, 5.0, 20.0, 60.0, 400.0),
    occasions=(Occasion.CALL, Occasion.INVOKE, Occasion.CHECKPOINT, Occasion.EVENT),
    places=("BuildNotifications", "CallbackFailure", "query", "send_message_batch", "put_item"),
    outages=False,
)
"""Who leaves and joins again, and runs that end and begin again, at any moment."""

FAILURES = Focus(
    behaviours=st.sampled_from((HEALTHY, DEAD, rejecting(), rejecting(first=1), rejecting(503))),
    actions=(Action.NEXT_ROUND, Action.SWAG, Action.JOIN, Action.JOIN, Action.LEAVE, Action.RESUME),
    pauses=(0.0, 0.05, 0.1, 0.3, 1.0, 20.0, 60.0, 400.0),
    occasions=(Occasion.EVENT, Occasion.EVENT, Occasion.CALL, Occasion.INVOKE),
    places=("CallbackFailure", "update_item", "transact_write_items"),
    policies=("strict", "quorum", "quorum"),
    outages=False,
)
"""Rejecting and unreachable receivers, events that come twice and late, callbacks that die."""

CHANGES = Focus(
    behaviours=st.sampled_from((HEALTHY, HEALTHY, SLOW, FLAKY)),
    actions=(
        Action.NEXT_ROUND,
        Action.JOIN,
        Action.LEAVE,
        Action.LEAVE,
        Action.FINISH,
        Action.MOVE,
    ),
    pauses=(0.0, 0.01, 0.05, 0.2, 1.0, 5.0),
    occasions=(Occasion.CALL, Occasion.INVOKE, Occasion.CHECKPOINT),
    places=("BuildNotifications", "query", "send_message_batch", "get_item"),
    outages=False,
)
"""Many changes in a short time, and a builder that is in trouble."""

CHOICES = Focus(
    behaviours=st.sampled_from((HEALTHY, HEALTHY, SLOW, FLAKY, rejecting(first=1))),
    actions=(
        *(Action.NEXT_ROUND, Action.NEXT_ROUND, Action.SWAG, Action.MODEL_TEST, Action.JOIN),
        *(Action.LEAVE, Action.LEAVE, Action.REJOIN, Action.OVERWRITE, Action.MOVE),
        *(Action.FAIL, Action.RESUME, Action.FINISH, Action.EXPIRE),
    ),
    pauses=(0.0, 0.01, 0.3, 1.0, 5.0, 60.0, 400.0),
    occasions=(Occasion.CALL, Occasion.INVOKE, Occasion.CHECKPOINT),
    places=("BuildNotifications", "FanOut", "query", "send_message_batch", "batch_get_item"),
    policies=("quorum",),
    outages=False,
    choices=True,
)
"""Rounds for some participants, with settings, and removals that the others are told."""

REPEATS = Focus(
    behaviours=st.sampled_from((HEALTHY, SLOW, FLAKY, DEAD, SILENT)),
    actions=(Action.NEXT_ROUND, Action.JOIN, Action.FINISH, Action.TOUCH),
    pauses=(0.0, 1.0, 60.0, 290.0, 400.0),
    occasions=(Occasion.CHECKPOINT, Occasion.DELETE, Occasion.CALL, Occasion.POST, Occasion.INVOKE),
    places=("DeliverNotification", "batch_write_item", "put_events", "batch_get_item"),
)
"""Deliveries that come again, within the queue's five minutes and after them."""


@st.composite
def _faults(draw: st.DrawFn, focus: Focus) -> Fault:
    occasion = draw(st.sampled_from(focus.occasions))
    places = focus.places
    if occasion is Occasion.INVOKE:
        places = tuple(place for place in places if place in {"", *FUNCTIONS}) or ("",)
    elif occasion is not Occasion.CALL:
        places = ("",)
    where = draw(st.sampled_from(places))
    most = 60 if occasion is Occasion.CALL and not where else 15
    return Fault(
        occasion,
        number=draw(st.integers(0, most)),
        kind=draw(st.sampled_from(KINDS[occasion])),
        detail=draw(st.integers(0, 255)),
        where=where,
    )


outages = st.builds(
    Outage,
    service=st.sampled_from(("dynamodb", "sqs", "events", "secretsmanager")),
    begins=st.sampled_from((0.0, 1.0, 2.0, 10.0, 100.0)),
    seconds=st.sampled_from((1.0, 30.0, 600.0, 7200.0)),
)


@st.composite
def _plans(draw: st.DrawFn, focus: Focus) -> Plan:
    return Plan(
        participants=tuple(draw(st.lists(focus.behaviours, min_size=1, max_size=5))),
        policy=draw(st.sampled_from(focus.policies)),
        min_participants=draw(st.sampled_from((None, 0, 1, 2, 3))),
        required=draw(st.sampled_from(((), (), (0,), (0, 1)))),
        joined_at=draw(st.booleans()),
        last_update=draw(st.booleans()),
        actor=draw(focus.behaviours),
        actor_takes_part=draw(st.booleans()),
        started_at=draw(st.sampled_from((True, True, False))),
        clock=draw(st.sampled_from((0.0, 0.0, 0.0, 7200.0, 20.0, -240.0, -7200.0))),
        stamps=draw(st.sampled_from((*[Stamps.FULL] * 4, *Stamps))),
        deadline=draw(st.sampled_from((None, None, 60, 300))),
        on_deadline=draw(
            st.sampled_from((None, "event", "error", "remove_unaccepted", "remove_unreported"))
        ),
        late_joiners=draw(st.sampled_from((None, "current_round"))),
        selected=draw(st.sampled_from((None, (), (0,), (0, 1, 2)))) if focus.choices else None,
        settings=focus.choices and draw(st.booleans()),
        announce_removals=focus.choices and draw(st.booleans()),
        moved=draw(st.sampled_from((None, HEALTHY, MAILBOXES[Mail.PROMPT]))),
    )


@st.composite
def scenarios(draw: st.DrawFn, focus: Focus = EVERYTHING, *, faults: bool = True) -> Scenario:
    """A run; it begins with the start of its trainings, as most do."""
    chosen = draw(st.lists(_plans(focus), min_size=1, max_size=2))
    begin = [Step(0.5, Action.START, number) for number in range(len(chosen))]
    step = st.builds(
        Step,
        after=st.sampled_from(focus.pauses),
        action=st.sampled_from(focus.actions),
        training=st.integers(0, len(chosen) - 1),
        participant=st.integers(0, 4),
    )
    return Scenario(
        plans=tuple(chosen),
        steps=(*begin, *draw(st.lists(step, max_size=10))),
        faults=tuple(draw(st.lists(_faults(focus), max_size=8))) if faults else (),
        outages=tuple(draw(st.lists(outages, max_size=1))) if faults and focus.outages else (),
        seed=draw(st.integers(0, 1000)),
        shards=draw(st.sampled_from((1, 3))),
        partial_resets_retries=draw(st.booleans()),
        batch_size=draw(st.sampled_from((None, 1, 3))),
        build_timeout=draw(st.sampled_from((None, A_PAGE_AN_INVOCATION))),
        parameters=draw(st.sampled_from((*(None,) * 7, LOCAL, SMALLEST, LARGEST))),
    )
