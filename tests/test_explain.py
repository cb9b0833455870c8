"""Each scene shows what it claims, in a run of its own; its sentences, in both languages."""

from __future__ import annotations

import functools
import re
import socket
import tomllib
import typing
from pathlib import Path

import pytest

from meari.cli.explain import play
from meari.explain import facts
from meari.explain.scenes import SCENES
from meari.explain.timeline import Moment

from .shared import once

SOURCE = Path(facts.__file__).parent
SAID = tomllib.loads((SOURCE / "sentences.toml").read_text())


@functools.cache
def played(name: str) -> list[Moment]:
    return once(f"scene-{name}", lambda: list(play(name)))


def calls(name: str, part: str = "", call: str = "") -> list[Moment]:
    """What returned, of one part and one function if they are named."""
    found = [moment for moment in played(name) if not moment.waits]
    return [
        moment
        for moment in found
        if part in ("", moment.row.part) and call in ("", moment.row.name)
    ]


def noted(name: str, note: str) -> Moment:
    """The one moment that has the note, once its call has returned."""
    (found,) = [moment for moment in played(name) if moment.row.note == note and not moment.waits]
    return found


def kinds(moment: Moment) -> list[tuple[str, str]]:
    return [(segment.source, segment.kind) for segment in moment.segments]


# What each scene claims


def test_echo_is_the_whole_flow() -> None:
    server = [moment.row.name for moment in calls("echo", "server")]
    assert server == (
        [
            "getaddrinfo",
            "socket",
            "setsockopt",
            "bind",
            "listen",
            "accept",
            "getnameinfo",
            "recv",
            "send",
            "recv",
            "close",
            "close",
            "exit",
        ]
    )
    client = [moment.row.name for moment in calls("echo", "client")]
    assert client[-6:] == ["socket", "connect", "send", "recv", "close", "exit"]
    sent, received = calls("echo", "client", "send")[0].row, calls("echo", "client", "recv")[0].row
    assert sent.arguments[1] == received.gave == '"hello\\n"'
    crossed = [kind for moment in played("echo") for kind in kinds(moment)]
    handshake = [("client", "SYN"), ("server", "SYN ACK"), ("client", "ACK")]
    assert crossed[-7:] == [
        *handshake,
        ("client", "data"),
        ("server", "data"),
        ("client", "FIN"),
        ("server", "FIN"),
    ]
    assert [ends.client.state for ends in played("echo")[-1].ends] == ["TIME_WAIT"]


def test_a_listener_and_two_connections_have_descriptors_of_their_own() -> None:
    listening = calls("two-descriptors", "server", "socket")[0].row.returned
    accepted = [moment.row.returned for moment in calls("two-descriptors", "server", "accept")]
    assert len({listening, *accepted}) == 3
    assert (
        noted("two-descriptors", "no-peer").row.error
        == noted("two-descriptors", "no-data").row.error
        == "ENOTCONN"
    )
    names = [moment.row.gave for moment in calls("two-descriptors", "server", "getsockname")]
    assert len({name.rpartition(":")[2] for name in names}) == 1  # one port for both
    closed = noted("two-descriptors", "others-stay")
    assert [entry.state for entry in closed.row.table or () if entry.remote.endswith(":0")] == [
        "LISTEN"
    ]
    assert {ends.name: ends.server.state for ends in closed.ends}["client 2"] == "ESTABLISHED"
    last = calls("two-descriptors", "client 2", "recv")[0]
    assert last.number > closed.number and last.row.gave == '"still here\\n"'


def test_the_second_client_is_connected_and_in_the_queue() -> None:
    connected, written = noted("queue", "nobody-accepted"), noted("queue", "taken-in")
    assert connected.row.returned == 0 and connected.queue == written.queue == (1, 1024)
    first, second = calls("queue", "server", "accept")
    assert first.number < connected.number < written.number < second.number
    waiting = next(ends for ends in written.ends if ends.name == "client 2")
    assert (
        waiting.server.state == "ESTABLISHED"
        and not waiting.server.held
        and waiting.server.unread == written.row.returned == 7
    )
    assert second.queue == (0, 1024) and not second.row.waited
    assert next(ends for ends in second.ends if ends.name == "client 2").server.held


def test_what_waits_and_what_does_not() -> None:
    for note, ended_by in (
        ("for-a-client", "connect"),
        ("for-data", "send"),
        ("for-the-echo", "send"),
        ("for-the-end", "close"),
    ):
        over = noted("blocking", note)
        (began,) = [
            moment for moment in played("blocking") if moment.waits and moment.row.note == note
        ]
        other = [
            moment
            for moment in played("blocking")[began.number : over.number]
            if moment.side != over.side and not moment.waits
        ]
        assert over.row.waited > 0 and other[-1].row.name == ended_by, note
    assert (
        noted("blocking", "would-block").row.error == "EAGAIN"
        and not noted("blocking", "would-block").row.waited
    )
    assert not noted("blocking", "does-not-wait").row.waited


