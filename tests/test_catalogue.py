"""What a finding says, and what it may come from: the sentences and the causes, each in both
languages, each within reach.
"""

from __future__ import annotations

import ast
import re
import string
import tomllib
import typing
from importlib import resources
from pathlib import Path

import pytest

from meari.check import properties
from meari.check.battery import Result
from meari.check.catalogue import LANGUAGES, about, causes
from meari.check.finding import Finding, fail, ok, unknown, warn
from meari.check.tables import PROPERTIES
from meari.report import check as report
from meari.units import duration, size

PACKAGE = resources.files("meari.check")
SENTENCES = tomllib.loads(PACKAGE.joinpath("sentences.toml").read_text(encoding="utf-8"))
CAUSES = tomllib.loads(PACKAGE.joinpath("causes.toml").read_text(encoding="utf-8"))["cause"]
NAMES = [each.name for each in PROPERTIES]
SOURCE = Path(properties.__file__).parent
# What the battery itself may find.
OF_ANY = {
    "needs",
    "needs-more",
    "unreachable",
    "here",
    "stuck",
    "broke",
    "died",
    "exited",
    "not-as-sent",
    "unfinished",
}


def strings(name: str) -> set[str]:
    """Every text in the file of a property: what it may have seen is among them."""
    tree = ast.parse((SOURCE / f"{name.replace('-', '_')}.py").read_text())
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def names_in(call: ast.Call) -> set[str]:
    """What its first argument may be."""
    first = call.args[0] if call.args else ast.Constant("ok")
    parts = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
    return {
        part.value
        for part in parts
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


def seen(name: str) -> set[str]:
    """The first arguments of ok, warn, fail and unknown in the file of a property."""
    tree = ast.parse((SOURCE / f"{name.replace('-', '_')}.py").read_text())
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    return {
        what
        for call in calls
        if getattr(call.func, "id", "") in ("ok", "warn", "fail", "unknown")
        for what in names_in(call)
    }


@pytest.mark.parametrize("name", NAMES)
def test_all_that_may_be_seen_has_a_sentence(name: str) -> None:
    told = set(SENTENCES[name]) | set(SENTENCES["any"])
    assert seen(name) <= told
    assert set(SENTENCES[name]) <= strings(name), "a sentence that nothing leads to"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_sentence_says_is_in_its_evidence(name: str) -> None:
    tree = ast.parse((SOURCE / f"{name.replace('-', '_')}.py").read_text())
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("ok", "warn", "fail", "unknown")
        ):
            continue
        given = {word.arg for word in node.keywords if word.arg}
        if any(word.arg is None for word in node.keywords):
            given |= strings(name)  # of the dicts that are unpacked
        for what in names_in(node):
            text = (SENTENCES[name].get(what) or SENTENCES["any"][what])["en"]
            assert {field for _, field, _, _ in string.Formatter().parse(text) if field} <= given, (
                what
            )


@pytest.mark.parametrize(
    "path", [(name, what) for name, group in SENTENCES.items() for what in group], ids="/".join
)
def test_every_sentence_is_in_both_languages_with_the_same_numbers(path: tuple[str, str]) -> None:
    texts = SENTENCES[path[0]][path[1]]
    assert set(texts) == set(LANGUAGES)
    assert set(re.findall(r"{[^}]*}", texts["en"])) == set(re.findall(r"{[^}]*}", texts["ko"]))
    assert re.search("[가-힣]", texts["ko"])
    assert not re.search("[가-힣]", texts["en"])


def test_every_property_is_listed_in_both_languages() -> None:
    assert set(SENTENCES["about"]) == set(NAMES)
    assert about("idle", "ko") != about("idle", "en")


