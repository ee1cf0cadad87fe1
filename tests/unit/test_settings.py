"""Settings: what is missing or wrong in the environment is named, all of it at once."""

from ipaddress import ip_network

import pytest

from fl_notifications.settings import EnvironmentSettings, SettingsError
from functions.build_notifications.settings import Settings as BuildSettings
from functions.callback_failure.settings import Settings as FailureSettings
from functions.callback_success.settings import Settings as SuccessSettings
from functions.deliver_notification.settings import Settings as DeliverSettings
from functions.fan_out.settings import Settings as FanOutSettings
from functions.mailbox.settings import Settings as MailboxSettings
from functions.sweep.settings import Settings as SweepSettings

COMMON = {"STACK_NAME": "fl-notifications", "LOG_LEVEL": "INFO"}
BUILD = COMMON | {
    "TRAININGS_TABLE": "trainings",
    "LEDGER_TABLE": "ledger",
    "DELIVERIES_QUEUE_URL": "https://sqs.example/deliveries.fifo",
    "WAITING_TABLE": "waiting",
    "FAN_OUTS_QUEUE_URL": "https://sqs.example/fan-outs.fifo",
    "STREAM_DLQ_URL": "https://sqs.example/stream-dlq",
    "OUTCOMES_BUS": "outcomes",
}
FAN_OUT = COMMON | {
    "TRAININGS_TABLE": "trainings",
    "LEDGER_TABLE": "ledger",
    "DELIVERIES_QUEUE_URL": "https://sqs.example/deliveries.fifo",
    "FAN_OUTS_QUEUE_URL": "https://sqs.example/fan-outs.fifo",
    "STREAM_DLQ_URL": "https://sqs.example/stream-dlq",
    "OUTCOMES_BUS": "outcomes",
}
DELIVER = COMMON | {
    "TRAININGS_TABLE": "trainings",
    "LEDGER_TABLE": "ledger",
    "DELIVERIES_QUEUE_URL": "https://sqs.example/deliveries.fifo",
    "DELIVERIES_DLQ_URL": "https://sqs.example/deliveries-dlq.fifo",
    "OUTCOMES_BUS": "outcomes",
    "WAITING_TABLE": "waiting",
    "MAILBOX_DEADLINE_SECONDS": "3600",
    "SIGNING_SECRET_ARN": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:s",
    "MAX_ATTEMPTS": "6",
    "RETRY_BACKOFF_SECONDS": "5",
    "REQUEST_TIMEOUT_SECONDS": "10",
    "ALLOWED_PRIVATE_NETWORKS": "",
    "ALLOW_PLAIN_HTTP": "false",
    "PRIVATE_AUTHORITIES": "",
}
FAILURE = COMMON | {
    "TRAININGS_TABLE": "trainings",
    "LEDGER_TABLE": "ledger",
    "CALLBACKS_QUEUE_URL": "https://sqs.example/callbacks",
    "CALLBACKS_DLQ_URL": "https://sqs.example/callbacks-dlq",
}
MAILBOX = COMMON | {
    "TRAININGS_TABLE": "trainings",
    "LEDGER_TABLE": "ledger",
    "WAITING_TABLE": "waiting",
    "OUTCOMES_BUS": "outcomes",
    "SIGNING_SECRET_ARN": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:s",
    "MAILBOX_POLL_MIN_SECONDS": "2",
    "MAILBOX_POLL_MAX_SECONDS": "60",
}
SWEEP = COMMON | {
    "TRAININGS_TABLE": "trainings",
    "LEDGER_TABLE": "ledger",
    "WAITING_TABLE": "waiting",
    "OUTCOMES_BUS": "outcomes",
    "DELIVERIES_DLQ_URL": "https://sqs.example/deliveries-dlq.fifo",
}
SUCCESS = COMMON | {"CALLBACKS_DLQ_URL": "https://sqs.example/callbacks-dlq"}
ALL: list[tuple[type[EnvironmentSettings], dict[str, str]]] = [
    (BuildSettings, BUILD),
    (DeliverSettings, DELIVER),
    (MailboxSettings, MAILBOX),
    (SweepSettings, SWEEP),
    (FanOutSettings, FAN_OUT),
    (FailureSettings, FAILURE),
    (SuccessSettings, SUCCESS),
]
IDS = ["build", "deliver", "mailbox", "sweep", "fan out", "failure", "success"]


