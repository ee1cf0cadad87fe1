"""Takes a batch of stream records through the builder and reports which of them failed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import DynamoDBRecord

from fl_notifications.telemetry.journal import Journal
from functions.build_notifications.builder import Builder, OutOfTimeError
from functions.build_notifications.records import Change

RESERVE_SECONDS: Final = 10.0
"""A record is not begun with less time than this; Lambda brings it again."""


class HeldBackError(Exception):
    """A record is left for later, because an earlier one of its training was."""


@dataclass(frozen=True)
class Batches:
    """Processes batches of the stream."""

    builder: Builder
    journal: Journal

    def process(
        self, event: Mapping[str, Any], remaining_seconds: Callable[[], float]
    ) -> PartialItemFailureResponse:
        """Build the notifications of a stream event's records, in order.

        After a record has failed, the later ones of the same training are not touched: Lambda
        begins again with the lowest that failed, and they would have overtaken it.

        Args:
            event: as Lambda gets it from the stream.
            remaining_seconds: until the function's timeout.

        Returns:
            The records that failed.
        """
        behind: set[str] = set()

        def handle(record: DynamoDBRecord) -> None:
            change = Change.from_record(record.raw_event)
            if change.training_uuid in behind:
                raise HeldBackError(change.training_uuid)
            if remaining_seconds() < RESERVE_SECONDS:
                raise OutOfTimeError(change.training_uuid)
            try:
                self.builder.build(change, remaining_seconds)
            except OutOfTimeError as error:
                behind.add(change.training_uuid)
                self.journal.unfinished(change.training_uuid, change.sequence_number, f"{error}")
                raise
            except Exception as error:
                behind.add(change.training_uuid)
                self.journal.trouble(
                    "a record could not be processed; it will come again",
                    error,
                    training_uuid=change.training_uuid,
                    sequence_number=change.sequence_number,
                )
                raise

        processor = BatchProcessor(
            event_type=EventType.DynamoDBStreams, raise_on_entire_batch_failure=False
        )
        try:
            return process_partial_response(
                event=dict(event), record_handler=handle, processor=processor
            )
        finally:
            self.journal.flush()
