"""Files that are written at the end of a run, and what a terminal gets."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from meari.cli.saved import Saved
from meari.errors import LocalError

from .program import MEARI, Serving, run, until


def test_what_exists_keeps_its_mode_and_its_links(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("before, and longer than what comes after")
    one.chmod(0o600)
    os.link(one, other)
    with Saved(str(one)) as saved:
        assert other.read_text().startswith("before")
        assert saved.write(lambda: "after")
    assert other.read_text() == "after"
    assert (one.stat().st_mode & 0o777, one.stat().st_nlink) == (0o600, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


def test_a_new_file_has_its_name_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with Saved(str(path)) as saved:
        assert list(tmp_path.iterdir()) == []
        assert saved.write(lambda: "whole")
    assert path.read_text() == "whole"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    with Saved(str(tmp_path / "never")):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["new"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_run_that_is_killed_leaves_no_part(tmp_path: Path) -> None:
    with Serving("-q") as server:
        words = [
            *MEARI,
            "load",
            str(server.address),
            "-t",
            "30",
            "--save",
            str(tmp_path / "result.json"),
        ]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as running:
            time.sleep(1.0)
            running.kill()
    assert list(tmp_path.iterdir()) == []


def test_a_fifo_without_a_reader_is_a_line_and_one_with_a_reader_gets_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(LocalError, match="nobody reads it"):
        Saved(str(fifo))
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_text()))
    reader.start()
    for _ in range(200):
        try:
            saved = Saved(str(fifo))
            break
        except LocalError:
            time.sleep(0.01)
    with saved:
        assert saved.write(lambda: "x" * 200_000)
    reader.join(10)
    assert got == ["x" * 200_000]


@pytest.mark.parametrize("path", ["no/such/directory/file", "."])
def test_what_cannot_be_written_is_known_before_the_run(path: str) -> None:
    with pytest.raises(LocalError):
        Saved(path)


# Terminals


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["load", "-t", "30"], rb"[\d,]+ messages in"),
        (["check", "--idle", "30"], rb"\d+ of 19 tried, FAIL: none; running: \S+"),
    ],
    ids=["load", "check"],
)
def test_a_quit_from_the_terminal_shows_the_status_and_goes_on(
    words: list[str], said: bytes
) -> None:
    with Serving("-q") as server:
        main, side = pty.openpty()
        running = subprocess.Popen(
            [*MEARI, *words, str(server.address)],
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(side)
        shown = b""
        try:
            time.sleep(2.5)
            os.killpg(running.pid, signal.SIGQUIT)
            time.sleep(0.5)
            assert running.poll() is None
            os.killpg(running.pid, signal.SIGINT)
            until(lambda: running.poll() is not None)
        finally:
            running.kill()
            running.wait()
            os.set_blocking(main, False)
            while True:
                try:
                    shown += os.read(main, 65536)
                except OSError:
                    break
            os.close(main)
        assert re.search(said, shown), shown[-2000:]
        hidden, back = shown.rfind(b"\x1b[?25l"), shown.rfind(b"\x1b[?25h")
        assert hidden < back or hidden < 0


def test_english_where_the_output_has_no_korean() -> None:
    environment = {
        **os.environ,
        "LC_ALL": "ko_KR.UTF-8",
        "PYTHONIOENCODING": "latin-1",
        "PYTHONUTF8": "0",
    }
    for words in (["check", "--list"], ["check", "--list", "--lang", "ko"], ["explain", "--list"]):
        out = run(*words, env=environment).stdout
        assert b"\\u" not in out and out.decode("ascii")


@pytest.mark.parametrize("width", [40, 60, 80])
def test_explain_fits_the_terminal_and_breaks_no_word(width: int) -> None:
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "", "LC_ALL": "C.UTF-8"}
    out = run("explain", "refused", env=environment).stdout.decode()
    assert max(map(len, out.splitlines())) <= width
    for word in ("AI_NUMERICSERV", "SOCK_STREAM", "ECONNREFUSED"):
        assert word in out
    assert "\x1b" not in out
