"""What `serve --explain` and `talk --explain` print: each call of their own as it returns, on standard error."""

from __future__ import annotations

from ..explain import known
from ..explain.recorder import Recorder
from ..explain.row import Row
from ..report.explain import line
from . import say
from .language import of_environment


class _Narrator:
    """A sink. The first time that a call appears, what there is to say of it stands below its row."""

    def __init__(self) -> None:
        self._language = of_environment()
        self._said: set[str] = set()

    def begin(self, row: Row) -> None:
        pass

    def returned(self) -> None:
        pass

    def row(self, row: Row) -> None:
        say(line(row))
        key = known.saying(row)
        if key and key not in self._said:
            self._said.add(key)
            say(f"    {known.call(key, self._language)}")


def narrate() -> None:
    """From now on, in this process and those that it forks."""
    Recorder(_Narrator()).install()
