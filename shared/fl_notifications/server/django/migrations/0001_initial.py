"""The rows of `DesiredTraining`."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Makes the table."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="DesiredTraining",
            fields=[
                (
                    "training_uuid",
                    models.CharField(max_length=45, primary_key=True, serialize=False),
                ),
                ("version", models.BigIntegerField(default=0)),
                (
                    "carried_over",
                    models.BigIntegerField(default=-1, help_text="the version that the table has"),
                ),
                ("running", models.BooleanField(default=False)),
                ("body", models.JSONField(null=True)),
                (
                    "problem",
                    models.TextField(
                        blank=True, default="", help_text="why it was not carried over"
                    ),
                ),
                ("changed_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "verbose_name": "desired training",
                "indexes": (models.Index(fields=["running"], name="fl_notifications_running"),),
            },
        ),
    )
