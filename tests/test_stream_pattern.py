"""The keyed stream: any byte from nothing, and its origin from any 31."""

from __future__ import annotations

import random

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from meari.stream.pattern import KEY, SURE, Origin, Stream, find, origin

numbers = st.integers(0, 2**32 - 1)
offsets = st.integers(0, 2**40)


@given(numbers, numbers, offsets, st.integers(0, 100_000), st.integers(0, 300))
def test_a_byte_is_what_it_is_wherever_reading_began(
    run: int, connection: int, offset: int, skip: int, n: int
) -> None:
    whole = Stream(run, connection).read(offset, skip + n)
    stream = Stream(run, connection)
    assert stream.read(offset + skip, n) == whole[skip:]
    assert stream.read(offset, skip) == whole[:skip]  # backwards, and then on from there
    assert stream.read(offset + skip, n) == whole[skip:]
    buffer = bytearray(n)
    Stream(run, connection).read_into(offset + skip, buffer)
    assert buffer == whole[skip:]


def test_the_stream_is_what_the_docstring_says() -> None:
    counter = (
        b"m"
        + bytes.fromhex("01020304")
        + bytes.fromhex("0a0b0c0d")
        + b"\1"
        + (7).to_bytes(6, "big")
    )
    block = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor().update(counter)
    assert Stream(0x01020304, 0x0A0B0C0D, 1).read(7 * 16, 16) == block
    assert origin(block) == Origin(0x01020304, 0x0A0B0C0D, 1, 7 * 16)


@given(numbers, numbers, offsets, st.binary(max_size=40), st.integers(0, 2**32 - 1))
def test_any_31_bytes_name_their_origin(
    run: int, connection: int, offset: int, before: bytes, own: int
) -> None:
    data = before + Stream(run, connection).read(offset, SURE)
    found = find(data, 0, own)
    assert found is not None
    place, named = found
    assert named.moved(len(before) - place) == Origin(run, connection, 0, offset)


def test_bytes_of_nobody_name_nobody() -> None:
    assert find(random.Random(1).randbytes(1 << 20), 0, 1) is None
    assert find(b"", 0, 1) is None
    assert find(bytes(1000), 0, 1) is None
