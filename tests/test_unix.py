"""Unix sockets: the file, its mode and holder, and an echo on every engine and command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meari import (
    Address,
    AddressError,
    Listener,
    ListenError,
    Server,
    UsageError,
    open_client,
    open_listeners,
)
from meari.engines import ENGINES

from .program import MEARI, Serving, run


@pytest.mark.parametrize(
    ("text", "host", "written"),
    [
        ("unix:/run/echo", "/run/echo", "unix:/run/echo"),
        ("unix:///run/echo", "/run/echo", "unix:/run/echo"),
        ("unix:./echo", "./echo", "unix:./echo"),
        ("unix:@echo", "@echo", "unix:@echo"),
    ],
)
def test_an_address_is_a_path_or_an_abstract_name(text: str, host: str, written: str) -> None:
    address = Address.parse(text)
    assert (address.scheme, address.host, str(address)) == ("unix", host, written)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["unix:", "unix:@", "unix:/", "unix:echo", "unix:/" + 107 * "x", "unix:/a\nb", "unix://"],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        Address.parse(text)


# The file


def test_the_file_has_its_mode_from_the_first_moment_and_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "echo"
    with Server(f"unix:{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()
    with Server(f"unix:{path}", mode=0o666):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_a_path_that_a_live_server_holds_is_refused_and_the_process_named(tmp_path: Path) -> None:
    with Serving(address=f"unix:{tmp_path / 'echo'}") as first:
        done = run("serve", f"unix:{tmp_path / 'echo'}")
        assert done.returncode == 2
        assert f"Address already in use; held by process {first.pid}" in done.stderr.decode()
        assert run("talk", f"unix:{tmp_path / 'echo'}", data=b"x").stdout == b"x"  # it serves on


def test_an_abstract_name_in_use_is_refused() -> None:
    name = f"unix:@meari-test-{os.getpid()}"
    with Server(name), pytest.raises(ListenError, match=f"held by process {os.getpid()}"):
        open_listeners(name)


def test_a_stale_socket_is_replaced_and_any_other_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "echo"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with Server(f"unix:{path}"), open_client(f"unix:{path}") as rio:
        rio.writen(b"x")
        assert rio.readn(1) == b"x"
    path.write_text("a file")
    with pytest.raises(ListenError, match="no socket"):
        open_listeners(f"unix:{path}")
    assert path.read_text() == "a file"
    with pytest.raises(ListenError, match="No such file"):
        open_listeners(f"unix:{tmp_path}/none/echo")


def test_only_its_own_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "echo"
    with Server(f"unix:{path}"):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.exists()


def test_a_server_that_cannot_start_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "echo"
    with pytest.raises(ListenError):
        Server(f"unix:{path}", "192.0.2.1:9").open()
    assert not path.exists()


def test_of_many_that_race_for_a_stale_path_exactly_one_serves(tmp_path: Path) -> None:
    path = tmp_path / "echo"
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        barrier = threading.Barrier(8)

        def race(_: int, barrier: threading.Barrier = barrier) -> list[Listener]:
            barrier.wait(10)
            with contextlib.suppress(ListenError):
                return open_listeners(f"unix:{path}")
            return []

        with ThreadPoolExecutor(8) as pool:
            opened = [listener for found in pool.map(race, range(8)) for listener in found]
        assert len(opened) == 1
        opened[0].close()
        opened[0].remove()


def test_what_does_not_go_with_a_unix_socket(tmp_path: Path) -> None:
    for words in (
        ["--allow", "127.0.0.1", f"unix:{tmp_path}/a"],
        ["--mode", "600", "7007"],
        ["--mode", "9", f"unix:{tmp_path}/a"],
    ):
        assert run("serve", *words).returncode == 2
    assert run("ping", "-4", f"unix:{tmp_path}/a").returncode == 2
    done = run("ping", f"unix:{tmp_path}/none")
    assert done.returncode == 2 and b"No such file or directory" in done.stderr
    with pytest.raises(UsageError):
        Server(f"unix:{tmp_path}/a", engine="none")


# The echo


@pytest.mark.parametrize("engine", list(ENGINES))
def test_every_engine_and_command(engine: str, tmp_path: Path) -> None:
    where = f"unix:{tmp_path / 'echo'}"
    with Serving("--engine", engine, address=where) as server:
        talked = run("talk", where, data=b"hello\n" * 50_000)
        assert (talked.returncode, talked.stdout) == (0, b"hello\n" * 50_000)
        assert run("ping", where, "-c", "3", "-i", "0").returncode == 0
        loaded = run(
            "load",
            where,
            "-n",
            "300",
            "-c",
            "2" if engine != "iterative" else "1",
            "--json",
            "-s",
            "1-5000",
        )
        assert loaded.returncode == 0 and json.loads(loaded.stdout)["faults"] == []
        server.wait_for(rf"Connected to \(uid {os.getuid()}, pid \d+\)")
        assert server.stop() == 0
    assert not (tmp_path / "echo").exists()
    assert any(
        re.fullmatch(rf"closed \(uid {os.getuid()}, pid \d+\) after .*", line)
        for line in server.lines
    )


def test_workers_share_one_path(tmp_path: Path) -> None:
    where = f"unix:{tmp_path / 'echo'}"
    with Serving("--workers", "2", "-v", address=where) as server:
        for _ in range(20):
            with open_client(where) as rio:
                rio.writen(b"x")
                rio.shutdown()
                assert rio.readn(2) == b"x"
        assert server.stop() == 0
    assert sum("closed" in line for line in server.lines) == 20


def test_clients_beyond_the_limit_wait_and_this_is_reported(tmp_path: Path) -> None:
    where = f"unix:{tmp_path / 'echo'}"
    with Serving("--connections", "1", address=where) as server, open_client(where) as first:
        first.writen(b"x")
        assert first.readn(1) == b"x"
        with open_client(where) as second:
            second.writen(b"y")
            server.wait_for(r"1 client waits: at most 1 served at a time")
            first.close()
            assert second.readn(1) == b"y"


def test_a_reader_that_stops_is_not_served_more_than_it_takes(tmp_path: Path) -> None:
    where = f"unix:{tmp_path / 'echo'}"
    with Server(where), open_client(where, timeout=5) as rio:
        rio.sock.setblocking(False)
        sent = 0
        with pytest.raises(BlockingIOError):
            while True:
                sent += rio.sock.send(bytes(65536))
        rio.sock.setblocking(True)
        rio.shutdown()
        assert len(rio.readn(sent + 1)) == sent


def test_the_events_as_json(tmp_path: Path) -> None:
    where = f"unix:{tmp_path / 'echo'}"
    with subprocess.Popen(
        [*MEARI, "serve", "--json", "--once", where], stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        listening = json.loads(server.stdout.readline())
        run("talk", where, data=b"x")
        connected = json.loads(server.stdout.readline())
        server.communicate(timeout=20)
    assert (listening["network.transport"], listening["network.local.address"]) == (
        "unix",
        str(tmp_path / "echo"),
    )
    assert (connected["meari.peer.uid"], connected["meari.peer.pid"] > 0) == (os.getuid(), True)


# check


def test_check_tries_all_that_is_not_of_a_network(tmp_path: Path) -> None:
    where = f"unix:{tmp_path / 'echo'}"
    with Serving("-q", address=where):
        done = run("check", where, "--idle", "1", "--json", timeout=100)
        assert run("check", where, "--only", "reset").returncode == 2
    found = {each["name"]: each["verdict"] for each in json.loads(done.stdout)["properties"]}
    assert (done.returncode, set(found.values())) == (0, {"ok"}), found
    assert {"half-close", "small", "bytes", "idle"} <= set(found) and not {"reset", "large"} & set(
        found
    )


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    """Of a far end that ends in the middle."""
    with Serving(
        "-q", "--lie", "truncate", "--lie-every", "2000", address=f"unix:{tmp_path / 'a'}"
    ) as server:
        done = run("check", str(server.address), "--only", "bytes", "--json", timeout=100)
    (found,) = [each for each in json.loads(done.stdout)["properties"] if each["name"] == "bytes"]
    assert (done.returncode, found["verdict"]) == (1, "FAIL")


def test_http_over_a_unix_socket(tmp_path: Path) -> None:
    where = f"{tmp_path}/web"
    with Serving("--proxy-from", "127.0.0.1", address=f"http+unix:{where}") as serving:
        assert serving.lines[-1].endswith(f"listening on http+unix:{where}")
        curl = ["curl", "-s", "--max-time", "20", "--unix-socket", where, "http://any.example/"]
        found = json.loads(subprocess.check_output([*curl[:-1], f"{curl[-1]}report"]))
        assert found["peer"]["uid"] == os.getuid()
        assert found["headers"][0] == ["Host", "any.example"]
        done = run("talk", f"http+unix:{where}", data=b"hello\n")
        assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr
        done = run("load", f"http+unix:{where}", "-n", "50", "-c", "2")
        assert done.returncode == 0, done.stderr
        assert "network" not in done.stdout.decode()
        assert run("load", "--get", f"http+unix:{where}", "-n", "20").returncode == 0
    assert not os.path.exists(where)
