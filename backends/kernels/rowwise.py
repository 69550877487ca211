"""Kernels whose reductions all fold the same axes: sums and extremes, softmax, norms, with what comes before and after.

A row is what is folded into one element. Its stages run one after the other while the row is in the cache; pointwise
stages that are read several times are kept in a scratch row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tilewright.backends.kernels.expr import ArgReduction, Reduction, Tensor
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, minimum
from tilewright.backends.kernels.nest import Nest
from tilewright.backends.kernels.ranges import (
    Indices,
    cover,
    div_up,
    maximum,
    named,
    nested,
    product,
    tasks,
    worth_forking,
)
from tilewright.backends.kernels.reduce import arg_neighbours, arg_row, as_bytes, fold_neighbours, fold_row, part_of
from tilewright.backends.kernels.tile import Vectors

_PARTS = 32  # of a reduction to one element: enough to balance any number of threads
_LONG = 1 << 15

Finish = Callable[[Indices], None]


def emit_rows(
    k: Loops,
    machine: Vectors,
    nest: Nest,
    stages: Sequence[Tensor],
    finish_row: Finish | None = None,
    finish: Finish | None = None,
    cost: float = 2.0,
) -> None:
    """Make the `stages` of each row in order, binding each to where it lies, then call what follows.

    A stage is a Reduction or ArgReduction (of the kept axes, or of all with the folded ones of size 1), or a pointwise
    Tensor of shape `nest.shape` to be kept. `finish_row(row)` stores elements that belong to a row, once per row;
    `finish(place)` those of shape `nest.shape`. Both must be idempotent. `cost` is the work per element, 1 for a copy.
    """
    if _is_one_long_row(nest, stages) and finish is None:
        _one_row(k, machine, nest, stages[0], finish_row, cost)
    elif nest.folds_innermost or not nest.shape:
        _along_rows(k, machine, nest, stages, finish_row, finish, cost)
    else:
        _across_rows(k, machine, nest, stages, finish_row, finish, cost)


def _is_one_long_row(nest: Nest, stages: Sequence[Tensor]) -> bool:
    count = product(nest.columns)
    long = not isinstance(count, int) or count >= _LONG
    return product(nest.rows) == 1 and isinstance(stages[0], Reduction) and len(stages) == 1 and long


def _one_row(k: Loops, machine: Vectors, nest: Nest, fold: Tensor, finish_row: Finish | None, cost: float) -> None:
    """All elements folded into one: parts of the first folded axis in parallel, then the parts."""
    assert isinstance(fold, Reduction)
    row = (0,) * len(nest.rows)
    place = nest.row_index(fold, row)
    target, fold = fold, as_bytes(fold)
    parts = k.scratch("parts", (_PARTS,), fold.dtype)
    length = div_up(fold.extents[0], _PARTS)
    with k.parallel(_PARTS, worth=worth_forking(product(nest.shape), cost)) as p:
        extent = k.let("extent", maximum(0, minimum(length, fold.extents[0] - p * length)))
        k.store(parts, (p,), fold_row(k, machine, part_of(fold, p * length, extent), place))
    total = k.local("total", (1,), fold.dtype)
    k.store(total, (0,), fold.initial)
    with k.serial(_PARTS) as p:
        k.store(total, (0,), fold.fold(total[0], parts[p]))
    target.bind(lambda *i: _as(target, total[0]))
    if finish_row:
        finish_row(row)


def _along_rows(
    k: Loops,
    machine: Vectors,
    nest: Nest,
    stages: Sequence[Tensor],
    finish_row: Finish | None,
    finish: Finish | None,
    cost: float,
) -> None:
    """Rows are contiguous: vectors run along them."""
    with tasks(k, nest.rows, worth_forking(product(nest.shape), cost)) as row:
        for stage in stages:
            _make_row(k, machine, nest, stage, row)
        if finish_row:
            finish_row(row)
        if finish:
            _each_place(k, machine, nest, row, finish)


def _make_row(k: Loops, machine: Vectors, nest: Nest, stage: Tensor, row: Indices) -> None:
    if isinstance(stage, Reduction):
        total = fold_row(k, machine, as_bytes(stage), nest.row_index(stage, row))
        stage.bind(lambda *i: _as(stage, total))
    elif isinstance(stage, ArgReduction):
        found = arg_row(k, stage, nest.row_index(stage, row))
        stage.bind(lambda *i: found)
    else:
        kept = k.scratch("kept", nest.columns, stage.dtype)
        _each_place(k, machine, nest, row, lambda place: k.store(kept, nest.column(place), stage(*place)))
        stage.bind(lambda *i: kept[nest.column(i)])


def _as(stage: Tensor, value: Expr) -> Expr:
    """A value of the stage's dtype: bools are kept as bytes."""
    return value != 0 if stage.dtype == "bool" else value


