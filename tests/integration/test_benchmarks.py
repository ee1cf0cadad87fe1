"""The benchmarks run: what nobody runs every day breaks unseen."""

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import imports
from benchmarks.measuring import Servers, run_child, servers
from benchmarks.pipeline import ROUND, START


@pytest.fixture(scope="module")
def running() -> Iterator[Servers]:
    with servers() as made:
        yield made


def measured(running: Servers, module: str, *arguments: str) -> dict[str, Any]:
    """What a part of the benchmarks gives, in a process of its own."""
    return run_child(f"benchmarks.{module}", *arguments, environment=running.environment)


@pytest.mark.parametrize("kind", [START, ROUND])
def test_all_handlers_are_measured_and_their_calls_made_again(running: Servers, kind: str) -> None:
    found = measured(running, "pipeline", running.to_json(), kind, "20")
    assert {"build", "deliver"} <= found["handlers"].keys()
    assert all(seconds > 0 for seconds in found["handlers"].values())
    assert found["floor"] > 0
    # A query, two of each of the four calls for ten, and what is written once for the change.
    assert 9 <= found["calls"] <= 14


def test_a_sweep_side_by_side_concludes_each_once_in_ledger_event_deletion_order(
    running: Servers,
) -> None:
    found = measured(running, "sweep", "400", "16")
    assert (found["failed"], found["told"], found["repeated"]) == (400, 400, 0)
    # 400 entries; for each page of up to 25 a query, a read, three of events and a deletion; and
    # the idle sweep.
    assert 400 < found["calls"] < 640


@pytest.mark.parametrize("module", imports.MODULES)
def test_each_function_starts_with_what_the_benchmarks_set(running: Servers, module: str) -> None:
    assert module in measured(running, "imports", module)["modules"]
