"""Convolutions against the reference of their operator: strides, dilations, padding, groups, tails, run-time sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.kernels.built import NATIVE, Array, Built, hollow, normal
from tests.kernels.guarded import before_a_forbidden_page
from tilewright.backends.kernels.conv import Conv, emit_conv
from tilewright.backends.kernels.conv_transpose import ConvTranspose, emit_conv_transpose
from tilewright.backends.kernels.loops import Expr, Index, Loops
from tilewright.backends.kernels.packing_conv import Spread, conv_block, pack_conv, packed_conv_shape, spread_weights
from tilewright.backends.kernels.patches import Axis
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.values import aligned
from tilewright.ir.ops import lookup

AVX2 = Vectors(lanes=8, registers=16)


@dataclass(frozen=True)
class Case:
    """A convolution of images [n, channels, *size] with weights [*weights]; empty tuples stand for ones and zeros."""

    channels: int
    size: tuple[int, ...]
    weights: tuple[int, ...]
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    groups: int = 1
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def attrs(self) -> dict[str, Any]:
        rank = len(self.size)
        ones = (1,) * rank
        return {
            "strides": self.strides or ones,
            "pads": self.pads or (0,) * 2 * rank,
            "dilations": self.dilations or ones,
            "groups": self.groups,
            "channels_last": False,
            "dtype": None,
            **self.extra,
        }

    @property
    def windows(self) -> list[tuple[int, int, int, int, int]]:
        """Kernel, stride, dilation, padding before and after, for each axis."""
        attrs, rank = self.attrs, len(self.size)
        pads = attrs["pads"]
        columns = self.weights[2:], attrs["strides"], attrs["dilations"], pads[:rank], pads[rank:]
        return list(zip(*columns, strict=True))

    def reference(self, op: str, x: Array, w: Array) -> Array:
        return np.asarray(lookup(op).ref(self.attrs, x, w))


def close(result: Array, expected: Array) -> None:
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def sizes(k: Loops, size: tuple[int, ...], dynamic: bool) -> list[Index]:
    return [k.dim(f"d{a}") if dynamic and s > 1 else s for a, s in enumerate(size)]


def run_conv(case: Case, batch: int, dynamic: bool, machine: Vectors = NATIVE) -> tuple[Array, Array]:
    """The image ends before a forbidden page."""
    k = Loops("conv")
    n, *spatial = sizes(k, (batch, *case.size), dynamic)
    axes = tuple(Axis(s, *window) for s, window in zip(spatial, case.windows, strict=True))
    conv = Conv(n, case.channels, case.weights[0], case.groups, axes)
    block = conv.block(machine)
    x = k.buffer("x", (n, case.channels, *spatial))
    w = k.buffer("w", packed_conv_shape(case.weights, case.groups, block))
    y = k.buffer("y", (n, case.weights[0], *(axis.results for axis in axes)))

    def store(n: Index, o: Index, places: tuple[Index, ...], value: Expr) -> None:
        k.store(y, (n, o, *places), value * 2.0)

    emit_conv(k, machine, conv, lambda *place: x[place], w, store)
    image, weights = normal(batch, case.channels, *case.size), normal(*case.weights, seed=1)
    expected = case.reference("conv", image, weights) * 2
    result = aligned(hollow(*expected.shape))
    Built(k).run(before_a_forbidden_page(image), aligned(pack_conv(weights, case.groups, block)), result)
    return result, expected


CASES = {
    "pointwise": Case(16, (10, 12), (8, 16, 1, 1)),
    "pointwise over one axis": Case(33, (1000,), (20, 33, 1)),
    "pointwise, strided": Case(4, (9, 9), (4, 4, 1, 1), strides=(2, 2)),
    "images of one element": Case(37, (1, 1), (21, 37, 1, 1)),
    "same padding": Case(5, (10, 12), (7, 5, 3, 3), pads=(1, 1, 1, 1)),
    "strided": Case(3, (33, 47), (20, 3, 3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
    "asymmetric": Case(4, (20, 21), (6, 2, 3, 5), strides=(2, 1), pads=(1, 0, 0, 3), groups=2),
    "depthwise": Case(6, (20, 21), (6, 1, 3, 3), pads=(1, 1, 1, 1), groups=6),
    "depthwise, two results a channel": Case(6, (20, 21), (12, 1, 5, 5), (2, 2), (2, 2, 2, 2), groups=6),
    "dilated and strided": Case(4, (20, 40), (6, 4, 3, 3), (2, 2), (2, 1, 2, 1), (2, 3)),
    "one long axis": Case(4, (3000,), (6, 4, 5), pads=(2, 2)),
    "many taps": Case(3, (400,), (6, 3, 11), (4,), (5, 5)),
    "three axes": Case(2, (7, 8, 9), (5, 2, 3, 3, 3), pads=(1, 1, 1, 1, 1, 1)),
    "last axis of one element": Case(8, (100, 1), (10, 8, 5, 1)),
    "one result": Case(4, (7, 7), (4, 4, 7, 7)),
}


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "run-time"])
@pytest.mark.parametrize("name", CASES)
def test_conv(name: str, dynamic: bool) -> None:
    close(*run_conv(CASES[name], batch=2, dynamic=dynamic))


STRIDED = {
    "by 2": Case(2, (9, 171), (3, 2, 3, 3), (2, 2), (1, 1, 1, 1)),
    "by 2, of one column": Case(3, (6, 80), (3, 3, 2, 1), (2, 2)),
    "by 3, much padding": Case(2, (5, 150), (2, 2, 1, 5), (1, 3), (0, 7, 0, 8)),
    "by 5, of two columns": Case(2, (5, 401), (2, 2, 1, 2), (1, 5), (0, 1, 0, 0)),
    "by 4, dilated": Case(2, (5, 300), (2, 2, 1, 3), (1, 4), (0, 2, 0, 2), (1, 2)),
    "by 8": Case(1, (700,), (8, 1, 16), (8,), (4, 4)),
    "by 9": Case(1, (700,), (8, 1, 16), (9,), (4, 4)),
}


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "run-time"])
@pytest.mark.parametrize("machine", [NATIVE, AVX2], ids=["native", "avx2"])
@pytest.mark.parametrize("name", STRIDED)
def test_rows_in_strides_are_taken_apart(name: str, machine: Vectors, dynamic: bool) -> None:
    close(*run_conv(STRIDED[name], 2, dynamic, machine))


@pytest.mark.parametrize("name", ["same padding", "depthwise", "strided"])
def test_narrow_machine(name: str) -> None:
    close(*run_conv(CASES[name], batch=1, dynamic=False, machine=AVX2))


TRANSPOSED = {
    "doubling": Case(8, (10, 12), (8, 5, 2, 2), strides=(2, 2)),
    "overlapping": Case(6, (10, 12), (6, 5, 3, 3), (2, 2), (1, 1, 1, 1), extra={"output_padding": (1, 1)}),
    "even kernel": Case(6, (10, 12), (6, 4, 4, 4), (2, 2), (1, 1, 1, 1)),
    "groups": Case(6, (10, 12), (6, 4, 3, 3), (2, 2), (1, 1, 1, 1), groups=2),
    "dilated": Case(6, (10, 12), (6, 4, 3, 2), (1, 3), (0, 1, 1, 0), (2, 2)),
    "one axis": Case(6, (30,), (6, 4, 16), (8,), (4, 4)),
    "gaps": Case(6, (10,), (6, 4, 1), (3,), extra={"output_padding": (2,)}),
}


def spread(kernel: int, stride: int, dilation: int, before: int, after: int, extra: int) -> Spread:
    return Spread(kernel, stride, dilation, before, dilation * (kernel - 1) + 1 + extra - before - after - stride)


def run_transposed(case: Case, dynamic: bool) -> tuple[Array, Array]:
    case = Case(**{**vars(case), "extra": {"output_padding": (0,) * len(case.size), **case.extra}})
    k = Loops("conv_transpose")
    n, *spatial = sizes(k, (2, *case.size), dynamic)
    extras = case.attrs["output_padding"]
    spreads = tuple(spread(*window, extra) for window, extra in zip(case.windows, extras, strict=True))
    outputs = case.weights[1] * case.groups
    transposed = ConvTranspose(n, case.channels, outputs, case.groups, tuple(spatial), spreads)
    weights = normal(*case.weights, seed=1)
    packed = pack_conv(spread_weights(weights, case.groups, spreads), case.groups, transposed.conv.block(NATIVE))
    x, w = k.buffer("x", (n, case.channels, *spatial)), k.buffer("w", packed.shape)
    results = [size * s.stride + s.growth for size, s in zip(spatial, spreads, strict=True)]
    y = k.buffer("y", (n, outputs, *results))
    emit_conv_transpose(
        k, NATIVE, transposed, lambda *place: x[place], w, lambda n, o, p, value: k.store(y, (n, o, *p), value)
    )
    image = normal(2, case.channels, *case.size)
    expected = case.reference("conv_transpose", image, weights)
    return Built(k)(image, packed, hollow(*expected.shape)), expected


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "run-time"])
@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose(name: str, dynamic: bool) -> None:
    close(*run_transposed(TRANSPOSED[name], dynamic))


@pytest.mark.parametrize("outputs", [1, 2, 7, 8, 12, 42, 64])
def test_blocks_cover_the_outputs_evenly(outputs: int) -> None:
    block = conv_block(outputs, registers=32)
    blocks = -(-outputs // block)
    assert block <= 8
    assert blocks * block - outputs < blocks
