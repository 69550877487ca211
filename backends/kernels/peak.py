"""Kernels that measure what a machine can do at most: multiply-adds per second, and bytes copied per second."""

from __future__ import annotations

from tvm import tirx

from tilewright.backends.kernels.loops import Buffer, Loops
from tilewright.backends.kernels.tile import Vectors

_CHAINS = 12  # independent sums: enough to cover 4 cycles of latency at 2 a cycle, few enough for 16 registers


def fma_flops(machine: Vectors, steps: int) -> int:
    """Floating-point operations of one call of `fma_peak(machine)` with this many steps."""
    return 2 * _CHAINS * machine.lanes * steps


def fma_peak(machine: Vectors, name: str = "fma_peak") -> tirx.PrimFunc:
    """f(factor: float32[lanes], out: float32[chains * lanes], steps: int64), one thread, nothing but multiply-adds."""
    k = Loops(name)
    steps = k.dim("steps")
    factor, out = k.buffer("factor", (machine.lanes,)), k.buffer("out", (_CHAINS * machine.lanes,))
    sums = [k.local(f"sum{c}", (machine.lanes,)) for c in range(_CHAINS)]
    for c, total in enumerate(sums):
        with k.vectorized(machine.lanes) as lane:
            k.store(total, (lane,), out[lane + c * machine.lanes])
    with k.serial(steps):
        for total in sums:
            _multiply_add(k, machine, total, factor)
    for c, total in enumerate(sums):
        with k.vectorized(machine.lanes) as lane:
            k.store(out, (lane + c * machine.lanes,), total[lane])
    return k.func()


def _multiply_add(k: Loops, machine: Vectors, total: Buffer, factor: Buffer) -> None:
    with k.vectorized(machine.lanes) as lane:
        k.store(total, (lane,), total[lane] * factor[lane] + factor[lane])


def copy_peak(machine: Vectors, name: str = "copy_peak") -> tirx.PrimFunc:
    """f(source: float32[n, lanes], out: float32[n, lanes]), all threads; moves 2 * 4 * n * lanes bytes."""
    k = Loops(name)
    n = k.dim("n")
    source, out = k.buffer("source", (n, machine.lanes)), k.buffer("out", (n, machine.lanes))
    with k.parallel(n) as i, k.vectorized(machine.lanes) as lane:
        k.store(out, (i, lane), source[i, lane])
    return k.func()
