"""The command `trace` as it is called: what it prints, writes, and exits with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fl_notifications.outcomes.runs import Run
from fl_notifications.trainings.model import Receiver, Training, TrainingState
from fl_notifications_cli import main, trace
from fl_notifications_cli.stack import Stack
from fl_notifications_cli.tracing import log_reader
from tests.trace_lines import START, TRAINING, MadeUpTraining, line, receiver_uuid

OUTPUTS = {"LogGroup": "/group", "TrainingsTable": "trainings", "LedgerTable": "ledger"}


def run_item(round_number: int) -> dict[str, Any]:
    """The ledger's entry of a training that is told as far as a round."""
    told = Training(
        training_uuid=TRAINING,
        state=TrainingState.ONGOING,
        round=round_number,
        model_uuid=TRAINING,
        actor=Receiver(uuid=TRAINING, message_endpoint=""),
    )
    return Run("1", START, "1", told).to_item()


class FakeAws:
    """The log group with some lines, and a table with some trainings."""

    def __init__(
        self,
        lines: list[str],
        *,
        trainings: tuple[str, ...] = (),
        state: str = "ONGOING",
        told: int | None = None,
    ) -> None:
        self.lines = lines
        self.told = told
        self.state = state
        self.trainings = trainings
        self.polls = 0

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        self.polls += 1
        if self.polls > 3:
            raise KeyboardInterrupt  # as a person ends --follow
        terms = [term.strip('"') for term in request["filterPattern"].split()]
        at = int(START.timestamp() * 1000)
        return {
            "events": [
                {"timestamp": at, "message": text, "eventId": str(number)}
                for number, text in enumerate(self.lines)
                if all(term in text for term in terms) and at >= request.get("startTime", at)
            ]
        }

    def get_item(self, **request: Any) -> dict[str, Any]:
        if request["TableName"] == "ledger":
            return {} if self.told is None else {"Item": run_item(self.told)}
        uuid = request["Key"]["training_uuid"]["S"]
        return {"Item": self._item(uuid)} if uuid in self.trainings else {}

    def scan(self, **request: Any) -> dict[str, Any]:
        beginning = request["ExpressionAttributeValues"][":beginning"]["S"]
        return {"Items": [self._item(u) for u in self.trainings if u.startswith(beginning)]}

    def _item(self, uuid: str) -> dict[str, Any]:
        return {
            "training_uuid": {"S": uuid},
            "state": {"S": self.state},
            "round": {"N": "3"},
            "actor": {"M": {"uuid": {"S": receiver_uuid(3)}}},
        }


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command with arguments: exit status, standard output, standard error."""
    monkeypatch.setattr(trace, "POLL_SECONDS", 0.0)

    def call(aws: FakeAws, *arguments: object) -> tuple[int, str, str]:
        stack = Stack("fl", "eu-central-1", None, OUTPUTS, {"logs": aws, "dynamodb": aws})
        monkeypatch.setattr(trace, "find_stack", lambda *_args, **_options: stack)
        monkeypatch.setattr("sys.argv", ["fl-notifications", "trace", *map(str, arguments)])
        code: object = 0
        try:
            main.main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        assert code is None or isinstance(code, int)
        return code or 0, said.out, said.err

    return call


type RunCommand = Callable[..., tuple[int, str, str]]


def lines() -> list[str]:
    return list(MadeUpTraining(receivers=4, rounds=2, behaviours={1: "dead"}).lines())


def test_tables_and_a_summary_are_printed(run: RunCommand) -> None:
    code, out, _ = run(FakeAws(lines()), TRAINING)

    assert code == 0
    assert out.count("Receiver ") == 4
    assert "What failed" in out


def test_what_is_piped_has_a_line_for_each_step_and_no_padding(run: RunCommand) -> None:
    """However long: `grep` finds it, and a narrow terminal shows no empty lines."""
    reason = "a reason of several words " * 20
    step = {"notification_id": "n", "receiver_uuid": receiver_uuid(1), "reason": reason.strip()}
    _, out, _ = run(FakeAws([line(START, "built", **step)]), TRAINING)

    assert [row for row in out.splitlines() if row != row.rstrip()] == []
    assert reason.strip() in out


def test_json_is_a_list_sorted_by_time(run: RunCommand) -> None:
    shuffled = lines()
    shuffled.reverse()

    code, out, _ = run(FakeAws(shuffled), TRAINING, "--json")
    said = json.loads(out)

    assert code == 0
    assert len(said) == len(shuffled)
    assert [step["at"] for step in said] == sorted(step["at"] for step in said)


def test_one_receiver_can_be_asked_for(run: RunCommand) -> None:
    _, out, _ = run(FakeAws(lines()), TRAINING, "--receiver", receiver_uuid(2)[:5], "--json")

    assert {step["receiver_uuid"] for step in json.loads(out)} == {receiver_uuid(2)}


def test_another_spelling_of_the_uuid_finds_the_training(run: RunCommand) -> None:
    code, out, _ = run(FakeAws(lines()), TRAINING.upper())

    assert code == 0
    assert TRAINING in out


def test_html_writes_the_page_and_says_where(run: RunCommand, tmp_path: Path) -> None:
    page = tmp_path / "trace.html"

    code, out, _ = run(FakeAws(lines()), TRAINING, "--html", page)

    assert code == 0
    assert page.read_text().startswith("<!doctype html>")
    assert str(page) in out.replace("\n", "")
    assert "What failed" in out


def test_html_and_json_go_together(run: RunCommand, tmp_path: Path) -> None:
    page = tmp_path / "trace.html"

    _, out, err = run(FakeAws(lines()), TRAINING, "--json", "--html", page)

    assert json.loads(out)
    assert page.exists()
    assert "timeline" in err


def test_a_page_of_a_part_says_so(run: RunCommand, tmp_path: Path) -> None:
    page = tmp_path / "trace.html"

    run(FakeAws(lines()), TRAINING, "--html", page, "--receiver", receiver_uuid(2))

    assert f"only receiver {receiver_uuid(2)}" in page.read_text()


def test_a_page_that_can_not_be_written_is_an_error(run: RunCommand, tmp_path: Path) -> None:
    code, _, err = run(FakeAws(lines()), TRAINING, "--html", tmp_path / "no" / "trace.html")

    assert code == 1
    assert "can't be written" in err


def test_an_unknown_training_is_an_error_that_says_what_to_do(
    run: RunCommand, tmp_path: Path
) -> None:
    page = tmp_path / "trace.html"

    code, out, err = run(FakeAws(lines()), "0" * 8, "--html", page)

    assert code == 1
    assert out == ""
    assert "no steps of training 00000000" in err
    assert "no such training" in err
    assert "fl-notifications trainings" in err
    assert not page.exists()


def test_a_known_training_without_lines_is_told_apart(run: RunCommand) -> None:
    code, _, err = run(FakeAws([], trainings=(TRAINING,)), TRAINING)

    assert code == 1
    assert "The training exists (state ONGOING, round 3)" in err


@pytest.mark.parametrize(
    ("state", "why"),
    [("INITIAL", "before it starts"), ("RUNNING", "RUNNING is no state: it must be INITIAL")],
)
def test_a_state_of_which_nobody_is_told_says_why(run: RunCommand, state: str, why: str) -> None:
    code, _, err = run(FakeAws([], trainings=(TRAINING,), state=state), TRAINING)

    assert code == 1
    assert why in err


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (None, "The table says ONGOING, round 3; nothing has been announced so far."),
        (2, "The table says ONGOING, round 3; announced so far: ONGOING, round 2."),
        (3, None),
    ],
)
def test_what_the_table_says_and_nobody_was_told_is_said(
    run: RunCommand, told: int | None, said: str | None
) -> None:
    _, out, _ = run(FakeAws(lines(), trainings=(TRAINING,), told=told), TRAINING)

    assert ("The table says" in out) is (said is not None)
    assert said is None or said in out


def test_a_training_that_could_not_be_announced_says_why(run: RunCommand, tmp_path: Path) -> None:
    said = {
        "timestamp": START.isoformat(),
        "message": "unreadable item",
        "item": f"item 'PARTICIPANT#{receiver_uuid(1)}' of training '{TRAINING}'",
        "field": "message_endpoint",
        "reason": "Field required",
    }

    code, out, _ = run(FakeAws([json.dumps(said)]), TRAINING)

    assert code == 0
    why = f"PARTICIPANT#{receiver_uuid(1)}: field message_endpoint: Field required"
    assert why in out
    run(FakeAws([json.dumps(said)]), TRAINING, "--html", tmp_path / "trace.html")
    assert f"Not announced: {why}" in (tmp_path / "trace.html").read_text()


@pytest.mark.parametrize("known", [True, False])
def test_the_beginning_of_a_training_is_enough(run: RunCommand, *, known: bool) -> None:
    code, out, _ = run(FakeAws(lines(), trainings=(TRAINING,) if known else ()), TRAINING[:5])

    assert code == 0
    assert f"Training {TRAINING}" in out
    assert (f"Receiver {receiver_uuid(3)} (actor)" in out) is known


OTHER = "00000000-3f6c-4a56-9b1e-7d2a90c1c002"


def of_two_trainings() -> list[str]:
    return [*lines(), *(text.replace(TRAINING, OTHER) for text in lines())]


def test_a_beginning_of_several_trainings_names_them(run: RunCommand) -> None:
    code, _, err = run(FakeAws([*lines(), line(START, "built", training_uuid="5f")]), "5f")

    assert code == 1
    assert "2 trainings begin so" in err
    assert TRAINING in err


def test_a_receiver_is_found_in_all_its_trainings(run: RunCommand) -> None:
    code, out, _ = run(FakeAws(of_two_trainings()), "--receiver", receiver_uuid(2))

    assert code == 0
    assert out.count(f"Receiver {receiver_uuid(2)}") == 2
    assert f"Training {TRAINING}" in out
    assert f"Training {OTHER}" in out
    assert receiver_uuid(1) not in out


def test_a_notification_is_found_without_its_training(run: RunCommand) -> None:
    chosen = json.loads(lines()[-1])["notification_id"]

    code, out, _ = run(FakeAws(lines()), "--notification", chosen, "--json")

    assert code == 0
    assert {(step["notification_id"], step["training_uuid"]) for step in json.loads(out)} == {
        (chosen, TRAINING)
    }


def test_a_page_of_several_trainings_is_refused(run: RunCommand, tmp_path: Path) -> None:
    page = tmp_path / "trace.html"

    code, _, err = run(FakeAws(of_two_trainings()), "--receiver", receiver_uuid(2), "--html", page)

    assert code == 1
    assert "a page shows one training" in err
    assert not page.exists()


def test_something_has_to_be_asked_for(run: RunCommand) -> None:
    assert run(FakeAws([]))[0] == 2


def test_a_filter_that_fits_nothing_is_named(run: RunCommand) -> None:
    code, _, err = run(FakeAws(lines()), TRAINING, "--receiver", "nobody", "--since", "2h")

    assert code == 1
    assert "without --receiver and --since" in err


def test_nothing_found_is_an_empty_list_in_json(run: RunCommand) -> None:
    assert run(FakeAws([]), TRAINING, "--json")[:2] == (0, "[]\n")


def test_a_log_that_can_not_be_read_is_an_error(run: RunCommand) -> None:
    class Refusing(FakeAws):
        def filter_log_events(self, **_request: Any) -> dict[str, Any]:
            error = {"Error": {"Code": "ResourceNotFoundException", "Message": "no such group"}}
            raise ClientError(error, "FilterLogEvents")  # type: ignore[arg-type]

    code, _, err = run(Refusing([]), TRAINING)

    assert code == 1
    assert "the log can't be read: no such group" in err


def test_a_reading_that_was_cut_short_says_so(
    run: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "PAGE_SIZE", 2)

    code, _, err = run(FakeAws([line(START, "built")] * 2), TRAINING)

    assert code == 3
    assert "incomplete" in err


@pytest.mark.parametrize(
    "arguments", [("--since", "soon"), ("--follow", "--html", "x.html"), ("--nonsense",)]
)
def test_a_wrong_option_is_refused(run: RunCommand, arguments: tuple[str, ...]) -> None:
    assert run(FakeAws([]), TRAINING, *arguments)[0] == 2


def test_following_prints_each_step_once_until_it_is_ended(run: RunCommand) -> None:
    code, out, _ = run(FakeAws(lines()), TRAINING, "--follow")

    assert code == 0
    assert len(out.splitlines()) == len(lines())


def test_following_in_json_prints_one_object_per_line(run: RunCommand) -> None:
    _, out, _ = run(FakeAws(lines()), TRAINING, "--follow", "--json")

    assert len([json.loads(text) for text in out.splitlines()]) == len(lines())


def test_following_waits_for_the_first_step(run: RunCommand) -> None:
    code, out, err = run(FakeAws([]), TRAINING, "--follow")

    assert code == 0
    assert out == ""
    assert err.count("Nothing yet") == 1
