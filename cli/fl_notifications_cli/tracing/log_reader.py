"""Reading the stack's log group: CloudWatch Logs' FilterLogEvents, bounded."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from fl_notifications_cli.tracing.steps import Step, Wanted, parse_step

if TYPE_CHECKING:
    from mypy_boto3_logs.client import CloudWatchLogsClient
    from mypy_boto3_logs.type_defs import (
        FilteredLogEventTypeDef,
        FilterLogEventsRequestTypeDef,
        FilterLogEventsResponseTypeDef,
    )

PAGE_SIZE = 10_000
"""The most lines that FilterLogEvents returns at once (its documented maximum)."""

_CLOCK_DIFFERENCE = timedelta(minutes=1)
"""How much earlier CloudWatch may date a line than the line dates itself."""

_QUOTABLE = re.compile(r"[\w.:/-]{1,200}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is read at most, so that a command on a huge log group ends.

    Args:
        lines: lines that match.
        seconds: time, in seconds.
    """

    lines: int = 1_000_000
    seconds: float = 300.0


def filter_pattern(wanted: Wanted) -> str:
    """The filter that lets CloudWatch leave out most of what isn't wanted.

    Quoted terms, all of which a line must contain: JSON patterns would say more, but not
    everything that speaks this API reads them. What passes is looked at again anyway, so a term
    is only added where the whole value is known: an id may be given by its first letters.
    """
    asked = (wanted.training_uuid, wanted.receiver, wanted.notification)
    terms = [text for text in asked if text and _is_uuid(text)]
    return " ".join(f'"{term}"' for term in terms if _QUOTABLE.fullmatch(term))


class LogReader:
    """Reads lines of one log group.

    Args:
        client: boto3's client for CloudWatch Logs.
        log_group: the group's name.
        bounds: how much one call reads at most.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        client: "CloudWatchLogsClient",
        log_group: str,
        *,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._log_group = log_group
        self._bounds = bounds or Bounds()
        self._clock = clock
        self.cut_short: str | None = None
        """Why the last reading ended early, None if it read everything."""

    def lines(
        self,
        pattern: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        seen: dict[str, int] | None = None,
    ) -> Iterator[str]:
        """Read the lines that match, each once, roughly in order of time.

        Args:
            pattern: a filter pattern; empty for everything.
            since: only lines that CloudWatch dates at or after this time.
            until: only lines that CloudWatch dates at or before this time.
            seen: lines already read, by identity with their time in epoch milliseconds; they are
                left out, and new ones are added.

        Yields:
            The lines' text. When it ends, `cut_short` says whether that was all.
        """
        self.cut_short = None
        seen = {} if seen is None else seen
        started, count = self._clock(), 0
        request: FilterLogEventsRequestTypeDef = {
            "logGroupName": self._log_group,
            "filterPattern": pattern,
            "limit": PAGE_SIZE,
        }
        if since is not None:
            request["startTime"] = _milliseconds(since)
        if until is not None:
            request["endTime"] = _milliseconds(until)
        while True:
            page = self._client.filter_log_events(**request)
            for event in page["events"]:
                identity = _identity(event)
                if identity in seen:
                    continue
                seen[identity] = event["timestamp"]
                count += 1
                yield event["message"]
            if not self._advance(request, page):
                return
            if count >= self._bounds.lines:
                self.cut_short = f"stopped after {count:,} lines"
                return
            if self._clock() - started > self._bounds.seconds:
                self.cut_short = f"stopped after {self._bounds.seconds:.0f} s"
                return

    def steps(self, wanted: Wanted, *, seen: dict[str, int] | None = None) -> Iterator[Step]:
        """Read the steps that are asked for, roughly in order of time.

        Args:
            wanted: which steps.
            seen: as of `lines`.
        """
        # CloudWatch's time of a line is not the line's own; what is too old is left out below.
        since = wanted.since and wanted.since - _CLOCK_DIFFERENCE
        for line in self.lines(filter_pattern(wanted), since=since, seen=seen):
            step = parse_step(line)
            if step is not None and wanted.includes(step):
                yield step

    def _advance(
        self,
        request: "FilterLogEventsRequestTypeDef",
        page: "FilterLogEventsResponseTypeDef",
    ) -> bool:
        """Set the request to the page after this one; False if this was the last."""
        token = page.get("nextToken")
        if token:
            request["nextToken"] = token
            return True
        events = page["events"]
        if len(events) < PAGE_SIZE:
            return False
        # A full page without a token: there may be more, so go on from the last line's time.
        request.pop("nextToken", None)
        last = events[-1]["timestamp"]
        if events[0]["timestamp"] == last == request.get("startTime"):
            self.cut_short = "there are more lines of one millisecond than a page holds"
            last += 1
        request["startTime"] = last
        return True


class Follower:
    """Polls for steps that were not there before.

    Args:
        reader: reads the log group.
        wanted: which steps.
        now: the current time, with an offset.
        overlap: lines may become visible this long after the time they are dated at.
    """

    def __init__(
        self,
        reader: LogReader,
        wanted: Wanted,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        overlap: timedelta = timedelta(minutes=2),
    ) -> None:
        self._reader = reader
        self._wanted = wanted
        self._now = now
        self._overlap = overlap
        self._seen: dict[str, int] = {}
        self._since = wanted.since and wanted.since - _CLOCK_DIFFERENCE

    def poll(self) -> list[Step]:
        """The steps that have become visible since the last call, in the order read."""
        asked_at = self._now()
        lines = self._reader.lines(filter_pattern(self._wanted), since=self._since, seen=self._seen)
        steps = [step for step in map(parse_step, lines) if step and self._wanted.includes(step)]
        if self._reader.cut_short is None:
            start = asked_at - self._overlap
            self._since = start if self._since is None else max(self._since, start)
            oldest = _milliseconds(self._since)
            self._seen = {line: at for line, at in self._seen.items() if at >= oldest}
        return steps


def _identity(event: "FilteredLogEventTypeDef") -> str:
    if event.get("eventId"):
        return event["eventId"]
    return f"{event.get('logStreamName')} {event.get('timestamp')} {event.get('message')}"


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
