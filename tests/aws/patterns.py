"""Event patterns, as EventBridge's rules and Lambda's event filters have them."""

from collections.abc import Mapping
from typing import Any

from tests.aws.kernel import NotModelledError


def matches(pattern: Mapping[str, Any], event: object) -> bool:
    """Whether an event has all that the pattern asks for."""
    members = event if isinstance(event, Mapping) else {}
    for name, wanted in pattern.items():
        if name == "$or":
            if not any(matches(option, event) for option in wanted):
                return False
        elif isinstance(wanted, Mapping):
            if not matches(wanted, members.get(name)):
                return False
        elif not any(_accepts(option, members, name) for option in wanted):
            return False
    return True


def _accepts(option: object, members: Mapping[str, Any], name: str) -> bool:
    if isinstance(option, Mapping):
        ((kind, argument),) = option.items()
        if kind == "exists":
            return (name in members) is argument
        values = members.get(name)
        return name in members and any(
            _tests(kind, argument, value)
            for value in (values if isinstance(values, list) else [values])
        )
    if name not in members:
        return False
    value = members[name]
    if isinstance(value, list):
        return any(_same(option, member) for member in value)
    return _same(option, value)


def _same(option: object, value: object) -> bool:
    return type(option) is type(value) and option == value


def _tests(kind: str, argument: Any, value: object) -> bool:
    match kind:
        case "prefix":
            return isinstance(value, str) and value.startswith(argument)
        case "suffix":
            return isinstance(value, str) and value.endswith(argument)
        case "anything-but":
            if isinstance(argument, Mapping):
                ((inner, text),) = argument.items()
                return not _tests(inner, text, value)
            refused = argument if isinstance(argument, list) else [argument]
            return not any(_same(each, value) for each in refused)
        case "equals-ignore-case":
            return isinstance(value, str) and value.lower() == argument.lower()
        case _:
            raise NotModelledError(f"event pattern with {kind!r}")
