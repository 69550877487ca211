"""Depthwise convolutions with channels last against their operator's reference; the tiles that a row falls into."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.built import NATIVE, Array, Built, hollow, normal
from tests.kernels.test_conv import AVX2, Case, close, sizes
from tilewright.backends.kernels.conv_last_sizes import ConvLast
from tilewright.backends.kernels.depthwise import Depthwise, emit_depthwise
from tilewright.backends.kernels.loops import Loops
from tilewright.backends.kernels.packing_conv import pack_depthwise
from tilewright.backends.kernels.patches import Axis
from tilewright.backends.kernels.tile import Vectors

CHANNELS = 19


def case(size: tuple[int, ...], kernel: tuple[int, ...], *window: tuple[int, ...]) -> Case:
    """Strides, pads, dilations."""
    return Case(CHANNELS, size, (CHANNELS, 1, *kernel), *window, groups=CHANNELS)


CASES = {
    "a tile of two edges": case((7, 7), (5, 5), (1, 1), (2, 2, 2, 2)),
    "a tile for each edge": case((5, 14), (3, 3), (1, 1), (1, 1, 1, 1)),
    "tiles between the edges": case((3, 61), (3, 5), (1, 1), (1, 2, 1, 2)),
    "strided": case((9, 59), (5, 5), (2, 2), (2, 2, 2, 2)),
    "no padding": case((6, 40), (3, 3)),
    "asymmetric": case((6, 33), (3, 4), (1, 2), (0, 3, 2, 1)),
    "dilated": case((9, 50), (3, 3), (1, 1), (4, 6, 4, 6), (4, 6)),
    "dilated so far that most tiles are at an edge": case((4, 170), (1, 3), (1, 1), (0, 80, 0, 80), (1, 80)),
    "results of padding alone": case((3, 2), (3, 3), (1, 1), (5, 5, 5, 5)),
    "many taps": case((4, 45), (1, 11), (1, 1), (0, 5, 0, 5)),
    "one axis": case((75,), (7,), (1,), (3, 3)),
    "one result": case((3, 3), (3, 3)),
}


def run(of: Case, dynamic: bool, machine: Vectors) -> tuple[Array, Array]:
    k = Loops("depthwise")
    n, *spatial = sizes(k, (2, *of.size), dynamic)
    axes = tuple(Axis(s, *window) for s, window in zip(spatial, of.windows, strict=True))
    conv = ConvLast(n, CHANNELS, CHANNELS, CHANNELS, axes)
    x, w = k.buffer("x", (n, *spatial, CHANNELS)), k.buffer("w", (*of.weights[2:], CHANNELS))
    y = k.buffer("y", (n, *(axis.results for axis in axes), CHANNELS))
    emit_depthwise(k, machine, conv, x, w, lambda n, places, c, value: k.store(y, (n, *places, c), value * 2.0))
    image, weights = normal(2, CHANNELS, *of.size), normal(*of.weights, seed=1)
    expected = np.moveaxis(of.reference("conv", image, weights), 1, -1) * 2
    last = np.ascontiguousarray(np.moveaxis(image, 1, -1))
    return Built(k)(last, pack_depthwise(weights), hollow(*expected.shape)), expected


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "run-time"])
@pytest.mark.parametrize("machine", [NATIVE, AVX2], ids=["native", "avx2"])
@pytest.mark.parametrize("name", CASES)
def test_depthwise(name: str, machine: Vectors, dynamic: bool) -> None:
    close(*run(CASES[name], dynamic, machine))


@pytest.mark.parametrize(
    ("name", "firsts"),
    [
        ("a tile of two edges", [0]),
        ("a tile for each edge", [0, 7]),
        ("strided", [0, 10, 20]),
        ("dilated so far that most tiles are at an edge", None),
        ("many taps", None),
    ],
)
def test_rows_fall_into_even_tiles(name: str, firsts: list[int] | None) -> None:
    k, of = Loops("depthwise"), CASES[name]
    axes = tuple(Axis(size, *window) for size, window in zip(of.size, of.windows, strict=True))
    conv = ConvLast(1, CHANNELS, CHANNELS, CHANNELS, axes)
    x, w = k.buffer("x", (1, *of.size, CHANNELS)), k.buffer("w", (*of.weights[2:], CHANNELS))
    even = Depthwise.of(k, Vectors(), conv, x, w).with_even_tiles()
    assert (even and even._firsts) == firsts
