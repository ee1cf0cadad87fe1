"""The stand-in of DynamoDB against moto, and against the documentation where moto is silent."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from tests.aws.dynamodb import DynamoDB, Table
from tests.aws.kernel import Kernel, NotModelledError

TABLE = "table"
INDEXED = "indexed"


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def table(kernel: Kernel) -> Table:
    return Table(kernel, TABLE, "h", "r")


@pytest.fixture
def service(kernel: Kernel, table: Table) -> DynamoDB:
    service = DynamoDB(kernel, page_items=3)
    service.add(table)
    return service


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        client = boto3.client("dynamodb", region_name="eu-central-1")
        client.create_table(
            TableName=TABLE,
            KeySchema=[
                {"AttributeName": "h", "KeyType": "HASH"},
                {"AttributeName": "r", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "h", "AttributeType": "S"},
                {"AttributeName": "r", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        client.create_table(
            TableName=INDEXED,
            KeySchema=[
                {"AttributeName": "h", "KeyType": "HASH"},
                {"AttributeName": "r", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "h", "AttributeType": "S"},
                {"AttributeName": "r", "AttributeType": "S"},
                {"AttributeName": "shard", "AttributeType": "S"},
                {"AttributeName": "due", "AttributeType": "N"},
            ],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by_due",
                    "KeySchema": [
                        {"AttributeName": "shard", "KeyType": "HASH"},
                        {"AttributeName": "due", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client


def key(r: str, h: str = "h") -> dict[str, Any]:
    return {"h": {"S": h}, "r": {"S": r}}


def put(service: DynamoDB, r: str, **attributes: Any) -> None:
    service.put_item(TableName=TABLE, Item=key(r) | attributes)


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


# The same calls to both

values = st.sampled_from(({"N": "1"}, {"N": "2"}, {"N": "10"}, {"S": "x"}, {"S": "xy"}))
conditions = st.sampled_from(
    (
        None,
        "a = :v",
        "a <> :v",
        "n < :one",
        "n >= :one",
        "attribute_exists(a)",
        "attribute_not_exists(a)",
        "attribute_exists(a) AND a = :v",
        "attribute_not_exists(a) OR a = :v",
        "NOT a = :v",
        "NOT (a = :v OR b = :v)",
        "a IN (:v, :one)",
        "begins_with(a, :v)",
        "contains(a, :v)",
        "m.x = :v",
        "#a = :v AND #b <> :v",
    )
)
updates = st.sampled_from(
    (
        "SET a = :v",
        "SET a = :v, b = :v",
        "SET a = if_not_exists(a, :v)",
        "SET n = if_not_exists(n, :one) + :one",
        "SET #a = :v REMOVE b",
        "REMOVE a, b",
        "ADD n :one",
        "SET m.x = :v",
        "SET m = :map",
        "REMOVE m.x",
        "SET a = b",
        "ADD s :set",
        "DELETE s :set",
    )
)
# Left out: what moto 5.2 gets wrong (size, IN, BETWEEN of a missing attribute; keys in UPDATED_*).
_RETURN = ("NONE", "ALL_OLD", "ALL_NEW")


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    operation = draw(st.sampled_from(("put_item", "update_item", "update_item", "delete_item")))
    request: dict[str, Any] = {"TableName": TABLE}
    target = key(draw(st.sampled_from(("1", "2"))))
    text = ""
    if operation == "put_item":
        names = draw(st.lists(st.sampled_from(("a", "b")), unique=True))
        request["Item"] = target | {name: draw(values) for name in names}
        if draw(st.booleans()):
            request["Item"]["m"] = {"M": {"x": draw(values)}}
    else:
        request["Key"] = target
    if operation == "update_item":
        request["UpdateExpression"] = draw(updates)
        request["ReturnValues"] = draw(st.sampled_from(_RETURN))
        text += request["UpdateExpression"]
    elif draw(st.booleans()):
        request["ReturnValues"] = "ALL_OLD"
    condition = draw(conditions)
    if condition is not None:
        request["ConditionExpression"] = condition
        text += condition
    placeholders = {
        ":v": draw(values),
        ":one": {"N": "1"},
        ":map": {"M": {"x": {"S": "x"}}},
        ":set": {"SS": ["p", "q"]},
    }
    used = {name: value for name, value in placeholders.items() if name in text}
    if used:
        request["ExpressionAttributeValues"] = used
    names_used = {f"#{name}": name for name in "ab" if f"#{name}" in text}
    if names_used:
        request["ExpressionAttributeNames"] = names_used
    return operation, request


def answer(client: Any, operation: str, request: dict[str, Any]) -> Any:
    try:
        result = dict(getattr(client, operation)(**request))
    except ClientError as error:
        return error.response["Error"]["Code"]
    result.pop("ResponseMetadata", None)
    result.pop("ConsumedCapacity", None)  # moto gives it unasked
    return result


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(calls(), min_size=1, max_size=8))
def test_writes_are_as_in_moto(moto: Any, sequence: list[tuple[str, dict[str, Any]]]) -> None:
    kernel = Kernel()
    service = DynamoDB(kernel)
    service.add(Table(kernel, TABLE, "h", "r"))
    for r in ("1", "2"):
        moto.delete_item(TableName=TABLE, Key=key(r))
    for operation, request in sequence:
        ours, theirs = answer(service, operation, request), answer(moto, operation, request)
        assert ours == theirs, (operation, request)
    for r in ("1", "2"):
        assert answer(service, "get_item", {"TableName": TABLE, "Key": key(r)}) == answer(
            moto, "get_item", {"TableName": TABLE, "Key": key(r)}
        )


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("size(a) > :two", True),
        ("size(missing) > :two", False),
        ("a IN (:x, b)", False),
        ("missing IN (missing, b)", False),
        ("n BETWEEN :two AND :three", True),
        ("a BETWEEN :two AND :three", False),
        ("missing <> :x", True),
        ("missing = :x", False),
        ("attribute_type(n, :type)", True),
    ],
)
def test_conditions_are_as_documented(service: DynamoDB, condition: str, *, holds: bool) -> None:
    put(service, "1", a={"S": "xyz"}, n={"N": "2.5"})
    values = {
        ":x": {"S": "x"},
        ":two": {"N": "2"},
        ":three": {"N": "3"},
        ":type": {"S": "N"},
    }
    request = {
        "TableName": TABLE,
        "Key": key("1"),
        "ConditionExpression": condition,
        "ExpressionAttributeValues": {k: v for k, v in values.items() if k in condition},
    }
    if not request["ExpressionAttributeValues"]:
        del request["ExpressionAttributeValues"]
    expected = {} if holds else "ConditionalCheckFailedException"
    assert answer(service, "delete_item", request) == expected


def test_what_an_update_has_changed_is_given_back_on_request(service: DynamoDB) -> None:
    put(service, "1", a={"N": "1"}, b={"N": "1"})
    request = {
        "TableName": TABLE,
        "Key": key("1"),
        "UpdateExpression": "ADD a :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }
    new = service.update_item(**request, ReturnValues="UPDATED_NEW")
    old = service.update_item(**request, ReturnValues="UPDATED_OLD")

    assert new["Attributes"] == {"a": {"N": "2"}}
    assert old["Attributes"] == {"a": {"N": "2"}}


# Reads


def test_a_query_gives_pages_in_the_order_of_the_sort_key(service: DynamoDB) -> None:
    for r in ("b1", "a", "b3", "b2", "b5", "b4", "c"):
        put(service, r)
    request: dict[str, Any] = {
        "TableName": TABLE,
        "KeyConditionExpression": "h = :h AND begins_with(r, :b)",
        "ExpressionAttributeValues": {":h": {"S": "h"}, ":b": {"S": "b"}},
    }
    pages = []
    while True:
        page = service.query(**request)
        pages.append([item["r"]["S"] for item in page["Items"]])
        if "LastEvaluatedKey" not in page:
            break
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    assert pages == [["b1", "b2", "b3"], ["b4", "b5"]]


def test_a_page_that_reaches_its_limit_may_be_followed_by_an_empty_one(service: DynamoDB) -> None:
    put(service, "1")
    request = {
        "TableName": TABLE,
        "KeyConditionExpression": "h = :h",
        "ExpressionAttributeValues": {":h": {"S": "h"}},
        "Limit": 1,
    }
    first = service.query(**request)
    second = service.query(**request, ExclusiveStartKey=first["LastEvaluatedKey"])

    assert first["Count"] == 1
    assert second["Items"] == []
    assert "LastEvaluatedKey" not in second


def test_a_query_can_count(service: DynamoDB) -> None:
    put(service, "1")
    put(service, "2")
    page = service.query(
        TableName=TABLE,
        KeyConditionExpression="h = :h",
        ExpressionAttributeValues={":h": {"S": "h"}},
        Select="COUNT",
    )

    assert page["Count"] == 2
    assert "Items" not in page


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("a", "b", "c", "d")),
            st.sampled_from(("one", "two", None)),
            st.sampled_from((2, 9, 10, None)),
        ),
        min_size=1,
    ),
    st.sampled_from(("", " AND due <= :due", " AND due > :due", " AND due BETWEEN :low AND :due")),
)
def test_a_query_of_an_index_is_as_in_moto(
    moto: Any, writes: list[tuple[str, str | None, int | None]], condition: str
) -> None:
    kernel = Kernel()
    service = DynamoDB(kernel)
    service.add(Table(kernel, INDEXED, "h", "r", indexes={"by_due": ("shard", "due")}))
    for r in ("a", "b", "c", "d"):
        moto.delete_item(TableName=INDEXED, Key=key(r))
    for r, shard, due in writes:
        item = key(r)
        if shard is not None:
            item["shard"] = {"S": shard}
        if due is not None:
            item["due"] = {"N": f"{due}"}
        for client in (service, moto):
            client.put_item(TableName=INDEXED, Item=item)
    values = {":one": {"S": "one"}, ":low": {"N": "2"}, ":due": {"N": "9"}}
    text = f"shard = :one{condition}"
    request = {
        "TableName": INDEXED,
        "IndexName": "by_due",
        "KeyConditionExpression": text,
        "ExpressionAttributeValues": {name: it for name, it in values.items() if name in text},
    }
    ours, theirs = (answer(client, "query", request) for client in (service, moto))
    # Items of the same sort key come in any order.
    assert sorted(map(str, ours["Items"])) == sorted(map(str, theirs["Items"]))
    assert [each["due"] for each in ours["Items"]] == [each["due"] for each in theirs["Items"]]


def test_an_index_is_read_page_by_page_and_never_consistently(kernel: Kernel) -> None:
    service = DynamoDB(kernel, page_items=2)
    service.add(Table(kernel, INDEXED, "h", "r", indexes={"by_due": ("shard", "due")}))
    for number in (3, 10, 2, 10, 1):
        item = key(f"{len(service.tables[INDEXED].items)}") | {
            "shard": {"S": "s"},
            "due": {"N": f"{number}"},
        }
        service.put_item(TableName=INDEXED, Item=item)
    request: dict[str, Any] = {
        "TableName": INDEXED,
        "IndexName": "by_due",
        "KeyConditionExpression": "shard = :s",
        "ExpressionAttributeValues": {":s": {"S": "s"}},
    }
    pages = [service.query(**request)]
    while "LastEvaluatedKey" in pages[-1]:
        start = pages[-1]["LastEvaluatedKey"]
        assert start.keys() == {"h", "r", "shard", "due"}
        pages.append(service.query(**request, ExclusiveStartKey=start))

    dues = [[each["due"]["N"] for each in page["Items"]] for page in pages]
    assert dues == [["1", "2"], ["3", "10"], ["10"]]
    with pytest.raises(ClientError) as error:
        service.query(**request, ConsistentRead=True)
    assert code(error) == "ValidationException"


def test_each_item_of_a_batch_may_be_of_another_age(kernel: Kernel, service: DynamoDB) -> None:
    for r in ("1", "2"):
        put(service, r, a={"S": "old"})
    kernel.now += 10
    for r in ("1", "2"):
        put(service, r, a={"S": "new"})
    ages = iter((1.0, 0.0))
    service.lag = lambda: next(ages)
    answered = service.batch_get_item(RequestItems={TABLE: {"Keys": [key("1"), key("2")]}})

    found = {item["r"]["S"]: item["a"]["S"] for item in answered["Responses"][TABLE]}
    assert found == {"1": "old", "2": "new"}


def test_an_eventual_read_may_be_old_and_a_consistent_one_is_not(
    kernel: Kernel, service: DynamoDB
) -> None:
    put(service, "1", a={"N": "1"})
    kernel.now += 10
    put(service, "1", a={"N": "2"})
    service.lag = lambda: 1.0

    old = service.get_item(TableName=TABLE, Key=key("1"))
    new = service.get_item(TableName=TABLE, Key=key("1"), ConsistentRead=True)

    assert (old["Item"]["a"]["N"], new["Item"]["a"]["N"]) == ("1", "2")


def test_a_batch_of_reads_leaves_some_undone(service: DynamoDB) -> None:
    for r in ("1", "2", "3"):
        put(service, r)
    service.left_undone = lambda index: index == 1
    keys = [key(r) for r in ("1", "2", "3", "missing")]
    answered = service.batch_get_item(RequestItems={TABLE: {"Keys": keys, "ConsistentRead": True}})

    assert {item["r"]["S"] for item in answered["Responses"][TABLE]} == {"1", "3"}
    assert answered["UnprocessedKeys"] == {TABLE: {"Keys": [key("2")], "ConsistentRead": True}}


def test_a_batch_of_reads_does_not_take_the_same_key_twice(service: DynamoDB) -> None:
    with pytest.raises(ClientError) as error:
        service.batch_get_item(RequestItems={TABLE: {"Keys": [key("1"), key("1")]}})
    assert code(error) == "ValidationException"


def test_what_a_caller_gets_is_a_copy(service: DynamoDB) -> None:
    put(service, "1", m={"M": {"x": {"S": "x"}}})
    service.get_item(TableName=TABLE, Key=key("1"))["Item"]["m"]["M"]["x"]["S"] = "changed"

    assert service.get_item(TableName=TABLE, Key=key("1"))["Item"]["m"]["M"]["x"]["S"] == "x"


# Writes


def test_a_failed_condition_can_give_the_item_back(service: DynamoDB) -> None:
    put(service, "1", a={"N": "1"})
    with pytest.raises(ClientError) as error:
        service.put_item(
            TableName=TABLE,
            Item=key("1"),
            ConditionExpression="attribute_not_exists(h)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert code(error) == "ConditionalCheckFailedException"
    assert error.value.response["Item"]["a"] == {"N": "1"}  # type: ignore[typeddict-item]


def test_a_placeholder_that_is_not_used_is_refused(service: DynamoDB) -> None:
    with pytest.raises(ClientError) as error:
        service.put_item(
            TableName=TABLE,
            Item=key("1"),
            ConditionExpression="attribute_not_exists(h)",
            ExpressionAttributeValues={":x": {"S": "x"}},
        )
    assert code(error) == "ValidationException"


def test_a_placeholder_of_a_projection_is_used_although_nothing_is_found(
    service: DynamoDB,
) -> None:
    named = {"ProjectionExpression": "#a", "ExpressionAttributeNames": {"#a": "a"}}
    assert service.get_item(TableName=TABLE, Key=key("1"), **named) == {}
    page = service.query(
        TableName=TABLE,
        KeyConditionExpression="h = :h",
        FilterExpression="b = :b",
        ExpressionAttributeValues={":h": {"S": "h"}, ":b": {"S": "b"}},
        **named,
    )
    assert page["Items"] == []


def test_a_batch_of_writes_leaves_some_undone(service: DynamoDB, table: Table) -> None:
    service.left_undone = lambda index: index == 0
    puts = [{"PutRequest": {"Item": key(r)}} for r in ("1", "2")]
    answered = service.batch_write_item(RequestItems={TABLE: puts})

    assert answered["UnprocessedItems"] == {TABLE: [puts[0]]}
    assert set(table.items) == {("h", "2")}


def transaction(*actions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"TransactItems": list(actions), **more}


def a_put(r: str, condition: str | None = None) -> dict[str, Any]:
    action: dict[str, Any] = {"TableName": TABLE, "Item": key(r)}
    if condition is not None:
        action["ConditionExpression"] = condition
    return {"Put": action}


def test_a_transaction_is_done_as_a_whole_or_not_at_all(service: DynamoDB, table: Table) -> None:
    with pytest.raises(ClientError) as error:
        service.transact_write_items(
            **transaction(a_put("1"), a_put("2", "attribute_exists(h)"), a_put("3"))
        )
    reasons = error.value.response["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["None", "ConditionalCheckFailed", "None"]
    assert not table.items

    service.transact_write_items(**transaction(a_put("1"), a_put("2", "attribute_not_exists(h)")))
    assert set(table.items) == {("h", "1"), ("h", "2")}


def test_a_transaction_with_the_same_token_is_done_once(service: DynamoDB) -> None:
    once = transaction(a_put("1", "attribute_not_exists(h)"), ClientRequestToken="token")
    service.transact_write_items(**once)
    service.transact_write_items(**once)

    with pytest.raises(ClientError):
        service.transact_write_items(**{**once, "ClientRequestToken": "another"})


# What the Developer Guide says of conflicts ("Transaction conflict handling"); moto has none.


def test_a_write_that_meets_a_transaction_is_refused(kernel: Kernel, service: DynamoDB) -> None:
    service.transaction_seconds = 0.02
    service.transact_write_items(**transaction(a_put("1"), a_check("2")))
    update = {"TableName": TABLE, "Key": key("1"), "UpdateExpression": "REMOVE a"}

    for _ in range(2):
        with pytest.raises(ClientError) as error:
            service.update_item(**update)
        assert code(error) == "TransactionConflictException"
    put(service, "3")  # nothing is in its way
    kernel.now += 0.03
    service.update_item(**update)


def test_a_transaction_that_meets_another_is_cancelled(kernel: Kernel, service: DynamoDB) -> None:
    service.transaction_seconds = 0.02
    service.transact_write_items(**transaction(a_put("1"), a_check("2")))
    with pytest.raises(ClientError) as error:
        service.transact_write_items(**transaction(a_put("0"), a_put("2")))
    reasons = error.value.response["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["None", "TransactionConflict"]
    kernel.now += 0.03
    service.transact_write_items(**transaction(a_put("0"), a_put("2")))


def test_a_batch_that_meets_a_transaction_leaves_those_items(service: DynamoDB) -> None:
    service.transaction_seconds = 0.02
    service.transact_write_items(**transaction(a_put("1")))
    puts = [{"PutRequest": {"Item": key(r)}} for r in ("1", "2")]
    answered = service.batch_write_item(RequestItems={TABLE: puts})

    assert answered["UnprocessedItems"] == {TABLE: [puts[0]]}


def a_check(r: str) -> dict[str, Any]:
    condition = "attribute_not_exists(h)"
    return {"ConditionCheck": {"TableName": TABLE, "Key": key(r), "ConditionExpression": condition}}


def test_a_condition_check_writes_nothing_and_can_cancel(service: DynamoDB, table: Table) -> None:
    service.transact_write_items(**transaction(a_put("1"), a_check("2")))
    assert set(table.items) == {("h", "1")}

    put(service, "2", a={"N": "1"})
    refused = a_check("2")
    refused["ConditionCheck"]["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    with pytest.raises(ClientError) as error:
        service.transact_write_items(**transaction(a_put("3"), refused))
    reasons = error.value.response["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["None", "ConditionalCheckFailed"]
    assert reasons[1]["Item"]["a"] == {"N": "1"}  # type: ignore[typeddict-item]
    assert ("h", "3") not in table.items


# Streams


def test_a_write_that_changes_nothing_is_not_in_the_stream(service: DynamoDB, table: Table) -> None:
    for _ in range(2):
        put(service, "1", a={"N": "1"})
        service.delete_item(TableName=TABLE, Key=key("2"))
    put(service, "1", a={"N": "1.0"})

    assert len(table.writes) == 1


def test_a_record_has_both_images(service: DynamoDB, table: Table) -> None:
    put(service, "1", a={"N": "1"})
    put(service, "1", a={"N": "2"})
    service.delete_item(TableName=TABLE, Key=key("1"))

    images = [
        tuple(None if item is None else item["a"]["N"] for item in (write.old, write.new))
        for write in table.writes
    ]
    assert images == [(None, "1"), ("1", "2"), ("2", None)]
    numbers = [write.sequence_number for write in table.writes]
    assert numbers == sorted(set(numbers))


def test_what_is_not_modelled_is_said(service: DynamoDB) -> None:
    with pytest.raises(NotModelledError):
        service.get_item(TableName=TABLE, Key=key("1"), AttributesToGet=["a"])
    with pytest.raises(NotModelledError):
        service.get_item(TableName="another", Key=key("1"))
