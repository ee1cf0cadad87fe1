"""An FL server with a plain SQL database, whose trainings table never says anything else for long.

Run it against the local stack: `make up`, then `.venv/bin/python examples/plain_sql_server.py`.

The row in `desired` is written in the server's own transaction; `carry_over` brings it to the
trainings table after the commit, and `repair`, run every minute, brings what was left behind.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from fl_notifications.server.desired import Desired, Seen, desired
from fl_notifications.server.reconciler import Reconciler, Report
from fl_notifications.trainings.model import Receiver, TrainingState

SCHEMA = """
CREATE TABLE IF NOT EXISTS training (
    uuid TEXT PRIMARY KEY, state TEXT, round INTEGER, model TEXT, actor TEXT);
CREATE TABLE IF NOT EXISTS participant (
    training TEXT, uuid TEXT, endpoint TEXT, PRIMARY KEY (training, uuid));
CREATE TABLE IF NOT EXISTS desired (
    uuid TEXT PRIMARY KEY, version INTEGER, carried_over INTEGER DEFAULT -1, body TEXT);
"""


class Server:
    """As much of an FL server as has to do with notifications."""

    def __init__(self, path: str, reconciler: Reconciler) -> None:
        self._sql = sqlite3.connect(path, isolation_level=None)
        self._sql.executescript(SCHEMA)
        self._reconciler = reconciler

    @contextmanager
    def change(self, training: str) -> Iterator[sqlite3.Connection]:
        """One transaction: whatever the server writes, and the row that says what follows."""
        self._sql.execute("BEGIN IMMEDIATE")  # of two processes one waits
        try:
            yield self._sql
            self._write_desired(training)
        except BaseException:
            self._sql.execute("ROLLBACK")
            raise
        self._sql.execute("COMMIT")
        try:
            self.carry_over(training)
        except Exception as error:  # noqa: BLE001 - the commit stands; `repair` brings it
            print(f"not carried over yet: {error}")

    def close(self) -> None:
        """Close the database."""
        self._sql.close()

    def carry_over(self, training: str) -> Report:
        """Bring a row to the trainings table, and what the service has done back."""
        ((body,),) = self._sql.execute("SELECT body FROM desired WHERE uuid = ?", (training,))
        row = Desired.model_validate_json(body)
        report = self._reconciler.carry_over(row)
        if not report.overtaken:
            self._sql.execute(
                "UPDATE desired SET carried_over = max(carried_over, ?) WHERE uuid = ?",
                (row.version, training),
            )
        if report.removed or report.ended:
            with self.change(training) as sql:
                for removal in report.removed:
                    sql.execute(
                        "DELETE FROM participant WHERE training = ? AND uuid = ?",
                        (training, removal.participant_uuid),
                    )
                if report.ended:
                    sql.execute(
                        "UPDATE training SET state = ? WHERE uuid = ?",
                        (report.ended.state, training),
                    )
        return report

    def repair(self) -> None:
        """Carry over what was left behind, and look at what runs."""
        for uuid, version, carried_over, body in self._sql.execute(
            "SELECT uuid, version, carried_over, body FROM desired"
        ).fetchall():
            if carried_over < version or Desired.model_validate_json(body).running:
                self.carry_over(uuid)

    def _write_desired(self, training: str) -> None:
        old = self._sql.execute("SELECT body FROM desired WHERE uuid = ?", (training,)).fetchone()
        ((state, round_, model, actor),) = self._sql.execute(
            "SELECT state, round, model, actor FROM training WHERE uuid = ?", (training,)
        )
        participants = self._sql.execute(
            "SELECT uuid, endpoint FROM participant WHERE training = ?", (training,)
        )
        row = desired(
            None if old is None else Desired.model_validate_json(old[0]),
            Seen(
                training_uuid=training,
                state=TrainingState(state),
                round=round_,
                model_uuid=model,
                actor=Receiver.model_validate_json(actor),
                participants=[Receiver(uuid=u, message_endpoint=e) for u, e in participants],
                options={"failure_policy": "quorum"},
            ),
            datetime.now(UTC).isoformat(),
        )
        self._sql.execute(
            "INSERT INTO desired (uuid, version, body) VALUES (?, ?, ?) "
            "ON CONFLICT (uuid) DO UPDATE SET version = excluded.version, body = excluded.body",
            (training, row.version, row.model_dump_json()),
        )


def main() -> None:
    """Run a training of one round, with one participant, on the local stack."""
    import json
    from pathlib import Path
    from uuid import uuid4

    import boto3

    stack = json.loads(Path(".local/stack.json").read_text(encoding="utf-8"))
    client = boto3.client(
        "dynamodb",
        endpoint_url=stack["endpoint_url"],
        region_name=stack["region"],
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the emulator's
    )
    server = Server(":memory:", Reconciler(client, stack["outputs"]["TrainingsTable"]))
    training, model, actor = str(uuid4()), str(uuid4()), str(uuid4())
    receiver = Receiver(uuid=actor, message_endpoint="http://127.0.0.1:9999/")
    with server.change(training) as sql:
        sql.execute(
            "INSERT INTO training VALUES (?, 'INITIAL', 0, ?, ?)",
            (training, model, receiver.model_dump_json()),
        )
        sql.execute("INSERT INTO participant VALUES (?, ?, 'mailbox:')", (training, str(uuid4())))
    for state in ("ONGOING", "COMPLETED"):
        with server.change(training) as sql:
            sql.execute("UPDATE training SET state = ? WHERE uuid = ?", (state, training))
    print(f"training {training}: see fl-notifications trace {training}")


if __name__ == "__main__":
    main()
