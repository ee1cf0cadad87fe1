"""Mailboxes: what is in one is fetched, failed or superseded; nothing waits for ever."""

from collections import defaultdict

from tests.simulation.case import Case
from tests.simulation.ids import ROUNDS, T
from tests.simulation.timeline import ANNOUNCED
from tests.simulation.told import STALE_SECONDS, current_and_over


def mailboxes_are_served(case: Case) -> None:
    """Everything about what was deposited, given out and acknowledged."""
    _nothing_waits(case)
    _answers_do_not_contradict(case)
    _given_out_is_current(case)
    _given_out_in_order(case)
    _failed_when_due(case)


def _nothing_waits(case: Case) -> None:
    waiting = case.history.world.sweeps.waiting
    case.expect("nothing waits in a mailbox for ever", not waiting, waiting[:3])
    refused = case.history.world.mailboxes.refused
    ours = [each for each in refused if each["statusCode"] >= 500]
    unknown = [each for each in refused if each["statusCode"] == 401]
    # While the secret cannot be read, the functions take its old versions only.
    excused = unknown if case.history.secret_was_unreadable else []
    right = len(ours) + len(excused) == len(refused)
    case.expect("a request that is right is not refused", right, refused[:3])
    if not case.history.world.faults.struck:
        case.expect("without faults each request is served", not ours, ours[:3])


def _answers_do_not_contradict(case: Case) -> None:
    """Whoever acknowledges is told the outcome that counts."""
    history = case.history
    for told in history.world.mailboxes.acknowledged:
        outcome = history.outcome_of(told.notification_id)
        case.expect(
            "an acknowledgement is answered with the outcome that counts",
            told.outcome == outcome and told.applied is (told.outcome == told.asked),
            f"{told} instead of {outcome}",
        )


def _given_out_is_current(case: Case) -> None:
    history = case.history
    for each in history.world.mailboxes.fetched:
        built = history.by_id[each.notification_id][0]
        if built.kind is T.TRAINING_START or built.kind in ANNOUNCED:
            begin = each.invocation.began - STALE_SECONDS
            current, _ = current_and_over(history, built, begin, each.at)
            case.expect("nobody is given what is over", current, built.name)
        concluded = history.concluded_at(each.notification_id)
        case.expect(
            "what the ledger has concluded is not given out",
            concluded is None or concluded >= each.invocation.began,
            built.name,
        )
        case.expect("a mailbox is its receiver's", built.receiver == each.receiver, built.name)


def _given_out_in_order(case: Case) -> None:
    """For the first time, and within a training, unless some were POSTed."""
    history = case.history
    last: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (-1, -1))
    seen = set()
    for each in history.world.mailboxes.fetched:
        built = history.by_id[each.notification_id][0]
        if built.id in seen or each.receiver in history.posted_to:
            continue
        seen.add(built.id)
        orders = {it.order for it in case.by_id.get(built.id, [])}
        if not orders or any(it.moment.handled.redriven for it in case.by_id[built.id]):
            continue
        before = last[built.training, built.receiver]
        case.expect(
            "mailboxes are in order",
            max(orders) >= before,
            f"{built.name}: {orders} after {before}",
        )
        if len(orders) == 1:
            last[built.training, built.receiver] = max(before, *orders)


def _failed_when_due(case: Case) -> None:
    """A round that nobody acknowledges fails, but not before its time."""
    history = case.history
    for each, deposits in history.deposits.items():
        built = history.by_id[each][0]
        if history.outcome_of(each) != "failed" or built.kind not in ROUNDS:
            continue
        if history.posts.get(each):
            continue  # it had an endpoint before or after
        at = history.concluded_at(each) or 0.0
        due = min(float(it["due_at"]["N"]) for it in deposits)
        case.expect("a notification may wait as long as promised", at >= due, built.name)
