"""`manage.py fl_notifications_queue`: makes the queue of what the service does to trainings."""

from typing import Any

import boto3
from django.core.management.base import BaseCommand, CommandParser

from fl_notifications.server.django import queue


class Command(BaseCommand):
    """Makes queue and rule, for a local stack or to try; `docs/migrating.md` has a template."""

    help = "Make an SQS queue that gets the service's events, and print its URL."

    def add_arguments(self, parser: CommandParser) -> None:
        """Say which options there are."""
        parser.add_argument("--bus", required=True, help="the stack's output OutcomesBus")
        parser.add_argument("--name", default="fl-notifications-server", help="of queue and rule")

    def handle(self, **options: Any) -> None:
        """Run the command."""
        clients = boto3.client("events"), boto3.client("sqs")
        self.stdout.write(queue.make(*clients, options["bus"], options["name"]))
