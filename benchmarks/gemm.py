"""Matrix products with constant weights, against the multiply-add peak measured beside them, on as many threads."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import tilewright as tw
from benchmarks.table import Row, Rows, held
from tilewright.timing import measure

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
ROUNDS = 5


def run(threads: Iterable[int], seconds: float) -> Rows:
    """One row for each M x N x K and number of threads.

    `share` is the median over rounds of the kernel's rate over the peak beside it. The whole call takes longer: it
    copies an input that does not start at a multiple of 64 bytes, and makes an output.
    """
    return [bench(count, *size, seconds) for count in threads for size in SIZES]


def bench(threads: int, m: int, n: int, k: int, seconds: float) -> Row:
    model = tw.compile(product(m, n, k), threads=threads)
    feed = {"x": np.random.default_rng(0).standard_normal((m, k)).astype(np.float32)}
    rates, peaks, calls = [], [], []
    for _ in range(ROUNDS):
        calls.append(2e-9 * m * n * k / measure(lambda: model.run(feed), seconds / ROUNDS).median)
        report = model.report(feed)
        rates.append(report.rows[0].flops_per_second * 1e-9)
        peaks.append(report.peaks.flops * 1e-9)
    row: dict[str, Any] = {
        "M x N x K": f"{m} x {n} x {k}",
        "threads": str(threads),
        "GFLOP/s": statistics.median(rates),
        "whole call": statistics.median(calls),
        "peak GFLOP/s": statistics.median(peaks),
        "share": statistics.median(rate / peak for rate, peak in zip(rates, peaks, strict=True)),
    }
    return held(row, "share", floor=FLOORS.get((threads, m, n, k)))


def product(m: int, n: int, k: int) -> onnx.ModelProto:
    """float32[m, k] times a constant float32[k, n]."""
    weights = np.random.default_rng(1).standard_normal((k, n)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [m, k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [m, n])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
