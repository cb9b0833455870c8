"""CGI programs: on every engine, in both directions, and when either side does wrong."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE

import pytest

from meari import Limits, Server
from meari.web.cgi import Cgi, no_cgi
from meari.web.conversation import Conversation
from meari.web.files import Files
from meari.web.program import parse_head
from meari.wire.request import HttpError

from .program import MEARI, Serving, alive, until
from .test_tiny import CONCURRENT, ENGINES, Answer, get, ignore, raw

TYPE = "echo 'Content-Type: text/plain'; echo; "


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "한글"
    (root / "cgi-bin").mkdir(parents=True)
    (root / "index.html").write_text("home")
    return root


def program(root: Path, name: str, text: str, interpreter: str = "/bin/sh") -> Path:
    file = root / "cgi-bin" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!{interpreter}\n{text}\n")
    file.chmod(0o755)
    return file


@contextlib.contextmanager
def serving(
    root: Path,
    engine: str = "event",
    *,
    seconds: float = 20.0,
    said: list[str] | None = None,
    limits: Limits | None = None,
    body: int = 1 << 30,
) -> Iterator[Server]:
    say: Callable[[str], None] = (lambda text: None) if said is None else said.append
    answer = Cgi(str(root), Files(str(root)), seconds=seconds, say=say)
    service = functools.partial(Conversation, answer=answer, log=ignore, body=body)
    with Server("127.0.0.1:0", engine=engine, service=service, limits=limits) as server:
        yield server


def post(server: Server, target: str, body: bytes, **headers: str) -> Answer:
    port = server.addresses[0].port
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, 30)) as client:
        client.request("POST", target, body, {k.replace("_", "-"): v for k, v in headers.items()})
        found = client.getresponse()
        names = {name.lower(): value for name, value in found.getheaders()}
        return Answer(found.status, names, found.read())


@pytest.mark.parametrize("engine", ENGINES)
def test_programs_on_every_engine(engine: str, root: Path) -> None:
    program(root, "adder", TYPE + 'echo "$QUERY_STRING"')
    program(root, "cat", "echo 'Content-Type: text/plain'\necho\nexec cat")
    body = os.urandom(3 << 20)
    with serving(root, engine) as server:
        assert get(server, "/cgi-bin/adder?1&2").body == b"1&2\n"
        found = post(server, "/cgi-bin/cat", body)
        assert found.body == body and found.headers["transfer-encoding"] == "chunked"
        assert get(server, "/").body == b"home"
        assert get(server, "/cgi-bin/none").status == 404


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_slow_program_delays_nobody(engine: str, root: Path) -> None:
    program(root, "slow", "read line\n" + TYPE + "echo $line")
    with serving(root, engine) as server:
        address = ("127.0.0.1", server.addresses[0].port)
        head = b"POST /cgi-bin/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
        with socket.create_connection(address, 20) as slow:
            slow.sendall(head)
            for _ in range(5):
                assert get(server, "/").body == b"home"
            slow.sendall(b"ok\n")
            assert slow.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_program_that_says_nothing_is_killed_at_its_limit(engine: str, root: Path) -> None:
    file = program(root, "mute", f"echo $$ > {root}/pid; sleep 1000 & sleep 1000")
    with serving(root, engine, seconds=1.0, limits=Limits(idle=0.5)) as server:
        found = get(server, f"/cgi-bin/{file.name}")
        assert found.status == 504 and b"more than 1 s" in found.body
        gone(int((root / "pid").read_text()))


def gone(group: int) -> None:
    """No process of the group is left."""
    until(lambda: not in_group(group))


def in_group(group: int) -> list[str]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group:
                found.append(f"{stat.parent.name} {state}")
    return found


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_client_that_leaves_ends_the_program(engine: str, root: Path) -> None:
    program(root, "endless", f"echo $$ > {root}/pid\n{TYPE} yes")
    program(root, "mute", f"echo $$ > {root}/pid\nsleep 1000")
    with serving(root, engine) as server:
        for name in ("endless", "mute"):
            client = socket.create_connection(("127.0.0.1", server.addresses[0].port), 20)
            client.sendall(b"GET /cgi-bin/%b HTTP/1.1\r\nHost: x\r\n\r\n" % name.encode())
            if name == "endless":
                assert client.recv(4096).startswith(b"HTTP/1.1 200")
            until((root / "pid").exists)
            until(lambda: (root / "pid").read_text())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            gone(int((root / "pid").read_text()))
            (root / "pid").unlink()
        assert get(server, "/").body == b"home"


@pytest.mark.parametrize("engine", ["event", "thread"])
def test_bodies_stream_in_both_directions(engine: str, root: Path) -> None:
    """Each line comes back before the next is sent; the body is never complete."""
    program(root, "lines", "exec sed -u 's/^/> /;1i Content-Type: text/plain\\n'")
    with (
        serving(root, engine) as server,
        socket.create_connection(("127.0.0.1", server.addresses[0].port), 20) as client,
    ):
        length = b"Content-Length: 1000000\r\n\r\n"
        client.sendall(b"POST /cgi-bin/lines HTTP/1.1\r\nHost: x\r\n" + length)
        found = b""
        for n in range(5):
            client.sendall(b"line %d\n" % n)
            while b"> line %d\n" % n not in found:
                found += client.recv(4096)


@pytest.mark.parametrize("engine", ["event", "thread"])
def test_a_program_that_does_not_read_costs_no_memory(engine: str, root: Path) -> None:
    """What it does not take is not read from the client either."""
    program(root, "deaf", f"while [ ! -e {root}/go ]; do sleep 0.02; done\n{TYPE} wc -c")
    size = 64 << 20
    with (
        serving(root, engine) as server,
        socket.create_connection(("127.0.0.1", server.addresses[0].port), 20) as client,
    ):
        head = b"POST /cgi-bin/deaf HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        client.sendall(head)
        client.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < size:
                sent += client.send(bytes(65536))
        (root / "go").touch()
        client.settimeout(20)
        while sent < size:
            sent += client.send(bytes(min(1 << 20, size - sent)))
        found = b""
        while b"\r\n0\r\n\r\n" not in found:
            found += client.recv(4096)
        assert str(size).encode() in found


def test_the_environment_is_the_rfcs_and_nothing_else(root: Path) -> None:
    program(root, "env", TYPE + "exec env -0")
    with serving(root) as server:
        answer = get(
            server,
            "/cgi-bin/env/a%20b/c?x=%41&y",
            Host="example.org:8080",
            Proxy="http://evil",
            Authorization="secret",
            X_Part="one",
            Cookie="a=b",
        )
        pairs = answer.body.decode().split("\0")[:-1]
        found = dict(pair.split("=", 1) for pair in pairs)
        # The shell's own.
        for name in ("PWD", "SHLVL", "_", "OLDPWD"):
            found.pop(name, None)
        assert found == {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PATH_INFO": "/a b/c",
            "QUERY_STRING": "x=%41&y",
            "REMOTE_ADDR": "127.0.0.1",
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "/cgi-bin/env",
            "SERVER_NAME": "example.org",
            "SERVER_PORT": "8080",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_SOFTWARE": "meari",
            "HTTP_HOST": "example.org:8080",
            "HTTP_ACCEPT_ENCODING": "identity",
            "HTTP_X_PART": "one",
            "HTTP_COOKIE": "a=b",
        }
        request = b"POST /cgi-bin/env HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX_A: 2\r\nx-a: 3\r\n"
        request += b"Content-Type: a/b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        out = raw(server, request)
        assert b"HTTP_X_A=1, 3\0" in out
        assert b"CONTENT_TYPE=a/b\0" in out and b"CONTENT_LENGTH=0\0" in out


@pytest.mark.parametrize(
    "target",
    [
        "/cgi-bin/../secret",
        "/cgi-bin/..%2fsecret",
        "/cgi-bin/out",
        "/cgi-bin/out/x",
        "/cgi-bin/",
        "/cgi-bin/sub",
        "/cgi-bin/a%00b",
        "/cgi-bin/plain",
        "//cgi-bin/plain",
        "/./cgi-bin/plain",
        "/x/../cgi-bin/plain",
        "/link/plain",
    ],
)
def test_what_is_not_a_program_here_is_not_run_or_shown(target: str, root: Path) -> None:
    secret = root.parent / "secret"
    secret.write_text(f"#!/bin/sh\n{TYPE}echo secret\n")
    secret.chmod(0o755)
    (root / "cgi-bin" / "out").symlink_to(secret)
    (root / "cgi-bin" / "sub").mkdir()
    (root / "cgi-bin" / "plain").write_text("secret")
    (root / "link").symlink_to("cgi-bin")
    (root / "x").mkdir()
    with serving(root) as server:
        answer = get(server, target)
        assert answer.status in (400, 403, 404) and b"secret" not in answer.body.replace(
            target.encode(), b""
        )


def test_programs_in_directories_and_through_links(root: Path) -> None:
    program(root, "sub/deep", TYPE + 'echo "$SCRIPT_NAME $PATH_INFO"; pwd')
    (root / "cgi-bin" / "short").symlink_to("sub/deep")
    with serving(root) as server:
        body = get(server, "/cgi-bin/sub/deep/more").body.decode()
        assert body == f"/cgi-bin/sub/deep /more\n{root}/cgi-bin/sub\n"
        assert get(server, "/cgi-bin/short").body.startswith(b"/cgi-bin/short \n")


def test_without_cgi_programs_are_neither_run_nor_shown(root: Path) -> None:
    program(root, "adder", f"touch {root}/ran; {TYPE} echo 3")
    service = functools.partial(Conversation, answer=no_cgi(Files(str(root))), log=ignore)
    with Server("127.0.0.1:0", service=service) as server:
        found = get(server, "/cgi-bin/adder")
        assert found.status == 403 and b"--cgi" in found.body
        assert get(server, "//cgi-bin/adder").status == 404
    assert not (root / "ran").exists()


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        ("exit 3", 502, "exit status 3"),
        ("kill -SEGV $$", 502, "signal 11"),
        ("echo hello", 502, ""),
        ("echo 'Content-Type text'; echo; echo", 502, ""),
        ("echo 'X-Only: text'; echo; echo", 502, ""),
        ("echo 'Status: 99'; echo 'Content-Type: a/b'; echo", 502, ""),
        ("echo 'Content-Length: x'; echo 'Content-Type: a/b'; echo", 502, ""),
        ("while :; do echo 'X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'; done", 502, ""),
        ("echo 'Status: 404 Nowhere'; echo 'Content-Type: a/b'; echo; echo no", 404, ""),
        ("echo 'Location: http://x/'; echo", 302, ""),
        ("echo 'Status: 204'; echo 'Content-Type: a/b'; echo", 204, ""),
        ("printf 'Content-Type: a/b\\r\\nContent-Length: 2\\r\\n\\r\\nabcdef'", 200, ""),
    ],
)
def test_what_a_program_says(text: str, status: int, reason: str, root: Path) -> None:
    program(root, "p", text)
    said: list[str] = []
    with serving(root, said=said) as server:
        answer = get(server, "/cgi-bin/p")
        assert answer.status == status
        if "Content-Length: 2" in text:
            assert answer.body == b"ab"
        until(lambda: not reason or any(reason in line for line in said))


# The command


def test_the_command_runs_programs_and_logs_them(root: Path) -> None:
    program(root, "p", f"echo problem >&2; {TYPE} echo ok")
    with Serving("--cgi", command=["tiny", str(root)]) as server:
        url = f"http://127.0.0.1:{server.port}/cgi-bin/p"
        done = subprocess.run(["curl", "-s", url], capture_output=True, timeout=20)
        assert done.stdout == b"ok\n"
        server.wait_for("/cgi-bin/p: problem")
        server.wait_for(r'"GET /cgi-bin/p HTTP/1.1" 200, 3 bytes in')


def test_the_command_ends_its_programs(root: Path) -> None:
    program(root, "stays", f"echo $$ > {root}/pid; sleep 1000")
    with Serving("--cgi", "--cgi-time", "1", command=["tiny", str(root)]) as server:
        with socket.create_connection(("127.0.0.1", server.port), 20) as client:
            client.sendall(b"GET /cgi-bin/stays HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 504")
        pid = int((root / "pid").read_text())
        until(lambda: not alive(pid))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0


def test_the_common_log_format(root: Path) -> None:
    command = [*MEARI, "tiny", "--log", "common", str(root), "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True) as server:
        assert server.stderr is not None and server.stdout is not None
        port = int(server.stderr.readline().rpartition(":")[2])
        for target in ("/", "/none", "/" + "a" * 600):
            url = f"http://127.0.0.1:{port}{target}"
            subprocess.run(["curl", "-s", url], capture_output=True, timeout=20)
        server.send_signal(signal.SIGTERM)
        out, _ = server.communicate(timeout=20)
        first, second, third = out.splitlines()
        date = r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
        assert re.fullmatch(rf'127\.0\.0\.1 - - {date} "GET / HTTP/1\.1" 200 4', first)
        assert re.fullmatch(rf'127\.0\.0\.1 - - {date} "GET /none HTTP/1\.1" 404 \d+', second)
        assert re.search(r'aaa\.\.\." 404 \d+$', third)


def test_a_long_target_in_json(root: Path) -> None:
    with Serving("--json", command=["tiny", str(root)]) as server:
        with socket.create_connection(("127.0.0.1", server.port), 20) as client:
            client.sendall(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 600))
            client.recv(100)
        server.wait_for("meari.request")
        found = json.loads(next(line for line in server.lines if "meari.request" in line))
        assert found["http.response.status_code"] == 404


def test_a_header_is_read_as_the_rfc_says() -> None:
    found = parse_head("Content-type:text/html\r\nX-A:  b c \r\nDate: now\r\nConnection: close")
    assert found.headers == [("Content-type", "text/html"), ("X-A", "b c")]
    assert found.status == 200 and found.framing == "chunked"
    for bad in ("", "Content-Type: a\n\nb: c", "Content Type: a", "X: a\0b\nContent-Type: c"):
        with pytest.raises(HttpError):
            parse_head(bad)
