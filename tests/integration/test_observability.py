"""What is seen of the pipeline: steps, metrics, traces; and that dashboard, alarms and queries look
at what is really there.
"""

import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import pytest

from fl_notifications.deliveries.post import Answer, Responded, Unreachable
from fl_notifications.deliveries.signing import REFRESH_SECONDS
from fl_notifications.notification_type import NotificationType
from fl_notifications.telemetry.tracing import DAEMON_VARIABLE, HEADER_VARIABLE
from tests.aws_metrics import AWS_METRICS
from tests.cloudformation import ROOT, observability, resources, template
from tests.insights import Query
from tests.integration.conftest import Start
from tests.integration.faults import Faults, undo_all
from tests.integration.handlers import Function, with_poster
from tests.integration.mailboxes import put_round, signed_request
from tests.integration.stack import Stack
from tests.log_lines import SECRETS, check_metrics, parse_lines, steps
from tests.made import MODEL_UUID, TRAINING_UUID, participant_item, training_item, uuid_of

TOKEN: Final = "token-in-the-query"
OTHER_UUID: Final = uuid_of("another training")
PLACEHOLDERS: Final = {
    "PUT-THE-TRAINING-HERE": "training_uuid",
    "PUT-THE-RECEIVER-HERE": "receiver_uuid",
    "PUT-THE-NOTIFICATION-HERE": "notification_id",
}

ALARMS: Final = resources("AWS::CloudWatch::Alarm")
QUERIES: Final = resources("AWS::Logs::QueryDefinition")
DASHBOARD: Final = resources("AWS::CloudWatch::Dashboard")["Dashboard"]


class Receivers:
    """Answer by the receiver's name, which is in the endpoint."""

    def __init__(self) -> None:
        self._flaky_has_answered = False
        self.traceparents: list[str | None] = []

    def post(self, url: str, headers: Mapping[str, str], body: bytes, *, turn: int = 0) -> Answer:
        del body, turn
        self.traceparents.append(headers.get("traceparent"))
        if "//rejecting." in url:
            return Responded(400, None)
        if "//dead." in url:
            return Unreachable("connection refused")
        if "//flaky." in url and not self._flaky_has_answered:
            self._flaky_has_answered = True
            return Responded(503, None)
        return Responded(200, None)


