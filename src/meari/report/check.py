"""The result of a check: lines of text, JSON, and cases for JUnit."""

from __future__ import annotations

import dataclasses
import typing
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from .. import __version__
from ..check.battery import Result
from ..check.catalogue import causes, sentence, word
from ..check.finding import Verdict
from ..check.path import Plan
from ..units import duration, size
from .junit import Case

_CAUSES = 3  # shown; JSON has all of them
_SHOWN = 200  # characters of a server's output
_BESIDE = {"en": "beside", "ko": "비교"}
_LABEL = {Verdict.UNKNOWN: "?"}
# The `seen` of properties that were not judged because of another property.
UNTRIED = frozenset({"needs", "needs-more", "path-gone", "no-time", "not-meari"})
_WORDS = {
    "likely": {"en": "likely", "ko": "추정 원인"},
    "or": {"en": "or", "ko": "또는"},
    "example": {"en": "for example", "ko": "예"},
    "remedy": {"en": "do", "ko": "해결"},
    "source": {"en": "see", "ko": "참고"},
    "printed": {"en": "last output", "ko": "마지막 출력"},
    "doing": {"en": "the server meanwhile", "ko": "그동안 서버는"},
    "child": {"en": "a child of the server died", "ko": "서버의 자식 프로세스가 죽었습니다"},
}


def label(verdict: Verdict) -> str:
    return _LABEL.get(verdict, str(verdict))


def line(result: Result, language: str) -> str:
    return f"  {label(result.finding.verdict):4}  {result.name:11}  {sentence(result, language)}"


def unjudged(results: Sequence[Result], language: str) -> Iterator[str]:
    """One line for all properties that could not be tried for the same reason."""
    waiting = [result for result in results if result.finding.seen in UNTRIED]
    for said in dict.fromkeys(sentence(result, language) for result in waiting):
        names = [result.name for result in waiting if sentence(result, language) == said]
        yield f"  {label(Verdict.UNKNOWN):4}  {', '.join(names)}"
        yield f"        {'':11}  {said}"


def behind(result: Result, language: str, *, spawned: bool) -> Iterator[str]:
    """The likely causes and their remedies, as lines below the property's own."""
    words = {key: found[language] for key, found in _WORDS.items()}
    if result.watched is not None and result.finding.verdict is Verdict.FAIL:
        seen = {"doing": word(result.watched.doing, language), "child": result.watched.child}
        seen |= {"printed": _printable(result.watched.printed)}
        yield from (f"          {words[key]}: {said}" for key, said in seen.items() if said)
    for n, cause in enumerate(list(causes(result, language, spawned=spawned))[:_CAUSES]):
        heading = words["likely" if not n else "example" if cause.example else "or"]
        yield f"          {heading}: {cause.cause}"
        if not n:
            yield f"            {words['remedy']}: {cause.remedy}"
            yield f"            {words['source']}: {cause.title}, {cause.url}"


