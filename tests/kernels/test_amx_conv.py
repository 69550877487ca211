"""Convolutions on AMX against the reference of the operator; and when they are chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.kernels.built import NATIVE, Array, Built, normal
from tests.kernels.guarded import before_a_forbidden_page
from tests.kernels.test_conv import Case, close
from tilewright.backends.kernels import amx_conv_choice
from tilewright.backends.kernels.amx_conv import emit_conv_on_amx
from tilewright.backends.kernels.amx_conv_choice import OnAmx, choose_on_amx, widened
from tilewright.backends.kernels.conv_last_sizes import ConvLast
from tilewright.backends.kernels.loops import Expr, Index, Loops
from tilewright.backends.kernels.packing_pieces import SIDE, pack_widened
from tilewright.backends.kernels.patches import Axis
from tilewright.backends.kernels.ranges import Indices, product
from tilewright.backends.kernels.tile import Tile, Vectors
from tilewright.backends.target import parse_target
from tilewright.backends.tvm_adapter import compile_function
from tilewright.backends.values import aligned_empty

TILE = Tile(12, SIDE, 16, fuses=True, amx=2)
CASES = {
    "same padding": Case(32, (17, 20), (40, 32, 3, 3), pads=(1, 1, 1, 1)),
    "without padding": Case(64, (6, 40), (70, 64, 2, 3)),
    "channels are no whole steps": Case(40, (9, 18), (33, 40, 3, 3), pads=(1, 1, 1, 1)),
    "few channels": Case(16, (30, 33), (64, 16, 5, 5), pads=(2, 2, 2, 2)),
    "colours": Case(3, (19, 30), (16, 3, 7, 7), (2, 2), (3, 3, 3, 3)),
    "a channel": Case(1, (40, 35), (32, 1, 5, 5), pads=(2, 2, 2, 2)),
    "whole rows of tiles": Case(24, (11, 32), (40, 24, 3, 3), pads=(1, 1, 1, 1)),
    "strided": Case(32, (28, 31), (33, 32, 3, 3), (2, 2), (1, 1, 1, 1)),
    "dilated": Case(32, (21, 25), (24, 32, 3, 3), (1, 1), (2, 3, 2, 3), (2, 3)),
    "asymmetric": Case(96, (5, 40), (17, 96, 3, 2), (2, 1), (1, 0, 0, 3)),
    "one row": Case(64, (1, 500), (96, 64, 1, 7), pads=(0, 3, 0, 3)),
    "many steps": Case(160, (8, 19), (64, 160, 3, 3), pads=(1, 1, 1, 1)),
    "a step too many": Case(32, (8, 40), (64, 32, 5, 5), pads=(2, 2, 2, 2)),
    "tall": Case(32, (300, 3), (32, 32, 7, 1), pads=(3, 0, 3, 0)),
    "a last part of a row": Case(16, (2, 1003), (32, 16, 1, 3)),
    "parts of rows, strided": Case(33, (1, 1077), (24, 33, 2, 2), (3, 1), (9, 0, 1, 9)),
    "parts of rows of few channels": Case(8, (3, 1504), (4, 8, 2, 2), (2, 3), (0, 0, 1, 1), (2, 3)),
    "large": Case(512, (3, 150), (32, 512, 1, 3), pads=(0, 1, 0, 1)),
}

FEW = {
    "wide windows": (Case(8, (9, 50), (8, 8, 3, 39), pads=(1, 19, 1, 19)), 4),
    "strided": (Case(8, (14, 40), (8, 8, 5, 5), (1, 3), (2, 1, 2, 1)), 3),
    "an odd width": (Case(12, (7, 37), (12, 12, 1, 4)), 2),
    "narrow": (Case(16, (20, 3), (4, 16, 3, 3), pads=(1, 1, 1, 1)), 8),
    "a channel": (Case(3, (16, 33), (1, 3, 5, 5), pads=(2, 2, 2, 2)), 7),
    "vectors of neighbours": (Case(1, (1, 700), (1, 1, 1, 64), (1, 2)), 32),
    "vectors and less": (Case(8, (5, 90), (1, 8, 3, 3), pads=(1, 1, 1, 1)), 20),
}


def conv_of(case: Case, batch: Index, size: tuple[Index, ...]) -> ConvLast:
    axes = tuple(Axis(extent, *window) for extent, window in zip(size, case.windows, strict=True))
    return ConvLast(batch, case.channels, case.weights[0], 1, axes)


def emitted(k: Loops, case: Case, batch: Index, size: tuple[Index, ...], neighbours: int) -> OnAmx:
    """Twice the convolution."""
    plain = conv_of(case, batch, size)
    chosen = OnAmx(TILE, widened(plain, neighbours), neighbours)
    x = k.buffer("x", (batch, *size, case.channels))
    w = k.buffer("w", chosen.packed_shape, chosen.packed_dtype)
    y = k.buffer("y", (batch, *(axis.results for axis in plain.axes), plain.outputs))

    def store(n: Index, phase: Index, places: Indices, o: Expr, value: Expr) -> None:
        k.store(y, (n, *places, o), value * 2.0)

    flat = k.view(x, (product((batch, *size, case.channels)),))
    emit_conv_on_amx(k, chosen, plain.axes[-1].results, lambda place: flat[place], w, store)
    return chosen


def run(
    case: Case, batch: int, dynamic: bool, neighbours: int, image: Callable[[Array], None] = lambda _: None
) -> tuple[Array, Array]:
    """The result and the reference; `image` may change the image before."""
    k = Loops("conv")
    size: tuple[Index, ...] = tuple(k.dim(f"size{i}") for i in range(2)) if dynamic else case.size
    chosen = emitted(k, case, k.dim("n") if dynamic else batch, size, neighbours)
    pixels, weights = normal(batch, case.channels, *case.size), normal(*case.weights, seed=1)
    image(pixels)
    expected = np.moveaxis(case.reference("conv", pixels, weights), 1, -1) * 2
    last = before_a_forbidden_page(np.ascontiguousarray(np.moveaxis(pixels, 1, -1)))
    result = aligned_empty(expected.shape, last.dtype)
    result.fill(np.nan)
    plain = conv_of(case, 1, case.size)
    wide = plain.axes[-1]
    shifts = {"taps": wide.kernel, "neighbours": neighbours, "stride": wide.stride}
    packed = before_a_forbidden_page(pack_widened(weights, run=chosen.run, in_pieces=chosen.in_pieces, **shifts))
    Built(k).run(last, packed, result)
    return result, expected


@pytest.mark.skipif(not NATIVE.amx, reason="this processor has no AMX, or the system does not let us use it")
@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "run-time"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("far", [False, True], ids=["in pieces", "far"])
def test_conv_on_amx(name: str, dynamic: bool, far: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights in pieces, and with those that no cache keeps."""
    monkeypatch.setattr(amx_conv_choice, "_FAR", 0 if far else 1 << 60)
    close(*run(CASES[name], 3, dynamic, 1))