@dataclass(frozen=True)
class Metric:
    """A metric as CloudWatch knows it."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


@dataclass
class Pipeline:
    """All functions, run by hand."""

    stack: Stack
    build: Function
    deliver: Function
    callbacks: tuple[Function, ...]
    waiting: tuple[Function, Function]

    def change(self, *items: dict[str, Any]) -> None:
        """Write items and build what follows."""
        self.stack.put(*items)
        self.build(self.stack.changes())

    def work_off(self) -> None:
        """Deliver all that is in the queue; what waits for another attempt gets it at once."""
        while (batch := self.stack.receive())["Records"]:
            while batch["Records"]:
                result = self.deliver(batch)
                self.stack.settle(batch, result)
                left = {each["itemIdentifier"] for each in result["batchItemFailures"]}
                batch = {
                    "Records": [each for each in batch["Records"] if each["messageId"] in left]
                }
        for function in self.callbacks:
            for event in self.stack.outcomes(function.name):
                queued = function.name == "CallbackFailure"
                function(self.stack.callbacks(event) if queued else event)

    def fail_a_callback(self) -> None:
        """Let an event come to CallbackFailure while there is no table for it."""
        (failing,) = [each for each in self.callbacks if each.name == "CallbackFailure"]
        faults = Faults(failing.app.clients.dynamodb)
        faults.refuse("BatchGetItem", "InternalServerError", status=500)
        event = json.loads(
            json.loads((ROOT / "events" / "outcome-rejected.json").read_text())["Records"][0][
                "body"
            ]
        )
        failing(self.stack.callbacks(event))
        undo_all()

    def repeat(self, name: str) -> None:
        """Deliver once more what a receiver has got, as if it had not left the queue in time."""
        self.stack.put(receiver(name, joined_at="2026-03-01T12:00:00+00:00"))
        self.build(self.stack.changes())
        batch = self.stack.receive()
        self.stack.settle(batch, self.deliver(batch))
        for record in batch["Records"]:
            record["attributes"]["SentTimestamp"] = str(int(time.time() * 1000) + 1)
        self.stack.settle(batch, self.deliver(batch))

    def lose_the_secret(self) -> None:
        """Somebody puts something else into it; the function reads it again."""
        arn = self.stack.output("SigningSecretArn")
        before = self.stack.secrets.get_secret_value(SecretId=arn)["SecretString"]
        self.stack.secrets.put_secret_value(SecretId=arn, SecretBinary=b"\x00")
        secrets = self.deliver.app.deliverer.secrets
        secrets._read_at -= REFRESH_SECONDS
        assert before in secrets.get()
        self.deliver({"Records": []})
        self.stack.secrets.put_secret_value(SecretId=arn, SecretString=before)

    def use_a_mailbox(self) -> None:
        """A round is told by way of a mailbox, acknowledged, and overdue then."""
        training = {"training_uuid": uuid_of("a training with a mailbox")}
        self.change(
            participant_item("boxed", message_endpoint="mailbox:", **training),
            training_item(**training),
        )
        self.work_off()
        mailbox, sweep = self.waiting
        mailbox(signed_request(self.stack, "boxed"))
        fetched = [line["notification_id"] for line in steps(mailbox.lines, "fetched")]
        accepted = [{"id": each, "outcome": "accepted"} for each in fetched]
        mailbox(signed_request(self.stack, "boxed", accepted))
        put_round(self.stack, **training)
        sweep({})

    @property
    def functions(self) -> tuple[Function, ...]:
        return (self.build, self.deliver, *self.callbacks, *self.waiting)

    @property
    def text(self) -> str:
        return "".join(function.text for function in self.functions)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [line for function in self.functions for line in function.lines]


@pytest.fixture
def pipeline(stack: Stack, start: Start) -> Pipeline:
    build = start("BuildNotifications")
    deliver = start("DeliverNotification", MAX_ATTEMPTS="2")
    deliver.app.deliverer = with_poster(deliver, Receivers())  # type: ignore[attr-defined]
    callbacks = (start("CallbackSuccess"), start("CallbackFailure"))
    return Pipeline(stack, build, deliver, callbacks, (start("Mailbox"), start("Sweep")))


def endpoint(name: str) -> str:
    return f"https://{name}.example/messages?{TOKEN}=1"


def receiver(name: str, **values: Any) -> dict[str, Any]:
    return participant_item(name, message_endpoint=endpoint(name), **values)


@dataclass
class Seen:
    """What was seen of two trainings in which everything happened."""

    lines: list[dict[str, Any]]
    text: str
    metrics: frozenset[Metric]
    metric_lines: list[dict[str, Any]]
    master_secret: str
    stack: Stack


_SEEN: list[Seen] = []


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Seen:
    """What was seen; it takes some seconds, so that is done once for all tests that only look."""
    if not _SEEN:
        capsys: pytest.CaptureFixture[str] = request.getfixturevalue("capsys")
        _SEEN.append(look(request.getfixturevalue("pipeline"), capsys))
    return _SEEN[0]


def look(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> Seen:
    """Two trainings: every type of notification, and every way for one to end."""
    names = ("healthy", "flaky", "rejecting", "dead", "leaving")
    options = {"failure_policy": "quorum", "announce_removals": True}
    pipeline.change(
        *map(receiver, names),
        participant_item("unreadable", message_endpoint=7),
        training_item(round=1, options=options),
    )
    pipeline.work_off()
    pipeline.repeat("late")
    # The dead and the rejecting one are out. Round 2 is over before anybody has been told of it.
    pipeline.change(training_item(round=2, options=options))
    pipeline.change(training_item(round=3, state="SWAG_ROUND", options=options))
    pipeline.work_off()
    pipeline.change(training_item(round=3, state="MODEL_TEST", options=options))
    pipeline.stack.dynamodb.delete_item(
        TableName=pipeline.stack.trainings_table,
        Key={key: receiver("leaving")[key] for key in ("training_uuid", "entity")},
    )
    pipeline.change(training_item(round=3, state="COMPLETED", options=options))
    other = {"training_uuid": OTHER_UUID, "actor": {"uuid": uuid_of("a"), "message_endpoint": "x"}}
    pipeline.change(
        training_item(**other, options={"no such": 1}), training_item(**other | {"state": "ERROR"})
    )
    pipeline.work_off()
    pipeline.lose_the_secret()
    pipeline.fail_a_callback()
    pipeline.use_a_mailbox()
    metric_lines = parse_lines(capsys.readouterr().out)
    stack = pipeline.stack
    secret = stack.secrets.get_secret_value(SecretId=stack.output("SigningSecretArn"))
    return Seen(
        pipeline.lines,
        pipeline.text,
        frozenset(each for line in metric_lines for each in metrics(line)),
        metric_lines,
        secret["SecretString"],
        stack,
    )


def metrics(line: Mapping[str, Any]) -> Iterator[Metric]:
    """The metrics that CloudWatch makes of an EMF line."""
    for directive in line["_aws"]["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            dimensions = frozenset((name, line[name]) for name in names)
            for metric in directive["Metrics"]:
                yield Metric(directive["Namespace"], metric["Name"], dimensions)


# --- the log --------------------------------------------------------------------------------------


def test_each_step_of_a_notification_is_one_line(seen: Seen) -> None:
    counted = Counter(
        (line["notification_id"], line["step"], line.get("attempt"))
        for line in steps(seen.lines)
        if line["step"] not in {"held back", "overdue"}
    )
    assert set(counted.values()) == {1}
    built = {line["notification_id"] for line in steps(seen.lines, "built")}
    concluded = {line["notification_id"] for line in steps(seen.lines, "concluded")}
    assert built == concluded
    assert len(built) > 10


def test_the_life_of_a_notification_is_told_with_all_that_is_known(seen: Seen) -> None:
    (concluded,) = [
        line
        for line in steps(seen.lines, "concluded")
        if line["receiver_uuid"] == uuid_of("rejecting") and line.get("round") == 1
    ]
    life = [
        line
        for line in steps(seen.lines)
        if line.get("notification_id") == concluded["notification_id"]
        and line["step"] != "held back"
    ]
    ids = {
        "training_uuid": TRAINING_UUID,
        "notification_type": "UPDATE_ROUND_START",
        "receiver_uuid": uuid_of("rejecting"),
        "round": 1,
    }
    assert all(line.items() >= ids.items() for line in life)
    told: dict[str, dict[str, Any]] = {
        "built": {"level": "INFO"},
        "attempted": {"level": "INFO", "attempt": 1, "status_code": 400, "reason": "answered 400"},
        "concluded": {
            "level": "WARNING",
            "attempt": 1,
            "outcome": "rejected",
            "status_code": 400,
            "reason": "answered 400",
        },
        "called back": {
            "level": "WARNING",
            "outcome": "rejected",
            "status_code": 400,
            "reason": "participant removed",
        },
    }
    assert [line["step"] for line in life] == list(told)
    for line in life:
        assert line.items() >= told[line["step"]].items()
    assert all(line["queued_ms"] >= 0 for line in life if line["step"] in {"built", "concluded"})
    assert life[1]["latency_ms"] >= 0


def test_no_line_has_an_endpoint_a_payload_or_a_secret(seen: Seen) -> None:
    told = seen.text + json.dumps(seen.metric_lines)
    for each in (*SECRETS, TOKEN, ".example", MODEL_UUID, seen.master_secret):
        assert each not in told


# --- metrics --------------------------------------------------------------------------------------


def test_every_metric_is_emitted_for_the_stack_and_valid(seen: Seen) -> None:
    for line in seen.metric_lines:
        check_metrics(line)
    stack = frozenset({("stack", "fl-notifications")})
    assert {each.name for each in seen.metrics if each.dimensions == stack} == {
        "Built",
        "Attempts",
        "Deposited",
        "Fetched",
        "Acknowledged",
        "TrainingsOverdue",
        "Accepted",
        "Rejected",
        "Failed",
        "Superseded",
        "HeldBack",
        "RepeatsSuppressed",
        "SecretTroubles",
        "UnreadableItems",
        "WrongOptions",
        "TypeUnknown",
        "WaitingAge",
        "CallbackAge",
        "DeliveryLatency",
        "TimeToOutcome",
        "FailedShare",
    }


def test_every_type_of_notification_is_counted_by_itself(seen: Seen) -> None:
    kinds = {dict(each.dimensions).get("notification_type") for each in seen.metrics}
    assert kinds == {None, *(kind.value for kind in NotificationType)}


def test_the_number_of_metrics_does_not_depend_on_receivers_or_trainings(seen: Seen) -> None:
    names = {name for each in seen.metrics for name, _ in each.dimensions}
    assert names == {"stack", "notification_type"}
    # 19 metrics, for each type and for all together; 30 cents each a month at most.
    assert len(seen.metrics) <= 19 * (len(NotificationType) + 1)


# --- alarms and dashboard -------------------------------------------------------------------------


def check_exists(seen: Seen, metric: Metric) -> None:
    """A metric is one that we have emitted, or one that AWS emits for a resource of the stack."""
    if metric.namespace not in AWS_METRICS:
        assert metric in seen.metrics
        return
    known = AWS_METRICS[metric.namespace]
    assert metric.name in known.units
    if metric.namespace == "AWS/Events":
        check_rule_exists(seen, dict(metric.dimensions))
        return
    ((name, value),) = metric.dimensions
    assert name == known.dimension
    attribute = "QueueName" if known.resource == "AWS::SQS::Queue" else None
    names = {
        seen.stack.value({"Fn::GetAtt": [each, attribute]} if attribute else {"Ref": each})
        for each in resources(known.resource)
    }
    assert value in names


def check_rule_exists(seen: Seen, dimensions: Mapping[str, str]) -> None:
    assert set(dimensions) == {"EventBusName", "RuleName"}
    assert dimensions["EventBusName"] == seen.stack.output("OutcomesBus")
    names = [each["Name"] for each in resources("AWS::Events::Rule").values()] + [
        trigger["Properties"]["RuleName"]
        for function in resources("AWS::Serverless::Function").values()
        for trigger in function.get("Events", {}).values()
        if trigger["Type"] == "EventBridgeRule"
    ]
    assert dimensions["RuleName"] in map(seen.stack.value, names)


def test_every_alarm_looks_at_a_metric_that_there_is(seen: Seen) -> None:
    for alarm in ALARMS.values():
        dimensions = frozenset(
            (each["Name"], seen.stack.value(each["Value"])) for each in alarm["Dimensions"]
        )
        check_exists(seen, Metric(alarm["Namespace"], alarm["MetricName"], dimensions))


def dashboard(stack: Stack) -> list[dict[str, Any]]:
    widgets: list[dict[str, Any]] = json.loads(stack.value(DASHBOARD["DashboardBody"]))["widgets"]
    return widgets


def shown(widget: Mapping[str, Any]) -> Iterator[Metric]:
    """The metrics of a widget: namespace, name, names and values of dimensions, options."""
    for namespace, name, *rest in widget["properties"]["metrics"]:
        assert isinstance(rest.pop(), dict)
        dimensions = frozenset(zip(rest[::2], rest[1::2], strict=True))
        yield Metric(namespace, name, dimensions)


def test_every_widget_shows_metrics_that_there_are(seen: Seen) -> None:
    widgets = [each for each in dashboard(seen.stack) if each["type"] == "metric"]
    assert len(widgets) > 10
    for widget in widgets:
        for metric in shown(widget):
            check_exists(seen, metric)


def test_every_metric_of_ours_is_on_the_dashboard(seen: Seen) -> None:
    on_it = {
        metric.name
        for widget in dashboard(seen.stack)
        if widget["type"] == "metric"
        for metric in shown(widget)
    }
    assert {each.name for each in seen.metrics} <= on_it


def test_every_alarm_is_on_the_dashboard(stack: Stack) -> None:
    (widget,) = [each for each in dashboard(stack) if each["type"] == "alarm"]
    arns = {stack.value({"Fn::GetAtt": [name, "Arn"]}) for name in ALARMS}
    assert set(widget["properties"]["alarms"]) == arns


def test_a_line_on_a_graph_that_says_alarm_is_where_that_alarm_is(stack: Stack) -> None:
    thresholds = {
        (alarm["Namespace"], alarm["MetricName"]): float(stack.value(alarm["Threshold"]))
        for alarm in ALARMS.values()
    }
    found = 0
    for widget in dashboard(stack):
        for line in widget["properties"].get("annotations", {}).get("horizontal", []):
            (metric,) = shown(widget)
            assert line["value"] == thresholds[metric.namespace, metric.name]
            found += 1
    assert found == 4


def test_the_widgets_fit_on_the_page_and_cover_none_of_each_other(stack: Stack) -> None:
    def cells(widget: Mapping[str, Any]) -> set[tuple[int, int]]:
        return {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }

    widgets = dashboard(stack)
    for widget in widgets:
        assert widget["x"] + widget["width"] <= 24
        assert widget["type"] == "text" or widget["properties"]["title"]
    for one, other in combinations(map(cells, widgets), 2):
        assert not one & other


# --- queries --------------------------------------------------------------------------------------


def queries(seen: Seen) -> Iterator[tuple[str, str]]:
    """All queries by name: saved ones, and those of the dashboard."""
    for name, saved in QUERIES.items():
        assert seen.stack.value(saved["LogGroupNames"]) == [seen.stack.output("LogGroup")]
        yield name, saved["QueryString"]
    for widget in dashboard(seen.stack):
        if widget["type"] == "log":
            query = widget["properties"]["query"]
            assert query.startswith(f"SOURCE '{seen.stack.output('LogGroup')}' | ")
            yield widget["properties"]["title"], query


def test_every_query_finds_lines_that_have_all_that_it_names(seen: Seen) -> None:
    """Also a notification's life that has an error in it: none had here, so one is made up."""
    example = next(
        line
        for line in steps(seen.lines, "concluded")
        if line["receiver_uuid"] == uuid_of("rejecting") and line.get("round") == 1
    )
    lines = [
        *seen.lines,
        example | {"level": "ERROR", "message": "trouble", "error": "ClientError"},
    ]
    for name, text in queries(seen):
        for placeholder, key in PLACEHOLDERS.items():
            text = text.replace(placeholder, example[key])  # noqa: PLW2901 - filled in
        assert "PUT-THE" not in text
        query = Query.parse(text)
        found = query.matching(lines)
        assert found, name
        keys = {key for line in found for key in line}
        assert query.fields <= keys, name