@pytest.mark.parametrize("name", NAMES)
def test_whatever_fails_has_a_likely_cause(name: str) -> None:
    """Of what may be seen, of a server of ours or of any path."""
    tree = ast.parse((SOURCE / f"{name.replace('-', '_')}.py").read_text())
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    bad = {
        what
        for call in calls
        if getattr(call.func, "id", "") in ("fail", "warn")
        for what in names_in(call)
    } | {"died"}
    known = {
        what for cause in CAUSES if {name, "*"} & set(cause["property"]) for what in cause["seen"]
    }
    assert bad - known <= {"none"}, "that nobody answers ends the check"


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: str(cause["name"]))
def test_every_cause_is_of_something_that_can_be_seen(cause: dict[str, typing.Any]) -> None:
    applies = NAMES if cause["property"] == ["*"] else cause["property"]
    assert set(applies) <= set(NAMES)
    for what in cause["seen"]:
        assert any(what in SENTENCES[name] or what in OF_ANY for name in applies), what
    for name in applies if cause["property"] != ["*"] else []:
        assert any(what in SENTENCES[name] or what in OF_ANY for what in cause["seen"]), name
    for text in ("cause", "remedy"):
        assert set(cause[text]) == set(LANGUAGES)
        assert re.search("[가-힣]", cause[text]["ko"])
    assert cause["source"]["title"]
    assert re.fullmatch(r"https?://\S+", cause["source"]["url"])
    assert set(cause) <= {
        "name",
        "property",
        "seen",
        "when",
        "spawned",
        "cause",
        "remedy",
        "form",
        "source",
        "example",
    }
    for form in cause.get("form", {}).values():
        assert set(form) == set(LANGUAGES)


def test_there_are_causes_enough_and_none_twice() -> None:
    assert len(CAUSES) >= 25
    assert len({cause["name"] for cause in CAUSES}) == len(CAUSES)


def named(result: Result, *, spawned: bool = False) -> list[str]:
    return [cause.name for cause in causes(result, "en", spawned=spawned)]


@pytest.mark.parametrize(
    ("alive", "dead", "what", "expected"),
    [
        (340.0, 360.0, "reset-when-used", "aws-350"),
        (240.0, 270.0, "silence", "conntrack"),  # 240 lived: it is not the 4 minutes
        (228.0, 240.0, "silence", "azure-4-minutes"),
        (40.0, 50.1, "closed", "haproxy-debian-50-seconds"),
        (40.0, 47.0, "closed", "idle-timeout-of-a-proxy"),
        (50.0, 60.2, "reset", "classic-elb-60-seconds"),
    ],
)
def test_the_evidence_chooses_among_the_causes(
    alive: float, dead: float, what: str, expected: str
) -> None:
    found = Result("idle", fail(what, longest_alive_s=alive, dead_s=dead), 1.0)
    assert named(found)[0] == expected


def test_what_holds_and_what_cannot_be_told_has_no_cause() -> None:
    assert named(Result("half-close", ok(sent=1), 1.0)) == []
    assert named(Result("half-close", unknown("needs", property="bytes"), 1.0)) == []


def test_a_cause_of_servers_of_somebodys_own_is_told_of_those_alone() -> None:
    found = Result(
        "half-close", fail("lost", way="data", sent=10, missing=1, how="FIN", patience_s=3.0), 1.0
    )
    assert "nginx-half-close" in named(found)
    assert "nginx-half-close" not in named(found, spawned=True)
    assert "returns-before-writing-the-rest" in named(found, spawned=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000581, "58.1 us"),
        (0.00231, "2.31 ms"),
        (1.5, "1.5 s"),
        (0, "0 us"),
        (0.9998, "1 s"),
        (0.00099984, "1 ms"),
        (3600, "3,600 s"),
    ],
)
def test_times_as_people_read_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 byte"),
        (64, "64 bytes"),
        (999_960, "1.0 MB"),
        (16_777_216, "16.8 MB"),
        (1e9, "1.0 GB"),
        (2600, "2.6 kB"),
    ],
)
def test_sizes_as_people_read_them(count: float, text: str) -> None:
    assert size(count) == text


def test_what_could_not_be_tried_is_one_line() -> None:
    results = [
        Result(name, unknown("needs", property="partial"), 0.0) for name in ("bytes", "close")
    ]
    assert list(report.unjudged(results, "en")) == [
        "  ?     bytes, close",
        "                     can't tell: partial does not hold",
    ]


@pytest.mark.parametrize(
    ("findings", "english"),
    [
        ([ok(), ok()], "all 2 properties hold (1.5 s)"),
        ([ok(), warn("x")], "all 2 properties hold, 1 with a warning (1.5 s)"),
        (
            [fail("x"), warn("x"), unknown("x")],
            "1 of 3 properties does not hold, 1 with a warning, 1 can't be told (1.5 s)",
        ),
        ([ok(), unknown("x")], "none of 2 properties fails, 1 can't be told (1.5 s)"),
    ],
)
def test_the_last_line(findings: list[Finding], english: str) -> None:
    results = [Result("close", finding, 0.1) for finding in findings]
    assert report.closing(results, 1.5, "en") == english
    assert re.search("[가-힣]", report.closing(results, 401.0, "ko"))
