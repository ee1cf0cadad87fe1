"""In place of Django and its models: no more than what the peer's pipeline names of them.

Everything else is the checkout's own: its tasks, callbacks, Celery options, settings and logging.
Importing this module puts the stand-ins where Python looks for modules.
"""

import importlib
import importlib.metadata
import sys
from types import ModuleType
from typing import Any


class NotificationReceiver:
    """What is read of a user: where to send to, and an id to log."""

    def __init__(self, number: int, message_endpoint: str) -> None:
        """Set both."""
        self.id = number
        self.message_endpoint = message_endpoint


# Pickled with each task, and found again by these names.
NotificationReceiver.__module__ = "fl_server_core.models.user"


class _Settings:
    """The checkout's settings, read when they are first asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("fl_server.settings.base"), name)


def _module(name: str, **contents: object) -> None:
    module = ModuleType(name)
    module.__dict__.update(contents)
    module.__path__ = []
    sys.modules[name] = module


_module("django")
_module("django.conf", settings=_Settings())
_module("django.utils")
_module("django.utils.translation", gettext_lazy=str)
_module("rest_framework")
_module("rest_framework.status", is_success=lambda code: code // 100 == 2)
sys.modules["rest_framework"].__dict__["status"] = sys.modules["rest_framework.status"]
_module("fl_server_core.models", Training=object, User=type("User", (), {}))
_module("fl_server_core.models.training", TrainingState=object)
_module("fl_server_core.models.user", NotificationReceiver=NotificationReceiver)

_installed_version = importlib.metadata.version


def _version(name: str) -> str:
    # The settings show it in a description; a checkout that isn't installed has none.
    return "checkout" if name == "fl-demonstrator" else _installed_version(name)


importlib.metadata.version = _version  # type: ignore[assignment]
