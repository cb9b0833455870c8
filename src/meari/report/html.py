"""A result as one self-contained page: inline SVG, no script, light and dark, readable on a
phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from importlib import resources

from ..client.results import Result
from ..histogram import Histogram
from ..units import size
from . import text

_WIDTH, _HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 16, 18, 34  # margins of a drawing, for its labels
_FAULTS = 200  # rows


def page(result: Result) -> str:
    """The whole page."""
    title = f"meari load: {result.far_end}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="mute">{escape(str(result.plan))} · {escape(result.started)}</p>',
        *_notes(result),
        _figures(result),
        *_curve(result),
        *_over_time(result),
        *_faults(result),
        *_how(result),
    ]
    style = resources.files(__package__).joinpath("load.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title>'
        f"<style>\n{style}</style></head>\n<body>\n{chr(10).join(parts)}\n</body></html>\n"
    )


def _notes(result: Result) -> Iterator[str]:
    """Warnings about the figures."""
    for warning in text.warnings(result):
        yield f'<p class="bad">{escape(" ".join(warning.split()))}</p>'
    if result.faults or not result.complete or not result.count.messages:
        yield f'<p class="bad">Faults: {escape(text.verdict(result))}.</p>'


def _figures(result: Result) -> str:
    h = result.headline
    shown = [
        ("messages a second", f"{result.messages_per_second:,.0f}"),
        (text.direction(result), f"{size(result.bytes_per_second)}/s"),
        ("p50", text.duration(h.quantile(0.5))),
        ("p99", text.duration(h.quantile(0.99))),
        ("p99.9", text.duration(h.quantile(0.999))),
        ("max", text.duration(h.greatest)),
        ("faults", f"{result.faults:,}"),
    ]
    return (
        '<div class="figures">'
        + "".join(f"<div><b>{escape(v)}</b>{escape(k)}</div>" for k, v in shown)
        + "</div>"
    )


# Drawings


class Axes:
    """A drawing's frame: *x* and *y* map values to 0..1, ticks are (value, label)."""

    def __init__(self, x: Callable[[float], float], y: Callable[[float], float]) -> None:
        self._x, self._y = x, y
        self._parts: list[str] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (
            round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(self._x(x), 0.0), 1.0), 1),
            round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - min(max(self._y(y), 0.0), 1.0)), 1),
        )

    def rows(self, ticks: Sequence[tuple[float, str]], at_x: float) -> None:
        for value, label in ticks:
            x, y = self.at(at_x, value)
            self._parts.append(f'<path class="grid" d="M{x} {y}H{_WIDTH - _RIGHT}"/>')
            self._parts.append(
                f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{escape(label)}</text>'
            )

    def columns(self, ticks: Sequence[tuple[float, str]], at_y: float) -> None:
        for value, label in ticks:
            x, y = self.at(value, at_y)
            self._parts.append(f'<path class="grid" d="M{x} {_TOP}V{y}"/>')
            self._parts.append(
                f'<text x="{x}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(label)}</text>'
            )

    def line(self, points: Sequence[tuple[float, float]], classes: str) -> None:
        path = "L".join("{} {}".format(*self.at(x, y)) for x, y in points)
        self._parts.append(f'<path class="line {classes}" d="M{path}"/>')

    def svg(self, label: str) -> str:
        inside = "".join(self._parts)
        box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}"'
        return f"<svg {box}>{inside}</svg>"


def nice(most: float, least: float = 0.0, parts: int = 4) -> list[float]:
    """Round values from about *least* to *most*, in about *parts* steps."""
    step = (most - least) / parts or 1.0
    size = 10 ** math.floor(math.log10(step))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= step * 0.999)
    first = math.floor(least / step)
    return [step * i for i in range(first, math.ceil(most / step - 1e-9) + 1)]


def _curve(result: Result) -> Iterator[str]:
    """Latency by percentile; each further nine has the same width."""
    curves = [("round trip", result.count.times["round_trip"], "a")]
    if result.plan.rate is not None:
        curves = [
            ("from when it was due", result.count.times["from_due"], "a"),
            ("from when it was sent", curves[0][1], "b dash"),
        ]
    if not curves[0][1].total:
        return
    nines = max(2.0, math.log10(curves[0][1].total))
    most = max(h.greatest for _, h, _ in curves) / 1e3
    rows = nice(most)
    axes = Axes(lambda q: -math.log10(max(1 - q, 10**-nines)) / nines, lambda v: v / rows[-1])
    axes.rows([(v, text.duration(v * 1e3) if v else "0") for v in rows], 0)
    axes.columns([(1 - 10**-n, f"{100 * (1 - 10**-n):.10g} %") for n in range(int(nines) + 1)], 0)
    for _, histogram, classes in curves:
        axes.line([(q, value / 1e3) for value, q, _ in histogram.curve()], classes)
    yield "<h2>Latency by percentile</h2>"
    legend = _legend([(n, c) for n, _, c in curves])
    svg = axes.svg("latency by percentile")
    yield f"<figure id=curve>{svg}<figcaption>{legend}</figcaption></figure>"
    yield _table(curves)


