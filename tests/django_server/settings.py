"""Settings of the server that the tests run: a file of SQLite, and fl-demonstrator's shape."""

import os

SECRET_KEY = "of a test"
INSTALLED_APPS = ["tests.django_server.core", "fl_notifications.server.django"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DJANGO_SERVER_DATABASE", ":memory:"),
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

FL_NOTIFICATIONS = {
    "TABLE": os.environ.get("DJANGO_SERVER_TABLE", "set by a test"),
    "TRAINING": "core.Training",
    "STATES": {
        "I": "INITIAL",
        "O": "ONGOING",
        "S": "SWAG_ROUND",
        "C": "COMPLETED",
        "E": "ERROR",
    },
    "ROUND": "model.round",
    "ROUNDS": "notifications",
    "OPTIONS": {"failure_policy": "strict"},
    "RECHECK": "tests.django_server.core.trainer.recheck",
    "DYNAMODB": "tests.django_server.core.clients.dynamodb",
}
