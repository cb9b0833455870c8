"""The page of `explain --html`: what is in it, and how it behaves in a real browser."""

from __future__ import annotations

import functools
import re
import shutil
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from meari.explain import facts
from meari.explain.scenes import SCENES
from meari.report.explain_page import page

from .browser import Browser
from .program import run
from .test_explain import played


@functools.cache
def whole() -> str:
    return page({name: played(name) for name in SCENES}, "en")


class _Balanced(HTMLParser):
    """Every element that is opened is closed, in order."""

    VOID = frozenset({"meta", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.asked += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else() -> None:
    parser = _Balanced()
    parser.feed(whole())
    assert parser.open == []
    assert {each for each in parser.asked if not each.startswith(("#", "data:"))} == set()
    assert "@import" not in whole() and "url(" not in whole()


def test_all_is_in_it_without_a_script() -> None:
    """Every question, answer and sentence in both languages, and a row a step."""
    text = re.sub(r"<script.*?</script>", "", whole(), flags=re.S)
    assert text.count('<li class="row">') >= 350
    for name in SCENES:
        for language in ("en", "ko"):
            for said in (facts.question(name, language), facts.answer(name, language)):
                assert f'<span lang="{language}">{escape(said)}</span>' in text
    assert not re.search(r"[^\w]on\w+=", text)  # no handler that would need one


def test_a_page_is_written(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    done = run("explain", "--html", str(file), "queue", "--lang", "ko")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert 'id="in-ko" checked' in file.read_text() and '<section id="queue"' in file.read_text()


needs_chromium = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="chromium is not installed: apt-get install chromium"
)


@pytest.mark.long
@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(1000, "light"), (390, "dark")])
def test_in_chromium(tmp_path: Path, width: int, scheme: str) -> None:
    """Every scene opens without a complaint, the slider and the keys move, both languages, on a
    phone, in the dark.
    """
    (tmp_path / "page.html").write_text(whole())
    with Browser(tmp_path, width, 900) as browser:
        browser.ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        for name in SCENES:
            browser.open(f"file://{tmp_path}/page.html#{name}")
            _scene(browser, name)
        assert browser.run("document.documentElement.scrollWidth") <= width
        dark = browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        assert dark is (scheme == "dark")
        assert browser.complaints == []


def _scene(browser: Browser, name: str) -> None:
    at = f'document.getElementById("{name}")'
    rows = browser.run(f"{at}.querySelectorAll('li').length")
    now = f"[...{at}.querySelectorAll('li')].findIndex(row => row.classList.contains('now')) + 1"
    later = f"{at}.querySelectorAll('li.later').length"
    assert browser.run(now) == rows and browser.run(later) == 0
    assert browser.run(f"{at}.getBoundingClientRect().top") < 900
    for to in (1, rows // 2, rows):
        browser.run(
            f"(() => {{ const s = {at}.querySelector('input'); s.value = {to}; "
            "s.dispatchEvent(new Event('input')); })()"
        )
        assert browser.run(now) == to and browser.run(later) == rows - to
        assert browser.run(f"{at}.querySelector('output').textContent") == f"{to} / {rows}"
    browser.run(f"{at}.querySelector('input').focus()")
    browser.key("Home")
    assert browser.run(now) == 1
    browser.key("ArrowRight")
    assert browser.run(now) == 2
    browser.run("document.activeElement.blur()")
    browser.run(f"{at}.scrollIntoView()")
    browser.key("ArrowRight")
    assert browser.run(now) == 3
    browser.key("ArrowLeft")
    assert browser.run(now) == 2
    shown = (
        f"[...{at}.querySelectorAll('h2 [lang]')].filter(each => each.offsetParent !== "
        "null).map(each => each.textContent).join()"
    )
    assert browser.run(shown) == facts.question(name, "en")
    browser.key("l")
    assert (
        browser.run(shown) == facts.question(name, "ko")
        and browser.run("document.documentElement.lang") == "ko"
    )
    browser.run("document.querySelector('label[for=in-en]').click()")
    assert browser.run(shown) == facts.question(name, "en")


@pytest.mark.long
@needs_chromium
def test_the_queues_are_bars_that_grow_and_shrink(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(whole())
    with Browser(tmp_path, 1000, 900) as browser:
        browser.open(f"file://{tmp_path}/page.html#short-count")
        browser.ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-reduced-motion", "value": "reduce"}],
        )
        at = 'document.getElementById("short-count")'
        rows = browser.run(f"{at}.querySelectorAll('li').length")
        widths = []
        for to in range(1, rows + 1):
            browser.run(
                f"(() => {{ const s = {at}.querySelector('input'); s.value = {to}; "
                "s.dispatchEvent(new Event('input')); })()"
            )
            widths.append(
                browser.run(
                    f"Math.max(0, ...[...{at}.querySelectorAll('.bar span')].map(bar => "
                    "bar.offsetWidth))"
                )
            )
        assert widths[0] == widths[-1] == 0 and max(widths) > 100


@pytest.mark.long
@needs_chromium
@pytest.mark.parametrize("language", ["en", "ko"])
def test_it_reads_without_a_script(tmp_path: Path, language: str) -> None:
    (tmp_path / "page.html").write_text(whole())
    with Browser(tmp_path, 390, 900) as browser:
        browser.ask("Emulation.setScriptExecutionDisabled", value=True)
        browser.open(f"file://{tmp_path}/page.html")
        assert browser.run("document.documentElement.className") == ""
        assert browser.run("getComputedStyle(document.querySelector('.panel')).display") == "none"
        browser.run(f"document.getElementById('in-{language}').checked = true")
        for shown, said in (("en", language == "en"), ("ko", language == "ko")):
            assert (
                browser.run(f"document.querySelector('h2 [lang={shown}]').offsetParent !== null")
            ) is said
        assert browser.run(
            "[...document.querySelectorAll('li')].every(row => getComputedStyle(row).opacity === "
            "'1')"
        )
        assert browser.run("document.documentElement.scrollWidth") <= 390
