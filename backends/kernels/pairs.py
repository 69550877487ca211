"""Products of 16-bit integers in pairs: one instruction multiplies them and adds each two up in 32 bits, exactly.

It does as much as two multiply-adds of float32; machines with VNNI also add to what was summed before. Weights of 8
bits are widened when they are loaded.
"""

from __future__ import annotations

from tvm import tirx

from tilewright.backends.kernels.loops import Buffer, Expr, Loops, index
from tilewright.backends.target import Target

_INSTRUCTIONS = {
    4: ("sse2", "llvm.x86.sse2.pmadd.wd"),
    8: ("avx2", "llvm.x86.avx2.pmadd.wd"),
    16: ("avx512bw", "llvm.x86.avx512.pmaddw.d.512"),
}
"""For each number of sums in a register what the processor must have, and LLVM's name of the instruction."""
_ADDING = {8: "llvm.x86.avx512.vpdpwssd.256", 16: "llvm.x86.avx512.vpdpwssd.512"}
"""LLVM's name of that which adds to the sums, where the target `sums_neighbours`."""

WEIGHTS = ("int8", "int16")  # what weights may be stored as


def has_pairs(target: Target) -> bool:
    """Whether the processor has an instruction for its vectors of 32-bit numbers."""
    feature, _ = _INSTRUCTIONS[target.lanes(32)]
    return target.sums_neighbours or feature == "sse2" or target.has(feature)  # every x86-64 has the first


def broadcast(k: Loops, first: Expr, lanes: int) -> Expr:
    """The element that `first` loads and the one behind it, of 16 bits or 8 without a sign, in all of `lanes` lanes."""
    pair = tirx.reinterpret("int32", _as_int16(neighbours(first, 2)))
    return k.let("a", tirx.reinterpret(f"int16x{2 * lanes}", tirx.Broadcast(pair, lanes)))


def accumulate(k: Loops, sums: Buffer, start: Expr, factor: Expr, first: Expr, *, adds: bool) -> None:
    """Adds `factor` times the elements from the one that `first` loads on to as many sums as there are pairs.

    `adds`: whether the target `sums_neighbours`.
    """
    lanes = int(factor.ty.dtype.lanes) // 2
    place = tirx.Ramp(index(start), index(1), lanes)
    other = _as_int16(neighbours(first, 2 * lanes))
    if adds:
        total = tirx.call_llvm_pure_intrin(f"int32x{lanes}", _ADDING[lanes], sums[place], factor, other)
    else:
        total = sums[place] + sums_of_pairs(factor, other, lanes)
    k.emit(tirx.BufferStore(sums, total, [place]))


def sums_of_pairs(a: Expr, b: Expr, lanes: int) -> Expr:
    """int32[lanes]: the products of two vectors of 2 * lanes int16, each two neighbours summed."""
    return tirx.call_llvm_pure_intrin(f"int32x{lanes}", _INSTRUCTIONS[lanes][1], a, b)


def neighbours(load: Expr, count: int) -> Expr:
    """What a load reads with the elements behind it, `count` in all."""
    *outer, last = load.indices
    return tirx.BufferLoad(load.source, [*outer, tirx.Ramp(last, index(1), count)])


def _as_int16(vector: Expr) -> Expr:
    if str(vector.ty.dtype).startswith("int16"):
        return vector
    return tirx.Cast(f"int16x{int(vector.ty.dtype.lanes)}", vector)