def test_the_five_queries_are_saved_where_the_stack_is_on_aws() -> None:
    assert set(QUERIES) == {
        "OneTrainingQuery",
        "OneReceiverQuery",
        "OneNotificationQuery",
        "FailuresByReasonQuery",
        "SlowestReceiversQuery",
    }
    assert {observability()["Resources"][name]["Condition"] for name in QUERIES} == {"OnAws"}


# --- documents ------------------------------------------------------------------------------------


def rows(document: str, heading: str) -> dict[str, list[str]]:
    """The table below a heading: the names in code at the beginning of its rows, and the cells."""
    text = (ROOT / "docs" / document).read_text()
    _, _, section = text.partition(f"\n## {heading}\n")
    section, _, _ = section.partition("\n## ")
    found = {}
    for row in (line for line in section.splitlines() if line.startswith("| ")):
        cells = [each.strip() for each in row.strip("|").split(" | ")]
        for name in re.findall(r"`([^`]+)`", cells[0]):
            found[name] = cells
    return found


def test_the_document_lists_all_metrics_with_their_units(seen: Seen) -> None:
    units = {
        metric["Name"]: metric["Unit"]
        for line in seen.metric_lines
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    }
    assert {name: cells[1] for name, cells in rows("metrics.md", "Metrics").items()} == units


