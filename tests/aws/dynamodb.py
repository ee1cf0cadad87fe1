"""DynamoDB in memory, as far as the service uses it, and what its streams emit.

Kept: conditions and updates, conditional failures with the item, pages, strong and eventual
consistency (an eventual read may be up to a second old, each item of a batch by another age),
batches that are done in part, transactions and what conflicts with one under way, global secondary
indexes, no stream record for a write that changes nothing.
"""

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from botocore.exceptions import ClientError

from tests.aws import expressions
from tests.aws.expressions import (
    Bound,
    ExpressionError,
    Item,
    Value,
)
from tests.aws.kernel import Kernel, NotModelledError

type Key = tuple[str, ...]
type Answer = dict[str, Any]
type Place = tuple[Any, ...]

MAX_BATCH_GET = 100
MAX_BATCH_WRITE = 25
MAX_TRANSACTION = 100
TOKEN_SECONDS = 600


def client_error(
    operation: str, code: str, message: str = "", status: int = 400, **extra: Any
) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "simulated"},
        **extra,
    }
    return ClientError(response, operation)


@dataclass(frozen=True, slots=True)
class Write:
    """A change of an item; the history of a run is made of these."""

    at: float
    table: str
    key: Key
    old: Item | None
    new: Item | None
    by: str
    sequence_number: int
    by_ttl: bool


