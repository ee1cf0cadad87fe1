"""Retries what batch APIs leave undone: they answer 200 and fail in part."""

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypedDict

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class PartialItemFailure(TypedDict):
    """One message or record of a batch that Lambda is to retry."""

    itemIdentifier: str


class PartialItemFailureResponse(TypedDict):
    """A partial batch response: the items of a batch that failed."""

    batchItemFailures: list[PartialItemFailure]


type Sleep = Callable[[float], object]
"""Waits so many seconds, as `time.sleep` does."""

ATTEMPTS: Final = 5
"""Calls for one batch; the waits between them add up to at most 3 s."""

FIRST_WAIT_SECONDS: Final = 0.2
"""The longest wait after the first call; after each further one it is twice as long."""

SQS_BATCH: Final = 10
EVENTS_BATCH: Final = 10
BATCH_WRITE: Final = 25
BATCH_GET: Final = 100
"""How many entries AWS takes in one call."""


def until_done[T](pending: T, call: Callable[[T], T], *, sleep: Sleep = time.sleep) -> T:
    """Call with what is pending until nothing is left, at most `ATTEMPTS` times.

    Args:
        pending: what the first call is to do; empty means nothing to do.
        call: does what it is given, and returns what it was not able to do.
        sleep: how to wait between two calls, in seconds.

    Returns:
        What was still undone in the end; empty if all was done.
    """
    wait = FIRST_WAIT_SECONDS
    for attempt in range(ATTEMPTS):
        if not pending:
            break
        if attempt:
            sleep(random.uniform(0, wait))  # noqa: S311 - spreads calls; nothing secret
            wait *= 2
        pending = call(pending)
    return pending


class NotReadError(Exception):
    """DynamoDB left some keys unread, after several tries."""


def get_items(
    client: "DynamoDBClient", requests: Mapping[str, Mapping[str, Any]], *, sleep: Sleep
) -> dict[str, list[Any]]:
    """Read items of one table or several, at most 100 in all, in any order.

    Args:
        client: boto3's client.
        requests: by table: keys and options, as BatchGetItem takes them.
        sleep: how to wait between two calls, in seconds.

    Returns:
        By table: those that there are.

    Raises:
        NotReadError: if some were left unread, after several tries.
        botocore.exceptions.ClientError: if DynamoDB refuses the call as a whole.
    """
    items: dict[str, list[Any]] = {table: [] for table in requests}

    def call(pending: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = client.batch_get_item(RequestItems=pending)
        for table, found in answer["Responses"].items():
            items[table] += found
        return answer.get("UnprocessedKeys", {})

    if left := until_done(requests, call, sleep=sleep):
        keys = sum(len(request["Keys"]) for request in left.values())
        raise NotReadError(f"DynamoDB left {keys} keys unread")
    return items


def get_all(
    client: "DynamoDBClient",
    table_name: str,
    keys: Iterable[Mapping[str, Any]],
    *,
    sleep: Sleep,
    **options: Any,
) -> Iterator[Any]:
    """Read items of a table, any number of them, 100 at a time, in any order.

    Args:
        client: boto3's client.
        table_name: name or ARN.
        keys: no two of them the same.
        sleep: how to wait between two calls, in seconds.
        options: as BatchGetItem takes them beside the keys.

    Raises:
        NotReadError: if some were left unread, after several tries.
        botocore.exceptions.ClientError: if the table refuses a call as a whole.
    """
    for batch in itertools.batched(keys, BATCH_GET):
        requests = {table_name: {"Keys": list(batch), **options}}
        yield from get_items(client, requests, sleep=sleep)[table_name]


def put_items(
    client: "DynamoDBClient",
    table_name: str,
    items: Iterable[Mapping[str, Any]],
    *,
    sleep: Sleep = time.sleep,
) -> list[Any]:
    """Write at most 25 items into a table, over those with the same keys.

    Returns:
        The items that were not written, after several tries.

    Raises:
        botocore.exceptions.ClientError: if the table refuses the call as a whole.
    """
    puts = [{"PutRequest": {"Item": item}} for item in items]
    left = write_items(client, table_name, puts, sleep=sleep)
    return [put["PutRequest"]["Item"] for put in left]


def write_items(
    client: "DynamoDBClient",
    table_name: str,
    writes: Iterable[Mapping[str, Any]],
    *,
    sleep: Sleep = time.sleep,
) -> list[Any]:
    """Do at most 25 puts and deletions in a table, no two of them of one key.

    Returns:
        Those that were not done, after several tries.

    Raises:
        botocore.exceptions.ClientError: if the table refuses the call as a whole.
    """

    def call(pending: list[Any]) -> list[Any]:
        answer = client.batch_write_item(RequestItems={table_name: pending})
        return list(answer.get("UnprocessedItems", {}).get(table_name, []))

    return until_done(list(writes), call, sleep=sleep)
