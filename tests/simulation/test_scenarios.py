"""Runs that are hard to get right, one by one: whom a notice concerns, and where it goes."""

import pytest

from tests.simulation.faults import Fault, Kind, Occasion, Outage
from tests.simulation.invariants import check
from tests.simulation.plans import (
    DEAD,
    FLAKY,
    HEALTHY,
    MAILBOXES,
    SILENT,
    Action,
    Plan,
    Stamps,
    Step,
    rejecting,
)
from tests.simulation.receivers import Behaviour, Mail, Reply
from tests.simulation.scenario import LOCAL, Scenario, run

A = Action
HOUR = 3600.0
DEAD_AFTER_THE_START = Behaviour((Reply(), *[Reply(status=None, seconds=0.001)] * 6, Reply()))

SILENT_AFTER_THE_START = Behaviour((Reply(), Reply(None, trouble="timeout", seconds=1000.0)))


def steps(*these: tuple[float, Action] | tuple[float, Action, int]) -> tuple[Step, ...]:
    """Of the first training: after how long, what, with which participant."""
    return tuple(Step(after, action, 0, *rest) for after, action, *rest in these)


def scenario(plan: Plan, *these: tuple[float, Action] | tuple[float, Action, int]) -> Scenario:
    return Scenario(plans=(plan,), steps=steps((0.5, A.START), *these))


def dead_then_moved(policy: str, *, joined_at: bool = True) -> Plan:
    return Plan((DEAD, HEALTHY, HEALTHY), policy, moved=HEALTHY, joined_at=joined_at)


def stamps(plan: Plan, how: Stamps) -> Plan:
    return Plan(**{**vars(plan), "stamps": how})


MANY = Plan((HEALTHY,) * 9, policy="quorum")
BARE = Plan((HEALTHY,) * 3, joined_at=False, last_update=False, started_at=False)
LATE = Plan((HEALTHY,) * 3, late_joiners="current_round")
REJOINING = (
    *((5.0, A.LEAVE), (1.0, A.JOIN), (5.0, A.REJOIN)),
    *((0.1, A.OVERWRITE), (9.0, A.NEXT_ROUND)),
)

