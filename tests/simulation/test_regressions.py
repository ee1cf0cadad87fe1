"""Runs that once broke what always holds, as small as they could be made, and close shaves."""

import pytest

from tests.simulation.faults import Fault, Kind, Occasion, Outage
from tests.simulation.invariants import check
from tests.simulation.plans import DEAD, HEALTHY, SILENT, Action, Plan, Step, rejecting
from tests.simulation.receivers import Behaviour, Reply
from tests.simulation.scenario import LOCAL, Parameters, Scenario, run

START = Step(0.5, Action.START)


def bare(*participants: Behaviour, policy: str | None = None) -> Plan:
    """A training without the attributes that are optional."""
    return Plan(participants, policy, joined_at=False, last_update=False)


RUNS = {
    # The record came again after the queue's five minutes, while the first copy still waited: both
    # were in one batch, and the second was judged by what the ledger had said before the first.
    "two copies in one batch, the first one accepted": Scenario(
        plans=(bare(HEALTHY),),
        steps=(START,),
        faults=(Fault(Occasion.CALL, 2, Kind.SLOW, 2),),
        outages=(Outage("dynamodb", 0.0, 600.0),),
    ),
    "two copies in one batch, the first one's attempts used up": Scenario(
        plans=(bare(DEAD),),
        steps=(START,),
        faults=(Fault(Occasion.CALL, 2, Kind.DIE_AFTER),),
        outages=(Outage("sqs", 0.0, 600.0),),
    ),
    "two copies in one batch, with Retry-After": Scenario(
        plans=(
            bare(*(HEALTHY,) * 3),
            bare(*(HEALTHY,) * 3, Behaviour((Reply(), Reply(408, "120")))),
        ),
        steps=(START, Step(0.5, Action.START, 1), *(Step(0.0, Action.NEXT_ROUND),) * 4),
        faults=(
            Fault(Occasion.CHECKPOINT, 0, Kind.REPEATED),
            Fault(Occasion.CHECKPOINT, 16, Kind.REPEATED, 38),
        ),
        batch_size=1,
    ),
    # The ledger's write seemed to fail, the next attempt was told otherwise, and then the first
    # write took effect after all: the ledger said accepted, and the bus rejected.
    "a write of the ledger that takes effect after it has failed": Scenario(
        plans=(bare(Behaviour((Reply(), Reply(), Reply(410), Reply(410)))),),
        steps=(START,),
        faults=(Fault(Occasion.CALL, 10, Kind.LATE, 1),),
        parameters=LOCAL,
    ),
    # The same, though the ledger was tried again at once, and took it: the first write came last.
    "a write of the ledger that takes effect after it was done again": Scenario(
        plans=(bare(Behaviour((Reply(), Reply(None), Reply()))),),
        steps=(START,),
        faults=tuple(
            Fault(Occasion.CALL, number, Kind.LATE, 1, "batch_write_item") for number in (1,)
        ),
        parameters=LOCAL,
    ),
    # The event of an earlier rejection came after the participant had joined again.
    "a late event must not remove who has joined again": Scenario(
        plans=(Plan((rejecting(),), policy="strict"),),
        steps=(START, Step(1.0, Action.NEXT_ROUND), Step(1.0, Action.JOIN)),
        faults=(Fault(Occasion.EVENT, 0, Kind.DELAYED),),
    ),
    "a repeated event must not remove who has joined again": Scenario(
        plans=(Plan((Behaviour((Reply(), Reply(400), Reply())), HEALTHY)),),
        steps=(START, Step(0.4, Action.LEAVE), Step(5.0, Action.JOIN)),
        faults=(
            Fault(Occasion.EVENT, 0, Kind.REPEATED, 2),
            Fault(Occasion.EVENT, 1, Kind.REPEATED, 2),
        ),
    ),
    # A crash between the ledger and the bus: the outcome is told when the message comes again.
    "the outcome of a message whose function died is told": Scenario(
        plans=(bare(HEALTHY),),
        steps=(START, Step(0.0, Action.NEXT_ROUND)),
        faults=(Fault(Occasion.CALL, 13, Kind.DIE_AFTER),),
    ),
    # The training had become unreadable when the callback of its failure came.
    "a callback of an unreadable training is a dead letter": Scenario(
        plans=(bare(DEAD),), steps=(START, Step(0.0, Action.BREAK))
    ),
    # Sixteen notices to a receiver that is down, twenty attempts each: those that are held back are
    # received 190 times, and must not be driven to the dead-letter queue (250) by that.
    "held back behind many attempts": Scenario(
        plans=(Plan((DEAD, HEALTHY), policy="quorum", min_participants=0),),
        steps=(
            START,
            *(Step(1.0, action) for _ in range(8) for action in (Action.LEAVE, Action.JOIN)),
        ),
        parameters=Parameters(20, 1, 10, 180),
    ),
    # The longest attempts, and a visibility timeout that is no longer than the function's.
    "silent receivers and the shortest visibility timeout": Scenario(
        plans=(Plan((*(SILENT,) * 6, *(HEALTHY,) * 6), policy="quorum"),),
        steps=(START, *(Step(20.0, Action.NEXT_ROUND),) * 4, Step(9.0, Action.FINISH)),
        parameters=Parameters(6, 1, 20, 30),
    ),
    # Without `joined_at` the start of the second membership is that of the first.
    "joining again without joined_at": Scenario(
        plans=(bare(DEAD, policy="strict"), bare(HEALTHY)),
        steps=(
            START,
            Step(0.5, Action.START, 1),
            Step(0.0, Action.LEAVE),
            Step(400.0, Action.JOIN),
            Step(0.0, Action.NEXT_ROUND),
        ),
        seed=7,
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_what_once_broke_holds(name: str) -> None:
    check(run(RUNS[name]))
