"""A web worker of its own: `python -m tests.django_server.worker TRAINING USER…`.

Lets the users join the training, each in a request of its own.
"""

import os
import sys

import django


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.django_server.settings"
    django.setup()
    from tests.django_server.core.models import Training  # noqa: PLC0415 - needs Django

    training, *users = sys.argv[1:]
    for user in users:
        Training.objects.get(pk=training).participants.add(user)


if __name__ == "__main__":
    main()
