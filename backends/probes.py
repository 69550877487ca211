"""What this machine can do at most, in arithmetic and in reading memory: measured with probes in every executable."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tilewright.backends.runtime import Runner
from tilewright.backends.values import Array, aligned_empty

FMA_PROBE, READ_PROBE = "tilewright_fma_probe", "tilewright_read_probe"
ACCUMULATORS = 12  # enough independent chains for two FMA units of latency 4 or 5
BLOCK = ACCUMULATORS << 12  # elements that one task reads
_REPEATS = 1 << 21  # some milliseconds, beside which waking the threads is nothing
_BLOCKS = 640  # 120 MiB, more than the caches hold


@dataclass(frozen=True, slots=True)
class Peaks:
    """Measured on `threads` threads: float32 multiply-adds (each counts two) and bytes read, per second."""

    threads: int
    flops: float
    bytes: float


def measure(runner: Runner, lanes: int, threads: int) -> Peaks:
    """Run both probes for a few dozen milliseconds each; the best of several runs counts."""
    operations = float(_REPEATS * operations_per_repeat(lanes, threads))
    data, result = _filled((_BLOCKS, BLOCK)), _filled((_BLOCKS, ACCUMULATORS, lanes))
    fma_seconds = _best_time(multiply_adds(runner, lanes, threads, _REPEATS))
    read_seconds = _best_time(runner.kernel(READ_PROBE, (data, result), threads))
    return Peaks(threads, operations / fma_seconds, data.nbytes / read_seconds)


def operations_per_repeat(lanes: int, threads: int) -> int:
    """Floating-point operations of one repeat of `multiply_adds`; a multiply-add counts two."""
    return 2 * threads * ACCUMULATORS * lanes


def multiply_adds(runner: Runner, lanes: int, threads: int, repeats: int) -> Callable[[], None]:
    """Work that is nothing but multiply-adds in registers, on so many threads."""
    arguments = (_filled((lanes,), 1e-3), _filled((threads, ACCUMULATORS, lanes)), repeats)
    return runner.kernel(FMA_PROBE, arguments, threads)


def _filled(shape: tuple[int, ...], value: float = 0.0) -> Array:
    array = aligned_empty(shape, np.dtype(np.float32))
    array.fill(value)
    return array


def _best_time(work: Callable[[], None]) -> float:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
