"""The parameters of a load."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ..errors import UsageError


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of one run.

    Times in seconds, sizes in bytes. Raises UsageError for impossible values.
    """

    address: str
    connections: int = 1
    least: int = 64  # bytes of a message; random from least to most
    most: int = 64
    depth: int = 1  # messages in flight on a connection (closed loop)
    seconds: float | None = 10.0  # None: until `messages` are sent
    messages: int | None = None
    warmup: float = 0.0  # before anything is counted
    rate: float | None = None  # messages a second, of all connections: the open loop
    new_connections: bool = False  # a connection for each message
    processes: int = 1
    interval: float = 1.0
    # Without a byte while some are outstanding: the connection is closed as stalled.
    timeout: float = 10.0
    late: float | None = None  # without a byte while some are outstanding: a fault, "delayed"
    # Messages are GET requests of HTTP: the bytes of each response's content.
    content: int | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("connections", self.connections),
            ("processes", self.processes),
            ("depth", self.depth),
        ):
            if value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")
        if not (
            self.interval >= 0.001
            and self.timeout > 0
            and self.warmup >= 0
            and (self.seconds is None or self.seconds > 0)
        ):
            raise UsageError("times are above 0, and an interval is a millisecond at least")
        if self.seconds is None and self.messages is None:
            raise UsageError("a load has an end: seconds, or a number of messages")
        if not 0 < self.least <= self.most:
            raise UsageError(
                "a message has at least 1 byte, and a range of sizes goes upward,"
                f" not from {self.least} to {self.most}"
            )
        if self.connections < self.processes:
            raise UsageError(
                f"{self.connections} connections cannot be divided among {self.processes} processes"
            )
        if self.rate is not None and not 1e-6 <= self.rate <= 1e9:  # excludes NaN too
            raise UsageError(
                "the rate must be a number of messages a second up to 1,000,000,000,"
                f" not {self.rate}"
            )
        if self.messages is not None and self.warmup:
            raise UsageError(
                "a number of messages and a warm-up do not go together: give the seconds instead"
            )
        if self.rate is not None and self.depth > 1:
            raise UsageError(
                "a depth is of the closed loop: with a rate, messages are sent when they are due"
            )
        if self.new_connections and (self.rate is not None or self.depth > 1):
            raise UsageError("with a connection for each message there is no depth, and no rate")
        if self.messages is not None and self.messages < self.processes:
            raise UsageError(
                f"{self.messages} messages cannot be divided among {self.processes} processes"
            )

    def part(self, n: int) -> Plan:
        """The part of process *n*.

        Its connections have the numbers n, n + processes, and so on.
        """
        values = asdict(self)
        values["connections"] = len(range(n, self.connections, self.processes))
        if self.messages is not None:
            values["messages"] = len(range(n, self.messages, self.processes))
        values["processes"] = 1
        return Plan(**values)

    def __str__(self) -> str:
        size = f"{self.least:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"
        connections = f"{self.connections:,} connection{'s' * (self.connections > 1)}"
        what = f"{connections}, messages of {size} bytes"
        if self.content is not None:
            what = f"{connections}, GET, responses of {self.content:,} bytes"
        if self.new_connections:
            return f"{what}, each on a connection of its own"
        if self.rate is not None:
            return f"{what}, {self.rate:,.10g} a second (open loop)"
        return f"{what}, {self.depth:,} in flight on each (closed loop)"
