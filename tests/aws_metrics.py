"""Metrics that AWS emits by itself, as far as the template names them: from its documentation."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Metrics:
    """The metrics of one namespace.

    Attributes:
        source: the page that lists them.
        dimension: the one that all of them have.
        resource: the type of resource whose name is that dimension's value.
        units: by metric.
    """

    source: str
    dimension: str
    resource: str
    units: dict[str, str]


AWS_METRICS: Final = {
    "AWS/Lambda": Metrics(
        source="https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html",
        dimension="FunctionName",
        resource="AWS::Serverless::Function",
        units={
            "Errors": "Count",
            "Throttles": "Count",
            "Duration": "Milliseconds",
            "Invocations": "Count",
            # Of functions with a URL (Developer Guide, "Monitoring Lambda function URLs").
            "Url5xxCount": "Count",
            # Of functions that read a stream.
            "IteratorAge": "Milliseconds",
            # Of asynchronous invocations and of streams.
            "DestinationDeliveryFailures": "Count",
        },
    ),
    "AWS/Events": Metrics(
        source="https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html",
        # With `EventBusName`, as it is not the default bus.
        dimension="RuleName",
        resource="AWS::Events::Rule",
        units={"InvocationsFailedToBeSentToDlq": "Count"},
    ),
    "AWS/SQS": Metrics(
        source="https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/"
        "sqs-available-cloudwatch-metrics.html",
        dimension="QueueName",
        resource="AWS::SQS::Queue",
        units={
            "ApproximateAgeOfOldestMessage": "Seconds",
            "ApproximateNumberOfMessagesNotVisible": "Count",
            "ApproximateNumberOfMessagesVisible": "Count",
        },
    ),
}
