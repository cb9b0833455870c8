"""What of a request arrives as it was sent: its target, and its headers.

A target that is decoded or joined may name another resource, or pass by a rule. A header that is
lost is lost silently (header names with an underscore, by default, on some).
"""

from __future__ import annotations

from ...finding import Evidence, Finding, fail, ok, warn
from ..path import WebPath

# Each is put between the prefix and the name of the far end.
_TARGETS = {
    "%2F": "a%2Fb/report",
    "//": "a//report",
    "..": "a/../report",
    "%7E": "%7Ea/report",
    "case": "AbC/report",
    ";": "a;v=1/report",
    "+": "a+b/report?q=a+b%20c",
    "empty value": "report?a&b=&a",
}
_HEADERS = (
    ("X-Meari-Plain", "1"),
    ("X_Meari_Underscore", "2"),
    ("X-Meari-Twice", "3"),
    ("X-Meari-Twice", "4"),
    ("X-Meari-Empty", ""),
    ("x-meari-CASE", "5"),
)


def check(path: WebPath) -> Finding:
    lost: list[str] = []
    changed: list[str] = []
    targets: list[str] = []  # that do not arrive as they were sent
    for what, name in _TARGETS.items():
        response = path.get(name)
        report = response.report()
        if report is None:
            targets.append(what)
            lost.append(f"{what} ({response.status or response.end})")
        elif not str(report["target"]).endswith(f"/{name}"):
            targets.append(what)
            changed.append(f"{what}: {_tail(name)} → {_tail(str(report['target']))}")
    report = path.get("report", headers=_HEADERS).report() or {"headers": []}
    came = [(str(name), str(value)) for name, value in report["headers"]]
    lower = [(name.lower(), value) for name, value in came]
    for name, value in _HEADERS:
        if (name.lower(), value) in lower:
            continue
        joined = [each for key, each in lower if key == name.lower()]
        if joined and name != "X-Meari-Empty":
            changed.append(f"{name}: {joined[0]}")
        else:
            lost.append(name)
    if not {name for name, _ in _HEADERS} <= {name for name, _ in came} and not lost:
        changed.append("case")
    found: dict[str, Evidence] = {"lost": list(dict.fromkeys(lost)), "targets": targets}
    found["lost_list"] = ", ".join(dict.fromkeys(lost))
    found["changed_list"] = "; ".join(dict.fromkeys(changed)) or "-"
    if lost:
        return fail("lost", **found)
    return warn("changed", **found) if changed else ok("ok", targets=len(_TARGETS))


def _tail(target: str) -> str:
    return target[-24:]
