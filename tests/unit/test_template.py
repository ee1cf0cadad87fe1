"""What must hold of every function, queue, table and alarm, whoever adds the next one.

Each rule says what is missing: docs/callbacks.md leads through them for a callback of one's own.
"""

import importlib
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cost import MEMORY_MB, Assumptions, share_of_core
from fl_notifications.notifications.notification import NOTIFICATION_CLASSES
from fl_notifications.outcomes.changes import ENFORCE_QUORUM, TRAINING_OVERDUE_CALLBACK
from fl_notifications.outcomes.ledger import RETENTION
from fl_notifications.outcomes.outcome import SOURCE
from fl_notifications.trainings.model import Participant, Training
from fl_notifications.trainings.removals import Removal
from functions.callback_failure.worker import (
    BACKOFF_SECONDS,
    MAX_BACKOFF_SECONDS,
)
from functions.callback_failure.worker import (
    RESERVE_SECONDS as CALLBACK_SECONDS,
)
from functions.deliver_notification.deliverer import MAX_POSTS, RESERVE_SECONDS
from functions.deliver_notification.receipts import MAX_TROUBLED_RECEIVES
from tests.cloudformation import (
    ROOT,
    evaluate,
    functions,
    observability,
    overrides,
    parameters,
    references,
    resources,
    samconfig,
    template,
)

if TYPE_CHECKING:
    from fl_notifications.settings import EnvironmentSettings

FUNCTIONS = functions()
ROLES = resources("AWS::IAM::Role")
QUEUES = resources("AWS::SQS::Queue")
TABLES = resources("AWS::DynamoDB::Table")
ALARMS = resources("AWS::CloudWatch::Alarm")
DEFAULTS = parameters({})

every_function = pytest.mark.parametrize("name", FUNCTIONS)
every_role = pytest.mark.parametrize("name", ROLES)

# Where a resource may be "*": AWS knows none for these actions (Service Authorization Reference).
WITHOUT_RESOURCES: Final = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
# What Lambda itself does for a function in a network; AWS wants them for all resources.
NETWORK: Final = {
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
}
# Where a resource may end in "*": a stream's label is not known before it is made.
ANY_STREAM_OF_THE_TABLE: Final = "${Trainings.Arn}/stream/*"
# An index has no ARN of its own.
INDEX: Final = "${Waiting.Arn}/index/due"


def value(of: Any) -> Any:
    """A value with the parameters' defaults; resources become `<name.attribute>`."""
    return evaluate(of, DEFAULTS, lambda name, attribute: f"<{name}.{attribute or 'Ref'}>")


def snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")


def events(name: str, kind: str | None = None) -> dict[str, dict[str, Any]]:
    """The properties of a function's triggers."""
    found = FUNCTIONS[name].get("Events", {})
    return {
        trigger: each["Properties"]
        for trigger, each in found.items()
        if kind in {None, each["Type"]}
    }


@dataclass(frozen=True)
class Rule:
    """A rule of the bus and its one target, in whichever way the template makes it."""

    name: Any
    bus: Any
    pattern: dict[str, Any]
    retry: dict[str, int]
    dead_letters: Any
    queue: str | None = None

    @property
    def dead_letter_queue(self) -> list[str]:
        """Its name, if there is one."""
        return [self.dead_letters["Fn::GetAtt"][0]] if self.dead_letters else []

    @property
    def callbacks(self) -> list[str]:
        """The callbacks by whose names it matches; none if it matches by something else."""
        return list(self.pattern.get("detail", {}).get("callback", []))


def rules() -> dict[str, Rule]:
    """All rules."""
    found = {}
    for name in FUNCTIONS:
        for each in events(name, "EventBridgeRule").values():
            dead = each.get("DeadLetterConfig", {}).get("Arn")
            found[name] = Rule(
                each.get("RuleName"),
                each.get("EventBusName"),
                each["Pattern"],
                each.get("RetryPolicy", {}),
                dead,
            )
    for name, each in resources("AWS::Events::Rule").items():
        (target,) = each["Targets"]
        (queue, attribute) = target["Arn"]["Fn::GetAtt"]
        assert attribute == "Arn"
        found[name] = Rule(
            each.get("Name"),
            each.get("EventBusName"),
            each["EventPattern"],
            target.get("RetryPolicy", {}),
            target.get("DeadLetterConfig", {}).get("Arn"),
            queue,
        )
    return found


def alarm_called(name: str) -> dict[str, Any]:
    """An alarm of observability.yaml; without it the rule fails, and says its name."""
    assert name in ALARMS, f"observability.yaml needs the alarm {name}"
    return ALARMS[name]


def statements(role: str) -> Iterator[tuple[list[str], list[Any]]]:
    """What a role allows: actions and resources."""
    for policy in map(_whether_or_not, ROLES[role].get("Policies", [])):
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Deny":
                continue
            assert set(statement) <= {"Effect", "Action", "Resource", "Condition"}
            assert statement["Effect"] == "Allow"
            yield _list(statement["Action"]), _list(statement["Resource"])


def _whether_or_not(policy: Any) -> Any:
    """A policy, also if the role has it only with some parameters."""
    match policy:
        case {"Fn::If": [_, then, {"Ref": "AWS::NoValue"}]}:
            return then
    return policy


def _list(one_or_more: Any) -> list[Any]:
    return one_or_more if isinstance(one_or_more, list) else [one_or_more]


def allows(role: str, action: str, resource: str) -> bool:
    return any(
        action in actions and resource in map(value, where) for actions, where in statements(role)
    )


# --- roles ----------------------------------------------------------------------------------------


@every_function
def test_a_function_has_a_role_of_its_own(name: str) -> None:
    role = FUNCTIONS[name].get("Role")
    assert role == {"Fn::GetAtt": [f"{name}Role", "Arn"]}, f"{name}: Role: !GetAtt {name}Role.Arn"
    assert f"{name}Role" in ROLES, f"the template needs the role {name}Role"
    # SAM would add to a role that it makes itself.
    assert not {"Policies", "RolePath", "PermissionsBoundary"} & set(FUNCTIONS[name])


