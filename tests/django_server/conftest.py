"""Django on a file of SQLite, beside a simulated AWS in memory."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DATABASE = Path(tempfile.gettempdir()) / f"fl-notifications-{os.getpid()}.sqlite"
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.django_server.settings"
os.environ["DJANGO_SERVER_DATABASE"] = str(DATABASE)

import django
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection
from django.test.utils import override_settings

from tests.integration.conftest import _account, account, build, clock, stack
from tests.integration.stack import Stack

django.setup()

from fl_notifications.server.django import conf, mapping, rows
from tests.django_server.core import clients

__all__ = ["_account", "account", "build", "clock", "stack"]


@pytest.fixture(scope="session")
def _tables() -> Iterator[None]:
    """The server's tables, in a file that other processes can open, too."""
    call_command("migrate", run_syncdb=True, verbosity=0)
    yield
    connection.close()
    DATABASE.unlink()


def forget() -> None:
    """Let the app read its setting again."""
    for cached in (conf.current, mapping.current, rows.reconciler):
        cached.cache_clear()


@pytest.fixture
def setting(_tables: None) -> Iterator[dict[str, Any]]:
    """The setting `FL_NOTIFICATIONS`; nothing is left of the server after the test."""
    given = dict(django_settings.FL_NOTIFICATIONS)
    with override_settings(FL_NOTIFICATIONS=given):
        forget()
        yield given
    forget()
    call_command("flush", interactive=False, verbosity=0)


@pytest.fixture
def server(stack: Stack, setting: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The server on the simulated AWS."""
    setting["TABLE"] = stack.trainings_table
    clients.given["dynamodb"] = stack.dynamodb
    yield setting
    clients.given.clear()
