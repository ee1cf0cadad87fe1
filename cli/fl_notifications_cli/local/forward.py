"""Forwards connections: a container reaches the emulator, which listens on 127.0.0.1 only."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65_536


@contextmanager
def forwarding(listen_on: str, port: int) -> Iterator[bool]:
    """Forward connections from an address of this machine to 127.0.0.1, at the same port.

    Args:
        listen_on: the address. Only who reaches it gets through: for Docker's bridge, containers.
        port: the port on both sides.

    Yields:
        Whether it does: False if the address is not this machine's.
    """
    try:
        server = socket.create_server((listen_on, port))
    except OSError:
        yield False
        return
    threading.Thread(target=_accept, args=(server, port), daemon=True).start()
    try:
        yield True
    finally:
        with suppress(OSError):  # wakes the thread that accepts
            server.shutdown(socket.SHUT_RDWR)
        server.close()


def _accept(server: socket.socket, port: int) -> None:
    with suppress(OSError):  # closed
        while True:
            near, _ = server.accept()
            threading.Thread(target=_serve, args=(near, port), daemon=True).start()


def _serve(near: socket.socket, port: int) -> None:
    with near, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as far:
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far)
        back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):  # one side went away
        while chunk := source.recv(_CHUNK):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