def test_there_is_no_other_role() -> None:
    others = set(ROLES) - {f"{name}Role" for name in FUNCTIONS}
    assert not others, f"roles of no function, by their names: {others}"


@every_role
def test_a_role_is_assumed_by_lambda_alone_and_has_no_policy_of_aws(name: str) -> None:
    (statement,) = ROLES[name]["AssumeRolePolicyDocument"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }, f"{name}: AssumeRolePolicyDocument: *LambdaAssumesIt"
    assert set(ROLES[name]) == {"AssumeRolePolicyDocument", "Policies"}, (
        f"{name}: only Policies of its own, the first of them *LogsAndTraces; no managed one"
    )


@every_role
def test_no_action_is_a_wildcard(name: str) -> None:
    for actions, _ in statements(name):
        assert [each for each in actions if "*" in each or "?" in each or ":" not in each] == []


@every_role
def test_every_resource_is_one_of_this_stack(name: str) -> None:
    for actions, where in statements(name):
        if set(actions) <= WITHOUT_RESOURCES | NETWORK:
            assert where == ["*"]
            continue
        if where == [{"Ref": "PrivateAuthorities"}]:
            assert name == "DeliverNotificationRole"
            continue
        for each in where:
            assert isinstance(each, dict), f"{actions} on {each}"
            known = [{"Fn::Sub": ANY_STREAM_OF_THE_TABLE}, {"Fn::Sub": INDEX}]
            assert each in known or "Fn::GetAtt" in each
            assert set(references(each)) <= set(template()["Resources"])


def test_a_function_may_not_do_itself_what_lambda_needs_for_its_network() -> None:
    """By the pattern that AWS gives: the key is there only in calls of the function's own."""
    (policy,) = [
        policy
        for each in ROLES["DeliverNotificationRole"]["Policies"]
        if (policy := _whether_or_not(each))["PolicyName"] == "network"
    ]
    allow, deny = policy["PolicyDocument"]["Statement"]
    assert (allow["Effect"], set(allow["Action"])) == ("Allow", NETWORK)
    assert (deny["Effect"], deny["Action"], deny["Resource"]) == ("Deny", allow["Action"], "*")
    assert value(deny["Condition"]) == {
        "ArnLike": {
            "lambda:SourceFunctionArn": "arn:aws:lambda:eu-central-1:123456789012:function:*"
        }
    }


def test_without_a_network_and_private_authorities_a_role_has_nothing_of_them() -> None:
    names = [each["PolicyName"] for each in value(ROLES["DeliverNotificationRole"]["Policies"])]
    assert names == ["logs-and-traces", "deliver"]
    assert "VpcConfig" not in value(FUNCTIONS["DeliverNotification"])


def test_with_a_network_and_private_authorities_the_delivery_has_them() -> None:
    arn = "arn:aws:ssm:eu-central-1:123456789012:parameter/authorities"
    given = parameters(
        {
            "SubnetIds": "subnet-01234567,subnet-89abcdef",
            "SecurityGroupIds": "sg-01234567",
            "PrivateAuthorities": arn,
        }
    )
    lookup = lambda name, attribute: f"<{name}.{attribute}>"  # noqa: E731 - it is but a name
    assert evaluate(FUNCTIONS["DeliverNotification"]["VpcConfig"], given, lookup) == {
        "SubnetIds": ["subnet-01234567", "subnet-89abcdef"],
        "SecurityGroupIds": ["sg-01234567"],
    }
    policies = evaluate(ROLES["DeliverNotificationRole"]["Policies"], given, lookup)
    (statement,) = policies[2]["PolicyDocument"]["Statement"]
    assert statement["Resource"] == arn
    (rule,) = template()["Rules"].values()
    (assertion,) = rule["Assertions"]
    assert evaluate(rule["RuleCondition"], given, lookup) is True
    assert evaluate(assertion["Assert"], given, lookup) is True
    assert evaluate(assertion["Assert"], given | {"SecurityGroupIds": ""}, lookup) is False
    assert value(rule["RuleCondition"]) is False


@every_role
def test_a_statement_with_the_wide_stream_resource_allows_only_listing(name: str) -> None:
    for actions, where in statements(name):
        if {"Fn::Sub": ANY_STREAM_OF_THE_TABLE} in where:
            assert actions == ["dynamodb:ListStreams"]


@every_function
def test_a_function_may_log_and_trace(name: str) -> None:
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        assert allows(f"{name}Role", action, "<LogGroup.Arn>"), (
            f"{name}Role needs *LogsAndTraces among its Policies"
        )
    for action in WITHOUT_RESOURCES:
        assert allows(f"{name}Role", action, "*")


def test_the_secret_is_named_by_what_is_its_arn_everywhere() -> None:
    """`Ref` of a secret is its name on the emulator, and a policy on that denies."""
    text = (ROOT / "template.yaml").read_text()
    assert "!Ref SigningSecret" not in text
    assert "${SigningSecret}" not in text
    assert allows("DeliverNotificationRole", "secretsmanager:GetSecretValue", "<SigningSecret.Id>")


def test_only_the_failure_callback_may_write_to_the_trainings_table() -> None:
    writing = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"}
    may_write = {
        role
        for role in ROLES
        for action in writing
        if allows(role, f"dynamodb:{action}", "<Trainings.Arn>")
    }
    assert may_write == {"CallbackFailureRole"}, (
        "what changes a training tells all its participants: only the failure policy does"
    )


def test_only_the_two_that_sign_may_read_the_secret() -> None:
    readers = {
        role
        for role in ROLES
        for actions, _ in statements(role)
        for action in actions
        if action.startswith("secretsmanager:")
    }
    assert readers == {"DeliverNotificationRole", "MailboxRole"}


# --- functions ------------------------------------------------------------------------------------


