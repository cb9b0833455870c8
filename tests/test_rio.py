"""Rio against a plain model: whatever way the bytes are split on the wire, each call returns the
same.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meari import DeadlineError, IncompleteRead, Rio, Stop, Stopped

Pair = tuple[socket.socket, socket.socket]


class Model:
    """What Rio promises, on bytes that are all there."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def take(self, n: int) -> bytes:
        data, self.left = self.left[:n], self.left[n:]
        return data

    def readline(self, limit: int) -> bytes:
        newline = self.left.find(b"\n", 0, limit)
        return self.take(newline + 1 if newline >= 0 else limit)


class Pieces:
    """A socket whose recv gives one piece after another, as the network might."""

    def __init__(self, pieces: list[bytes], error: Exception | None = None) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.error = error

    def gettimeout(self) -> None:
        """It blocks."""

    def setblocking(self, _: bool) -> None:
        pass

    def recv(self, size: int, _: int = 0) -> bytes:
        if not self.pieces:
            if self.error is not None:
                raise self.error
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]

    def close(self) -> None:
        pass


BYTES = st.lists(st.sampled_from([b"a", b"\n", b"\0", b"\r\n", b"word", b"\xff"]), max_size=40).map(
    b"".join
)
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("readn"), st.integers(0, 12)),
        st.tuples(st.just("readnb"), st.integers(0, 12)),
        st.tuples(st.just("readexactly"), st.integers(0, 12)),
        st.tuples(st.just("readline"), st.integers(1, 12)),
        st.tuples(st.just("read"), st.integers(1, 12)),
    ),
    max_size=20,
)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=500)
@given(BYTES, st.lists(st.integers(0, 200), max_size=12), CALLS)
def test_every_call_is_the_model_under_every_split(
    data: bytes, cuts: list[int], calls: list[tuple[str, int]]
) -> None:
    rio = Rio(Pieces(split(data, cuts)))  # type: ignore[arg-type]
    model = Model(data)
    for name, n in calls:
        if name == "readline":
            assert rio.readline(n) == model.readline(n)
        elif name == "read":
            got = rio.read(n)
            assert got == model.take(len(got))
            assert bool(got) == bool(got + model.left)  # b"" is the end of file and nothing else
            assert len(got) <= n
        elif name == "readexactly" and len(model.left) < n:
            with pytest.raises(IncompleteRead) as caught:
                rio.readexactly(n)
            assert (caught.value.partial, caught.value.expected) == (model.take(n), n)
        else:
            assert getattr(rio, name)(n) == model.take(n)
    assert b"".join(rio) == model.left


@settings(max_examples=200)
@given(BYTES, st.lists(st.integers(0, 200), max_size=12), CALLS)
def test_a_reset_loses_nothing_that_came_before_it(
    data: bytes, cuts: list[int], calls: list[tuple[str, int]]
) -> None:
    rio = Rio(Pieces(split(data, cuts), ConnectionResetError()))  # type: ignore[arg-type]
    got = b""
    for name, n in calls:
        try:
            got += getattr(rio, name)(n)
        except ConnectionResetError:
            continue
    while True:
        try:
            got += rio.read(1)
        except ConnectionResetError:
            break
    assert got == data


def test_a_limit_of_one_is_not_the_end_of_file() -> None:
    rio = Rio(Pieces([b"ab\n"]))  # type: ignore[arg-type]
    assert [rio.readline(1), rio.readline(1), rio.readline(1), rio.readline(1)] == [
        b"a",
        b"b",
        b"\n",
        b"",
    ]
    with pytest.raises(ValueError, match="at least 1"):
        rio.readline(0)
    with pytest.raises(ValueError, match="at least 1"):
        rio.read(0)


def test_a_long_line_comes_in_pieces() -> None:
    line = b"x" * 20000 + b"\n"
    rio = Rio(Pieces([line]))  # type: ignore[arg-type]
    assert [len(piece) for piece in rio] == [8192, 8192, 3617]


@pytest.mark.parametrize(
    "call", [lambda r: r.readn(10), lambda r: r.readline(), lambda r: r.readexactly(10)]
)
def test_a_deadline_leaves_what_came(pair: Pair, call: Callable[[Rio], bytes]) -> None:
    near, far = pair
    far.sendall(b"half")
    rio = Rio(near, deadline=time.monotonic() + 0.05)
    with pytest.raises(DeadlineError):
        call(rio)
    far.sendall(b" and half\n")
    rio.deadline = time.monotonic() + 5
    assert rio.readline() == b"half and half\n"


def test_a_deadline_holds_against_a_peer_that_trickles(pair: Pair) -> None:
    near, far = pair
    over = threading.Event()

    def trickle() -> None:
        while not over.wait(0.001):
            far.send(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    began = time.monotonic()
    with pytest.raises(DeadlineError):
        Rio(near, deadline=began + 0.1).readn(1 << 30)
    over.set()
    thread.join()
    assert time.monotonic() - began < 2


def test_a_deadline_ends_a_write_that_nobody_reads(pair: Pair) -> None:
    with pytest.raises(DeadlineError):
        Rio(pair[0], deadline=time.monotonic() + 0.05).writen(bytes(64 << 20))


@pytest.mark.parametrize("call", [lambda r: r.read(), lambda r: r.writen(bytes(64 << 20))])
def test_a_stop_ends_every_wait(pair: Pair, stop: Stop, call: Callable[[Rio], object]) -> None:
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    with pytest.raises(Stopped):
        call(Rio(pair[0], stop=stop))
    timer.join()


def test_a_stop_leaves_what_came(pair: Pair, stop: Stop) -> None:
    near, far = pair
    rio = Rio(near, stop=stop)
    far.sendall(b"a line\nhalf")
    assert rio.readline() == b"a line\n"
    stop.set()
    with pytest.raises(Stopped):
        rio.readline()
    rio.stop = None
    far.shutdown(socket.SHUT_WR)
    assert rio.readline() == b"half"


@pytest.mark.parametrize("patient", [False, True])
def test_writen_goes_on_until_all_is_written(pair: Pair, patient: bool) -> None:
    near, far = pair
    data = bytes(range(256)) * 40_000  # 10 MB: more than the kernel's buffers hold
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Rio(far).readn(len(data))))
    reader.start()
    with Rio(near, deadline=time.monotonic() + 60 if patient else None) as rio:
        # Lengths are in bytes, whatever the view's items are.
        rio.writen(memoryview(data).cast("H"))
    reader.join()
    assert got == [data]


def test_shutdown_is_an_end_of_file_and_reading_goes_on(pair: Pair) -> None:
    near, far = Rio(pair[0]), Rio(pair[1])
    near.writen(b"last words")
    near.shutdown()
    assert far.readn(100) == b"last words"
    far.writen(b"heard")
    far.close()
    assert near.readn(100) == b"heard"
    assert near.read() == b""
    near.shutdown()  # on a connection that is gone: no error
    near.close()
    near.close()


def test_abort_is_a_reset(pair: Pair) -> None:
    near, far = Rio(pair[0]), Rio(pair[1])
    near.abort()
    with pytest.raises(ConnectionResetError):
        far.read()
    near.abort()
