"""Runs of the whole service under faults: what always holds, holds.

`SIMULATION_SCALE` multiplies the number of runs (1 unless set; `make simulate` sets more). All runs
are the same each time, unless `SIMULATION_SEED` is set; Hypothesis then chooses others too.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fl_notifications.notifications.segments import SEGMENTS
from tests.simulation.faults import Storm
from tests.simulation.invariants import check
from tests.simulation.plans import HEALTHY, Action, Plan, Step
from tests.simulation.scenario import A_PAGE_AN_INVOCATION, Scenario, run
from tests.simulation.storms import storm
from tests.simulation.strategies import (
    CHANGES,
    CHOICES,
    EVERYTHING,
    FAILURES,
    MAILS,
    MEMBERSHIPS,
    REPEATS,
    scenarios,
)

SCALE = float(os.environ.get("SIMULATION_SCALE", "1"))
SEED = os.environ.get("SIMULATION_SEED")
STORMS = range(int(SEED or 0), int(SEED or 0) + int(10 * SCALE))

pytestmark = pytest.mark.timeout(600 * max(1, SCALE))


def runs(number: int) -> settings:
    return settings(
        max_examples=max(1, int(number * SCALE)),
        deadline=None,
        # The same runs each time, so that a failure is a change's, not chance's; a failing run is
        # kept as a regression test, not in a database.
        derandomize=SEED is None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=True,
    )


@runs(40)
@given(scenarios(EVERYTHING, faults=False))
def test_without_faults(scenario: Scenario) -> None:
    check(run(scenario))


@runs(120)
@given(scenarios(EVERYTHING))
def test_with_anything_going_wrong(scenario: Scenario) -> None:
    check(run(scenario))


@runs(80)
@given(scenarios(FAILURES))
def test_callbacks_that_come_late_twice_or_half(scenario: Scenario) -> None:
    check(run(scenario))


@runs(80)
@given(scenarios(CHANGES))
def test_changes_that_overtake_each_other(scenario: Scenario) -> None:
    check(run(scenario))


@runs(120)
@given(scenarios(MEMBERSHIPS))
def test_who_leaves_and_joins_again_and_what_begins_again(scenario: Scenario) -> None:
    check(run(scenario))


@runs(60)
@given(scenarios(MAILS))
def test_mailboxes_that_are_emptied_late_twice_or_never(scenario: Scenario) -> None:
    check(run(scenario))


@runs(40)
@given(scenarios(CHOICES))
def test_rounds_for_some_with_settings_and_removals_that_are_announced(scenario: Scenario) -> None:
    check(run(scenario))


@runs(80)
@given(scenarios(REPEATS))
def test_deliveries_that_come_again(scenario: Scenario) -> None:
    check(run(scenario))


def test_ten_thousand_notifications_in_storms_of_faults() -> None:
    notifications = posts = faults = 0
    for seed in STORMS:
        result = run(storm(seed, participants=62))
        try:
            check(result)
        except AssertionError as error:
            error.add_note(f"storm({seed}, participants=60)")
            raise
        notifications += len(result.world.deliveries.accepted)
        posts += len(result.world.receivers.posts)
        faults += len(result.world.faults.struck)
    print(f"{notifications} notifications, {posts} POSTs, {faults} faults")  # noqa: T201
    if SEED is None:
        assert notifications >= 10_000 * min(1, SCALE)
        assert faults >= 500 * min(1, SCALE)


def test_a_fan_out_that_takes_many_invocations_reaches_everybody_whoever_dies() -> None:
    """A million participants in small: an invocation's time is over after a page or two of many."""
    for seed in STORMS:
        result = run(
            Scenario(
                plans=(Plan((HEALTHY,) * 100),),
                steps=(
                    Step(0.5, Action.START),
                    Step(60.0, Action.NEXT_ROUND),
                    Step(60.0, Action.FINISH),
                ),
                storms=(Storm(seed, rate=0.02, ends=600.0),) if seed else (),
                seed=seed,
                build_timeout=A_PAGE_AN_INVOCATION,
            )
        )
        check(result)
        invocations = len(result.world.fan_out.invocations)
        # Some seven in each of 16 segments: the fuller ones take a second try.
        assert invocations > SEGMENTS * 3
        assert any(key[0].startswith("checkpoint#") for key in result.world.ledger.items)


def test_a_run_is_the_same_each_time() -> None:
    first, second = (run(storm(3, participants=8)) for _ in range(2))
    assert [(post.at, post.headers, post.told) for post in first.world.receivers.posts] == [
        (post.at, post.headers, post.told) for post in second.world.receivers.posts
    ]
    assert first.world.trainings.writes == second.world.trainings.writes
