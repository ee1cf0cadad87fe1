"""Compares what checkov and cdk-nag have found (their reports, as files) with what is accepted."""

import json
import sys
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

ACCEPTED = Path(__file__).with_name("accepted.yaml")
PACKS = {"AwsSolutions", "Serverless"}


def found_by_checkov(report: Any) -> dict[str, set[str]]:
    """The logical ids of the resources that each check failed for."""
    by_check = defaultdict(set)
    for part in report if isinstance(report, list) else [report]:
        if part["summary"]["parsing_errors"] or not part["summary"]["resource_count"]:
            sys.exit("checkov could not read a template")
        for each in part["results"]["failed_checks"]:
            by_check[each["check_id"]].add(each["resource"].rpartition(".")[2])
    return by_check


def found_by_nag(report: Any) -> dict[str, set[str]]:
    """The same, by cdk-nag's rules."""
    by_rule = {}
    packs = [part for part in report["pluginReports"] if part["pluginName"] in PACKS]
    if {part["pluginName"] for part in packs} != PACKS:
        sys.exit("cdk-nag has not reported")
    for part in packs:
        for each in part["violations"]:
            if "threw an error" in each["description"]:
                sys.exit(f"cdk-nag could not check {each['ruleName']}")
            places = each["violatingConstructs"]
            by_rule[each["ruleName"]] = {
                place["constructPath"].rpartition("/")[2] for place in places
            }
    return by_rule


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
    checkov, nag = (json.loads(Path(each).read_text()) for each in sys.argv[1:])
    findings = {**found_by_checkov(checkov), **found_by_nag(nag)}
    wrong = complaints(findings, yaml.safe_load(ACCEPTED.read_text()))
    done = f"checkov and cdk-nag: {len(findings)} findings, each accepted with its reason"
    print("\n".join(wrong) or done, flush=True)
    sys.exit(bool(wrong))
