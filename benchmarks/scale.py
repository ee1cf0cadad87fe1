"""How long large trainings take, and what memory is worth: the tables of docs/scale.md.

    python -m benchmarks.scale

Writes what stands between the two marks of docs/scale.md. CPU comes from `benchmarks/results.json`,
prices from `benchmarks/prices.json`, and the limits of AWS from `benchmarks/limits.py`, which says
how they are simulated.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from benchmarks.__main__ import RESULTS
from benchmarks.cost import PRICES, Assumptions, Measured, share_of_core
from benchmarks.limits import Aws, Case, simulate
from benchmarks.measuring import CORE_MB, PROJECT
from benchmarks.pipeline import ROUND

PAGE: Final = PROJECT / "docs" / "scale.md"
BEGIN: Final = "<!-- made by python -m benchmarks.scale: begin -->"
END: Final = "<!-- made by python -m benchmarks.scale: end -->"

SIZES_MB: Final = (256, 512, 1024, CORE_MB)
MILLION: Final = 1_000_000
SEGMENTS: Final = 16

CASES: Final[tuple[tuple[str, Case], ...]] = (
    ("100,000, all healthy", Case(100_000)),
    ("… 1 % of all calls throttled", Case(100_000, aws=Aws(throttled=0.01))),
    ("… 1,000 functions at once", Case(100_000, functions=1000, at_first=1000)),
    (
        "… ledger warmed to 20,000 writes a second",
        Case(100_000, aws=Aws(table_writes=20_000, table_reads=40_000)),
    ),
    ("… and 100,000 mailboxes are polled", Case(100_000, polled=100_000)),
    ("1,000,000, all healthy", Case(MILLION)),
    ("10,000, 10 % never answer, 5 functions", Case(10_000, dead=0.1, functions=5, at_first=5)),
    (
        "… 10 functions (the concurrency of a new account)",
        Case(10_000, dead=0.1, functions=10, at_first=10),
    ),
    (
        "… 5, if an invocation that waits took no more work",
        Case(10_000, dead=0.1, functions=5, at_first=5, takes_more=False),
    ),
    ("1,000, 10 functions", Case(1000, functions=10, at_first=10)),
    ("1,000, 10 % never answer, 10 functions", Case(1000, dead=0.1, functions=10, at_first=10)),
    ("10,000, 10 functions", Case(10_000, functions=10, at_first=10)),
    (
        "… and 1,000 mailboxes are polled",
        Case(10_000, functions=10, at_first=10, account=10, polled=1000),
    ),
    ("100,000, 10 functions", Case(100_000, functions=10, at_first=10)),
    (
        "100,000, 10 % never answer, 10 functions",
        Case(100_000, dead=0.1, functions=10, at_first=10),
    ),
    ("100,000, 10 % never answer", Case(100_000, dead=0.1)),
)


def tables(results: dict[str, Any], prices: dict[str, Any]) -> Iterator[str]:
    """The lines between the marks."""
    measured = Measured.read(results, ROUND)
    yield BEGIN
    yield ""
    yield (
        "| participants | last healthy one is told after | calls throttled | POSTs repeated | "
        "longest wait for the ledger |"
    )
    yield "|---|---:|---:|---:|---:|"
    for name, case in CASES:
        found = simulate(replace(case, build_cpu=measured.build, deliver_cpu=measured.deliver))
        yield (
            f"| {name} | {found['last_healthy']:.0f} s | {found['throttled']:,.0f} | "
            f"{found['repeated_posts']:.0f} | {found['longest_wait_for_the_ledger']:.1f} s |"
        )
    yield ""
    yield "| function, work | " + " | ".join(f"{size:,} MB" for size in SIZES_MB) + " |"
    yield "|---|" + "---:|" * len(SIZES_MB)
    yield from _memory(measured, prices, Assumptions())
    yield ""
    yield END


def _memory(measured: Measured, prices: dict[str, Any], assumed: Assumptions) -> Iterator[str]:
    """Seconds, and dollars for a million notifications, of each function by its memory."""
    calls = 3 * assumed.call_seconds
    works = (
        ("FanOut, a segment of 100,000", measured.build, 100_000 / SEGMENTS, 0.1),
        ("BuildNotifications, 100 participants", measured.build, 100.0, 2 * assumed.call_seconds),
        (
            "DeliverNotification, ten that answer after 50 ms",
            measured.deliver + assumed.tls_cpu_seconds,
            10.0,
            calls + 0.05,
        ),
        (
            "DeliverNotification, ten that answer after 2 s",
            measured.deliver + assumed.tls_cpu_seconds,
            10.0,
            calls + 2.0,
        ),
        ("CallbackSuccess, one", measured.callback, 1.0, 0.0),
    )
    for name, cpu, count, waits in works:
        cells = []
        for size in SIZES_MB:
            seconds = cpu * count / share_of_core(size) + waits + assumed.invocation_seconds
            dollars = seconds / count * MILLION * size / 1024 * prices["lambda_gb_second_x86_64"]
            cells.append(f"{_time(seconds)}, {dollars:.2f} $")
        yield f"| {name} | {' | '.join(cells)} |"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def main() -> None:
    """Write the tables."""
    results, prices = json.loads(RESULTS.read_text()), json.loads(PRICES.read_text())
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + "\n".join(tables(results, prices)) + after)


if __name__ == "__main__":
    main()
