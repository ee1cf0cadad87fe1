"""What `make audit` complains of."""

from typing import Any

import pytest
import yaml

from tools.audit import ACCEPTED, PACKS, complaints, found_by_checkov, found_by_nag

ACCEPTING: dict[str, dict[str, Any]] = {
    "ONE": {"reason": "?"},
    "TWO": {"reason": "?", "resources": ["A", "B"]},
}


def test_a_finding_that_is_accepted_is_nothing_to_complain_of() -> None:
    assert complaints({"ONE": {"A", "C"}, "TWO": {"A", "B"}}, ACCEPTING) == []


def test_a_new_finding_and_one_at_another_resource_are_named() -> None:
    assert complaints({"ONE": {"A"}, "TWO": {"A", "B", "C"}, "THREE": {"A"}}, ACCEPTING) == [
        "THREE: A: not accepted",
        "TWO: C: not accepted",
    ]


def test_what_is_accepted_in_vain_is_named() -> None:
    assert complaints({"TWO": {"A"}}, ACCEPTING) == [
        "ONE: accepted, but no longer found",
        "TWO: B: no longer found",
    ]


def test_a_report_that_has_read_nothing_is_no_good_report() -> None:
    with pytest.raises(SystemExit, match="could not read"):
        found_by_checkov({"summary": {"parsing_errors": 0, "resource_count": 0}, "results": {}})


def nag(*violations: dict[str, Any]) -> dict[str, Any]:
    return {"pluginReports": [{"pluginName": pack, "violations": violations} for pack in PACKS]}


def test_what_nag_finds_is_known_by_rule_and_logical_id() -> None:
    violation = {
        "ruleName": "Rule[Detail]",
        "description": "?",
        "violatingConstructs": [{"constructPath": "template/template/Queue"}],
    }
    assert found_by_nag(nag(violation)) == {"Rule[Detail]": {"Queue"}}


@pytest.mark.parametrize(
    "report",
    [
        {"pluginReports": []},
        nag({"ruleName": "R", "description": "Rule threw an error", "violatingConstructs": []}),
    ],
)
def test_a_rule_that_was_not_applied_is_no_good_report(report: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="cdk-nag"):
        found_by_nag(report)


def test_every_accepted_finding_says_what_and_why() -> None:
    for check, entry in yaml.safe_load(ACCEPTED.read_text()).items():
        assert entry["finding"], check
        assert len(entry["reason"]) > 40, check
