"""Virtual time, and processes that run in it, switch at every call, and can be killed.

One OS thread. Every task is a greenlet; it runs until it sleeps, waits or ends, and then the next
thing in the order of virtual time runs. So a run is a pure function of its inputs.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from heapq import heappop, heappush
from typing import Any, override

from greenlet import getcurrent, greenlet


class Killed(BaseException):
    """What unwinds a task whose process died. Not an Exception: no handler may catch it."""


class NotModelledError(BaseException):
    """The code under test asked for something that the stand-ins don't know.

    Not an Exception: the code under test would take it for a fault and carry on.
    """


class Timer:
    """Something that is to happen at a moment, unless it is cancelled."""

    __slots__ = ("action", "when")

    def __init__(self, when: float, action: Callable[[], object]) -> None:
        self.when = when
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        self.action = None


class Kernel:
    """The clock, what is to happen and when, and the tasks."""

    def __init__(self, start: float = 1_750_000_000.0) -> None:
        self.now = start
        self.start = start
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0
        self.processes = 0
        self.hub = getcurrent()
        self._broken: BaseException | None = None
        self.current: Task | None = None

    def at(self, when: float, action: Callable[[], object]) -> Timer:
        # Times are whole tenths of a millisecond, so that they stay equal when they are converted.
        timer = Timer(max(round(when, 4), self.now), action)
        self._count += 1
        heappush(self._heap, (timer.when, self._count, timer))
        return timer

    def after(self, delay: float, action: Callable[[], object]) -> Timer:
        return self.at(self.now + delay, action)

    def run(self, until: float = float("inf"), *, max_steps: int = 10_000_000) -> None:
        """Let things happen until nothing is left to happen, or the time is up.

        Raises:
            AssertionError: if it does not come to rest within that many steps.
        """
        heap = self._heap
        for _ in range(max_steps):
            if not heap or heap[0][0] > until:
                break
            when, _, timer = heappop(heap)
            action, timer.action = timer.action, None
            if action is None:
                continue
            self.now = when
            action()
            if self._broken is not None:
                raise self._broken
        else:
            raise AssertionError(f"still busy after {max_steps} steps")
        if until != float("inf"):
            self.now = max(self.now, until)

    def spawn(self, function: Callable[[], Any], process: "Process", delay: float = 0.0) -> "Task":
        """Start a task of a process a little later."""
        task = Task(self, function, process)
        process.tasks[task] = None
        task.wake = self.after(delay, task.resume)
        return task

    def sleep(self, seconds: float) -> None:
        """Called by a task: let virtual time pass for it."""
        task = self.task()
        task.wake = timer = self.after(seconds, task.resume)
        while timer.action is not None:
            self.switch(task)

    def wait(
        self, futures: "Sequence[SimulatedFuture[Any]]", timeout: float | None, *, first: bool
    ) -> "set[SimulatedFuture[Any]]":
        """Called by a task: wait for all futures, or the first of them, but not for ever."""
        task = self.task()
        task.check()
        timer = None if timeout is None else self.after(timeout, task.resume)
        for future in futures:
            future.wake_up(task)
        while True:
            ended = {future for future in futures if future.done()}
            timed_out = timer is not None and timer.action is None
            if len(ended) == len(futures) or (first and ended) or timed_out:
                break
            self.switch(task)
        if timer is not None:
            timer.cancel()
        for future in futures:
            future.leave_alone(task)
        return ended

    def switch(self, task: "Task") -> None:
        """Called by a task: give way, until something resumes or kills it."""
        self.hub.switch()
        task.check()

    def task(self) -> "Task":
        task = self.current
        if task is None or getcurrent() is not task.greenlet:
            raise NotModelledError("called from outside a task")
        return task

    def broke(self, error: BaseException) -> None:
        """A stand-in or a test is wrong: stop the run."""
        self._broken = self._broken or error


class Process:
    """An operating system process: its tasks (threads) die together."""

    __slots__ = ("alive", "kernel", "name", "number", "tasks")

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        kernel.processes += 1
        self.number = kernel.processes
        self.alive = True
        self.tasks: dict[Task, None] = {}

    def kill(self) -> None:
        """Called from the hub: all tasks end where they are."""
        self.alive = False
        for task in list(self.tasks):
            task.kill()

    def die(self) -> None:
        """Called by a task of the process: it ends here and now, the others with it."""
        self.alive = False
        self.kernel.after(0.0, self.kill)
        raise Killed

    def check(self) -> None:
        if not self.alive:
            raise Killed


class Task:
    """A thread of a process."""

    def __init__(self, kernel: Kernel, function: Callable[[], Any], process: Process) -> None:
        self.kernel = kernel
        self.process = process
        self.function = function
        self.greenlet = greenlet(self._run, parent=kernel.hub)
        self.wake: Timer | None = None
        self.done = False
        self.killed = False
        self.result: Any = None
        self.error: Exception | None = None
        self._waiting: list[Callable[[], object]] = []

    def check(self) -> None:
        if not self.process.alive:
            raise Killed

    def resume(self) -> None:
        """Called from the hub: run until the next wait."""
        if self.done:
            return
        self.wake = None
        if not self.process.alive and not self.greenlet:
            self._end(killed=True)  # died before it began
            return
        self.kernel.current = self
        self.greenlet.switch()
        self.kernel.current = None

    def kill(self) -> None:
        """Called from the hub: unwind it. What it calls while it unwinds has no effect."""
        if self.wake is not None:
            self.wake.cancel()
        self.resume()

    def on_done(self, action: Callable[[], object]) -> None:
        """Do something when it has ended; it may have already."""
        if self.done:
            self.kernel.after(0.0, action)
        else:
            self._waiting.append(action)

    def join(self) -> None:
        """Called by another task: wait until this one has ended."""
        waiter = self.kernel.task()
        if not self.done:
            self._waiting.append(waiter.resume)
        while not self.done:
            self.kernel.switch(waiter)

    def _run(self) -> None:
        try:
            self.check()
            self.result = self.function()
        except Killed:
            self._end(killed=True)
        except Exception as error:  # noqa: BLE001 - a handler may raise what it likes
            self.error = error
            self._end(killed=False)
        except BaseException as error:  # noqa: BLE001 - stops the run
            self.kernel.broke(error)
            self._end(killed=True)
        else:
            self._end(killed=False)

    def _end(self, *, killed: bool) -> None:
        self.done = True
        # A process that died while a handler swallowed it is still dead.
        self.killed = killed or not self.process.alive
        self.process.tasks.pop(self, None)
        for action in self._waiting:
            self.kernel.after(0.0, action)
        self._waiting.clear()


class SimulatedFuture[T](Future[T]):
    """A future whose waiting lets virtual time pass."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self._kernel = kernel
        self._sleepers: dict[Task, None] = {}
        self.add_done_callback(self._wake)

    def wake_up(self, task: Task) -> None:
        """Resume a task when this is done."""
        self._sleepers[task] = None

    def leave_alone(self, task: Task) -> None:
        self._sleepers.pop(task, None)

    @override
    def result(self, timeout: float | None = None) -> T:
        self._wait()
        return super().result(0)

    @override
    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._wait()
        return super().exception(0)

    def _wait(self) -> None:
        task = self._kernel.task()
        task.check()
        self.wake_up(task)
        while not self.done():
            self._kernel.switch(task)

    def _wake(self, _: Future[T]) -> None:
        for task in self._sleepers:
            self._kernel.after(0.0, task.resume)


