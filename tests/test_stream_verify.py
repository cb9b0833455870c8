"""Faults are named by kind and place, however the bytes are split on their way."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meari import Address
from meari.stream.faults import KINDS, Fault, common
from meari.stream.pattern import Stream
from meari.stream.verify import Verifier
from meari.testing import Lie

from .lies import told

RUN, CONNECTION, TOTAL = 0x12345678, 3, 32768
SENT = Stream(RUN, CONNECTION).read(0, TOTAL)
PEER = Address("127.0.0.1", 1)


def verified(came: bytes, source: random.Random, total: int = TOTAL) -> list[Fault]:
    """What is told of *came*, given in pieces of random lengths."""
    faults: list[Fault] = []
    verifier = Verifier(RUN, CONNECTION, faults.append)
    for _ in range(total // 4096):
        verifier.more()
    most = source.choice((1, 7, 64, 1000, 4096, 65536))
    while came:
        n = source.randint(1, most)
        verifier.receive(came[:n])
        came = came[n:]
    verifier.finish()
    return faults


def of(faults: list[Fault]) -> list[tuple[str, int, int]]:
    return [(fault.kind, fault.offset, fault.length) for fault in faults]


def lie(kind: str, source: random.Random, offset: int = 0) -> tuple[Lie, bytes]:
    """One lie about the stream, and what comes of it."""
    offset = offset or source.randrange(9000, 20_000)
    length = source.choice((source.randint(48, 4096), source.randint(48, 130)))
    if kind in ("drop", "insert", "duplicate") and source.random() < 0.4:
        length = 1
    taken, data = length, SENT[offset:]
    match kind:
        case "flip":
            length = taken = 1
            put = bytes([data[0] ^ 1 << source.randrange(8)])
        case "drop":
            put = b""
        case "insert":
            bytes_beside = (SENT[offset - 1], data[0])
            put = bytes(
                source.choice([b for b in range(256) if b not in bytes_beside])
                for _ in range(length)
            )
            taken = 0
        case "duplicate":
            put = data[:length] * 2
        case "reorder":
            length = taken = max(length, 96)
            middle = source.randint(48, length - 48)
            put = data[middle:length] + data[:middle]
        case "swap":
            put = Stream(RUN, 7).read(source.randrange(TOTAL), length)
        case _:
            start = source.randrange(offset - length - 100)
            put, taken = SENT[start : start + length], 0
    return Lie(kind, CONNECTION, PEER, offset, length, put), SENT[:offset] + put + SENT[
        offset + taken :
    ]


@pytest.mark.parametrize(
    "kind", ["flip", "drop", "insert", "duplicate", "reorder", "swap", "replay"]
)
def test_a_lie_is_named_by_kind_and_place(kind: str) -> None:
    for seed in range(50):
        source = random.Random(f"{kind}/{seed}")
        one, came = lie(kind, source)
        assert of(verified(came, source)) == [told(one, RUN, CONNECTION)], seed


@pytest.mark.parametrize("left", range(1, 25))
def test_what_is_put_in_near_the_end_is_inserted(left: int) -> None:
    source = random.Random(left)
    for _ in range(20):
        told_of, came = lie("insert", source, TOTAL - left)
        assert of(verified(came, source)) == [told(told_of, RUN, CONNECTION)]


@pytest.mark.parametrize("inserted", [False, True])
def test_what_is_of_another_run_is_a_replay(inserted: bool) -> None:
    for seed in range(35):
        source = random.Random(seed)
        length, offset, at = (
            source.randint(48, 4096),
            source.randrange(1 << 30),
            source.randrange(1000, 20_000),
        )
        put = Stream(99, 1).read(offset, length)
        (fault,) = verified(SENT[:at] + put + SENT[at + (0 if inserted else length) :], source)
        assert fault.kind == "replayed"
        assert abs(fault.offset - at) <= 4 and abs(fault.length - length) <= 8
        assert fault.origin is not None and (fault.origin.run, fault.origin.connection) == (99, 1)
        assert abs(fault.origin.offset - offset) <= 4


def test_the_end_is_named_too() -> None:
    source = random.Random(1)
    assert of(verified(SENT[:20_000], source)) == [("truncated", 20_000, TOTAL - 20_000)]
    assert of(verified(SENT + b"more" * 30, source)) == [("excess", TOTAL, 120)]
    assert of(verified(b"", source)) == [("truncated", 0, TOTAL)]
    assert of(verified(SENT, source)) == []
    assert of(verified(SENT[:-5] + bytes([SENT[-5] ^ 2]) + SENT[-4:], source)) == [
        ("flipped", TOTAL - 5, 1)
    ]
    assert of(verified(SENT[:-20] + SENT[-19:], source)) == [("dropped", TOTAL - 20, 1)]


def test_several_faults_are_several_rows() -> None:
    a, b, c = 5000, 9000, 15_000
    came = (
        SENT[:a]
        + SENT[a + 100 : b]
        + b"!" * 500
        + SENT[b:c]
        + Stream(RUN, 9).read(77, 300)
        + SENT[c + 300 :]
    )
    found = verified(came, random.Random(1))
    assert [fault.kind for fault in found] == ["inserted", "foreign", "dropped"] or of(found)[0][
        0
    ] == "dropped"
    assert sorted(fault.kind for fault in found) == ["dropped", "foreign", "inserted"]


def test_a_far_end_that_is_no_echo_is_one_fault_in_bounded_memory() -> None:
    faults: list[Fault] = []
    verifier = Verifier(RUN, CONNECTION, faults.append)
    verifier.more()
    source = random.Random(1)
    for _ in range(300):
        verifier.receive(source.randbytes(10_000))
    case = verifier._classifier.case
    assert case is not None and len(case.data) <= 1 << 17
    verifier.finish()
    assert of(faults) == [("flipped", 0, 4096), ("excess", 4096, 3_000_000 - 4096)]


def test_crossed_connections_are_one_fault_that_grows() -> None:
    faults: list[Fault] = []
    verifier = Verifier(RUN, CONNECTION, faults.append)
    for _ in range(100):
        verifier.more()
    other = Stream(RUN, 8)
    for i in range(90):
        verifier.receive(other.read(i * 4096, 4096))
    verifier.finish()
    assert faults[0].kind == "foreign" and faults[0].length == 90 * 4096


def test_the_bytes_around_a_fault_are_shown() -> None:
    came = SENT[:1000] + bytes([SENT[1000] ^ 16]) + SENT[1001:]
    (fault,) = verified(came, random.Random(1))
    assert fault.detail == f"bit 4: 0x{SENT[1000]:02x} came back as 0x{SENT[1000] ^ 16:02x}"
    assert (
        fault.sent == SENT[fault.shown :][:32]
        and fault.returned[:32] == came[fault.shown :][: len(fault.returned)]
    )
    assert str(fault).startswith("connection 3 at 1,000: 1 byte flipped, bit 4")


@given(st.binary(max_size=300), st.integers(0, 300), st.binary(max_size=10))
def test_common(a: bytes, n: int, more: bytes) -> None:
    b = a[:n] + more
    i = 0
    while i < min(len(a), len(b)) and a[i] == b[i]:
        i += 1
    assert common(a, b) == i


@given(
    st.binary(max_size=300),
    st.integers(1, 20),
    st.integers(0, 8192),
    st.integers(0, 3000),
    st.integers(0, 99),
)
def test_whatever_comes_is_survived_and_told(
    put: bytes, times: int, at: int, taken: int, seed: int
) -> None:
    sent = SENT[:8192]
    came = sent[:at] + put * times + sent[at + taken :]
    faults = verified(came, random.Random(seed), 8192)
    assert bool(faults) == (came != sent)
    assert all(
        fault.kind in KINDS and fault.length > 0 and 0 <= fault.offset <= 8192 for fault in faults
    )