def _printable(text: str) -> str:
    """The output of a started server, with control characters escaped."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:_SHOWN])


def interrupted(tried: int, chosen: int, language: str) -> str:
    """The last line if a signal ended the check."""
    return (
        f"중단됨: 속성 {chosen}개 중 {tried}개 시험"
        if language == "ko"
        else f"interrupted: {tried} of {chosen} tried"
    )


def closing(results: Sequence[Result], seconds: float, language: str) -> str:
    """The last line: the number of properties that do not hold, and the duration."""
    counts = Counter(result.finding.verdict for result in results)
    said = _in_korean if language == "ko" else _in_english
    return said(
        len(results),
        counts,
        int(seconds) // 60,
        f"{seconds % 60:.0f}" if seconds >= 60 else f"{seconds:.1f}",
    )


def _in_english(n: int, counts: Counter[Verdict], minutes: int, seconds: str) -> str:
    failed, warned, unknown = counts[Verdict.FAIL], counts[Verdict.WARN], counts[Verdict.UNKNOWN]
    if failed:
        first = (
            f"{failed} of {n} properties {'does' if failed == 1 else 'do'} not hold"
            if n > 1
            else "the property does not hold"
        )
    elif unknown:
        first = f"none of {n} properties fails"
    else:
        first = f"all {n} properties hold" if n > 1 else "the property holds"
    rest = [f"{warned} with a warning"] * bool(warned) + [f"{unknown} can't be told"] * bool(
        unknown
    )
    return f"{', '.join([first, *rest])} ({f'{minutes} min ' if minutes else ''}{seconds} s)"


def _in_korean(n: int, counts: Counter[Verdict], minutes: int, seconds: str) -> str:
    took = f"({f'{minutes}분 ' if minutes else ''}{seconds}초)"
    named = ((Verdict.FAIL, "실패"), (Verdict.WARN, "경고"), (Verdict.UNKNOWN, "판단 불가"))
    shown = [f"{word} {counts[verdict]}" for verdict, word in named if counts[verdict]]
    if shown:
        return f"속성 {n}개 중 {', '.join(shown)} {took}"
    return f"속성 {n}개가 모두 성립합니다 {took}" if n > 1 else f"속성이 성립합니다 {took}"


def document(
    far_end: str,
    spawned: bool,
    results: Sequence[Result],
    plan: Plan,
    seconds: float,
    language: str,
    *,
    interrupted: bool = False,
) -> dict[str, typing.Any]:
    """The document of --json; its schema is check.schema.json. *interrupted*: not all were
    tried.
    """
    return {
        "meari": __version__,
        "far_end": far_end,
        "spawned": spawned,
        "idle_s": plan.idle if any(result.name in ("idle", "ws-idle") for result in results) else 0,
        "clients": plan.clients,
        "quick": plan.quick,
        "seconds": round(seconds, 3),
        "holds": not interrupted
        and not any(result.finding.verdict is Verdict.FAIL for result in results),
        "unjudged": [
            result.name for result in results if result.finding.verdict is Verdict.UNKNOWN
        ],
        "interrupted": interrupted,
        "properties": [_property(result, language, spawned) for result in results],
    }


def _property(result: Result, language: str, spawned: bool) -> dict[str, typing.Any]:
    likely = causes(result, language, spawned=spawned)
    return {
        "name": result.name,
        "verdict": str(result.finding.verdict),
        "seen": result.finding.seen,
        "sentence": sentence(result, language),
        "evidence": result.finding.evidence,
        "causes": [
            {"name": c.name, "cause": c.cause, "do": c.remedy, "source": c.title, "url": c.url}
            for c in likely
        ],
        "seconds": round(result.seconds, 3),
        "server": None if result.watched is None else dataclasses.asdict(result.watched),
    }


def cases(
    results: Iterable[Result], language: str, *, spawned: bool, lenient: bool = False
) -> list[Case]:
    """One case per property: a property that does not hold is a failure; one that cannot be judged
    is an error, or skipped if *lenient*.
    """
    found = []
    for result in results:
        said, verdict = sentence(result, language), result.finding.verdict
        more = "\n".join(
            [said, *(text.strip() for text in behind(result, language, spawned=spawned))]
        )
        note = said if verdict is Verdict.OK else more if verdict is Verdict.WARN else ""
        case = Case(
            result.name, result.seconds, more if verdict is Verdict.FAIL else None, note=note
        )
        if verdict is Verdict.UNKNOWN:
            case = Case(result.name, result.seconds, **{"skipped" if lenient else "error": said})
        found.append(case)
    return found


def added(
    through: Sequence[Result], direct: Sequence[Result], first: str, second: str, language: str
) -> Iterator[str]:
    """The properties that hold on *second* but not on *first*, and the difference in time."""
    if 2 * sum(result.finding.verdict is Verdict.UNKNOWN for result in direct) > len(direct):
        yield (
            f"비교할 수 없습니다: {second}의 속성 대부분을 판단하지 못했습니다"
            if language == "ko"
            else f"not compared: most properties of {second} could not be judged"
        )
        return
    beside = {result.name: result for result in direct}
    worse = [
        result
        for result in through
        if result.name in beside and _rank(result) > _rank(beside[result.name])
    ]
    if language == "ko":
        yield (
            f"{first}에서만 나타난 것 (비교: {second}):"
            if worse
            else f"{first}에서 더 나빠진 속성은 없습니다 (비교: {second})"
        )
    else:
        yield f"what {first} adds to {second}:" if worse else f"{first} adds nothing to {second}"
    yield from (line(result, language) for result in worse)
    names = {"echo_s": {"en": "round trip", "ko": "왕복"}, "rate": {"en": "rate", "ko": "속도"}}
    for name, key, shown in (
        ("middle", "echo_s", duration),
        ("bytes", "rate", lambda rate: f"{size(rate)}/s"),
    ):
        figures = [
            r.finding.evidence.get(key)
            for results in (through, direct)
            for r in results
            if r.name == name
        ]
        if len(figures) == 2 and isinstance(figures[0], float) and isinstance(figures[1], float):
            ratio = figures[0] / figures[1]
            base = f"({_BESIDE[language]} {shown(figures[1])}): {ratio:.2f}x"
            yield f"  {'':4}  {names[key][language]:11}  {shown(figures[0])} {base}"


def _rank(result: Result) -> int:
    return [Verdict.OK, Verdict.UNKNOWN, Verdict.WARN, Verdict.FAIL].index(result.finding.verdict)
