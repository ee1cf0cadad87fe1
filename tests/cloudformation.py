"""Reads the templates as CloudFormation does: short forms, parameters, and what refers to what."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
REGION: Final = "eu-central-1"
ACCOUNT: Final = "123456789012"
STACK_NAME: Final = "fl-notifications"

# A resource's value: its `Ref` for an attribute of None, else `GetAtt`.
type Lookup = Callable[[str, str | None], Any]

_NO_VALUE: Final = object()
_PSEUDO: Final[dict[str, Any]] = {
    "AWS::AccountId": ACCOUNT,
    "AWS::NoValue": _NO_VALUE,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": STACK_NAME,
}
_PLACEHOLDER: Final = re.compile(r"\$\{([^}]+)\}")


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms, `!Ref X` as {"Ref": "X"}."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        raise TypeError(f"unexpected {node.tag}")
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


def template() -> dict[str, Any]:
    """template.yaml, the flow, with long forms; not to be changed."""
    return _read("template.yaml")


def observability() -> dict[str, Any]:
    """observability.yaml, the nested stack that watches the flow; not to be changed."""
    return _read("observability.yaml")


@cache
def _read(name: str) -> dict[str, Any]:
    text = (ROOT / name).read_text()
    loaded: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506 - a safe loader, extended
    return loaded


@cache
def deployed() -> dict[str, Any]:
    """Resources and conditions of both templates, as if they were one; not to be changed.

    What the flow hands over to the nested stack stands in place of that one's parameters.
    """
    given = template()["Resources"]["Observability"]["Properties"]["Parameters"]
    nested = {part: _handed(observability()[part], given) for part in ("Resources", "Conditions")}
    return {
        part: {**template().get(part, {}), **nested[part]} for part in ("Resources", "Conditions")
    }


def _handed(value: Any, given: Mapping[str, Any]) -> Any:
    """A value of the nested stack, in terms of the flow."""
    if isinstance(value, list):
        return [_handed(each, given) for each in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Ref": name} if name in given:
            return given[name]
        case {"Fn::Sub": text}:
            return {"Fn::Sub": re.sub(_PLACEHOLDER, lambda found: _named(found, given), text)}
    return {key: _handed(inner, given) for key, inner in value.items()}


def _named(found: re.Match[str], given: Mapping[str, Any]) -> str:
    match given.get(found[1]):
        case None:
            return found[0]
        case {"Ref": name}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"${{{name}.{attribute}}}"
        case other:
            raise NotImplementedError(other)


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """The properties of all resources of a type, by logical id; functions with the globals."""
    common = template()["Globals"]["Function"] if kind == "AWS::Serverless::Function" else {}
    return {
        name: _merged(common, resource.get("Properties", {}))
        for name, resource in deployed()["Resources"].items()
        if resource["Type"] == kind
    }


def functions() -> dict[str, dict[str, Any]]:
    """The properties of all functions, with what the globals add."""
    return resources("AWS::Serverless::Function")


def _merged(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """What SAM makes of `Globals`: maps are merged, lists are joined, the rest is replaced."""
    merged = {**common, **own}
    for key in common.keys() & own.keys():
        if isinstance(common[key], dict) and "Ref" not in common[key]:
            merged[key] = _merged(common[key], own[key])
        elif isinstance(common[key], list):
            merged[key] = [*common[key], *own[key]]
    return merged


def samconfig() -> dict[str, Any]:
    """The settings of SAM CLI, by environment."""
    return tomllib.loads((ROOT / "samconfig.toml").read_text())


def overrides(environment: str) -> dict[str, str]:
    """The parameters that `sam deploy --config-env <environment>` sets."""
    given = samconfig()[environment]["deploy"]["parameters"].get("parameter_overrides", [])
    return dict(each.split("=", 1) for each in given)


def parameters(given: Mapping[str, str]) -> dict[str, str]:
    """All parameters of the flow: those given, and the defaults of the others.

    Raises:
        KeyError: for a parameter that template.yaml does not have.
    """
    declared = template()["Parameters"]
    for name in given:
        declared[name]
    return {name: given.get(name, str(each["Default"])) for name, each in declared.items()}


def evaluate(value: Any, given: Mapping[str, str], lookup: Lookup) -> Any:
    """A value of the template with everything filled in that it refers to."""
    result = _Scope(given, lookup).fill(value)
    return None if result is _NO_VALUE else result


@dataclass(frozen=True)
class _Scope:
    """What a template's values may refer to."""

    given: Mapping[str, str]
    lookup: Lookup

    def fill(self, value: Any) -> Any:
        if isinstance(value, list):
            return [each for each in map(self.fill, value) if each is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(function, argument)
        filled = {key: self.fill(inner) for key, inner in value.items()}
        return {key: inner for key, inner in filled.items() if inner is not _NO_VALUE}

    def _call(self, function: str, argument: Any) -> Any:
        match function:
            case "Ref":
                result = self._reference(argument)
            case "Fn::GetAtt":
                result = self.lookup(argument[0], argument[1])
            case "Fn::Sub":
                result = re.sub(_PLACEHOLDER, lambda found: str(self._named(found[1])), argument)
            case "Fn::If":
                condition, then, otherwise = argument
                met = self.fill(deployed()["Conditions"][condition])
                result = self.fill(then if met else otherwise)
            case "Fn::Equals":
                result = self.fill(argument[0]) == self.fill(argument[1])
            case "Fn::Not":
                result = not self.fill(argument[0])
            case "Fn::Or":
                result = any(self.fill(each) for each in argument)
            case "Fn::Split":
                result = str(self.fill(argument[1])).split(argument[0])
            case _:
                raise NotImplementedError(function)
        return result

    def _named(self, name: str) -> Any:
        resource, _, attribute = name.partition(".")
        return self.lookup(resource, attribute) if attribute else self._reference(name)

    def _reference(self, name: str) -> Any:
        if name in self.given:
            return self.given[name]
        return _PSEUDO[name] if name in _PSEUDO else self.lookup(name, None)


def references(value: Any) -> Iterator[str]:
    """The logical ids and parameters that a value refers to."""
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == "Ref":
                yield inner
            elif key == "Fn::GetAtt":
                yield inner[0]
            elif key == "Fn::Sub":
                yield from (name.partition(".")[0] for name in _PLACEHOLDER.findall(inner))
            else:
                yield from references(inner)
