"""The demo's checks notice what differs: each test spoils one thing of a run as it should be."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from uuid import uuid4

import pytest
from botocore.exceptions import EndpointConnectionError
from rich.console import Console

from fl_notifications.deliveries.signing import receiver_secret, signature_headers
from fl_notifications.trainings.model import (
    Receiver,
    Training,
    TrainingOptions,
    TrainingState,
)
from fl_notifications_cli.demo import story
from fl_notifications_cli.demo.cast import (
    DEADLINE,
    FAILURES,
    QUORUM,
    Cast,
    Polls,
    Production,
    Role,
)
from fl_notifications_cli.demo.checks import WHOLE, Evidence, checks
from fl_notifications_cli.demo.record import Entry
from fl_notifications_cli.demo.story import (
    ERROR,
    FINISHED,
    REMOVED,
    ROUND_0,
    ROUND_1,
    START,
    Story,
)
from fl_notifications_cli.demo.view import Looked, drawn
from fl_notifications_cli.participants import (
    Behaviour,
    Participant,
    Request,
    always,
    flaky,
    rejecting,
)
from tests.unit.test_participants import request

MASTER = "the master secret"


def role(
    name: str,
    behaviour: Behaviour | None = None,
    *,
    down: bool = False,
    polls: Polls | None = None,
) -> Role:
    uuid = str(uuid4())
    somebody = Participant(name, uuid, f"http://127.0.0.1:1/{uuid}", behaviour or always())
    return Role(somebody, "", down=down, polls=polls)


def tell(somebody: Role, labels: Sequence[str], *, attempts: int = 1, master: str = MASTER) -> None:
    for label in labels:
        bare = request(label)
        headers = signature_headers(
            [receiver_secret(master, somebody.participant.uuid)],
            str(uuid4()),
            datetime.now(UTC),
            bare.body.decode(),
        )
        for _ in range(attempts):
            somebody.participant.receive(Request(time.time(), "/", headers, bare.body))


def entry(production: Production, somebody: Role, kind: str, outcome: str | None) -> Entry:
    return Entry(
        training_uuid=production.training_uuid,
        receiver_uuid=somebody.participant.uuid,
        kind=kind,
        attempts=4,
        outcome=outcome,
        reason="connection refused",
    )


def training(production: Production, state: TrainingState, round_number: int) -> Training:
    return Training(
        training_uuid=production.training_uuid,
        state=state,
        round=round_number,
        model_uuid=str(uuid4()),
        actor=Receiver(uuid=str(uuid4()), message_endpoint="http://127.0.0.1:1/"),
        options=production.options,
    )


def uuids(roles: Sequence[Role]) -> set[str]:
    return {each.participant.uuid for each in roles}


@pytest.fixture
def seen() -> Evidence:
    """What the trainings leave behind when all went well."""
    quorum = Production(
        title="quorum",
        options=QUORUM,
        actor=role("actor"),
        roles=[
            role("healthy 1"),
            role("slow"),
            role("flaky", flaky(FAILURES)),
            role("rejecting", rejecting(1)),
            role("firewalled", polls=Polls(7)),
            role("late"),
            role("down", down=True),
        ],
    )
    strict = Production(
        title="strict",
        options=TrainingOptions(),
        actor=role("actor"),
        roles=[role("survivor 1"), role("down", down=True)],
    )
    deadline = Production(
        title="deadline",
        options=DEADLINE,
        actor=role("actor"),
        roles=[role("prompt 1"), role("prompt 2"), role("silent")],
    )
    silent = deadline.role("silent")
    tell(deadline.role("prompt 1"), [START, ROUND_0, ROUND_1, FINISHED])
    tell(deadline.role("prompt 2"), [START, ROUND_0, FINISHED])
    tell(silent, [START, ROUND_0, REMOVED])
    tell(deadline.actor, [FINISHED])
    for name in ("healthy 1", "slow", "firewalled"):
        tell(quorum.role(name), WHOLE)
    tell(quorum.role("flaky"), WHOLE, attempts=FAILURES + 1)
    tell(quorum.role("rejecting"), [START, ROUND_0, ROUND_1, REMOVED])
    tell(quorum.role("late"), [START, *WHOLE[2:]])
    tell(quorum.actor, [FINISHED])
    tell(strict.role("survivor 1"), [START, ROUND_0, ERROR])
    tell(strict.actor, [ERROR])
    lasting = [each for each in quorum.roles if each.name not in {"rejecting", "down"}]
    return Evidence(
        cast=Cast(quorum, strict, deadline),
        quorum_training=training(quorum, TrainingState.COMPLETED, 1),
        strict_training=training(strict, TrainingState.ERROR, 0).model_copy(
            update={"error": {"receiver_uuid": strict.role("down").participant.uuid}}
        ),
        deadline_training=training(deadline, TrainingState.COMPLETED, 1),
        quorum_participants=uuids(lasting),
        strict_participants=uuids(strict.roles),
        deadline_participants=uuids(deadline.roles) - uuids([silent]),
        deadline_removals={
            silent.participant.uuid: "UPDATE_ROUND_START to a participant: not reported by the"
            " deadline"
        },
        overdue=[
            "ONGOING, round 0: longer than its deadline (on_deadline: remove_unreported)",
            "then: 1 participants removed",
        ],
        ledger=[
            replace(
                entry(quorum, quorum.role("firewalled"), "TRAINING_START", "accepted"), attempts=0
            ),
            *(
                entry(quorum, quorum.role("down"), kind, "failed")
                for kind in ("TRAINING_START", "UPDATE_ROUND_START", "CLIENT_REMOVED")
            ),
            *(
                entry(strict, strict.role("down"), kind, "failed")
                for kind in ("TRAINING_START", "UPDATE_ROUND_START", "TRAINING_ERROR")
            ),
        ],
        master_secret=MASTER,
        waiting=0,
        new_dead_letters=0,
        missed=[],
    )


def failed(seen: Evidence) -> list[str]:
    return [check.text for check in checks(seen) if not check.holds]


def test_all_hold_when_all_is_well(seen: Evidence) -> None:
    assert failed(seen) == []


@pytest.mark.parametrize("name", ["healthy 1", "slow", "flaky", "rejecting", "firewalled", "late"])
def test_a_notification_too_many_is_noticed(seen: Evidence, name: str) -> None:
    tell(seen.cast.quorum.role(name), [FINISHED], attempts=FAILURES + 1 if name == "flaky" else 1)

    [text] = failed(seen)
    assert name.split(maxsplit=1)[0].removesuffix("ed") in text


@pytest.mark.parametrize("name", ["healthy 1", "late", "rejecting"])
def test_a_repeated_post_is_noticed(seen: Evidence, name: str) -> None:
    somebody = seen.cast.quorum.role(name).participant
    somebody.receive(somebody.requests[-1])

    [text] = failed(seen)
    assert name.split(maxsplit=1)[0] in text


def test_a_post_to_the_one_behind_a_firewall_is_noticed(seen: Evidence) -> None:
    posted = entry(
        seen.cast.quorum, seen.cast.quorum.role("firewalled"), "UPDATE_ROUND_START", "accepted"
    )

    [text] = failed(replace(seen, ledger=[*seen.ledger, posted]))
    assert "firewall" in text


def test_a_round_for_one_that_is_not_selected_is_noticed(seen: Evidence) -> None:
    tell(seen.cast.deadline.role("prompt 2"), [ROUND_1])

    [text] = failed(seen)
    assert "selected" in text


def test_a_silent_one_that_is_told_more_is_noticed(seen: Evidence) -> None:
    tell(seen.cast.deadline.role("silent"), [ROUND_1])

    [text] = failed(seen)
    assert "the silent one" in text


def test_polls_and_what_came_by_them_are_counted_apart_from_posts(seen: Evidence) -> None:
    texts = [check.text for check in checks(seen)]

    assert any("fetched from its mailbox in 7 polls" in text for text in texts)
    assert any(f"{len(WHOLE)} fetched: each signed" in text for text in texts)


def row(seen: Evidence, looked: Looked, name: str) -> str:
    console = Console(width=120, file=StringIO())
    console.print(drawn(seen.cast, looked))
    drawn_text = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    [line] = [each for each in drawn_text.splitlines() if each.startswith(name)]
    return " ".join(line.split())


def test_the_table_says_what_waits_in_a_mailbox_and_what_was_fetched(seen: Evidence) -> None:
    firewalled = role("firewalled", polls=Polls())
    tell(firewalled, [START])
    quorum = replace(seen.cast.quorum, roles=[firewalled])
    seen = replace(seen, cast=replace(seen.cast, quorum=quorum))
    looked = Looked(deposited={firewalled.participant.uuid: [ROUND_0]})

    assert row(seen, looked, "firewalled") == "firewalled ✓ fetched deposited"


def test_the_table_says_who_is_overdue_and_who_is_not_asked(seen: Evidence) -> None:
    deadline = seen.cast.deadline
    prompt = uuids([deadline.role("prompt 1"), deadline.role("prompt 2")])
    looked = Looked(
        reported=frozenset(prompt),
        overdue=frozenset(uuids([deadline.role("silent")])),
        left_out=frozenset(uuids([deadline.role("prompt 2"), deadline.role("silent")])),
    )

    assert row(seen, looked, "prompt 1") == "prompt 1 ✓ ✓ result ✓ ✓"
    assert row(seen, looked, "prompt 2") == "prompt 2 ✓ ✓ result not asked ✓"
    assert row(seen, looked, "silent") == "silent ✓ ✓ overdue ✓"


def test_a_signature_with_another_secret_is_noticed(seen: Evidence) -> None:
    [text] = failed(replace(seen, master_secret="another"))
    assert "signed" in text


@pytest.mark.parametrize(
    ("spoiled", "named"),
    [
        ({"waiting": 1}, "nothing is left"),
        ({"new_dead_letters": 1}, "nothing is left"),
        ({"missed": ["the end"]}, "in time: the end"),
        ({"quorum_participants": set()}, "the table: COMPLETED"),
        ({"strict_participants": set()}, "the table says ERROR"),
        ({"deadline_participants": set()}, "without the silent one"),
        ({"deadline_removals": {}}, "the silent one"),
        ({"overdue": []}, "overdue"),
        ({"overdue": ["on_deadline: event"]}, "overdue"),
        (
            {"overdue": ["on_deadline: remove_unreported", "then: 0 participants removed"]},
            "overdue",
        ),
    ],
)
def test_what_differs_is_named(seen: Evidence, spoiled: dict[str, object], named: str) -> None:
    [text] = failed(replace(seen, **spoiled))  # type: ignore[arg-type]  # fields of all types
    assert named in text


def test_a_notification_without_an_outcome_is_noticed(seen: Evidence) -> None:
    opened = entry(seen.cast.quorum, seen.cast.quorum.role("late"), "TRAINING_START", None)

    [text] = failed(replace(seen, ledger=[*seen.ledger, opened]))
    assert "outcome" in text


def test_an_unreachable_one_that_stays_is_noticed(seen: Evidence) -> None:
    down = seen.cast.quorum.role("down").participant.uuid

    [text] = failed(replace(seen, quorum_participants=seen.quorum_participants | {down}))
    assert "the table: COMPLETED" in text


def test_a_stack_that_dies_ends_the_waiting_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receivers are of this process: they alone would never tell."""

    class Dead:
        def waiting(self) -> int:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    class Blind:
        def say(self, text: str) -> None: ...
        def refresh(self) -> None: ...

    monkeypatch.setattr(story, "ALIVE_SECONDS", 0.0)
    nobody = Production("", TrainingOptions(), role("actor"), [])
    waiting = Story(Cast(nobody, nobody, nobody), Dead(), Blind())  # type: ignore[arg-type]

    with pytest.raises(EndpointConnectionError):
        waiting._until("somebody accepts", lambda: False)
    assert waiting.missed == []
