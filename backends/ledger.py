"""The ledger: where each kernel came from, how long it takes, and how near that is to what the machine can do."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tilewright.backends.probes import Peaks

_WIDTH = 144


@dataclass(frozen=True, slots=True)
class Row:
    """One step of the program, measured.

    `origin`: the schedule rule, or "host". `flops` and `bytes` count one call: arithmetic, and the tensors that are
    read and written.
    """

    kernel: str
    sources: tuple[str, ...]
    origin: str
    dtype: str
    seconds: float
    flops: float
    bytes: float

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.bytes / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """All rows in the order in which they run, for inputs of the given `shapes`.

    `seconds` is the time of a whole call without the instruments that time single kernels.
    """

    rows: tuple[Row, ...]
    shapes: Mapping[str, tuple[int, ...]]
    seconds: float
    peaks: Peaks

    def share(self, row: Row) -> float:
        """Of the measured peak, arithmetic in float32 or memory, whichever the row comes nearer to.

        Tensors that stay in the caches can move faster than memory does, as can arithmetic on narrower types.
        """
        return max(row.flops_per_second / self.peaks.flops, row.bytes_per_second / self.peaks.bytes)

    def host_rows(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.origin == "host")

    def to_json(self) -> dict[str, Any]:
        rows = [{**asdict(row), "share_of_peak": self.share(row)} for row in self.rows]
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {"kernels": rows, "inputs": shapes, "seconds": self.seconds, "peaks": asdict(self.peaks)}

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=_WIDTH).print(self._table())
        return f"{text.getvalue()}{self._summary()}\n"

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD)
        for column in ("kernel", "from", "by", "dtype"):
            table.add_column(column, no_wrap=True)
        for column in ("us", "%", "GFLOP/s", "GB/s", "of peak"):
            table.add_column(column, no_wrap=True, justify="right")
        total = sum(row.seconds for row in self.rows) or 1.0
        for row in self.rows:
            table.add_row(*self._cells(row, total))
        return table

    def _cells(self, row: Row, total: float) -> tuple[str, ...]:
        rates = (row.flops_per_second / 1e9, row.bytes_per_second / 1e9)
        return (
            _cut(row.kernel, 24),
            _cut(", ".join(row.sources), 40),
            row.origin,
            row.dtype,
            f"{row.seconds * 1e6:.1f}",
            f"{100 * row.seconds / total:.1f}",
            *(f"{rate:.1f}" if rate else "" for rate in rates),
            f"{self.share(row):.0%}",
        )

    def _summary(self) -> str:
        inputs = ", ".join(f"{name} {list(shape)}" for name, shape in self.shapes.items())
        return (
            f"{len(self.rows)} kernels, {len(self.host_rows())} of them on the host, {self.seconds * 1e3:.3f} ms "
            f"a call for {inputs or 'no inputs'} on {self.peaks.threads} threads. Measured peak: "
            f"{self.peaks.flops / 1e9:.0f} GFLOP/s in float32, {self.peaks.bytes / 1e9:.1f} GB/s from memory."
        )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
