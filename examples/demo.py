"""What `make demo` runs: a server on a free port, real files through it, the echo compared; a
ping, a load, a check; a lie found.

Ends with 1 if one byte differs, or if the lie is not noticed.
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
_LOG = 12  # lines shown
MEARI = [sys.executable, "-m", "meari"]


def files(folder: Path) -> list[Path]:
    """What is sent: the project's own sources, some megabytes of random bytes, a text without a
    last newline.
    """
    (folder / "random.bin").write_bytes(os.urandom(5_000_000))
    (folder / "메아리.txt").write_text(
        "메아리: what you call comes back\nand this line has no newline"
    )
    return [
        *sorted((HERE / "src" / "meari").rglob("*.py")),
        folder / "random.bin",
        folder / "메아리.txt",
    ]


def through(port: str, path: Path) -> bool:
    """Send one file; whether all of it came back, as `meari talk` says and as we see."""
    with path.open("rb") as source:
        done = subprocess.run(
            [*MEARI, "talk", "127.0.0.1", port],
            stdin=source,
            capture_output=True,
            timeout=60,
            check=False,
        )
    same = done.returncode == 0 and done.stdout == path.read_bytes()
    if not same:
        print(f"FAIL  {path.name}: {done.stderr.decode().strip()}", flush=True)
    return same


def shown(command: str, port: str, *words: str, code: int = 0) -> bool:
    """Run a command and show its output; True if it ended with *code*."""
    print(f"\n$ meari {command} 127.0.0.1 {port} {' '.join(words)}", flush=True)
    return (
        subprocess.run(
            [*MEARI, command, "127.0.0.1", port, *words], timeout=60, check=False
        ).returncode
        == code
    )


def lied_to() -> bool:
    """Load a far end that flips bits; whether it is found out."""
    print("\n$ meari serve --lie flip --lie-every 20000 127.0.0.1:0", flush=True)
    liar = subprocess.Popen(
        [*MEARI, "serve", "--lie", "flip", "--lie-every", "20000", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert liar.stdout is not None
    try:
        print(liar.stdout.readline(), end="")
        port = liar.stdout.readline().strip().rpartition(":")[2]
        return shown("load", port, "-n", "20", "-s", "4096", code=1)
    finally:
        liar.terminate()
        liar.communicate(timeout=60)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        print("$ meari serve 127.0.0.1:0", flush=True)
        server = subprocess.Popen(
            [*MEARI, "serve", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        first = server.stdout.readline()
        found = re.search(r":(\d+)$", first.strip())
        if found is None:
            print("FAIL  the server did not start")
            return 1
        print(first, end="")
        try:
            results = [through(found[1], path) for path in files(Path(folder))]
            print(f"{sum(results)} of {len(results)} files came back as they were", flush=True)
            results += [
                shown("ping", found[1], "-c", "3", "-i", "0.1"),
                shown("load", found[1], "-c", "16", "-t", "1"),
            ]
            results.append(shown("check", found[1], "--quick"))
        finally:
            server.send_signal(signal.SIGTERM)
            log.write(server.communicate(timeout=60)[0])
        log.seek(0)
        lines = log.readlines()
        print(f"\nthe first of {len(lines)} lines of the server's log:")
        print("".join(f"  {line}" for line in lines[:_LOG]))
    results.append(lied_to())
    good = all(results) and server.returncode == 0
    print(
        f"\n{sum(results)} of {len(results)} went as they should; the server ended with "
        f"{server.returncode}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
