"""Latencies, counted in buckets that grow with the value: three significant digits, whatever the
length of the run.

Log-linear, as HdrHistogram has it: values up to 2,047 have a bucket each, and from there on every
doubling has 1,024, so that a bucket is never wider than a thousandth of what it counts. Values are
nanoseconds by custom, up to an hour. Memory is what the highest value needs, and merging adds
counts, so it is exact.

Written in two forms that other tools read: the percentile table of HdrHistogram's plotters, and its
compressed encoding (V2: counts in ZigZag LEB128, zeros run-length coded, deflate, base64).
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

HIGHEST = 3_600_000_000_000  # an hour of nanoseconds: more is counted as that
_HALF_BITS = 10
# Buckets a doubling: 1,024, the least power of two that keeps three significant digits.
_HALF = 1 << _HALF_BITS
# Bytes of an encoding, unpacked, at the most.
_ENCODED = 40 + 9 * (HIGHEST.bit_length() << _HALF_BITS)
# V2, and V2 compressed, of HdrHistogram's encodings.
_COOKIE, _DEFLATED = 0x1C849303 | 0x10, 0x1C849304 | 0x10


def index(value: int) -> int:
    """The number of the bucket that counts *value*."""
    doubling = value.bit_length() - _HALF_BITS - 1
    return value if doubling <= 0 else (doubling << _HALF_BITS) + (value >> doubling)


def lowest(bucket: int) -> int:
    """The least value that *bucket* counts."""
    doubling = max(0, (bucket >> _HALF_BITS) - 1)
    return (bucket - (doubling << _HALF_BITS)) << doubling


def highest(bucket: int) -> int:
    """The greatest value that *bucket* counts."""
    return lowest(bucket + 1) - 1


class Histogram:
    """Counts of values, whole numbers from 0 on; a value's bucket is at most 0.1 % wide."""

    __slots__ = ("counts", "greatest", "least", "total")

    def __init__(self, values: Iterable[int] = ()) -> None:
        self.counts: defaultdict[int, int] = defaultdict(int)  # of each bucket that has any
        self.total = 0
        self.least, self.greatest = HIGHEST, 0
        self.add(values)

    def add(self, values: Iterable[int]) -> None:
        """Count *values*; those beyond the range are counted at its end."""
        counts, bits, before = self.counts, _HALF_BITS + 1, self.total
        for value in values:
            if not self.least <= value <= self.greatest:
                value = self._reach(value)
            doubling = value.bit_length() - bits
            counts[value if doubling <= 0 else (doubling << _HALF_BITS) + (value >> doubling)] += 1
            before += 1
        self.total = before

    def _reach(self, value: int) -> int:
        """Widen the range to *value*, as far as there may be values."""
        value = min(max(value, 0), HIGHEST)
        self.least, self.greatest = min(self.least, value), max(self.greatest, value)
        return value

    def merge(self, other: Histogram) -> None:
        """Count what *other* has counted, exactly."""
        for bucket, count in other.counts.items():
            self.counts[bucket] += count
        self.total += other.total
        self.least, self.greatest = min(self.least, other.least), max(self.greatest, other.greatest)

    def buckets(self) -> Iterator[tuple[int, int]]:
        """The (bucket, count) of each that has any, the least first."""
        return iter(sorted(self.counts.items()))

    def quantile(self, q: float) -> float:
        """The value that a part *q* (0 to 1) of the counted are not above: exact to 0.1 %; 0 if
        nothing was counted.
        """
        wanted = max(1, math.ceil(q * self.total - 1e-9))
        seen = 0
        for bucket, count in self.buckets():
            seen += count
            if seen >= wanted:
                return float(min(highest(bucket), self.greatest))
        return 0.0

    def mean(self) -> float:
        return (
            sum(count * self._middle(bucket) for bucket, count in self.buckets()) / self.total
            if self.total
            else 0.0
        )

    def deviation(self) -> float:
        """The standard deviation."""
        if not self.total:
            return 0.0
        mean = self.mean()
        return math.sqrt(
            sum(count * (self._middle(bucket) - mean) ** 2 for bucket, count in self.buckets())
            / self.total
        )

    def _middle(self, bucket: int) -> float:
        return min(max((lowest(bucket) + highest(bucket)) / 2, self.least), self.greatest)

    def curve(self, half: int = 5) -> list[tuple[float, float, int]]:
        """(value, quantile, counted so far) for a plot: *half* points for each halving of what is
        left above.
        """
        if not self.total:
            return []
        points, seen, wanted = [], 0, 0.0
        for bucket, count in self.buckets():
            seen += count
            while seen / self.total >= wanted < 1.0:
                points.append((float(min(highest(bucket), self.greatest)), wanted, seen))
                ticks = half * 2 ** (math.floor(math.log2(1 / (1 - wanted))) + 1)
                wanted = 1.0 if seen == self.total else wanted + 1 / ticks
        points.append((float(self.greatest), 1.0, self.total))
        return points

    # HdrHistogram's forms

    def text(self, scale: float = 1000.0) -> str:
        """The percentile distribution, as HdrHistogram prints and plots it; values are divided by
        *scale*.
        """
        rows = ["       Value     Percentile TotalCount 1/(1-Percentile)", ""]
        for value, q, seen in self.curve():
            last = f"{1 / (1 - q):14.2f}" if q < 1 else ""
            rows.append(f"{value / scale:12.3f} {q:14.12f} {seen:10d} {last}".rstrip())
        rows.append(
            f"#[Mean    = {self.mean() / scale:12.3f},"
            f" StdDeviation   = {self.deviation() / scale:12.3f}]"
        )
        rows.append(
            f"#[Max     = {self.greatest / scale:12.3f}, Total count    = {self.total:12d}]"
        )
        doublings = max(1, HIGHEST.bit_length() - _HALF_BITS)
        rows.append(f"#[Buckets = {doublings:12d}, SubBuckets     = {2 * _HALF:12d}]")
        return "\n".join(rows) + "\n"

    def encode(self) -> str:
        """The V2 compressed encoding, in base64, as in an HdrHistogram log."""
        body = bytearray()
        next_bucket = 0
        for bucket, count in self.buckets():
            if bucket > next_bucket:
                body += _zigzag(next_bucket - bucket)  # so many zeros
            body += _zigzag(count)
            next_bucket = bucket + 1
        head = struct.pack(">iiiiqqd", _COOKIE, len(body), 0, 3, 1, HIGHEST, 1.0)
        packed = zlib.compress(head + bytes(body))
        return base64.b64encode(struct.pack(">ii", _DEFLATED, len(packed)) + packed).decode()

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """What encode() wrote.

        Raises ValueError for anything else. The least and greatest are then those of their buckets.
        """
        try:
            raw = base64.b64decode(text, validate=True)
            cookie, length = struct.unpack_from(">ii", raw)
            unpack = zlib.decompressobj()
            data = unpack.decompress(raw[8 : 8 + length], _ENCODED)
            if unpack.unconsumed_tail:
                raise ValueError("it has more buckets than there are")
            inner, size, offset, digits, unit, _, _ = struct.unpack_from(">iiiiqqd", data)
        except (ValueError, struct.error, zlib.error) as error:
            raise ValueError(f"not a histogram: {error}") from None
        if (cookie, inner, offset, digits, unit) != (_DEFLATED, _COOKIE, 0, 3, 1):
            raise ValueError("not a histogram of three significant digits in the V2 encoding")
        histogram = cls()
        bucket = 0
        for number in _numbers(data[40 : 40 + size]):
            if number < 0:
                bucket -= number
            else:
                if bucket > index(HIGHEST):
                    raise ValueError("not a histogram: a value above an hour")
                histogram._reach(lowest(bucket))
                histogram._reach(min(highest(bucket), HIGHEST))
                histogram.counts[bucket] += number
                histogram.total += number
                bucket += 1
        return histogram


def _zigzag(value: int) -> bytes:
    """ZigZag LEB128: seven bits a byte, the lowest first; a ninth byte has eight."""
    left = (value << 1) ^ (value >> 63)
    out = bytearray()
    while left > 0x7F and len(out) < 8:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def _numbers(data: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        if shift == 56:
            value |= byte << shift
        else:
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte & 0x80:
                continue
        yield (value >> 1) ^ -(value & 1)
        value = shift = 0
    if shift:
        raise ValueError("not a histogram: it ends within a number")
