"""Convolutions in minimal filtering against plain sums in float64: how large the errors are, with any vectors."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.built import NATIVE, Array, Built, hollow, normal
from tilewright.backends.kernels.loops import Loops
from tilewright.backends.kernels.made import Columns
from tilewright.backends.kernels.packing_winograd import pack_winograd, packed_winograd_shape
from tilewright.backends.kernels.tile import Vectors, choose_tile
from tilewright.backends.kernels.winograd import Winograd, winograd
from tilewright.backends.rules import emit_text
from tilewright.backends.target import parse_target
from tilewright.backends.tvm_adapter import compile_function
from tilewright.ir.ops import lookup

AVX2, AVX512 = Vectors(lanes=8, registers=16), Vectors(lanes=16, registers=32)
ERROR = 2.5e-6  # relative to the largest result
PADDED = {
    "strides": (1, 1),
    "pads": (1, 1, 1, 1),
    "dilations": (1, 1),
    "groups": 1,
    "channels_last": True,
    "dtype": None,
}


def kernel(channels: int, outputs: int, machine: Vectors = NATIVE) -> Built:
    """The convolution of any images, padded by 1 all round."""
    k, tile = Loops("conv"), choose_tile(machine, outputs)
    n, h, w = (k.dim(name) for name in "nhw")
    x = k.buffer("x", (n, h, w, channels))
    weights = k.buffer("weights", packed_winograd_shape(outputs, channels, tile.columns))
    y = k.buffer("y", (n, h, w, outputs))
    conv = Winograd(n, h, w, channels, outputs, 1, 1, (h, w))
    image = Columns(0, channels, lambda *place: x[place])
    winograd(k, tile, conv, [image], weights, lambda n, i, j, o, value: k.store(y, (n, i, j, o), value))
    return Built(k)


def error(built: Built, image: Array, weights: Array, machine: Vectors = NATIVE) -> float:
    """The largest error, relative to the largest result."""
    packed = pack_winograd(weights, choose_tile(machine, len(weights)).columns)
    found = built(image, packed, hollow(*image.shape[:3], len(weights)))
    exact = lookup("conv").ref(PADDED, image.astype(np.float64), weights.astype(np.float64))
    return float(np.max(np.abs(found - exact)) / np.max(np.abs(exact)))


@pytest.mark.parametrize("channels", [16, 64, 130, 512])
def test_error(channels: int) -> None:
    built = kernel(channels, 16)
    image, weights = normal(1, 21, 22, channels), normal(16, channels, 3, 3, seed=1)
    positive = np.maximum(image, 0)
    for pair in ((image, weights), (positive, weights), (positive, np.abs(weights))):
        assert error(built, *pair) < ERROR


@pytest.mark.parametrize("machine", [AVX2, AVX512], ids=["AVX2", "AVX-512"])
@pytest.mark.parametrize(("channels", "outputs"), [(16, 16), (19, 40), (70, 33), (32, 130)])
def test_tails(channels: int, outputs: int, machine: Vectors) -> None:
    built, weights = kernel(channels, outputs, machine), normal(outputs, channels, 3, 3, seed=1)
    for size in [(1, 1, 1), (3, 2, 3), (1, 4, 9), (2, 13, 12), (1, 30, 31)]:
        assert error(built, normal(*size, channels), weights, machine) < ERROR, size


def test_builds_for_wide_vectors() -> None:
    conv = "conv(i0, i1) {channels_last=True, dilations=(1, 1), groups=1, pads=(1, 1, 1, 1), strides=(1, 1)}"
    graph = f"graph(i0: float32[n, h, w, 48], i1: float32[40, 48, 3, 3]) {{ %0 = {conv} return o0=%0 }}"
    text = f"weights 1\nscaled\nquads\n{graph}"
    target = parse_target("llvm -mcpu=znver4")
    emitted = emit_text(text, "wide", target)
    assert emitted.rule == "winograd"
    assert compile_function(emitted.func, "wide", target).startswith(b"\x7fELF")
