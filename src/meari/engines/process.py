"""A process for each client (CS:APP 12.1.1, echoserverp.c).

Who closes what: the parent its copy of the connection, or the client would never see the end of file; the child its
copies of the listeners, or they would stay open as long as it lives. Each child is reaped through a descriptor of its
own (pidfd_open(2)) instead of SIGCHLD and waitpid(-1), so no child that somebody else started is ever taken.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
from collections.abc import Sequence
from functools import partial

from ..address import Address
from ..events import Event, Events, Kind
from ..limits import Limits
from ..listeners import Listener
from ..net import kernel
from ..stop import Stop
from .door import MOST_SERVED, Porch, room
from .serving import LINGER, Handler, serve

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_REFUSED = 3  # the exit status of a child whose peer our own rules do not admit


def process(listeners: Sequence[tuple[Listener, Handler]], stop: Stop, limits: Limits, events: Events) -> None:
    children: dict[int, int] = {}  # process id -> pidfd

    def reap(pid: int, peer: Address) -> None:
        fd = children.pop(pid)
        porch.forget(fd)
        os.close(fd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code not in (0, _REFUSED):  # it could not tell its end itself
            events.tell(Event(Kind.FAILED, (peer,), detail=f"its process ended with {code}"))
        porch.door.left(peer, refused=code == _REFUSED)

    with Porch(listeners, stop, limits, events, room(limits, MOST_SERVED)) as porch:
        gc.collect()
        gc.freeze()  # a collection in a child would write to every object, and so copy every page that it shares
        for sock, peer, handler in porch.arrivals():
            try:
                pid = kernel.fork()
                if pid == 0:
                    _child(sock, peer, handler, porch, children)
                children[pid] = _watch(pid)
            except OSError as error:  # no process or no descriptor left
                porch.hold((sock, peer, handler), os.strerror(error.errno or 0))
                continue
            sock.close()
            porch.watch(children[pid], partial(reap, pid, peer))
        porch.wait(patience=LINGER + 1)
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        porch.wait(patience=60.0)


def _watch(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _child(sock: socket.socket, peer: Address, handler: Handler, porch: Porch[Handler], children: dict[int, int]) -> None:
    """Serve the connection and exit: nothing of the parent's may run in the child after this."""
    code = 1
    try:
        _end_with_the_parent()
        porch.abandon()
        for fd in children.values():
            os.close(fd)
        porch.events.reset()
        client = serve(sock, peer, handler, porch)
        porch.events.flush()
        code = _REFUSED if client.refused else 0
    finally:
        kernel.exit(code)  # 1 for what could not be reported, want of memory say: reap() reports it


def _end_with_the_parent() -> None:
    """A child whose engine is killed (SIGKILL) ends too: nobody would count it, or stop it (PR_SET_PDEATHSIG, prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
