"""A result as text and as a page: what it says, and what a browser makes of it."""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
import zlib
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from meari.client.plan import Plan
from meari.client.results import Result
from meari.client.tally import Count
from meari.report import text
from meari.report.html import nice, page
from meari.stream.faults import Fault


def result(
    *,
    rate: float | None = 1000.0,
    faults: int = 2,
    intervals: int = 5,
    address: str = "tcp://far:7",
) -> Result:
    """One that was never run."""
    source = random.Random(1)
    found = Result(
        Plan(address, connections=4, rate=rate), 0xABCDEF, "2026-01-02T03:04:05+00:00", address
    )
    for i in range(intervals):
        count = Count(messages=1000, bytes=64_000, opened=4, busy=0.3, due=1000, until=i + 1.0)
        for name in ("round_trip", "from_due", "lag"):
            count.times[name].add(int(source.lognormvariate(11, 0.5)) for _ in range(1000))
        if i == 2:
            for n in range(faults):
                count.kinds["dropped"] += 1
                count.faults.append(
                    Fault(
                        "dropped", n, 123_456, 512, "<b>&", None, 123_448, b"sent" * 8, b"came" * 8
                    )
                )
        found.add(count)
    return found


class Page(HTMLParser):
    """Checks that what is opened is closed, and keeps what there is."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("rate", [None, 1000.0])
def test_the_page_says_it_all_and_needs_nothing(rate: float | None) -> None:
    found = Page(page(result(rate=rate)))
    names = [tag for tag, _ in found.tags]
    assert "script" not in names and "img" not in names and names.count("svg") >= 3
    for _, attributes in found.tags:
        assert not {"src", "onclick", "onload"} & set(attributes)
        assert (attributes.get("href") or "data:").startswith("data:")
    assert (
        "meta",
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
    ) in found.tags
    for word in (
        "1,000",
        "p99.9",
        "Latency by percentile",
        "Rate over time",
        "Latency over time",
        "How it was run",
        "123,456",
        "00abcdef",
    ):
        assert word in found.text, word
    assert ("from when it was due" in found.text) is (rate is not None)


def test_what_others_chose_is_escaped() -> None:
    content = page(result(address="tcp://<script>alert(1)</script>:7"))
    assert "<script" not in content and "&lt;b&gt;&amp;" in content
    Page(content)


@pytest.mark.parametrize("intervals", [0, 1])
def test_a_short_run_has_a_page_too(intervals: int) -> None:
    Page(page(result(intervals=intervals, faults=0)))
    assert list(text.lines(result(intervals=intervals, faults=0)))


def test_a_result_does_not_grow_with_the_run() -> None:
    found = Result(Plan("x"), 1, "", "x")
    for i in range(5000):
        found.add(Count(messages=i, until=i + 1.0))
    assert 100 <= len(found.points) <= 240
    assert (
        sum(point.count.messages for point in found.points)
        == found.count.messages
        == sum(range(5000))
    )
    assert sum(point.seconds for point in found.points) == 5000
    assert all(
        one.at + one.seconds == other.at
        for one, other in zip(found.points, found.points[1:], strict=False)
    )


def test_numbers_are_told_with_three_digits_or_so() -> None:
    assert [text.duration(n) for n in (0, 950, 58_123, 580_000, 2_310_000, 31_000_000, 1.5e9)] == [
        "0.00 us", "0.95 us", "58.1 us", "580 us", "2.31 ms", "31.0 ms", "1.50 s"
    ]  # fmt: skip
    assert nice(1.0) == pytest.approx([0, 0.25, 0.5, 0.75, 1.0]) and nice(7) == [0, 2, 4, 6, 8]


def test_the_text_has_a_table_of_faults() -> None:
    lines = list(text.lines(result(faults=13)))
    assert "  faults       13 dropped" in lines
    assert "    connection 0 at 123,456: 512 bytes dropped, <b>&" in lines
    assert "      sent      73 65 6e 74" in "\n".join(lines)
    assert lines[-1] == "    ... and 3 more"
    assert "  faults       none: every byte came back as it was sent" in list(
        text.lines(result(faults=0))
    )


# In a browser


def pixels(path: Path) -> list[bytes]:
    """The rows of an 8-bit RGB or RGBA PNG, unfiltered (PNG, 9): three bytes a pixel."""
    data = path.read_bytes()
    at, packed, width, depth = 8, b"", 0, 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + size]
        at += 12 + size
        if kind == b"IHDR":
            width, _, _, colour = struct.unpack_from(">IIBB", body)
            depth = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            packed += body
    raw, rows, above = zlib.decompress(packed), [], bytearray(width * depth)
    for start in range(0, len(raw), width * depth + 1):
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + width * depth])
        for i in range(len(row)):
            left, up, corner = (
                row[i - depth] if i >= depth else 0,
                above[i],
                above[i - depth] if i >= depth else 0,
            )
            if kind == 1:
                row[i] = (row[i] + left) & 255
            elif kind == 2:
                row[i] = (row[i] + up) & 255
            elif kind == 3:
                row[i] = (row[i] + (left + up) // 2) & 255
            elif kind == 4:
                estimate = left + up - corner
                near = min((left, up, corner), key=lambda value: abs(estimate - value))
                row[i] = (row[i] + near) & 255
        above = row
        rows.append(b"".join(bytes(row[i : i + 3]) for i in range(0, len(row), depth)))
    return rows


def drawn(rows: list[bytes]) -> int:
    """In how many columns of a screenshot there is something of a curve's blue."""
    return len(
        {at // 3 for row in rows for at in range(0, len(row), 3) if row[at + 2] - row[at] > 60}
    )


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.skipif(
    shutil.which("chromium") is None, reason="chromium is not installed: apt-get install chromium"
)
@pytest.mark.parametrize("scripts", ["on", "off"])
@pytest.mark.parametrize(("width", "dark"), [(900, False), (390, False), (900, True)])
def test_in_chromium(tmp_path: Path, scripts: str, width: int, dark: bool) -> None:
    """No error on the console, the curve is drawn, scripts or none, on a phone, in the dark."""
    (tmp_path / "page.html").write_text(page(result()))
    # In the frame itself: another file might be loaded only after the picture is taken.
    inside = escape(page(result()))
    # Runs no script.
    frame = (
        f'<iframe sandbox srcdoc="{inside}" style="position:fixed;inset:0;width:100%;height:100%;'
        'border:0"></iframe>'
    )
    (tmp_path / "frame.html").write_text(
        '<!doctype html><html style="color-scheme:light dark"><link rel="icon" '
        f'href="data:,">{frame}'
    )
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--enable-logging=stderr", "--v=0",
        "--virtual-time-budget=3000",
        f"--user-data-dir={tmp_path}/profile", f"--window-size={width},1400",
        f"--screenshot={tmp_path}/shot.png",
        *(["--blink-settings=preferredColorScheme=0"] if dark else []),
        f"file://{tmp_path}/{'page' if scripts == 'on' else 'frame'}.html",
    ]  # fmt: skip
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, timeout=60, check=True)
        assert not re.search(rb"CONSOLE|Refused to|Failed to load", done.stderr), (
            done.stderr.decode()
        )
        rows = pixels(tmp_path / "shot.png")
        # On a busy machine the picture may be taken before anything is painted.
        if len(set(rows)) > 1:
            break
    assert drawn(rows) > len(rows[0]) / 3 * 0.6
    assert (sum(rows[-1][:3]) < 200) is dark
