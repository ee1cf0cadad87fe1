"""Faults of AWS on a real client: calls that are refused as a whole, or done in part only.

What is done in part is done: the rest of the request never leaves the client, and the answer says
what AWS says of the entries that it did not take.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

type Params = dict[str, Any]
type Answer = dict[str, Any]
# Of a request's entry: whether AWS is not to do it.
type Chosen = Callable[[Any], bool]


@dataclass(frozen=True)
class _Partial:
    """How a batch call is split, and how its answer tells of what was not done.

    Attributes:
        entries: the entries in the request; they may be changed in place.
        tell: adds to the answer to the rest of the request what was not done of the whole.
    """

    entries: Callable[[Params], dict[str, list[Any]]]
    replace: Callable[[Params, dict[str, list[Any]]], None]
    tell: Callable[[Answer, Params, dict[str, list[Any]]], None]


def _entries(params: Params) -> dict[str, list[Any]]:
    return {"": params["Entries"]}


def _replace_entries(params: Params, left: dict[str, list[Any]]) -> None:
    params["Entries"] = left[""]


def _tell_failed(answer: Answer, _params: Params, undone: dict[str, list[Any]]) -> None:
    answer.setdefault("Failed", []).extend(
        {"Id": entry["Id"], "SenderFault": False, "Code": "InternalError", "Message": "try again"}
        for entry in undone[""]
    )


def _tell_events(answer: Answer, params: Params, undone: dict[str, list[Any]]) -> None:
    done = iter(answer.get("Entries", []))
    failed = {"ErrorCode": "ThrottlingException", "ErrorMessage": "try again"}
    answer["Entries"] = [
        dict(failed) if entry in undone[""] else next(done) for entry in params["Entries"]
    ]
    answer["FailedEntryCount"] = len(undone[""])


def _writes(params: Params) -> dict[str, list[Any]]:
    return dict(params["RequestItems"])


def _replace_writes(params: Params, left: dict[str, list[Any]]) -> None:
    params["RequestItems"] = {table: puts for table, puts in left.items() if puts}


def _tell_writes(answer: Answer, _params: Params, undone: dict[str, list[Any]]) -> None:
    answer["UnprocessedItems"] = {table: puts for table, puts in undone.items() if puts}


def _keys(params: Params) -> dict[str, list[Any]]:
    return {table: request["Keys"] for table, request in params["RequestItems"].items()}


def _replace_keys(params: Params, left: dict[str, list[Any]]) -> None:
    params["RequestItems"] = {
        table: {**params["RequestItems"][table], "Keys": keys}
        for table, keys in left.items()
        if keys
    }


def _tell_keys(answer: Answer, params: Params, undone: dict[str, list[Any]]) -> None:
    answer.setdefault("Responses", {})
    answer["UnprocessedKeys"] = {
        table: {**params["RequestItems"][table], "Keys": keys}
        for table, keys in undone.items()
        if keys
    }


_PARTIALS: Mapping[str, _Partial] = {
    "SendMessageBatch": _Partial(_entries, _replace_entries, _tell_failed),
    "ChangeMessageVisibilityBatch": _Partial(_entries, _replace_entries, _tell_failed),
    "PutEvents": _Partial(_entries, _replace_entries, _tell_events),
    "BatchWriteItem": _Partial(_writes, _replace_writes, _tell_writes),
    "BatchGetItem": _Partial(_keys, _replace_keys, _tell_keys),
}


@dataclass(frozen=True)
class _Call:
    """A call that is done in part only."""

    whole: Params
    undone: dict[str, list[Any]]
    has_rest: bool


_UNDO: list[Callable[[], None]] = []


def undo_all() -> None:
    """Let all clients do as they should again."""
    while _UNDO:
        _UNDO.pop()()


@dataclass
class Faults:
    """What goes wrong with the calls of one client.

    Attributes:
        calls: the parameters of each call, by operation, as the code made them.
    """

    client: Any
    calls: dict[str, list[Params]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._register("provide-client-params.*.*", self._note)

    def _register(self, event: str, handler: Callable[..., Any]) -> None:
        events = self.client.meta.events
        events.register(event, handler)
        _UNDO.append(lambda: events.unregister(event, handler))

    def _note(self, params: Params, model: Any, **_: Any) -> None:
        self.calls.setdefault(model.name, []).append(deepcopy(params))

    def refuse(self, operation: str, code: str, *, times: int = 10**9, status: int = 400) -> None:
        """Refuse the next calls of an operation as a whole."""
        left = times
        service = self.client.meta.service_model.service_name

        def answer(**_: Any) -> tuple[Any, Answer] | None:
            nonlocal left
            if left <= 0:
                return None
            left -= 1
            return _Http(status), {
                "Error": {"Code": code, "Message": "made up"},
                "ResponseMetadata": {"HTTPStatusCode": status},
            }

        self._register(f"before-call.{service}.{operation}", answer)

    def lose_answer(self, operation: str) -> None:
        """Let the next call of an operation be done, its answer lost, and botocore repeat it."""
        lost = False
        service = self.client.meta.service_model.service_name

        def repeat(**_: Any) -> int | None:
            nonlocal lost
            if lost:
                return None
            lost = True
            return 0  # seconds to wait before the repetition

        self._register(f"needs-retry.{service}.{operation}", repeat)

    def once_answered(self, operation: str, action: Callable[[], object]) -> None:
        """Let something happen right after the next answer to an operation."""
        service = self.client.meta.service_model.service_name
        actions = [action]

        def act(**_: Any) -> None:
            if actions:
                actions.pop()()

        self._register(f"after-call.{service}.{operation}", act)

    def leave_undone(self, operation: str, chosen: Chosen, *, times: int = 10**9) -> None:
        """Leave the chosen entries of the next calls that have any undone."""
        left = times
        service = self.client.meta.service_model.service_name
        partial = _PARTIALS[operation]
        key = object()  # of what is kept of a call: several are on their way at once

        def split(params: Params, context: dict[object, Any], **_: Any) -> None:
            nonlocal left
            if left <= 0:
                return
            whole = deepcopy(params)
            entries = partial.entries(params)
            undone = {name: [e for e in each if chosen(e)] for name, each in entries.items()}
            rest = {name: [e for e in each if not chosen(e)] for name, each in entries.items()}
            if any(undone.values()):
                left -= 1
                context[key] = _Call(whole, undone, any(rest.values()))
                partial.replace(params, rest)

        def empty(context: dict[object, Any], **_: Any) -> tuple[Any, Answer] | None:
            """AWS takes no empty batch: if nothing is left, there is no call."""
            if key not in context or context[key].has_rest:
                return None
            return _Http(200), {"ResponseMetadata": {"HTTPStatusCode": 200}}

        def tell(parsed: Answer, context: dict[object, Any], **_: Any) -> None:
            if key in context:
                partial.tell(parsed, context[key].whole, context[key].undone)

        self._register(f"provide-client-params.{service}.{operation}", split)
        self._register(f"before-call.{service}.{operation}", empty)
        self._register(f"after-call.{service}.{operation}", tell)


@dataclass(frozen=True)
class _Http:
    """As much of an HTTP answer as botocore looks at."""

    status_code: int
