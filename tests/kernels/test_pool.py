"""Pools against the reference of their operators: padding, strides, overhanging windows, run-time sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.kernels.built import NATIVE, Array, Built, hollow, normal
from tilewright.backends.kernels.loops import Index, Loops, const
from tilewright.backends.kernels.patches import Axis
from tilewright.backends.kernels.pool import average_divisor, emit_pool
from tilewright.backends.kernels.pool_last import emit_pool_last
from tilewright.backends.kernels.ranges import div_up
from tilewright.backends.kernels.scalars import Scalars
from tilewright.ir.ops import lookup
from tilewright.ir.ops.windows import channels_moved_last

CASES: dict[str, dict[str, Any]] = {
    "halving": {"kernel": (2, 2), "strides": (2, 2)},
    "padded": {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)},
    "wide": {"kernel": (13, 13), "pads": (6, 6, 6, 6)},
    "overhanging": {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 0), "ceil_mode": True},
    "dilated": {"kernel": (3, 2), "strides": (2, 1), "pads": (1, 0, 0, 1), "dilations": (2, 3)},
}
DEFAULTS: dict[str, Any] = {
    "strides": (1, 1),
    "pads": (0, 0, 0, 0),
    "dilations": (1, 1),
    "ceil_mode": False,
    "channels_last": False,
}


def axis(size: Index, number: int, attrs: dict[str, Any]) -> Axis:
    kernel, stride, dilation = (attrs[name][number] for name in ("kernel", "strides", "dilations"))
    before, after = attrs["pads"][number], attrs["pads"][number + 2]
    plain = Axis(size, kernel, stride, dilation, before, after)
    if not attrs["ceil_mode"]:
        return plain
    room = size + before + after - dilation * (kernel - 1) - 1
    return Axis(size, kernel, stride, dilation, before, after, div_up(room, stride) + 1, overhangs=True)


def run_pool(op: str, attrs: dict[str, Any], dynamic: bool, channels: int = 0) -> tuple[Array, Array]:
    """With a number of `channels`, these come last."""
    k, b, last = Loops("pool"), Scalars(), attrs["channels_last"]
    shape = (2, channels or 3, 23, 34)
    sizes = [k.dim(f"d{a}") if dynamic else s for a, s in enumerate(shape)]
    axes = tuple(axis(size, a, attrs) for a, size in enumerate(sizes[2:]))
    results = (*sizes[:2], *(a.results for a in axes))
    x, y = (k.buffer(name, channels_moved_last(s) if last else s) for name, s in (("x", sizes), ("y", results)))
    kind = "max" if op == "max_pool" else "sum"
    count_padding = attrs.get("count_include_pad", False)

    def store(n: Index, c: Index, places: tuple[Index, ...], value: Any) -> None:
        divisor = average_divisor(axes, places, count_padding) if kind == "sum" else const(1, "float32")
        place = (n, c, *places)
        k.store(y, channels_moved_last(place) if last else place, value / divisor)

    def load(*place: Index) -> Any:
        return x[channels_moved_last(place) if last else place]

    initial, emit = b.identity(kind, "float32"), emit_pool_last if last else emit_pool
    emit(k, NATIVE, sizes[0], sizes[1], axes, load, b.folds[kind], initial, "float32", store)
    image = normal(*(channels_moved_last(shape) if last else shape))
    expected = np.asarray(lookup(op).ref(attrs, image))
    return Built(k)(image, hollow(*expected.shape)), expected


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "run-time"])
@pytest.mark.parametrize("name", CASES)
def test_max_pool(name: str, dynamic: bool) -> None:
    result, expected = run_pool("max_pool", DEFAULTS | CASES[name], dynamic)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("count_padding", [False, True])
@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "run-time"])
@pytest.mark.parametrize("name", CASES)
def test_average_pool(name: str, dynamic: bool, count_padding: bool) -> None:
    attrs = DEFAULTS | CASES[name] | {"count_include_pad": count_padding}
    result, expected = run_pool("avg_pool", attrs, dynamic)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [3, 8, 70])
@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "run-time"])
@pytest.mark.parametrize("name", CASES)
def test_channels_last(name: str, dynamic: bool, channels: int) -> None:
    attrs = DEFAULTS | CASES[name] | {"channels_last": True}
    result, expected = run_pool("max_pool", attrs, dynamic, channels)
    np.testing.assert_array_equal(result, expected)
    result, expected = run_pool("avg_pool", attrs | {"count_include_pad": False}, dynamic, channels)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
