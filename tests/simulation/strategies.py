"""What Hypothesis chooses: the trainings, what happens to them, how receivers answer, the faults."""

from hypothesis import strategies as st

from tests.simulation.faults import KINDS, Fault, Occasion, Outage
from tests.simulation.receivers import Behaviour, Reply
from tests.simulation.scenario import (
    DEAD,
    FLAKY,
    FORBIDDEN,
    HEALTHY,
    SILENT,
    SLOW,
    Action,
    Plan,
    Scenario,
    Step,
    rejecting,
)

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
    st.builds(Behaviour, st.lists(replies, min_size=1, max_size=8).map(tuple)),
)
plans = st.builds(
    Plan,
    participants=st.lists(behaviours, min_size=1, max_size=5).map(tuple),
    policy=st.sampled_from((None, "strict", "quorum")),
    min_participants=st.sampled_from((None, 0, 1, 2, 3)),
    required=st.sampled_from(((), (0,), (0, 1))),
    joined_at=st.booleans(),
    last_update=st.booleans(),
    actor=behaviours,
    actor_takes_part=st.booleans(),
)
PAUSES = (0.0, 0.05, 0.3, 1.0, 5.0, 20.0, 60.0, 290.0, 400.0, 4000.0)
ACTIONS = (
    *(Action.NEXT_ROUND, Action.NEXT_ROUND, Action.JOIN, Action.JOIN, Action.LEAVE, Action.LEAVE),
    *(Action.SWAG, Action.MODEL_TEST, Action.RESUME, Action.FINISH, Action.FAIL, Action.RESET),
    *(Action.START, Action.TOUCH, Action.EXPIRE, Action.MOVE, Action.DELETE, Action.BREAK),
    *(Action.MEND, Action.BREAK_PARTICIPANT, Action.ROTATE),
)
steps = st.lists(
    st.builds(
        Step,
        after=st.sampled_from(PAUSES),
        action=st.sampled_from(ACTIONS),
        training=st.integers(0, 1),
        participant=st.integers(0, 4),
    ),
    max_size=10,
)


@st.composite
def _faults(draw: st.DrawFn) -> Fault:
    occasion = draw(st.sampled_from((*Occasion, Occasion.CALL, Occasion.CALL, Occasion.POST)))
    return Fault(
        occasion,
        number=draw(st.integers(0, 60 if occasion is Occasion.CALL else 20)),
        kind=draw(st.sampled_from(KINDS[occasion])),
        detail=draw(st.integers(0, 255)),
    )


outages = st.builds(
    Outage,
    service=st.sampled_from(("dynamodb", "sqs", "events", "secretsmanager")),
    begins=st.sampled_from((0.0, 1.0, 2.0, 10.0, 100.0)),
    seconds=st.sampled_from((1.0, 30.0, 600.0, 7200.0)),
)


@st.composite
def scenarios(draw: st.DrawFn, *, faults: bool = True, lanes: int | None = None) -> Scenario:
    """A run; it begins with the start of its trainings, as most do."""
    chosen = draw(st.lists(plans, min_size=1, max_size=2))
    begin = [Step(0.5, Action.START, number) for number in range(len(chosen))]
    return Scenario(
        plans=tuple(chosen),
        steps=(*begin, *draw(steps)),
        faults=tuple(draw(st.lists(_faults(), max_size=8))) if faults else (),
        outages=tuple(draw(st.lists(outages, max_size=1))) if faults else (),
        seed=draw(st.integers(0, 1000)),
        shards=draw(st.sampled_from((1, 3))),
        parallelization_factor=lanes,
        partial_resets_retries=draw(st.booleans()),
        batch_size=draw(st.sampled_from((None, 1, 3))),
    )
