"""A number of seconds on the command line."""

from __future__ import annotations

import click

from ..units import parse_seconds

_MOST = 1e9  # about 30 years: more is a mistake


class Seconds(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """A number, or one with ms, us or s: more than 0, or with *zero* 0 too; neither "nan" nor
    "inf", which float() would take.
    """

    name = "seconds"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds = parse_seconds(str(value))
        if seconds is None or not (0 < seconds <= _MOST or (self._zero and seconds == 0)):
            self.fail(
                f"{value!r} is not a number of seconds"
                f" {'from' if self._zero else 'above'} 0 to 1,000,000,000",
                param,
                ctx,
            )
        return seconds
