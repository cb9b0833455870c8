"""Values that are costly to make: made once in a run, by the process that needs them first."""

from __future__ import annotations

import fcntl
import pickle
import typing
from collections.abc import Callable
from pathlib import Path

T = typing.TypeVar("T")

_folder: Path | None = None


def use(folder: Path) -> None:
    """Keep the values in *folder*, which all processes of the run share."""
    global _folder
    _folder = folder


def once(key: str, make: Callable[[], T]) -> T:
    """The value of *make*, pickled; other processes wait while one makes it."""
    assert _folder is not None
    file = _folder / f"{key}.pickle"
    with (_folder / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists():
            return typing.cast(T, pickle.loads(file.read_bytes()))
        made = make()
        file.write_bytes(pickle.dumps(made))
        return made
