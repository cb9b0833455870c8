"""JUnit's XML, as CI systems read it: suites of cases, each passed, failed or skipped, with its
duration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True, slots=True)
class Case:
    """*failure*, *error* (it could not be tried) or *skipped* is the reason, if there is one;
    *note* is shown in any case.
    """

    name: str
    seconds: float
    failure: str | None = None
    skipped: str | None = None
    note: str = ""
    error: str | None = None


def junit(suites: Sequence[tuple[str, Sequence[Case]]]) -> str:
    r"""One document of named suites. Characters that XML does not allow are written as \xNN."""
    root = ElementTree.Element(
        "testsuites", _counts([case for _, cases in suites for case in cases])
    )
    for name, cases in suites:
        suite = ElementTree.SubElement(root, "testsuite", {"name": _text(name), **_counts(cases)})
        for case in cases:
            _add(suite, name, case)
    ElementTree.indent(root)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        + ElementTree.tostring(root, encoding="unicode")
        + "\n"
    )


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    failures, skipped = (
        sum(case.failure is not None for case in cases),
        sum(case.skipped is not None for case in cases),
    )
    errors = sum(case.error is not None for case in cases)
    counts = {"tests": len(cases), "failures": failures, "errors": errors, "skipped": skipped}
    return {
        **{name: str(n) for name, n in counts.items()},
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _add(suite: ElementTree.Element, name: str, case: Case) -> None:
    about = {"classname": _text(name), "name": _text(case.name), "time": f"{case.seconds:.3f}"}
    element = ElementTree.SubElement(suite, "testcase", about)
    if case.failure is not None:
        ElementTree.SubElement(
            element, "failure", {"message": _text(case.failure.partition("\n")[0])}
        ).text = _text(case.failure)
    if case.error is not None:
        ElementTree.SubElement(element, "error", {"message": _text(case.error)})
    if case.skipped is not None:
        ElementTree.SubElement(element, "skipped", {"message": _text(case.skipped)})
    if case.note:
        ElementTree.SubElement(element, "system-out").text = _text(case.note)


def _text(text: str) -> str:
    return "".join(
        c
        if c in "\t\n" or (c.isprintable() and ord(c) < 0xFFFE) or ord(c) > 0xFFFF
        else f"\\x{ord(c):02x}"
        for c in text
    )
