"""The bus on which outcomes are told."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fl_notifications.aws.batches import EVENTS_BATCH, Sleep, until_done
from fl_notifications.outcomes.outcome import SOURCE, Outcome, OutcomeKind

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

type Told = tuple[OutcomeKind, Outcome]


class OutcomeBus:
    """The stack's event bus."""

    def __init__(
        self,
        client: "EventBridgeClient",
        bus_name: str,
        *,
        trace_header: Callable[[], str | None] = lambda: None,
        sleep: Sleep = time.sleep,
    ) -> None:
        """Use a bus.

        Args:
            client: boto3's client.
            bus_name: name or ARN.
            trace_header: gives X-Ray's header for an event; None if nothing is traced.
            sleep: waits between two tries of a call, in seconds.
        """
        self._client = client
        self._bus_name = bus_name
        self._trace_header = trace_header
        self._sleep = sleep

    def put(self, outcomes: Sequence[Told]) -> set[str]:
        """Tell outcomes, at most ten of them.

        Returns:
            The notification ids of those that the bus did not take, after several tries.

        Raises:
            ValueError: if there are more than ten.
            ClientError: if the bus refuses the call as a whole.
        """
        if len(outcomes) > EVENTS_BATCH:
            msg = f"{len(outcomes)} outcomes; one call takes {EVENTS_BATCH}"
            raise ValueError(msg)
        left = until_done(list(outcomes), self._call, sleep=self._sleep)
        return {outcome.notification_id for _, outcome in left}

    def _call(self, outcomes: list[Told]) -> list[Told]:
        entries = [self._entry(kind, outcome) for kind, outcome in outcomes]
        answer = self._client.put_events(Entries=entries)
        if not answer["FailedEntryCount"]:
            return []
        # The results stand in the order of the entries.
        return [
            told
            for told, result in zip(outcomes, answer["Entries"], strict=True)
            if result.get("ErrorCode")
        ]

    def _entry(self, kind: OutcomeKind, outcome: Outcome) -> "PutEventsRequestEntryTypeDef":
        entry: PutEventsRequestEntryTypeDef = {
            "EventBusName": self._bus_name,
            "Source": SOURCE,
            "DetailType": kind.detail_type,
            "Detail": outcome.message,
            "Time": outcome.finished_at,
        }
        if (header := self._trace_header()) is not None:
            entry["TraceHeader"] = header
        return entry
