"""Server: which engine runs which service on which addresses."""

from __future__ import annotations

import signal
import socket
import threading
import time
import typing
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from .address import HTTP, SECURE, Address
from .child import Child, single_threaded
from .engines import ENGINES
from .engines.acceptor import MOST_WATCHED, SPARE, capacity
from .engines.opened import first
from .errors import UsageError
from .events import Event, Events, Kind
from .limits import Limits
from .listeners import Listener, open_listeners, share
from .stop import Stop
from .supervisor import Job, Supervisor
from .wire.echo import StreamEcho
from .wire.protocol import Service

if typing.TYPE_CHECKING:
    import ssl

    from .wire.allow import Network


class Server:
    """A far end on *addresses*, each as open_listeners takes it.

    As a context manager it serves in the background, and at the end of the block drains and stops:

        with Server("127.0.0.1:0") as server:
            print(server.addresses)

    open() and run() do it in the foreground. An engine that does not fork runs in place: in this
    process, with `with` in a thread. The process engine, and *workers* event engines, run in
    processes of their own under a supervisor; with `with` the caller must have no other thread when
    it enters (LocalError). The file of a Unix socket has *mode*; it is removed at the end. *tls* is
    the context of tls:// and https:// addresses (tls_context.py, server_context). http:// and
    https:// addresses have the service *http* (web/far_end.py), all others *service*. Peers in the
    networks *proxies* send a header of the PROXY protocol first (wire/proxied.py).

    Raises UsageError for what cannot be (an unknown engine, workers of another than event, more
    connections than descriptors) and ListenError; nothing is left open then.
    """

    def __init__(
        self,
        *addresses: Address | str,
        engine: str = "event",
        service: Service = StreamEcho,
        limits: Limits | None = None,
        workers: int = 1,
        family: int = socket.AF_UNSPEC,
        events: Events | None = None,
        mode: int = 0o600,
        tls: ssl.SSLContext | None = None,
        http: Service | None = None,
        proxies: Sequence[str] = (),
    ) -> None:
        if engine not in ENGINES:
            raise UsageError(f"there is no engine {engine!r}; there are {', '.join(ENGINES)}")
        if workers < 1:
            raise UsageError(f"the number of workers must be 1 or more, not {workers}")
        if workers > 1 and engine != "event":
            raise UsageError(f"only the event engine has workers, not {engine}")
        for what, most in (
            ("connections", (limits or Limits()).connections),
            ("connections per source", (limits or Limits()).per_source),
        ):
            if most is not None and most < workers:
                raise UsageError(f"{most} {what} cannot be divided among {workers} workers")
        if not addresses:
            raise UsageError("no address to listen on was given")
        self._asked = addresses
        self._spec = ENGINES[engine]
        self._service = service
        self._limits = limits or Limits()
        self._workers = workers
        self._family = family
        self._mode = mode
        self._tls, self._http = tls, http
        self._proxies: list[Network] = []
        if proxies:
            from .wire.allow import parse_network

            self._proxies = [parse_network(text) for text in proxies]
        schemes = {Address.parse(str(address)).scheme for address in addresses}
        if tls is None and schemes & set(SECURE):
            raise UsageError("tls:// and https:// need a certificate and its key")
        if http is None and schemes & set(HTTP):
            raise UsageError("http:// and https:// need a service of their own")
        self._events = events or Events()
        self._stop: Stop | None = None  # while it is open
        self._stopped = False  # perhaps before it was
        self._groups: list[list[Listener]] = []  # a worker's listeners each
        self._supervisor: Supervisor | None = None
        self._thread: threading.Thread | None = None
        self._child: Child | None = None
        self._error: BaseException | None = None
        self.addresses: list[Address] = []  # as bound; known once it is open

    # In the foreground

    def open(self) -> None:
        """Bind every address: from here on clients can connect, and wait to be served."""
        # A limit that cannot be held is an error before anything is opened.
        capacity(self._limits, 1, spare=SPARE)
        self._spec.prepare(self._limits)
        self._stop = Stop()
        if self._stopped:
            self._stop.set()
        listeners: list[Listener] = []
        try:
            for address in self._asked:
                listeners += open_listeners(
                    address,
                    family=self._family,
                    report=self._notice,
                    peer_timeout=self._limits.peer,
                    mode=self._mode,
                )
            shared = [
                share(listener, self._workers) if self._workers > 1 else [listener]
                for listener in listeners
            ]
        except BaseException:
            _close(listeners)
            for listener in listeners:
                listener.remove()
            self.close()
            raise
        self._groups = [list(group) for group in zip(*shared, strict=True)]
        self.addresses = [listener.address for listener in listeners]
        for address in self.addresses:
            self._events.report(Event(Kind.LISTENING, detail=str(address)))

    def run(self) -> None:
        """Serve until stop(), drain, and return; everything is closed then."""
        assert self._stop is not None, "open() comes first"
        try:
            if self._in_place:
                self._serve(self._groups[0], self._limits, self._stop)
            else:
                limits = self._divided()
                jobs = [Job(partial(self._serve, group, limits), group) for group in self._groups]
                self._supervisor = Supervisor(jobs, self._stop, self._events, self._limits.drain)
                self._supervisor.run()
        finally:
            self._events.flush()
            self.close()

    def stop(self) -> None:
        """Drain and stop: data in progress is echoed, idle connections are closed.

        Safe in a signal handler.
        """
        self._stopped = True
        if self._stop is not None:
            self._stop.set()

    def stopping(self) -> bool:
        """True once stop() was called, in any process of this server."""
        return self._stop is not None and self._stop.wait(0)

    def kill(self) -> None:
        """End the processes of a supervised server at once. Safe in a signal handler."""
        if self._supervisor is not None:
            self._supervisor.kill()

    def close(self) -> None:
        """Close the listeners; clients that still wait there are reset."""
        for group in self._groups:
            _close(group)
            for listener in group:
                listener.remove()
        if self._stop is not None:
            self._stop.close()
        self._stopped = False

    @property
    def _in_place(self) -> bool:
        return self._workers == 1 and not self._spec.forks

    def _serve(self, listeners: Sequence[Listener], limits: Limits, stop: Stop) -> None:
        self._spec.run(
            [(listener, self._service_of(listener)) for listener in listeners],
            stop,
            limits,
            self._events,
        )

    def _service_of(self, listener: Listener) -> Service:
        scheme = listener.address.scheme
        service = self._service
        if scheme in HTTP and self._http is not None:
            service = self._http
        if scheme in SECURE and self._tls is not None:
            from .wire.secured import secured

            service = secured(self._tls, service, clock=time.monotonic, read=first)
        if self._proxies:
            from .wire.allow import within
            from .wire.proxied import proxied

            service = proxied(partial(within, self._proxies), service)
        return service

    def _divided(self) -> Limits:
        """The limits of each worker: its part of those for all."""
        if self._workers == 1:
            return self._limits
        limits, n = self._limits, self._workers
        connections = (limits.connections or MOST_WATCHED) // n
        if limits.connections is None:
            connections = capacity(Limits(), connections)
        per_source = None if limits.per_source is None else limits.per_source // n
        return replace(limits, connections=connections, per_source=per_source)

    def _notice(self, text: str) -> None:
        self._events.report(Event(Kind.NOTICE, detail=text))

    # In the background

    def __enter__(self) -> typing.Self:
        self.open()
        try:
            if self._in_place:
                self._thread = threading.Thread(
                    target=self._in_thread, name="meari server", daemon=True
                )
                self._thread.start()
            else:
                single_threaded()
                self._child = Child(self._in_child, ignore=(signal.SIGINT,), group=True)
                # Else clients would still reach our copies when the engines have closed theirs.
                for group in self._groups:
                    _close(group)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()
        if self._child is not None:
            # The supervisor has a limit of its own, which is shorter.
            self._child.end(self._limits.drain + 10)
            self._child = None
        self.close()
        if self._error is not None:
            raise self._error

    def _in_thread(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self._error = error

    def _in_child(self) -> int:
        try:
            assert self._stop is not None
            self._stop.inherit()
            self.run()
        except Exception as error:
            self._notice(f"{type(error).__name__}: {error}")
            return 1
        return 0


def _close(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        listener.close()
