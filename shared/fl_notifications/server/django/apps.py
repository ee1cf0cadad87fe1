"""The app."""

from django.apps import AppConfig


class FlNotificationsConfig(AppConfig):
    """Connects the server's models when Django has loaded them."""

    name = "fl_notifications.server.django"
    label = "fl_notifications"
    verbose_name = "FL notifications"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Listen to what the server saves."""
        from fl_notifications.server.django.signals import connect  # noqa: PLC0415 - needs the apps

        connect()