def test_one_direction_ends_and_the_other_goes_on() -> None:
    ended = noted("eof", "half-close")
    assert kinds(ended) == [("client", "FIN")]
    assert (
        ended.row.view is not None
        and ended.row.view.state.startswith("FIN_WAIT")
        and ended.ends[0].server.state == "CLOSE_WAIT"
    )
    order = [noted("eof", note) for note in ("half-close", "data-first", "the-end", "still-writes")]
    assert [moment.number for moment in order] == sorted(moment.number for moment in order)
    assert [moment.row.returned for moment in order] == [0, 8, 0, 8]
    assert noted("eof", "still-reads").row.returned == 8


def test_the_count_is_short_and_the_rest_is_sent() -> None:
    short = noted("short-count", "short").row
    asked = int(short.arguments[2])
    assert short.returned is not None and 0 < short.returned < asked and short.waited
    # A queue that is full, and nobody reads.
    assert noted("short-count", "interrupt").ends[0].server.unread > 0
    sends = [
        moment.row.returned or 0
        for moment in calls("short-count", "client", "send")
        if not moment.row.failed
    ]
    reads = [moment.row.returned or 0 for moment in calls("short-count", "server", "recv")]
    assert sum(sends) == sum(reads) == asked and len(sends) > 2 and len(reads) > 2
    assert any(moment.row.error == "EAGAIN" for moment in calls("short-count", "client", "send"))
    assert (
        sum(
            segment.size
            for moment in played("short-count")
            for segment in moment.segments
            if segment.kind == "data"
        )
        == asked
    )


def test_lines_are_not_what_reads_give() -> None:
    both = noted("lines", "two-in-one")
    assert both.row.returned == 8
    served = calls("lines", "server")
    at = served.index(both)
    assert [(moment.row.name, moment.row.returned) for moment in served[at : at + 3]] == [
        ("recv", 8),
        ("send", 4),
        ("send", 4),
    ]
    assert [
        noted("lines", note).row.returned for note in ("too-long", "a-piece", "the-last-piece")
    ] == [8192, 8192, 10_000 - 8192]


def test_the_parents_copy_holds_the_connection_open() -> None:
    rows = [moment.row for moment in calls("fork", call="fork")]
    for parent, child in (rows[:2], rows[2:]):
        assert (
            parent.returned == child.process
            and child.returned == 0
            and parent.holds == child.holds
            and len(parent.holds) == 2
        )
    assert kinds(noted("fork", "the-parents-copy")) == []
    assert kinds(noted("fork", "the-last-copy")) == [("server", "FIN")]
    kept = noted("fork", "a-copy-is-left")
    assert (
        kinds(kept) == []
        and next(ends for ends in kept.ends if ends.name == "client 2").server.state == "CLOSE_WAIT"
    )
    at_last, learned = noted("fork", "at-last"), noted("fork", "for-the-last-copy")
    assert kinds(at_last) == [("server", "FIN")]
    (gone,) = calls("fork", "server child 2", "exit")
    assert kept.number < gone.number < at_last.number < learned.number and learned.row.returned == 0


def test_one_process_serves_whoever_has_something() -> None:
    served = calls("select", "server")
    assert len({moment.row.process for moment in served}) == 1
    assert not any(
        moment.row.waited for moment in served if moment.row.name in ("accept", "recv", "send")
    )
    assert [moment.row.gave for moment in calls("select", "server", "recv") if moment.row.gave] == [
        '"second\\n"',
        '"first\\n"',
    ]
    connected = [moment.row.part for moment in calls("select", call="connect")]
    assert connected == ["client", "client 2"]  # who came first kept silent, and held up nobody
    for moment in calls("select", "server", "select"):
        after = served[served.index(moment) + 1].row
        assert moment.row.gave == f"{{{after.fd}}}"


def test_a_write_after_a_reset_kills_or_is_epipe() -> None:
    answered = [moment for moment in calls("reset") if moment.row.note == "answers-a-reset"]
    assert [moment.row.part for moment in answered] == ["server", "server 2"]
    for moment in answered:
        assert moment.row.returned == 4 and kinds(moment) == [("server", "data"), ("client", "RST")]
    died, lived = [moment for moment in calls("reset") if moment.row.note == "after-a-reset"]
    assert died.row.returned is None and [
        moment.row.arguments for moment in calls("reset", "server", "killed")
    ] == [("SIGPIPE",)]
    assert lived.row.error == "EPIPE" and calls("reset", "server 2")[-1].row.call == "exit(0)"


