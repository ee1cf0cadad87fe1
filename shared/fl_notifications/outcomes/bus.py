"""The bus on which outcomes and changes are told."""

import itertools
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from fl_notifications.aws.batches import EVENTS_BATCH, Sleep, until_done
from fl_notifications.outcomes.changes import ChangeEvent
from fl_notifications.outcomes.outcome import SOURCE, Outcome, OutcomeKind

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

type Conclusion = tuple[OutcomeKind, Outcome]


class NotToldError(Exception):
    """The bus did not take all events, after several tries."""


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

    def put(self, outcomes: Sequence[Conclusion]) -> set[str]:
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
        entries = [
            self._entry(kind.detail_type, outcome.message, outcome.finished_at)
            for kind, outcome in outcomes
        ]
        left = self._put(entries)
        return {outcomes[number][1].notification_id for number in left}

    def tell(self, changes: Sequence[ChangeEvent], at: datetime) -> None:
        """Tell changes, any number of them.

        Args:
            changes: what has happened.
            at: when it did.

        Raises:
            NotToldError: if the bus did not take all of them, after several tries.
            ClientError: if the bus refuses a call as a whole.
        """
        entries = [self._entry(each.detail_type, each.model_dump_json(), at) for each in changes]
        for batch in itertools.batched(entries, EVENTS_BATCH):
            if left := self._put(batch):
                raise NotToldError(f"{len(left)} events")

    def _put(self, entries: "Sequence[PutEventsRequestEntryTypeDef]") -> list[int]:
        """Put at most ten entries; returns the places of those that the bus did not take."""

        def call(pending: list[int]) -> list[int]:
            answer = self._client.put_events(Entries=[entries[number] for number in pending])
            if not answer["FailedEntryCount"]:
                return []
            # The results stand in the order of the entries.
            return [
                number
                for number, result in zip(pending, answer["Entries"], strict=True)
                if result.get("ErrorCode")
            ]

        return until_done(list(range(len(entries))), call, sleep=self._sleep)

    def _entry(self, kind: str, detail: str, at: datetime) -> "PutEventsRequestEntryTypeDef":
        entry: PutEventsRequestEntryTypeDef = {
            "EventBusName": self._bus_name,
            "Source": SOURCE,
            "DetailType": kind,
            "Detail": detail,
            "Time": at,
        }
        if (header := self._trace_header()) is not None:
            entry["TraceHeader"] = header
        return entry