RUNS = {
    # Where to
    "an endpoint is corrected while a notice is retried, strict": scenario(
        dead_then_moved("strict"), (8.0, A.MOVE), (100.0, A.NEXT_ROUND)
    ),
    "an endpoint is corrected while a notice is retried, quorum": scenario(
        dead_then_moved("quorum"), (8.0, A.MOVE), (100.0, A.NEXT_ROUND)
    ),
    "the actor's endpoint is corrected": scenario(
        Plan((HEALTHY,) * 2, actor=DEAD), (1.0, A.FINISH), (8.0, A.MOVE_ACTOR)
    ),
    "the actor takes part and moves": scenario(
        Plan((FLAKY, HEALTHY), actor_takes_part=True),
        *((1.0, A.MOVE), (1.0, A.FINISH), (1.0, A.MOVE), (0.5, A.MOVE_ACTOR), (30.0, A.LEAVE)),
    ),
    # Memberships
    "removed and added again elsewhere while a notice is retried": scenario(
        dead_then_moved("strict"), (8.0, A.LEAVE), (1.0, A.JOIN), (100.0, A.NEXT_ROUND)
    ),
    "removed and added again elsewhere, without joined_at": scenario(
        dead_then_moved("quorum", joined_at=False), (8.0, A.LEAVE), (1.0, A.JOIN)
    ),
    "removed and added again at once": scenario(
        dead_then_moved("quorum"), (8.0, A.REJOIN), (100.0, A.NEXT_ROUND)
    ),
    "an item is put over the old one": scenario(
        dead_then_moved("strict"), (8.0, A.OVERWRITE), (100.0, A.NEXT_ROUND)
    ),
    "leaves and joins again without joined_at": scenario(
        BARE, (5.0, A.LEAVE), (5.0, A.JOIN), (5.0, A.NEXT_ROUND), (400.0, A.REJOIN)
    ),
    "removed during its last attempt, strict": scenario(
        Plan((SILENT_AFTER_THE_START, HEALTHY, HEALTHY), "strict"), (133.0, A.LEAVE)
    ),
    "replaced before the event of its failure comes, strict": Scenario(
        plans=(dead_then_moved("strict"),),
        steps=steps((0.5, A.START), (82.0, A.LEAVE), (1.0, A.JOIN)),
        faults=tuple(Fault(Occasion.EVENT, number, Kind.DELAYED, 1) for number in range(12)),
    ),
    "replaced, and the event of its failure comes again, quorum": Scenario(
        plans=(dead_then_moved("quorum"),),
        steps=steps((0.5, A.START), (120.0, A.JOIN)),
        faults=tuple(Fault(Occasion.EVENT, number, Kind.REPEATED, 3) for number in range(12)),
    ),
    "its clock is two hours ahead, and it rejects": scenario(
        Plan((rejecting(), HEALTHY), clock=2 * HOUR), (5.0, A.NEXT_ROUND)
    ),
    "joins again, and rejects": scenario(
        Plan((rejecting(first=2), HEALTHY), clock=2 * HOUR),
        *((5.0, A.REJOIN), (5.0, A.NEXT_ROUND), (5.0, A.NEXT_ROUND)),
    ),
    # Ends
    "finished, and cleaned up at once": scenario(MANY, (5.0, A.FINISH_AND_CLEAN)),
    "failed, and cleaned up at once": scenario(MANY, (5.0, A.FAIL_AND_CLEAN)),
    "leaves just before the end": scenario(MANY, (5.0, A.LEAVE), (0.01, A.FINISH)),
    "leaves just after the end": scenario(MANY, (5.0, A.FINISH), (0.01, A.LEAVE)),
    "leaves long after the end": scenario(MANY, (5.0, A.FINISH), (HOUR, A.LEAVE)),
    "rejects in the last round, which ends": scenario(
        Plan((rejecting(), HEALTHY)), (0.45, A.FINISH)
    ),
    "deleted while it runs": scenario(MANY, (5.0, A.DELETE), (1.0, A.LEAVE)),
    "deleted after it was completed": scenario(MANY, (5.0, A.FINISH), (1.0, A.DELETE)),
    "deleted after it has failed": scenario(MANY, (5.0, A.FAIL), (1.0, A.DELETE), (1.0, A.LEAVE)),
    "an item expires while it runs": scenario(MANY, (5.0, A.EXPIRE), (1.0, A.NEXT_ROUND)),
    # Runs
    "restarted with the same participants": scenario(
        MANY, (5.0, A.FAIL), (1.0, A.RESTART), (5.0, A.NEXT_ROUND)
    ),
    "restarted while a notice of the run before is retried": scenario(
        Plan((DEAD_AFTER_THE_START, HEALTHY), "strict"), (10.0, A.FAIL), (1.0, A.RESTART)
    ),
    "restarted while a notice of the run before is retried, without started_at": scenario(
        Plan((DEAD_AFTER_THE_START, HEALTHY), "strict", started_at=False),
        *((10.0, A.FAIL), (1.0, A.RESTART)),
    ),
    "deleted and made again": scenario(MANY, (5.0, A.DELETE), (5.0, A.CREATE)),
    "deleted and made again at once, without joined_at": scenario(
        BARE, (5.0, A.DELETE), (0.0, A.CREATE), (5.0, A.NEXT_ROUND)
    ),
    "joins during ERROR, long before it goes on": scenario(
        MANY,
        *((5.0, A.LEAVE, 1), (5.0, A.FAIL), (5.0, A.JOIN, 1), (1.0, A.TOUCH), (600.0, A.RESUME)),
    ),
    "joins during ERROR, just before it goes on": scenario(
        MANY, (5.0, A.LEAVE, 1), (5.0, A.FAIL), (5.0, A.JOIN, 1), (0.01, A.RESUME)
    ),
    "a start that ERROR overtakes, and it goes on": scenario(
        MANY, (5.0, A.LEAVE), (5.0, A.JOIN), (0.05, A.FAIL), (5.0, A.RESUME)
    ),
    "goes on after COMPLETED": scenario(MANY, (5.0, A.FINISH), (5.0, A.JOIN), (5.0, A.RESUME)),
    "fails before it has begun, and goes on": Scenario(
        plans=(MANY,), steps=steps((0.5, A.FAIL), (5.0, A.RESUME), (5.0, A.NEXT_ROUND))
    ),
    "begins with another kind of round": Scenario(
        plans=(MANY,), steps=steps((0.5, A.SWAG), (5.0, A.MODEL_TEST), (5.0, A.NEXT_ROUND))
    ),
    "round zero again and again": scenario(
        BARE, *((0.3, A.RESTART),) * 4, (5.0, A.FINISH), (0.1, A.RESTART)
    ),
    # Who joins in the moment of a change
    "joins just after a round": scenario(
        MANY, (5.0, A.LEAVE), (5.0, A.NEXT_ROUND), (0.01, A.JOIN), (0.01, A.NEXT_ROUND)
    ),
    "joins just after a round, its time without a zone": scenario(
        stamps(MANY, Stamps.NAIVE), (5.0, A.LEAVE), (5.0, A.NEXT_ROUND), (0.01, A.JOIN)
    ),
    "joins just after a round, its time in seconds": scenario(
        stamps(MANY, Stamps.SECONDS), (5.0, A.LEAVE), (5.0, A.NEXT_ROUND), (0.01, A.JOIN)
    ),
    "joins just after a round, its time not readable": scenario(
        stamps(MANY, Stamps.WORDS), (5.0, A.LEAVE), (5.0, A.NEXT_ROUND), (0.01, A.JOIN)
    ),
    "joins just after a round, its clock two hours ahead": scenario(
        Plan((HEALTHY,) * 9, clock=2 * HOUR),
        *((5.0, A.LEAVE), (5.0, A.NEXT_ROUND), (0.01, A.JOIN), (HOUR, A.NEXT_ROUND)),
    ),
    "joins just after a round, its clock four minutes behind": scenario(
        Plan((HEALTHY,) * 9, clock=-240.0),
        *((5.0, A.LEAVE), (5.0, A.NEXT_ROUND), (0.01, A.JOIN), (0.3, A.TOUCH)),
    ),
    "joins again in the round that it was told": scenario(LATE, *REJOINING),
    "joins again in the round that it was told, without joined_at": scenario(
        Plan(**{**vars(LATE), "joined_at": False}), *REJOINING
    ),
    # Readable or not
    "the options cannot be read": scenario(
        MANY, (5.0, A.SPOIL_OPTIONS), (1.0, A.NEXT_ROUND), (1.0, A.SPOIL_OPTIONS), (1.0, A.SWAG)
    ),
    "a start that cannot be read": Scenario(
        plans=(MANY,),
        steps=steps((0.5, A.BREAK), (0.5, A.START), (1.0, A.JOIN), (5.0, A.MEND), (1.0, A.FINISH)),
    ),
    "a round that cannot be read": scenario(
        MANY, (5.0, A.BREAK), (1.0, A.NEXT_ROUND), (5.0, A.MEND), (5.0, A.NEXT_ROUND)
    ),
    "a deletion of what cannot be read": scenario(MANY, (5.0, A.BREAK), (5.0, A.DELETE)),
    "a participant that cannot be read, and is mended": scenario(
        Plan((HEALTHY,) * 4, policy="quorum"),
        *((5.0, A.BREAK_PARTICIPANT), (5.0, A.NEXT_ROUND), (5.0, A.MOVE), (5.0, A.NEXT_ROUND)),
    ),
    "a participant that is mended after the end": scenario(
        Plan((HEALTHY,) * 4, policy="quorum"),
        *((5.0, A.BREAK_PARTICIPANT), (5.0, A.FINISH), (5.0, A.MOVE), (5.0, A.LEAVE)),
    ),
    # Enough
    "the server removes the last participant": scenario(Plan((HEALTHY,)), (5.0, A.LEAVE)),
    "the server removes a required participant": scenario(
        Plan((HEALTHY,) * 3, required=(0,)), (5.0, A.LEAVE)
    ),
    "the last participant expires": scenario(Plan((HEALTHY,)), (5.0, A.EXPIRE)),
    "a start without participants": scenario(Plan(())),
    "unreadable participants do not count": scenario(
        Plan((HEALTHY,) * 2, min_participants=2), (5.0, A.BREAK_PARTICIPANT)
    ),
    "more participants are needed than there are": scenario(Plan((HEALTHY,) * 2), (5.0, A.RAISE)),
    "a removal and a rejection at once": scenario(
        Plan((rejecting(), *(HEALTHY,) * 2), min_participants=2), (0.42, A.LEAVE, 1)
    ),
    "all reject at once": scenario(Plan((rejecting(),) * 9)),
    "many reject at once": scenario(Plan((*(rejecting(),) * 8, HEALTHY)), (5.0, A.NEXT_ROUND)),
    "two required ones reject at once": scenario(
        Plan((*(rejecting(),) * 2, HEALTHY), required=(0, 1))
    ),
    # Processed again, and late
    "what is read is a second old": scenario(MANY, *((0.25, A.NEXT_ROUND),) * 8),
    "records behind another training's failure come again": Scenario(
        plans=(MANY, MANY),
        steps=(
            *(Step(0.5, A.START, 0), Step(0.0, A.START, 1), Step(5.0, A.NEXT_ROUND, 0)),
            *(Step(0.0, A.LEAVE, 1), Step(0.0, A.NEXT_ROUND, 1), Step(0.0, A.JOIN, 1)),
            *(Step(0.0, A.NEXT_ROUND, 1), Step(0.0, A.FAIL, 1), Step(0.0, A.RESUME, 1)),
        ),
        faults=tuple(
            Fault(Occasion.CALL, number, Kind.REFUSED, 0, "query") for number in range(4, 9)
        ),
    ),
    "an outage longer than a record may be old, then redriven": Scenario(
        plans=(MANY,),
        steps=steps(
            *((0.5, A.START), (600.0, A.JOIN), (60.0, A.NEXT_ROUND), (60.0, A.LEAVE, 1)),
            *((14 * HOUR, A.NEXT_ROUND), (60.0, A.REDRIVE), (60.0, A.NEXT_ROUND)),
        ),
        outages=(Outage("dynamodb", 500.0, 13 * HOUR),),
    ),
    "dead letters of participants redriven long after newer records": scenario(
        Plan((HEALTHY,) * 4, policy="quorum"),
        *((5.0, A.BREAK_PARTICIPANT), (5.0, A.MOVE), (5.0, A.NEXT_ROUND), (HOUR, A.REDRIVE)),
        *((5.0, A.FINISH), (HOUR, A.REDRIVE)),
    ),
    "dead letters of a training redriven after newer records": scenario(
        MANY,
        *((5.0, A.BREAK), (1.0, A.NEXT_ROUND), (5.0, A.MEND), (5.0, A.NEXT_ROUND)),
        *((HOUR, A.REDRIVE), (HOUR, A.NEXT_ROUND)),
    ),
    "the dead letter of a start redriven after newer records": Scenario(
        plans=(MANY,),
        steps=steps(
            *((0.5, A.BREAK), (0.5, A.START), (5.0, A.MEND), (5.0, A.NEXT_ROUND)),
            *((HOUR, A.REDRIVE), (5.0, A.FINISH)),
        ),
    ),
    "an upgrade with messages in the queue": scenario(
        Plan((DEAD, FLAKY, *(HEALTHY,) * 5), policy="quorum"),
        *((8.0, A.UPGRADE), (0.0, A.LEAVE, 2), (1.0, A.JOIN, 2), (30.0, A.NEXT_ROUND)),
        *((30.0, A.JOIN, 2), (5.0, A.REJOIN, 3), (60.0, A.NEXT_ROUND), (5.0, A.FINISH)),
    ),
    "an upgrade between two runs": scenario(
        MANY, (5.0, A.FAIL), (5.0, A.UPGRADE), (5.0, A.RESUME), (5.0, A.NEXT_ROUND)
    ),
    "an upgrade before the end": scenario(MANY, (5.0, A.UPGRADE), (5.0, A.FINISH), (0.1, A.LEAVE)),
}

