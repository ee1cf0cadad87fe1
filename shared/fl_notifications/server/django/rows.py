"""The rows of `DesiredTraining`: written in the server's transactions, carried over after them."""

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Final

import boto3
from django.db import router, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.module_loading import import_string

from fl_notifications.aws.clients import CLIENT_CONFIG
from fl_notifications.server.desired import Announced, Desired, announced, desired, gone, settled
from fl_notifications.server.django import conf, mapping
from fl_notifications.server.django.models import DesiredTraining
from fl_notifications.server.reconciler import Reconciler, Report
from fl_notifications.trainings.model import FINAL_STATES

LOGGER: Final = logging.getLogger("fl_notifications")

PATIENCE: Final = timedelta(minutes=1)
"""How long a round that was told to some participants only waits for the others."""


@cache
def reconciler() -> Reconciler:
    """What carries the rows of this process over."""
    settings = conf.current()
    if isinstance(settings.dynamodb, str):
        client = import_string(settings.dynamodb)()
    else:
        client = boto3.client("dynamodb", **{"config": CLIENT_CONFIG, **settings.dynamodb})
    return Reconciler(client, settings.table)


def database() -> str:
    """The database with the trainings: the rows are written in the same transactions."""
    using: str = router.db_for_write(mapping.current().training_model)
    return using


def changed(training_uuid: str) -> None:
    """Look at a training again: in the transaction that has changed it, or later."""
    using = database()
    by_calls = conf.current().rounds == "notifications"

    def change(old: Desired | None) -> Desired | None:
        training = mapping.current().find(training_uuid, using)
        if training is None:
            return None if old is None or old.deleted else gone(old)
        seen = mapping.current().seen(training)
        if old is None and seen.state in FINAL_STATES:
            return None  # older than this app: everybody knows
        return desired(old, seen, timezone.now().isoformat(), by_calls=by_calls)

    _write(training_uuid, using, change)


def told(training_uuid: str, call: Announced) -> None:
    """The server has told a round by a call."""

    def change(old: Desired | None) -> Desired | None:
        return None if old is None else announced(old, call)

    changed(training_uuid)
    _write(training_uuid, database(), change)


def _write(
    training_uuid: str, using: str, change: Callable[[Desired | None], Desired | None]
) -> None:
    rows = DesiredTraining.objects.using(using)
    with transaction.atomic(using=using):
        # Writes first: on every database that is a lock, so that two who change it wait.
        if not rows.filter(pk=training_uuid).update(version=F("version")):
            rows.bulk_create([DesiredTraining(pk=training_uuid)], ignore_conflicts=True)
            rows.filter(pk=training_uuid).update(version=F("version"))
        row = rows.get(pk=training_uuid)
        old = row.desired
        new = change(old)
        if new is None:
            if old is None:
                row.delete()
            return
        if old is not None and new.version == old.version:
            return
        row.desired = new
        row.save(using=using)
        if conf.current().on_commit:
            transaction.on_commit(lambda: after_commit(training_uuid), using=using)


def after_commit(training_uuid: str) -> None:
    """Carry a row over; whatever goes wrong is the command's to repair."""
    try:
        row = DesiredTraining.objects.using(database()).filter(pk=training_uuid).first()
        if row is not None and row.carried_over < row.version:
            carry_over(training_uuid)
    except Exception as error:  # noqa: BLE001 - the commit stands, and its request must, too
        LOGGER.warning("training %s is not carried over yet: %s", training_uuid, _name(error))


def repair(training_uuid: str) -> Report:
    """Look at a training again, and carry it over: whatever was missed is made good."""
    changed(training_uuid)
    using = database()
    row = DesiredTraining.objects.using(using).filter(pk=training_uuid).first()
    if row is None:
        return Report()
    if timezone.now() - row.changed_at > PATIENCE:
        _write(training_uuid, using, lambda old: None if old is None else settled(old))
    return carry_over(training_uuid)


def differences(training_uuid: str) -> Report:
    """What differs on either side; writes nothing."""
    using = database()
    with transaction.atomic(using=using):
        changed(training_uuid)
        row = DesiredTraining.objects.using(using).filter(pk=training_uuid).first()
        transaction.set_rollback(True, using=using)
    wanted = None if row is None else row.desired
    return Report() if wanted is None else reconciler().carry_over(wanted, dry_run=True)


def carry_over(training_uuid: str) -> Report:
    """Make the table say what a row says, and the server what the service has done.

    Raises:
        ClientError: if DynamoDB refuses a call; so may other errors of boto3's.
        TrainingRepositoryError: if the table kept changing, or the row cannot be written.
    """
    using = database()
    rows = DesiredTraining.objects.using(using).filter(pk=training_uuid)
    wanted = rows.get().desired
    if wanted is None:
        return Report()
    try:
        report = reconciler().carry_over(wanted)
    except Exception as error:
        rows.update(problem=f"{_name(error)}"[:1000])
        raise
    if not report.overtaken:
        rows.filter(carried_over__lt=wanted.version).update(carried_over=wanted.version)
        rows.exclude(problem="").update(problem="")
    if report.removed or report.ended:
        _bring_back(training_uuid, using, report)
    return report


def _bring_back(training_uuid: str, using: str, report: Report) -> None:
    current = mapping.current()
    with transaction.atomic(using=using):
        training = current.find(training_uuid, using)
        if training is None:
            return
        for removal in report.removed:
            current.removed(training, removal)
        if report.ended is not None:
            current.ended(training, report.ended)
    if report.removed and report.ended is None:
        current.recheck(current.find(training_uuid, using))


def _name(error: Exception) -> str:
    # boto3's messages name tables and calls, none of what is in them.
    return f"{type(error).__name__}: {error}"
