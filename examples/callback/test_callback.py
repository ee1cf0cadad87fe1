"""The callback by itself: no AWS."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest

SAMPLE = json.loads((Path(__file__).parents[2] / "events" / "outcome-rejected.json").read_text())
EVENT = json.loads(SAMPLE["Records"][0]["body"])


class FakeTable:
    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}

    def put_item(self, *, TableName: str, Item: dict[str, Any]) -> None:  # noqa: N803 - boto3's
        assert TableName == "rejections"
        self.items[Item["receiver_uuid"]["S"], Item["notification_id"]["S"]] = Item


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> FakeTable:
    made = FakeTable()
    monkeypatch.setenv("REJECTIONS_TABLE", "rejections")
    monkeypatch.setattr(boto3, "client", lambda _service: made)
    return made


@pytest.fixture
def app(table: FakeTable) -> ModuleType:
    """The function, as Lambda loads it."""
    del table
    module = ModuleType("app")
    exec((Path(__file__).parent / "src" / "app.py").read_text(), module.__dict__)  # noqa: S102
    return module


def records(*bodies: str) -> dict[str, Any]:
    return {"Records": [{"messageId": str(n), "body": body} for n, body in enumerate(bodies)]}


def test_a_rejection_is_kept_once_however_often_it_is_told(
    app: ModuleType, table: FakeTable
) -> None:
    assert app.lambda_handler(records(*[json.dumps(EVENT)] * 2), None) == {"batchItemFailures": []}

    [kept] = table.items.values()
    assert kept["receiver_uuid"] == {"S": EVENT["detail"]["receiver_uuid"]}
    assert kept["reason"] == {"S": EVENT["detail"]["reason"]}


def test_what_cannot_be_kept_stays_in_the_queue_alone(app: ModuleType, table: FakeTable) -> None:
    answer = app.lambda_handler(records("{}", json.dumps(EVENT)), None)

    assert answer == {"batchItemFailures": [{"itemIdentifier": "0"}]}
    assert len(table.items) == 1