@every_function
def test_a_function_is_built_with_its_own_package_and_the_layer(name: str) -> None:
    package = snake(name)
    metadata = template()["Resources"][name].get("Metadata")
    assert metadata == {
        "BuildProperties": {
            "ParentPackageMode": "explicit",
            "ParentPackages": f"functions.{package}",
        }
    }, f"{name} needs the Metadata that the other functions have, with functions.{package}"
    assert FUNCTIONS[name]["CodeUri"] == f"functions/{package}/", "its code, by its name"
    assert FUNCTIONS[name]["Handler"] == f"functions.{package}.app.lambda_handler"
    assert (ROOT / "functions" / package / "app.py").is_file()
    assert FUNCTIONS[name]["Layers"] == [{"Ref": "SharedLayer"}]


def test_every_directory_of_functions_is_a_function() -> None:
    directories = {each.parent.name for each in (ROOT / "functions").glob("*/app.py")}
    assert directories == set(map(snake, FUNCTIONS)), "each of them needs its function, by its name"


@every_function
def test_a_function_runs_on_python_3_13_on_either_architecture(name: str) -> None:
    assert FUNCTIONS[name]["Runtime"] == "python3.13"
    assert FUNCTIONS[name]["Architectures"] == [{"Ref": "Architecture"}]
    assert template()["Parameters"]["Architecture"]["AllowedValues"] == ["x86_64", "arm64"]


@every_function
def test_a_function_names_its_memory_which_is_what_its_cost_is_reckoned_with(name: str) -> None:
    """By the table in docs/scale.md; the defaults of `Globals` would hide who needs what."""
    assert "MemorySize" not in template()["Globals"]["Function"]
    memory = template()["Resources"][name]["Properties"].get("MemorySize")
    assert memory is not None, f"{name}: say MemorySize; 256 does for a callback"
    # The cost of one that somebody has added is for them to reckon.
    assert memory == MEMORY_MB.get(name, memory)


@every_function
def test_a_cold_start_fits_into_lambdas_ten_seconds_of_initialization(name: str) -> None:
    """Even if it has no more than its memory's share of a core then."""
    memory = FUNCTIONS[name].get("MemorySize", 128)  # Lambda's own default
    assert Assumptions().start_seconds / share_of_core(memory) < 10 / 2, f"{memory} MB: too slow"


@every_function
def test_a_function_logs_json_into_the_one_log_group_and_is_traced(name: str) -> None:
    logging = FUNCTIONS[name]["LoggingConfig"]
    assert (logging["LogGroup"], logging["LogFormat"]) == ({"Ref": "LogGroup"}, "JSON")
    # A sample of each poll of its own would cost more than the poll.
    assert FUNCTIONS[name]["Tracing"] == ("PassThrough" if name == "Mailbox" else "Active")


@every_function
def test_a_functions_environment_is_what_its_settings_ask_for(name: str) -> None:
    settings = settings_of(name)
    given = FUNCTIONS[name]["Environment"]["Variables"]
    own = {key for key in given if not key.startswith("POWERTOOLS_")}
    required = {key for key, each in settings.model_fields.items() if each.is_required()}
    assert own == {key.upper() for key in required}, (
        f"Environment of {name} and Settings in functions/{snake(name)}/settings.py differ"
    )
    settings.from_environment({key: str(value(each)) for key, each in given.items()})


@every_function
@pytest.mark.parametrize("extreme", ["MinValue", "MaxValue"])
def test_the_settings_take_every_value_that_the_parameters_allow(name: str, extreme: str) -> None:
    given = parameters(
        {
            parameter: str(each[extreme])
            for parameter, each in template()["Parameters"].items()
            if extreme in each
        }
    )
    variables = evaluate(
        FUNCTIONS[name]["Environment"]["Variables"], given, lambda resource, _: resource
    )
    settings_of(name).from_environment({key: str(each) for key, each in variables.items()})


def settings_of(name: str) -> "type[EnvironmentSettings]":
    """A function's settings; without them the rule fails, and says what is needed."""
    package = f"functions.{snake(name)}"
    if importlib.util.find_spec(f"{package}.settings") is None:
        pytest.fail(
            f"{package}.settings is missing: class Settings(FunctionSettings), with a field for"
            f" each variable of the Environment of {name}"
        )
    settings: type[EnvironmentSettings] = importlib.import_module(f"{package}.settings").Settings
    return settings


@every_function
def test_a_function_names_no_other_resource_than_its_role_may_use(name: str) -> None:
    """A resource in the environment that the role knows nothing of would be denied."""
    named = {
        each
        for variable in FUNCTIONS[name]["Environment"]["Variables"].values()
        for each in references(variable)
        if each in template()["Resources"]
    }
    allowed = {
        each
        for _, where in statements(f"{name}Role")
        for resource in where
        for each in references(resource)
    }
    assert named <= allowed, (
        f"{name}Role may not use {named - allowed}, which its Environment names"
    )


def test_one_attempt_and_its_report_fit_into_the_delivery_functions_timeout() -> None:
    longest = template()["Parameters"]["RequestTimeoutSeconds"]["MaxValue"]
    assert longest + RESERVE_SECONDS <= FUNCTIONS["DeliverNotification"]["Timeout"]


def test_one_event_fits_into_the_failure_callbacks_timeout() -> None:
    assert FUNCTIONS["CallbackFailure"]["Timeout"] / 2 >= CALLBACK_SECONDS


# --- triggers: bounded retries, and a dead-letter queue at their end ------------------------------


@every_function
def test_every_trigger_is_of_a_kind_that_these_tests_know(name: str) -> None:
    kinds = {each["Type"] for each in FUNCTIONS[name].get("Events", {}).values()}
    assert kinds or "FunctionUrlConfig" in FUNCTIONS[name]
    assert kinds <= {"DynamoDB", "SQS", "EventBridgeRule", "Schedule"}