def _each_place(k: Loops, machine: Vectors, nest: Nest, row: Indices, visit: Finish) -> None:
    *outer, inner = nest.columns
    with nested(k, outer) as at:
        cover(k, inner, machine.lanes, lambda j: visit(nest.index(row, (*at, j))))


def _across_rows(
    k: Loops,
    machine: Vectors,
    nest: Nest,
    stages: Sequence[Tensor],
    finish_row: Finish | None,
    finish: Finish | None,
    cost: float,
) -> None:
    """The innermost axis is kept: neighbouring rows share a vector."""
    *outer, inner = nest.rows

    definitions = [stage.reader for stage in stages]

    def blocks_of(width: int) -> None:
        for stage, definition in zip(stages, definitions, strict=True):
            if definition:
                stage.bind(definition)
        with tasks(k, (*outer, div_up(inner, width)), worth_forking(product(nest.shape), cost)) as (*lead, block):
            first = named(k, "first", minimum(block * width, inner - width))
            rows = _Neighbours(k, nest, tuple(lead), first, width, min(width, machine.lanes))
            for stage in stages:
                rows.make(stage)
            rows.finish(finish_row, finish)

    if isinstance(inner, int):
        blocks_of(_width(inner, machine.lanes))
    else:
        k.branch(inner >= machine.lanes, lambda: blocks_of(machine.lanes), lambda: blocks_of(1))


def _width(inner: int, lanes: int) -> int:
    """Up to four vectors, as many as waste the least; the last block overlaps the one before."""
    widths = [v * lanes for v in (4, 3, 2, 1) if v * lanes <= inner]
    return min(widths, key=lambda width: div_up(inner, width) * width, default=inner)


class _Neighbours:
    """`width` rows side by side, from `first` along the innermost axis, in vectors of `lanes`."""

    def __init__(self, k: Loops, nest: Nest, lead: Indices, first: Index, width: int, lanes: int) -> None:
        self.k, self.nest, self.lead, self.first, self.width, self.lanes = k, nest, lead, first, width, lanes

    def make(self, stage: Tensor) -> None:
        """Compute a stage of all rows, and bind it."""
        if isinstance(stage, Reduction):
            self._bind(stage, fold_neighbours(self.k, self.lanes, self.width, as_bytes(stage), self._place_in(stage)))
        elif isinstance(stage, ArgReduction):
            self._bind(stage, arg_neighbours(self.k, self.lanes, self.width, stage, self._place_in(stage)))
        else:
            self._keep(stage)

    def _place_in(self, stage: Tensor) -> Callable[[Index], Indices]:
        return lambda i: self.nest.row_index(stage, (*self.lead, self.first + i))

    def _bind(self, stage: Tensor, values: Buffer) -> None:
        stage.bind(lambda *place: _as(stage, values[place[-1] - self.first]))

    def _keep(self, stage: Tensor) -> None:
        kept = self.k.scratch("kept", (*self.nest.columns, self.width), stage.dtype)

        def at(place: Indices) -> Indices:
            return (*self.nest.column(place), place[-1] - self.first)

        self._each_place(lambda place: self.k.store(kept, at(place), stage(*place)))
        stage.bind(lambda *place: kept[at(place)])

    def finish(self, finish_row: Finish | None, finish: Finish | None) -> None:
        if finish_row:
            self._each_row(finish_row)
        if finish:
            self._each_place(finish)

    def _each_row(self, visit: Finish) -> None:
        for start in range(0, self.width, self.lanes):
            with self.k.vectorized(self.lanes) as lane:
                visit((*self.lead, self.first + (start + lane)))

    def _each_place(self, visit: Finish) -> None:
        with nested(self.k, self.nest.columns) as column:
            self._each_row(lambda row: visit(self.nest.index(row, column)))