def _table(curves: Sequence[tuple[str, Histogram, str]]) -> str:
    columns = (
        ("p50", 0.5),
        ("p90", 0.9),
        ("p99", 0.99),
        ("p99.9", 0.999),
        ("p99.99", 0.9999),
        ("max", 1.0),
    )
    head = "".join(f'<th class="n">{name}</th>' for name, _ in columns)
    rows = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f'<td class="n">{text.duration(h.quantile(q))}</td>' for _, q in columns)
        + "</tr>"
        for name, h, _ in curves
    )
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{rows}</table></div>'


def _legend(names: Sequence[tuple[str, str]]) -> str:
    return " · ".join(
        '<svg viewBox="0 0 24 8" style="width:24px;height:8px">'
        f'<path class="line {classes}" d="M0 4H24"/></svg> {escape(name)}'
        for name, classes in names
    )


def _over_time(result: Result) -> Iterator[str]:
    points = [p for p in result.points if p.seconds > 0]
    if len(points) < 2:
        return
    name = "round_trip" if result.plan.rate is None else "from_due"
    end = points[-1].at + points[-1].seconds

    def draw(
        heading: str,
        label: str,
        lines: list[tuple[str, list[float], str]],
        tick: Callable[[float], str],
    ) -> Iterator[str]:
        rows = nice(max((max(values) for _, values, _ in lines), default=1.0) or 1.0)
        axes = Axes(lambda t: t / end, lambda v: v / rows[-1])
        axes.rows([(v, tick(v)) for v in rows], 0)
        axes.columns([(t, f"{t:g} s") for t in nice(end) if t <= end], 0)
        for _, values, classes in lines:
            axes.line(
                [(p.at + p.seconds / 2, v) for p, v in zip(points, values, strict=True)], classes
            )
        yield f"<h2>{heading}</h2>"
        legend = _legend([(n, c) for n, _, c in lines])
        yield f"<figure>{axes.svg(label)}<figcaption>{legend}</figcaption></figure>"

    rates = [p.count.messages / p.seconds for p in points]
    yield from draw(
        "Rate over time",
        "messages a second over time",
        [("messages a second", rates, "a")],
        lambda v: f"{v:,.0f}",
    )
    p50, p99 = ([p.count.times[name].quantile(q) for p in points] for q in (0.5, 0.99))
    yield from draw(
        "Latency over time",
        "latency over time",
        [("p99", p99, "b"), ("p50", p50, "a")],
        lambda v: text.duration(v) if v else "0",
    )


def _faults(result: Result) -> Iterator[str]:
    yield "<h2>Faults</h2>"
    if not result.faults:
        yield f"<p>{escape(text.verdict(result).capitalize())}.</p>"
        return
    head = "".join(f'<th class="n">{name}</th>' for name in ("connection", "offset", "bytes"))
    yield f'<div class="scroll"><table><tr><th>kind</th>{head}<th>what</th></tr>'
    for fault in result.count.faults[:_FAULTS]:
        detail = escape(fault.detail)
        if fault.returned:
            detail += (
                f"<br><code>sent {fault.sent.hex(' ')}<br>came {fault.returned.hex(' ')}</code>"
            )
        numbers = "".join(
            f'<td class="n">{n:,}</td>' for n in (fault.connection, fault.offset, fault.length)
        )
        yield f"<tr><td>{escape(fault.kind)}</td>{numbers}<td>{detail}</td></tr>"
    yield "</table></div>"
    if result.faults > _FAULTS:
        yield f"<p>... and {result.faults - min(_FAULTS, len(result.count.faults)):,} more.</p>"


def _how(result: Result) -> Iterator[str]:
    """The parameters of the run, to repeat it."""
    yield '<h2>How it was run</h2><div class="scroll"><table>'
    plan = result.plan
    rows = [
        ("far end", result.far_end),
        ("asked for", plan.address),
        ("load", str(plan)),
        (
            "measured",
            f"{result.seconds:.2f} s, after {plan.warmup:g} s of warming up,"
            f" by {plan.processes} process(es)",
        ),
        (
            "connections",
            f"{result.count.opened:,} opened, {result.count.lost:,} lost,"
            f" {result.count.unserved:,} unserved",
        ),
        ("network", text.network(result.count) if result.over_a_network else "a Unix socket: none"),
        (
            "near end",
            f"busy {100 * result.busy:.0f} % of the time;"
            f" was the limit: {'yes' if result.near_end_was_the_limit else 'no'}",
        ),
        ("run", f"{result.run:08x}"),
    ]
    for name, value in rows:
        yield f"<tr><th>{name}</th><td>{escape(value)}</td></tr>"
    yield "</table></div>"
