"""Two probes that every executable carries, so that a report can say how near a kernel is to what the machine can do.

`fma_probe` keeps independent vector accumulators in registers and does nothing but fused multiply-adds;
`read_probe` sums a buffer that is larger than the caches. Both run on all threads of the pool.
"""

from __future__ import annotations

from typing import Any

from tilewright.backends.kernels.loops import Loops
from tilewright.backends.probes import ACCUMULATORS, BLOCK, FMA_PROBE, READ_PROBE
from tilewright.backends.target import Target
from tilewright.backends.tvm_adapter import compile_functions


def build(target: Target) -> bytes:
    """Object code of both probes."""
    lanes = target.lanes(32)
    return compile_functions({FMA_PROBE: fma_probe(lanes), READ_PROBE: read_probe(lanes)}, target)


def fma_probe(lanes: int) -> Any:
    """`probe(factor[lanes], result[tasks, ACCUMULATORS, lanes], repeats)`."""
    k = Loops(FMA_PROBE)
    tasks, repeats = k.dim("tasks"), k.dim("repeats")
    factor = k.buffer("factor", (lanes,))
    result = k.buffer("result", (tasks, ACCUMULATORS, lanes))
    with k.parallel(tasks) as task:
        sums = k.local("sums", (ACCUMULATORS, lanes))
        with k.unrolled(ACCUMULATORS) as i, k.vectorized(lanes) as j:
            k.store(sums, (i, j), factor[j])
        with k.serial(repeats), k.unrolled(ACCUMULATORS) as i, k.vectorized(lanes) as j:
            k.store(sums, (i, j), sums[i, j] * factor[j] + factor[j])
        with k.unrolled(ACCUMULATORS) as i, k.vectorized(lanes) as j:
            k.store(result, (task, i, j), sums[i, j])
    return k.func()


def read_probe(lanes: int) -> Any:
    """`probe(data[blocks, BLOCK], result[blocks, ACCUMULATORS, lanes])`."""
    k = Loops(READ_PROBE)
    blocks = k.dim("blocks")
    data = k.buffer("data", (blocks, BLOCK))
    result = k.buffer("result", (blocks, ACCUMULATORS, lanes))
    with k.parallel(blocks) as block:
        sums = k.local("sums", (ACCUMULATORS, lanes))
        with k.unrolled(ACCUMULATORS) as i, k.vectorized(lanes) as j:
            k.store(sums, (i, j), 0.0)
        with k.serial(BLOCK // (ACCUMULATORS * lanes)) as step, k.unrolled(ACCUMULATORS) as i, k.vectorized(lanes) as j:
            k.store(sums, (i, j), sums[i, j] + data[block, (step * ACCUMULATORS + i) * lanes + j])
        with k.unrolled(ACCUMULATORS) as i, k.vectorized(lanes) as j:
            k.store(result, (block, i, j), sums[i, j])
    return k.func()
