"""The functions of a running stack, as they are deployed."""

from collections.abc import Mapping
from dataclasses import dataclass

from fl_notifications_cli.stack import Stack


@dataclass(frozen=True, slots=True)
class Function:
    """A deployed function.

    Attributes:
        name: its logical id in the template.
        handler: module and function, dotted.
        role: the ARN of its role.
        variables: its environment.
    """

    name: str
    handler: str
    role: str
    variables: Mapping[str, str]


def deployed_functions(stack: Stack) -> dict[str, Function]:
    """Return the stack's functions by their logical ids."""
    resources = stack.client("cloudformation").describe_stack_resources(StackName=stack.name)
    return {
        resource["LogicalResourceId"]: _function(
            stack, resource["LogicalResourceId"], resource["PhysicalResourceId"]
        )
        for resource in resources["StackResources"]
        if resource["ResourceType"] == "AWS::Lambda::Function"
    }


def deployed_function(stack: Stack, name: str) -> Function:
    """Return one of the stack's functions by its logical id."""
    found = stack.client("cloudformation").describe_stack_resource(
        StackName=stack.name, LogicalResourceId=name
    )["StackResourceDetail"]
    return _function(stack, name, found["PhysicalResourceId"])


def _function(stack: Stack, name: str, physical_id: str) -> Function:
    said = stack.client("lambda").get_function_configuration(FunctionName=physical_id)
    return Function(
        name=name,
        handler=said["Handler"],
        role=said["Role"],
        variables=said.get("Environment", {}).get("Variables", {}),
    )
