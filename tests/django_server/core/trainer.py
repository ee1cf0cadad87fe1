"""How a server of that shape goes through a training: it saves, and then it sends.

The rounds are counted up before the test: UPDATE 0, TEST 1, UPDATE 1, TEST 2.
"""

from typing import Any

from django.db import transaction

from fl_notifications.server.django.sending import announce
from fl_notifications.server.reference import (
    TrainingFinishedNotification,
    TrainingModelTestNotification,
    TrainingRoundStartNotification,
    TrainingStartNotification,
    TrainingSWAGRoundStartNotification,
)
from tests.django_server.core.models import Training, Upload, User

__all__ = ["announce", "recheck", "start", "upload"]


def start(training: Training) -> None:
    training.state = "O"
    training.save()
    announce(TrainingStartNotification.from_training(training))
    announce(TrainingRoundStartNotification.from_training(training))


def upload(training: Training, user: User, kind: str = "UPDATE") -> None:
    """A participant has done its part; the last one leads to the next round."""
    with transaction.atomic():
        Upload.objects.create(training=training, owner=user, kind=kind, round=training.model.round)
    recheck(training)


def recheck(training: Training) -> None:
    """Whether everybody has done its part."""
    training.refresh_from_db()
    training.model.refresh_from_db()
    if training.state not in {"O", "S"}:
        return
    done = Upload.objects.filter(training=training, round=training.model.round)
    everybody = set(training.participants.values_list("pk", flat=True))
    for kind in ("TEST", "SWAG", "UPDATE"):
        if everybody and everybody <= set(done.filter(kind=kind).values_list("owner", flat=True)):
            if kind != "UPDATE":
                done.filter(kind=kind).delete()  # those of the round after it have its number
            _finished[kind](training)
            return


def _update_finished(training: Training) -> None:
    training.model.round += 1
    training.model.save()
    if training.swag:
        training.state = "S"
        training.save()
        announce(TrainingSWAGRoundStartNotification.from_training(training))
    else:
        announce(TrainingModelTestNotification.from_training(training))


def _swag_finished(training: Training) -> None:
    training.state = "O"
    training.save()
    announce(TrainingModelTestNotification.from_training(training))


def _test_finished(training: Training) -> None:
    if training.model.round >= training.rounds:
        training.state = "C"
        training.save()
        announce(TrainingFinishedNotification.from_training(training))
    elif training.daisy_chain:
        _chain(training)
    else:
        announce(TrainingRoundStartNotification.from_training(training))


def _chain(training: Training) -> None:
    """Everybody trains the model of somebody else, one call for each."""
    users = list(training.participants.order_by("pk"))
    done = Upload.objects.filter(training=training, kind="UPDATE", round=training.model.round - 1)
    models: list[Any] = list(done.order_by("owner").values_list("model_uuid", flat=True))
    for user, model in zip(users, models[1:] + models[:1], strict=True):
        body = TrainingRoundStartNotification.Body(training.model.round, model)
        announce(TrainingRoundStartNotification([user], body, training.id))


_finished = {"UPDATE": _update_finished, "SWAG": _swag_finished, "TEST": _test_finished}
