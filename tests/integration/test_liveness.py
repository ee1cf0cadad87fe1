"""Who takes part: what each participant was last told, and what came of it."""

import re
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from fl_notifications.deliveries.post import Answer, Responded
from fl_notifications.notification_type import NotificationType
from fl_notifications.outcomes.outcome import OutcomeKind
from fl_notifications.server.liveness import Liveness, ParticipantStatus
from fl_notifications_cli.liveness import render
from tests.integration.conftest import Account
from tests.integration.handlers import Function, with_poster
from tests.integration.mailboxes import signed_request
from tests.integration.stack import Stack
from tests.log_lines import steps
from tests.made import TRAINING_UUID, participant_item, training_item, uuid_of


class Receivers:
    """One of them accepts, the others reject."""

    def post(self, url: str, headers: Any, body: bytes, *, turn: int = 0) -> Answer:
        del headers, body, turn
        return Responded(200 if "accepting" in url else 400, None)


@pytest.fixture
def mailbox(account: Account) -> Function:
    return account.function("Mailbox")


@pytest.fixture
def told(
    stack: Stack, build: Function, deliver: Function, monkeypatch: pytest.MonkeyPatch
) -> Stack:
    """A round that two participants were told by push, and one has in its mailbox."""
    monkeypatch.setattr(deliver.app, "deliverer", with_poster(deliver, Receivers()))
    stack.put(
        participant_item("accepting", reported="ONGOING#3"),
        participant_item("rejecting", joined_at="2026-01-01T00:00:00+00:00", reported="ONGOING#2"),
        participant_item("silent", message_endpoint="mailbox:"),
        participant_item("unreadable", message_endpoint=7),
        training_item(),
    )
    build(stack.changes())
    while (batch := stack.receive())["Records"]:
        stack.settle(batch, deliver(batch))
    return stack


def read(stack: Stack, *, size: int = 100) -> dict[str, ParticipantStatus]:
    liveness = Liveness(
        stack.dynamodb,
        trainings_table=stack.trainings_table,
        ledger_table=stack.ledger_table,
        waiting_table=stack.output("WaitingTable"),
    )
    names = {uuid_of(name): name for name in ("accepting", "rejecting", "silent", "unreadable")}
    pages = list(liveness.pages(TRAINING_UUID, size=size))
    assert all(len(page) <= size for page in pages)
    return {names[each.uuid]: each for page in pages for each in page}


@pytest.mark.parametrize("size", [1, 100])
def test_each_participant_is_listed_with_what_it_was_told_and_has_answered(
    told: Stack, size: int
) -> None:
    found = read(told, size=size)
    assert set(found) == {"accepting", "rejecting", "silent"}
    accepting, rejecting, silent = found["accepting"], found["rejecting"], found["silent"]
    kind = NotificationType.UPDATE_ROUND_START
    assert (accepting.told, accepting.outcome) == (kind, OutcomeKind.ACCEPTED)
    assert (accepting.attempts, accepting.status_code) == (1, 200)
    assert accepting.at is not None
    assert (rejecting.told, rejecting.outcome) == (kind, OutcomeKind.REJECTED)
    assert rejecting.reason == "answered 400"
    assert (silent.told, silent.outcome, silent.mailbox) == (kind, None, True)
    assert silent.seen_at is None


def test_it_is_told_who_has_reported_this_round(told: Stack) -> None:
    found = read(told)
    assert {name: each.reported for name, each in found.items()} == {
        "accepting": True,
        "rejecting": False,
        "silent": False,
    }


def test_it_is_told_when_a_mailbox_was_polled_and_acknowledged(
    told: Stack, mailbox: Function
) -> None:
    mailbox(signed_request(told, "silent"))
    by_kind = {
        line["notification_type"]: line["notification_id"]
        for line in steps(mailbox.lines, "fetched")
    }
    ids = [by_kind["TRAINING_START"], by_kind["UPDATE_ROUND_START"]]
    mailbox(signed_request(told, "silent", [{"id": ids[0], "outcome": "accepted"}]))
    silent = read(told)["silent"]
    assert (silent.told, silent.outcome) == (
        NotificationType.TRAINING_START,
        OutcomeKind.ACCEPTED,
    )
    assert silent.seen_at is not None
    mailbox(signed_request(told, "silent", [{"id": ids[1], "outcome": "accepted"}]))
    assert read(told)["silent"].told is NotificationType.UPDATE_ROUND_START


def test_after_the_end_it_is_the_end_that_was_told(
    told: Stack, build: Function, deliver: Function
) -> None:
    told.put(training_item(state="COMPLETED"))
    build(told.changes())
    while (batch := told.receive())["Records"]:
        told.settle(batch, deliver(batch))
    accepting = read(told)["accepting"]
    assert accepting.told is NotificationType.TRAINING_FINISHED
    assert (accepting.outcome, accepting.reported) == (OutcomeKind.ACCEPTED, None)


def test_nobody_takes_part_in_a_training_that_there_is_not(stack: Stack) -> None:
    assert read(stack) == {}


def screen(stack: Stack, width: int) -> list[str]:
    console = Console(file=StringIO(), width=width, highlight=False)
    console.print(render(list(read(stack).values()), datetime.now(UTC), width=width))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


def test_a_wide_screen_has_a_line_for_each(told: Stack) -> None:
    rows = {row.split()[0]: " ".join(row.split()[1:]) for row in screen(told, 140)[1:]}

    assert re.fullmatch(
        r"push UPDATE_ROUND_START \d+ s yes \N{EN DASH} accepted", rows[uuid_of("accepting")]
    )
    assert rows[uuid_of("silent")].endswith("in its mailbox")
    assert rows[uuid_of("rejecting")].endswith("rejected: answered 400")


def test_a_narrow_screen_has_two_and_cuts_no_uuid(told: Stack) -> None:
    lines = screen(told, 80)

    assert max(map(len, lines)) <= 80
    at = lines.index(f"{uuid_of('rejecting')}  push")
    assert re.fullmatch(
        r"  UPDATE_ROUND_START: rejected: answered 400, \d+ s ago; not reported", lines[at + 1]
    )


def test_before_the_start_nobody_has_been_told(stack: Stack, build: Function) -> None:
    stack.put(training_item(state="INITIAL"), participant_item("accepting"))
    build(stack.changes())

    [somebody] = read(stack).values()

    assert (somebody.told, somebody.outcome) == (None, None)