@every_function
def test_a_stream_is_retried_for_a_bounded_time_however_often_that_is(name: str) -> None:
    for each in events(name, "DynamoDB").values():
        # A number may be over in minutes, when a service is down for an hour.
        assert each["MaximumRetryAttempts"] == -1
        # Streams keep records for a day; there must be time left to look.
        assert 60 <= each["MaximumRecordAgeInSeconds"] < 86400
        assert each["BisectBatchOnFunctionError"] is True
        assert each["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert each["StartingPosition"] == "TRIM_HORIZON"
        destination = each["DestinationConfig"]["OnFailure"]
        assert destination["Type"] == "SQS"
        check_dead_letter_queue(destination["Destination"])
        assert allows(f"{name}Role", "sqs:SendMessage", value(destination["Destination"]))


@every_function
def test_a_stream_may_be_read_by_the_function(name: str) -> None:
    for each in events(name, "DynamoDB").values():
        stream = value(each["Stream"])
        for action in ("DescribeStream", "GetRecords", "GetShardIterator"):
            assert allows(f"{name}Role", f"dynamodb:{action}", stream)


@every_function
def test_a_queue_comes_with_a_redrive_and_enough_time_for_the_function(name: str) -> None:
    for each in events(name, "SQS").values():
        queue, _ = each["Queue"]["Fn::GetAtt"]
        assert each.get("FunctionResponseTypes") == ["ReportBatchItemFailures"]
        assert each.get("BatchSize", 10) <= 10  # more is for standard queues only
        assert "RedrivePolicy" in QUEUES[queue], f"{queue} needs a dead-letter queue: RedrivePolicy"
        redrive = QUEUES[queue]["RedrivePolicy"]
        assert 0 < redrive["maxReceiveCount"] <= 1000
        check_dead_letter_queue(redrive["deadLetterTargetArn"])
        timeout = FUNCTIONS[name]["Timeout"]
        # AWS's advice is six times as long; never may a message be seen by two at once.
        visible = int(value(QUEUES[queue].get("VisibilityTimeout", 30)))
        assert visible >= 6 * timeout, f"{queue}: VisibilityTimeout of six times {name}'s Timeout"
        match QUEUES[queue]["VisibilityTimeout"]:
            case {"Ref": parameter}:
                assert template()["Parameters"][parameter]["MinValue"] >= timeout
            case seconds:
                assert seconds >= timeout
        for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
            assert allows(f"{name}Role", f"sqs:{action}", f"<{queue}.Arn>"), (
                f"{name}Role needs sqs:{action} of {queue}"
            )


@pytest.mark.parametrize("name", rules())
def test_an_event_is_brought_to_its_target_a_bounded_number_of_times(name: str) -> None:
    rule = rules()[name]
    assert rule.retry, f"the target of {name} needs RetryPolicy: *RuleRetries"
    assert 0 < rule.retry["MaximumRetryAttempts"] <= 185
    assert 60 <= rule.retry["MaximumEventAgeInSeconds"] <= 86400
    assert rule.dead_letters, f"the target of {name} needs a DeadLetterConfig, as of CallbacksDlq"
    check_dead_letter_queue(rule.dead_letters)


@every_function
def test_a_function_that_the_bus_invokes_is_retried_a_bounded_number_of_times(name: str) -> None:
    for _ in events(name, "EventBridgeRule").values():
        invoking = FUNCTIONS[name]["EventInvokeConfig"]
        assert 0 <= invoking["MaximumRetryAttempts"] <= 2
        assert 60 <= invoking["MaximumEventAgeInSeconds"] <= 21600
        destination = invoking["DestinationConfig"]["OnFailure"]
        assert destination["Type"] == "SQS"
        check_dead_letter_queue(destination["Destination"])
        assert allows(f"{name}Role", "sqs:SendMessage", value(destination["Destination"]))


@every_function
def test_what_is_run_by_a_schedule_is_not_retried_as_the_next_one_comes_soon(name: str) -> None:
    for each in events(name, "Schedule").values():
        assert each["Schedule"] == "rate(1 minute)"
        assert each["RetryPolicy"]["MaximumRetryAttempts"] == 0
        assert FUNCTIONS[name]["EventInvokeConfig"]["MaximumRetryAttempts"] == 0
        alarm = ALARMS[f"{name}SilentAlarm"]
        assert (alarm["MetricName"], alarm["TreatMissingData"]) == ("Invocations", "breaching")
        assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": name}}]
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)


def test_only_the_mailbox_can_be_reached_from_outside_and_has_an_alarm_for_its_trouble() -> None:
    assert [name for name in FUNCTIONS if "FunctionUrlConfig" in FUNCTIONS[name]] == ["Mailbox"]
    # A browser has no business here: no CORS.
    assert FUNCTIONS["Mailbox"]["FunctionUrlConfig"] == {"AuthType": "NONE"}
    assert ALARMS["MailboxTroubleAlarm"]["MetricName"] == "Url5xxCount"


