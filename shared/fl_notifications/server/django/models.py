"""One row per training: what the trainings table should say of it."""

from typing import Any

from django.db import models

from fl_notifications.server.desired import Desired


class DesiredTraining(models.Model):
    """What the trainings table should say of a training, written in the server's transactions."""

    training_uuid = models.CharField(primary_key=True, max_length=45)
    version = models.BigIntegerField(default=0)
    carried_over = models.BigIntegerField(default=-1, help_text="the version that the table has")
    running = models.BooleanField(default=False)
    body = models.JSONField(null=True)
    problem = models.TextField(blank=True, default="", help_text="why it was not carried over")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        """Found by what is left to do."""

        verbose_name = "desired training"
        indexes = (models.Index(fields=["running"], name="fl_notifications_running"),)

    def __str__(self) -> str:
        return f"{self.training_uuid}, version {self.version}, carried over {self.carried_over}"

    @property
    def desired(self) -> Desired | None:
        """The row; None if nothing was written yet."""
        body: Any = self.body
        return None if body is None else Desired.model_validate(body)

    @desired.setter
    def desired(self, desired: Desired) -> None:
        self.body = desired.model_dump(mode="json")
        self.version = desired.version
        self.running = desired.running
