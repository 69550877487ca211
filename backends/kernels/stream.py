"""Stores that go past the caches: a line that is written whole need not be read first, and what the caches hold stays.

TVM has no such stores. It takes functions in LLVM's language, and LLVM puts these in the place of their calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import tirx

from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, dtype_of, index, itemsize, quotient
from tilewright.backends.kernels.ranges import product
from tilewright.backends.kernels.tile import LINE

_OUTGROWN = 1 << 26  # bytes, more than the caches of a processor hold
_PARTS = 4  # that are written at a time: of as many pages the processor asks for what it will read
_ELEMENTS = {"float32": "float", "float64": "double", "int32": "i32", "int64": "i64"}  # LLVM's names

_STORE = """
define void @{name}(ptr %to, <{lanes} x {element}> %vector) alwaysinline {{
  store <{lanes} x {element}> %vector, ptr %to, align {align}, !nontemporal !0
  ret void
}}
!0 = !{{i32 1}}
"""

_FENCE = """
declare void @llvm.x86.sse.sfence()
define void @tilewright_streamed() alwaysinline {
  call void @llvm.x86.sse.sfence()
  ret void
}
"""


def streams(shape: Sequence[Index], buffer: Buffer) -> bool:
    """Whether this result surely outgrows all caches, and its rows begin at whole lines."""
    if not shape or not all(isinstance(extent, int) for extent in shape) or dtype_of(buffer) not in _ELEMENTS:
        return False
    size = itemsize(buffer)
    whole = len(shape) == 1 or int(shape[-1]) * size % LINE == 0
    return bool(whole and product(shape) * size >= _OUTGROWN)


def stream(k: Loops, buffer: Buffer, place: Callable[[Index], Sequence[Index]], extent: Index, lanes: int,
           value: Callable[[Index], Expr]) -> None:  # fmt: skip
    """buffer[place(j)] = value(j) for 0 <= j < extent, in vectors past the caches; what is left over goes through them.

    buffer[place(0)] begins at a whole vector, or at a line if that is less. A task ends with a `fence`.
    """
    dtype = dtype_of(buffer)
    align = min(lanes * itemsize(buffer), LINE)
    name = f"tilewright_stream_{dtype}x{lanes}"
    k.include(_STORE.format(name=name, lanes=lanes, element=_ELEMENTS[dtype], align=align))

    def at(start: Index) -> None:
        vector = k.local("vector", (lanes,), dtype)
        with k.vectorized(lanes) as lane:
            k.store(vector, (lane,), value(start + lane))
        every = tirx.Ramp(index(0), index(1), lanes)
        target = tirx.address_of(buffer[tuple(index(i) for i in place(start))])
        k.emit(tirx.Evaluate(tirx.call_extern("void", name, target, tirx.BufferLoad(vector, [every]))))

    part = k.let("part", index(quotient(extent, lanes * _PARTS)))
    with k.serial(part) as block:
        for number in range(_PARTS):
            at((block + number * part) * lanes)
    done = part * (lanes * _PARTS)
    whole = quotient(extent - done, lanes)
    with k.serial(whole) as block:
        at(done + block * lanes)
    rest = done + whole * lanes
    with k.serial(extent - rest) as j:
        k.store(buffer, place(j + rest), value(j + rest))


def fence(k: Loops) -> None:
    """What was streamed is seen by other threads before the stores that follow, such as that of a task's end."""
    k.include(_FENCE)
    k.emit(tirx.Evaluate(tirx.call_extern("void", "tilewright_streamed")))