@pytest.mark.parametrize("name", rules())
def test_the_bus_may_put_events_into_a_rules_queue_and_dead_letter_queue(name: str) -> None:
    policies = resources("AWS::SQS::QueuePolicy").values()
    rule = rules()[name]
    queues = [*rule.dead_letter_queue, *([rule.queue] if rule.queue else [])]
    for queue in queues:
        (policy,) = [one for one in policies if {"Ref": queue} in one["Queues"]]
        statement = policy["PolicyDocument"]["Statement"][0]
        assert statement["Principal"] == {"Service": "events.amazonaws.com"}
        assert statement["Action"] == "sqs:SendMessage"
        assert statement["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}
        bus = value(rule.bus)
        assert value(statement["Condition"]) == {
            "ArnLike": {"aws:SourceArn": f"arn:aws:events:eu-central-1:123456789012:rule/{bus}/*"}
        }, f"the policy of {queue} lets the rules of the bus send, and nobody else: see Callbacks"


def test_events_that_a_queue_fails_at_are_tried_for_hours_and_less_than_a_day() -> None:
    limit = QUEUES["Callbacks"]["RedrivePolicy"]["maxReceiveCount"]
    waits = [min(BACKOFF_SECONDS * tries, MAX_BACKOFF_SECONDS) for tries in range(1, limit)]
    assert 6 * 3600 <= sum(waits) <= 24 * 3600


def check_dead_letter_queue(arn: Any) -> None:
    queue, attribute = arn["Fn::GetAtt"]
    assert attribute == "Arn"
    assert queue.endswith("Dlq"), f"{queue}: what ends in Dlq is known to be a dead-letter queue"
    assert queue in QUEUES


@pytest.mark.parametrize("name", rules())
def test_a_rule_has_a_name_a_bus_and_a_pattern_of_this_service_alone(name: str) -> None:
    """By its name its alarm finds it; other events on the bus are others' concern."""
    rule = rules()[name]
    assert rule.name is not None, f"{name}: Name: !Sub ${{AWS::StackName}}-…, for its alarm"
    assert rule.bus == {"Ref": "Outcomes"}, f"{name}: EventBusName: !Ref Outcomes"
    assert rule.pattern.get("source") == [SOURCE], f"{name}: its pattern needs source: [{SOURCE}]"
    assert set(rule.pattern) <= {"source", "detail-type", "detail"}


def test_the_rules_match_on_every_callback_that_is_named_each_in_one_of_them() -> None:
    named = {
        callback
        for cls in NOTIFICATION_CLASSES.values()
        for callback in _callbacks(cls)
        if callback is not None
    }
    matched = Counter(callback for rule in rules().values() for callback in rule.callbacks)
    # Others are those that somebody has added, and names in `send(callback_error=…)`, say.
    assert {*named, ENFORCE_QUORUM, TRAINING_OVERDUE_CALLBACK} <= set(matched)
    twice = [callback for callback, number in matched.items() if number > 1]
    assert not twice, f"{twice}: followed twice; a rule of your own matches by detail-type"


def _callbacks(cls: Any) -> tuple[str | None, str | None]:
    """Properties of the class, whatever an instance says."""
    empty = object.__new__(cls)
    return empty.callback_success, empty.callback_error


# --- the stream -----------------------------------------------------------------------------------


def test_the_records_of_a_training_are_processed_in_order_and_all_of_them() -> None:
    (stream,) = events("BuildNotifications", "DynamoDB").values()
    assert stream["ParallelizationFactor"] == 1
    assert stream["BatchSize"] == 1000
    assert "FilterCriteria" not in stream


def test_a_trainings_items_stay_in_one_shard_by_an_index_that_stays_empty() -> None:
    (index,) = TABLES["Trainings"]["LocalSecondaryIndexes"]
    assert index["KeySchema"][0] == {"AttributeName": "training_uuid", "KeyType": "HASH"}
    assert index["KeySchema"][1]["KeyType"] == "RANGE"
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}
    attribute = index["KeySchema"][1]["AttributeName"]
    known = {*Training.model_fields, *Participant.model_fields, *Removal.model_fields, "entity"}
    assert attribute not in known


# --- queues, tables, secret, log ------------------------------------------------------------------


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_is_encrypted_and_keeps_messages_for_as_long_as_possible(name: str) -> None:
    assert QUEUES[name].get("SqsManagedSseEnabled"), f"{name}: SqsManagedSseEnabled: true"
    assert QUEUES[name].get("MessageRetentionPeriod") == 14 * 86400, (
        f"{name}: MessageRetentionPeriod: 1209600"
    )


@pytest.mark.parametrize("name", [each for each in QUEUES if each.endswith("Dlq")])
def test_a_dead_letter_queue_has_an_alarm_that_can_fire(name: str) -> None:
    alarm = alarm_called(f"{name}Alarm")
    assert alarm["Namespace"] == "AWS/SQS"
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["Dimensions"] == [
        {"Name": "QueueName", "Value": {"Fn::GetAtt": [name, "QueueName"]}}
    ]
    # One message is enough.
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Maximum", 0)
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    # The queue's metrics pause after six hours without use, while the letters still lie there.
    assert alarm["TreatMissingData"] == "ignore", f"{name}Alarm: TreatMissingData: ignore"
    assert alarm["EvaluationPeriods"] * alarm["Period"] <= 300


def test_an_alarm_rings_before_the_deliveries_in_flight_are_too_many() -> None:
    alarm = ALARMS["InFlightAlarm"]
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesNotVisible"
    assert alarm["Dimensions"] == [
        {"Name": "QueueName", "Value": {"Fn::GetAtt": ["Deliveries", "QueueName"]}}
    ]
    assert (alarm["Statistic"], alarm["ComparisonOperator"]) == ("Maximum", "GreaterThanThreshold")
    assert alarm["EvaluationPeriods"] * alarm["Period"] <= 60
    # At SQS's quota it is too late; what is only being attempted must not ring it.
    attempted = template()["Parameters"]["DeliveryMaxConcurrency"]["MaxValue"] * MAX_POSTS
    assert attempted < alarm["Threshold"] <= 100_000


def test_every_queue_with_dead_letters_ends_in_one_of_them_and_no_alarm_is_left_over() -> None:
    dead = {name for name in QUEUES if name.endswith("Dlq")}
    assert {name for name in ALARMS if name.endswith("DlqAlarm")} == {
        f"{name}Alarm" for name in dead
    }
    for name in set(QUEUES) - dead:
        check_dead_letter_queue(QUEUES[name]["RedrivePolicy"]["deadLetterTargetArn"])
    for name in dead:
        assert "RedrivePolicy" not in QUEUES[name]


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_is_talked_to_over_tls_alone(name: str) -> None:
    policies = [
        one for one in resources("AWS::SQS::QueuePolicy").values() if {"Ref": name} in one["Queues"]
    ]
    # A second policy would take the place of the first.
    assert len(policies) == 1, f"{name} needs one policy, which denies what is not over TLS"
    (policy,) = policies
    last = _whether_or_not(policy["PolicyDocument"]["Statement"][-1])
    assert last == {
        "Sid": "OnlyOverTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": {"Fn::GetAtt": [name, "Arn"]},
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }, f"{name}: the last statement of its policy is OnlyOverTls, as of the other queues"


