"""DynamoDB's expressions: parsed once, evaluated on items as its API shows them.

Key conditions, conditions, projections and updates. What real DynamoDB refuses is refused:
placeholders that are not defined or not used, overlapping paths, operands of the wrong type.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

type Value = dict[str, Any]
"""An attribute value with its type descriptor, as {"S": "x"}."""
type Item = dict[str, Value]
type Path = tuple[str | int, ...]


class ExpressionError(Exception):
    """What DynamoDB answers with a ValidationException."""


@dataclass
class Bound:
    """The placeholders of one request, and which of them an expression has used."""

    names: Mapping[str, str]
    values: Mapping[str, Value]
    used: set[str] = field(default_factory=set)

    def name(self, token: str) -> str:
        if not token.startswith("#"):
            return token
        self.used.add(token)
        try:
            return self.names[token]
        except KeyError:
            raise ExpressionError(f"attribute name {token} is not defined") from None

    def value(self, token: str) -> Value:
        self.used.add(token)
        try:
            return self.values[token]
        except KeyError:
            raise ExpressionError(f"attribute value {token} is not defined") from None

    def check_all_used(self) -> None:
        unused = (self.names.keys() | self.values.keys()) - self.used
        if unused:
            raise ExpressionError(f"unused in expressions: {sorted(unused)}")


type Operand = Callable[[Item, Bound], Value | None]
type Condition = Callable[[Item, Bound], bool]
type RawPath = tuple[str | int, ...]

_TOKEN = re.compile(r"\s*(?:([#:]?[A-Za-z_][A-Za-z0-9_]*)|(\d+)|(<>|<=|>=|[=<>(),.\[\]+\-]))")
_KEYWORDS = {"AND", "OR", "NOT", "BETWEEN", "IN", "SET", "REMOVE", "ADD", "DELETE"}


def tokens_of(text: str) -> list[str]:
    tokens = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"syntax error at {text[position:]!r}")
        token = match.group(match.lastindex or 0)
        tokens.append(token.upper() if token.upper() in _KEYWORDS else token)
        position = match.end()
    return tokens


@dataclass(frozen=True)
class Change:
    """One action of an update expression."""

    clause: str
    path: RawPath
    operand: Operand


_CLAUSES = {"SET", "REMOVE", "ADD", "DELETE"}


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens_of(text)
        self.position = 0

    def peek(self, ahead: int = 0) -> str:
        index = self.position + ahead
        return self.tokens[index] if index < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.peek()
        if not token or (expected is not None and token != expected):
            raise ExpressionError(f"expected {expected or 'more'} at {token!r} in {self.text!r}")
        self.position += 1
        return token

    def accept(self, token: str) -> bool:
        if self.peek() == token:
            self.position += 1
            return True
        return False

    def end(self) -> None:
        if self.position != len(self.tokens):
            raise ExpressionError(f"unexpected {self.peek()!r} in {self.text!r}")

    def path(self) -> RawPath:
        first = self.take()
        if not re.match(r"#?[A-Za-z_]", first) or first in _KEYWORDS:
            raise ExpressionError(f"expected an attribute at {first!r} in {self.text!r}")
        parts: list[str | int] = [first]
        while True:
            if self.accept("."):
                parts.append(self.take())
            elif self.peek() == "[" and self.peek(1).isdigit():
                self.take()
                parts.append(int(self.take()))
                self.take("]")
            else:
                return tuple(parts)

    def listed[T](self, one: Callable[[], T]) -> list[T]:
        found = [one()]
        while self.accept(","):
            found.append(one())
        return found

    # conditions

    def disjunction(self) -> Condition:
        terms = [self.conjunction()]
        while self.accept("OR"):
            terms.append(self.conjunction())
        if len(terms) == 1:
            return terms[0]
        # All are evaluated: each placeholder counts as used.
        return lambda item, bound: any([term(item, bound) for term in terms])  # noqa: C419

    def conjunction(self) -> Condition:
        terms = [self.negation()]
        while self.accept("AND"):
            terms.append(self.negation())
        if len(terms) == 1:
            return terms[0]
        return lambda item, bound: all([term(item, bound) for term in terms])  # noqa: C419

    def negation(self) -> Condition:
        if self.accept("NOT"):
            term = self.negation()
            return lambda item, bound: not term(item, bound)
        if self.peek() == "(":
            self.take()
            inner = self.disjunction()
            self.take(")")
            return inner
        return self.comparison()

    def comparison(self) -> Condition:
        function = _FUNCTIONS.get(self.peek()) if self.peek(1) == "(" else None
        if function is not None:
            self.take()
            self.take("(")
            arguments = self.listed(self.raw_operand)
            self.take(")")
            return function(arguments)
        left = self.operand()
        sign = self.take()
        if sign == "BETWEEN":
            low = self.operand()
            self.take("AND")
            high = self.operand()
            return lambda item, bound: _between(
                left(item, bound), low(item, bound), high(item, bound)
            )
        if sign == "IN":
            self.take("(")
            options = self.listed(self.operand)
            self.take(")")
            return lambda item, bound: _one_of(
                left(item, bound), [option(item, bound) for option in options]
            )
        if sign not in _COMPARISONS:
            raise ExpressionError(f"unknown comparison {sign!r} in {self.text!r}")
        compare = _COMPARISONS[sign]
        right = self.operand()
        return lambda item, bound: compare(left(item, bound), right(item, bound))

    def raw_operand(self) -> str | RawPath:
        if self.peek().startswith(":"):
            return self.take()
        return self.path()

    def operand(self) -> Operand:
        if self.peek() == "size" and self.peek(1) == "(":
            self.take()
            self.take("(")
            path = self.path()
            self.take(")")
            return lambda item, bound: _size(read(item, resolve(path, bound)))
        return _operand(self.raw_operand())

    # updates

    def update(self) -> list[Change]:
        changes: list[Change] = []
        seen: set[str] = set()
        while self.peek():
            clause = self.take()
            if clause not in _CLAUSES or clause in seen:
                raise ExpressionError(f"unexpected {clause!r} in {self.text!r}")
            seen.add(clause)
            changes += self.listed(lambda clause=clause: self.change(clause))  # type: ignore[misc]
        return changes

    def change(self, clause: str) -> Change:
        path = self.path()
        if clause == "REMOVE":
            return Change(clause, path, lambda _item, _bound: None)
        if clause == "SET":
            self.take("=")
            left = self.set_operand()
            sign = self.peek()
            if sign in {"+", "-"}:
                self.take()
                right = self.set_operand()
                factor = 1 if sign == "+" else -1
                return Change(
                    clause,
                    path,
                    lambda item, bound: _sum(left(item, bound), right(item, bound), factor),
                )
            return Change(clause, path, left)
        return Change(clause, path, _operand(self.take()))

    def set_operand(self) -> Operand:
        if self.peek(1) == "(":
            name = self.take()
            self.take("(")
            if name == "if_not_exists":
                path = self.path()
                self.take(",")
                default = self.set_operand()
                self.take(")")

                def chosen(item: Item, bound: Bound) -> Value | None:
                    other = default(item, bound)
                    present = read(item, resolve(path, bound))
                    return other if present is None else present

                return chosen
            if name == "list_append":
                first = self.set_operand()
                self.take(",")
                second = self.set_operand()
                self.take(")")
                return lambda item, bound: _append(first(item, bound), second(item, bound))
            raise ExpressionError(f"unknown function {name!r} in {self.text!r}")
        raw = self.raw_operand()
        operand = _operand(raw)

        def existing(item: Item, bound: Bound) -> Value:
            value = operand(item, bound)
            if value is None:
                raise ExpressionError("an operand of the update refers to a missing attribute")
            return value

        return existing


def _operand(raw: str | RawPath) -> Operand:
    if isinstance(raw, str):
        return lambda _item, bound: bound.value(raw)
    return lambda item, bound: read(item, resolve(raw, bound))


def resolve(path: RawPath, bound: Bound) -> Path:
    return tuple(bound.name(part) if isinstance(part, str) else part for part in path)


def read(item: Item, path: Path) -> Value | None:
    value: Value | None = item.get(str(path[0]))
    for part in path[1:]:
        if value is None:
            return None
        if isinstance(part, int):
            members = value.get("L")
            value = members[part] if members is not None and part < len(members) else None
        else:
            value = value.get("M", {}).get(part)
    return value


# Comparisons. A missing attribute equals nothing, is not less than anything, and differs from all.


def _key(value: Value) -> tuple[str, Any]:
    ((kind, content),) = value.items()
    return kind, Decimal(content) if kind == "N" else content


def equal(left: Value | None, right: Value | None) -> bool:
    if left is None or right is None:
        return False
    return bool(comparable(left) == comparable(right))


def comparable(value: Value) -> Any:
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return kind, Decimal(content)
        case "SS" | "BS":
            return kind, frozenset(content)
        case "NS":
            return kind, frozenset(Decimal(number) for number in content)
        case "L":
            return kind, [comparable(member) for member in content]
        case "M":
            return kind, {name: comparable(member) for name, member in content.items()}
        case _:
            return kind, content


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Value | None, Value | None], bool]:
    def compare(left: Value | None, right: Value | None) -> bool:
        if left is None or right is None:
            return False
        left_kind, left_content = _key(left)
        right_kind, right_content = _key(right)
        if left_kind != right_kind or left_kind not in {"S", "N", "B"}:
            return False
        return test(left_content, right_content)

    return compare


_COMPARISONS: dict[str, Callable[[Value | None, Value | None], bool]] = {
    "=": equal,
    "<>": lambda left, right: not equal(left, right),
    "<": _ordered(lambda left, right: left < right),
    "<=": _ordered(lambda left, right: left <= right),
    ">": _ordered(lambda left, right: left > right),
    ">=": _ordered(lambda left, right: left >= right),
}


def _between(value: Value | None, low: Value | None, high: Value | None) -> bool:
    return _COMPARISONS["<="](low, value) and _COMPARISONS["<="](value, high)


def _one_of(value: Value | None, options: Iterable[Value | None]) -> bool:
    return any(equal(value, option) for option in options)


def _size(value: Value | None) -> Value | None:
    if value is None:
        return None
    ((kind, content),) = value.items()
    if kind in {"N", "BOOL", "NULL"}:
        raise ExpressionError(f"size of a {kind}")
    return {"N": str(len(content.encode()) if kind == "S" else len(content))}


# Functions of conditions


def _exists(arguments: list[str | RawPath]) -> Condition:
    (path,) = arguments
    return lambda item, bound: read(item, resolve(_path(path), bound)) is not None


def _not_exists(arguments: list[str | RawPath]) -> Condition:
    exists = _exists(arguments)
    return lambda item, bound: not exists(item, bound)


def _is_type(arguments: list[str | RawPath]) -> Condition:
    path, kind = arguments

    def test(item: Item, bound: Bound) -> bool:
        wanted = bound.value(str(kind))["S"]
        value = read(item, resolve(_path(path), bound))
        return value is not None and wanted in value

    return test


def _begins(arguments: list[str | RawPath]) -> Condition:
    whole, start = map(_operand, arguments)

    def test(item: Item, bound: Bound) -> bool:
        left, right = whole(item, bound), start(item, bound)
        if left is None or right is None or "S" not in left or "S" not in right:
            return False
        return bool(left["S"].startswith(right["S"]))

    return test


def _contains(arguments: list[str | RawPath]) -> Condition:
    whole, part = map(_operand, arguments)

    def test(item: Item, bound: Bound) -> bool:
        left, right = whole(item, bound), part(item, bound)
        if left is None or right is None:
            return False
        ((kind, content),) = left.items()
        ((part_kind, part_content),) = right.items()
        if kind == "L":
            return any(equal(member, right) for member in content)
        return (kind, part_kind) in {("S", "S"), ("SS", "S"), ("NS", "N")} and (
            part_content in content
        )

    return test


_FUNCTIONS: dict[str, Callable[[list[str | RawPath]], Condition]] = {
    "attribute_exists": _exists,
    "attribute_not_exists": _not_exists,
    "attribute_type": _is_type,
    "begins_with": _begins,
    "contains": _contains,
}


def _path(raw: str | RawPath) -> RawPath:
    if isinstance(raw, str):
        raise ExpressionError("a path is needed here, not a value")
    return raw


# Updates


def _sum(left: Value | None, right: Value | None, factor: int) -> Value:
    if left is None or right is None or "N" not in left or "N" not in right:
        raise ExpressionError("an operand of + or - is not a number")
    return number(Decimal(left["N"]) + factor * Decimal(right["N"]))


def _append(left: Value | None, right: Value | None) -> Value:
    if left is None or right is None or "L" not in left or "L" not in right:
        raise ExpressionError("an operand of list_append is not a list")
    return {"L": [*left["L"], *right["L"]]}


def number(value: Decimal) -> Value:
    """A number as DynamoDB shows it: without leading and trailing zeros."""
    text = f"{value.normalize():f}" if value else "0"
    return {"N": text}


def apply(changes: list[Change], item: Item, bound: Bound) -> tuple[Item, list[Path]]:
    """The item after an update, and the paths that it touches; operands read the item before."""
    paths = [resolve(change.path, bound) for change in changes]
    for index, path in enumerate(paths):
        for other in paths[index + 1 :]:
            shorter = min(len(path), len(other))
            if path[:shorter] == other[:shorter]:
                raise ExpressionError("two document paths overlap")
    values = [change.operand(item, bound) for change in changes]
    result = clone(item)
    for change, path, value in zip(changes, paths, values, strict=True):
        if change.clause == "SET":
            _write(result, path, value)
        elif change.clause == "REMOVE":
            _write(result, path, None)
        elif change.clause == "ADD":
            _write(result, path, _added(read(item, path), value))
        else:
            _write(result, path, _subtracted(read(item, path), value))
    return result, paths


def _added(old: Value | None, value: Value | None) -> Value:
    if value is None:
        raise ExpressionError("ADD needs a value")
    if old is None:
        return value
    ((kind, content),) = value.items()
    if kind not in old or kind not in {"N", "SS", "NS", "BS"}:
        raise ExpressionError("ADD needs a number or a set")
    if kind == "N":
        return number(Decimal(old["N"]) + Decimal(content))
    return {kind: sorted(set(old[kind]) | set(content))}


def _subtracted(old: Value | None, value: Value | None) -> Value | None:
    if value is None:
        raise ExpressionError("DELETE needs a value")
    ((kind, content),) = value.items()
    if kind not in {"SS", "NS", "BS"} or (old is not None and kind not in old):
        raise ExpressionError("DELETE needs a set")
    left = sorted(set(old[kind]) - set(content)) if old is not None else []
    return {kind: left} if left else None


def _write(item: Item, path: Path, value: Value | None) -> None:
    if len(path) == 1:
        _put(item, str(path[0]), value)
        return
    parent = read(item, path[:-1])
    last = path[-1]
    if parent is None or ("L" if isinstance(last, int) else "M") not in parent:
        raise ExpressionError("the document path provided is invalid for update")
    if isinstance(last, str):
        _put(parent["M"], last, value)
    elif value is None:
        del parent["L"][last : last + 1]
    elif last < len(parent["L"]):
        parent["L"][last] = clone_value(value)
    else:
        parent["L"].append(clone_value(value))


def _put(attributes: dict[str, Value], name: str, value: Value | None) -> None:
    if value is None:
        attributes.pop(name, None)
    else:
        attributes[name] = clone_value(value)


def clone(item: Item) -> Item:
    return {name: clone_value(value) for name, value in item.items()}


def clone_value(value: Value) -> Value:
    ((kind, content),) = value.items()
    if kind == "M":
        return {kind: {name: clone_value(member) for name, member in content.items()}}
    if kind == "L":
        return {kind: [clone_value(member) for member in content]}
    if kind in {"SS", "NS", "BS"}:
        return {kind: list(content)}
    return {kind: content}


# What the stand-in calls


@lru_cache(maxsize=1000)
def condition(text: str) -> Condition:
    parser = _Parser(text)
    parsed = parser.disjunction()
    parser.end()
    return parsed


@lru_cache(maxsize=1000)
def update(text: str) -> list[Change]:
    parser = _Parser(text)
    parsed = parser.update()
    parser.end()
    return parsed


@lru_cache(maxsize=1000)
def projection(text: str) -> list[RawPath]:
    parser = _Parser(text)
    parsed = parser.listed(parser.path)
    parser.end()
    return parsed


def projected(item: Item, paths: list[Path]) -> Item:
    """The chosen attributes; only whole attributes and members of maps are modelled."""
    result: Item = {}
    for path in paths:
        value = read(item, path)
        if value is None:
            continue
        place = result
        for part in path[:-1]:
            if isinstance(part, int):
                raise ExpressionError("a projection of list members is not modelled")
            place = place.setdefault(part, {"M": {}})["M"]
        place[str(path[-1])] = clone_value(value)
    return result


@lru_cache(maxsize=1000)
def _key_terms(text: str) -> list[tuple[RawPath, str, list[str]]]:
    parser = _Parser(text)
    terms = []
    while True:
        if parser.peek() == "begins_with":
            parser.take()
            parser.take("(")
            path = parser.path()
            parser.take(",")
            terms.append((path, "begins_with", [parser.take()]))
            parser.take(")")
        else:
            path = parser.path()
            sign = parser.take()
            values = [parser.take()]
            if sign == "BETWEEN":
                parser.take("AND")
                values.append(parser.take())
            terms.append((path, sign, values))
        if not parser.accept("AND"):
            break
    parser.end()
    return terms


def key_condition(
    text: str, bound: Bound, hash_key: str, range_key: str | None
) -> tuple[Value, Callable[[Value], bool]]:
    """The partition that a query reads, and a test of its sort keys."""
    partition: Value | None = None
    test: Callable[[Value], bool] = lambda _: True  # noqa: E731 - the default
    for raw, sign, tokens in _key_terms(text):
        (name,) = resolve(raw, bound)
        values = [bound.value(token) for token in tokens]
        if name == hash_key and sign == "=":
            partition = values[0]
        elif name == range_key and sign in _KEY_TESTS:
            test = _KEY_TESTS[sign](values)
        else:
            raise ExpressionError(f"a query key condition cannot have {name} {sign}")
    if partition is None:
        raise ExpressionError("the query does not name a partition")
    return partition, test


def _starts_with(key: Value, start: Value) -> bool:
    return "S" in key and "S" in start and bool(key["S"].startswith(start["S"]))


def _compared(sign: str) -> Callable[[list[Value]], Callable[[Value], bool]]:
    return lambda values: lambda key: _COMPARISONS[sign](key, values[0])


_KEY_TESTS: dict[str, Callable[[list[Value]], Callable[[Value], bool]]] = {
    "begins_with": lambda values: lambda key: _starts_with(key, values[0]),
    "BETWEEN": lambda values: lambda key: _between(key, values[0], values[1]),
    **{sign: _compared(sign) for sign in ("=", "<", "<=", ">", ">=")},
}
