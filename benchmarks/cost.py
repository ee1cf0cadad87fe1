"""What a million notifications cost on AWS: makes docs/cost.md from what was measured.

    python -m benchmarks.cost

The durations and the bytes of log come from `benchmarks/results.json`, the prices from
`benchmarks/prices.json`. What is assumed stands in `Assumptions`.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.__main__ import RESULTS
from benchmarks.measuring import CORE_MB, PROJECT
from benchmarks.pipeline import ROUND, START
from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.waiting import SHARDS

PRICES: Final = Path(__file__).with_name("prices.json")
PAGE: Final = PROJECT / "docs" / "cost.md"
METRICS: Final = PROJECT / "docs" / "metrics.md"

MEMORY_MB: Final = {
    "BuildNotifications": 1024,
    "FanOut": CORE_MB,
    "DeliverNotification": 512,
    "Mailbox": 512,
    "Sweep": CORE_MB,
    "CallbackSuccess": 256,
    "CallbackFailure": 256,
}
"""Of each function, as in template.yaml; docs/scale.md says why."""

MILLION: Final = 1_000_000
BATCH: Final = 10
RECEIVERS: Final = (10, 1_000, 100_000)
ANSWER_SECONDS: Final = (0.05, 2.0)
MONTHLY: Final = (1, 10, 100)
SERVICES: Final = ("Lambda", "SQS", "EventBridge", "DynamoDB", "CloudWatch Logs", "X-Ray")


@dataclass(frozen=True)
class Assumptions:
    """What was not measured here.

    Attributes:
        call_seconds: that a call of AWS waits for its answer, within a region.
        tls_cpu_seconds: of a handshake with a receiver; the benchmarks are without TLS.
        invocation_seconds: what Lambda's runtime adds to an invocation.
        sampled: share of invocations that X-Ray traces by its default rule.
        ledger_bytes: of an item, with DynamoDB's own 100 bytes.
        participant_bytes: of an item of the trainings table.
        start_seconds: of a cold start, on a whole core.
    """

    call_seconds: float = 0.008
    tls_cpu_seconds: float = 0.002
    invocation_seconds: float = 0.001
    sampled: float = 0.05
    ledger_bytes: int = 450
    participant_bytes: int = 350
    start_seconds: float = 0.6


def share_of_core(memory_mb: int) -> float:
    """What Lambda gives a function of so much memory."""
    return memory_mb / CORE_MB


def gb_seconds(function: str, cpu: float, waits: float) -> float:
    """What is paid for of so many seconds of CPU, and of waiting.

    CPU costs the same with any memory up to a whole core: with less of it, it takes longer.
    """
    memory_mb = MEMORY_MB[function]
    return (cpu / share_of_core(memory_mb) + waits) * memory_mb / 1024


@dataclass(frozen=True)
class Measured:
    """What was measured of one type of notification: CPU seconds and bytes of log for each one."""

    build: float
    deliver: float
    callback: float
    log_bytes: float

    @classmethod
    def read(cls, results: dict[str, Any], kind: str) -> "Measured":
        """Take it from the results."""
        figure = next(each for each in results["figures"] if each["figure"] == f"handlers, {kind}")
        seconds = {name: value / 1000 for name, value in figure["by_function"].items()}
        return cls(
            build=seconds["build"],
            deliver=seconds["deliver"],
            callback=seconds.get("callback", 0.0),
            log_bytes=sum(figure["log_bytes"].values()),
        )


@dataclass(frozen=True)
class Case:
    """Receivers for each change, and how long they take to answer."""

    receivers: int
    answer_seconds: float
    architecture: str = "x86_64"


def cost(
    case: Case, measured: Measured, prices: dict[str, Any], assumed: Assumptions
) -> dict[str, float]:
    """Dollars for a million notifications, by service."""
    changes = MILLION / case.receivers
    batches = changes * math.ceil(case.receivers / BATCH)
    called_back = MILLION if measured.callback else 0

    # The builder waits while its calls are under way, sixteen at once; it never waits for all.
    build = gb_seconds(
        "BuildNotifications",
        measured.build * MILLION,
        changes * (2 * assumed.call_seconds + assumed.invocation_seconds),
    )
    deliver = batches * gb_seconds(
        "DeliverNotification",
        (measured.deliver + assumed.tls_cpu_seconds) * BATCH,
        case.answer_seconds + 3 * assumed.call_seconds + assumed.invocation_seconds,
    )
    callback = called_back * gb_seconds(
        "CallbackSuccess", measured.callback, assumed.invocation_seconds
    )
    price = prices[f"lambda_gb_second_{case.architecture}"]
    requests = changes + batches + called_back
    # A batch is sent, received and deleted.
    queue_requests = 3 * batches
    # Before an attempt its ledger entry, consistently (1 unit), and its participant (a half); once
    # for a batch the training's run and the training; the builder reads pages, consistently.
    reads = 1.5 * MILLION + 1.5 * batches + MILLION * assumed.participant_bytes / 4096
    stored_gb = MILLION * assumed.ledger_bytes / 1e9
    logged_gb = MILLION * measured.log_bytes / 1e9
    return {
        "Lambda": requests / MILLION * prices["lambda_million_requests"]
        + (build + deliver + callback) * price,
        "SQS": queue_requests / MILLION * prices["sqs_fifo_million_requests"],
        "EventBridge": prices["eventbridge_million_custom_events"],
        "DynamoDB": prices["dynamodb_million_write_units"]
        + reads / MILLION * prices["dynamodb_million_read_units"]
        + stored_gb * prices["dynamodb_gb_month"],
        "CloudWatch Logs": logged_gb * (prices["logs_gb_ingested"] + prices["logs_gb_month"]),
        "X-Ray": (changes + batches) * assumed.sampled / MILLION * prices["xray_million_traces"],
    }


def page(results: dict[str, Any], prices: dict[str, Any], assumed: Assumptions) -> Iterator[str]:
    """The lines of the page."""
    yield "# Cost"
    yield ""
    yield "Made by `python -m benchmarks.cost`; do not edit. Dollars per million notifications in"
    yield f"{prices['region']}, list prices looked up on {prices['date']}, see [Prices](#prices),"
    yield f"with what was measured on {results['measured_at'][:10]} (`benchmarks/results.json`)."
    for kind in (ROUND, START):
        measured = Measured.read(results, kind)
        yield ""
        called = "with its callback" if measured.callback else "without callbacks"
        yield f"## {kind}, {called}"
        yield ""
        yield f"| receivers per change | answer in | total | {' | '.join(SERVICES)} | on arm64 |"
        yield f"|---:|---:|---:|{'---:|' * (len(SERVICES) + 1)}"
        for answer in ANSWER_SECONDS:
            for receivers in RECEIVERS:
                parts = cost(Case(receivers, answer), measured, prices, assumed)
                arm = cost(Case(receivers, answer, "arm64"), measured, prices, assumed)
                total = sum(parts.values())
                shares = (f"{parts[name]:.2f} ({parts[name] / total:.0%})" for name in SERVICES)
                yield (
                    f"| {receivers:,} | {answer:g} s | **{total:.2f}** | {' | '.join(shares)} | "
                    f"{sum(arm.values()):.2f} |"
                )
    yield from _rhythm(results, prices, assumed)
    yield from _mailboxes(results, prices, assumed)
    yield from _idle(prices)
    yield from _alternatives(prices)
    yield from _assumptions(prices, assumed)
    yield from _prices(prices)


def _rhythm(results: dict[str, Any], prices: dict[str, Any], assumed: Assumptions) -> Iterator[str]:
    """A service that sleeps between rounds: its functions start each time, which is billed."""
    receivers, rounds = 100, 30 * 24 * 6
    measured = Measured.read(results, ROUND)
    parts = cost(Case(receivers, ANSWER_SECONDS[0]), measured, prices, assumed)
    sent = receivers * rounds
    sending = sum(parts.values()) * sent / MILLION
    batches = math.ceil(receivers / BATCH)
    starts = rounds * (1 + 2 * batches)
    # CPU costs the same with any memory, so all functions' starts do.
    start = gb_seconds("BuildNotifications", assumed.start_seconds, 0.0)
    start *= prices["lambda_gb_second_x86_64"]
    starting = starts * start
    yield ""
    yield "## A real rhythm"
    yield ""
    yield (
        f"{receivers} participants, a round every ten minutes, for 30 days: {sent:,} "
        "notifications. In ten minutes Lambda may take an environment away, so each round is taken "
        f"to start all of them anew: the builder, one delivery and one callback for each batch of "
        f"{BATCH}. The "
        "start has been billed since August 2025; importing boto3 and the rest takes "
        f"{assumed.start_seconds:g} s of a whole core (`benchmarks/results.json`); priced "
        "as if Lambda gave no more of one than the memory's share."
    )
    yield ""
    yield "| | dollars a month |"
    yield "|---|---:|"
    yield f"| sending, as above | {sending:.2f} |"
    yield f"| {starts:,} cold starts, {start * MILLION:.2f} per million | {starting:.2f} |"
    yield f"| both, without the fixed cost below | **{sending + starting:.2f}** |"
    svix = prices["svix_million_messages"] * sent / MILLION
    yield f"| the same through Svix, at its list price for each message | {svix:.2f} |"


def _mailboxes(
    results: dict[str, Any], prices: dict[str, Any], assumed: Assumptions
) -> Iterator[str]:
    """What it costs that participants ask, instead of being called."""
    medians = {each["figure"]: each["median"] for each in results["figures"]}
    cpu = {name: medians[f"mailbox, a poll: {name}"] for name in ("empty", "acknowledging ten")}

    def request(cpu_ms: float, calls: int) -> float:
        """Dollars of Lambda for a million requests."""
        waits = calls * assumed.call_seconds + assumed.invocation_seconds
        used = gb_seconds("Mailbox", cpu_ms / 1000, waits) * MILLION
        price = prices["lambda_gb_second_x86_64"]
        return float(prices["lambda_million_requests"] + used * price)

    write, read = prices["dynamodb_million_write_units"], prices["dynamodb_million_read_units"]
    # One query, eventually consistent, of less than 4 KB.
    empty = request(cpu["empty"], 1) + read / 2
    # Put and deleted, in the table and its index, and the receiver's item; read by two requests,
    # with what it is judged by.
    pulled = 5 * write + 6 * read + request(cpu["empty"], 2) + request(cpu["empty"], 6)
    month = 3600 * 730
    yield ""
    yield "## Mailboxes"
    yield ""
    yield (
        f"A poll that finds nothing takes {cpu['empty']:.2f} ms of CPU, one that acknowledges "
        f"ten {cpu['acknowledging ten']:.1f} (`benchmarks/results.json`). A million "
        f"empty polls cost {empty:.2f} dollars; a function URL has no price of its own. A million "
        f"notifications, each fetched and acknowledged by itself, cost {pulled:.2f} more than "
        "their queue, ledger and events above, and no POST. Idle, in a month of 730 hours:"
    )
    yield ""
    yield "| a poll every | polls an hour | from change to arrival, at most | 1 | 1,000 | 100,000 |"
    yield "|---|---:|---:|---:|---:|---:|"
    for seconds, remark in ((60, ", the default"), (300, ""), (30, ""), (3, ", as Flower's")):
        one = empty * month / seconds / MILLION
        yield (
            f"| {seconds} s{remark} | {3600 // seconds:,} | {seconds} s | {one:.4f} "
            f"| {one * 1000:,.2f} | {one * 100_000:,.0f} |"
        )
    yield ""
    yield (
        "While rounds go on, the wait is a twentieth of the last notification's age: 2 s after a "
        "change, 30 s ten minutes later. So a notification arrives late by 2.5 % of a round on "
        "average, and a round of ten minutes takes some 76 polls. Flower's clients over HTTP ask "
        "every 3 s, whatever happens (its source: 1,200 requests an hour); Svix's poller asks as "
        "often as its user says."
    )


def metrics_at_most() -> int:
    """How many metrics of our own a stack can have, by the table of docs/metrics.md."""
    types = [each.value for each in NotificationType]

    def series(row: str) -> int:
        """One for each type that the row names, else for all types; and one for all together."""
        if "only with `stack`" in row:
            return 1
        named = sum(f"`{each}`" in row for each in types)
        return (named or len(types)) + 1

    _, _, rest = METRICS.read_text().partition("\n## Metrics\n")
    section, _, _ = rest.partition("\n## ")
    return sum(series(row) for row in section.splitlines() if row.startswith("| `"))


def _idle(prices: dict[str, Any]) -> Iterator[str]:
    """What a stack costs that has nothing to do."""
    alarms = (PROJECT / "observability.yaml").read_text().count("Type: AWS::CloudWatch::Alarm")
    # Lambda's five pollers of a queue ask with long polls of 20 s each.
    polls = 5 * 3 * 60 * 24 * 30 / MILLION
    sweeps = 60 * 24 * 30 / MILLION
    rows = (
        (f"{alarms} alarms", alarms * prices["cloudwatch_alarm_month"]),
        ("the dashboard (three are free in an account)", prices["cloudwatch_dashboard_month"]),
        ("the signing secret", prices["secret_month"]),
        (
            "Lambda's polling of Deliveries and FanOuts (FIFO), and Callbacks",
            polls * (2 * prices["sqs_fifo_million_requests"] + prices["sqs_million_requests"]),
        ),
        (
            "Sweep, once a minute, 0.03 s, and its queries",
            sweeps
            * (
                prices["lambda_million_requests"]
                + gb_seconds("Sweep", 0.0, 0.03) * MILLION * prices["lambda_gb_second_x86_64"]
                # Of an index, so eventually consistent.
                + SHARDS * prices["dynamodb_million_read_units"] / 2
            ),
        ),
        ("keys: AWS's own encrypt tables and queues", 0.0),
    )
    yield ""
    yield "## A stack with nothing to do"
    yield ""
    yield "| what | dollars a month |"
    yield "|---|---:|"
    for what, dollars in rows:
        yield f"| {what} | {dollars:.2f} |"
    yield f"| all | **{sum(dollars for _, dollars in rows):.2f}** |"
    metric = prices["cloudwatch_metric_month"]
    yield ""
    yield (
        f"Our own metrics cost {metric:.2f} each for a month in which they are there in every "
        f"hour, and by the hour otherwise: for the {metrics_at_most()} that there can be "
        f"([metrics](metrics.md#metrics)) at most {metrics_at_most() * metric:.0f} dollars for a "
        "stack that always works and tells all types, nothing for one that has nothing to do. A "
        "warm environment reads the secret once a minute "
        f"({prices['secret_million_reads']:.2f} per million reads). With KMS's own key for "
        f"DynamoDB "
        "(`SSEEnabled`) each table would cost up to a call of KMS every five minutes for each "
        f"caller ({prices['kms_million_requests']:.2f} per million)."
    )


def _alternatives(prices: dict[str, Any]) -> Iterator[str]:
    sns = prices["sns_million_http_deliveries"]
    destinations = (
        prices["eventbridge_million_custom_events"]
        + prices["eventbridge_million_api_destination_calls"]
    )
    svix = prices["svix_million_messages"]
    hour = prices["ec2_t4g_small_hour"] + prices["elasticache_t4g_micro_hour"]
    month = hour * 730
    yield ""
    yield "## The alternatives"
    yield ""
    yield "| for the same job | dollars per million | what it doesn't do |"
    yield "|---|---:|---|"
    yield (
        f"| SNS, HTTPS subscriptions | {sns:.2f} | No order (FIFO topics have no HTTPS), one "
        "body for all, each receiver must confirm a subscription, no signature of ours, no "
        "outcome but a log line per delivery, which is paid for as above. |"
    )
    yield (
        f"| EventBridge API destinations | {destinations:.2f} | A destination and a rule for each "
        "receiver (quotas: 3,000 and 300), no order, at most 5 s for an answer, no signature of "
        "ours, no outcome. |"
    )
    yield (
        f"| Svix, hosted | {svix:.2f} | Signed webhooks with retries and a portal, at its list "
        "price beyond the free tier; no order for a receiver, and what a rejection means for a "
        "training is still to be written. |"
    )
    yield (
        "| EventBridge's FIFO bus (`AWS::EventsV2`) | not priced, not tried | Order within a group "
        "up to the target; for HTTPS that is still a destination for each receiver, with 5 s for "
        "an "
        "answer, no signature of ours and no outcome. |"
    )
    rates = ", ".join(f"{month / million:.2f} at {million} million" for million in MONTHLY)
    yield (
        f"| Celery and Redis, always on (t4g.small, cache.t4g.micro) | {rates} a month | One "
        f"machine, {month:.0f} dollars a month whether there is something to send or not; all that "
        "the first issue of this project lists. |"
    )


def _assumptions(prices: dict[str, Any], assumed: Assumptions) -> Iterator[str]:
    yield ""
    yield "## What is assumed, and what is left out"
    yield ""
    yield (
        "Each function has its own memory, and by that its share of a core (`scale.md`): the CPU "
        "time that was measured is divided by it. What FanOut makes is priced as what "
        "BuildNotifications makes, as CPU costs the same in both. The share of Lambda that is "
        f"waiting for receivers is a batch of {BATCH} that waits as long as its slowest. A call of "
        f"AWS waits {assumed.call_seconds * 1000:.0f} ms, a TLS handshake takes "
        f"{assumed.tls_cpu_seconds * 1000:.0f} ms of CPU, and X-Ray traces {assumed.sampled:.0%}. "
        "arm64 is taken to be as fast as x86_64."
    )
    yield ""
    yield (
        "Batches are full, which the queue does not promise: half-full ones double SQS and some "
        "of Lambda. Every first attempt is accepted; each further one costs a delivery, a write "
        "of the ledger and a line more. With `LogLevel=WARN` most of CloudWatch Logs goes, "
        "and with it what `trace` could tell. Left out are the writes of the trainings table, "
        "which "
        "the FL server makes anyway, point-in-time recovery of two tables (by the gigabyte), and "
        "data transferred to the internet "
        f"({prices['internet_gb']:.2f} a GB; a POST and its answer are about 1 KB, 3 KB with a TLS "
        "handshake)."
    )


def _prices(prices: dict[str, Any]) -> Iterator[str]:
    """Where each price was seen."""
    yield ""
    yield "## Prices"
    yield ""
    yield (
        "AWS's own pages load most prices by a script, so that stored copies of them lack them; "
        "these were looked up where others quote them, and none differed from what was "
        "assumed before. Check those that matter to you on AWS's pages, for your region."
    )
    yield ""
    yield "| price | dollars | seen at | as of |"
    yield "|---|---:|---|---|"
    for source in prices["seen"]:
        for name in source["prices"]:
            said = f"{prices[name]:.10f}".rstrip("0").rstrip(".")
            yield f"| `{name}` | {said} | {source['at']} | {source['as_of']} |"


def main() -> None:
    """Write the page."""
    results, prices = json.loads(RESULTS.read_text()), json.loads(PRICES.read_text())
    PAGE.write_text("\n".join(page(results, prices, Assumptions())) + "\n")


if __name__ == "__main__":
    main()
