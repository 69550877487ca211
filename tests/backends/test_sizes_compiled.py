"""Compiled kernels at sizes around the width of a vector, known when compiling and not, down to no elements at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import tilewright as tw
from tests.backends.compiling import assert_same, compiled, drawn, named, weight
from tests.frontend.onnx_text import model
from tilewright.backends import CompiledModel
from tilewright.ir import Graph, Value, apply, constant, dims, input_value, tensor
from tilewright.ir.errors import InputError

WIDTHS = (1, 15, 16, 17, 33)
KNOWN = (1, 16, 33)
FLOAT = "float32"


def check(inputs: Sequence[Value], outputs: Sequence[Value], sizes: Sequence[Mapping[str, int]]) -> CompiledModel:
    """Compile once, compare at all the sizes."""
    graph = named(outputs, inputs)
    model = compiled(graph)
    for numbers in sizes:
        assert_same(graph, model, drawn(graph, numbers))
    return model


def square(n: int) -> dict[str, int]:
    return {"n": n, "m": 3}


def matrix_and_sides(height: int | str, width: int | str) -> list[Value]:
    shapes = (height, width), (width,), (height, 1)
    return [input_value(f"x{i}", tensor(FLOAT, *shape)) for i, shape in enumerate(shapes)]


def pointwise(x: Value, row: Value, column: Value) -> list[Value]:
    """One that collapses to a single axis, one that broadcasts both ways, one that moves."""
    whole = apply("mul", apply("exp", x), apply("add", x, constant(1.5, FLOAT)))
    spread = apply("maximum", apply("sub", apply("mul", x, row), column), constant(0, FLOAT))
    moved = apply("add", apply("transpose", x, perm=(1, 0)), apply("transpose", column, perm=(1, 0)))
    return [whole, spread, moved]


def reductions(x: Value) -> list[Value]:
    """Over the last axis, over the first, and over both."""
    folded = [apply("reduce_sum", x, axes=axes) for axes in ((1,), (0,), (0, 1))]
    extremes = [apply(name, x, axis=axis) for name in ("argmax", "argmin") for axis in (0, 1)]
    spread = [apply(name, x, axis=axis) for name in ("softmax", "log_softmax") for axis in (0, 1)]
    kept = apply("reduce_mean", apply("mul", x, x), axes=(1,), keepdims=True)
    return [*folded, *extremes, *spread, apply("sqrt", kept), apply("reduce_max", x, axes=(0,))]


def products(x: Value) -> list[Value]:
    """Packed weights of all widths; `x` has 17 columns."""
    return [apply("matmul", x, weight(17, width)) for width in WIDTHS]


@pytest.mark.parametrize("width", KNOWN)
def test_pointwise_of_known_width(width: int) -> None:
    inputs = matrix_and_sides(3, width)
    check(inputs, pointwise(*inputs), [{}])


def test_pointwise_of_any_width() -> None:
    inputs = matrix_and_sides("m", "n")
    check(inputs, pointwise(*inputs), [*map(square, WIDTHS), {"n": 9000, "m": 2}, {"n": 5, "m": 4000}])


@pytest.mark.parametrize("width", KNOWN)
def test_reductions_of_known_width(width: int) -> None:
    x = input_value("x", tensor(FLOAT, 5, width))
    check([x], reductions(x), [{}])


def test_reductions_of_any_width() -> None:
    x = input_value("x", tensor(FLOAT, "m", "n"))
    narrow = [{"n": 3, "m": width} for width in WIDTHS]
    check([x], reductions(x), [*map(square, WIDTHS), *narrow, {"n": 700, "m": 90}])


def test_norms() -> None:
    x = input_value("x", tensor(FLOAT, "m", "n", 20))
    over_two = [apply("layer_norm", x, weight(3, 20), weight(3, 20), axis=1, epsilon=1e-5)]
    over_one = [apply("rms_norm", x, weight(20), axis=2, epsilon=1e-6)]
    check([x], [*over_two, *over_one], [{"m": 2, "n": 3}, {"m": 33, "n": 3}])


def test_products_with_weights() -> None:
    x = input_value("x", tensor(FLOAT, "m", "n", 17))
    check([x], products(x), [{"m": 1, "n": width} for width in WIDTHS] + [{"m": 40, "n": 7}])


def test_products_of_activations() -> None:
    x, y = input_value("x", tensor(FLOAT, 2, "m", "n")), input_value("y", tensor(FLOAT, "n", "p"))
    z = input_value("z", tensor(FLOAT, 1, "m", "n"))
    turned = apply("transpose", z, perm=(0, 2, 1))
    outputs = [apply("matmul", x, y), apply("matmul", x, turned), apply("matmul", turned, x)]
    sizes = (1, 1, 1), (15, 17, 16), (16, 33, 17), (3, 1, 33)
    check([x, y, z], outputs, [{"m": m, "n": n, "p": p} for m, n, p in sizes])


def attended(depth: int, width: int) -> list[Value]:
    """Query, key and value."""
    shapes = (("b", 2, "s", depth), ("b", 2, "t", depth), ("b", 2, "t", width))
    return [input_value(name, tensor(FLOAT, *shape)) for name, shape in zip("qkv", shapes, strict=True)]


def test_attention_with_any_mask() -> None:
    q, k, v = attended(8, 5)
    shapes = ((), ("t",), ("s", "t"), ("b", 1, 1, "t"), (1, 1, "s", "t"), ("b", 2, "s", "t"), (1, 2, "s", 1))
    masks = [input_value(f"m{i}", tensor(FLOAT, *shape)) for i, shape in enumerate(shapes)]
    outputs = [apply("attention", q, k, v, mask, scale=0.5) for mask in masks]
    check([q, k, v, *masks], outputs, [{"b": b, "s": s, "t": t} for b, s, t in ((1, 1, 1), (2, 17, 33), (3, 16, 15))])


@pytest.mark.parametrize(("depth", "width"), [(1, 1), (17, 33)])
def test_attention_of_odd_widths(depth: int, width: int) -> None:
    inputs = attended(depth, width)
    check(inputs, [apply("attention", *inputs, scale=0.5)], [{"b": 1, "s": 17, "t": 1}, {"b": 2, "s": 1, "t": 16}])


@pytest.mark.parametrize("channels", [(1, 1), (3, 17)])
def test_convolutions_and_pools(channels: tuple[int, int]) -> None:
    x = input_value("x", tensor(FLOAT, "n", channels[0], "h", "w"))
    places: dict[str, Any] = {"strides": (2, 1), "pads": (1, 0, 1, 2), "dilations": (1, 1)}
    outputs = [
        apply("conv", x, weight(channels[1], channels[0], 3, 3), weight(channels[1]), groups=1, **places),
        apply("conv", x, weight(channels[0], 1, 3, 2), groups=channels[0], **places),
        apply("max_pool", x, kernel=(3, 3), **places),
        apply("avg_pool", x, kernel=(2, 3), **places),
    ]
    check([x], outputs, [{"n": n, "h": h, "w": w} for n, h, w in ((1, 4, 3), (2, 17, 16), (1, 15, 33))])


def test_moves() -> None:
    n = dims.symbol("n")
    x, at = input_value("x", tensor(FLOAT, "m", "n")), input_value("at", tensor("int64", "p"))
    outputs = [
        apply("gather", x, apply("minimum", at, constant(0, "int64")), axis=0),
        apply("concat", x, apply("exp", x), x, axis=1),
        apply("concat", x, x, axis=0),
        apply("slice", x, starts=(0, dims.sub(n, 1)), sizes=(1, n), steps=(1, -1)),
        apply("pad", x, before=(1, 2), after=(0, 17), value=2.0),
        apply("expand", x, shape=(4, *x.shape)),
    ]
    check([x, at], outputs, [{"m": 3, "n": n, "p": p} for n, p in zip(WIDTHS, reversed(WIDTHS), strict=True)])


def test_running_sums() -> None:
    x = input_value("x", tensor(FLOAT, "m", "n"))
    sums = [apply("cumsum", x, axis=axis, reverse=axis == 0, exclusive=axis == 1) for axis in (0, 1)]
    check([x], sums, [*map(square, WIDTHS), {"m": 50, "n": 300}])


def _without_first(x: Value) -> Value:
    """All but the first row: none at all where there is one only."""
    rest = dims.sub(x.shape[0], 1)
    return apply("slice", x, starts=(1, 0), sizes=(rest, x.shape[1]), steps=(1, 1))


def _readers(x: Value) -> list[Value]:
    """Most kinds of kernels, reading a matrix of 4 columns."""
    rows = apply("reshape", x, shape=(1, 1, x.shape[0], 4))
    one = apply("reshape", weight(4), shape=(1, 1, 1, 4))
    return [
        apply("exp", x),
        apply("reduce_sum", x, axes=(0,)),
        apply("reduce_max", x, axes=(1,)),
        apply("reduce_prod", x, axes=(0, 1)),
        apply("softmax", x, axis=1),
        apply("softmax", x, axis=0),
        apply("layer_norm", x, weight(4), axis=1, epsilon=1e-5),
        apply("matmul", x, weight(4, 5)),
        apply("matmul", x, apply("transpose", x, perm=(1, 0))),
        apply("matmul", apply("transpose", x, perm=(1, 0)), x),
        apply("concat", x, weight(2, 4), axis=0),
        apply("gather", x, constant([0, 3], "int64"), axis=1),
        apply("transpose", x, perm=(1, 0)),
        apply("expand", x, shape=(3, *x.shape)),
        apply("attention", rows, one, one, scale=1.0),
    ]


def test_no_elements_at_run_time() -> None:
    x = input_value("x", tensor(FLOAT, "n", 4))
    check([x], _readers(_without_first(x)), [{"n": 1}, {"n": 2}, {"n": 17}])


def test_no_elements_known_when_compiling() -> None:
    x = input_value("x", tensor(FLOAT, 0, 4))
    check([x], _readers(x), [{}])


def test_an_input_must_have_elements() -> None:
    x = input_value("x", tensor(FLOAT, "n", 4))
    model = compiled(Graph((x,), (apply("exp", x),), ("y",)))
    with pytest.raises(InputError, match="must be at least 1"):
        model(np.zeros((0, 4), np.float32))


WINDOWS = {
    "many channels": ("Conv", (96, 64, 3, 3), {}),
    "few channels": ("Conv", (4, 8, 3, 3), {}),
    "one result channel": ("Conv", (1, 8, 3, 3), {}),
    "depthwise": ("Conv", (16, 1, 3, 3), {"group": 16}),
    "first layer": ("Conv", (16, 3, 3, 3), {}),
    "maxima": ("MaxPool", (1, 16, 3, 3), {}),
    "means": ("AveragePool", (1, 16, 3, 3), {}),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_images_that_are_too_small_for_a_window(name: str) -> None:
    """They have no results, which kernels must not divide by."""
    operator, shape, attrs = WINDOWS[name]
    channels = attrs.get("group", shape[1])
    weights = [numpy_helper.from_array(np.ones(shape, np.float32), "w")] if operator == "Conv" else []
    inputs, window = ["x", *(w.name for w in weights)], {"kernel_shape": (3, 3), "strides": (2, 1), **attrs}
    node = helper.make_node(operator, inputs, ["y"], **window)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    proto = helper.make_model(helper.make_graph([node], name.replace(" ", "_"), [x], [y], weights),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)  # fmt: skip
    model = tw.compile(proto, threads=2)
    for height, width in ((20, 2), (2, 20)):
        (result,) = model.run({"x": np.ones((1, channels, height, width), np.float32)}).values()
        assert result.shape[2:] == ((height - 1) // 2, width - 2)
        assert result.size == 0


@pytest.mark.parametrize(
    ("start", "end", "step"), [(1, -1, 2), (2, -2, 3), (5, 0, -2), (-1, -100, -1), (0, 100, 3), (2, 7, 2), (1, 8, 3)]
)
def test_slices_with_steps_of_any_size(start: int, end: int, step: int) -> None:
    """Their sizes are quotients that are rounded up."""
    sliced = model(f"""(float[a] x) => (float[b] y)
        <int64[1] s = {{{start}}}, int64[1] e = {{{end}}}, int64[1] axes = {{0}}, int64[1] steps = {{{step}}}>
        {{ y = Slice (x, s, e, axes, steps) }}""")
    ours = tw.compile(sliced, check=False)
    for size in (7, 8, 9, 10):
        x = np.arange(size, dtype=np.float32)
        np.testing.assert_array_equal(ours(x), x[start:end:step] if end > -100 else x[::-1])
