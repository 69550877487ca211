"""One step of the LSTM whose states are rounded to 8 bits, after the operator row `quantized_lstm`.

The row says in which order its numbers are rounded; a product that goes into a sum is kept from becoming one with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx

from tilewright.backends.kernels.activations import RATIONAL_PROGRAMS
from tilewright.backends.kernels.loops import Expr, index
from tilewright.backends.kernels.quads import column_sums
from tilewright.backends.kernels.recurrent import Task
from tilewright.backends.kernels.recurrent_cells import Apply, Lstm
from tilewright.backends.kernels.vmath import unfused

_SCALES, _BIAS, _PEEPHOLES = 0, 4, 8  # where each begins among the parameters


class QuantizedLstm(Lstm):
    """Parameters are the scales of the weights and the biases, for four gates each, and the peepholes."""

    programs = RATIONAL_PROGRAMS

    def __init__(self, task: Task, attrs: Mapping[str, Any], direction: int) -> None:
        super().__init__(task, attrs, direction)
        self.rounded = task.k.scratch("rounded", (task.count, task.padded), task.tile.dtype)
        self.scales = task.k.scratch("scales", (task.count,))
        self.unsigned = task.tile.dtype == "uint8"
        if self.unsigned:
            self.zeros = task.k.scratch("zeros", (task.count,), "int32")
            self.sums = task.k.scratch("sums", (4 * task.padded,), "int32")
            self._sum_weights()

    def _sum_weights(self) -> None:
        """sums = those of the weights of each column, which a zero point is multiplied with."""
        task, k, tile = self.task, self.task.k, self.task.tile
        rows = tile.quad_rows(task.layer.hidden)
        with k.serial(4 * task.blocks, name="block") as block:
            for v in range(0, tile.columns, tile.lanes):
                found = column_sums(rows, lambda d, c: task.layer.weights(task.direction, block, d, c), v, tile.lanes)
                place = tirx.Ramp(index(block * tile.columns + v), index(1), tile.lanes)
                k.emit(tirx.BufferStore(self.sums, found, [place]))

    def step(self, s: Expr) -> None:
        task = self.task
        with task.k.serial(task.count, name="r") as r:
            self._round(r)
        task.multiply(s, self.rounded, 0, 4, self._scaled)
        task.rows(s, 0, 4, self.row, last=True)

    def _scaled(self, r: Expr, column: Expr, total: Expr) -> Expr:
        if self.unsigned:
            total = total - self.zeros[r] * self.sums[column]
        scale = self.scales[r] * self.task.extra[column + _SCALES * self.task.padded]
        return unfused(self.task.b.cast(total, "float32") * scale)

    def remembered(self, r: Expr, j: Expr) -> Expr:
        kept, new = self.terms(r, j)
        return unfused(kept) + unfused(new)

    def finish(self, r: Expr, g: int, function: Apply, *, peephole: bool) -> None:
        task = self.task
        looks = peephole and task.parameters > _PEEPHOLES

        def complete(j: Expr) -> None:
            place = task.place(r, g, j)
            total = task.gates[place] + unfused(task.added[place[1]])
            if looks:
                total = total + unfused(task.parameter(_PEEPHOLES + g, j) * self.cell[r, j])
            task.k.store(task.gates, place, total + task.parameter(_BIAS + g, j))

        task.each(complete)
        function(task.gates, lambda j: task.place(r, g, j))

    def _round(self, r: Expr) -> None:
        """rounded = the row's state in units of its scale: 8 bits without a sign, less a zero point.

        Where tiles multiply unsigned numbers, the zero point is taken off the sums instead.
        """
        task, k, b = self.task, self.task.k, self.task.b
        low, high = self._range(r)
        width = k.let("width", high - low)
        scale = k.let("scale", b.select(width > 0.0, width / 255.0, 1.0))
        zero = k.let("zero", b.round(-low / scale))
        k.store(self.scales, (r,), scale)
        spare, state = task.spare, self.hidden
        task.each(lambda j: k.store(spare, (j,), b.round(state[r, j] / scale) + zero))
        task.each(lambda j: k.store(spare, (j,), b.select(spare[j] > 0.0, spare[j], 0.0)))
        task.each(lambda j: k.store(spare, (j,), b.select(spare[j] < 255.0, spare[j], 255.0)))
        if self.unsigned:
            k.store(self.zeros, (r,), b.cast(zero, "int32"))
            zero = b.const(0, "float32")
        task.each(lambda j: k.store(self.rounded, (r, j), b.cast(spare[j] - zero, task.tile.dtype)))

    def _range(self, r: Expr) -> tuple[Expr, Expr]:
        """The least and the greatest element of the row's state, and 0."""
        task, k, b, lanes = self.task, self.task.k, self.task.b, self.task.tile.lanes
        low, high = (k.local(name, (lanes,)) for name in ("low", "high"))

        def fold(place: Expr, value: Expr) -> None:
            k.store(low, (place,), b.select(value < low[place], value, low[place]))
            k.store(high, (place,), b.select(value > high[place], value, high[place]))

        for found in (low, high):
            with k.vectorized(lanes) as lane:
                k.store(found, (lane,), 0.0)
        with k.serial(task.blocks * task.tile.vectors, name="v") as v, k.vectorized(lanes) as lane:
            j = v * lanes + lane
            fold(lane, b.select(j < task.layer.hidden, self.hidden[r, j], 0.0))
        with k.serial(lanes - 1) as lane:
            k.store(low, (0,), b.select(low[lane + 1] < low[0], low[lane + 1], low[0]))
            k.store(high, (0,), b.select(high[lane + 1] > high[0], high[lane + 1], high[0]))
        return low[0], high[0]
