"""A participant in FastAPI. `pip install fastapi uvicorn git+https://…/fl-notifications`, then:

export WEBHOOK_SECRET=$(fl-notifications secret UUID)
uvicorn --port 8901 examples.receiver_fastapi.main:app
"""

import os
from collections import OrderedDict

from fastapi import BackgroundTasks, FastAPI, Request, Response

from fl_notifications.receiver import Notification, RejectedError, respond

SECRET = os.environ["WEBHOOK_SECRET"]
REMEMBERED = 10_000

app = FastAPI()
seen: OrderedDict[str, None] = OrderedDict()  # in a database, if it is to outlive this process


def work(notification: Notification) -> None:
    """Do what a notification asks for: here, say so."""
    number = "" if notification.round is None else f" {notification.round}"
    print(f"working on {notification.type}{number}", flush=True)


@app.post("/messages")
async def messages(request: Request, later: BackgroundTasks) -> Response:
    """Answer at once, and work afterwards: the service waits a few seconds only."""

    def take(notification: Notification) -> None:
        if notification.model_uuid is None and notification.round is not None:
            raise RejectedError("no-model")  # 422: the service removes us from the training
        if notification.id in seen:  # after a crash on the other side it may come once more
            return
        seen[notification.id] = None
        if len(seen) > REMEMBERED:
            seen.popitem(last=False)
        later.add_task(work, notification)

    reply = respond(request.headers, await request.body(), SECRET, take)
    return Response(status_code=reply.status, headers=dict(reply.headers), background=later)
