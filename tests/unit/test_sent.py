"""What has become of what a program has sent, as long as it waits for it."""

from dataclasses import dataclass, field

import pytest

from fl_notifications.outcomes.ledger import Ledger, LedgerEntry
from fl_notifications.outcomes.outcome import OutcomeKind
from fl_notifications.outcomes.sent import LEDGER_VARIABLE, Sent, ledger_from_environment
from fl_notifications.settings import SettingsError
from tests.made import NOW, StoppedClock, uuid_of

ONE, TWO = uuid_of("one"), uuid_of("two")


@dataclass
class KnownLedger(Ledger):
    """Knows what it is told."""

    known: dict[str, LedgerEntry] = field(default_factory=dict)

    def entries(self, notification_ids: object) -> dict[str, LedgerEntry]:
        del notification_ids
        return dict(self.known)


def entry(outcome: OutcomeKind | None, reason: str | None = None) -> LedgerEntry:
    return LedgerEntry(attempts=2, outcome=outcome, status_code=None, reason=reason, at=NOW)


@pytest.fixture
def ledger() -> KnownLedger:
    return KnownLedger()


@pytest.fixture
def sent(ledger: KnownLedger) -> Sent:
    return Sent({ONE: "n1", TWO: "n2"}, lambda: ledger)


def test_what_is_not_concluded_is_pending(sent: Sent, ledger: KnownLedger) -> None:
    ledger.known = {"n1": entry(None, "timed out")}
    outcomes = sent.outcomes()
    assert [each.outcome for each in outcomes.values()] == ["pending", "pending"]
    assert (outcomes[ONE].attempts, outcomes[ONE].reason) == (2, "timed out")
    assert outcomes[TWO].attempts == 0


def test_outcomes_are_by_receiver(sent: Sent, ledger: KnownLedger) -> None:
    ledger.known = {
        "n1": entry(OutcomeKind.ACCEPTED),
        "n2": entry(OutcomeKind.REJECTED, "answered 400"),
    }
    outcomes = sent.outcomes()
    assert (outcomes[ONE].accepted, outcomes[TWO].accepted) == (True, False)
    assert (outcomes[TWO].outcome, outcomes[TWO].notification_id) == ("rejected", "n2")


def test_waiting_ends_when_all_is_concluded(sent: Sent, ledger: KnownLedger) -> None:
    clock = StoppedClock()

    def sleep(seconds: float) -> None:
        clock.go_on(seconds)
        ledger.known["n1"] = entry(OutcomeKind.ACCEPTED)
        if clock.seconds >= 1003:
            ledger.known["n2"] = entry(OutcomeKind.FAILED)

    found = sent.wait(60, sleep=sleep, monotonic=clock.monotonic)
    assert {each.outcome for each in found.values()} == {"accepted", "failed"}
    assert clock.seconds == 1003


def test_waiting_ends_when_the_time_is_up(sent: Sent) -> None:
    clock = StoppedClock()
    found = sent.wait(2.5, sleep=clock.go_on, monotonic=clock.monotonic)
    assert {each.outcome for each in found.values()} == {"pending"}
    assert clock.seconds == 1002.5


def test_nothing_is_waited_for_if_nobody_was_told(ledger: KnownLedger) -> None:
    assert Sent({}, lambda: ledger).wait(60) == {}


def test_without_a_ledger_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEDGER_VARIABLE, raising=False)
    ledger_from_environment.cache_clear()
    with pytest.raises(SettingsError, match="set LEDGER_TABLE to the stack's output LedgerTable"):
        Sent({ONE: "n1"}, ledger_from_environment).outcomes()
