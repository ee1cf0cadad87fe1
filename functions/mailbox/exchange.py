"""Serves a request that is signed: concludes what it acknowledges, gives out what waits."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import batched
from typing import Any, Final

from fl_notifications.clock import Clock
from fl_notifications.deliveries.delivery import Delivery
from fl_notifications.outcomes.conclude import Concluder, Ending, ended_already, ends_as
from fl_notifications.outcomes.facts import MAX_DELIVERIES, Facts, FactsReader
from fl_notifications.outcomes.ledger import Ledger, LedgerEntry, UnreadableEntryError
from fl_notifications.outcomes.outcome import OutcomeKind
from fl_notifications.outcomes.waiting import (
    RECEIVER,
    Item,
    ReceiverSeen,
    UnreadableWaitingError,
    WaitingNotification,
    WaitingTable,
    mailbox_owner,
)
from fl_notifications.telemetry.journal import Journal
from fl_notifications.webhooks import signature_headers
from functions.mailbox.polling import Polling
from functions.mailbox.request import Acknowledgement, Request

PAGE: Final = 100
"""Items of a mailbox per page; superseding keeps nearly all mailboxes shorter."""

MAX_PAGES: Final = 20
"""Pages read at most in search of what is acknowledged."""

SEEN_EVERY: Final = timedelta(minutes=5)
"""Resolution of a receiver's `seen_at`: each write costs."""


@dataclass(slots=True)
class _Mailbox:
    """What was read of a mailbox, and what becomes of it.

    Attributes:
        endings: how notifications are to end.
        given: those that are given out.
    """

    owner: str
    seen: ReceiverSeen
    waiting: list[WaitingNotification]
    more: bool
    endings: list[Ending] = field(default_factory=list)
    given: list[WaitingNotification] = field(default_factory=list)


