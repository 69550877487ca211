"""The roofline as SVG: each kernel's arithmetic for a byte against its rate, below what the machine can do at most.

After S. Williams, A. Waterman and D. Patterson, Communications of the ACM 52, 2009.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.backends.ledger_svg import heat, text

if TYPE_CHECKING:
    from tilewright.backends.ledger import Report, Row

_WIDTH, _HEIGHT = 900.0, 440.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 24.0, 24.0, 48.0
_DEPTH = 1e4  # how far below the peak the picture goes


@dataclass(frozen=True)
class _Scale:
    """A logarithmic axis from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)

    def decades(self) -> list[float]:
        return [10.0**e for e in range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)]


def shown(report: Report) -> list[int]:
    """The rows that have a place in the picture: those that do arithmetic, in a time that could be measured."""
    return [place for place, row in enumerate(report.rows) if row.flops and row.bytes and row.seconds]


def roofline(report: Report) -> str:
    """Of a report with a profile."""
    rows = [report.rows[place] for place in shown(report)]
    peak, bandwidth = report.peaks.flops, report.peaks.bytes
    x, y = _scales(rows, peak, bandwidth)
    body = [*_grid(x, y), *_roofs(x, y, peak, bandwidth)]
    longest = max((row.seconds for row in rows), default=1.0)
    total = report.kernel_seconds() or 1.0
    for place in sorted(shown(report), key=lambda place: -report.rows[place].seconds):
        row = report.rows[place]
        radius = 3.5 + 16 * math.sqrt(row.seconds / total)
        body.append(
            f'<circle class="point" data-row="{place}" cx="{x.at(row.intensity):.1f}" '
            f'cy="{y.at(row.flops_per_second):.1f}" r="{radius:.1f}" fill="{heat(row.seconds / longest)}"/>'
        )
    return (
        f'<svg class="roofline" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" '
        'aria-label="Roofline: arithmetic for a byte against operations a second">\n' + "\n".join(body) + "\n</svg>"
    )


def _scales(rows: Sequence[Row], peak: float, bandwidth: float) -> tuple[_Scale, _Scale]:
    """Room for all rows, and for the corner of the roof."""
    intensities = [peak / bandwidth, *(row.intensity for row in rows)]
    rates = [peak, *(max(row.flops_per_second, peak / _DEPTH) for row in rows)]
    x = _Scale(min(intensities) / 4, max(intensities) * 4, _LEFT, _WIDTH - _RIGHT)
    y = _Scale(min(*rates, peak / 100) / 2, max(rates) * 2, _HEIGHT - _BOTTOM, _TOP)
    return x, y


def _grid(x: _Scale, y: _Scale) -> Iterator[str]:
    for value in x.decades():
        at = x.at(value)
        yield f'<path class="grid" d="M{at:.1f} {y.end} V{y.start}"/>'
        yield text(at, y.start + 18, f"{value:g}", "pale middle")
    for value in y.decades():
        at = y.at(value)
        yield f'<path class="grid" d="M{x.start} {at:.1f} H{x.end}"/>'
        yield text(x.start - 8, at + 4, f"{value / 1e9:g}", "pale end")
    yield text((x.start + x.end) / 2, _HEIGHT - 8, "operations for each byte read or written", "pale middle")
    middle = (y.start + y.end) / 2
    yield text(16, middle, "GFLOP/s", "pale middle", f' transform="rotate(-90 16 {middle:.1f})"')


def _roofs(x: _Scale, y: _Scale, peak: float, bandwidth: float) -> Iterator[str]:
    """The slope is what memory allows, the level what arithmetic does."""
    start = max(x.low, y.low / bandwidth)
    left, foot, corner, level = x.at(start), y.at(start * bandwidth), x.at(peak / bandwidth), y.at(peak)
    yield f'<path class="roof" d="M{left:.1f} {foot:.1f} L{corner:.1f} {level:.1f} H{x.end}"/>'
    yield text(x.end - 6, level - 8, f"{peak / 1e9:.3g} GFLOP/s", "roofname end")
    slope = math.degrees(math.atan2(level - foot, corner - left))
    at, height = (left + corner) / 2, (foot + level) / 2
    turned = f' transform="rotate({slope:.1f} {at:.1f} {height:.1f})" dy="-8"'
    yield text(at, height, f"{bandwidth / 1e9:.3g} GB/s", "roofname middle", turned)
