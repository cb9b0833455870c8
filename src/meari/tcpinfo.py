"""What the kernel knows of a connection: TCP_INFO of tcp(7), as <linux/tcp.h> lays it out."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

# struct tcp_info: bytes, 32-bit numbers, some of 64 bits, and 32-bit ones again, as far as the window. Newer kernels add
# to its end; what an older one does not fill in is 0.
_LAYOUT = struct.Struct("8B24I4Q6I4Q2I2Q4I")


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """Times in seconds, as the kernel estimates them; sizes in bytes; the rest in segments."""

    state: int  # as in <netinet/tcp.h>: 1 is ESTABLISHED
    retransmitting: int  # how often the first that is not acknowledged was sent again without an answer
    send_mss: int
    unacked: int  # of a listener: how many connections wait to be accepted
    sacked: int  # of a listener: how many may
    round_trip: float  # smoothed
    retransmitted: int  # in all
    least_round_trip: float  # 0 if it is not known
    data_sent: int  # those that carry data, with those that were sent again
    duplicates: int  # DSACKs: segments that we sent again though they had arrived (RFC 2883); 0 before Linux 4.19
    reorderings: int  # times that an acknowledgement showed segments of ours to arrive out of order
    out_of_order: int  # segments that arrived here before one that precedes them
    quiet: float  # since the peer's kernel was last heard of: data or an acknowledgement
    send_window: int  # how much the peer takes now; 0 before Linux 5.4


def tcp_info(sock: socket.socket) -> TcpInfo:
    """Raises OSError."""
    raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAYOUT.size).ljust(_LAYOUT.size, b"\0")
    fields = _LAYOUT.unpack(raw)
    small, numbers, later = fields[:8], fields[8:32], fields[36:42]
    duplicates, reorderings, out_of_order, window = fields[-4:]
    least = later[3]
    return TcpInfo(
        state=small[0],
        retransmitting=small[2],
        send_mss=numbers[2],
        unacked=numbers[4],
        sacked=numbers[5],
        round_trip=numbers[15] / 1e6,
        retransmitted=numbers[23],
        least_round_trip=0.0 if least == 0xFFFFFFFF else least / 1e6,
        data_sent=later[5],
        duplicates=duplicates,
        reorderings=reorderings,
        out_of_order=out_of_order,
        quiet=min(numbers[11], numbers[12]) / 1e3,
        send_window=window,
    )
