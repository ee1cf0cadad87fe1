import socket
import threading

from fl_notifications_cli.local.forward import forwarding


def test_what_is_sent_to_one_address_arrives_at_the_other_and_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def echo() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(connection.recv(100).upper())

        echoing = threading.Thread(target=echo)
        echoing.start()
        with (
            forwarding("127.0.0.2", port) as forwarded,
            socket.create_connection(("127.0.0.2", port), 10) as client,
        ):
            client.sendall(b"hello")
            answer = client.recv(100)
        echoing.join(10)

    assert forwarded
    assert answer == b"HELLO"


def test_an_address_of_another_machine_is_not_forwarded() -> None:
    with forwarding("192.0.2.1", 1) as forwarded:
        assert not forwarded
