"""Convolutions as products whose rows are places, against the reference of the operator; and when they are chosen."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

import tilewright as tw
from tests.frontend.onnx_text import model
from tests.kernels.built import NATIVE, Array, Built, hollow, normal
from tests.kernels.test_conv import AVX2, Case, close
from tilewright.backends.kernels.conv_deep import emit_conv_deep, step_of
from tilewright.backends.kernels.conv_last_sizes import ConvLast
from tilewright.backends.kernels.loops import Expr, Index, Loops
from tilewright.backends.kernels.packing_conv import pack_conv_last, packed_conv_last_shape
from tilewright.backends.kernels.patches import Axis
from tilewright.backends.kernels.tile import Vectors, choose_tile

CASES = {
    "same padding": Case(16, (7, 7), (40, 16, 3, 3), pads=(1, 1, 1, 1)),
    "without padding": Case(24, (6, 9), (70, 24, 2, 3)),
    "strided": Case(16, (14, 13), (33, 16, 3, 3), (2, 2), (1, 1, 1, 1)),
    "dilated across": Case(32, (9, 11), (24, 32, 3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    "dilated down": Case(8, (12, 7), (24, 8, 3, 3), (1, 1), (3, 1, 3, 1), (3, 1)),
    "asymmetric": Case(40, (5, 8), (17, 40, 3, 2), (2, 1), (1, 0, 0, 3)),
    "one tap": Case(104, (4, 5), (50, 104, 1, 1), (2, 2)),
    "a row reads no padding": Case(16, (9, 4), (20, 16, 3, 1), (3, 2)),
}


def run(case: Case, batch: int, dynamic: bool, machine: Vectors) -> tuple[Array, Array]:
    k = Loops("conv")
    n = k.dim("n") if dynamic else batch
    axes = tuple(Axis(size, *window) for size, window in zip(case.size, case.windows, strict=True))
    conv = ConvLast(n, case.channels, case.weights[0], 1, axes)
    tile = choose_tile(machine, conv.outputs)
    assert step_of(conv, tile) > 0
    places = [axis.results for axis in axes]
    x = k.buffer("x", (n, *case.size, case.channels))
    w = k.buffer("w", packed_conv_last_shape(case.weights, 1, tile.columns))
    y = k.buffer("y", (n, *places, conv.outputs))
    rows = k.view(y, (conv.places, conv.outputs))

    def store(place: Index, o: Expr, value: Expr) -> None:
        k.store(rows, (place, o), value * 2.0)

    emit_conv_deep(k, tile, conv, x, w, store, None)
    image, weights = normal(batch, case.channels, *case.size), normal(*case.weights, seed=1)
    expected = np.moveaxis(case.reference("conv", image, weights), 1, -1) * 2
    packed = pack_conv_last(weights, 1, tile.columns)
    return Built(k)(np.ascontiguousarray(np.moveaxis(image, 1, -1)), packed, hollow(*expected.shape)), expected


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "any number of images"])
@pytest.mark.parametrize("machine", [NATIVE, AVX2], ids=["native", "avx2"])
@pytest.mark.parametrize("name", CASES)
def test_conv_deep(name: str, machine: Vectors, dynamic: bool) -> None:
    close(*run(CASES[name], 3, dynamic, machine))


def test_channels_that_do_not_fall_into_steps() -> None:
    conv = ConvLast(1, 10, 64, 1, (Axis(7, 3), Axis(7, 3)))
    assert step_of(conv, choose_tile(NATIVE, 64)) == 0
    assert step_of(ConvLast(1, 16, 64, 1, conv.axes), choose_tile(NATIVE, 64)) == 48


@pytest.mark.parametrize(
    ("size", "rule"), [(12, "conv, deep"), (97, "conv, channels last")], ids=["small images", "large images"]
)
def test_the_rule(size: int, rule: str) -> None:
    text = f"(float[n, 256, {size}, {size}] x) => (float[] y) {{ c = Conv <strides = [2, 2]> (x, w)  y = Relu(c) }}"
    proto = model(text, 17)
    weights = np.random.default_rng(0).standard_normal((80, 256, 3, 3)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    compiled = tw.compile(proto)
    assert compiled.check_report is not None and compiled.check_report.passed
    assert rule in str(compiled.report())
