"""The battery: the properties, what each needs, and which are tried together.

The properties that tell the others what to expect are tried first, one after the other and alone,
because some of them compare times. If the far end serves many clients at once, the others run
together, each in a thread of its own, while the idle connections wait beside them. If not, they are
tried one after the other. Resets come last, when no other property can be disturbed.

A started server (Spawned) is started anew for each property, so that the fault of one is not
attributed to another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from queue import SimpleQueue

from ..address import HTTP, SECURE, Address
from ..errors import Stopped, UsageError
from ..net import Endpoint
from ..stop import Stop
from .finding import Finding, Verdict, Watched, unknown
from .path import Known, Path, Plan
from .properties import alive
from .reachability import Reachability
from .spawned import Spawned
from .tables import ASIDE, FIRST, LAST, PROPERTIES, TOGETHER, Property, table_of
from .trial import judge, try_spawned
from .web.path import Web, WebPath

# Clients at once that have to be requested, and served, for properties to run together: idle,
# short, and four more.
_ENOUGH = 16


_ONLY = {
    "tcp": "is of TCP: a Unix socket has no segments and no resets",
    "tls": "is of TLS: tls://HOST:PORT",
}


@dataclass(frozen=True, slots=True)
class Result:
    """The finding of the property *name*, the seconds that it took, and what was seen of a started
    server.
    """

    name: str
    finding: Finding
    seconds: float
    watched: Watched | None = None
    web: bool = False  # of the battery for HTTP


def choose(
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    *,
    quick: bool = False,
    spawned: bool | None = False,
    schemes: Collection[str] = ("tcp",),
) -> list[Property]:
    """The properties to report, in their order; *spawned* as in Property, None for all of them.

    Each fits every one of *schemes*. Raises UsageError for an unknown name.
    """
    tables = {table_of(scheme) for scheme in schemes}
    if len(tables) > 1:
        raise UsageError("a path is compared with one of its own kind: TCP, HTTP or WebSocket")
    table = tables.pop() if tables else PROPERTIES
    names = [each.name for each in table if spawned is None or each.spawned in (None, spawned)]
    for name in (*only, *skip):
        if name not in names and any(each.name == name for each in table):
            with_or_without = (
                "not of a server that is started" if spawned else "of a server that is started"
            )
            raise UsageError(f"{name!r} is {with_or_without} for it: --spawn COMMAND")
        if name not in names:
            raise UsageError(f"there is no property {name!r}: {', '.join(names)}")
    unfit = {each.name: each.of for each in table if not all(map(each.fits, schemes))}
    for name in only:
        if name in unfit:
            raise UsageError(f"{name!r} {_ONLY[unfit[name]]}")
    without = set(unfit)
    slow = {each.name for each in table if quick and each.when == ASIDE}
    wanted = set(only) or set(names) - slow - without
    chosen = [each for each in table if each.name in wanted - set(skip)]
    if not chosen:
        raise UsageError("nothing is left to check")
    return chosen


def with_needs(chosen: Iterable[Property], scheme: str = "tcp") -> list[Property]:
    """*chosen*, and the properties that they need, or come after, in the battery's order.

    Over TLS, what needs a connection needs the handshake too.
    """
    shaken = ("handshake",) if scheme in SECURE else ()
    table = [
        replace(each, needs=(*each.needs, *shaken))
        if "connect" in each.needs and each.of != "tls"
        else each
        for each in table_of(scheme)
    ]
    wanted = {each.name for each in chosen}
    while True:
        more = {name for each in table if each.name in wanted for name in each.needs + each.after}
        if more <= wanted:
            return [each for each in table if each.name in wanted]
        wanted |= more


class Battery:
    """Tries *chosen* and the properties that they need, on the path to *targets* or to a server
    that *spawn* starts. *address*: the far end of HTTP.
    """

    def __init__(
        self,
        targets: list[Endpoint],
        chosen: Iterable[Property],
        plan: Plan,
        stop: Stop,
        spawn: Callable[[], tuple[Spawned, list[Endpoint]]] | None = None,
        address: Address | None = None,
    ) -> None:
        self._address = address if address is not None and address.scheme in HTTP else None
        self.known = Known() if self._address is None else Web()
        self.results: dict[str, Result] = {}
        self._targets, self._plan, self._stop, self._spawn = targets, plan, stop, spawn
        self._waiting = with_needs(chosen, targets[0].scheme if targets else "tcp")
        self._table = table_of(targets[0].scheme if targets else "tcp")
        self._aside = {each.name for each in self._table if each.when == ASIDE}
        self.running: set[str] = set()  # by name
        self.one_server = False  # a started server that always listens on the same port
        self._reachability = Reachability(self.known, plan)
        self._over: SimpleQueue[Result | tuple[str, BaseException]] = SimpleQueue()

    def run(self) -> None:
        """Try all of them; finished ones are in `results`, the others in `running`.

        Raises Stopped, and LocalError if the started server does not start; the stop is set then,
        for all of them.
        """
        raised: BaseException | None = None
        self.known.began = time.monotonic()
        while (self._waiting and raised is None) or self.running:
            if raised is None:
                for each in self._ready():
                    self._begin(each)
            result = self._over.get()
            if isinstance(result, Result):
                self.running.discard(result.name)
                self.results[result.name] = result
                self.known.held[result.name] = result.finding.verdict in (Verdict.OK, Verdict.WARN)
            else:
                name, error = result
                self.running.discard(name)
                raised = raised or error
                self._stop.set()  # do not wait for the others
        if raised is not None:
            raise raised
        if self._stop.wait(0):  # an interrupted property has no verdict
            raise Stopped("stopped")

    def _ready(self) -> list[Property]:
        """The properties that may begin now: those of the earliest unfinished stage, and idle
        beside all but the first stage.
        """
        stage = min((each.when for each in self._waiting), default=ASIDE)
        ready = [each for each in self._waiting if each.when == stage and self._settled(each)]
        beside = {each.when for each in self._table if each.name in self.running} - {ASIDE}
        # Then properties run one after the other.
        alone = self.known.capacity is not None or self._plan.clients < _ENOUGH
        if alone or self._spawn is not None or stage != TOGETHER:
            ready = [] if beside else ready[:1]
        elif beside - {TOGETHER}:
            ready = []
        if self.one_server:  # each property has the only port for itself
            return [] if self.running else ready
        idle = [each for each in self._waiting if each.when == ASIDE]
        if self._spawn is None and stage == LAST and (idle or self._aside & self.running):
            ready = []  # properties that may end the far end come after those that wait
        if self._spawn is None and alone:
            return ready or (idle if stage in (LAST, ASIDE) and not self.running else [])
        return ready + (idle if stage in (TOGETHER, LAST) and FIRST not in beside else [])

    def _settled(self, each: Property) -> bool:
        """True if all properties that it needs, or comes after, have been tried."""
        return all(need in self.results for need in each.needs + each.after)

    def _begin(self, each: Property) -> None:
        self._waiting.remove(each)
        self.running.add(each.name)
        threading.Thread(target=self._try, args=(each,), name=each.name).start()

    def _try(self, each: Property) -> None:
        began = time.monotonic()
        try:
            watched = None
            finding = self._need(each)
            if finding is None and self._spawn is not None:
                server, targets = self._spawn()
                finding, watched = try_spawned(
                    each.module, server, Path(targets, self._plan, self.known, self._stop, server)
                )
            elif finding is None:
                finding = self._find(each)
            took, web = time.monotonic() - began, self._address is not None
            self._over.put(Result(each.name, finding, took, watched, web))
        except BaseException as error:  # raised by run()
            self._over.put((each.name, error))

    def _need(self, each: Property) -> Finding | None:
        """The reason why *each* cannot be judged, from earlier findings; None if it can."""
        if self.known.gone is not None and each.module is not alive:
            return unknown("path-gone", since_s=self.known.gone.since - self.known.began)
        if time.monotonic() - self.known.began > self._plan.most and each.module is not alive:
            return unknown("no-time", limit_s=self._plan.most)
        share_ = self.results.get("share")
        if (
            share_ is not None
            and each.module is not alive
            and share_.finding.verdict is Verdict.FAIL
        ):
            return unknown("needs", property="share")
        for need in each.needs:
            found = self.results[need].finding
            if found.seen in ("needs", "needs-more", "path-gone", "no-time"):
                return found
            if found.verdict in (Verdict.FAIL, Verdict.UNKNOWN):
                return unknown(
                    "needs" if found.verdict is Verdict.FAIL else "needs-more", property=need
                )
        return unknown("not-meari") if each.meari and not self.known.meari else None

    def _path(self) -> Path:
        if isinstance(self.known, Web) and self._address is not None:
            return WebPath(self._targets, self._plan, self.known, self._stop, self._address)
        return Path(self._targets, self._plan, self.known, self._stop)

    def _find(self, each: Property) -> Finding:
        """Try a property; once more if the path was interrupted meanwhile (reachability.py)."""
        first = self._path()
        known = self.known
        before = (
            known.large_lost,
            known.lines_lost,
            known.capacity,
            known.forgets,
            known.turns_away,
        )
        finding = self._reachability.review(each.name, judge(each.module, first), first, last=False)
        if finding is not None:
            return finding
        # What was learnt during the outage says nothing about the far end.
        known.large_lost, known.lines_lost, known.capacity, known.forgets, known.turns_away = before
        again = self._path()
        found = judge(each.module, again)
        if found.verdict in (Verdict.OK, Verdict.WARN):
            self._reachability.confirm(first)
        reviewed = self._reachability.review(each.name, found, again, last=True)
        return found if reviewed is None else reviewed
