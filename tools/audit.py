"""Compares what checkov has found (its JSON, on standard input) with what is accepted."""

import json
import sys
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

ACCEPTED = Path(__file__).with_name("accepted.yaml")


def found(report: Any) -> dict[str, set[str]]:
    """The logical ids of the resources that each check failed for."""
    by_check = defaultdict(set)
    for part in report if isinstance(report, list) else [report]:
        if part["summary"]["parsing_errors"] or not part["summary"]["resource_count"]:
            sys.exit("checkov could not read a template")
        for each in part["results"]["failed_checks"]:
            by_check[each["check_id"]].add(each["resource"].rpartition(".")[2])
    return by_check


def complaints(
    findings: Mapping[str, Collection[str]], accepted: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What is found and not accepted, or accepted and no longer found."""
    said = []
    for check in sorted({*findings, *accepted}):
        resources = set(findings.get(check, ()))
        excused = set(accepted[check].get("resources", resources)) if check in accepted else set()
        said += [f"{check}: {each}: not accepted" for each in sorted(resources - excused)]
        if check in accepted and not resources:
            said.append(f"{check}: accepted, but no longer found")
        said += [f"{check}: {each}: no longer found" for each in sorted(excused - resources)]
    return said


if __name__ == "__main__":
    wrong = complaints(found(json.load(sys.stdin)), yaml.safe_load(ACCEPTED.read_text()))
    print("\n".join(wrong) or "checkov: every finding is accepted, with its reason", flush=True)
    sys.exit(bool(wrong))
