"""Conditional requests and single ranges (RFC 9110, 13 and 14)."""

from __future__ import annotations

from pathlib import Path

import pytest

from .test_tiny import get, serving


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "hello.txt").write_text("hello, world")
    (tmp_path / "empty").touch()
    return tmp_path


def test_an_unchanged_file_is_not_sent_again(root: Path) -> None:
    with serving(root) as server:
        headers = get(server, "/hello.txt").headers
        etag, modified = headers["etag"], headers["last-modified"]
        for match in (etag, f'"x", W/{etag}', "*"):
            answer = get(server, "/hello.txt", If_None_Match=match)
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
        assert get(server, "/hello.txt", If_Modified_Since=modified).status == 304
        assert (
            get(server, "/hello.txt", If_None_Match='"x"', If_Modified_Since=modified).status == 200
        )
        for since in ("nonsense", "Thu, 01 Jan 1970 00:00:00 GMT"):
            assert get(server, "/hello.txt", If_Modified_Since=since).status == 200
        (root / "hello.txt").write_text("changed")
        assert get(server, "/hello.txt", If_None_Match=etag).body == b"changed"


@pytest.mark.parametrize(
    ("wanted", "status", "body", "unit"),
    [
        ("bytes=0-4", 206, b"hello", "bytes 0-4/12"),
        ("bytes=7-", 206, b"world", "bytes 7-11/12"),
        ("bytes=-5", 206, b"world", "bytes 7-11/12"),
        ("bytes=0-0", 206, b"h", "bytes 0-0/12"),
        ("bytes=11-99999999999999999999", 206, b"d", "bytes 11-11/12"),
        ("bytes=-99", 206, b"hello, world", "bytes 0-11/12"),
        ("Bytes=0-4", 206, b"hello", "bytes 0-4/12"),
        ("bytes=12-", 416, None, "bytes */12"),
        ("bytes=-0", 416, None, "bytes */12"),
        ("bytes=5-4", 200, b"hello, world", None),
        ("bytes=0-1,3-4", 200, b"hello, world", None),
        ("bytes=", 200, b"hello, world", None),
        ("bytes=-", 200, b"hello, world", None),
        ("bytes=a-b", 200, b"hello, world", None),
        ("bytes=+1-2", 200, b"hello, world", None),
        ("lines=0-4", 200, b"hello, world", None),
    ],
)
def test_single_ranges(
    wanted: str, status: int, body: bytes | None, unit: str | None, root: Path
) -> None:
    with serving(root) as server:
        answer = get(server, "/hello.txt", Range=wanted)
        assert answer.status == status and body in (None, answer.body)
        assert answer.headers.get("content-range") == unit


def test_a_range_of_another_version_is_the_whole_file(root: Path) -> None:
    with serving(root) as server:
        etag = get(server, "/hello.txt").headers["etag"]
        assert get(server, "/hello.txt", Range="bytes=0-4", If_Range=etag).status == 206
        assert get(server, "/hello.txt", Range="bytes=0-4", If_Range='"x"').status == 200
        assert get(server, "/empty", Range="bytes=0-").status == 416
