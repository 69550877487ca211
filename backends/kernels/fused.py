"""Multiply-adds that surely add in place, where LLVM would write the sum over a factor instead.

LLVM lets the result of a multiply-add take the register of a factor that is not needed any more: of a number that is
broadcast to be multiplied once. Sums then wander from register to register, and where most registers are taken they are
copied back, or go through memory. Instructions in assembly language say which register the sum stays in. LLVM does not
unroll loops around them, of which several follow each other in a convolution, each with its sums in other registers.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir.expr import TensorLoad

from tilewright.backends.kernels.loops import Buffer, Expr, Loops, index

_MULTIPLY_ADD = """
define <{lanes} x float> @{name}(<{lanes} x float> %sum, <{lanes} x float> %a, <{lanes} x float> %b) alwaysinline {{
  %result = call <{lanes} x float> asm "vfmadd231ps $3, $2, $0", "={register},0,{register},{register}"(
    <{lanes} x float> %sum, <{lanes} x float> %a, <{lanes} x float> %b)
  ret <{lanes} x float> %result
}}
"""
_MULTIPLY_LOADED_ADD = """
define <{lanes} x float> @{name}(<{lanes} x float> %sum, ptr %a, <{lanes} x float> %b) alwaysinline {{
  %result = call <{lanes} x float> asm "vfmadd231ps $2{{1to{lanes}}}, $3, $0", "=v,0,*m,v"(
    <{lanes} x float> %sum, ptr elementtype(float) %a, <{lanes} x float> %b) nounwind memory(argmem: read)
  ret <{lanes} x float> %result
}}
"""
_OF_AVX = 16  # registers; with more it is AVX-512, whose instructions name all of them, and broadcast what they load


def multiply_add(k: Loops, registers: int, sums: Buffer, start: Expr, a: Expr, b: Expr) -> None:
    """sums[start + i] += a * b[i] for the float32 vector b and the number a, or as many of them.

    `registers` are those of the machine; where there are 32 and `b` is shorter than they are, it has AVX512VL. A number
    in memory is broadcast by the same instruction, if it can: one that only broadcasts takes time beside it.
    """
    lanes = int(b.ty.dtype.lanes)
    place = tirx.Ramp(index(start), index(1), lanes)
    if isinstance(a, TensorLoad) and int(a.ty.dtype.lanes) == 1 and registers > _OF_AVX:
        name, source, factor = f"tilewright_multiply_loaded_add_{lanes}", _MULTIPLY_LOADED_ADD, tirx.address_of(a)
    else:
        name, source = f"tilewright_multiply_add_{lanes}", _MULTIPLY_ADD
        factor = a if int(a.ty.dtype.lanes) == lanes else tirx.Broadcast(a, lanes)
    k.include(source.format(name=name, lanes=lanes, register="v" if registers > _OF_AVX else "x"))
    result = tirx.call_pure_extern(f"float32x{lanes}", name, sums[place], factor, b)
    k.emit(tirx.BufferStore(sums, result, [place]))
