"""Starts the peer's worker as its container does, with the stand-ins in place.

python -m benchmarks.peer.worker CONCURRENCY
"""

import sys

import benchmarks.peer.stand_ins  # noqa: F401 - before anything of the peer

from celery.__main__ import main  # type: ignore[import-not-found]  # isort: skip - the peer's

if __name__ == "__main__":
    options = ["--app", "fl_server_ai", "worker", "--loglevel", "INFO"]
    # Upstream, Django's checks import the task modules; here they are named.
    tasks = ["-I", "fl_server_ai.notification.training", "--concurrency", sys.argv[1]]
    sys.argv[1:] = [*options, *tasks]
    main()
