"""What `make demo` runs: a server on a free port, real files through it, what came back compared, the server's log.

Ends with 1 if one byte differs.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
MEARI = [sys.executable, "-m", "meari"]


def files(folder: Path) -> list[Path]:
    """What is sent: the project's own sources, some megabytes of random bytes, a text without a last newline."""
    (folder / "random.bin").write_bytes(os.urandom(5_000_000))
    (folder / "메아리.txt").write_text("메아리: what you call comes back\nand this line has no newline")
    return [*sorted((HERE / "src" / "meari").rglob("*.py")), folder / "random.bin", folder / "메아리.txt"]


def through(port: str, path: Path) -> bool:
    """Send one file; whether all of it came back, as `meari talk` says and as we see."""
    with path.open("rb") as source:
        done = subprocess.run([*MEARI, "talk", "127.0.0.1", port], stdin=source, capture_output=True, timeout=60, check=False)
    same = done.returncode == 0 and done.stdout == path.read_bytes()
    print(f"{'ok  ' if same else 'FAIL'}  {path.name}: {done.stderr.decode().strip()}", flush=True)
    return same


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        print("$ meari serve 127.0.0.1:0", flush=True)
        server = subprocess.Popen([*MEARI, "serve", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        first = server.stdout.readline()
        found = re.search(r":(\d+)$", first.strip())
        if found is None:
            print("FAIL  the server did not start")
            return 1
        print(first, end="")
        try:
            results = [through(found[1], path) for path in files(Path(folder))]
        finally:
            server.send_signal(signal.SIGTERM)
            log.write(server.communicate(timeout=60)[0])
        print("\nthe server's log:")
        log.seek(0)
        print("".join(f"  {line}" for line in log))
    good = all(results) and server.returncode == 0
    print(f"{sum(results)} of {len(results)} files came back identical; the server ended with {server.returncode}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