@dataclass(frozen=True)
class Exchange:
    """Everything that is needed to serve, built once per execution environment."""

    facts: FactsReader
    ledger: Ledger
    waiting: WaitingTable
    concluder: Concluder
    polling: Polling
    clock: Clock
    journal: Journal

    def exchange(self, request: Request, secrets: Sequence[str]) -> dict[str, Any]:
        """Serve a request.

        Args:
            request: whose signature was checked.
            secrets: the receiver's; each signs what is given out.

        Returns:
            The body of the answer.

        Raises:
            ClientError: if a table or the bus refuses a call. Asking again is safe.
            NotReadError: if not all could be read.
        """
        receiver, now = str(request.receiver), self.clock.now()
        mailbox = self._read(receiver, request.acknowledge)
        asked = {each.id: each for each in reversed(request.acknowledge)}
        for some in batched(_of_ids(mailbox.waiting, asked), MAX_DELIVERIES):
            self._acknowledge(mailbox, some, asked, now)
        left = _in_turn(
            each for each in mailbox.waiting if each.delivery.notification_id not in asked
        )
        for some in batched(left, MAX_DELIVERIES):
            self._give_out(mailbox, some, request.max, now)
        counting = self.concluder.conclude(mailbox.endings, *self._seen(mailbox, now))
        outcomes = self._outcomes(receiver, asked, counting)
        self._write_down(mailbox, asked, outcomes)
        return {
            "acknowledged": [_told(each, outcomes.get(each.id)) for each in request.acknowledge],
            "notifications": [_signed(each.delivery, secrets, now) for each in mailbox.given],
            "more": mailbox.more,
            "poll_after_seconds": self.polling.wait_seconds(_last(mailbox), now),
        }

    def _write_down(
        self,
        mailbox: _Mailbox,
        asked: dict[str, Acknowledgement],
        outcomes: dict[str, OutcomeKind],
    ) -> None:
        with self.journal.in_bulk():
            for each in _of_ids(mailbox.waiting, asked):
                delivery = each.delivery
                said = OutcomeKind(asked[delivery.notification_id].outcome)
                applied = outcomes.get(delivery.notification_id) is said
                self.journal.acknowledged(delivery, said, applied=applied)
            for each in mailbox.given:
                self.journal.fetched(each.delivery)

    def _read(self, receiver: str, acknowledged: Sequence[Acknowledgement]) -> _Mailbox:
        """Read a mailbox; if something is acknowledged, on until that is found."""
        owner = mailbox_owner(receiver)
        sought = {each.id for each in acknowledged}
        items: list[Item] = []
        start: Item | None = None
        for _ in range(MAX_PAGES):
            page, start = self.waiting.page(
                owner, limit=PAGE, consistent=bool(acknowledged), start=start
            )
            items += page
            sought -= {each["notification_id"]["S"] for each in page if "notification_id" in each}
            if start is None or not sought:
                break
        seen = ReceiverSeen()
        if items and items[0]["what"]["S"] == RECEIVER:
            seen = ReceiverSeen.from_item(items.pop(0))
        return _Mailbox(owner, seen, list(self._parsed(items)), more=start is not None)

    def _parsed(self, items: Iterable[Item]) -> Iterator[WaitingNotification]:
        for item in items:
            try:
                yield WaitingNotification.from_item(item)
            except UnreadableWaitingError as error:
                # It holds up nobody here; once it is due, the sweep makes a dead letter of it.
                self.journal.trouble("a waiting notification cannot be read", error)

    def _acknowledge(
        self,
        mailbox: _Mailbox,
        some: Sequence[WaitingNotification],
        asked: dict[str, Acknowledgement],
        now: datetime,
    ) -> None:
        facts = self.facts.read([each.delivery for each in some])
        for each in self._readable(some, facts):
            ending = ended_already(facts, each, now)
            if ending is None:
                said = asked[each.delivery.notification_id]
                kind = OutcomeKind(said.outcome)
                ending = ends_as(kind, facts, each, reason=_reason(said), now=now)
            mailbox.endings.append(ending)

    def _readable(
        self, some: Iterable[WaitingNotification], facts: Facts
    ) -> Iterator[WaitingNotification]:
        """Those whose entries in the ledger can be read; the sweep makes dead letters of others."""
        for each in some:
            try:
                facts.entry_of(each.delivery)
            except UnreadableEntryError as error:
                self.journal.trouble("the entry of a waiting notification cannot be read", error)
            else:
                yield each

    def _give_out(
        self, mailbox: _Mailbox, some: Sequence[WaitingNotification], most: int, now: datetime
    ) -> None:
        """Give out what still counts, each once; the rest has ended."""
        if len(mailbox.given) >= most:
            mailbox.more = True
            return
        facts = self.facts.read([each.delivery for each in some])
        given = {each.delivery.notification_id for each in mailbox.given}
        for each in self._readable(some, facts):
            ending = ended_already(facts, each, now)
            if ending is not None:
                mailbox.endings.append(ending)
            elif len(mailbox.given) >= most:
                mailbox.more = True
            elif each.delivery.notification_id not in given:
                given.add(each.delivery.notification_id)
                mailbox.given.append(each)

    def _seen(self, mailbox: _Mailbox, now: datetime) -> list[tuple[str, ReceiverSeen]]:
        """The receiver's item to write, or None."""
        seen_at = mailbox.seen.seen_at
        if mailbox.endings or seen_at is None or now - seen_at > SEEN_EVERY:
            return [(mailbox.owner, ReceiverSeen(_last(mailbox), now))]
        return []

    def _outcomes(
        self, receiver: str, asked: dict[str, Acknowledgement], counting: dict[str, LedgerEntry]
    ) -> dict[str, OutcomeKind]:
        """The outcomes that count of what is acknowledged, as far as they are the receiver's."""
        outcomes = {
            each: entry.outcome
            for each, entry in counting.items()
            if each in asked and entry.outcome is not None
        }
        if others := asked.keys() - outcomes.keys():
            outcomes |= self.ledger.outcomes_of(receiver, sorted(others))
        return outcomes


def _of_ids(
    waiting: Iterable[WaitingNotification], ids: Iterable[str]
) -> list[WaitingNotification]:
    return [each for each in waiting if each.delivery.notification_id in set(ids)]


def _in_turn(waiting: Iterable[WaitingNotification]) -> list[WaitingNotification]:
    """Round robin over trainings, oldest first, so that none crowds out another."""
    places: dict[str, int] = {}

    def place(each: WaitingNotification) -> int:
        places[each.training] = places.get(each.training, 0) + 1
        return places[each.training]

    return sorted(waiting, key=place)


def _reason(said: Acknowledgement) -> str | None:
    if said.outcome == "accepted":
        return None
    return "rejected" if said.reason is None else f"rejected: {said.reason}"


def _last(mailbox: _Mailbox) -> datetime | None:
    """The time of the latest known notification."""
    known = [each.delivery.created_at for each in mailbox.waiting]
    if mailbox.seen.active_at is not None:
        known.append(mailbox.seen.active_at)
    return max(known, default=None)


def _told(asked: Acknowledgement, outcome: OutcomeKind | None) -> dict[str, Any]:
    return {
        "id": asked.id,
        "outcome": None if outcome is None else outcome.value,
        "applied": outcome is not None and outcome.value == asked.outcome,
    }


def _signed(delivery: Delivery, secrets: Sequence[str], now: datetime) -> dict[str, Any]:
    body = delivery.payload
    return {
        "headers": signature_headers(secrets, delivery.notification_id, now, body),
        "body": body,
    }
