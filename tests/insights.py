"""Reads queries of CloudWatch Logs Insights, as far as the template uses the language.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

type Line = Mapping[str, Any]

_COMMANDS: Final = {"SOURCE", "fields", "filter", "stats", "sort", "limit"}
_FUNCTIONS: Final = {"count", "count_distinct", "ispresent", "latest", "max", "pct"}
_WORDS: Final = {"and", "as", "asc", "by", "desc", "in"}

_STRING: Final = re.compile(r'"[^"]*"|\'[^\']*\'')
_NAME: Final = re.compile(r"[A-Za-z_@]\w*")
_ALIAS: Final = re.compile(r"\bas\s+(\w+)")
_EQUAL: Final = re.compile(r'(\w+) = "([^"]*)"')
_ONE_OF: Final = re.compile(r"(\w+) in \[([^\]]*)\]")
_PRESENT: Final = re.compile(r"ispresent\((\w+)\)")


@dataclass(frozen=True)
class Query:
    """A query, split into its commands."""

    commands: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> "Query":
        """Parse a query; what the template does not use is an error."""
        without_comments = "\n".join(
            line for line in text.splitlines() if not line.lstrip().startswith("#")
        )
        commands = []
        for part in without_comments.split("|"):
            name, _, rest = part.strip().partition(" ")
            if name not in _COMMANDS:
                raise ValueError(f"unknown command {name!r}")
            commands.append((name, " ".join(rest.split())))
        return cls(tuple(commands))

    def arguments(self, command: str) -> list[str]:
        """What a command is given, each time that it is there."""
        return [rest for name, rest in self.commands if name == command]

    @property
    def fields(self) -> set[str]:
        """All fields of log lines that are named anywhere."""
        named: set[str] = set()
        aliases: set[str] = set()
        for command, rest in self.commands:
            if command != "SOURCE":
                bare = _STRING.sub("", rest)
                aliases |= set(_ALIAS.findall(bare))
                functions = {name for name in _FUNCTIONS if re.search(rf"\b{name}\(", bare)}
                named |= set(_NAME.findall(bare)) - functions
        return named - aliases - _WORDS

    def matching(self, lines: Sequence[Line]) -> list[Line]:
        """The lines that pass all filters."""
        conditions = [
            _condition(part)
            for argument in self.arguments("filter")
            for part in argument.split(" and ")
        ]
        return [line for line in lines if all(holds(line) for holds in conditions)]


def _condition(text: str) -> Callable[[Line], bool]:
    if found := _EQUAL.fullmatch(text):
        key, value = found.groups()
        return lambda line: line.get(key) == value
    if found := _ONE_OF.fullmatch(text):
        key, values = found[1], {each.strip().strip('"') for each in found[2].split(",")}
        return lambda line: line.get(key) in values
    if found := _PRESENT.fullmatch(text):
        key = found[1]
        return lambda line: line.get(key) is not None
    raise ValueError(f"unknown condition {text!r}")