CHOSEN = Plan((HEALTHY,) * 5, "quorum", selected=(0, 1), settings=True, announce_removals=True)
CROWD = Plan((HEALTHY,) * 12, "quorum", selected=(0, 3, 9), settings=True, announce_removals=True)
RUNS |= {
    f"rounds for some, with settings, and removals are announced, {name}": scenario(
        plan,
        *((5.0, A.NEXT_ROUND), (5.0, A.LEAVE, 0), (5.0, A.SWAG), (0.1, A.JOIN, 0)),
        *((5.0, A.LEAVE, 3), (0.01, A.NEXT_ROUND), (0.01, A.LEAVE, 1), (5.0, A.FINISH)),
    )
    for name, plan in (("small", CHOSEN), ("large", CROWD))
}
RUNS |= (
    {
        f"a mailbox: {mail.value}": Scenario(
            plans=(
                Plan((MAILBOXES[mail], HEALTHY, MAILBOXES[Mail.PROMPT]), policy="quorum"),
                Plan((MAILBOXES[mail], MAILBOXES[Mail.PROMPT]), joined_at=False),
            ),
            steps=(
                *(Step(0.5, A.START, number) for number in range(2)),
                *(Step(60.0, A.NEXT_ROUND, number) for number in range(2)),
                *(
                    Step(5.0, action, number)
                    for action in (A.REJOIN, A.SWAG)
                    for number in range(2)
                ),
                *(Step(9 * HOUR, A.NEXT_ROUND, number) for number in range(2)),
                *(Step(1.0, A.FINISH_AND_CLEAN, number) for number in range(2)),
            ),
        )
        for mail in Mail
    }
    | {
        f"a deadline that is over: {policy}": Scenario(
            plans=(
                Plan(
                    (MAILBOXES[Mail.NEVER], SILENT, HEALTHY, HEALTHY, HEALTHY),
                    policy="quorum",
                    deadline=90,
                    on_deadline=policy,
                ),
            ),
            steps=steps(
                *((0.5, A.START), (5.0, A.REPORT, 2), (5.0, A.REJOIN, 3), (400.0, A.NEXT_ROUND)),
                *((5.0, A.REPORT, 2), (80.0, A.JOIN, 1), (0.5, A.SWAG), (60.0, A.NEXT_ROUND)),
            ),
        )
        for policy in ("event", "error", "remove_unaccepted", "remove_unreported")
    }
    | {
        "moves from its mailbox to an endpoint": scenario(
            Plan((MAILBOXES[Mail.LATE], HEALTHY), policy="quorum", moved=HEALTHY),
            *((5.0, A.MOVE), (5.0, A.NEXT_ROUND), (5.0, A.REJOIN), (5.0, A.FINISH)),
        ),
        "moves from an endpoint to a mailbox while a notice is retried": scenario(
            Plan((DEAD, HEALTHY), policy="quorum", moved=MAILBOXES[Mail.PROMPT]),
            *((8.0, A.MOVE), (60.0, A.NEXT_ROUND), (5.0, A.FINISH)),
        ),
    }
)


@pytest.mark.parametrize("name", RUNS)
def test_it_holds(name: str) -> None:
    check(run(RUNS[name]))


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("name", RUNS)
def test_it_holds_with_other_delays(name: str, seed: int) -> None:
    check(run(Scenario(**{**vars(RUNS[name]), "seed": seed, "parameters": LOCAL})))
