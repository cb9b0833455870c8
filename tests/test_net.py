from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time

import pytest

from meari import ConnectError, Listener, ListenError, listeners, net, open_client, open_listeners
from meari.cli.holders import holders
from meari.errors import CapacityError
from meari.sockets import free_port, half_open


def close(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()


def has_ipv6() -> bool:
    try:
        close(open_listeners("[::1]:0"))
    except ListenError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="the kernel has no IPv6")


@needs_ipv6
def test_a_port_alone_is_every_interface_of_both_families() -> None:
    opened = open_listeners("0")
    assert {listener.address.host for listener in opened} == {"0.0.0.0", "::"}
    assert len({listener.address.port for listener in opened}) == 1
    for listener in opened:
        assert listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert not os.get_inheritable(listener.fileno())
        if listener.sock.family == socket.AF_INET6:
            assert listener.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, opened[0].address.port)).close()
    close(opened)


def test_one_family_can_be_asked_for() -> None:
    opened = open_listeners("0", family=socket.AF_INET)
    assert [listener.address.host for listener in opened] == ["0.0.0.0"]
    close(opened)


class Lacking(net.Kernel):
    """A machine without some family."""

    def __init__(self, *lacking: int) -> None:
        self.lacking = lacking

    def open(self, family: int, kind: int, protocol: int) -> socket.socket:
        if family in self.lacking:
            raise OSError(errno.EAFNOSUPPORT, "no such family")
        return super().open(family, kind, protocol)


def test_on_a_wildcard_a_family_that_is_lacking_is_skipped_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listeners, "kernel", Lacking(socket.AF_INET6))
    told: list[str] = []
    opened = open_listeners("0", report=told.append)
    assert [listener.address.host for listener in opened] == ["0.0.0.0"]
    assert "::" in told[0]
    close(opened)
    with pytest.raises(ListenError):
        open_listeners("[::1]:0")
    monkeypatch.setattr(listeners, "kernel", Lacking(socket.AF_INET, socket.AF_INET6))
    with pytest.raises(ListenError):
        open_listeners("0")


@needs_ipv6
def test_another_failure_closes_what_was_opened() -> None:
    (taken,) = open_listeners("[::]:0")
    with pytest.raises(ListenError) as caught:
        open_listeners(str(taken.address.port))  # 0.0.0.0 is free, :: is not
    assert caught.value.errno == errno.EADDRINUSE
    assert str(taken.address.port) in str(caught.value)
    close(open_listeners(f"0.0.0.0:{taken.address.port}"))
    taken.close()


def test_who_holds_a_port_is_found() -> None:
    (listener,) = open_listeners("127.0.0.1:0")
    assert os.getpid() in [pid for pid, _ in holders(listener.address.port)]
    listener.close()
    assert holders(listener.address.port) == []


def test_a_shared_port_is_in_use_for_everybody_else_and_each_has_a_queue() -> None:
    (first,) = open_listeners("127.0.0.1:0")
    group = listeners.share(first, 3)
    with pytest.raises(ListenError):
        open_listeners(str(first.address))
    clients = [socket.create_connection(("127.0.0.1", first.address.port)) for _ in range(60)]
    queues = [listener.queue() for listener in group]
    assert sum(queues) == 60
    assert all(queues)
    for client in clients:
        client.close()
    close(group)


def test_accepting_sets_no_delay_and_tells_the_peer() -> None:
    (listener,) = open_listeners("127.0.0.1:0")
    assert listener.accept() is None
    with socket.create_connection(("127.0.0.1", listener.address.port)) as client:
        accepted = listener.accept()
        assert accepted is not None
        sock, peer = accepted
        assert (peer.host, peer.port) == client.getsockname()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        sock.close()
    listener.close()


class Failing(net.Kernel):
    """accept fails as told, and then works."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)

    def accept(self, listener: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept(listener)


def test_what_is_wrong_with_one_connection_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    (listener,) = open_listeners("127.0.0.1:0")
    monkeypatch.setattr(
        listeners, "kernel", Failing(errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN)
    )
    assert listener.accept() is None
    for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
        monkeypatch.setattr(listeners, "kernel", Failing(number))
        with pytest.raises(CapacityError):
            listener.accept()
    monkeypatch.setattr(listeners, "kernel", Failing(errno.EINVAL))
    with pytest.raises(OSError, match="Invalid argument"):
        listener.accept()
    listener.close()


def test_a_client_connects_and_has_a_rio() -> None:
    (listener,) = open_listeners("127.0.0.1:0")
    with open_client(str(listener.address)) as rio:
        assert rio.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert rio.sock.gettimeout() is None
        accepted = listener.accept()
        assert accepted is not None
        accepted[0].sendall(b"hello\n")
        assert rio.readline() == b"hello\n"
        accepted[0].close()
    listener.close()


def test_each_address_is_tried_and_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()

    def both(*_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host in ("127.0.0.1", "127.0.0.2")
        ]

    monkeypatch.setattr(net.kernel, "getaddrinfo", both)
    with pytest.raises(ConnectError) as caught:
        open_client(f"localhost:{port}", timeout=5)
    assert len(caught.value.reasons) == 2
    assert "127.0.0.2" in caught.value.reasons[1]
    assert "refused" in caught.value.reasons[1]
    with socket.create_server(("127.0.0.2", port)):  # the second of them answers
        open_client(f"localhost:{port}").close()


def test_an_address_that_does_not_answer_takes_its_share_of_the_time() -> None:
    with socket.socket() as full:  # a queue of length 0, filled: the next SYN is dropped
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        held = [socket.socket() for _ in range(3)]
        for sock in held:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        began = time.monotonic()
        with pytest.raises(ConnectError, match="no answer within"):
            open_client(f"127.0.0.1:{full.getsockname()[1]}", timeout=0.3)
        assert 0.2 < time.monotonic() - began < 3
        for sock in held:
            sock.close()


@pytest.mark.parametrize("host", ["nosuch.invalid", "a..b", "x" * 300])
def test_a_name_that_is_not_known(host: str) -> None:
    with pytest.raises(ConnectError):
        open_client(f"{host}:7007", timeout=5)
    with pytest.raises(ListenError):
        open_listeners(f"{host}:7007")


def test_a_connection_to_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()

    class Meeting(net.Kernel):
        """Our end gets the very port that is called, as it may when that lies in the ephemeral
        range.
        """

        def open(self, family: int, kind: int, protocol: int) -> socket.socket:
            sock = super().open(family, kind, protocol)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            return sock

    monkeypatch.setattr(net, "kernel", Meeting())
    with pytest.raises(ConnectError, match="refused"):
        open_client(f"127.0.0.1:{port}")


def test_a_reset_in_the_queue_harms_nobody() -> None:
    (listener,) = open_listeners("127.0.0.1:0")
    gone = socket.create_connection(("127.0.0.1", listener.address.port))
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()
    taken = threading.Event()
    with socket.create_connection(("127.0.0.1", listener.address.port)) as client:
        for _ in range(2):
            accepted = listener.accept()
            if accepted is not None:
                if accepted[1].port == client.getsockname()[1]:
                    taken.set()
                accepted[0].close()
    assert taken.is_set()
    listener.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_handshake_that_is_not_finished_is_seen(host: str) -> None:
    """With TCP_DEFER_ACCEPT a connection stays in SYN_RECV until its first data (tcp(7))."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
        port = listener.getsockname()[1]
        assert not half_open(family, port)
        with socket.create_connection((host, port)) as sock:
            assert half_open(family, port)
            sock.send(b"x")
            listener.accept()[0].close()
            assert not half_open(family, port)
