"""The commands of mailboxes, as far as they need no stack: tokens, and the local stack's URL."""

from pathlib import Path
from typing import Any

import pytest

from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.receive import receive
from fl_notifications_cli.stack import read_outputs

URL = "https://abc123.lambda-url.eu-central-1.on.aws/"


def described(**outputs: str) -> Any:
    return {"Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in outputs.items()]}


def test_the_emulators_function_url_is_one_that_resolves_on_this_machine() -> None:
    given = described(MailboxUrl=URL, TrainingsTable="t", DeliveriesQueueUrl="http://127.0.0.1/q")
    assert read_outputs(given, "http://127.0.0.1:4566") == {
        "MailboxUrl": "http://127.0.0.1:4566/_aws/lambda-url/abc123/",
        "TrainingsTable": "t",
        "DeliveriesQueueUrl": "http://127.0.0.1/q",
    }


def test_on_aws_it_stays_as_it_is() -> None:
    assert read_outputs(described(MailboxUrl=URL), None) == {"MailboxUrl": URL}


def test_without_a_token_it_says_where_to_put_one() -> None:
    with pytest.raises(CommandError, match="FL_MAILBOX_TOKEN"):
        receive(token=None, token_file=None, forward_to=None)


def test_a_token_that_is_none_is_told_and_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("fl-mailbox-1.hunter2\n")
    with pytest.raises(CommandError, match="cut or altered") as told:
        receive(token=None, token_file=file, forward_to=None)
    assert "hunter2" not in str(told.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="can't be used"):
        receive(token=None, token_file=tmp_path / "none", forward_to=None)
