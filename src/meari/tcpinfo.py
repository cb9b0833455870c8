"""What the kernel knows of a connection: TCP_INFO of tcp(7), as <linux/tcp.h> lays it out."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

# struct tcp_info: bytes, 32-bit numbers, some of 64 bits, and 32-bit ones again, to the window. Newer kernels add
# to its end; what an older one does not fill in is 0.
_LAYOUT = struct.Struct("8B24I4Q6I4Q2I2Q4I")


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """Times in seconds, as the kernel estimates them; the rest in bytes, or segments where it says so."""

    state: int  # as in <netinet/tcp.h>: 1 is ESTABLISHED
    send_mss: int
    receive_mss: int
    unacked: int  # segments
    retransmitting: int  # how often the first of them was sent again without an answer
    path_mtu: int
    round_trip: float  # smoothed
    least_round_trip: float
    retransmitted: int  # segments, in all
    acked: int
    received: int
    segments_sent: int
    send_window: int  # how much the peer takes now (Linux 5.4)


def tcp_info(sock: socket.socket) -> TcpInfo:
    """Raises OSError."""
    raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAYOUT.size).ljust(_LAYOUT.size, b"\0")
    small, rest = _LAYOUT.unpack(raw)[:8], _LAYOUT.unpack(raw)[8:]
    _rto, _ato, send_mss, receive_mss, unacked = rest[:5]
    path_mtu, _ssthresh, round_trip = rest[13:16]
    retransmitted, (_pacing, _most, acked, received), (segments_sent, _in, _unsent, least) = rest[23], rest[24:28], rest[28:32]
    return TcpInfo(
        state=small[0],
        send_mss=send_mss,
        receive_mss=receive_mss,
        unacked=unacked,
        retransmitting=small[2],
        path_mtu=path_mtu,
        round_trip=round_trip / 1e6,
        least_round_trip=0.0 if least == 0xFFFFFFFF else least / 1e6,
        retransmitted=retransmitted,
        acked=acked,
        received=received,
        segments_sent=segments_sent,
        send_window=rest[-1],
    )
