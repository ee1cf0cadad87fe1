"""What is deployed, wherever that is."""

from datetime import UTC, datetime

from fl_notifications_cli.overview import look
from fl_notifications_cli.stack import Stack
from tests.cloudformation import observability

OUTPUTS = {
    "TrainingsTable",
    "LedgerTable",
    "WaitingTable",
    "MailboxUrl",
    "DeliveriesQueueUrl",
    "DeliveriesDlqUrl",
    "FanOutsQueueUrl",
    "FanOutsDlqUrl",
    "StreamDlqUrl",
    "CallbacksDlqUrl",
    "OutcomesBus",
    "SigningSecretArn",
    "LogGroup",
}


def test_others_are_told_what_they_need_to_know(stack: Stack) -> None:
    assert set(stack.outputs) == OUTPUTS


def test_the_nested_stack_is_deployed_with_all_its_alarms_and_the_dashboard(stack: Stack) -> None:
    written = observability()["Resources"].values()
    count = sum(each["Type"] == "AWS::CloudWatch::Alarm" for each in written)
    assert look(stack, datetime.now(UTC)).alarm_count == count
    name = f"{stack.name}-{stack.region}"
    dashboards = stack.client("cloudwatch").list_dashboards(DashboardNamePrefix=name)
    assert [each["DashboardName"] for each in dashboards["DashboardEntries"]] == [name]
