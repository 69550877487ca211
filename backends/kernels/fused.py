"""Multiply-adds that surely add in place, where LLVM would write the sum over a factor instead.

LLVM lets the result of a multiply-add take the register of a factor that is not needed any more: of a number that is
broadcast to be multiplied once. Sums then wander from register to register, and where most registers are taken they are
copied back, or go through memory. Instructions in assembly language say which register the sum stays in. LLVM does not
unroll loops around them, of which several follow each other in a convolution, each with its sums in other registers.
"""

from __future__ import annotations

from tvm import tirx

from tilewright.backends.kernels.loops import Buffer, Expr, Loops, index

_MULTIPLY_ADD = """
define <{lanes} x float> @{name}(<{lanes} x float> %sum, <{lanes} x float> %a, <{lanes} x float> %b) alwaysinline {{
  %result = call <{lanes} x float> asm "vfmadd231ps $3, $2, $0", "={register},0,{register},{register}"(
    <{lanes} x float> %sum, <{lanes} x float> %a, <{lanes} x float> %b)
  ret <{lanes} x float> %result
}}
"""
_REGISTERS = {4: "x", 8: "x", 16: "v"}  # constraints of LLVM: any of the first sixteen, or any of all


def multiply_add(k: Loops, sums: Buffer, start: Expr, a: Expr, b: Expr) -> None:
    """sums[start + i] += a * b[i] for the float32 vector b and the number a, or as many of them."""
    lanes = int(b.ty.dtype.lanes)
    a = a if int(a.ty.dtype.lanes) == lanes else tirx.Broadcast(a, lanes)
    name = f"tilewright_multiply_add_{lanes}"
    k.include(_MULTIPLY_ADD.format(name=name, lanes=lanes, register=_REGISTERS[lanes]))
    place = tirx.Ramp(index(start), index(1), lanes)
    result = tirx.call_pure_extern(f"float32x{lanes}", name, sums[place], a, b)
    k.emit(tirx.BufferStore(sums, result, [place]))
