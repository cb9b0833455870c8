"""The options of `serve` for its HTTP far end."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Sequence

import click

from ..address import HTTP, Address
from .addresses import parse_all
from .seconds import Seconds
from .sizes import Size

if typing.TYPE_CHECKING:
    from ..web.far_end import Bounds

F = typing.TypeVar("F", bound=Callable[..., typing.Any])


class HttpOptions(typing.NamedTuple):
    """The requested options; *status* is the address of --http."""

    status: str | None
    only: str | None
    origins: tuple[str, ...]
    seconds: float
    bytes: int
    message: int
    show_peers: bool

    @property
    def beside(self) -> list[Address]:
        """The address that --http adds. Raises UsageError."""
        if self.status is None:
            return []
        text = self.status if "://" in self.status else f"http://{self.status}"
        return parse_all([text], http=True)

    def check(self, asked: Sequence[Address]) -> Bounds | None:
        """The bounds of the far end on *asked*, and on --http; None if it serves no HTTP.

        Raises click.UsageError, UsageError.
        """
        web = any(address.scheme in HTTP for address in asked)
        if not web and self.status is None:
            if self.only is not None or self.origins or self.show_peers:
                option = (
                    "--http-origin"
                    if self.origins
                    else "--show-peers"
                    if self.show_peers
                    else "--http-only"
                )
                raise click.UsageError(f"{option} is of http://", click.get_current_context())
            return None
        from ..web.far_end import STATUS, Bounds

        only: tuple[str, ...] = () if web else STATUS
        if self.only:
            only = tuple(self.only.split(","))
        return Bounds(self.seconds, self.bytes, only, self.origins, self.message)


def http_options(command: F) -> F:
    """The options, given to *command* as *http*, an HttpOptions."""

    @click.option(
        "--http",
        "status",
        metavar="ADDRESS",
        help="A page with the far end's state, /metrics, /healthz and /readyz at ADDRESS.",
    )
    @click.option(
        "--http-only",
        metavar="NAMES",
        help="http://: only these of the far end's names, as in echo,report.",
    )
    @click.option(
        "--http-origin",
        "origins",
        multiple=True,
        metavar="ORIGIN",
        help="http://: pages of this other site may use /ws, as in https://example.org. May be "
        "repeated; * for all.",
    )
    @click.option(
        "--http-seconds",
        type=Seconds(),
        default=3600.0,
        show_default=True,
        metavar="SECONDS",
        help="http://: the longest time that a request may ask for.",
    )
    @click.option(
        "--http-bytes",
        type=Size(),
        default="1G",
        show_default=True,
        help="http://: the longest body, of a request and of its response.",
    )
    @click.option(
        "--http-message",
        type=Size(),
        default="1M",
        show_default=True,
        help="http://: the longest WebSocket message, inflated.",
    )
    @click.option(
        "--show-peers",
        is_flag=True,
        help="The page shows addresses of connections to every visitor, not only to those from "
        "this machine.",
    )
    @functools.wraps(command)
    def wrapped(
        status: str | None,
        http_only: str | None,
        origins: tuple[str, ...],
        http_seconds: float,
        http_bytes: int,
        http_message: int,
        show_peers: bool,
        **others: typing.Any,
    ) -> typing.Any:
        options = HttpOptions(
            status, http_only, origins, http_seconds, http_bytes, http_message, show_peers
        )
        return command(http=options, **others)

    return typing.cast(F, wrapped)
