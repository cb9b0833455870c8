"""TLS on the command line: talk, ping, load, check and serve."""

from __future__ import annotations

import hashlib
import json
import random
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path as File

import pytest

from . import certificates
from .program import Serving, run


@pytest.fixture(params=["event", "thread"])
def far_end(request: pytest.FixtureRequest) -> Iterator[str]:
    path = certificates.path
    options = [
        "--engine",
        request.param,
        "-v",
        "--cert",
        path("server.pem"),
        "--key",
        path("server.key"),
    ]
    with Serving(*options, address="tls://127.0.0.1:0") as server:
        yield str(server.address)


def near(*words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return run(*words, "--cafile", certificates.path("ca.pem"), data=data, timeout=100)


def test_talk_ping_and_load(far_end: str) -> None:
    data = random.Random(2).randbytes(3_000_000)
    talked = near("talk", far_end, data=data)
    assert (talked.returncode, talked.stdout) == (0, data), talked.stderr
    pinged = near("ping", far_end, "-c", "5", "-i", "0", "--json")
    connected, *_, summary = [json.loads(line) for line in pinged.stdout.splitlines()]
    assert (
        pinged.returncode == 0
        and connected["tls"] == summary["tls"]
        and connected["handshake_us"] > 0
    )
    assert summary["tls"]["alpn"] == "echo" and summary["tls"]["version"] == "TLSv1.3"
    for words in (
        ["-c", "4", "-s", "1-20000"],
        ["-c", "2", "-s", "200K"],
        ["-c", "2", "--new-connections"],
        ["--rate", "500"],
    ):
        loaded = near("load", far_end, "-t", "0.5", "--json", *words)
        found = json.loads(loaded.stdout)
        least = 5 if "--new-connections" in words else 1
        assert (loaded.returncode, found["faults"], found["messages"] >= least) == (0, [], True), (
            words,
            loaded.stderr,
        )
    counted = near("load", far_end, "-n", "20", "-c", "2", "--new-connections", "--json")
    assert (counted.returncode, json.loads(counted.stdout)["messages"]) == (0, 20)


@pytest.mark.long
def test_check_over_tls(far_end: str) -> None:
    done = near("check", far_end, "--idle", "1", "--json")
    found = {
        each["name"]: (each["verdict"], each["seen"])
        for each in json.loads(done.stdout)["properties"]
    }
    assert {verdict for verdict, _ in found.values()} == {"ok"}, found


def test_who_is_not_verified_is_not_talked_to(far_end: str) -> None:
    done = run("ping", far_end, "-c", "1")
    assert done.returncode == 2 and b"certificate verify failed" in done.stderr
    insecure = run("ping", far_end, "-c", "1", "--insecure")
    assert insecure.returncode == 0 and b"not verified" in insecure.stderr
    with open(certificates.path("server.pem")) as file:
        pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest()
    assert run("ping", far_end, "-c", "1", "--pin", pin).returncode == 0
    other = run("ping", far_end, "-c", "1", "--pin", "0" * 64)
    assert other.returncode == 2 and f"its SHA-256 is {pin}".encode() in other.stderr


def test_what_is_wrong_is_told_in_a_line(tmp_path: File) -> None:
    for words in (
        ["serve", "tls://127.0.0.1:0"],
        ["serve", "7007", "--cert", "x"],
        ["serve", "tls://127.0.0.1:0", "--cert", str(tmp_path / "none")],
        ["ping", "127.0.0.1:7", "--insecure"],
        ["ping", "tls://127.0.0.1:7", "--insecure", "--pin", "0" * 64],
        ["ping", "tls://127.0.0.1:7", "--pin", "12"],
        ["talk", "tls://127.0.0.1:7", "--key", "x"],
    ):
        done = run(*words)
        assert done.returncode == 2 and done.stderr and b"Traceback" not in done.stderr, words


def test_a_client_has_to_show_its_certificate() -> None:
    path = certificates.path
    options = [
        "--cert",
        path("server.pem"),
        "--key",
        path("server.key"),
        "--client-ca",
        path("ca.pem"),
    ]
    with Serving(*options, address="tls://127.0.0.1:0") as server:
        # A TLS 1.3 far end judges the certificate after the client's handshake: only the first
        # reply shows that there is a connection.
        for cert, codes in (("client", {0}), ("stranger", {1, 2}), (None, {1, 2})):
            shown = (
                []
                if cert is None
                else ["--cert", path(f"{cert}.pem"), "--key", path(f"{cert}.key")]
            )
            done = near("ping", str(server.address), "-c", "1", "-W", "3", *shown)
            assert done.returncode in codes, cert
            assert (b"connected to" in done.stdout) == (cert == "client"), done.stdout.decode()


def test_ping_connects_anew() -> None:
    path = certificates.path
    options = [
        "--cert",
        path("server.pem"),
        "--key",
        path("server.key"),
        "--lie",
        "reset",
        "--lie-every",
        "1024",
    ]
    with Serving(*options, address="tls://127.0.0.1:0") as server:
        done = near("ping", str(server.address), "-c", "100", "-i", "0", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    again = [event for event in events if event["type"] == "connected"][1:]
    assert len(again) > 3, again
    assert [(event["handshake_us"] > 0, event["tls"]["version"]) for event in again] == [
        (True, "TLSv1.3")
    ] * len(again)
    assert events[-1]["returned"] > 50
