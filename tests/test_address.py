from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meari.address import Address
from meari.errors import AddressError


@pytest.mark.parametrize(
    ("text", "host", "port", "written"),
    [
        ("7007", None, 7007, "tcp://*:7007"),
        ("0", None, 0, "tcp://*:0"),
        (":7007", None, 7007, "tcp://*:7007"),
        ("*:7007", None, 7007, "tcp://*:7007"),
        ("localhost:7007", "localhost", 7007, "tcp://localhost:7007"),
        ("127.0.0.1:65535", "127.0.0.1", 65535, "tcp://127.0.0.1:65535"),
        ("[::1]:7007", "::1", 7007, "tcp://[::1]:7007"),
        ("[fe80::1%eth0]:7007", "fe80::1%eth0", 7007, "tcp://[fe80::1%eth0]:7007"),
        ("tcp://host:1", "host", 1, "tcp://host:1"),
        ("tcp://[::]:1", "::", 1, "tcp://[::]:1"),
        ("메아리.example:7", "메아리.example", 7, "tcp://메아리.example:7"),
    ],
)
def test_reads_what_people_write(text: str, host: str | None, port: int, written: str) -> None:
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert str(address) == written
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "+10",
        "1_0",
        "²",
        "٧٠٠٧",
        "-1",
        "65536",
        "999999",
        "0x10",
        "70 07",
        "7007 ",
        "host",
        "host:",
        "host:+1",
        "host:²",
        "::1:7007",
        "[::1]",
        "[::1]7007",
        "[::1:7007",
        "[host]:7007",
        "udp://host:1",
        "://1",
        "ho st:1",
        "h\x00:1",
        "h\n:1",
    ],
)
def test_refuses_the_rest_in_one_line(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        Address.parse(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_never_fails_in_another_way(text: str) -> None:
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert 0 <= address.port <= 65535
    assert Address.parse(str(address)) == address
