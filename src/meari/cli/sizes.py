"""Sizes on the command line: 64, 64K, 1M, or a range of them."""

from __future__ import annotations

import re

import click

_FORM = re.compile(r"([0-9]{1,12})([KMG]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_MOST = 1 << 30


class Sizes(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """SIZE or LEAST-MOST in bytes; K, M and G are powers of 1,024. Gives (least, most)."""

    name = "size"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        words = value.split("-")
        found = [_FORM.fullmatch(word) for word in words]
        if len(words) > 2 or None in found:
            self.fail(
                f"{value!r} is not a size: 64, 64K, 1M, or a range such as 1-4096", param, ctx
            )
        sizes = [int(match[1]) * _UNITS[match[2].upper()] for match in found if match]
        if not 0 < sizes[0] <= sizes[-1] <= _MOST:
            self.fail(
                f"{value!r}: a size is from 1 byte to 1 GiB, and a range goes upward", param, ctx
            )
        return sizes[0], sizes[-1]


class Size(click.ParamType):  # type: ignore[type-arg]  # as above
    """A number of bytes; K, M and G are powers of 1,024."""

    name = "size"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        found = _FORM.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is not a size: 65536, 64K, 10M, 1G", param, ctx)
        return int(found[1]) * _UNITS[found[2].upper()]