@pytest.mark.parametrize("name", rules())
def test_a_rule_whose_dead_letters_get_lost_has_an_alarm(name: str) -> None:
    alarm = alarm_called(f"{name.removesuffix('Rule')}RuleLostAlarm")
    assert (alarm["Namespace"], alarm["MetricName"]) == (
        "AWS/Events",
        "InvocationsFailedToBeSentToDlq",
    )
    # Metrics of rules of a bus other than the default one have both dimensions.
    assert [(each["Name"], value(each["Value"])) for each in alarm["Dimensions"]] == [
        ("EventBusName", value(rules()[name].bus)),
        ("RuleName", value(rules()[name].name)),
    ]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 0)


def test_the_dead_letter_queue_of_a_fifo_queue_is_fifo() -> None:
    for queue in QUEUES.values():
        if "RedrivePolicy" in queue:
            target, _ = queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"]
            assert queue.get("FifoQueue", False) is QUEUES[target].get("FifoQueue", False)


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_tells_the_topic_if_there_is_one(name: str) -> None:
    lookup = lambda name, _attribute: name  # noqa: E731 - it is but a name
    given = parameters({"AlarmTopicArn": "arn:topic"})
    for key in ("AlarmActions", "OKActions"):
        assert key in ALARMS[name], f"{name} needs {key}, as the other alarms have it"
        assert value(ALARMS[name][key]) is None
        assert evaluate(ALARMS[name][key], given, lookup) == ["arn:topic"]


KINDS_OF_ALARM: Final = {
    "Errors": "Errors",
    "Throttles": "Throttles",
    "DestinationDeliveryFailures": "Lost",
}


def alarm_of_function(name: str, metric: str) -> dict[str, Any]:
    alarm = alarm_called(f"{name}{KINDS_OF_ALARM[metric]}Alarm")
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", metric)
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": name}}]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 0)
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert name in alarm["AlarmDescription"]
    return alarm


@every_function
@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_a_function_has_an_alarm_for_its_failures_and_for_being_held_back(
    name: str, metric: str
) -> None:
    alarm = alarm_of_function(name, metric)
    assert alarm["EvaluationPeriods"] * alarm["Period"] <= 900


@every_function
def test_a_function_whose_failures_aws_puts_somewhere_has_an_alarm_if_that_fails(name: str) -> None:
    puts = [*events(name, "DynamoDB").values(), FUNCTIONS[name].get("EventInvokeConfig", {})]
    if any("DestinationConfig" in each for each in puts):
        assert alarm_of_function(name, "DestinationDeliveryFailures")["EvaluationPeriods"] == 1
    else:
        assert f"{name}LostAlarm" not in ALARMS


def test_the_deliveries_queue_is_fifo_with_high_throughput_and_no_deduplication_by_content() -> (
    None
):
    queue = QUEUES["Deliveries"]
    assert queue["FifoQueue"] is True
    assert queue["DeduplicationScope"] == "messageGroup"
    assert queue["FifoThroughputLimit"] == "perMessageGroupId"
    assert not queue.get("ContentBasedDeduplication", False)


def test_the_queue_gives_up_later_than_the_function_does() -> None:
    """A message that is only held back behind others, again and again, must not be lost to it."""
    limit = QUEUES["Deliveries"]["RedrivePolicy"]["maxReceiveCount"]
    attempts = template()["Parameters"]["MaxAttempts"]["MaxValue"]
    others = events("DeliverNotification", "SQS")["Deliveries"]["BatchSize"] - 1
    assert limit > MAX_TROUBLED_RECEIVES
    assert limit > attempts * others


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_encrypted_with_a_key_of_awss_own_and_paid_by_request(name: str) -> None:
    """Without a specification it is so, and costs nothing; see docs/decisions.md."""
    assert "SSESpecification" not in TABLES[name]
    assert TABLES[name]["BillingMode"] == "PAY_PER_REQUEST"


def test_the_trainings_table_is_by_the_contract_and_can_be_restored() -> None:
    table = TABLES["Trainings"]
    assert table["KeySchema"] == [
        {"AttributeName": "training_uuid", "KeyType": "HASH"},
        {"AttributeName": "entity", "KeyType": "RANGE"},
    ]
    assert {each["AttributeType"] for each in table["AttributeDefinitions"]} == {"S"}
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_the_ledger_forgets_by_itself() -> None:
    assert TABLES["Ledger"]["KeySchema"] == [
        {"AttributeName": "notification_id", "KeyType": "HASH"}
    ]
    assert TABLES["Ledger"]["TimeToLiveSpecification"] == {
        "AttributeName": "expires_at",
        "Enabled": True,
    }
    waits = sum(QUEUES[each]["MessageRetentionPeriod"] for each in ("Deliveries", "DeliveriesDlq"))
    assert RETENTION.total_seconds() > waits


def test_the_waiting_table_is_by_the_contract_and_can_be_restored() -> None:
    table = TABLES["Waiting"]
    assert table["KeySchema"] == [
        {"AttributeName": "owner", "KeyType": "HASH"},
        {"AttributeName": "what", "KeyType": "RANGE"},
    ]
    (index,) = table["GlobalSecondaryIndexes"]
    assert index == {
        "IndexName": "due",
        "KeySchema": [
            {"AttributeName": "due_shard", "KeyType": "HASH"},
            {"AttributeName": "due_at", "KeyType": "RANGE"},
        ],
        "Projection": {"ProjectionType": "ALL"},
    }
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    assert types == {"owner": "S", "what": "S", "due_shard": "S", "due_at": "N"}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_what_cannot_be_made_again_is_kept_when_the_stack_is_deleted() -> None:
    for name, resource in template()["Resources"].items():
        if resource["Type"] in {"AWS::DynamoDB::Table", "AWS::SecretsManager::Secret"}:
            # The ledger too: without it, changes of a day would be told again; docs/operating.md.
            # But not if the deployment that makes them fails: the next one could not go on.
            assert resource.get("DeletionPolicy") == "RetainExceptOnCreate", name
            assert resource.get("UpdateReplacePolicy") == "Retain", name


