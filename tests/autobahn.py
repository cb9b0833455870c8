"""`make autobahn`: the Autobahn test suite (RFC 6455, RFC 7692) against both ends.

Its fuzzing client plays against `meari serve`, and its fuzzing server against the near end's layer
(wire/websocket_echo.py), which here returns each frame. The suite needs Python 2.7, which
PYTHON27 may name; without it this says so, and ends with 0. It runs in an environment of its own,
.autobahn/. CASES selects some: `make autobahn CASES="1.* 7.*"`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
import typing
from collections.abc import Iterator
from pathlib import Path

from websockets.frames import Frame, Opcode

from meari import Address
from meari.channel import Channel, reason
from meari.stop import milliseconds
from meari.wire.websocket_echo import Frames, WebSocketEcho

PLACE = Path(".autobahn")
SUITE = "autobahntestsuite==0.8.2"
VIRTUALENV = "virtualenv<20.22"  # the last that makes environments of Python 2.7
CASES = os.environ.get("CASES", "*").split()
CASE = 120.0  # seconds for one case
WHOLE = 3000.0  # seconds for all of them, of one end
AGENT = "meari"
# The client sends one frame with invalid text in three parts. Only an end that looks into a frame
# before it is whole can reject it earlier: the suite calls the rest "non-strict", and right.
NON_STRICT = {"6.4.3", "6.4.4"}
# The near end offers no compression.
CLIENT_LACKS = ("12.", "13.")


def installed() -> Path | None:
    """The suite's program, installed if it is not; None without Python 2.7."""
    program = PLACE / "env" / "bin" / "wstest"
    if program.exists():
        return program
    pyenv = sorted(Path.home().glob(".pyenv/versions/2.7*/bin/python2.7"))
    for python in (os.environ.get("PYTHON27") or "python2.7", *map(str, pyenv)):
        with contextlib.suppress(OSError):
            if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
                continue
            tools = PLACE / "tools"
            for command in (
                f"{sys.executable} -m venv {tools}",
                f"{tools}/bin/python -m pip install -q {VIRTUALENV}",
                f"{tools}/bin/virtualenv -q -p {python} {PLACE}/env",
                f"{PLACE}/env/bin/pip install -q {SUITE}",
            ):
                subprocess.run(command.split(), check=True, stderr=subprocess.DEVNULL)
            return program
    return None


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def running(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended afterwards."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def connected(port: int) -> socket.socket:
    """A connection to *port* of this machine, whose program may just have been started."""
    end = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 10)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def write_json(name: str, value: object) -> str:
    path = PLACE / name
    path.write_text(json.dumps(value))
    return str(path)


class Returning(Frames):
    """Sends each frame back, before it looks at the next one."""

    def recv_frame(self, frame: Frame) -> None:
        super().recv_frame(frame)
        data = bytes(frame.data)
        if frame.opcode is Opcode.TEXT:
            self.send_text(data, frame.fin)
        elif frame.opcode is Opcode.BINARY:
            self.send_binary(data, frame.fin)
        elif frame.opcode is Opcode.CONT:
            self.send_continuation(data, frame.fin)


class Echo(WebSocketEcho):
    frames = Returning


def talk(port: int, path: str, layer: type[WebSocketEcho]) -> bytes:
    """What *path* sends until it ends the connection."""
    end = time.monotonic() + CASE
    data = bytearray()
    with Channel(connected(port), layer(Address("127.0.0.1", port, "ws", path))) as channel:
        while channel.end is None:
            left = end - time.monotonic()
            assert left > 0, f"{path} did not end within {CASE:g} s"
            poller = select.poll()
            poller.register(channel, channel.mask(reading=True, writing=False))
            poller.poll(milliseconds(left))
            channel.flush()
            data += channel.read() or b""
        if not data and path.startswith("/get"):
            raise AssertionError(f"{path}: {reason(channel.end)}")
    return bytes(data)


def serve_client(program: Path) -> Path:
    """The fuzzing client against `meari serve`; the folder of its reports."""
    port, out = free_port(), PLACE / "far-end"
    url = f"ws://127.0.0.1:{port}/ws"
    spec = {
        "outdir": str(out),
        "servers": [{"agent": AGENT, "url": url}],
        "cases": CASES,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    path = write_json("fuzzingclient.json", spec)
    serve = [sys.executable, "-m", "meari", "serve", "-q", "--http-message", "16M"]
    with running(*serve, f"http://127.0.0.1:{port}", log=PLACE / "serve.log"):
        connected(port).close()
        with (PLACE / "fuzzingclient.log").open("wb") as log:
            command = [str(program), "-m", "fuzzingclient", "-s", path]
            subprocess.run(command, stdout=log, stderr=log, timeout=WHOLE, check=True)
    return out


def talk_to_server(program: Path) -> Path:
    """The near end's layer against the fuzzing server; the folder of its reports."""
    port, out = free_port(), PLACE / "near-end"
    url = f"ws://127.0.0.1:{port}"
    spec = {"url": url, "outdir": str(out), "cases": CASES, "exclude-cases": []}
    path = write_json("fuzzingserver.json", spec | {"exclude-agent-cases": {}})
    command = [str(program), "-m", "fuzzingserver", "-s", path]
    with running(*command, log=PLACE / "fuzzingserver.log"):
        count = int(talk(port, "/getCaseCount", WebSocketEcho))
        for case in range(1, count + 1):
            talk(port, f"/runCase?case={case}&agent={AGENT}", Echo)
        talk(port, f"/updateReports?agent={AGENT}", WebSocketEcho)
    return out


def judged(name: str, folder: Path, lacks: tuple[str, ...] = ()) -> bool:
    """Print how the cases went; True if none failed."""
    index = json.loads((folder / "index.json").read_text())
    results: dict[str, dict[str, typing.Any]] = index.get(AGENT, {})
    counts: dict[str, int] = {}
    bad = []
    for case, result in results.items():
        verdicts = {result["behavior"], result["behaviorClose"]}
        worst = next(
            (v for v in ("FAILED", "WRONG CODE", "UNCLEAN", "NON-STRICT") if v in verdicts),
            result["behavior"],
        )
        counts[worst] = counts.get(worst, 0) + 1
        if not (
            worst in ("OK", "INFORMATIONAL")
            or (worst == "NON-STRICT" and case in NON_STRICT)
            or (worst == "UNIMPLEMENTED" and case.startswith(lacks or ("none",)))
        ):
            bad.append(f"{case} {worst}: {folder}/{result['reportfile']}")
    shown = ", ".join(f"{n} {verdict.lower()}" for verdict, n in sorted(counts.items()))
    print(f"{name}: {len(results)} cases: {shown}", *bad, sep="\n  ")
    return bool(results) and not bad


def main() -> int:
    program = installed()
    if program is None:
        print("autobahn: Python 2.7 is not here, which the suite needs; PYTHON27=... names one")
        return 0
    for folder in ("far-end", "near-end"):
        shutil.rmtree(PLACE / folder, ignore_errors=True)
    far = judged("far end", serve_client(program))
    near = judged("near end", talk_to_server(program), CLIENT_LACKS)
    return 0 if far and near else 1


if __name__ == "__main__":
    sys.exit(main())
