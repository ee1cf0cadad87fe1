"""A history under judgement."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property

from tests.simulation.expectations import Expected, expectations
from tests.simulation.history import History
from tests.simulation.servers import Server


@dataclass
class Case:
    """A history under judgement: what was found wrong, and how much was looked at."""

    history: History
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def expect(self, what: str, holds: object, detail: object = "") -> None:
        self.counts[what] += 1
        if not holds:
            self.wrong.append(f"{what}: {detail}")

    @cached_property
    def expected(self) -> list[Expected]:
        return expectations(self.history)

    @cached_property
    def by_id(self) -> dict[str, list[Expected]]:
        found: dict[str, list[Expected]] = defaultdict(list)
        for each in self.expected:
            found[each.id].append(each)
        return found

    @cached_property
    def servers(self) -> dict[str, Server]:
        return {server.training_uuid: server for server in self.history.run.servers}