class Table:
    """A table: its items, in the order of their sort keys, and all their versions."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        hash_key: str,
        range_key: str | None = None,
        *,
        indexes: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self.kernel = kernel
        self.name = name
        self.hash_key = hash_key
        self.range_key = range_key
        self.indexes = indexes or {}
        self.items: dict[Key, Item] = {}
        self.sort_keys: dict[str, list[str]] = {}
        self.versions: dict[Key, list[tuple[float, Item | None]]] = {}
        self.writes: list[Write] = []
        self.listeners: list[Callable[[Write], None]] = []
        # Sequence numbers get longer as they grow: who compares them as text is found out.
        self.sequence_number = 970

    def key_of(self, attributes: Mapping[str, Value]) -> Key:
        names = [self.hash_key] if self.range_key is None else [self.hash_key, self.range_key]
        try:
            key = tuple(attributes[name]["S"] for name in names)
        except KeyError:
            raise ExpressionError("the key attributes are missing or no strings") from None
        if not all(key):
            raise ExpressionError("a key attribute is empty")
        return key

    def check_key(self, attributes: Mapping[str, Value]) -> Key:
        key = self.key_of(attributes)
        if len(attributes) != len(key):
            raise ExpressionError("the provided key element does not match the schema")
        return key

    def keys_of(self, item: Item) -> Item:
        names = [self.hash_key] if self.range_key is None else [self.hash_key, self.range_key]
        return {name: item[name] for name in names}

    def partition(self, name: str, lag: float) -> list[Item]:
        """The items of a partition as they are, or were so many seconds ago, in their order."""
        if lag:
            keys = sorted(key for key in self.versions if key[0] == name)
        else:
            keys = [(name, key) for key in self.sort_keys.get(name, [])]
        return [item for key in keys if (item := self.read(key, lag)) is not None]

    def indexed(self, index: str, partition: Value, lag: float) -> list[Item]:
        """What a global secondary index has of a partition: the items with both of its keys."""
        hash_key, range_key = self.indexes[index]
        items = (self.read(key, lag) for key in self.versions)
        found = [
            item
            for item in items
            if item is not None and item.get(hash_key) == partition and range_key in item
        ]
        return sorted(found, key=lambda item: (_sortable(item[range_key]), self.key_of(item)))

    def read(self, key: Key, lag: float) -> Item | None:
        """The item, or what it was so many seconds ago."""
        if not lag:
            return self.items.get(key)
        versions = self.versions.get(key, [])
        index = bisect_right(versions, self.kernel.now - lag, key=lambda version: version[0])
        return versions[index - 1][1] if index else None

    def write(self, key: Key, new: Item | None, by: str, *, by_ttl: bool = False) -> None:
        old = self.items.get(key)
        if new is None:
            if old is None:
                return
            del self.items[key]
            if len(key) > 1:
                self.sort_keys[key[0]].remove(key[1])
        else:
            self.items[key] = new
            if old is None and len(key) > 1:
                insort(self.sort_keys.setdefault(key[0], []), key[1])
        if old == new:
            return  # nothing changed: no record in the stream
        self.versions.setdefault(key, []).append((self.kernel.now, new))
        self.sequence_number += 1
        write = Write(self.kernel.now, self.name, key, old, new, by, self.sequence_number, by_ttl)
        self.writes.append(write)
        for listener in self.listeners:
            listener(write)

    def expire(self, key: Key) -> None:
        """What time to live does."""
        self.write(key, None, "ttl", by_ttl=True)


def stored(item: Mapping[str, Value]) -> Item:
    """A copy of an item as DynamoDB keeps it; refuses what it refuses."""
    return {name: _stored(value) for name, value in item.items()}


def _stored(value: Value) -> Value:
    ((kind, content),) = value.items()
    match kind:
        case "M":
            content = stored(content)
        case "L":
            content = [_stored(member) for member in content]
        case "SS" | "NS" | "BS" if content:
            content = list(content)
        case "N" if isinstance(content, str):
            return _stored_number(content)
        case "S" if isinstance(content, str):
            pass
        case "BOOL" | "NULL" | "B":
            pass
        case _:
            raise ExpressionError(f"not an attribute value: {kind}")
    return {kind: content}


def _stored_number(text: str) -> Value:
    if text.isdigit() and (text == "0" or text[0] != "0"):
        return {"N": text}
    try:
        return expressions.number(Decimal(text))
    except InvalidOperation:
        raise ExpressionError("not a number") from None


def _sortable(value: Value) -> Any:
    ((kind, content),) = value.items()
    return Decimal(content) if kind == "N" else content


def _place_names(table: Table, request: Mapping[str, Any]) -> list[str]:
    """The attributes that say where in its order a query has got to."""
    index = request.get("IndexName")
    names = [table.hash_key, *([table.range_key] if table.range_key else [])]
    return [*table.indexes[index], *names] if index is not None else names


def _place(table: Table, request: Mapping[str, Any], key: Mapping[str, Value]) -> Place:
    names = _place_names(table, request)
    if any(name not in key for name in names):
        raise ExpressionError("the exclusive start key does not match the schema")
    return tuple(_sortable(key[name]) for name in names)


@dataclass
class _Part:
    """A part of a transaction."""

    table: Table
    key: Key
    writes: bool
    new: Item | None = None
    reason: dict[str, Any] = field(default_factory=lambda: {"Code": "None"})


class DynamoDB:
    """The service: what its calls do and answer. Faults are put around it elsewhere.

    Attributes:
        by: who calls, for the history; set by the caller.
        lag: how old an eventually consistent read of an item or a page is, in seconds; set by the
            caller.
        transaction_seconds: how long the items of a transaction are taken.
        left_undone: which entries of a batch are left undone; set by the caller.
        page_items: how many items make a page of a query: a stand-in for the limit of 1 MB.
    """

    def __init__(self, kernel: Kernel, *, page_items: int = 1000) -> None:
        self.kernel = kernel
        self.page_items = page_items
        self.tables: dict[str, Table] = {}
        self.by = ""
        self.lag: Callable[[], float] = lambda: 0.0
        self.transaction_seconds = 0.0
        self.left_undone: Callable[[int], bool] = lambda _: False
        self._tokens: dict[str, float] = {}
        self._taken: dict[tuple[str, Key], float] = {}
        self.expressions: set[str] = set()

    def add(self, table: Table) -> Table:
        self.tables[table.name] = table
        return table

    # Calls

    def get_item(self, **request: Any) -> Answer:
        allowed = {"TableName", "Key", "ConsistentRead", "ProjectionExpression"}
        _check("GetItem", request, allowed | {"ExpressionAttributeNames"})
        with _Refusing("GetItem"):
            table = self._table(request)
            bound = _bound(request)
            item = table.read(table.check_key(request["Key"]), self._lag(request))
            answer = {} if item is None else {"Item": self._projected(item, request, bound)}
            bound.check_all_used()
            return answer

    def batch_get_item(self, **request: Any) -> Answer:
        _check("BatchGetItem", request, {"RequestItems"})
        with _Refusing("BatchGetItem"):
            asked = request["RequestItems"]
            total = sum(len(wanted["Keys"]) for wanted in asked.values())
            if not 1 <= total <= MAX_BATCH_GET or not all(w["Keys"] for w in asked.values()):
                raise ExpressionError(f"{total} keys in one call")
            responses: dict[str, list[Item]] = {}
            unprocessed: dict[str, Any] = {}
            count = 0
            for name, wanted in asked.items():
                allowed = {"Keys", "ConsistentRead", "ProjectionExpression"}
                _check("BatchGetItem", wanted, allowed | {"ExpressionAttributeNames"})
                table = self._table({"TableName": name})
                keys = [table.check_key(key) for key in wanted["Keys"]]
                if len(set(keys)) != len(keys):
                    raise ExpressionError("the list of item keys contains duplicates")
                found = responses.setdefault(name, [])
                left = []
                bound = _bound(wanted)
                for key, raw in zip(keys, wanted["Keys"], strict=True):
                    count += 1
                    if self.left_undone(count - 1):
                        left.append(raw)
                        continue
                    item = table.read(key, self._lag(wanted))
                    if item is not None:
                        found.append(self._projected(item, wanted, bound))
                found.reverse()  # the order of the answer is not that of the keys
                if left:
                    unprocessed[name] = {**wanted, "Keys": left}
            return {"Responses": responses, "UnprocessedKeys": unprocessed}

    def query(self, **request: Any) -> Answer:
        allowed = {
            *("TableName", "KeyConditionExpression", "ExpressionAttributeValues", "Limit"),
            *("ExpressionAttributeNames", "ConsistentRead", "ExclusiveStartKey", "Select"),
            *("ProjectionExpression", "FilterExpression", "ScanIndexForward", "IndexName"),
        }
        _check("Query", request, allowed)
        with _Refusing("Query"):
            table = self._table(request)
            bound = _bound(request)
            limit = min(request.get("Limit", self.page_items), self.page_items)
            if limit < 1:
                raise ExpressionError("Limit must be at least 1")
            listed = self._listed(table, request, bound)
            forward = request.get("ScanIndexForward", True)
            if (start := request.get("ExclusiveStartKey")) is not None:
                # A place in the order, whether or not there is still an item.
                begin = _place(table, request, start)
                listed = [
                    (place, item)
                    for place, item in listed
                    if (place > begin if forward else place < begin)
                ]
            items = [item for _, item in (listed if forward else reversed(listed))]
            page = items[:limit]
            found = page
            if "FilterExpression" in request:
                test = self._condition(request["FilterExpression"])
                test({}, bound)
                found = [item for item in page if test(item, bound)]
            shown = [self._projected(item, request, bound) for item in found]
            bound.check_all_used()
            answer: Answer = {"Count": len(shown), "ScannedCount": len(page)}
            if request.get("Select") != "COUNT":
                answer["Items"] = shown
            if page and (len(page) < len(items) or len(page) == limit):
                names = _place_names(table, request)
                answer["LastEvaluatedKey"] = {name: page[-1][name] for name in names}
            return answer

    def put_item(self, **request: Any) -> Answer:
        _check("PutItem", request, {*_WRITE, "Item"})
        with _Refusing("PutItem"):
            table = self._table(request)
            item = stored(request["Item"])
            key = table.key_of(item)
            old = self._checked(table, key, request, "PutItem")
            _bound_all_used(request)
            table.write(key, item, self.by)
            return _returned(request, old, item, [])

    def delete_item(self, **request: Any) -> Answer:
        _check("DeleteItem", request, {*_WRITE, "Key"})
        with _Refusing("DeleteItem"):
            table = self._table(request)
            key = table.check_key(request["Key"])
            old = self._checked(table, key, request, "DeleteItem")
            _bound_all_used(request)
            table.write(key, None, self.by)
            return _returned(request, old, None, [])

    def update_item(self, **request: Any) -> Answer:
        _check("UpdateItem", request, {*_WRITE, "Key", "UpdateExpression"})
        with _Refusing("UpdateItem"):
            table = self._table(request)
            key = table.check_key(request["Key"])
            old = self._checked(table, key, request, "UpdateItem")
            new, paths = self._updated(table, key, request)
            table.write(key, new, self.by)
            return _returned(request, old, new, paths)

    def batch_write_item(self, **request: Any) -> Answer:
        _check("BatchWriteItem", request, {"RequestItems"})
        with _Refusing("BatchWriteItem"):
            asked = request["RequestItems"]
            total = sum(len(entries) for entries in asked.values())
            if not 1 <= total <= MAX_BATCH_WRITE or not all(asked.values()):
                raise ExpressionError(f"{total} writes in one call")
            todo: list[tuple[Table, Key, Item | None, Any]] = []
            for name, entries in asked.items():
                table = self._table({"TableName": name})
                for entry in entries:
                    if "PutRequest" in entry:
                        item = stored(entry["PutRequest"]["Item"])
                        todo.append((table, table.key_of(item), item, entry))
                    else:
                        key = table.check_key(entry["DeleteRequest"]["Key"])
                        todo.append((table, key, None, entry))
            if len({(table.name, key) for table, key, _, _ in todo}) != total:
                raise ExpressionError("provided list of item keys contains duplicates")
            unprocessed: dict[str, list[Any]] = {}
            for index, (table, key, new, entry) in enumerate(todo):
                if self.left_undone(index) or self._is_taken(table, key):
                    unprocessed.setdefault(table.name, []).append(entry)
                else:
                    table.write(key, new, self.by)
            return {"UnprocessedItems": unprocessed}

    def transact_write_items(self, **request: Any) -> Answer:
        operation = "TransactWriteItems"
        _check(operation, request, {"TransactItems", "ClientRequestToken"})
        token = request.get("ClientRequestToken")
        if token is not None and self._tokens.get(token, 0.0) > self.kernel.now:
            return {}  # done before: idempotent
        with _Refusing(operation):
            actions = request["TransactItems"]
            if not 1 <= len(actions) <= MAX_TRANSACTION:
                raise ExpressionError(f"{len(actions)} actions in one transaction")
            parts = [self._part(action) for action in actions]
            if len({(part.table.name, part.key) for part in parts}) != len(parts):
                raise ExpressionError("transaction request cannot include multiple operations")
            if any(part.reason["Code"] != "None" for part in parts):
                codes = ", ".join(part.reason["Code"] for part in parts)
                raise client_error(
                    operation,
                    "TransactionCanceledException",
                    f"Transaction cancelled, please refer [{codes}]",
                    CancellationReasons=[part.reason for part in parts],
                )
            for part in parts:
                if part.writes:
                    part.table.write(part.key, part.new, self.by)
                taken_until = self.kernel.now + self.transaction_seconds
                self._taken[part.table.name, part.key] = taken_until
            if token is not None:
                self._tokens[token] = self.kernel.now + TOKEN_SECONDS
            return {}

    def _part(self, action: Mapping[str, Any]) -> _Part:
        """What an action of a transaction would do, or the reason why it does not."""
        ((kind, wanted),) = action.items()
        table = self._table(wanted)
        key = table.key_of(wanted["Item"]) if kind == "Put" else table.check_key(wanted["Key"])
        part = _Part(table, key, kind != "ConditionCheck")
        if self._is_taken(table, key):
            part.reason = {
                "Code": "TransactionConflict",
                "Message": "Transaction is ongoing for the item",
            }
            return part
        try:
            self._checked(table, key, wanted, "TransactWriteItems")
            if kind == "Put":
                part.new = stored(wanted["Item"])
            elif kind == "Update":
                part.new, _ = self._updated(table, key, wanted)
        except ClientError as error:
            part.reason = {
                "Code": "ConditionalCheckFailed",
                "Message": "The conditional request failed",
            }
            response: Any = error.response
            if "Item" in response:
                part.reason["Item"] = response["Item"]
        if kind != "Update":
            _bound_all_used(wanted)
        return part

    # Parts of calls

    def _table(self, request: Mapping[str, Any]) -> Table:
        try:
            return self.tables[request["TableName"]]
        except KeyError:
            raise NotModelledError(f"no table {request.get('TableName')!r}") from None

    def _lag(self, request: Mapping[str, Any]) -> float:
        return 0.0 if request.get("ConsistentRead") else self.lag()

    def _listed(
        self, table: Table, request: Mapping[str, Any], bound: Bound
    ) -> list[tuple[Place, Item]]:
        """The items that a query asks for with their places, in the order of table or index."""
        index = request.get("IndexName")
        hash_key, range_key = table.hash_key, table.range_key
        if index is not None:
            if index not in table.indexes:
                raise NotModelledError(f"no index {index!r}")
            if request.get("ConsistentRead"):
                raise ExpressionError("consistent reads are not supported on an index")
            hash_key, range_key = table.indexes[index]
        if range_key is None:
            raise NotModelledError("a query of a table without a sort key")
        self.expressions.add(request["KeyConditionExpression"])
        partition, accepts = expressions.key_condition(
            request["KeyConditionExpression"], bound, hash_key, range_key
        )
        lag = self._lag(request)
        if index is not None:
            items = table.indexed(index, partition, lag)
        else:
            items = table.partition(partition["S"], lag)
        return [(_place(table, request, item), item) for item in items if accepts(item[range_key])]

    def _is_taken(self, table: Table, key: Key) -> bool:
        return self._taken.get((table.name, key), 0.0) > self.kernel.now

    def end_transactions(self) -> None:
        """Let go of the items that are taken, as for a writer that tried until it got through."""
        self._taken.clear()

    def _condition(self, text: str) -> expressions.Condition:
        self.expressions.add(text)
        return expressions.condition(text)

    def _projected(self, item: Item, request: Mapping[str, Any], bound: Bound) -> Item:
        text = request.get("ProjectionExpression")
        if text is None:
            return expressions.clone(item)
        self.expressions.add(text)
        paths = [expressions.resolve(path, bound) for path in expressions.projection(text)]
        return expressions.projected(item, paths)

    def _checked(
        self, table: Table, key: Key, request: Mapping[str, Any], operation: str
    ) -> Item | None:
        """The item before a write whose condition holds, and that meets no transaction."""
        if self._is_taken(table, key):
            raise client_error(
                operation, "TransactionConflictException", "Transaction is ongoing for the item"
            )
        old = table.items.get(key)
        text = request.get("ConditionExpression")
        if text is not None and not self._condition(text)(old or {}, _bound(request)):
            extra: dict[str, Any] = {}
            if request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and old is not None:
                extra["Item"] = expressions.clone(old)
            raise client_error(
                operation,
                "ConditionalCheckFailedException",
                "The conditional request failed",
                **extra,
            )
        return old

    def _updated(
        self, table: Table, key: Key, request: Mapping[str, Any]
    ) -> tuple[Item, list[expressions.Path]]:
        bound = _bound(request)
        names = [table.hash_key] if table.range_key is None else [table.hash_key, table.range_key]
        before = table.items.get(key)
        if before is None:
            before = {name: {"S": part} for name, part in zip(names, key, strict=True)}
        if "UpdateExpression" not in request:
            return before, []
        self.expressions.add(request["UpdateExpression"])
        new, paths = expressions.apply(
            expressions.update(request["UpdateExpression"]), before, bound
        )
        if any(path[0] in names for path in paths):
            raise ExpressionError("cannot update a key attribute")
        if "ConditionExpression" in request:
            self._condition(request["ConditionExpression"])(before, bound)
        bound.check_all_used()
        return stored(new), paths


_WRITE = (
    "TableName",
    "ConditionExpression",
    "ExpressionAttributeNames",
    "ExpressionAttributeValues",
    "ReturnValues",
    "ReturnValuesOnConditionCheckFailure",
)


class _Refusing:
    """Turns what an expression is refused for into DynamoDB's answer."""

    def __init__(self, operation: str) -> None:
        self.operation = operation

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ExpressionError):
            raise client_error(self.operation, "ValidationException", str(error)) from error


def _check(operation: str, request: Mapping[str, Any], allowed: Iterable[str]) -> None:
    unknown = request.keys() - set(allowed)
    if unknown:
        raise NotModelledError(f"{operation} with {sorted(unknown)}")


def _bound(request: Mapping[str, Any]) -> Bound:
    bound = Bound(
        request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
    )
    # What an expression names is used, whether or not there is an item.
    for path in expressions.projection(request.get("ProjectionExpression") or "nothing"):
        expressions.resolve(path, bound)
    return bound


def _bound_all_used(request: Mapping[str, Any]) -> None:
    bound = _bound(request)
    if "ConditionExpression" in request:
        expressions.condition(request["ConditionExpression"])({}, bound)
    bound.check_all_used()


def _returned(
    request: Mapping[str, Any],
    old: Item | None,
    new: Item | None,
    paths: list[expressions.Path],
) -> Answer:
    wanted = request.get("ReturnValues", "NONE")
    item = new if wanted.endswith("_NEW") else old
    if wanted == "NONE" or item is None:
        return {}
    if wanted.startswith("ALL"):
        return {"Attributes": expressions.clone(item)}
    changed = expressions.projected(item, paths)
    return {"Attributes": changed} if changed else {}
