"""Fixtures for pytest: a correct far end, and far ends that lie.

The plugin is registered when meari is installed.
"""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Callable, Iterator

import pytest

if typing.TYPE_CHECKING:
    from ..server import Server
    from .liar import Liar


@pytest.fixture
def meari_server() -> Iterator[Server]:
    """An echo server on 127.0.0.1 for the duration of a test: meari_server.addresses[0]."""
    from ..server import Server

    with Server("127.0.0.1:0") as server:
        yield server


@pytest.fixture
def meari_liar() -> Iterator[Callable[..., Liar]]:
    """Makes far ends that lie, until the test ends: meari_liar("drop", every=10_000,
    seed=1).addresses[0].
    """
    from .liar import LIES, Liar

    with contextlib.ExitStack() as stack:
        yield lambda *lies, **options: stack.enter_context(
            Liar("127.0.0.1:0", lies=lies or tuple(LIES), **options)
        )
