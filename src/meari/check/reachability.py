"""Whether the far end can still be reached, asked after each property that does not hold.

A path that dies makes every property fail, and each failure suggests a cause that is not there. So
a verdict is final only if the path was there while it was found:

    it answers, and all data had been acknowledged    the verdict stands
    it answers, but data had not been acknowledged    the property is tried again: an outage does
    for a while, or nothing arrived from far away     not repeat itself, a black hole does
    it does not answer                                wait until it does (an outage), or conclude
                                                      that it is gone: the rest cannot be judged

An answer is a handshake and, once a line has come back before, a connection.
"""

from __future__ import annotations

import threading
import time

from ..errors import ConnectError, LocalError
from .finding import Finding, Verdict, unknown
from .path import Known, Outage, Path, Plan

_RECOVERY = 5.0  # seconds that an outage may last; at least a few patiences
_SYN_AGAIN = 0.9  # seconds: a lost SYN is retransmitted after 1 (RFC 6298)
_NEAR = 0.001  # seconds of a handshake: up to this, both ends are considered to be on one machine
_LONG = ("idle", "ws-idle")  # a second try would take as long again
_SILENT = frozenset(
    {
        "stuck",
        "stuck-large",
        "never",
        "silent",
        "nothing",
        "not-returned",
        "starved",
        "failed",
        "alone",
    }
)
_LOOK = 0.1  # seconds between two attempts
_FAR_END = ("refused", "no echo")  # a reason: the far end's kernel answers, so the path is there
# Before these have held there is nothing to compare with; alive asks the same question.
_NOT_REVIEWED = frozenset({"connect", "handshake", "share", "partial", "alive"})


class Reachability:
    """The reachability of one check; properties that run together share it."""

    def __init__(self, known: Known, plan: Plan) -> None:
        self._known, self._plan = known, plan
        self._lock = threading.Lock()

    def review(self, name: str, finding: Finding, path: Path, *, last: bool) -> Finding | None:
        """The finding to report for the property *name*, or None if it is to be tried again.

        *last*: there is no further try. Raises Stopped.
        """
        if finding.verdict in (Verdict.OK, Verdict.WARN) or name in _NOT_REVIEWED:
            return finding
        if finding.seen == "here":
            return finding
        with self._lock:
            if self._known.gone is not None:
                return self._gone(finding, path)
            asked = time.monotonic()
            reason = self._ask(path)
            if reason == "":
                if time.monotonic() - asked > _SYN_AGAIN:  # it ended meanwhile
                    self._known.outages.append(
                        Outage(path.heard, time.monotonic(), "a SYN was sent again")
                    )
                overlaps = any(
                    outage.until and outage.until > path.began for outage in self._known.outages
                )
                if name in _LONG:
                    return unknown("path-outage") if overlaps else finding
                doubtful = (
                    overlaps or path.unacknowledged or (finding.seen in _SILENT and self._distant)
                )
                return None if doubtful and not last else finding
            cut = path.unacknowledged or not _of_the_far_end(reason)
            since = path.heard if cut else asked
            if self._recovers(path):
                if not cut:
                    return finding  # it was still busy because of the property
                self._known.outages.append(Outage(since, time.monotonic(), reason))
                return None if name not in _LONG and not last else unknown("path-outage")
            self._known.gone = Outage(since, None, reason)
            return self._gone(finding, path)

    def confirm(self, path: Path) -> None:
        """A second try held: if nothing was acknowledged in the first, on *path*, there was an
        outage.
        """
        with self._lock:
            if not path.unacknowledged:
                return
            if not any(
                outage.until and outage.until > path.heard for outage in self._known.outages
            ):
                self._known.outages.append(Outage(path.heard, time.monotonic(), ""))

    @property
    def _distant(self) -> bool:
        """True if there is a network between, which may lose the far end's packets without a trace
        on our side.
        """
        return self._known.base is not None and self._known.base.connect > _NEAR

    def _gone(self, finding: Finding, path: Path) -> Finding:
        """The finding of a property during which the far end became unreachable: its own verdict,
        unless the path was the cause.
        """
        gone = self._known.gone
        assert gone is not None
        its_own = (
            not path.unacknowledged
            and _of_the_far_end(gone.reason)
            and finding.seen != "unreachable"
        )
        return finding if its_own else unknown("path-gone", since_s=gone.since - self._known.began)

    def _recovers(self, path: Path) -> bool:
        until = time.monotonic() + max(_RECOVERY, 2 * path.patience)
        while time.monotonic() < until:
            path.wait(_LOOK)
            if not self._ask(path):
                return True
        return False

    def _ask(self, path: Path) -> str:
        """The reason why the far end does not answer; "" if it does."""
        probe = Path(path.targets, self._plan, self._known, path.stop)
        try:
            with probe.connect() as connection:
                if not self._known.held.get("partial"):
                    return ""
                connection.ask(1)
                answered = probe.returns(connection) or connection.returned > 0
                probe.ends(connection, quiet=probe.margin)
                return (
                    ""
                    if answered
                    else f"connected, and no echo ({connection.end})"
                    if connection.end
                    else "connected, and no echo"
                )
        except ConnectError as error:
            return "; ".join(error.reasons)
        except LocalError:
            return ""  # a limit of this machine says nothing about the path


def _of_the_far_end(reason: str) -> bool:
    return any(word in reason for word in _FAR_END)
