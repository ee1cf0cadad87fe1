"""Receivers: what they answer, and what they have been told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from fl_notifications.deliveries.post import (
    Answer,
    Forbidden,
    Responded,
    Unreachable,
)
from fl_notifications.deliveries.posts import Ended
from functions.deliver_notification.deliverer import MAX_POSTS
from tests.aws.kernel import (
    Kernel,
    NotModelledError,
    Process,
    SimulatedExecutor,
    SimulatedFuture,
)
from tests.simulation.clients import Latency
from tests.simulation.faults import Faults, Kind, Occasion
from tests.simulation.lambdas import Invocation


@dataclass(frozen=True)
class Reply:
    """One answer of a receiver.

    Attributes:
        status: None: no answer, but what `trouble` says.
        seconds: how long it takes; more than the request's timeout means a timeout.
    """

    status: int | None = 200
    retry_after: str | None = None
    trouble: str = "connection refused"
    seconds: float = 0.05


class Mail(Enum):
    """How a participant that nobody can call treats its mailbox."""

    PROMPT = "asks often, and accepts"
    REJECTS = "rejects"
    NEVER = "never asks"
    LATE = "asks for the first time when it is too late"
    OVER_LONG = "asks often, and acknowledges when it is too late"
    CRASHES = "dies after each second notification that it got"
    TWO = "two processes, of which one accepts and one rejects"
    CLOCK_OFF = "its clock is ten minutes ahead"


@dataclass(frozen=True)
class Behaviour:
    """What a receiver answers, one reply after the other; the last one again and again.

    Attributes:
        mail: how it treats its mailbox; None: it has an endpoint.
    """

    replies: tuple[Reply, ...] = (Reply(),)
    allowed: bool = True
    mail: Mail | None = None


@dataclass(eq=False)
class Post:
    """A POST as the receiver saw it.

    Attributes:
        told: what the function was told of it; None if it died before.
        real: what the receiver answered.
    """

    at: float
    url: str
    headers: dict[str, str]
    body: bytes
    invocation: Invocation
    real: Reply
    told: Answer | None = None
    ended: float | None = None

    @property
    def notification_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def arrived(self) -> bool:
        """Whether it reached the receiver at all."""
        return self.real.status is not None or self.real.trouble == "timeout"


@dataclass
class Receivers:
    """All receivers, by endpoint.

    Attributes:
        lost: the ids of notifications that an attempt did not get through to their receiver.
        forbidden: the ids of those whose address was not allowed.
    """

    kernel: Kernel
    timeout: float
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    posts: list[Post] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    _seen: dict[str, int] = field(default_factory=dict)

    def reply(self, url: str) -> Reply:
        replies = self.behaviours.get(url, Behaviour()).replies
        number = self._seen.get(url, 0)
        self._seen[url] = number + 1
        return replies[min(number, len(replies) - 1)]


class SimulatedPoster:
    """What a function gets as its poster."""

    def __init__(
        self,
        receivers: Receivers,
        faults: Faults,
        latency: Latency,
        process: Process,
        running: Callable[[], Invocation],
    ) -> None:
        self._receivers = receivers
        self._faults = faults
        self._latency = latency
        self._process = process
        self._running = running

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> Answer:
        del turn  # an endpoint has one address here
        process, receivers = self._process, self._receivers
        kernel = receivers.kernel
        process.check()
        if not receivers.behaviours.get(url, Behaviour()).allowed:
            receivers.forbidden.add(headers["webhook-id"])
            return Forbidden("address not allowed")
        fault = self._faults.at(Occasion.POST, kernel.now - kernel.start)
        kind = fault.kind if fault is not None else None
        invocation = self._running()
        if kind is Kind.DIE_BEFORE:
            process.die()
        if kind is Kind.UNREACHABLE:
            receivers.lost.add(headers["webhook-id"])
            return Unreachable("no route")
        reply = receivers.reply(url)
        post = Post(kernel.now, url, dict(headers), body, invocation, reply)
        receivers.posts.append(post)
        if kind is Kind.DIE_AFTER:
            process.die()
        seconds = reply.seconds + self._latency.of_call()
        if kind is Kind.SLOW and fault is not None:
            seconds += fault.pick((1.0, 5.0, 9.0))
        if seconds >= receivers.timeout:
            kernel.sleep(receivers.timeout)
            post.told = Unreachable("timeout")
        else:
            kernel.sleep(seconds)
            if kind is Kind.LOST:
                post.told = Unreachable("connection lost")
            elif reply.status is not None:
                post.told = Responded(reply.status, reply.retry_after)
            else:
                post.told = _unreachable(reply.trouble)
        post.ended = kernel.now
        return post.told


class SimulatedPosts:
    """`Posts`, each of them a task of the process."""

    def __init__(self, poster: SimulatedPoster, kernel: Kernel) -> None:
        self._poster = poster
        self._kernel = kernel
        self._executor = SimulatedExecutor(kernel, MAX_POSTS)
        self._under_way: list[SimulatedFuture[Ended]] = []
        self._started = 0

    def start(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> int:
        self._started += 1
        number, started = self._started, self._kernel.now

        def post() -> Ended:
            answer: Answer | Exception
            try:
                answer = self._poster.post(url, headers, body, turn=turn)
            except Exception as error:  # noqa: BLE001 - as the real ones do
                answer = error
            return Ended(number, answer, self._kernel.now - started)

        future = self._executor.submit(post)
        assert isinstance(future, SimulatedFuture)
        self._under_way.append(future)
        return number

    def wait(self, seconds: float, *, linger: float = 0.0) -> Sequence[Ended]:
        if self._kernel.wait(self._under_way, seconds, first=True):
            self._kernel.wait(self._under_way, linger, first=False)
        ended = [each for each in self._under_way if each.done()]
        self._under_way = [each for each in self._under_way if not each.done()]
        return [each.result() for each in ended]

    def close(self) -> None:
        self._under_way.clear()


def _unreachable(trouble: str) -> Unreachable:
    match trouble:
        case (
            "connection refused"
            | "connection lost"
            | "timeout"
            | "tls error"
            | "name not resolved"
            | "protocol error"
        ):
            return Unreachable(trouble)
        case _:
            raise NotModelledError(f"trouble {trouble!r}")