def test_the_document_lists_all_keys_and_steps(seen: Seen) -> None:
    listed = set(rows("metrics.md", "Log lines"))
    keys = {key for line in steps(seen.lines) for key in line}
    told = {line["step"] for line in steps(seen.lines)}
    assert listed == keys | {"xray_trace_id", "cold_start"} | told


def test_the_guide_says_for_each_alarm_what_to_do(stack: Stack) -> None:
    assert set(rows("operating.md", "Alarms")) == set(ALARMS)


def test_the_guide_names_no_parameter_that_there_is_not(stack: Stack) -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", text)) - set(ALARMS)
    known = set(template()["Parameters"]) | set(template()["Outputs"])
    assert named <= known


# --- traces ---------------------------------------------------------------------------------------


@pytest.fixture
def daemon() -> Iterator[socket.socket]:
    """What Lambda runs beside a function that is traced."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(5.0)
        yield listening


def received(daemon: socket.socket) -> list[dict[str, Any]]:
    """All documents that have arrived."""
    daemon.setblocking(False)  # noqa: FBT003 - the socket's own signature
    documents = []
    try:
        while True:
            head, _, document = daemon.recv(65535).decode().partition("\n")
            assert json.loads(head) == {"format": "json", "version": 1}
            documents.append(json.loads(document))
    except BlockingIOError:
        return documents


def capture(client: Any, call: str, entries: list[dict[str, Any]]) -> None:
    """Keep the entries of a client's batch calls: the simulated AWS drops what belongs to X-Ray."""
    client.meta.events.register(
        f"provide-client-params.{call}", lambda params, **_: entries.extend(params["Entries"])
    )


