"""`meari explain`, the command: its text, its JSON, step by step, and what ends it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
from pathlib import Path

import jsonschema
import pytest

from meari.explain import facts
from meari.explain.scenes import SCENES

from .program import MEARI, children, run, until
from .test_explain import SOURCE


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_timeline_as_text(language: str) -> None:
    done = run("explain", "queue", "--lang", language)
    text = done.stdout.decode()
    assert done.returncode == 0 and done.stderr == b""
    assert text.startswith("queue  ") and facts.question("queue", language) in text.replace(
        "\n", " "
    )
    squeezed = re.sub(r"\s+", "", text)
    for said in (
        facts.answer("queue", language),
        facts.note("queue", "nobody-accepted", language),
        facts.call("listen", language),
    ):
        assert re.sub(r"\s+", "", said) in squeezed
    assert max(map(len, text.splitlines())) <= 100


def test_the_steps_as_json() -> None:
    done = run("explain", "eof", "refused", "--json")
    document = json.loads(done.stdout)
    schema = json.loads((SOURCE.parent / "report" / "explain.schema.json").read_text())
    jsonschema.validate(document, schema)
    assert [scene["scene"] for scene in document["scenes"]] == ["eof", "refused"]
    assert any(
        step["name"] == "shutdown" and step["says"] for step in document["scenes"][0]["steps"]
    )


def test_step_by_step_nothing_moves_without_a_key() -> None:
    """On a terminal of its own: three keys are three steps; q shows the rest at once."""
    main, side = pty.openpty()
    with subprocess.Popen(
        [*MEARI, "explain", "--step"], stdin=side, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.close(side)
        assert process.stdout is not None and process.stderr is not None
        try:
            shown = b""

            def reads(wanted: bytes) -> None:
                nonlocal shown
                while wanted not in shown:
                    assert process.stdout is not None
                    ready = select.select([process.stdout.fileno()], [], [], 20)[0]
                    assert ready, (wanted, shown[-400:])
                    piece = os.read(process.stdout.fileno(), 4096)
                    assert piece, shown
                    shown += piece

            reads(b"getaddrinfo(NULL")
            assert b"socket(" not in shown
            os.write(main, b" ")  # perhaps before it waits for a key
            reads(b"socket(")
            assert b"bind(" not in shown
            os.write(main, b" ")
            reads(b"SO_REUSEADDR")
            os.write(main, b"q")
            reads(b"exit(0)")
            rest, told = process.communicate(timeout=20)
            assert process.returncode == 0 and b"TIME_WAIT" in shown + rest and b"Space" in told
        finally:
            process.kill()
            os.close(main)


def test_the_end_of_the_input_is_no_key() -> None:
    done = subprocess.run(
        [*MEARI, "explain", "refused", "--step"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.count(b"ECONNREFUSED") >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nobody_is_left_when_it_is_ended(number: signal.Signals) -> None:
    with subprocess.Popen(
        [*MEARI, "explain", "--step"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        until(lambda: len(children(process.pid)) == 2)
        parts = children(process.pid)
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
        until(lambda: not any(Path(f"/proc/{part}/fd").exists() for part in parts))
        assert b"Traceback" not in told and (
            number == signal.SIGKILL or process.returncode in (130, 143, -number)
        )


def test_what_it_refuses() -> None:
    for words in (["nothing"], ["--step", "--json"], ["--html", "/nowhere/page.html"]):
        done = run("explain", *words)
        assert (
            done.returncode == 2 and done.stdout == b"" and b"meari explain" in done.stderr
        ) or b"meari:" in done.stderr, words


@pytest.mark.parametrize(
    ("words", "shell"),
    [
        (["메아리"], ""),
        (["echo"], "ulimit -n 64; "),
        (["echo"], "exec >/dev/full; "),
        (["echo", "--json"], "exec >/dev/full; "),
        (["refused", "--html", "/dev/full"], ""),
    ],
)
def test_what_goes_wrong_is_told_in_a_line(words: list[str], shell: str) -> None:
    """An argument that is not ASCII, no descriptors left, an output that takes nothing."""
    done = subprocess.run(
        ["bash", "-c", f'{shell}exec "$@"', "bash", *MEARI, "explain", *words],
        capture_output=True,
        timeout=30,
        check=False,
    )
    told = done.stderr.decode().splitlines()
    assert (
        done.returncode == 2
        and told[0].startswith("meari")
        and len(told) <= 2
        and done.stdout == b""
    ), told


@pytest.mark.parametrize("how", ["| head -1", ">&-"])
def test_an_output_that_nobody_reads_is_no_trouble(how: str) -> None:
    command = f'set -o pipefail; "$@" {how}'
    done = subprocess.run(
        ["bash", "-c", command, "bash", *MEARI, "explain", "eof"],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == b"", done.stderr.decode()


def test_the_list() -> None:
    assert [
        line.split()[0] for line in run("explain", "--list").stdout.decode().splitlines()
    ] == list(SCENES)
