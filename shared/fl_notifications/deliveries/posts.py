"""POSTs side by side, made by one thread."""

import select
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from fl_notifications.deliveries.post import Answer, Poster, Steps, Wait, milliseconds_until


@dataclass(frozen=True, slots=True)
class Ended:
    """A POST that has ended.

    Attributes:
        number: as `Posts.start` gave it.
        answer: how it ended; an exception if it failed in a way that nobody expected.
        seconds: how long it took.
    """

    number: int
    answer: Answer | Exception
    seconds: float


@dataclass(frozen=True, slots=True)
class _Post:
    number: int
    steps: Steps[Answer]
    started: float


class Posts:
    """POSTs that are under way; nothing of them is done but while `start` or `wait` runs.

    Args:
        poster: makes them.
    """

    def __init__(self, poster: Poster) -> None:
        self._poster = poster
        self._poll = select.poll()
        self._waiting: dict[int, tuple[_Post, Wait]] = {}  # by the file that each waits for
        self._ended: list[Ended] = []
        self._started = 0

    def start(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> int:
        """Start a POST, as `Poster.in_steps` makes it; returns its number here."""
        self._started += 1
        steps = self._poster.in_steps(url, headers, body, turn=turn)
        self._go_on(_Post(self._started, steps, monotonic()), ready=None)
        return self._started

    def wait(self, seconds: float, *, linger: float = 0.0) -> Sequence[Ended]:
        """Wait until at least one has ended.

        Args:
            seconds: at most.
            linger: how long to wait for the others then.

        Returns:
            What has ended since it was last asked, in the order in which it was started.
        """
        self._serve(monotonic() + seconds, enough=1)
        if self._ended:
            self._serve(monotonic() + linger)
        ended, self._ended = self._ended, []
        return sorted(ended, key=lambda each: each.number)

    def close(self) -> None:
        """Give up what is under way."""
        for fileno in list(self._waiting):
            self._taken(fileno).steps.close()

    def _serve(self, until: float, enough: float = float("inf")) -> None:
        """Let all go on until a moment, or until enough have ended."""
        while self._waiting and len(self._ended) < enough:
            first = min(wait.until for _, wait in self._waiting.values())
            for fileno, _ in self._poll.poll(milliseconds_until(min(first, until))):
                self._go_on(self._taken(fileno), ready=True)
            now = monotonic()
            for fileno in [f for f, (_, wait) in self._waiting.items() if wait.until <= now]:
                self._go_on(self._taken(fileno), ready=False)
            if now >= until:
                return

    def _taken(self, fileno: int) -> _Post:
        self._poll.unregister(fileno)
        post, _ = self._waiting.pop(fileno)
        return post

    def _go_on(self, post: _Post, *, ready: bool | None) -> None:
        try:
            wait = post.steps.send(ready)
        except StopIteration as end:
            self._end(post, end.value)
        except Exception as error:  # noqa: BLE001 - one must not end the others
            self._end(post, error)
        else:
            self._waiting[wait.fileno] = post, wait
            self._poll.register(wait.fileno, wait.event)

    def _end(self, post: _Post, answer: Answer | Exception) -> None:
        self._ended.append(Ended(post.number, answer, monotonic() - post.started))
