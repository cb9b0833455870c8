"""Requests are the same under every split; malformed ones are rejected, each with its status."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meari.wire.http import RequestParser
from meari.wire.request import END, HttpError, Item, Request


def parsed(*pieces: bytes) -> list[Item]:
    """The items, neighbouring pieces of a body joined."""
    parser, found = RequestParser(), list[Item]()
    for piece in pieces:
        for item in parser.feed(piece):
            if isinstance(item, bytes) and found and isinstance(found[-1], bytes):
                found[-1] += item
            else:
                found.append(item)
    return found


def plain(items: list[Item]) -> list[object]:
    return [item.status if isinstance(item, HttpError) else item for item in items]


POST = b"POST /a?b HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"


def test_a_request_is_kept_as_it_was_received() -> None:
    head = b"GET /%2e/?a=B HTTP/1.1\r\nhOST: x\r\nX-A: 1\r\nx-a:  2 \r\nEmpty:\r\n\r\n"
    request, end = parsed(head)
    assert isinstance(request, Request) and end is END
    assert (request.method, request.target, request.version) == ("GET", "/%2e/?a=B", "1.1")
    headers = [(b"hOST", b"x"), (b"X-A", b"1"), (b"x-a", b"2 "), (b"Empty", b"")]
    assert request.headers == headers and request.values(b"x-a") == [b"1", b"2"]
    assert request.keep_alive


def test_bodies_and_trailers() -> None:
    request, body, end = parsed(POST + b"Content-Length: 5\r\n\r\nhello")
    assert body == b"hello" and end is END
    request, body, _ = parsed(CHUNKED + b"3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nT: 1\r\n\r\n")
    assert isinstance(request, Request) and body == b"hello"
    assert request.trailers == [(b"T", b"1")] and b"T" not in dict(request.headers)


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_whether_the_connection_stays(head: bytes, stays: bool) -> None:
    (request, _) = parsed(head)
    assert isinstance(request, Request) and request.keep_alive is stays


def test_an_upgrade_is_not_taken() -> None:
    upgrade = GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert [type(item) for item in parsed(upgrade * 2000)] == [Request, type(END)] * 2000


MANY = GET + b"\r\n" + CHUNKED + b"5\r\nhello\r\n0\r\nT: 1\r\n\r\n" + POST
MANY += b"Content-Length: 3\r\n\r\nabc" + b"\r\n" + GET + b"\r\nnonsense\r\n\r\n"


@given(st.lists(st.integers(0, len(MANY)), max_size=20))
def test_every_split_gives_the_same(places: list[int]) -> None:
    places = [0, *sorted(places), len(MANY)]
    pieces = [MANY[a:b] for a, b in itertools.pairwise(places)]
    assert plain(parsed(*pieces)) == plain(parsed(MANY))


def test_byte_by_byte() -> None:
    one = plain(parsed(MANY))
    assert plain(parsed(*(MANY[i : i + 1] for i in range(len(MANY))))) == one
    assert [type(item) for item in one].count(Request) == 4 and one[-1] in (400, 501)


def test_it_is_known_whether_a_request_has_begun() -> None:
    parser = RequestParser()
    assert not parser.started
    parser.feed(b"G")
    assert parser.started
    parser.feed(GET[1:] + b"\r\n")
    assert not parser.started
    parser.feed(GET + b"\r\n" + GET)  # the second is not complete
    assert parser.started
    parser.feed(b"\r\n")
    assert not parser.started
    parser.feed(b"\r\n")  # a blank line begins no request (RFC 9112, 2.2)
    assert not parser.started


REJECTED = {
    "both lengths": (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunked, then a length": (CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    "the same length twice": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    "a list of lengths": (POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    "a length with a sign": (POST + b"Content-Length: +5\r\n\r\nhello", 400),
    "a hexadecimal length": (POST + b"Content-Length: 0x5\r\n\r\nhello", 400),
    "a negative length": (POST + b"Content-Length: -5\r\n\r\nhello", 400),
    "a length over 64 bits": (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
    "no length": (POST + b"Content-Length: \r\n\r\nhello", 400),
    "a length with a space": (POST + b"Content-Length: 5 5\r\n\r\nhello", 400),
    "whitespace before the colon": (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "a tab before the colon": (b"GET / HTTP/1.1\r\nHost\t: x\r\n\r\n", 400),
    "a coding before a space": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "an unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "chunked not last": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", 400),
    "chunked, chunked": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "a coding in quotes": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501),
    "a coding in 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a vertical tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "a folded header": (GET + b"A: b\r\n c\r\n\r\n", 400),
    "a bare LF": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "a bare LF after a header": (b"GET / HTTP/1.1\r\nHost: x\n\r\n", 400),
    "a bare CR": (GET + b"A: b\rc\r\n\r\n", 400),
    "a CR at the end": (GET + b"A: b\r\r\n\r\n", 400),
    "NUL in a value": (GET + b"A: b\0c\r\n\r\n", 400),
    "NUL in a name": (GET + b"A\0: b\r\n\r\n", 400),
    "a control character": (GET + b"A: b\x01c\r\n\r\n", 400),
    "no colon": (GET + b"Abc\r\n\r\n", 400),
    "no name": (GET + b": b\r\n\r\n", 400),
    "a space in a name": (GET + b"A b: c\r\n\r\n", 400),
    "a bracket in a name": (GET + b"A[b]: c\r\n\r\n", 400),
    "a name beyond ASCII": (GET + b"A\xe4: c\r\n\r\n", 400),
    "a space first": (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "the same host twice": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
    "two hosts in 1.0": (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "a host with a space": (b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400),
    "a host with a path": (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    "a host with a user": (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    "a list of hosts": (b"GET / HTTP/1.1\r\nHost: x,y\r\n\r\n", 400),
    "1.2": (b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505),
    "2.0": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "0.9": (b"GET /\r\n\r\n", 505),
    "3": (b"GET / HTTP/3\r\nHost: x\r\n\r\n", 400),
    "11": (b"GET / HTTP/11\r\nHost: x\r\n\r\n", 400),
    "lower case": (b"GET / http/1.1\r\nHost: x\r\n\r\n", 400),
    "another protocol": (b"GET / HTTPS/1.1\r\nHost: x\r\n\r\n", 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
    "a tab for a space": (b"GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n", None),
    "a method in lower case": (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    "an unknown method": (b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    "a bracket in the method": (b"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    "no method": (b" / HTTP/1.1\r\nHost: x\r\n\r\n", None),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a target beyond ASCII": (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a fragment": (b"GET /#a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no target": (b"GET  HTTP/1.1\r\nHost: x\r\n\r\n", None),
    "a word too many": (b"GET / x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a chunk with 0x": (CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    "a negative chunk": (CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", 400),
    "a chunk with a sign": (CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n", 400),
    "a chunk with a space": (CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n", 400),
    "a space before a chunk": (CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n", 400),
    "a chunk with _": (CHUNKED + b"1_0\r\nhello\r\n0\r\n\r\n", 400),
    "a chunk over 64 bits": (CHUNKED + b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n", 400),
    "a chunk without a size": (CHUNKED + b"\r\nhello\r\n0\r\n\r\n", 400),
    "a chunk's bare LF": (CHUNKED + b"5\nhello\r\n0\r\n\r\n", 400),
    "a chunk that is longer": (CHUNKED + b"5\r\nhelloX0\r\n\r\n", 400),
    "a bare LF after a chunk": (CHUNKED + b"5\r\nhello\n0\r\n\r\n", 400),
    "an extension's bare LF": (CHUNKED + b"5;\nxx\r\nhello\r\n0\r\n\r\n", 400),
    "an extension's bare CR": (CHUNKED + b"5;a\rb\r\nhello\r\n0\r\n\r\n", 400),
    "a malformed trailer": (CHUNKED + b"0\r\nA b: c\r\n\r\n", 400),
    "a long target": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a long header": (GET + b"A: " + b"b" * 17_000 + b"\r\n\r\n", 431),
    "a header without an end": (GET + b"A: " + b"b" * 70_000, 431),
    "many headers": (GET + b"A: b\r\n" * 101 + b"\r\n", 431),
    "many trailers": (CHUNKED + b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", None),
    "nothing but LF": (b"\n\n\n\nx\n\n", None),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_is_rejected(name: str) -> None:
    data, status = REJECTED[name]
    bytewise = [data[i : i + 1] for i in range(len(data))]
    for pieces in ([data], bytewise) if len(data) < 20_000 else ([data],):
        items = parsed(*pieces)
        assert END not in items or "trailer" not in name
        assert items and isinstance(items[-1], HttpError), items
        assert status is None or items[-1].status == status, items[-1]
        assert items.count(END) == 0
    parser = RequestParser()
    parser.feed(data)
    assert parser.feed(GET + b"\r\n") == []  # nothing after an error is served


@pytest.mark.parametrize(
    "begin",
    [b"", GET, GET + b"A: ", CHUNKED, CHUNKED + b"5;", CHUNKED + b"0\r\n", CHUNKED + b"0\r\nT: "],
)
def test_what_has_no_end_is_bounded(begin: bytes) -> None:
    parser, taken = RequestParser(), 0
    parser.feed(begin)
    while not any(isinstance(item, HttpError) for item in parser.feed(b"a" * 8192)):
        taken += 8192
        assert taken <= 65536 + 8192