def test_a_trace_goes_through_queue_and_bus_and_is_found_by_training_and_type(
    stack: Stack, start: Start, daemon: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = "Root=1-581cf771-a006649127e371903a2de979;Parent=70de5b6f19ff9a0a;Sampled=1"
    monkeypatch.setenv(HEADER_VARIABLE, header)
    address = {DAEMON_VARIABLE: f"127.0.0.1:{daemon.getsockname()[1]}"}
    build = start("BuildNotifications", **address)
    deliver = start("DeliverNotification", **address)
    receivers = Receivers()
    deliver.app.deliverer = with_poster(deliver, receivers)  # type: ignore[attr-defined]
    callback = start("CallbackSuccess", **address)
    events: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    capture(deliver.app.clients.events, "events.PutEvents", events)
    capture(build.app.clients.sqs, "sqs.SendMessageBatch", messages)
    stack.put(receiver("healthy"), training_item(round=1))
    build(stack.changes())
    batch = stack.receive()
    stack.settle(batch, deliver(batch))
    for event in stack.outcomes("CallbackSuccess"):
        callback(event)
    attribute = {"AWSTraceHeader": {"DataType": "String", "StringValue": header}}
    assert [each["MessageSystemAttributes"] for each in messages] == [attribute] * len(messages)
    assert {each["TraceHeader"] for each in events} == {header}
    common = {"training_uuid": TRAINING_UUID}
    documents = received(daemon)
    assert {each["trace_id"] for each in documents} == {"1-581cf771-a006649127e371903a2de979"}
    assert {each["parent_id"] for each in documents} == {"70de5b6f19ff9a0a"}
    assert all(each["annotations"].items() >= common.items() for each in documents)
    found = {(each["name"], each["annotations"]["notification_type"]) for each in documents}
    assert found == {
        ("build", "TRAINING_START"),
        ("build", "UPDATE_ROUND_START"),
        ("attempt", "TRAINING_START"),
        ("attempt", "UPDATE_ROUND_START"),
        ("call back", "UPDATE_ROUND_START"),
    }
    assert TOKEN not in json.dumps(documents)
    # A receiver's own traces belong to it (W3C Trace Context).
    expected = "00-581cf771a006649127e371903a2de979-70de5b6f19ff9a0a-01"
    assert set(receivers.traceparents) == {expected}


def test_without_tracing_nothing_of_it_is_handed_on(stack: Stack, start: Start) -> None:
    build = start("BuildNotifications")
    messages: list[dict[str, Any]] = []
    capture(build.app.clients.sqs, "sqs.SendMessageBatch", messages)
    stack.put(receiver("healthy"), training_item(round=1))
    build(stack.changes())
    assert len(messages) == 2
    assert all("MessageSystemAttributes" not in each for each in messages)
