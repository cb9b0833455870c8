"""Scenes as one self-contained page: sequence diagrams in inline SVG, in both languages, light and
dark.

Each step is a row of three cells: the client's call, the two life lines with the segments between
them, the server's call. So the calls wrap as text, on a phone too, and the SVG pieces of all rows
form one diagram. The page works without scripts; the script adds the slider.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import resources

from ..explain import facts
from ..explain.timeline import CLIENT, SERVER, Ends, Moment, Segment
from .explain import duration

_LANGUAGES = ("en", "ko")
_X = {CLIENT: 6, SERVER: 94}  # of the life lines, in percent of the width
# Pixels: the first line of a row, the height of one, of two states, of a bar with its text.
_TOP, _LINE, _TWO, _BAR = 20, 24, 24, 34
_LONGEST = 42  # percent of the width, of a bar
_TEXTS = {
    "title": {"en": "meari explain: what the kernel does", "ko": "meari explain: 커널이 하는 일"},
    "how": {
        "en": "Each row is one system call of a real run of two programs, with its return value"
        " and the state of the connection just after. Move a slider to the left, or press the left"
        " arrow key, to go through the steps; the L key changes the language.",
        "ko": "한 줄이 두 프로그램을 실제로 실행하며 부른 호출 하나입니다. 반환값과 직후의 연결"
        " 상태를 보여 줍니다. 슬라이더를 왼쪽으로 끌거나 왼쪽 화살표 키를"
        " 누르면 단계를 따라갈 수 있고, L 키는 언어를 바꿉니다.",
    },
    "back": {"en": "back", "ko": "이전"},
    "on": {"en": "next", "ko": "다음"},
    "step": {"en": "step", "ko": "단계"},
    "unread": {"en": "{n} unread", "ko": "안 읽음 {n}"},
    "unsent": {"en": "{n} unacknowledged", "ko": "ACK 대기 {n}"},
    "queue": {"en": "accept queue", "ko": "accept 큐"},
}


def page(scenes: Mapping[str, Sequence[Moment]], language: str) -> str:
    """The whole page; *language* is selected at first."""
    style, script = (
        resources.files(__package__).joinpath(f"explain.{kind}").read_text(encoding="utf-8")
        for kind in ("css", "js")
    )
    chosen = "".join(
        f'<input type="radio" name="language" id="in-{each}"'
        f'{" checked" if each == language else ""} aria-label="{label}">'
        for each, label in (("en", "English"), ("ko", "한국어"))
    )
    links = "".join(f'<a href="#{name}">{name}</a>' for name in scenes)
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,">'
        f"<title>{_TEXTS['title'][language]}</title><style>\n{style}</style></head>\n<body>{chosen}\n"
        f'<header><p class="languages"><label for="in-en">English</label>'
        f' <label for="in-ko">한국어</label></p>'
        f'<h1>{_both("title")}</h1><p class="mute">{_both("how")}</p><nav>{links}</nav></header>\n'
        f"<main>{''.join(_scene(name, moments) for name, moments in scenes.items())}</main>\n"
        f"<script>\n{script}</script></body></html>\n"
    )


def _both(key: str) -> str:
    return _spans(_TEXTS[key])


def _spans(texts: Mapping[str, str], tag: str = "span") -> str:
    return "".join(f'<{tag} lang="{each}">{escape(texts[each])}</{tag}>' for each in _LANGUAGES)


def _word(key: str, **values: object) -> dict[str, str]:
    return {each: facts.word(key, each, **values) for each in _LANGUAGES}


def _scene(name: str, moments: Sequence[Moment]) -> str:
    words = {key: _TEXTS[key] for key in ("unread", "unsent", "queue")} | {
        key: _word(key) for key in ("gone", CLIENT, SERVER)
    }
    data = "".join(
        f' data-{key}-{each}="{escape(texts[each])}"'
        for key, texts in words.items()
        for each in _LANGUAGES
    )
    heads = "".join(f"<div>{_spans(_word(each))}</div>" for each in (CLIENT, "kernel", SERVER))
    asleep: dict[str, set[int]] = {CLIENT: set(), SERVER: set()}
    rows = "".join(_row(name, moment, asleep) for moment in moments)
    panel = (
        f'<div class="panel"><div class="moves"><button type="button">{_both("back")}</button>'
        f'<input type="range" min="1" max="{len(moments)}" value="{len(moments)}"'
        f' aria-label="{_TEXTS["step"]["en"]}: {name}">'
        f'<button type="button">{_both("on")}</button><output></output></div>'
        f'<div class="ends"></div></div>'
    )
    question = _spans({each: facts.question(name, each) for each in _LANGUAGES})
    answer = _spans({each: facts.answer(name, each) for each in _LANGUAGES})
    data_of_moments = json.dumps([_facts(moment) for moment in moments]).replace("<", "\\u003c")
    return (
        f'<section id="{name}"{data}><h2>{name}: {question}</h2>\n'
        f'{panel}<div class="heads">{heads}</div>\n<ol class="steps">{rows}</ol>\n'
        f'<p class="answer">{answer}</p>'
        f'<script type="application/json">{data_of_moments}</script></section>\n'
    )


def _facts(moment: Moment) -> dict[str, object]:
    """The data of a moment for the script."""
    return {
        "ends": [
            {"name": ends.name}
            | {
                side: [ends.side(side).state, ends.side(side).unread, ends.side(side).unsent]
                for side in (CLIENT, SERVER)
            }
            for ends in moment.ends
        ],
        "queue": moment.queue,
    }


def _row(scene: str, moment: Moment, asleep: dict[str, set[int]]) -> str:
    """*asleep*: the blocked processes of each side; it is updated here."""
    if moment.waits:
        asleep[moment.side].add(moment.row.process)
    else:
        asleep[moment.side].discard(moment.row.process)
    call = f'<div class="call {moment.side}">{_call(moment)}</div>'
    between = _between(moment, {side for side, processes in asleep.items() if processes})
    says = ""
    if moment.explained:
        said = _spans({each: facts.call(moment.explained, each) for each in _LANGUAGES})
        says += f'<p class="says {moment.side}">{said}</p>'
    if moment.note:
        note = _spans({each: facts.note(scene, moment.note, each) for each in _LANGUAGES})
        says += f'<p class="says note {moment.side}">{note}</p>'
    return f'<li class="row">{call}{between}{says}</li>\n'


def _call(moment: Moment) -> str:
    row = moment.row
    parts = [
        f"<b>{escape(row.part)}</b>" if row.part not in (CLIENT, SERVER) else "",
        escape(row.call),
    ]
    if moment.waits:
        parts.append(f' <span class="wait">… {_spans(_word("waits"))}</span>')
        return "".join(parts)
    if row.result:
        parts.append(
            f' <span class="{"failed" if row.failed else "result"}">{escape(row.result)}</span>'
        )
    if row.waited:
        parts.append(
            f' <span class="wait">({_spans(_word("waited", time=duration(row.waited)))})</span>'
        )
    if row.name in ("fork", "close") and row.holds:
        fds = ", ".join(str(fd) for fd, _ in row.holds)
        parts.append(f' <span class="mute">[{_spans(_word("open", fds=fds))}]</span>')
    for record in moment.records:
        size = f'<span class="mute">{record.size:,}</span>'
        parts.append(f'<span class="record">{escape(record.name)} {size}</span>')
    return "".join(parts)


# The middle


def _between(moment: Moment, asleep: set[str]) -> str:
    drawn = [
        f'<line class="life{" asleep" if side in asleep else ""}"'
        f' x1="{x}%" x2="{x}%" y1="0" y2="100%"/>'
        for side, x in _X.items()
    ]
    y = _TOP
    for segment in moment.segments:
        drawn.append(_arrow(segment, y, named=len({ends.name for ends in moment.ends}) > 1))
        y += _LINE
    for ends in moment.ends:
        if ends.name in moment.changed:
            for piece, height in _states(ends, y):
                drawn.append(piece)
                y += height
    if moment.queue is not None and moment.queue[0]:
        drawn.append(
            _text(
                _word("queue", n=moment.queue[0], limit=moment.queue[1]),
                "50%",
                y,
                "queue",
                "middle",
            )
        )
        y += _LINE
    explained = ", ".join(segment.kind for segment in moment.segments) or "nothing crosses"
    svg = f'<svg role="img" aria-label="{escape(explained)}">{"".join(drawn)}</svg>'
    return f'<div class="between" style="min-height:{y}px">{svg}</div>'


def _arrow(segment: Segment, y: int, *, named: bool) -> str:
    label = dict.fromkeys(_LANGUAGES, segment.kind)
    if segment.kind == "data":
        label = _word("byte" if segment.size == 1 else "data", n=segment.size)
    if named:
        label = {each: f"{segment.name}: {text}" for each, text in label.items()}
    kind = segment.kind.replace(" ", "-")
    start, end = (_X[CLIENT], _X[SERVER]) if segment.source == CLIENT else (_X[SERVER], _X[CLIENT])
    back = -9 if segment.source == CLIENT else 9
    path = f'<path class="head {kind}" d="M0 0L{back} -5L{back} 5Z"/>'
    head = f'<svg x="{end}%" y="{y}" overflow="visible">{path}</svg>'
    return (
        f'<line class="arrow {kind}" x1="{start}%" x2="{end}%" y1="{y}" y2="{y}"/>{head}'
        + _text(label, "50%", y - 7, "", "middle")
    )


def _states(ends: Ends, y: int) -> Iterator[tuple[str, int]]:
    """The two states, and a bar for each queue that is not empty: SVG and height."""
    gone = _word("gone")
    yield (
        "".join(
            _text(
                {each: ends.side(side).state or gone[each] for each in _LANGUAGES},
                f"{x}%",
                y,
                f"state {side}",
                anchor,
                shift,
            )
            for side, x, anchor, shift in (
                (CLIENT, _X[CLIENT], "start", 6),
                (SERVER, _X[SERVER], "end", -6),
            )
        ),
        _TWO,
    )
    y += _TWO
    for side, x in _X.items():
        end = ends.side(side)
        for name, size in (("unread", end.unread), ("unsent", end.unsent)):
            if size:
                width = min(_LONGEST, 4 + size**0.5 / 12)
                left = x if side == CLIENT else x - width
                texts = {each: _TEXTS[name][each].format(n=f"{size:,}") for each in _LANGUAGES}
                anchor, shift = ("start", 6) if side == CLIENT else ("end", -6)
                box = f'x="{left}%" y="{y + 3}" width="{width:.1f}%" height="7" rx="2"'
                bar = f'<rect class="fill" {box}/>'
                yield bar + _text(texts, f"{x}%", y + 20, "state", anchor, shift), _BAR
                y += _BAR


def _text(texts: Mapping[str, str], x: str, y: int, kind: str, anchor: str, shift: int = 0) -> str:
    return "".join(
        f'<text lang="{each}" class="{kind}" x="{x}" y="{y}" dx="{shift}"'
        f' text-anchor="{anchor}">{escape(texts[each])}</text>'
        for each in _LANGUAGES
    )
