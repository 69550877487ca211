"""Convolutions with few result channels, whose vectors lie along what they sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.compiling import assert_same, compiled, drawn, named
from tilewright.backends.kernels.dots import choose_dots
from tilewright.backends.kernels.packing_conv import pack_conv_dots, packed_conv_dots_shape
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.target import parse_target
from tilewright.ir import Value, apply, constant, input_value, tensor

VECTORS = parse_target("llvm -mcpu=native -mattr=-amx-tile")
WIDE, MIDDLE = Vectors(16, 32, fuses=True), Vectors(8, 16, fuses=True)
HALVES = Vectors(16, 32, fuses=True, halves=True)


def weight(*shape: int) -> Value:
    return constant(np.random.default_rng(1).standard_normal(shape), "float32")


CASES: dict[str, tuple[tuple[Any, ...], tuple[int, ...], dict[str, Any]]] = {
    "many taps": ((1, 20, 30, 8), (8, 8, 3, 39), {"pads": (1, 19, 1, 19)}),
    "one result": (("n", "h", "w", 16), (1, 16, 3, 3), {"pads": (1, 1, 1, 1)}),
    "one channel": (("n", "w", 1), (1, 1, 48), {"pads": (5, 0), "strides": (2,)}),
    "colours": ((2, 9, 11, 64), (3, 64, 3, 3), {"pads": (1, 1, 1, 1)}),
    "strides": ((1, 9, 11, 24), (2, 24, 3, 5), {"pads": (1, 0, 1, 0), "strides": (2, 2)}),
    "dilations": (("n", 9, 13, 32), (5, 32, 3, 3), {"pads": (2, 2, 2, 2), "dilations": (2, 2)}),
    "one axis": ((1, 33, 32), (1, 32, 7), {"pads": (3, 3)}),
    "three axes": ((1, 5, 6, 7, 16), (6, 16, 2, 3, 3), {"pads": (0, 1, 1, 1, 1, 1)}),
    "groups": ((1, 7, 9, 32), (4, 16, 3, 3), {"pads": (1, 1, 1, 1), "groups": 2}),
    "no padding": ((1, "h", "w", 32), (2, 32, 1, 3), {"pads": (0, 0, 0, 0)}),
}


@pytest.mark.parametrize("name", CASES)
def test_result_is_the_reference(name: str) -> None:
    shape, kernel, attrs = CASES[name]
    x, axes = input_value("x", tensor("float32", *shape)), len(kernel) - 2
    plain = {"strides": (1,) * axes, "dilations": (1,) * axes, "groups": 1}
    y = apply("conv", x, weight(*kernel), weight(kernel[0]), channels_last=True, **{**plain, **attrs})
    graph = named([apply("maximum", y, constant(0, "float32"))], [x])
    model = compiled(graph, VECTORS)
    for sizes in ({"n": 1, "h": 3, "w": 45}, {"n": 2, "h": 17, "w": 64}):
        assert_same(graph, model, drawn(graph, sizes))
        assert [row.origin for row in model.report(drawn(graph, sizes), repeats=1).rows] == ["conv, channels last"]


def test_what_lies_behind_a_sum_is_not_read() -> None:
    """The last vector of a sum is half of it, and its neighbours are no numbers."""
    x = input_value("x", tensor("float32", 1, 1, 4, 24))
    y = apply("conv", x, weight(1, 24, 1, 1), strides=(1, 2), pads=(0, 0, 0, 0), dilations=(1, 1), channels_last=True)
    graph = named([y], [x])
    image = np.ones((1, 1, 4, 24), np.float32)
    image[:, :, 1::2] = np.nan
    assert_same(graph, compiled(graph, VECTORS), {"x": image})


@pytest.mark.parametrize(
    ("machine", "columns", "terms", "run", "expected"),
    [
        (WIDE, 8, 936, 312, (3, 8, 16)),
        (HALVES, 8, 936, 312, (3, 8, 8)),
        (WIDE, 3, 576, 192, (7, 1, 16)),
        (HALVES, 3, 576, 192, (7, 1, 16)),
        (WIDE, 1, 672, 96, (8, 1, 16)),
        (MIDDLE, 4, 576, 192, (2, 4, 8)),
        (WIDE, 9, 936, 312, None),  # half a vector is filled without
        (WIDE, 8, 72, 24, None),  # the lanes take longer to add up
        (WIDE, 1, 99, 99, None),  # neither vectors nor halves
        (Vectors(16, 32), 1, 672, 96, None),  # sums of no multiply-adds
    ],
)
def test_choice(machine: Vectors, columns: int, terms: int, run: int, expected: tuple[int, ...] | None) -> None:
    tile = choose_dots(machine, columns, terms, run)
    assert (tile and (tile.rows, tile.lanes, tile.dots)) == expected


def test_packing() -> None:
    weights = np.arange(2 * 3 * 2 * 4, dtype=np.float32).reshape(2, 3, 2, 4)
    packed = pack_conv_dots(weights, 1, 8, 12)
    assert packed.shape == packed_conv_dots_shape(weights.shape, 1, 8, 12) == (1, 1, 2, 2, 2, 8)
    runs = np.moveaxis(packed[0, 0], 2, 0).reshape(2, 2, 16)
    np.testing.assert_array_equal(runs[..., :12], np.moveaxis(weights, 1, -1).reshape(2, 2, 12))
    assert not runs[..., 12:].any()
