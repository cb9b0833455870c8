"""A connection stays open after its first answer: a second message on it is answered too, and a
third.

A far end that calls recv once, answers and closes returns every byte of the first message.
"""

from __future__ import annotations

import contextlib
import time

from ...errors import DeadlineError, IncompleteRead
from ..finding import Finding, fail, ok, unknown
from ..path import Path

_MESSAGE = b"once more\n"
_TIMES = 3
_REST = 0.2  # seconds for the rest of an answer that has begun


def check(path: Path) -> Finding:
    answered = 0
    with path.rio() as rio:
        try:
            while answered < _TIMES:
                path.renew(rio)
                rio.writen(_MESSAGE)
                if not (came := len(rio.read(len(_MESSAGE)))):
                    raise IncompleteRead(b"", len(_MESSAGE))
                answered += 1
                rio.deadline = time.monotonic() + _REST + path.margin
                # An answer may be shorter than its message.
                with contextlib.suppress(DeadlineError):
                    rio.readn(len(_MESSAGE) - came)
        except DeadlineError:
            if not answered:
                return unknown("not-returned")
            return fail("silent", answered=answered, patience_s=path.patience)
        except (OSError, IncompleteRead) as error:
            how = "FIN" if isinstance(error, IncompleteRead) else "RST"
            if not answered:
                return unknown("not-returned")
            return fail("closes" if answered > 1 else "closes-first", answered=answered, how=how)
    return ok("ok", answered=answered)