def complaint(model: type[EnvironmentSettings], environment: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        model.from_environment(environment)
    return str(caught.value)


@pytest.mark.parametrize(("model", "environment"), ALL, ids=IDS)
def test_what_is_in_the_environment_is_read_and_the_rest_of_it_ignored(
    model: type[EnvironmentSettings], environment: dict[str, str]
) -> None:
    settings = model.from_environment(environment | {"PATH": "/bin", "AWS_REGION": "eu-central-1"})
    for name in ("TRAININGS_TABLE", "DELIVERIES_QUEUE_URL", "CALLBACKS_DLQ_URL"):
        if name in environment:
            assert getattr(settings, name.lower()) == environment[name]


@pytest.mark.parametrize(
    ("model", "environment", "missing"),
    [(model, environment, name) for model, environment in ALL for name in environment],
)
def test_a_missing_variable_is_named(
    model: type[EnvironmentSettings], environment: dict[str, str], missing: str
) -> None:
    left = {name: value for name, value in environment.items() if name != missing}
    assert complaint(model, left) == (
        f"environment variables are missing or wrong: {missing}: Field required"
    )


@pytest.mark.parametrize(("model", "environment"), ALL, ids=IDS)
def test_all_missing_variables_are_named_at_once(
    model: type[EnvironmentSettings], environment: dict[str, str]
) -> None:
    assert all(f"{name}: Field required" in complaint(model, {}) for name in environment)


@pytest.mark.parametrize(
    ("model", "environment", "name"),
    [
        (model, environment, name)
        for model, environment in ALL
        for name in environment
        if name.endswith(("_TABLE", "_URL", "_BUS", "_ARN"))
    ],
)
def test_an_empty_name_is_as_good_as_none(
    model: type[EnvironmentSettings], environment: dict[str, str], name: str
) -> None:
    assert name in complaint(model, environment | {name: ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_ATTEMPTS", "0"),
        ("MAX_ATTEMPTS", "21"),
        ("MAX_ATTEMPTS", "six"),
        ("MAX_ATTEMPTS", "1.5"),
        ("RETRY_BACKOFF_SECONDS", "0"),
        ("RETRY_BACKOFF_SECONDS", "901"),
        ("RETRY_BACKOFF_SECONDS", "nan"),
        ("REQUEST_TIMEOUT_SECONDS", "0"),
        ("REQUEST_TIMEOUT_SECONDS", "20.5"),
        ("REQUEST_TIMEOUT_SECONDS", "inf"),
        ("ALLOWED_PRIVATE_NETWORKS", "10.0.0.0/8;192.168.0.0/16"),
        ("ALLOWED_PRIVATE_NETWORKS", "10.0.0.1/33"),
        ("ALLOW_PLAIN_HTTP", "perhaps"),
        ("ALLOW_PLAIN_HTTP", ""),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str) -> None:
    assert f"wrong: {name}: " in complaint(DeliverSettings, DELIVER | {name: value})


def test_several_wrong_variables_are_named_at_once() -> None:
    text = complaint(DeliverSettings, DELIVER | {"MAX_ATTEMPTS": "0", "ALLOW_PLAIN_HTTP": "?"})
    assert "MAX_ATTEMPTS" in text
    assert "ALLOW_PLAIN_HTTP" in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ()),
        (" , ", ()),
        ("127.0.0.0/8", ("127.0.0.0/8",)),
        ("10.1.2.3", ("10.1.2.3/32",)),
        ("10.0.0.0/8, fd00::/8,", ("10.0.0.0/8", "fd00::/8")),
    ],
)
def test_networks_are_separated_by_commas(value: str, expected: tuple[str, ...]) -> None:
    settings = DeliverSettings.from_environment(DELIVER | {"ALLOWED_PRIVATE_NETWORKS": value})
    assert settings.allowed_private_networks == tuple(map(ip_network, expected))


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("false", False)])
def test_plain_http_is_true_or_false(value: str, expected: bool) -> None:  # noqa: FBT001 - a parameter
    settings = DeliverSettings.from_environment(DELIVER | {"ALLOW_PLAIN_HTTP": value})
    assert settings.allow_plain_http is expected


def test_a_secret_value_is_not_in_the_complaint() -> None:
    environment = DELIVER | {"MAX_ATTEMPTS": "hunter2", "SIGNING_SECRET_ARN": ""}
    assert "hunter2" not in complaint(DeliverSettings, environment)