def test_the_signing_secret_is_made_by_aws_and_long() -> None:
    (secret,) = resources("AWS::SecretsManager::Secret").values()
    assert "SecretString" not in secret
    assert secret["GenerateSecretString"]["PasswordLength"] >= 64


def test_the_log_is_kept_for_a_bounded_time_of_ones_choice() -> None:
    (group,) = resources("AWS::Logs::LogGroup").values()
    assert group["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert template()["Parameters"]["LogRetentionDays"]["Default"] == 30


# --- names and numbers that the design fixes ------------------------------------------------------


def test_the_logical_ids_of_the_design_are_there_each_of_its_type() -> None:
    expected = {
        "BuildNotifications": "AWS::Serverless::Function",
        "DeliverNotification": "AWS::Serverless::Function",
        "CallbackSuccess": "AWS::Serverless::Function",
        "CallbackFailure": "AWS::Serverless::Function",
        "Mailbox": "AWS::Serverless::Function",
        "Sweep": "AWS::Serverless::Function",
        "Waiting": "AWS::DynamoDB::Table",
        "Trainings": "AWS::DynamoDB::Table",
        "Ledger": "AWS::DynamoDB::Table",
        "Deliveries": "AWS::SQS::Queue",
        "DeliveriesDlq": "AWS::SQS::Queue",
        "StreamDlq": "AWS::SQS::Queue",
        "Callbacks": "AWS::SQS::Queue",
        "CallbacksDlq": "AWS::SQS::Queue",
        "Outcomes": "AWS::Events::EventBus",
        "SigningSecret": "AWS::SecretsManager::Secret",
        "LogGroup": "AWS::Logs::LogGroup",
    }
    found = {name: each["Type"] for name, each in template()["Resources"].items()}
    assert {name: found.get(name) for name in expected} == expected


def test_the_parameters_of_the_design_are_there_with_its_defaults() -> None:
    expected = {
        "MaxAttempts": "6",
        "RetryBackoffSeconds": "5",
        "RequestTimeoutSeconds": "10",
        "AllowedPrivateNetworks": "",
        "AllowPlainHttp": "false",
        "MailboxDeadlineSeconds": "3600",
        "MailboxPollMinSeconds": "2",
        "MailboxPollMaxSeconds": "60",
        "LogRetentionDays": "30",
        "AlarmTopicArn": "",
        "SubnetIds": "",
        "SecurityGroupIds": "",
        "PrivateAuthorities": "",
    }
    assert {name: DEFAULTS.get(name) for name in expected} == expected


STRINGS: Final = {
    name: each for name, each in template()["Parameters"].items() if each["Type"] == "String"
}


@pytest.mark.parametrize("name", template()["Parameters"])
def test_a_mistake_in_a_parameter_fails_the_deployment(name: str) -> None:
    parameter = template()["Parameters"][name]
    if parameter["Type"] == "Number":
        assert {"MinValue", "MaxValue"} <= set(parameter) or "AllowedValues" in parameter
    elif "AllowedValues" not in parameter:
        pattern = parameter["AllowedPattern"]
        assert pattern[0] + pattern[-1] == "^$"
        assert re.fullmatch(pattern, str(parameter["Default"]))
        assert "ConstraintDescription" in parameter


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        (
            "AllowedPrivateNetworks",
            ["10.0.0.0/8", "10.0.0.0/8,192.168.0.0/16", "10.1.2.3/8, fd00::/8", "::1/128"],
            ["10.0.0.0", "10.0.0/8", "10.0.0.0/33", "256.0.0.0/8", "10.0.0.0/8;fd00::/8", "all"],
        ),
        (
            "SubnetIds",
            ["subnet-01234567", "subnet-0123456789abcdef0,subnet-01234567"],
            ["subnet-1", "subnet-01234567, subnet-01234567", "vpc-01234567"],
        ),
        ("SecurityGroupIds", ["sg-01234567,sg-89abcdef"], ["sg-", "default"]),
        (
            "PrivateAuthorities",
            [
                "arn:aws:ssm:eu-central-1:123456789012:parameter/a/b",
                "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:a-AbCdEf",
            ],
            ["/a/b", "arn:aws:s3:::bucket/a.pem", "-----BEGIN CERTIFICATE-----"],
        ),
        (
            "AlarmTopicArn",
            ["arn:aws:sns:eu-central-1:123456789012:alarms"],
            ["alarms", "arn:aws:sqs:eu-central-1:123456789012:alarms"],
        ),
    ],
)
def test_a_pattern_takes_what_is_right_and_nothing_else(
    name: str, right: list[str], wrong: list[str]
) -> None:
    pattern = STRINGS[name]["AllowedPattern"]
    assert [each for each in right if not re.fullmatch(pattern, each)] == []
    assert [each for each in wrong if re.fullmatch(pattern, each)] == []


@given(
    st.lists(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), max_size=4), st.integers(0, 32)
)
def test_every_network_that_the_pattern_takes_can_be_read(
    addresses: list[IPv4Address | IPv6Address], bits: int
) -> None:
    """Else each function would fail when it starts."""
    text = ",".join(f"{each}/{bits}" for each in addresses)
    assert re.fullmatch(STRINGS["AllowedPrivateNetworks"]["AllowedPattern"], text)
    settings = importlib.import_module("functions.deliver_notification.settings").Settings
    variables = FUNCTIONS["DeliverNotification"]["Environment"]["Variables"]
    chosen = {key: str(value(each)) for key, each in variables.items()}
    read = settings.from_environment(chosen | {"ALLOWED_PRIVATE_NETWORKS": text})
    assert len(read.allowed_private_networks) == len(addresses)


def test_every_parameter_has_a_default_and_a_description_and_is_used() -> None:
    used = set(references([template()[part] for part in ("Globals", "Conditions", "Resources")]))
    for name, parameter in template()["Parameters"].items():
        assert {"Default", "Description", "Type"} <= set(parameter)
        assert name in used


