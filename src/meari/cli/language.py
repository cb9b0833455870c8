"""English or Korean."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click


def language(wanted: Callable[..., Any]) -> Callable[..., Any]:
    """The option --lang."""
    return click.option("--lang", type=click.Choice(["en", "ko"]), help="English or Korean.  [default: as LANG has it]")(wanted)


def of_environment() -> str:
    """In the order of locale(7)."""
    said = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    return "ko" if said.startswith("ko") else "en"
