"""Stand-ins in processes of their own: AWS that only answers, and receivers.

    python -m benchmarks.servers aws PORT RECEIVERS_PORT
    python -m benchmarks.servers receivers PORT

Both keep what they were sent until somebody asks for it with `GET /taken`.
"""

import asyncio
import functools
import json
import sys
import time
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTS: Final = tuple(f"127.0.0.{last}" for last in range(2, 12))
"""Ten hosts, so that ten receivers are ten places to connect to."""

KEPT_QUEUE: Final = "kept.fifo"
"""The one queue that gives out what it is sent; others of a benchmark only take."""

_ACTOR: Final = "c0ffee00-5a5a-4b4b-8c8c-d1d1d1d1d1d1"

DEAD_AFTER_SECONDS: Final = 600.0

type Answer = tuple[int, bytes]


def training_uuid(participants: int) -> str:
    """The uuid of the training that has so many participants: the stand-in needs no tables."""
    return f"00000000-0000-4000-8000-{participants:012d}"


def participant_uuid(number: int) -> str:
    """The uuid of a participant."""
    return f"{number:08x}-0000-4000-8000-000000000000"


class Aws:
    """Answers the calls that the functions make, in AWS's JSON protocols."""

    def __init__(self, receivers_port: int) -> None:
        """Participants are reached at that port of `HOSTS`."""
        self._receivers_port = receivers_port
        self._page = functools.lru_cache(maxsize=200)(self._make_page)
        self.taken: list[str] = []
        self._kept: deque[dict[str, Any]] = deque()
        self._entries: dict[str, dict[str, Any]] = {}  # of the ledger, those put one by one

    def forget(self) -> None:
        """Begin anew."""
        self.taken.clear()
        self._entries.clear()

    def answer(self, operation: str, body: bytes) -> Answer:
        """Answer one call; `operation` is the last part of X-Amz-Target."""
        if operation == "GetSecretValue":
            return self._secret(body)
        text = body.decode()
        self.taken.append(f'["{operation}",{text}]')
        handle: Callable[[dict[str, Any]], bytes] = getattr(self, f"_{operation}")
        return 200, handle(json.loads(text))

    @staticmethod
    def _secret(body: bytes) -> Answer:
        if b"AWSPREVIOUS" in body:
            return 400, b'{"__type":"ResourceNotFoundException","Message":"none"}'
        return 200, b'{"ARN":"arn","Name":"n","VersionId":"1","SecretString":"a master secret"}'

    def _Query(self, call: dict[str, Any]) -> bytes:  # noqa: N802 - AWS's name, like those below
        training = call["ExpressionAttributeValues"][":training"]["S"]
        last = call.get("ExclusiveStartKey", {}).get("entity", {}).get("S")
        start = 0 if last is None else int(last.partition("#")[2][:8], 16) + 1
        return self._page(training, start, call["Limit"])

    def _make_page(self, training: str, start: int, limit: int) -> bytes:
        count = int(training[-12:])
        end = min(count, start + limit)
        items = [self._participant(number) for number in range(start, end)]
        page: dict[str, Any] = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
        if end < count:
            page["LastEvaluatedKey"] = {
                "training_uuid": {"S": training},
                "entity": items[-1]["entity"],
            }
        return json.dumps(page, separators=(",", ":")).encode()

    def _participant(self, number: int) -> dict[str, Any]:
        """What the builder's projection leaves of one."""
        host = HOSTS[number % len(HOSTS)]
        return {
            "entity": {"S": f"PARTICIPANT#{participant_uuid(number)}"},
            "message_endpoint": {"S": f"http://{host}:{self._receivers_port}/ok/{number}"},
            "joined_at": {"S": "2026-11-23T08:00:00.000000+00:00"},
        }

    def _GetItem(self, call: dict[str, Any]) -> bytes:  # noqa: N802
        """Give the run of a training, if there is one; there is no checkpoint."""
        entry = self._entries.get(call["Key"]["notification_id"]["S"])
        return _encode({"Item": entry} if entry else {})

    def _PutItem(self, call: dict[str, Any]) -> bytes:  # noqa: N802
        if "notification_id" in call["Item"]:
            self._entries[call["Item"]["notification_id"]["S"]] = call["Item"]
        return b"{}"

    def _BatchGetItem(self, call: dict[str, Any]) -> bytes:  # noqa: N802
        """Say that the training is in its round 3, and that there is every participant."""
        found: dict[str, list[Any]] = {}
        for table, asked in call["RequestItems"].items():
            items = [self._found(key) for key in asked["Keys"]]
            found[table] = [item for item in items if item is not None]
        return _encode({"Responses": found, "UnprocessedKeys": {}})

    def _found(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """A training or participant as far as an attempt has to know it, or a training's run."""
        if "notification_id" in key:
            return self._entries.get(key["notification_id"]["S"])
        entity = key["entity"]["S"]
        if entity == "TRAINING":
            actor = {"uuid": {"S": _ACTOR}, "message_endpoint": {"S": "http://127.0.0.1:8101/a"}}
            state = {"state": {"S": "ONGOING"}, "round": {"N": "3"}}
            return key | state | {"actor": {"M": actor}}
        return key | self._participant(int(entity.partition("#")[2][:8], 16))

    def _BatchWriteItem(self, _call: dict[str, Any]) -> bytes:  # noqa: N802
        return b'{"UnprocessedItems":{}}'

    def _ReceiveMessage(self, call: dict[str, Any]) -> bytes:  # noqa: N802
        """Give out what `KEPT_QUEUE` has, each once: no two of its messages are of one group."""
        some = [
            self._kept.popleft() for _ in range(min(call["MaxNumberOfMessages"], len(self._kept)))
        ]
        return _encode({"Messages": some} if some else {})

    def _DeleteMessageBatch(self, call: dict[str, Any]) -> bytes:  # noqa: N802
        return _encode({"Successful": [{"Id": e["Id"]} for e in call["Entries"]], "Failed": []})

    def _keep(self, entry: dict[str, Any]) -> None:
        attributes = {
            "ApproximateReceiveCount": "1",
            "MessageGroupId": entry["MessageGroupId"],
            "SentTimestamp": "1795500000100",
            "SequenceNumber": "18849496460467696128",
        }
        notification_id = entry["MessageDeduplicationId"]
        self._kept.append(
            {
                "MessageId": notification_id,
                "ReceiptHandle": f"AQEB{notification_id}",
                "Body": entry["MessageBody"],
                "Attributes": attributes,
            }
        )

    def _SendMessageBatch(self, call: dict[str, Any]) -> bytes:  # noqa: N802
        if call["QueueUrl"].endswith(KEPT_QUEUE):
            for entry in call["Entries"]:
                self._keep(entry)
        return _encode(
            {
                "Successful": [
                    {
                        "Id": entry["Id"],
                        "MessageId": "2f8d3b5e-7c53-4c1e-9a3e-2d9a1c7f6b10",
                        "MD5OfMessageBody": "0cc175b9c0f1b6a831c399e269772661",
                        "SequenceNumber": "18849496460467696128",
                    }
                    for entry in call["Entries"]
                ],
                "Failed": [],
            }
        )

    def _ChangeMessageVisibilityBatch(self, call: dict[str, Any]) -> bytes:  # noqa: N802
        return _encode({"Successful": [{"Id": e["Id"]} for e in call["Entries"]], "Failed": []})

    def _PutEvents(self, call: dict[str, Any]) -> bytes:  # noqa: N802
        entries = [{"EventId": "11710aed-b79e-4468-a20b-bb3c0c3b4860"} for _ in call["Entries"]]
        return _encode({"FailedEntryCount": 0, "Entries": entries})


def _encode(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()


class _Connection(asyncio.Protocol):
    """A connection that takes requests of known length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server makes
        self.transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            _, found, rest = head.partition(b"\r\ncontent-length:")
            whole = end + 4 + (int(rest.partition(b"\r\n")[0]) if found else 0)
            if len(self._data) < whole:
                return
            request, body = self._data[:end], self._data[end + 4 : whole]
            self._data = self._data[whole:]
            self.request(request, body)

    def request(self, head: bytes, body: bytes) -> None:
        raise NotImplementedError

    def write(self, status: int, body: bytes, *headers: bytes) -> None:
        lines = (b"HTTP/1.1 %d X" % status, b"Content-Length: %d" % len(body), *headers)
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    def write_taken(self, taken: list[str]) -> None:
        self.write(200, f"[{','.join(taken)}]".encode())
        taken.clear()


class AwsConnection(_Connection):
    """A client of `Aws`."""

    def __init__(self, aws: Aws) -> None:
        """Share one `Aws`."""
        self._aws = aws

    def request(self, head: bytes, body: bytes) -> None:
        """Answer."""
        if head.startswith(b"GET /taken"):
            self.write_taken(self._aws.taken)
            return
        if head.startswith(b"GET /forget"):
            self._aws.forget()
            self.write_taken([])
            return
        _, _, rest = head.lower().partition(b"\r\nx-amz-target:")
        at = len(head) - len(rest)
        target = head[at:].partition(b"\r\n")[0].decode().strip()
        status, answer = self._aws.answer(target.rpartition(".")[2], body)
        self.write(
            status,
            answer,
            b"Content-Type: application/x-amz-json-1.0",
            b"x-amzn-RequestId: TG4HC5KVRJ8V4H3T8JQ2HPV4NVVV4KQNSO5AEMVJF66Q9ASUAAJG",
            b"x-amz-crc32: %d" % zlib.crc32(answer),
        )


class ReceiverConnection(_Connection):
    """A POST to a receiver; the path says which kind: `/ok`, `/after-MS`, `/dead`."""

    def __init__(self, taken: list[str]) -> None:
        """Note what arrives in `taken`."""
        self._taken = taken

    def request(self, head: bytes, _body: bytes) -> None:
        """Answer, or do not."""
        path = head.split(b" ", 2)[1].decode()
        if path == "/taken":
            self.write_taken(self._taken)
            return
        self._taken.append(f'["{path}",{time.monotonic_ns()}]')
        kind = path.split("/")[1]
        if kind.startswith("after-"):
            seconds = float(kind.removeprefix("after-")) / 1000
            asyncio.get_running_loop().call_later(seconds, self._accept)
        elif kind == "dead":
            asyncio.get_running_loop().call_later(DEAD_AFTER_SECONDS, self.transport.close)
        else:
            self._accept()

    def _accept(self) -> None:
        self.write(200, b"", b"Connection: close")
        self.transport.close()


async def _serve(role: str, port: int, receivers_port: int) -> None:
    loop = asyncio.get_running_loop()
    if role == "aws":
        aws = Aws(receivers_port)
        servers = [await loop.create_server(lambda: AwsConnection(aws), "127.0.0.1", port)]
    else:
        taken: list[str] = []
        servers = [
            await loop.create_server(lambda: ReceiverConnection(taken), host, port, backlog=1024)
            for host in HOSTS
        ]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[-1])))
