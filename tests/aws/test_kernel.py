import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.aws.kernel import (
    Kernel,
    Killed,
    NotModelledError,
    Process,
    SimulatedExecutor,
    SimulatedFuture,
)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(start=0.0)


@pytest.fixture
def process(kernel: Kernel) -> Process:
    return Process(kernel, "process")


def test_sleeping_takes_virtual_time_only(kernel: Kernel, process: Process) -> None:
    woke = []

    def work() -> None:
        kernel.sleep(86_400)
        woke.append(kernel.now)

    kernel.spawn(work, process)
    kernel.run()

    assert woke == [86_400]


def test_things_happen_in_the_order_of_their_times(kernel: Kernel) -> None:
    order: list[int] = []
    for moment in (3, 1, 2, 1):
        kernel.after(moment, lambda moment=moment: order.append(moment))  # type: ignore[misc]

    kernel.run()

    assert order == [1, 1, 2, 3]


def test_running_stops_when_the_time_is_up(kernel: Kernel) -> None:
    order: list[int] = []
    kernel.after(1, lambda: order.append(1))
    kernel.after(3, lambda: order.append(3))

    kernel.run(until=2)

    assert order == [1]
    assert kernel.now == 2


def test_a_cancelled_timer_does_nothing(kernel: Kernel) -> None:
    order: list[int] = []
    kernel.after(1, lambda: order.append(1)).cancel()

    kernel.run()

    assert order == []


def test_what_never_comes_to_rest_is_an_error(kernel: Kernel) -> None:
    def again() -> None:
        kernel.after(1, again)

    again()
    with pytest.raises(AssertionError, match="still busy"):
        kernel.run(max_steps=100)


def test_tasks_take_turns_at_every_wait(kernel: Kernel, process: Process) -> None:
    order: list[str] = []

    def work(name: str) -> Callable[[], None]:
        def steps() -> None:
            for _ in range(2):
                order.append(name)
                kernel.sleep(1)

        return steps

    kernel.spawn(work("a"), process)
    kernel.spawn(work("b"), process)
    kernel.run()

    assert order == ["a", "b", "a", "b"]


def test_a_process_that_is_killed_goes_no_further(kernel: Kernel, process: Process) -> None:
    order: list[str] = []

    def work() -> None:
        order.append("begins")
        try:
            kernel.sleep(10)
        except Exception:  # noqa: BLE001 - as handlers do
            order.append("caught")
        order.append("goes on")

    task = kernel.spawn(work, process)
    kernel.after(5, process.kill)
    kernel.run()

    assert order == ["begins"]
    assert task.killed


def test_a_process_that_is_killed_before_it_began_does_nothing(
    kernel: Kernel, process: Process
) -> None:
    order: list[str] = []
    task = kernel.spawn(lambda: order.append("begins"), process, delay=10)
    kernel.after(5, process.kill)
    kernel.run()

    assert order == []
    assert task.killed


def test_all_tasks_of_a_process_die_with_the_one_that_dies(
    kernel: Kernel, process: Process
) -> None:
    order: list[str] = []

    def dies() -> None:
        kernel.sleep(1)
        process.die()

    def other() -> None:
        kernel.sleep(2)
        order.append("other")

    tasks = [kernel.spawn(dies, process), kernel.spawn(other, process)]
    kernel.run()

    assert order == []
    assert all(task.killed for task in tasks)


def test_what_a_dying_process_still_tries_has_no_effect(kernel: Kernel, process: Process) -> None:
    order: list[str] = []

    def work() -> None:
        try:
            kernel.sleep(10)
        finally:
            process.check()
            order.append("cleaned up")

    kernel.spawn(work, process)
    kernel.after(1, process.kill)
    kernel.run()

    assert order == []


def test_an_error_of_a_task_is_its_result(kernel: Kernel, process: Process) -> None:
    def work() -> None:
        raise ValueError("x")

    task = kernel.spawn(work, process)
    kernel.run()

    assert isinstance(task.error, ValueError)
    assert not task.killed


