"""The ledger: where each kernel came from, how long it takes, and how near that is to what the machine can do."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tilewright.backends.probes import Peaks

_WIDTH = 144


@dataclass(frozen=True, slots=True)
class Row:
    """One step of the program, measured.

    `origin`: the schedule rule, or "host". `flops` and `bytes` count all `calls` of a run: arithmetic, and the tensors
    that are read and written. `reads`: the positions of the rows whose results it reads. `region`: the part of the
    program that it belongs to, "main" or a graph of an `if` or a `loop`.
    """

    kernel: str
    sources: tuple[str, ...]
    origin: str
    dtype: str
    seconds: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0
    calls: int = 0
    reads: tuple[int, ...] = ()
    region: str = "main"

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.bytes / self.seconds if self.seconds else 0.0

    @property
    def intensity(self) -> float:
        """Arithmetic operations for each byte that is read or written."""
        return self.flops / self.bytes if self.bytes else 0.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the step in row `row`: when it began in a run, and how long it took with all that it called."""

    row: int
    start: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """All rows in the order in which they run, for inputs of the given `shapes`.

    `seconds` is the time of a whole call without the instruments that time single kernels; `calls` are those of a run
    with them. Without a profile nothing has run: both are empty, as are the rows' times and bytes, and the peaks.
    """

    rows: tuple[Row, ...]
    shapes: Mapping[str, tuple[int, ...]]
    seconds: float
    peaks: Peaks
    calls: tuple[Call, ...] = ()

    @property
    def profiled(self) -> bool:
        return self.peaks.flops > 0

    def share_of_peak(self, row: Row) -> float:
        """Of the measured peak of arithmetic in float32, which narrower types can exceed.

        So do convolutions that save products: what they would do without that is counted.
        """
        return row.flops_per_second / self.peaks.flops if self.profiled else 0.0

    def share_of_bandwidth(self, row: Row) -> float:
        """Of the measured bandwidth of memory, which tensors that stay in the caches can exceed."""
        return row.bytes_per_second / self.peaks.bytes if self.profiled else 0.0

    def share(self, row: Row) -> float:
        """Of the peak or of the bandwidth, whichever the row comes nearer to."""
        return max(self.share_of_peak(row), self.share_of_bandwidth(row))

    @property
    def roofline(self) -> float:
        """Seconds that a run takes at least, each kernel at the peak or at memory's bandwidth; 0 without a profile.

        Less where tensors stay in the caches. ("Roofline", Williams, Waterman and Patterson, 2009)
        """
        if not self.profiled:
            return 0.0
        return math.fsum(max(row.flops / self.peaks.flops, row.bytes / self.peaks.bytes) for row in self.rows)

    def host_rows(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.origin == "host")

    def kernel_seconds(self) -> float:
        """Of all rows together."""
        return sum(row.seconds for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """All that the table shows, in seconds, operations and bytes, for machines."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        kernels = [self._row_to_json(row) for row in self.rows]
        return {"kernels": kernels, "inputs": shapes, "seconds": self.seconds, "peaks": asdict(self.peaks)}

    def _row_to_json(self, row: Row) -> dict[str, Any]:
        return {
            **asdict(row),
            "flops_per_second": row.flops_per_second,
            "bytes_per_second": row.bytes_per_second,
            "share_of_peak": self.share_of_peak(row),
            "share_of_bandwidth": self.share_of_bandwidth(row),
        }

    def to_trace(self) -> dict[str, Any]:
        """The calls of one run in the trace event format that chrome://tracing and ui.perfetto.dev read as JSON."""
        from tilewright.backends.ledger_trace import trace

        return trace(self)

    def to_html(self) -> str:
        """A page by itself: summary, roofline, the graph of kernels coloured by time, and a table to be sorted."""
        from tilewright.backends.ledger_html import page

        return page(self)

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=_WIDTH).print(self._table())
        return f"{text.getvalue()}{self.summary()}\n"

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD)
        for column in ("kernel", "from", "by", "dtype"):
            table.add_column(column, no_wrap=True)
        for column in ("us", "%", "GFLOP/s", "of peak", "GB/s", "of memory") if self.profiled else ("MFLOP",):
            table.add_column(column, no_wrap=True, justify="right")
        total = self.kernel_seconds() or 1.0
        for row in self.rows:
            table.add_row(*self._cells(row, total))
        return table

    def _cells(self, row: Row, total: float) -> tuple[str, ...]:
        named = (_cut(row.kernel, 24), _cut(", ".join(row.sources), 32), row.origin, row.dtype)
        if not self.profiled:
            return (*named, f"{row.flops / 1e6:.3f}" if row.flops else "")
        return (
            *named,
            f"{row.seconds * 1e6:.1f}",
            f"{100 * row.seconds / total:.1f}",
            *_rate(row.flops_per_second, self.share_of_peak(row)),
            *_rate(row.bytes_per_second, self.share_of_bandwidth(row)),
        )

    def summary(self) -> str:
        """What the rows come to, in a few sentences."""
        inputs = ", ".join(f"{name} {list(shape)}" for name, shape in self.shapes.items()) or "no inputs"
        counted = f"{len(self.rows)} kernels, {len(self.host_rows())} of them on the host"
        if not self.profiled:
            return f"{counted}, for {inputs}. Nothing was run; with profile=True each is timed."
        return (
            f"{counted}, {self.seconds * 1e3:.3f} ms a call for {inputs} on {self.peaks.threads} threads. Measured "
            f"peak: {self.peaks.flops / 1e9:.0f} GFLOP/s in float32, {self.peaks.bytes / 1e9:.1f} GB/s from memory."
        )


def _rate(per_second: float, share: float) -> tuple[str, str]:
    return (f"{per_second / 1e9:.1f}", f"{share:.0%}") if per_second else ("", "")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