def test_the_port_is_in_use_without_a_process() -> None:
    first, second, third = (
        noted("in-use", "in-time-wait"),
        noted("in-use", "reused"),
        noted("in-use", "listened-on"),
    )
    assert (first.row.error, second.row.error, third.row.error) == (
        "EADDRINUSE",
        None,
        "EADDRINUSE",
    )
    for moment in (first, second):
        (waiting,) = [entry for entry in moment.row.table or () if entry.state == "TIME_WAIT"]
        assert waiting.inode == 0 and waiting.local == moment.row.arguments[1].replace(
            "0.0.0.0", "127.0.0.1"
        )
    assert not any(
        "SO_REUSEADDR" in moment.row.call
        for moment in calls("in-use", "server 2")
        if moment.number < first.number
    )
    assert "LISTEN" in [entry.state for entry in third.row.table or ()]


def test_each_address_refuses() -> None:
    (found,) = calls("refused", call="getaddrinfo")
    asked = socket.getaddrinfo(
        None, int(found.row.arguments[1].strip('"')), type=socket.SOCK_STREAM
    )
    assert len(found.row.gave.split(", ")) == len(asked)
    tried = [(moment.row.name, moment.row.error) for moment in calls("refused")][1:-1]
    assert tried == [("socket", None), ("connect", "ECONNREFUSED"), ("close", None)] * len(asked)
    assert all(
        kinds(moment) == [("client", "SYN"), ("server", "RST")]
        for moment in calls("refused", call="connect")
    )


def test_the_records_of_a_handshake_and_an_echo() -> None:
    """The handshake is that of RFC 8446, figure 1; what a call carries is what it counts."""
    written = [
        (moment.side, [record.name for record in moment.records])
        for moment in calls("tls", call="send")
    ]
    middlebox = "ChangeCipherSpec"  # RFC 8446, appendix D.4
    proof = ["{EncryptedExtensions}", "{Certificate}", "{CertificateVerify}", "{Finished}"]
    assert written == [
        ("client", ["ClientHello"]),
        ("server", ["ServerHello", middlebox, *proof]),
        ("client", [middlebox, "{Finished}"]),
        ("server", ["[NewSessionTicket]"] * 2),
        ("client", ["[Application Data]"]),
        ("server", ["[Application Data]"]),
        ("client", ["[Alert: close_notify]"]),
        ("server", ["[Alert: close_notify]"]),
    ]
    for side, other in (("client", "server"), ("server", "client")):
        sent = [moment.records for moment in calls("tls", side, "send")]
        assert [moment.records for moment in calls("tls", other, "recv")] == sent
    for moment in (*calls("tls", call="send"), *calls("tls", call="recv")):
        assert sum(record.size for record in moment.records) == moment.row.returned
    assert noted("tls", "data").records[0].size == len(b"hello\n") + 22
    assert noted("tls", "no-data").row.returned == noted("tls", "tickets").row.returned
    fin = next(moment for moment in played("tls") if ("server", "FIN") in kinds(moment))
    assert fin.number > calls("tls", "server", "send")[-1].number


@pytest.mark.parametrize("name", SCENES)
def test_no_story_contradicts_itself(name: str) -> None:
    """Time does not go back; no end gets two FINs; a reset is only where one belongs; what waits
    has not returned.
    """
    moments = played(name)
    assert [moment.at for moment in moments] == sorted(moment.at for moment in moments)
    crossed = [
        (segment.name, segment.source, segment.kind)
        for moment in moments
        for segment in moment.segments
    ]
    fins = [each for each in crossed if each[2] == "FIN"]
    connects = len(
        [moment for moment in moments if moment.row.name == "connect" and moment.row.returned == 0]
    )
    assert len(fins) <= 2 * connects and (name == "reset" or len(fins) == len(set(fins)))
    assert ("RST" in {kind for _, _, kind in crossed}) is (name in ("reset", "refused"))
    for moment in moments:
        if moment.waits:
            row = moment.row
            assert (row.returned, row.error, row.gave, row.view) == (None, None, "", None)
            (over,) = [
                each
                for each in moments
                if not each.waits and (each.row.process, each.row.began) == (row.process, row.began)
            ]
            assert over.number > moment.number and over.row.name == row.name


# What is said


@pytest.mark.parametrize("name", SCENES)
def test_every_call_and_every_note_has_its_words(name: str) -> None:
    notes = {moment.row.note for moment in played(name)} - {""}
    assert notes == set(SAID["note"].get(name, {}))
    told = [moment.explained for moment in played(name) if moment.explained]
    assert len(told) == len(set(told))
    assert {moment.row.name for moment in played(name)} == {key.partition("-")[0] for key in told}


def test_both_languages_say_everything() -> None:
    def leaves(node: typing.Any) -> typing.Iterator[dict[str, str]]:
        if set(node) == {"en", "ko"}:
            yield node
        else:
            for each in node.values():
                yield from leaves(each)

    for texts in leaves(SAID):
        assert all(text.strip() for text in texts.values())
        assert (
            re.findall(r"\{\w+", texts["en"]) == re.findall(r"\{\w+", texts["ko"])
            or "n" in texts["en"]
        )
        assert not re.search("[가-힣]", texts["en"])
    assert set(SAID["scene"]) == set(SCENES)
