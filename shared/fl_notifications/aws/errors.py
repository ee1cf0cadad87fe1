"""What AWS's errors mean."""

from botocore.exceptions import ClientError


def condition_failed(error: ClientError) -> bool:
    """Whether a conditional write was refused because its condition does not hold."""
    return error.response["Error"]["Code"] == "ConditionalCheckFailedException"
