"""Conditional writes into the trainings table, each of them safe to repeat.

botocore repeats a call whose answer was lost. The repetition of a conditional write that had
succeeded fails its condition; so whoever fails one looks whether what is there is its own.
"""

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from boto3.dynamodb.types import TypeSerializer
from botocore.exceptions import ClientError

from fl_notifications.aws.batches import BATCH_WRITE, Sleep, until_done
from fl_notifications.aws.errors import condition_failed
from fl_notifications.trainings.items import AnyUuid, Item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

TRANSACTION: Final = 100
"""How many actions one transaction takes."""

CONFLICT_ATTEMPTS: Final = 7
"""Calls while others write the same items; the waits between them add up to at most 3.2 s."""

FIRST_CONFLICT_WAIT_SECONDS: Final = 0.05

_CONDITION: Final = "ConditionalCheckFailed"
_CONFLICT: Final = "TransactionConflict"


class Table:
    """The trainings table, as the write side changes it."""

    def __init__(
        self, client: "DynamoDBClient", table_name: str, *, sleep: Sleep = time.sleep
    ) -> None:
        self._client = client
        self._name = table_name
        self._sleep = sleep

    # --- reading ---------------------------------------------------------------------------------

    def item(self, key: Mapping[str, Any]) -> Item | None:
        """Read an item, consistently."""
        found: Item | None = self._client.get_item(
            TableName=self._name, Key=key, ConsistentRead=True
        ).get("Item")
        return found

    def items(self, training_uuid: AnyUuid, prefix: str = "") -> Iterator[Item]:
        """Read the items of a training whose `entity` begins so, consistently, page by page."""
        condition, values = "training_uuid = :training", {":training": {"S": str(training_uuid)}}
        if prefix:
            condition += " AND begins_with(entity, :prefix)"
            values[":prefix"] = {"S": prefix}
        start: dict[str, Any] = {}
        while True:
            answer = self._client.query(
                TableName=self._name,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ConsistentRead=True,
                **start,
            )
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    # --- single writes ---------------------------------------------------------------------------

    def put_new(self, item: Mapping[str, Any]) -> bool:
        """Put an item where none is; returns false if there is another one."""

        def put() -> None:
            self._client.put_item(
                TableName=self._name,
                Item=item,
                ConditionExpression="attribute_not_exists(entity)",
            )

        return self._conditional(put) or self.item(_key(item)) == item

    def update(
        self,
        key: Mapping[str, Any],
        changes: Mapping[str, Any],
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> bool:
        """Set attributes of an item, and remove those whose value is None, on a condition.

        Args:
            key: of the item.
            changes: the attributes, as plain values.
            condition: the condition expression.
            names: the names in it.
            values: the values in it, as plain ones.

        Returns:
            Whether the item is as wished: false if the condition does not hold, and it is not this
            very change that is there.
        """
        action = self.update_action(key, changes, condition, names, values)["Update"]
        if self._conditional(lambda: self._client.update_item(**action)):
            return True
        # Without a value of its own, what is there may be anybody's.
        wished = {name: _serialize(value) for name, value in changes.items() if value is not None}
        found = self.item(key) or {}
        return bool(wished) and all(found.get(name) == value for name, value in wished.items())

    def update_action(
        self,
        key: Mapping[str, Any],
        changes: Mapping[str, Any],
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Any:
        """What `update` does, as an action of a transaction."""
        sets = {name: value for name, value in changes.items() if value is not None}
        removes = [name for name, value in changes.items() if value is None]
        expression = ""
        if sets:
            expression += "SET " + ", ".join(f"#{name} = :{name}" for name in sets)
        if removes:
            expression += " REMOVE " + ", ".join(f"#{name}" for name in removes)
        given = {**{f":{name}": value for name, value in sets.items()}, **values}
        action: dict[str, Any] = {
            "TableName": self._name,
            "Key": key,
            "UpdateExpression": expression.strip(),
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {**{f"#{name}": name for name in changes}, **names},
        }
        if given:
            action["ExpressionAttributeValues"] = attributes(given)
        return {"Update": action}

    def put_action(self, item: Mapping[str, Any], condition: str | None = None) -> Any:
        """Put an item, as an action of a transaction."""
        action: dict[str, Any] = {"TableName": self._name, "Item": item}
        if condition is not None:
            action["ConditionExpression"] = condition
        return {"Put": action}

    def delete_action(self, key: Mapping[str, Any]) -> Any:
        """Delete an item, as an action of a transaction."""
        return {"Delete": {"TableName": self._name, "Key": key}}

    def check_action(
        self,
        key: Mapping[str, Any],
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Any:
        """Check a condition, as an action of a transaction."""
        action: dict[str, Any] = {
            "TableName": self._name,
            "Key": key,
            "ConditionExpression": condition,
        }
        if names:
            action["ExpressionAttributeNames"] = names
        if values:
            action["ExpressionAttributeValues"] = attributes(values)
        return {"ConditionCheck": action}

    def delete(self, key: Mapping[str, Any]) -> bool:
        """Delete an item; returns whether there was one."""

        def call() -> bool:
            answer = self._client.delete_item(TableName=self._name, Key=key, ReturnValues="ALL_OLD")
            return bool(answer.get("Attributes"))

        return self._without_conflict(call)

    # --- many at once ----------------------------------------------------------------------------

    def transact(self, actions: "Iterable[TransactWriteItemTypeDef]") -> list[int]:
        """Do all of the actions or none.

        Returns:
            The places of those whose condition does not hold; empty if all is done.
        """
        listed = list(actions)

        def call() -> list[int]:
            try:
                self._client.transact_write_items(TransactItems=listed)
            except ClientError as error:
                if failed := _places(error, _CONDITION):
                    return failed
                raise
            return []

        return self._without_conflict(call)

    def put_all(self, items: Iterable[Mapping[str, Any]]) -> int:
        """Put items over what is there, in as few calls as DynamoDB allows.

        Of items with the same key the later one counts.

        Returns:
            How many were not written, after several tries; later ones were then not tried.
        """
        return self._batch(items, _key, lambda i: {"PutRequest": {"Item": i}})

    def delete_all(self, keys: Iterable[Mapping[str, Any]]) -> int:
        """Delete items; returns how many were not deleted, as `put_all` does."""
        return self._batch(keys, _key, lambda key: {"DeleteRequest": {"Key": key}})

    def _batch(
        self,
        entries: Iterable[Mapping[str, Any]],
        key_of: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        request: Callable[[Mapping[str, Any]], Any],
    ) -> int:
        def call(requests: list[Any]) -> list[Any]:
            answer = self._client.batch_write_item(RequestItems={self._name: requests})
            return list(answer.get("UnprocessedItems", {}).get(self._name, []))

        for batch in itertools.batched(entries, BATCH_WRITE):
            # DynamoDB refuses a call that names an item twice.
            by_key = {key_of(entry)["entity"]["S"]: entry for entry in batch}
            requests = [request(entry) for entry in by_key.values()]
            if left := until_done(requests, call, sleep=self._sleep):
                return len(left)
        return 0

    # --- how -------------------------------------------------------------------------------------

    def _conditional(self, call: Callable[[], object]) -> bool:
        try:
            self._without_conflict(call)
        except ClientError as error:
            if condition_failed(error):
                return False
            raise
        return True

    def _without_conflict[T](self, call: Callable[[], T]) -> T:
        """Repeat a call that met somebody else's transaction, a bounded number of times."""
        wait = FIRST_CONFLICT_WAIT_SECONDS
        for _ in range(CONFLICT_ATTEMPTS - 1):
            try:
                return call()
            except ClientError as error:
                if not _is_conflict(error):
                    raise
            self._sleep(random.uniform(wait / 2, wait))  # noqa: S311 - spreads calls; nothing secret
            wait *= 2
        return call()


def _is_conflict(error: ClientError) -> bool:
    code = error.response["Error"]["Code"]
    return code == "TransactionConflictException" or bool(_places(error, _CONFLICT))


def _places(error: ClientError, code: str) -> list[int]:
    """The places of a transaction's actions that were refused with this code."""
    reasons = error.response.get("CancellationReasons", [])
    return [place for place, reason in enumerate(reasons) if reason.get("Code") == code]


def _key(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in ("training_uuid", "entity")}


def _serialize(value: object) -> Any:
    return TypeSerializer().serialize(value)


def attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values as DynamoDB's API wants them."""
    return {key: _serialize(value) for key, value in values.items()}
