"""Matrix products with constant weights, in turn with nothing but multiply-adds, on as many threads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import tilewright as tw
from benchmarks.contenders import Run, load_onnxruntime
from benchmarks.table import Row, Rows, held
from tilewright.backends import probes
from tilewright.backends.runtime import Runner
from tilewright.backends.values import Array, aligned, aligned_empty
from tilewright.timing import compare

SIZES = (
    (128, 128, 128),
    (512, 768, 768),
    (128, 1536, 384),
    (128, 384, 1536),
    (512, 3072, 768),
    (512, 768, 3072),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
)
FLOORS = {(1, 512, 768, 768): 0.9}  # by threads and size
TURN = 4e-3  # seconds, about, of each turn: short beside the phases of a shared machine


def run(threads: Iterable[int], seconds: float) -> Rows:
    """One row for each M x N x K and number of threads.

    `share` is the kernel's rate over that of the multiply-adds, the median over pairs of turns, which take equally
    long; `low` and `high` are its quartiles. The whole call takes longer: it copies an input that does not start at a
    multiple of 64 bytes, and makes an output. Beside it, onnxruntime's, in turn with it. `error` and `their error` are
    those of the worst element, in 1e-7 of the largest magnitude of the exact product.
    """
    return [bench(count, *size, seconds) for count in threads for size in SIZES]


def bench(threads: int, m: int, n: int, k: int, seconds: float) -> Row:
    model = tw.compile(product(m, n, k), threads=threads)
    x = np.random.default_rng(0).standard_normal((m, k)).astype(np.float32)
    theirs = by_onnxruntime(product(m, n, k), threads)
    whole = compare(lambda: model.run({"x": x}), lambda: theirs({"x": x}), seconds / 3)
    exact = x.astype(np.float64) @ weights_of(n, k).astype(np.float64)
    runner, lanes = Runner(model.program, model.executable, model.weights, ()), model.target.lanes(32)
    operations, repeats = 2 * m * n * k, max(1, round(TURN / whole.ours.fastest))
    rounds = max(1, round(repeats * operations / probes.operations_per_repeat(lanes, threads)))
    (kernel,), (weights,) = model.program.kernels(), model.weights.values()
    arguments = (aligned(x), weights, aligned_empty((m, n), x.dtype))
    multiply = runner.kernel(kernel, arguments, threads, repeats)
    turns = compare(multiply, probes.multiply_adds(runner, lanes, threads, rounds), seconds)
    row: dict[str, Any] = {
        "M x N x K": f"{m} x {n} x {k}",
        "threads": str(threads),
        "GFLOP/s": 1e-9 * repeats * operations / turns.ours.median,
        "whole call": 1e-9 * operations / whole.ours.median,
        "onnxruntime": 1e-9 * operations / whole.theirs.median,
        "peak GFLOP/s": 1e-9 * repeats * operations / turns.theirs.median,
        "error": error_of(model.run({"x": x})["y"], exact),
        "their error": error_of(theirs({"x": x})[0], exact),
        "share": turns.ratio,
        "low": turns.low,
        "high": turns.high,
    }
    return held(row, "share", floor=FLOORS.get((threads, m, n, k)))


def by_onnxruntime(model: onnx.ModelProto, threads: int) -> Run:
    """Its idle threads sleep: they would spin during our turns."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "product.onnx")
        onnx.save(model, path)
        return load_onnxruntime(path, threads, spinning=False)


def error_of(result: Array, exact: Array) -> float:
    """In 1e-7 of the largest magnitude."""
    return float(np.abs(result - exact).max() / np.abs(exact).max() * 1e7)


def weights_of(n: int, k: int) -> Array:
    return np.random.default_rng(1).standard_normal((k, n)).astype(np.float32)


def product(m: int, n: int, k: int) -> onnx.ModelProto:
    """float32[m, k] times a constant float32[k, n]."""
    weights = weights_of(n, k)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [m, k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [m, n])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
