"""Products of unsigned with signed 8-bit integers in fours: two instructions multiply and sum them up in 32 bits.

They do as much as four multiply-adds of float32. The first sums each two products in 16 bits, for which some weights
are too large: a block of packed weights ends with what has to be multiplied once more. See `tilewright.ir.quads`.
Machines with VNNI have one instruction for it all, which sums any four products in 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from tilewright.backends.kernels.loops import Buffer, Expr, Loops, index, quotient
from tilewright.backends.kernels.packing_quads import QuadRows
from tilewright.backends.kernels.pairs import has_pairs, neighbours, sums_of_pairs
from tilewright.backends.target import Target
from tilewright.ir.quads import QUAD

_INSTRUCTIONS = {
    4: ("ssse3", "llvm.x86.ssse3.pmadd.ub.sw.128"),
    8: ("avx2", "llvm.x86.avx2.pmadd.ub.sw"),
    16: ("avx512bw", "llvm.x86.avx512.pmaddubs.w.512"),
}
"""For each number of sums in a register what the processor must have, and LLVM's name of the instruction."""
_ADDING = {8: "llvm.x86.avx512.vpdpbusd.256", 16: "llvm.x86.avx512.vpdpbusd.512"}
"""LLVM's name of that which adds to the sums, where the target `sums_neighbours`."""


def has_quads(target: Target) -> bool:
    """Whether the processor has the instructions for its vectors of 32-bit numbers."""
    return target.sums_neighbours or (has_pairs(target) and target.has(_INSTRUCTIONS[target.lanes(32)][0]))


def broadcast(k: Loops, first: Expr, lanes: int) -> Expr:
    """The element that `first` loads and the three behind it, in all of `lanes` lanes."""
    four = tirx.reinterpret("int32", neighbours(first, QUAD))
    return k.let("a", tirx.reinterpret(f"int8x{QUAD * lanes}", tirx.Broadcast(four, lanes)))


def accumulate(k: Loops, sums: Buffer, start: Expr, factor: Expr, first: Expr, *, adds: bool) -> None:
    """Adds `factor` times the elements from the one that `first` loads on to as many sums as there are quads.

    `adds`: whether the target `sums_neighbours`.
    """
    lanes = int(factor.ty.dtype.lanes) // QUAD
    place = tirx.Ramp(index(start), index(1), lanes)
    other = neighbours(first, QUAD * lanes)
    if adds:
        total = tirx.call_llvm_pure_intrin(f"int32x{lanes}", _ADDING[lanes], sums[place], factor, other)
        k.emit(tirx.BufferStore(sums, total, [place]))
        return
    product = tirx.call_llvm_pure_intrin(f"int16x{2 * lanes}", _INSTRUCTIONS[lanes][1], factor, other)
    ones = tirx.Broadcast(tirx.const(1, "int16"), 2 * lanes)
    k.emit(tirx.BufferStore(sums, sums[place] + sums_of_pairs(product, ones, lanes), [place]))


def column_sums(rows: QuadRows, b: Callable[..., Expr], first: int, lanes: int) -> Expr:
    """int32[lanes]: the sums of the weights of the columns from `first` on. `b(row, byte)` is a load from the block."""
    return tirx.reinterpret(f"int32x{lanes}", neighbours(b(rows.sums, first * QUAD), lanes * QUAD))


@dataclass(frozen=True)
class SpareQuads:
    """Those of a block of B that are multiplied once more. `b(row, byte)` is a load from the block."""

    rows: QuadRows
    b: Callable[..., Expr]

    def count(self) -> Expr:
        return self._number(index(0))

    def place(self, e: Expr) -> Expr:
        """Which quad of the summed axis the one numbered `e` belongs to."""
        return self._number(e + 1)

    def row(self, e: Expr) -> Expr:
        """Where its weights are."""
        return e + self.rows.first_spare

    def _number(self, i: Expr) -> Expr:
        row = quotient(i, self.rows.columns)
        first = self.b(row + self.rows.numbers, (i - row * self.rows.columns) * QUAD)
        return index(tirx.reinterpret("int32", neighbours(first, QUAD)))
