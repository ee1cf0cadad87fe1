"""An FL server, as short as can be: it leads one training through its rounds.

    python examples/server/train.py UUID=http://127.0.0.1:8901/messages UUID=…

What a real one adds is between the rounds: collect what the participants send, and average it.
"""

import os
import sys
import time
from uuid import uuid4

import boto3

from fl_notifications.server.repository import TrainingRepository
from fl_notifications.trainings.model import Receiver, TrainingOptions

ROUNDS = 2
TRAINING_SECONDS = float(os.environ.get("TRAINING_SECONDS", "5"))


def train_and_average(round_number: int, model_uuid: str) -> str:
    """Stands for the training itself; returns the new global model."""
    print(f"round {round_number} trains model {model_uuid}")
    time.sleep(TRAINING_SECONDS)
    return str(uuid4())


def main(participants: list[Receiver]) -> None:
    """Run a training with these participants; the first one has ordered it."""
    trainings = TrainingRepository(boto3.client("dynamodb"), os.environ["TRAININGS_TABLE"])
    training_uuid, model_uuid = str(uuid4()), str(uuid4())
    # Who can't be reached or rejects a round is removed; the rest goes on, if it is two or more.
    options = TrainingOptions.model_validate({"failure_policy": "quorum", "min_participants": 2})
    trainings.create(training_uuid, model_uuid, participants[0], participants, options=options)
    print(f"training {training_uuid}")

    trainings.start(training_uuid)  # tells TRAINING_START and UPDATE_ROUND_START 0
    model_uuid = train_and_average(0, model_uuid)
    for ended in range(ROUNDS - 1):
        # With `after`, a server that repeats itself after a crash skips no round.
        trainings.next_round(training_uuid, after=ended, model_uuid=model_uuid)
        model_uuid = train_and_average(ended + 1, model_uuid)
    trainings.model_test(training_uuid, model_uuid=model_uuid)
    time.sleep(TRAINING_SECONDS)
    trainings.finish(training_uuid)
    left = [each.uuid for each in trainings.participants(training_uuid)]
    print(f"finished with {len(left)} of {len(participants)} participants")


def receiver(text: str) -> Receiver:
    """A participant from `UUID=URL`."""
    uuid, _, url = text.partition("=")
    return Receiver(uuid=uuid, message_endpoint=url)


if __name__ == "__main__":
    main([receiver(text) for text in sys.argv[1:]])
