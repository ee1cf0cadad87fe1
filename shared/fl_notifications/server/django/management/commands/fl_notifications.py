"""`manage.py fl_notifications`: makes the server and the trainings table agree."""

import time
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections
from django.db.models import F, Q

from fl_notifications.server.django import mapping, queue, rows
from fl_notifications.server.django.models import DesiredTraining
from fl_notifications.server.reconciler import Report


class Command(BaseCommand):
    """Carries over what was left behind, and brings back what the service has done."""

    help = (
        "Make the server's database and the trainings table agree: once, every so many seconds, "
        "or as events come."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Say which options there are."""
        parser.add_argument("trainings", nargs="*", help="uuids; without any: all that may differ")
        parser.add_argument("--all", action="store_true", help="those that are over, too")
        parser.add_argument(
            "--dry-run", action="store_true", help="say what differs on either side, write nothing"
        )
        parser.add_argument("--every", type=float, metavar="SECONDS", help="again and again")
        parser.add_argument(
            "--queue", metavar="URL", help="listen to the service's events between two rounds"
        )

    def handle(self, **options: Any) -> None:
        """Run the command."""
        every = options["every"]
        failed = self._round(options)
        while every is not None:
            self._wait(options["queue"], every)
            failed = self._round(options)
        if failed:
            raise CommandError(f"{failed} trainings could not be carried over; run this again")

    def _wait(self, url: str | None, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if url is None:
                time.sleep(left)
            else:
                self._listen(url, min(20, max(1, int(left))))

    def _listen(self, url: str, seconds: int) -> None:
        try:
            queue.receive(boto3.client("sqs"), url, wait_seconds=seconds)
        except (BotoCoreError, ClientError) as error:
            self.stderr.write(f"{url}: {type(error).__name__}: {error}")
            time.sleep(seconds)  # the next round looks at everything anyway

    def _round(self, options: dict[str, Any]) -> int:
        close_old_connections()  # as at each request: this process may run for months
        failed = 0
        for uuid in options["trainings"] or self._uuids(everything=options["all"]):
            try:
                report = rows.differences(uuid) if options["dry_run"] else rows.repair(uuid)
            except Exception as error:  # noqa: BLE001 - one training must not stop the others
                self.stderr.write(f"{uuid}: {type(error).__name__}: {error}")
                failed += 1
            else:
                self._say(uuid, report, dry_run=options["dry_run"])
        return failed

    def _uuids(self, *, everything: bool) -> list[str]:
        """What may differ: rows left behind, whatever runs, and trainings that have no row yet."""
        using = rows.database()
        found = DesiredTraining.objects.using(using).all()
        known = {str(uuid) for uuid in found.values_list("pk", flat=True)}
        if not everything:
            found = found.filter(Q(running=True) | Q(carried_over__lt=F("version")))
        trainings = mapping.current().training_model._base_manager.using(using)
        all_uuids = {str(uuid) for uuid in trainings.values_list("pk", flat=True)}
        return [*map(str, found.values_list("pk", flat=True)), *sorted(all_uuids - known)]

    def _say(self, uuid: str, report: Report, *, dry_run: bool) -> None:
        verb = "to do in the table" if dry_run else "done in the table"
        for step in report.steps:
            self.stdout.write(f"{uuid}: {verb}: {step}")
        verb = "to do in the server" if dry_run else "done in the server"
        for removal in report.removed:
            who = f"remove participant {removal.participant_uuid}"
            self.stdout.write(f"{uuid}: {verb}: {who} ({removal.reason})")
        if report.ended is not None:
            why = f"{report.ended.state} ({report.ended.reason})"
            self.stdout.write(f"{uuid}: {verb}: {why}")
