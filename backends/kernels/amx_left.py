"""The left matrix of a product on AMX, whose rows are split into pieces of bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tilewright.backends.kernels import amx
from tilewright.backends.kernels.amx_between import LEVEL
from tilewright.backends.kernels.amx_right import vector
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, itemsize
from tilewright.backends.kernels.packing_pieces import DEPTH, ROWS
from tilewright.backends.kernels.tile import LINE


@dataclass(frozen=True)
class Left:
    """float32 [rows, depth]."""

    k: Loops
    matrix: Buffer
    depth: int

    def ask(self, row: Expr, step: Expr) -> None:
        """For the step's elements of a row, which may not exist."""
        for first in range(0, DEPTH, LINE // itemsize(self.matrix)):
            self.k.prefetch(self.matrix, (row, step * DEPTH + first), LEVEL)

    def split(self, row: Expr, step: Expr, to: Expr) -> None:
        """The pieces of the step's elements of a row, as a row of a tile each, from the element `to` on."""

        def halves(first: Index) -> Callable[[Expr], Expr]:
            return lambda lane: self.matrix[row, step * DEPTH + first + lane]

        def whole() -> None:
            amx.store_pieces(self.k, vector(self.k, halves(0)), vector(self.k, halves(ROWS)), to)

        def partial() -> None:
            amx.store_pieces(self.k, *amx.load_rest(self.k, halves(0), self.depth % DEPTH), to)

        if self.depth % DEPTH:
            self.k.branch(step < self.depth // DEPTH, whole, partial)
        else:
            whole()