# --- the nested stack -----------------------------------------------------------------------------

OBSERVABILITY: Final = template()["Resources"]["Observability"]["Properties"]


def test_the_nested_stack_gets_just_what_it_asks_for_and_uses_it_all() -> None:
    asked = set(observability()["Parameters"])
    assert OBSERVABILITY["TemplateURL"] == "observability.yaml"
    assert set(OBSERVABILITY["Parameters"]) == asked, (
        "what is watched is handed over by Observability, and is a parameter of observability.yaml"
    )
    used = references([observability()[part] for part in ("Conditions", "Resources")])
    assert asked <= set(used)


def test_what_is_watched_has_the_same_name_in_both_templates() -> None:
    """So that an alarm of `DeliveriesDlq` cannot watch another queue."""
    for name, handed in OBSERVABILITY["Parameters"].items():
        if name in template()["Resources"]:
            attribute = ["QueueName"] if name in QUEUES else []
            assert handed == ({"Fn::GetAtt": [name, *attribute]} if attribute else {"Ref": name})
        elif name != "StackName":
            assert handed == {"Ref": name}
            assert name in template()["Parameters"]
    assert OBSERVABILITY["Parameters"]["StackName"] == {"Ref": "AWS::StackName"}
    assert "AWS::StackName" not in set(references(observability()["Resources"]))


def test_the_two_templates_share_no_logical_id_of_a_resource() -> None:
    assert not set(template()["Resources"]) & set(observability()["Resources"])


def test_the_nested_stack_runs_nothing_and_keeps_nothing() -> None:
    """Alarms, a dashboard, queries: deleting and making it again loses no data."""
    assert {each["Type"] for each in observability()["Resources"].values()} == {
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::Dashboard",
        "AWS::Logs::QueryDefinition",
    }


def test_the_dashboards_name_has_the_region_as_dashboards_are_global() -> None:
    (dashboard,) = resources("AWS::CloudWatch::Dashboard").values()
    assert value(dashboard["DashboardName"]) == "fl-notifications-eu-central-1"


@pytest.mark.parametrize("name", ["template.yaml", "observability.yaml"])
def test_no_template_has_a_merge_key_as_scanners_of_sources_stop_at_them(name: str) -> None:
    assert "<<:" not in (ROOT / name).read_text()


def test_the_outputs_of_the_design_are_there() -> None:
    expected = {
        "TrainingsTable": "<Trainings.Ref>",
        "LedgerTable": "<Ledger.Ref>",
        "WaitingTable": "<Waiting.Ref>",
        "MailboxUrl": "<MailboxUrl.FunctionUrl>",
        "DeliveriesQueueUrl": "<Deliveries.Ref>",
        "DeliveriesDlqUrl": "<DeliveriesDlq.Ref>",
        "FanOutsQueueUrl": "<FanOuts.Ref>",
        "FanOutsDlqUrl": "<FanOutsDlq.Ref>",
        "StreamDlqUrl": "<StreamDlq.Ref>",
        "CallbacksDlqUrl": "<CallbacksDlq.Ref>",
        "OutcomesBus": "<Outcomes.Ref>",
        "SigningSecretArn": "<SigningSecret.Id>",
        "LogGroup": "<LogGroup.Ref>",
    }
    found = {name: value(each["Value"]) for name, each in template()["Outputs"].items()}
    assert {name: found.get(name) for name in expected} == expected


def test_everything_that_is_referred_to_exists() -> None:
    for each in (template(), observability()):
        known = {*each["Resources"], *each["Parameters"], "MailboxUrl"}  # that SAM makes
        parts = [each.get(part) for part in ("Globals", "Conditions", "Resources", "Outputs")]
        assert {name for name in references(parts) if not name.startswith("AWS::")} <= known


def test_the_layer_is_the_shared_package() -> None:
    layer = template()["Resources"]["SharedLayer"]
    assert layer["Properties"]["ContentUri"] == "shared/"
    assert layer["Properties"]["CompatibleRuntimes"] == ["python3.13"]
    assert layer["Metadata"]["BuildMethod"] == "python3.13"
    # SAM reads this before there are parameters.
    assert layer["Metadata"]["BuildArchitecture"] == DEFAULTS["Architecture"]


# --- samconfig.toml -------------------------------------------------------------------------------


def test_the_default_environment_is_safe() -> None:
    """The template's own defaults: https only, no private network."""
    assert overrides("default") == {}
    assert samconfig()["default"]["deploy"]["parameters"]["confirm_changeset"] is True


def test_the_local_environment_allows_receivers_on_this_machine_alone_and_waits_shortly() -> None:
    local = parameters(overrides("local"))
    assert (local["AllowPlainHttp"], local["AllowedPrivateNetworks"]) == ("true", "127.0.0.0/8")
    assert int(local["RetryBackoffSeconds"]) < int(DEFAULTS["RetryBackoffSeconds"])
    assert int(local["DeliveryVisibilityTimeoutSeconds"]) < int(
        DEFAULTS["DeliveryVisibilityTimeoutSeconds"]
    )


@pytest.mark.parametrize("environment", ["default", "local"])
def test_both_environments_build_and_deploy_with_parameters_that_exist(environment: str) -> None:
    config = samconfig()[environment]
    assert config["global"]["parameters"]["stack_name"] == "fl-notifications"
    # The second as a template with a transform nests another one.
    assert config["deploy"]["parameters"]["capabilities"] == [
        "CAPABILITY_IAM",
        "CAPABILITY_AUTO_EXPAND",
    ]
    parameters(overrides(environment))


def test_parameters_that_are_set_are_within_their_bounds() -> None:
    for name, chosen in overrides("local").items():
        declared = template()["Parameters"][name]
        assert chosen in declared.get("AllowedValues", [chosen])
        if declared["Type"] == "Number":
            assert declared["MinValue"] <= int(chosen) <= declared["MaxValue"]
