"""What the local stack's commands do before they start anything."""

import json
import sys
import tomllib
from pathlib import Path

import pytest

from fl_notifications_cli.errors import CommandError
from fl_notifications_cli.local import emulator, invoke, stack
from fl_notifications_cli.local.tools import (
    PROJECT,
    run_logged,
    sam_environment,
    tail,
)
from fl_notifications_cli.stack import StackNotFoundError, find_stack
from tests.cloudformation import template


@pytest.fixture
def users_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user may have in the environment that must not matter."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "SAM_CLI_POLL_DELAY", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "the user's own")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")


@pytest.mark.usefixtures("users_settings")
def test_sam_cli_never_sees_the_users_aws_settings(tmp_path: Path) -> None:
    environment = sam_environment(tmp_path, network=True)

    assert "the user's own" not in environment.values()
    assert environment["SAM_CLI_TELEMETRY"] == "0"


@pytest.mark.usefixtures("users_settings")
@pytest.mark.parametrize("network", [True, False])
def test_a_proxy_is_used_to_fetch_packages_only(tmp_path: Path, *, network: bool) -> None:
    assert ("HTTPS_PROXY" in sam_environment(tmp_path, network=network)) is network


@pytest.mark.usefixtures("users_settings")
def test_the_emulator_sees_nothing_of_the_users_environment(tmp_path: Path) -> None:
    environment = emulator._environment(tmp_path, tmp_path / "tmp", 4566, "token")

    assert "the user's own" not in environment.values()
    assert "HTTPS_PROXY" not in environment
    assert environment["BIND_HOST"] == "127.0.0.1"
    assert environment["AUTH"] == "true"


def test_a_parameter_that_differs_keeps_the_others() -> None:
    option, *pairs = stack._overrides({"MaxAttempts": "2"})

    assert option == "--parameter-overrides"
    assert "MaxAttempts=2" in pairs
    assert "MaxAttempts=6" not in pairs
    assert "AllowPlainHttp=true" in pairs


@pytest.mark.parametrize("environment", ["default", "local"])
def test_samconfig_sets_only_parameters_that_the_template_has(environment: str) -> None:
    """AWS refuses others; the emulator doesn't."""
    config = tomllib.loads((PROJECT / "samconfig.toml").read_text())
    pairs = config[environment]["deploy"]["parameters"].get("parameter_overrides", [])

    assert {pair.partition("=")[0] for pair in pairs} <= set(template()["Parameters"])


def test_nothing_that_weakens_the_guard_is_deployed_to_aws() -> None:
    config = tomllib.loads((PROJECT / "samconfig.toml").read_text())

    assert "parameter_overrides" not in config["default"]["deploy"]["parameters"]


def test_a_program_that_fails_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "program.log"
    script = "print('last words'); raise SystemExit(3)"

    with pytest.raises(CommandError, match=r"exit status 3\)\nThe end of .*\n  \| last words"):
        run_logged(
            [sys.executable, "-c", script],
            environment={},
            log=log,
            timeout_seconds=60,
        )


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="still running after 0 s"):
        run_logged(
            [sys.executable, "-c", "import time; time.sleep(600)\nwhile True: pass"],
            environment={},
            log=tmp_path / "log",
            timeout_seconds=0.05,
        )


def test_the_end_of_a_long_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(1000)))

    assert "line 999" in tail(log)
    assert "line 900" not in tail(log)


def test_without_a_local_stack_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fl_notifications_cli.stack.CHECKOUT", tmp_path)

    with pytest.raises(StackNotFoundError, match="make up"):
        find_stack()


def test_the_local_stack_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variable first, then here and above, then in the checkout."""
    elsewhere, checkout, named = (tmp_path / name for name in ("else", "checkout", "named.json"))
    elsewhere.mkdir()
    (checkout / ".local").mkdir(parents=True)
    (checkout / ".local" / "stack.json").write_text("the checkout's")
    named.write_text("")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr("fl_notifications_cli.stack.CHECKOUT", checkout)

    with pytest.raises(StackNotFoundError, match=r"checkout/\.local/stack\.json can't be read"):
        find_stack()
    monkeypatch.setenv("FL_NOTIFICATIONS_STACK", str(named))
    with pytest.raises(StackNotFoundError, match=r"named\.json can't be read"):
        find_stack()
    monkeypatch.setenv("FL_NOTIFICATIONS_STACK", str(tmp_path / "missing.json"))
    with pytest.raises(StackNotFoundError, match=r"FL_NOTIFICATIONS_STACK names .*missing\.json"):
        find_stack()


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"endpoint_url": "http://127.0.0.1:1"})])
def test_a_description_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "stack.json"
    path.write_text(content)

    with pytest.raises(StackNotFoundError, match=r"stack\.json can't be read"):
        find_stack(stack_file=path)


@pytest.mark.parametrize(
    ("said", "address"),
    [("172.17.0.0/16 \n", "172.17.0.1"), ("172.17.0.0/16 172.17.0.254\n", "172.17.0.254")],
)
def test_containers_reach_this_machine_by_dockers_gateway(
    monkeypatch: pytest.MonkeyPatch, said: str, address: str
) -> None:
    monkeypatch.setattr(invoke, "_docker", lambda *_: said)

    assert invoke._docker_gateway() == address


def test_without_docker_invoke_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(CommandError, match="no 'docker'"):
        invoke._docker_gateway()