@pytest.mark.skipif(not NATIVE.amx, reason="this processor has no AMX, or the system does not let us use it")
@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "run-time"])
@pytest.mark.parametrize("name", FEW)
def test_neighbours_on_amx(name: str, dynamic: bool) -> None:
    """Results whose channels are computed together."""
    case, neighbours = FEW[name]
    close(*run(case, 3, dynamic, neighbours))


@pytest.mark.skipif(not NATIVE.amx, reason="this processor has no AMX, or the system does not let us use it")
@pytest.mark.parametrize("name", ["channels are no whole steps", "few channels", "same padding", "whole rows of tiles"])
def test_what_windows_do_not_reach_does_not_matter(name: str) -> None:
    """A number that is none makes none of the results that read it, and of no others."""
    case = CASES[name]

    def spoil(image: Array) -> None:
        image[..., 4, 7] = np.nan

    result, expected = run(case, 1, False, 1, spoil)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))


@pytest.mark.parametrize("name", ["same padding", "channels are no whole steps", "many steps"])
def test_convolutions_on_amx_are_built_everywhere(name: str) -> None:
    """Even where they cannot run."""
    k = Loops("conv")
    emitted(k, CASES[name], k.dim("n"), CASES[name].size, 1)
    assert compile_function(k.func(), k.name, parse_target("llvm -mcpu=sapphirerapids"))


def test_amx_is_for_convolutions_that_are_worth_it() -> None:
    machine, case = Vectors(amx=2), CASES["many steps"]
    conv = conv_of(case, 1, (40, 40))
    assert choose_on_amx(machine, conv) is not None
    assert choose_on_amx(Vectors(), conv) is None
    assert choose_on_amx(machine, replace(conv, channels=0)) is None
    assert choose_on_amx(machine, replace(conv, outputs=0)) is None
    assert choose_on_amx(machine, replace(conv, channels=3)) is None
    assert choose_on_amx(machine, replace(conv, groups=160)) is None
    assert choose_on_amx(machine, conv_of(case, 1, (5, 5))) is None
    wide = Case(2048, (33, 33), (256, 2048, 3, 3), pads=(6, 6, 6, 6), dilations=(6, 6))
    assert choose_on_amx(machine, conv_of(wide, 1, wide.size)) is None
