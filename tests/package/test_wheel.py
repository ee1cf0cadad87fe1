"""The wheel as a user meets it: installed into an environment beside packages of the user's own."""

import json
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import boto3
import pytest
from botocore import xform_name
from moto import mock_aws

from tests.made import MODEL_UUID, TRAINING_UUID, uuid_of
from tests.package.kit import Environment, locked, run

THEIRS: Final = ("shared", "functions", "cli")
"""What earlier versions put into site-packages, and others have, too."""

PROGRAM: Final = f'''
"""An FL server in small."""

import sys
from uuid import UUID

import boto3

import shared
from fl_notifications import FailurePolicy, Receiver, TrainingOptions, TrainingRepository

trainings = TrainingRepository(boto3.client("dynamodb", endpoint_url=sys.argv[1]), "trainings")
training = UUID("{TRAINING_UUID}")
actor = Receiver(uuid="{uuid_of("actor")}", message_endpoint="https://actor.example/")
hospital = Receiver(uuid=UUID("{uuid_of("one")}"), message_endpoint="https://one.example/")
options = TrainingOptions(failure_policy=FailurePolicy.QUORUM)
trainings.create(training, "{MODEL_UUID}", actor, [hospital], options=options)
trainings.start(training)
number: int = trainings.next_round(training, after=0)
print(shared.OWNER, trainings.get(training).state.value, number)
'''


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A user's environment, with packages of the user's own and then ours."""
    made = Environment.make(tmp_path_factory.mktemp("user") / "venv", sys.executable)
    for name in THEIRS:
        (made.packages / name).mkdir()
        (made.packages / name / "__init__.py").write_text('OWNER = "the user"\n')
    constraints = made.path.parent / "constraints.txt"
    constraints.write_text(locked("--all-extras", "--no-dev"))
    made.install("--constraint", constraints, wheel)
    return made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with the program and a `./shared/`."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "__init__.py").write_text('OWNER = "the project"\n')
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


@contextmanager
def dynamodb() -> Iterator[tuple[str, Any]]:
    """A DynamoDB on this machine with an empty table, and a client to look into it."""
    with mock_aws():
        client = boto3.client("dynamodb")
        client.create_table(
            TableName="trainings",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "training_uuid", "AttributeType": "S"},
                {"AttributeName": "entity", "AttributeType": "S"},
            ],
            KeySchema=[
                {"AttributeName": "training_uuid", "KeyType": "HASH"},
                {"AttributeName": "entity", "KeyType": "RANGE"},
            ],
        )

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                operation = xform_name(self.headers["X-Amz-Target"].partition(".")[2])
                given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = json.dumps(getattr(client, operation)(**given)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}", client
            server.shutdown()


def test_the_wheel_holds_the_two_packages_and_nothing_else_at_the_top(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {each.partition("/")[0] for each in names}
    assert {each for each in tops if not each.endswith(".dist-info")} == {
        "fl_notifications",
        "fl_notifications_cli",
    }
    assert {"fl_notifications/py.typed", "fl_notifications_cli/py.typed"} <= set(names)


def test_nothing_of_the_users_is_touched(environment: Environment) -> None:
    for name in THEIRS:
        assert [each.name for each in (environment.packages / name).iterdir()] == ["__init__.py"]
        assert "the user" in (environment.packages / name / "__init__.py").read_text()


def test_the_base_install_is_small(environment: Environment) -> None:
    installed = {each.name.partition("-")[0] for each in environment.packages.glob("*.dist-info")}
    assert not installed & {"typer", "rich", "aws_lambda_powertools", "django", "httpx"}


def test_a_program_with_the_write_side_runs_beside_a_directory_called_shared(
    environment: Environment, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with dynamodb() as (url, client):
        said = run(environment.python, "program.py", url, cwd=project, set_to=variables).stdout
        items = client.scan(TableName="trainings")["Items"]
    assert said == "the project ONGOING 1\n"
    assert {each["entity"]["S"] for each in items} == {"TRAINING", f"PARTICIPANT#{uuid_of('one')}"}


def test_a_type_checker_knows_the_types(environment: Environment, project: Path) -> None:
    """boto3 has no types of its own, which is not ours to mend."""
    mypy = (sys.executable, "-m", "mypy", "--strict", "--disable-error-code=import-untyped")
    where = ("--cache-dir", str(project / "cache"), "--python-executable", str(environment.python))
    check = (*mypy, "--config-file=", *where, "program.py")
    run(*check, cwd=project)
    wrong = PROGRAM.replace("after=0", "after='0'").replace(
        "Receiver(uuid=UUID", "Receiver(id=UUID"
    )
    (project / "program.py").write_text(wrong)
    said = run(*check, cwd=project, fails=True).stdout
    assert 'Argument "after" to "next_round"' in said
    assert 'Unexpected keyword argument "id"' in said


def test_a_command_without_its_extra_says_what_to_install(
    environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    command = environment.program("fl-notifications")
    said = run(command, "--help", cwd=tmp_path, fails=True).stderr
    assert 'pip install "fl-notifications[cli]"' in said
    assert "Traceback" not in said

    constraints = environment.path.parent / "constraints.txt"
    environment.install("--constraint", constraints, f"{wheel}[cli]")
    said = run(command, "--help", cwd=tmp_path).stdout
    assert "trace" in said
    assert "receive" in said
