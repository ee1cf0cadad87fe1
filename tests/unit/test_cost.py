"""What the page of costs is made of."""

import json
import re

from benchmarks.cost import METRICS, PRICES, metrics_at_most


def test_each_price_was_seen_somewhere() -> None:
    prices = json.loads(PRICES.read_text())
    seen = [name for source in prices["seen"] for name in source["prices"]]
    assert sorted(seen) == sorted(name for name, value in prices.items() if not _says(value))


def _says(value: object) -> bool:
    return not isinstance(value, float)


def test_the_page_of_metrics_says_how_many_there_can_be() -> None:
    [said] = re.findall(r"at most (\d+) metrics", METRICS.read_text())
    assert int(said) == metrics_at_most()
