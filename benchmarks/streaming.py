"""An elementwise kernel over more memory than any cache holds, against the bandwidth of copying on as many threads."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

import tilewright as tw
from benchmarks.table import Row, Rows

ELEMENTS = 64 << 20  # of float32: 256 MiB in, as many out
MOST_ROUNDS = 9

Array = NDArray[np.float32]


def run(threads: Iterable[int], seconds: float) -> Rows:
    """One row for each number of threads; `share` is the median over rounds of both rates measured in turn.

    Rates count what is read and what is written. The whole call takes longer: it makes its output anew.
    """
    return [bench(count, seconds) for count in threads]


def bench(threads: int, seconds: float) -> Row:
    model = tw.compile(rectifier(), threads=threads, check=False)
    x = np.random.default_rng(0).standard_normal(ELEMENTS, dtype=np.float32)
    (y,) = model.run({"x": x}).values()
    if not np.array_equal(y, np.maximum(x, 0)):
        raise AssertionError("the kernel computes something else")
    y = x.copy()
    kernels: list[float] = []
    copies: list[float] = []
    end = time.perf_counter() + seconds
    with copying(x, y, threads) as copy:
        while not kernels or (time.perf_counter() < end and len(kernels) < MOST_ROUNDS):
            kernels.append(sum(row.seconds for row in model.report({"x": x}).rows))
            copies.append(min(_seconds(copy) for _ in range(3)))
    shares = [copied / kernel for kernel, copied in zip(kernels, copies, strict=True)]
    moved = 2e-9 * x.nbytes
    return {
        "elementwise": f"relu of {x.nbytes >> 20} MiB",
        "threads": str(threads),
        "GB/s": moved / statistics.median(kernels),
        "copying GB/s": moved / statistics.median(copies),
        "share": statistics.median(shares),
        "least": min(shares),
        "greatest": max(shares),
    }


@contextmanager
def copying(source: Array, target: Array, threads: int) -> Iterator[Callable[[], None]]:
    """A function that copies with as many threads, each its part."""
    bounds = [len(source) * i // threads for i in range(threads + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(bounds)]
    with ThreadPoolExecutor(threads) as pool:
        yield lambda: list(pool.map(lambda part: np.copyto(target[part], source[part]), parts)).clear()


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rectifier() -> onnx.ModelProto:
    """The greater of each element and 0."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [ELEMENTS]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "rectifier", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