def test_what_is_not_modelled_stops_the_run(kernel: Kernel, process: Process) -> None:
    def work() -> None:
        raise NotModelledError("x")

    kernel.spawn(work, process)
    with pytest.raises(NotModelledError):
        kernel.run()


def run_in(kernel: Kernel, process: Process, work: Callable[[], Any]) -> Any:
    task = kernel.spawn(work, process)
    kernel.run()
    if task.error is not None:
        raise task.error
    return task.result


def test_the_executor_runs_calls_side_by_side(kernel: Kernel, process: Process) -> None:
    def asleep(seconds: int) -> int:
        kernel.sleep(seconds)
        return seconds

    def work() -> list[int]:
        with SimulatedExecutor(kernel, 3) as executor:
            return list(executor.map(asleep, [3, 1, 2]))

    assert run_in(kernel, process, work) == [3, 1, 2]
    assert kernel.now == 3


def test_the_executor_runs_so_many_at_a_time(kernel: Kernel, process: Process) -> None:
    def work() -> None:
        list(SimulatedExecutor(kernel, 2).map(kernel.sleep, [1, 1, 1]))

    run_in(kernel, process, work)
    assert kernel.now == 2


def test_a_call_in_the_executor_may_raise(kernel: Kernel, process: Process) -> None:
    def fails() -> None:
        raise ValueError("x")

    def work() -> None:
        SimulatedExecutor(kernel, 1).submit(fails).result()

    with pytest.raises(ValueError, match="x"):
        run_in(kernel, process, work)


def test_a_call_that_has_not_begun_can_be_cancelled(kernel: Kernel, process: Process) -> None:
    begun: list[int] = []

    def work() -> bool:
        executor = SimulatedExecutor(kernel, 1)
        executor.submit(kernel.sleep, 1)
        return executor.submit(begun.append, 1).cancel()

    assert run_in(kernel, process, work)
    assert begun == []


def waiting(kernel: Kernel, seconds: list[float], timeout: float | None, *, first: bool) -> Any:
    def work() -> set[int]:
        executor = SimulatedExecutor(kernel, 10)
        futures = [executor.submit(kernel.sleep, each) for each in seconds]
        listed = [future for future in futures if isinstance(future, SimulatedFuture)]
        ended = kernel.wait(listed, timeout, first=first)
        return {futures.index(future) for future in ended}

    return work


@pytest.mark.parametrize(
    ("timeout", "first", "ended", "at"),
    [
        (None, True, {0}, 1),
        (None, False, {0, 1}, 2),
        (0.5, True, set(), 0.5),
        (1.5, False, {0}, 1.5),
    ],
)
def test_waiting_ends_with_the_first_or_all_or_the_timeout(
    kernel: Kernel, process: Process, timeout: float, *, first: bool, ended: set[int], at: float
) -> None:
    task = kernel.spawn(waiting(kernel, [1, 2], timeout, first=first), process)
    moments: list[float] = []
    task.on_done(lambda: moments.append(kernel.now))
    kernel.run()

    assert task.result == ended
    assert moments == [at]


def test_a_wake_up_that_comes_late_does_not_end_a_sleep(kernel: Kernel, process: Process) -> None:
    def work() -> float:
        executor = SimulatedExecutor(kernel, 10)
        futures = [executor.submit(kernel.sleep, 1) for _ in range(3)]
        kernel.wait([f for f in futures if isinstance(f, SimulatedFuture)], None, first=True)
        kernel.sleep(5)
        return kernel.now

    assert run_in(kernel, process, work) == 6


def test_everything_happens_in_one_thread(kernel: Kernel, process: Process) -> None:
    def work() -> Iterator[str]:
        return SimulatedExecutor(kernel, 2).map(lambda _: threading.current_thread().name, range(2))

    names = {threading.current_thread().name}
    assert set(run_in(kernel, process, lambda: list(work()))) == names


def test_killed_is_no_exception_that_handlers_catch() -> None:
    assert not issubclass(Killed, Exception)
    assert not issubclass(NotModelledError, Exception)
