"""An elementwise kernel over more memory than any cache holds, against the bandwidth of copying on as many threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

import tilewright as tw
from benchmarks.table import Row, Rows, held
from tilewright.backends.runtime import Runner
from tilewright.backends.values import aligned, aligned_empty
from tilewright.timing import compare

ELEMENTS = 64 << 20  # of float32: 256 MiB in, as many out
FLOOR = 0.9

Array = NDArray[np.float32]


def run(threads: Iterable[int], seconds: float) -> Rows:
    """One row for each number of threads.

    Rates count what is read and what is written; `share` is the median over pairs of runs in turn, `low` and `high` are
    its quartiles. Both write to memory that has been written to before; a whole call makes its output anew.
    """
    return [bench(count, seconds) for count in threads]


def bench(threads: int, seconds: float) -> Row:
    model = tw.compile(rectifier(), threads=threads, check=False)
    x = aligned(np.random.default_rng(0).standard_normal(ELEMENTS, dtype=np.float32))
    y = aligned_empty(x.shape, x.dtype)
    runner = Runner(model.program, model.executable, model.weights, ())
    (kernel,) = model.program.kernels()
    call = runner.kernel(kernel, (x, y), threads)
    call()
    if not np.array_equal(y, np.maximum(x, 0)):
        raise AssertionError("the kernel computes something else")
    with copying(x, y, threads) as copy:
        turns = compare(call, copy, seconds)
    moved = 2e-9 * x.nbytes
    row: dict[str, Any] = {
        "elementwise": f"relu of {x.nbytes >> 20} MiB",
        "threads": str(threads),
        "GB/s": moved / turns.ours.median,
        "copying GB/s": moved / turns.theirs.median,
        "share": turns.ratio,
        "low": turns.low,
        "high": turns.high,
    }
    return held(row, "share", floor=FLOOR)


@contextmanager
def copying(source: Array, target: Array, threads: int) -> Iterator[Callable[[], None]]:
    """A function that copies with as many threads, each its part."""
    bounds = [len(source) * i // threads for i in range(threads + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(bounds)]
    with ThreadPoolExecutor(threads) as pool:
        yield lambda: list(pool.map(lambda part: np.copyto(target[part], source[part]), parts)).clear()


def rectifier() -> onnx.ModelProto:
    """The greater of each element and 0."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [ELEMENTS]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "rectifier", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
