"""The sentences and the causes of the battery for HTTP: each in both languages, each within
reach.
"""

from __future__ import annotations

import ast
import re
import tomllib
import typing
from importlib import resources
from pathlib import Path

import pytest

from meari.check.catalogue import LANGUAGES, about
from meari.check.tables import PROPERTIES, WEB, WEBSOCKET

from .test_catalogue import OF_ANY, names_in

PACKAGE = resources.files("meari.check.web")
SENTENCES = tomllib.loads(PACKAGE.joinpath("sentences.toml").read_text(encoding="utf-8"))
CAUSES = tomllib.loads(PACKAGE.joinpath("causes.toml").read_text(encoding="utf-8"))["cause"]
# Those that are of this battery alone; the others are TCP's, too.
ALL = dict.fromkeys((*WEB, *WEBSOCKET))
OWN = list(dict.fromkeys(each.name for each in ALL if ".web." in each.module.__name__))
SHARED = [each for each in ALL if each.name not in OWN]


def calls(name: str) -> list[ast.Call]:
    module = next(each.module for each in ALL if each.name == name)
    tree = ast.parse(Path(str(module.__file__)).read_text())
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("ok", "warn", "fail", "unknown")
    ]


def test_what_is_shared_is_the_same() -> None:
    of_tcp = {each.name: each.module for each in PROPERTIES}
    assert all(of_tcp[each.name] is each.module for each in SHARED)


@pytest.mark.parametrize("name", OWN)
def test_all_that_may_be_seen_has_a_sentence(name: str) -> None:
    seen = {what for call in calls(name) for what in names_in(call)}
    assert seen == set(SENTENCES[name]), seen ^ set(SENTENCES[name])


def test_no_property_gives_another_sense_to_what_any_may_find() -> None:
    """The evidence of those is of another shape: the sentence could not be filled in."""
    general = tomllib.loads(
        resources.files("meari.check").joinpath("sentences.toml").read_text(encoding="utf-8")
    )["any"]
    assert not {
        (name, seen) for name, group in SENTENCES.items() for seen in group if seen in general
    }


@pytest.mark.parametrize(
    "path", [(name, what) for name, group in SENTENCES.items() for what in group], ids="/".join
)
def test_every_sentence_is_in_both_languages_with_the_same_numbers(path: tuple[str, str]) -> None:
    texts = SENTENCES[path[0]][path[1]]
    assert set(texts) == set(LANGUAGES)
    assert set(re.findall(r"{[^}]*}", texts["en"])) == set(re.findall(r"{[^}]*}", texts["ko"]))
    assert re.search("[가-힣]", texts["ko"]) and not re.search("[가-힣]", texts["en"])


def test_every_property_is_listed_in_both_languages() -> None:
    assert set(SENTENCES["about"]) == set(OWN)
    assert about("idle", "ko", web=True) != about("idle", "ko")
    assert about("connect", "en", web=True) == about("connect", "en")


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: str(cause["name"]))
def test_every_cause_is_of_something_that_can_be_seen(cause: dict[str, typing.Any]) -> None:
    assert set(cause["property"]) <= set(OWN)
    for what in cause["seen"]:
        assert any(what in SENTENCES[name] or what in OF_ANY for name in cause["property"]), what
    for text in ("cause", "remedy"):
        assert set(cause[text]) == set(LANGUAGES)
        assert re.search("[가-힣]", cause[text]["ko"])
    assert re.fullmatch(r"https?://\S+", cause["source"]["url"]) and cause["source"]["title"]


def test_no_cause_stands_twice() -> None:
    assert len({cause["name"] for cause in CAUSES}) == len(CAUSES)
