"""Tiny under a browser that plays a video, and under wrk."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from .browser import Browser
from .middleboxes import need
from .program import Serving, until

pytestmark = pytest.mark.long
PAGE = "<!doctype html><meta charset=utf-8><title>video</title><link rel=icon href=data:,>"


def test_a_browser_plays_a_video_and_seeks_in_it(tmp_path: Path) -> None:
    """It requests ranges, and drops connections when it has enough: that harms nobody."""
    need("chromium", "ffmpeg")
    root = tmp_path / "root"
    root.mkdir()
    video = "testsrc2=size=320x240:rate=10:duration=60"
    made = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", video, "-c:v", "libvpx", "-b:v", "2M"]
    fast = ["-deadline", "realtime", "-cpu-used", "8", str(root / "video.webm")]
    subprocess.run([*made, *fast], check=True, timeout=100)
    assert (root / "video.webm").stat().st_size > 1 << 20
    (root / "index.html").write_text(f"{PAGE}<video src=video.webm muted></video>")
    with Serving(command=["tiny", str(root)]) as server:
        with Browser(tmp_path, 800, 600) as browser:
            browser.open(f"http://127.0.0.1:{server.port}/")
            browser.run("window.v = document.querySelector('video'); v.play()")
            until(lambda: browser.run("v.currentTime") > 0.2, 30)
            for place in (50, 10, 30):
                browser.run(f"v.currentTime = {place}")
                until(lambda: not browser.run("v.seeking") and browser.run("v.readyState") >= 2, 30)
                until(lambda at=place: browser.run("v.currentTime") > at, 30)  # type: ignore[misc]
            browser.run("v.src = ''; v.load()")  # leave it in the middle
            assert browser.run("v.error === null || v.error.code === 4")
        server.wait_for(r'"GET /video.webm HTTP/1.1" 206')
        done = subprocess.run(
            ["curl", "-s", f"http://127.0.0.1:{server.port}/"], capture_output=True, timeout=20
        )
        assert b"<video" in done.stdout
        server.process.send_signal(signal.SIGTERM)
        assert server.finish() == 0


@pytest.mark.parametrize("engine", ["event", "thread"])
def test_wrk_finds_every_answer_good(engine: str, tmp_path: Path) -> None:
    need("wrk")
    (tmp_path / "small").write_bytes(b"x" * 1024)
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    with Serving("-q", "--engine", engine, command=["tiny", str(tmp_path)]) as server:
        for name, size in (("small", 1024), ("large", 1 << 20)):
            url = f"http://127.0.0.1:{server.port}/{name}"
            words = ["wrk", "-t", "1", "-c", "16", "-d", "2s", url]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
            assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
            found = re.search(r"(\d+) requests in [\d.]+s, ([\d.]+)([KMG])B read", done.stdout)
            assert found is not None
            read = float(found[2]) * {"K": 1e3, "M": 1 << 20, "G": 1 << 30}[found[3]]
            assert int(found[1]) > 20 and read > 0.9 * int(found[1]) * size
        server.process.send_signal(signal.SIGTERM)
        assert server.finish() == 0
