"""The options of `serve` for a far end that lies on purpose."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Sequence

import click

from ..address import Address
from ..events import Event, Events, Kind
from ..limits import Limits
from ..server import Server

if typing.TYPE_CHECKING:
    import ssl

F = typing.TypeVar("F", bound=Callable[..., typing.Any])


class LieOptions(typing.NamedTuple):
    """The requested lies: *words* as they were given."""

    words: tuple[str, ...] = ()
    every: int | None = None
    seed: int | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Each kind once, in the order given."""
        if not self.words:
            return ()
        from ..testing.liar import LIES

        asked_for = [kind for word in self.words for kind in word.split(",")]
        return tuple(LIES) if "all" in asked_for else tuple(dict.fromkeys(asked_for))

    def check(self, otherwise: bool) -> None:
        """Check that other options fit; *otherwise*: some are given that do not.

        Raises click.UsageError.
        """
        context = click.get_current_context()
        if not self.words and (self.every is not None or self.seed is not None):
            raise click.UsageError("--lie-every and --seed say how to --lie", context)
        if self.words and (
            otherwise
            or context.get_parameter_source("engine") is click.core.ParameterSource.COMMANDLINE
        ):
            raise click.UsageError(
                "--lie has an engine of its own, and goes without --engine, --lines, --workers,"
                " --spin, --allow, --proxy-from and http://",
                context,
            )

    def liar(
        self,
        addresses: Sequence[Address],
        limits: Limits,
        events: Events,
        family: int,
        mode: int,
        tls: ssl.SSLContext | None,
    ) -> Server:
        """The far end that lies; it reports so first."""
        from ..testing.liar import EVERY, Liar

        every, seed = self.every or EVERY, self.seed or 0
        liar = Liar(
            *addresses,
            lies=self.kinds,
            every=every,
            seed=seed,
            limits=limits,
            events=events,
            family=family,
            mode=mode,
            tls=tls,
        )
        rate = f"a lie in about {every:,} bytes of a connection"
        text = f"THIS FAR END LIES: {', '.join(self.kinds)}; {rate}; seed {seed}"
        events.report(Event(Kind.NOTICE, detail=text))
        return liar


def lie_options(command: F) -> F:
    """The options, given to *command* as *lies*, a LieOptions."""

    @click.option(
        "--lie",
        "words",
        multiple=True,
        metavar="KIND",
        help="Be wrong on purpose: flip, drop, insert, duplicate, reorder, swap, replay, truncate, "
        "append, delay, stall, reset, or all. May be repeated.",
    )
    @click.option(
        "--lie-every",
        type=click.IntRange(min=1024),
        metavar="BYTES",
        help="Average distance between lies.  [default: 65536]",
    )
    @click.option(
        "--seed",
        type=int,
        metavar="N",
        help="Seed of the lies: the same seed tells the same lies about the same bytes."
        "  [default: 0]",
    )
    @functools.wraps(command)
    def wrapped(
        words: tuple[str, ...], lie_every: int | None, seed: int | None, **others: typing.Any
    ) -> typing.Any:
        return command(lies=LieOptions(words, lie_every, seed), **others)

    return typing.cast(F, wrapped)
