"""Prints a SAM template as plain CloudFormation, with all that is optional.

Run by SAM CLI's own Python, for its translator.
"""

import json
import sys
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform


class _NoPolicies:
    """The managed policies that the templates name: none."""

    def load(self) -> dict[str, str]:
        return {}


def with_all(part: Any) -> Any:
    """Take each condition as met, as cdk-nag cannot look into both branches."""
    if isinstance(part, dict):
        if list(part) == ["Fn::If"]:
            return with_all(part["Fn::If"][1])
        return {name: with_all(value) for name, value in part.items()}
    return [with_all(each) for each in part] if isinstance(part, list) else part


def main(path: Path) -> None:
    """Print one template."""
    template = with_all(yaml_parse(path.read_text()))
    uploaded = {
        "AWS::Serverless::Function": ("CodeUri", "s3://bucket/key"),
        "AWS::Serverless::LayerVersion": ("ContentUri", "s3://bucket/key"),
        "AWS::CloudFormation::Stack": ("TemplateURL", "https://bucket.s3.amazonaws.com/key"),
    }
    for resource in template["Resources"].values():
        if resource["Type"] in uploaded:
            name, uri = uploaded[resource["Type"]]
            resource["Properties"][name] = uri
    if "Transform" in template:
        parameters = template["Parameters"].items()
        defaults = {name: each["Default"] for name, each in parameters if "Default" in each}
        template = transform(template, defaults, _NoPolicies())
    json.dump(template, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
