"""A receiver that plays a script: what to send, how to end, which bit to flip on the way."""

import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from tests.receivers.wire import Listener, read_request, reset_when_closed

type End = Literal["close", "reset", "hang"]


@dataclass
class Script:
    """What the receiver does with its next connection."""

    data: bytes = b""
    end: End = "close"
    tls: Literal["no", "raw", "yes"] = "no"
    flip_at: int | None = None  # of the bytes on the wire
    flip: int = 0


class ScriptedReceiver:
    """One thread, one connection at a time: as fast as a fuzz test needs it."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.script = Script()
        self._tls = tls
        self._listener = Listener("127.0.0.1", 0)
        self.port = self._listener.port
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(20)

    def _serve(self) -> None:
        for connection in self._listener.connections():
            with suppress(OSError), connection:  # ssl's errors are OSErrors, too
                connection.settimeout(10)
                self._act(connection, self.script)

    def _act(self, connection: socket.socket, script: Script) -> None:
        if script.tls == "yes":
            self._act_in_tls(connection, script)
        else:
            if script.tls == "no":
                read_request(connection)
            connection.sendall(script.data)
        if script.end == "hang":
            while connection.recv(65536):
                pass
        elif script.end == "reset":
            reset_when_closed(connection)
        elif script.tls != "no":
            # Closed with bytes unread it would be reset, and what was sent be lost.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    def _act_in_tls(self, connection: socket.socket, script: Script) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = self._tls.wrap_bio(incoming, outgoing, server_side=True)
        sent = 0
        request = b""

        def flush() -> None:
            nonlocal sent
            data = bytearray(outgoing.read())
            if script.flip_at is not None and 0 <= script.flip_at - sent < len(data):
                data[script.flip_at - sent] ^= script.flip
            sent += len(data)
            connection.sendall(data)

        shaken = False
        while not request.endswith(b"{}"):
            try:
                if not shaken:
                    secured.do_handshake()
                    shaken = True
                    flush()
                request += secured.read(65536)
            except ssl.SSLWantReadError:
                flush()
                received = connection.recv(65536)
                if not received:
                    return
                incoming.write(received)
        secured.write(script.data)
        flush()