class SimulatedExecutor(Executor):
    """Runs each call as a task of the process that asks for it, so many at a time."""

    def __init__(self, kernel: Kernel, max_workers: int) -> None:
        self._kernel = kernel
        self._free = max_workers
        self._queued: deque[tuple[Process, Callable[[], None]]] = deque()

    @override
    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: SimulatedFuture[T] = SimulatedFuture(self._kernel)

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - as a real executor does
                future.set_exception(error)
            else:
                future.set_result(result)

        process = self._kernel.task().process
        process.check()
        self._queued.append((process, work))
        self._start()
        return future

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: what it waits for are tasks of the process, and they end with it."""

    def _start(self) -> None:
        while self._free and self._queued:
            process, work = self._queued.popleft()
            self._free -= 1
            self._kernel.spawn(work, process).on_done(self._ended)

    def _ended(self) -> None:
        self._free += 1
        self._start()


class SimulatedLock:
    """A `threading.Lock` between tasks: who waits for it lets virtual time pass."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._held = False
        self._wakes: deque[Callable[[], object]] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002
        del timeout
        while self._held:
            if not blocking:
                return False
            task = self._kernel.task()
            self._wakes.append(task.resume)
            self._kernel.switch(task)
        self._held = True
        return True

    def release(self) -> None:
        self._held = False
        if self._wakes:
            self._kernel.after(0.0, self._wakes.popleft())

    def locked(self) -> bool:
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
