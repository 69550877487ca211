"""Fused groups of several operators, compiled; and what a kernel refuses when it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.compiling import assert_same, compiled, drawn, given, named, weight
from tilewright.backends import compile_graph, parse_target
from tilewright.backends.kernels.conv_last_sizes import ConvLast, tile_of
from tilewright.backends.kernels.patches import Axis
from tilewright.backends.kernels.tile import Vectors
from tilewright.ir import Graph, Value, apply, constant, dims, input_value, tensor
from tilewright.ir.errors import InputError
from tilewright.passes.fuse import fuse

FLOAT = "float32"
DTYPES = ("float16", "bfloat16", "float64")


def kernels(graph: Graph, *sizes: dict[str, int]) -> int:
    """Compare at each of the sizes, and tell how many kernels the program has."""
    model = compiled(graph)
    for numbers in sizes:
        assert_same(graph, model, drawn(graph, numbers))
    return len(model.program.kernels())


def test_elementwise_before_and_after_a_reduction() -> None:
    x, y = given(x=("m", "n"), y=("n",))
    for axis in (0, 1):
        total = apply("reduce_sum", apply("exp", apply("mul", x, y)), axes=(axis,))
        result = apply("sqrt", apply("add", total, constant(1, FLOAT)))
        assert kernels(named([result], [x, y]), {"m": 5, "n": 17}, {"m": 40, "n": 3}) == 1


def test_matmul_with_all_that_follows() -> None:
    x, residual = given(x=("b", "s", 24), residual=("b", "s", 33))
    product = apply("add", apply("matmul", x, weight(24, 33)), weight(33))
    result = apply("add", apply("gelu", product), residual)
    assert kernels(named([result], [x, residual]), {"b": 1, "s": 1}, {"b": 2, "s": 17}) == 1


def test_matmul_between_transposes() -> None:
    x, y = given(x=("b", "s", 2, 8), y=("b", "t", 2, 8))
    queries, keys = apply("transpose", x, perm=(0, 2, 1, 3)), apply("transpose", y, perm=(0, 2, 3, 1))
    scores = apply("mul", apply("matmul", queries, keys), constant(0.25, FLOAT))
    result = apply("transpose", scores, perm=(0, 2, 1, 3))
    assert kernels(named([result], [x, y]), {"b": 1, "s": 1, "t": 17}, {"b": 2, "s": 16, "t": 3}) == 1


def test_rows_of_tables_are_looked_up_where_they_are_joined() -> None:
    """As in a model that recommends: an index for each table, whose axis goes, and one that is joined along."""
    tables = [weight(9, 4) for _ in range(3)]
    dense, sparse = input_value("dense", tensor(FLOAT, "n", 4)), input_value("sparse", tensor("int64", "n", 3))

    def row(place: int, table: Value) -> Value:
        taken = apply("slice", sparse, starts=(0, place), sizes=(dims.symbol("n"), 1), steps=(1, 1))
        index = apply("reshape", taken, shape=(dims.symbol("n"),))
        return apply("reshape", apply("gather", table, index, axis=0), shape=(dims.symbol("n"), 1, 4))

    rows = [apply("reshape", dense, shape=(dims.symbol("n"), 1, 4)), *(row(i, t) for i, t in enumerate(tables))]
    graph = named([apply("concat", *rows, axis=1)], [dense, sparse])
    model = compiled(graph)
    assert len(model.program.kernels()) == 1
    for count in (1, 7):
        places = np.random.default_rng(0).integers(0, 9, (count, 3))
        assert_same(graph, model, {"dense": np.ones((count, 4), np.float32), "sparse": places})


def test_halves_are_turned_where_they_are_joined() -> None:
    """As positions are put into queries and keys."""
    (x,) = given(x=("n", "s", 8))

    def half(start: int) -> Value:
        sizes = (dims.symbol("n"), dims.symbol("s"), 4)
        return apply("slice", x, starts=(0, 0, start), sizes=sizes, steps=(1, 1, 1))

    turned = apply("concat", apply("neg", half(4)), half(0), axis=2)
    assert kernels(named([apply("mul", turned, weight(8))], [x]), {"n": 1, "s": 1}, {"n": 2, "s": 5}) == 1


def test_axes_of_one_element_within_a_kernel() -> None:
    x, y = given(x=("n", 1, 5), y=("n", "m", 5))
    flat = apply("reshape", apply("neg", x), shape=(dims.symbol("n"), 5))
    result = apply("transpose", apply("abs", flat), perm=(1, 0))
    assert kernels(named([result], [x]), {"n": 1}, {"n": 6}) == 1
    total = apply("reduce_sum", apply("mul", y, apply("neg", x)), axes=(1,))
    back = apply("reshape", total, shape=(dims.symbol("n"), 1, 5))
    assert kernels(named([apply("sqrt", apply("abs", back))], [x, y]), {"n": 2, "m": 9}) == 2


def test_a_transpose_stays_in_front_of_packed_weights() -> None:
    """Each of its rows would be a product of its own, which packs all weights again."""
    (x,) = given(x=("t", "b", 24))
    result = apply("matmul", apply("transpose", x, perm=(1, 0, 2)), weight(24, 33))
    graph = named([result], [x])
    rules = {row.origin for row in compiled(graph).report(profile=False).rows}
    assert kernels(graph, {"t": 1, "b": 1}, {"t": 40, "b": 3}) == 2
    assert "packed gemm" in rules


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("dilation", [4, 9, 30])
def test_taps_that_are_far_apart(rank: int, dilation: int) -> None:
    """Some rows read the padding alone; also results that read nothing else."""
    x = input_value("x", tensor(FLOAT, "n", *"hwd"[:rank], 5))
    pads = (dilation,) * rank + (dilation + 3,) * rank
    attrs: dict[str, Any] = {"dilations": (dilation,) * rank, "strides": (2,) + (1,) * (rank - 1), "pads": pads}
    result = apply("conv", x, weight(9, 5, *(3,) * rank), channels_last=True, groups=1, **attrs)
    sizes = [dict(zip("nhwd", found, strict=True)) for found in ((1, 7, 6, 2), (2, 17, 9, 3))]
    kernels(
        named([apply("maximum", result, constant(0, FLOAT))], [x]),
        *({k: s[k] for k in "nhwd"[: rank + 1]} for s in sizes),
    )


@pytest.mark.parametrize("places", [(5, 5), (9,), (1, 3)], ids=["plane", "row", "column"])
@pytest.mark.parametrize("groups", [1, 2])
def test_windows_as_wide_as_the_image(places: tuple[int, ...], groups: int) -> None:
    """One result in each row: a tile of one row, in which all taps count."""
    (x,) = given(x=("n", *places, 16))
    ones = (1,) * len(places)
    attrs: dict[str, Any] = {"strides": ones, "dilations": ones, "groups": groups, "pads": (0,) * (2 * len(places))}
    result = apply("conv", x, weight(24, 16 // groups, *places), channels_last=True, **attrs)
    kernels(named([apply("maximum", result, constant(0, FLOAT))], [x]), {"n": 1}, {"n": 3})


def test_a_transposed_convolution_of_one_place() -> None:
    (x,) = given(x=("n", 1, 1, 16))
    places: dict[str, Any] = {"strides": (2, 2), "pads": (1,) * 4, "dilations": (1, 1), "output_padding": (0, 0)}
    result = apply("conv_transpose", x, weight(16, 24, 4, 4), channels_last=True, groups=1, **places)
    kernels(named([apply("maximum", result, constant(0, FLOAT))], [x]), {"n": 1}, {"n": 3})


FEW_RESULTS: dict[str, tuple[tuple[int, ...], dict[str, tuple[int, ...]]]] = {
    "one channel, no overlap": ((16, 1, 2, 2), {"strides": (2, 2)}),
    "colours": ((16, 3, 4, 4), {"strides": (2, 2), "pads": (1, 1, 1, 1)}),
    "some residues begin earlier, and end later": ((9, 5, 3, 3), {"strides": (2, 2), "pads": (1, 0, 0, 1)}),
    "one axis, a longer last residue": ((32, 1, 5), {"strides": (4,), "pads": (1, 1), "output_padding": (3,)}),
    "three axes, dilated": ((8, 2, 1, 2, 3), {"strides": (2, 1, 2), "dilations": (1, 2, 3)}),
    "too many for one tile": ((8, 7, 5, 5), {"strides": (5, 5)}),
    "sums along vectors": ((64, 1, 2, 2), {"strides": (2, 2), "pads": (0, 0, 1, 1)}),
}


@pytest.mark.parametrize("lanes, registers", [(8, 16), (16, 32)])
def test_one_tile_holds_the_results_of_all_residues(lanes: int, registers: int) -> None:
    """Of as many channels as `channels_last` puts last for that, whatever the width of the image."""
    machine = Vectors(lanes, registers, fuses=True)
    for outputs in range(1, 33):
        for width in (1, 7, 12, 500):
            conv = ConvLast(1, 9, outputs, 1, (Axis(20), Axis(width)))
            assert tile_of(machine, conv, FLOAT, outputs).columns >= outputs


@pytest.mark.parametrize("target", ["llvm -mcpu=native", "llvm -mcpu=haswell"])
@pytest.mark.parametrize("name", FEW_RESULTS)
def test_a_transposed_convolution_with_few_channels(name: str, target: str) -> None:
    """All residues of the stride are stored together."""
    kernel, attrs = FEW_RESULTS[name]
    rank = len(kernel) - 2
    whole = {"strides": (1,) * rank, "dilations": (1,) * rank, "pads": (0,) * 2 * rank, "output_padding": (0,) * rank}
    (x,) = given(x=("n", *"hwd"[:rank], kernel[0]))
    bias = weight(kernel[1])
    result = apply("conv_transpose", x, weight(*kernel), bias, channels_last=True, groups=1, **(whole | attrs))
    shapes = ({"n": 2, "h": 3, "w": 5, "d": 4}, {"n": 1, "h": 23, "w": 19, "d": 8})
    sizes = [{axis: shape[axis] for axis in ("n", *"hwd"[:rank])} for shape in shapes]
    graph = named([apply("sigmoid", result)], [x])
    model = compile_graph(fuse(graph), parse_target(target), threads=2)
    for numbers in sizes:
        assert_same(graph, model, drawn(graph, numbers))


def test_attention_between_transposes() -> None:
    x, mask = given(x=("b", "s", 2, 8), mask=("b", 1, 1, "s"))
    q, k, v = (apply("transpose", apply("mul", x, constant(f, FLOAT)), perm=(0, 2, 1, 3)) for f in (1, 2, 3))
    result = apply("transpose", apply("attention", q, k, v, mask, scale=0.5), perm=(0, 2, 1, 3))
    kernels(named([result], [x, mask]), {"b": 1, "s": 1}, {"b": 2, "s": 19}, {"b": 1, "s": 135})


SEPARABLE: dict[str, tuple[tuple[Any, ...], int, tuple[int, int], dict[str, Any]]] = {
    "sizes unknown": (("n", "h", "w", 16), 24, (3, 3), {}),
    "stride and no whole vectors": (("n", "h", "w", 23), 17, (3, 3), {"strides": (2, 2)}),
    "wide windows and one result": (("n", "h", "w", 40), 1, (5, 5), {"pads": (2, 2, 2, 2)}),
    "no padding, dilation": (("n", "h", "w", 8), 70, (3, 2), {"pads": (0, 0, 0, 0), "dilations": (2, 3)}),
    "sizes known": (("n", 37, 70, 64), 64, (3, 3), {}),
    "rows longer than what is kept": ((1, 16, 300, 64), 8, (3, 3), {}),
}


@pytest.mark.parametrize("target", ["llvm -mcpu=native", "llvm -mcpu=haswell"])
@pytest.mark.parametrize("name", SEPARABLE)
def test_depthwise_convolution_and_product_are_one_kernel(name: str, target: str) -> None:
    """With elementwise operators and scales between them, and after both; what is after reads another image, too."""
    shape, outputs, kernel, attrs = SEPARABLE[name]
    channels = shape[-1]
    x, scale = given(x=shape, scale=(shape[0], 1, 1, channels))
    whole = {"strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": channels, **attrs}
    each = apply("conv", x, weight(channels, 1, *kernel), weight(channels), channels_last=True, **whole)
    clipped = apply("minimum", apply("maximum", apply("mul", each, scale), constant(0, FLOAT)), constant(6, FLOAT))
    (other,) = given(other=(*clipped.shape[:-1], outputs))
    total = apply("add", apply("matmul", clipped, weight(channels, outputs)), weight(outputs))
    result = apply("add", apply("mul", total, apply("sigmoid", total)), other)
    graph = named([result], [x, scale, other])
    model = compile_graph(fuse(graph), parse_target(target), threads=2)
    report = model.report(drawn(graph, {"n": 1, "h": 9, "w": 7}), profile=False)
    assert [row.origin for row in report.rows] == ["separable conv"]
    for sizes in ({"n": 1, "h": 9, "w": 7}, {"n": 2, "h": 31, "w": 150}, {"n": 3, "h": 5, "w": 900}):
        assert_same(graph, model, drawn(graph, sizes))


def test_what_is_no_kernel_with_the_convolution_before_it() -> None:
    """Products of large matrices, of small images, of a convolution that is read elsewhere, and a second product."""
    window = {"strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "channels_last": True}

    def groups(shape: tuple[Any, ...], outputs: int, *, read: bool = False, more: int = 0) -> int:
        (x,) = given(x=shape)
        each = apply("conv", x, weight(shape[-1], 1, 3, 3), groups=shape[-1], **window)
        product = apply("matmul", each, weight(shape[-1], outputs))
        for _ in range(more):
            product = apply("matmul", product, weight(outputs, outputs))
        return len(fuse(named([product, *([each] if read else [])], [x])).nodes)

    assert groups(("n", "h", "w", 32), 32) == 1
    assert groups(("n", "h", "w", 32), 2048) == 2
    assert groups(("n", 14, 14, 32), 32) == 2
    assert groups((1, 1, 9000, 32), 32) == 2  # threads share rows
    assert groups(("n", "h", "w", 32), 32, read=True) == 2
    assert groups(("n", "h", "w", 32), 32, more=2) == 3


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("few", [2, 3, 7, 8, 9])
def test_few_rows_are_interleaved(few: int, dtype: str) -> None:
    """Colours from planes and back, with elementwise operators around; of sizes that are known or not, and of few."""
    planes = [input_value(f"p{i}", tensor(dtype, 2, few, width)) for i, width in enumerate(("w", 40))]
    colours = [input_value(f"c{i}", tensor(dtype, 2, width, few)) for i, width in enumerate(("w", 40))]
    each = constant(np.arange(few), dtype)
    last = [apply("mul", apply("transpose", apply("neg", x), perm=(0, 2, 1)), each) for x in planes]
    first = [apply("neg", apply("transpose", apply("add", x, each), perm=(0, 2, 1))) for x in colours]
    graph = named([*last, *first], [*planes, *colours])
    assert kernels(graph, {"w": 3}, {"w": 33}, {"w": 9000}) == 4


@pytest.mark.parametrize("count", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("width", [5, 16, 37])
def test_concat_of_short_pieces(count: int, width: int) -> None:
    """Of one element each, which some numbers of pieces turn in registers, of several, and along a middle axis."""
    xs = [input_value(f"x{i}", tensor(FLOAT, "n", width, 1)) for i in range(count)]
    x, y = given(x=("n", width, 6), y=("n", width, 9))
    single = apply("exp", apply("concat", apply("neg", xs[0]), *xs[1:], axis=2))
    short = apply("concat", x, apply("mul", y, weight(9)), *xs, axis=2)
    middle = apply("concat", *xs, apply("neg", xs[0]), axis=1)
    graph = named([single, short, middle], [*xs, x, y])
    assert kernels(graph, {"n": 1}, {"n": 3}) == 3


def test_concat_of_as_many_pieces_as_the_rows_are_long() -> None:
    """Along another axis, and of pieces of which some are empty: no piece has one element of each row."""
    x, y, z, e = given(x=("n", 8, 3), y=("n", 8, 3), z=("n", 32, 2), e=("n", 32, 0))
    boxes = given(a=("n", 200, 4), b=("n", 100, 4), c=("n", 50, 4), d=("n", 10, 4))
    joined = [apply("concat", x, y, x, axis=1), apply("concat", *boxes, axis=1), apply("concat", z, e, axis=2)]
    graph = named(joined, [x, y, z, e, *boxes])
    assert kernels(graph, {"n": 1}, {"n": 3}) == 3


def test_concat_with_what_follows() -> None:
    x, y, z = given(x=("n", 3), y=("m", 3), z=("n", 3))
    joined = apply("concat", x, apply("neg", y), z, axis=0)
    result = apply("maximum", apply("mul", joined, constant(2, FLOAT)), constant(0, FLOAT))
    kernels(named([result], [x, y, z]), {"n": 1, "m": 17}, {"n": 4, "m": 1})


def test_convolution_with_all_that_follows() -> None:
    x, y = given(x=("n", 3, "h", 20), y=("n", 8, "h", 20))
    made = apply("conv", x, weight(8, 3, 3, 3), weight(8), strides=(1, 1), pads=(1,) * 4, dilations=(1, 1), groups=1)
    result = apply("maximum", apply("add", made, y), constant(0, FLOAT))
    assert kernels(named([result], [x, y]), {"n": 1, "h": 1}, {"n": 2, "h": 17}) == 1


def test_scalars_within_vectors() -> None:
    """Products of numbers that are the same along the vector."""
    x, y = given(x=("n", 1), y=("n", 40))
    peak = apply("reduce_max", y, axes=(1,), keepdims=True)
    factor = apply("mul", apply("maximum", x, peak), apply("minimum", x, apply("floor", x)))
    kernels(named([apply("mul", y, factor)], [x, y]), {"n": 1}, {"n": 5})


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_floats(dtype: str) -> None:
    """What rules are made for float32 only works in other types as well."""
    x = input_value("x", tensor(dtype, 2, 3, "n", 8))
    kernel = constant(np.linspace(-1, 1, 2 * 3 * 9).reshape(2, 3, 3, 3), dtype)
    places: dict[str, Any] = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1)}
    outputs = [
        apply("attention", x, x, x, scale=0.5),
        apply("conv", x, kernel, groups=1, **places),
        apply("max_pool", x, kernel=(3, 3), **places),
        apply("argmax", x, axis=3),
        apply("tanh", apply("matmul", x, constant(np.eye(8), dtype))),
        apply("where", apply("less", x, constant(0, dtype)), x, constant(0.5, dtype)),
    ]
    kernels(named(outputs, [x]), {"n": 5})


def refused(graph: Graph, message: str, **arrays: np.ndarray) -> None:
    with pytest.raises(InputError, match=message):
        compiled(graph).run(arrays)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize("index", [5, -6, 2**40])
def test_gather_out_of_range(index: int) -> None:
    x, at = input_value("x", tensor(FLOAT, 5, 3)), input_value("at", tensor("int64", "n"))
    graph = named([apply("gather", x, at, axis=0)], [x, at])
    refused(graph, "gather: an index is out of range", x=zeros(5, 3), at=np.array([0, index]))
    assert_same(graph, compiled(graph), {"x": zeros(5, 3), "at": np.array([0, -5, 4])})


def test_scatter_out_of_range() -> None:
    x, rows = given(x=(5, 3), rows=("n", 3))
    at = input_value("at", tensor("int32", "n", 1))
    graph = named([apply("scatter_nd", x, at, rows)], [x, at, rows])
    refused(
        graph, "scatter_nd: an index is out of range", x=zeros(5, 3), at=np.array([[5]], np.int32), rows=zeros(1, 3)
    )


def test_slice_longer_than_its_axis() -> None:
    (x,) = given(x=("n", 3))
    head = apply("slice", x, starts=(2, 0), sizes=(4, 3), steps=(1, 1))
    backwards = apply("slice", x, starts=(dims.sub(dims.symbol("n"), 1), 0), sizes=(4, 3), steps=(-1, 1))
    refused(named([head], [x]), "slice: 4 elements from 2 do not fit into an axis of n", x=zeros(5, 3))
    refused(named([backwards], [x]), "slice: 4 elements from n - 1 do not fit", x=zeros(3, 3))


def test_sizes_that_should_be_equal() -> None:
    x, y = given(x=("n", 4), y=("m", 4))
    cases = {
        "add: sizes of axis -2": apply("add", x, y),
        "concat: sizes of axis 0": apply("concat", x, y, axis=1),
        "matmul: the summed sizes": apply("matmul", apply("transpose", x, perm=(1, 0)), y),
        "expand: the old and the new size": apply("expand", x, shape=(2, *y.shape)),
        "layer_norm: the sizes of the normalised axes": apply("layer_norm", x, y, axis=0, epsilon=1e-5),
    }
    for message, result in cases.items():
        graph = named([result], [x, y])
        assert_same(graph, compiled(graph), {"x": zeros(3, 4) + 1, "y": zeros(3, 4) + 2})
        refused(graph, message, x=zeros(3, 4), y=zeros(5, 4))


def test_mask_and_keys_of_unequal_lengths() -> None:
    q, k, mask = given(q=(1, 1, "s", 4), k=(1, 1, "t", 4), mask=("m",))
    graph = named([apply("attention", q, k, k, mask, scale=1.0)], [q, k, mask])
    refused(graph, "attention: sizes of axis -1 must be equal", q=zeros(1, 1, 2, 4), k=zeros(1, 1, 3, 4), mask=zeros(4))


def test_reshape_to_another_number_of_elements() -> None:
    x, y = given(x=("n", 4), y=("m",))
    graph = named([apply("reshape", x, shape=(2, dims.product((2, dims.symbol("m"))))), y], [x, y])
    assert_same(graph, compiled(graph), {"x": zeros(3, 4) + 1, "y": zeros(3)})
    refused(graph, "has 12 elements, so that it cannot be reshaped", x=zeros(3, 4), y=zeros(2))


def test_window_that_does_not_fit() -> None:
    (x,) = given(x=(1, 1, "n"))
    graph = named([apply("max_pool", x, kernel=(5,), strides=(1,), pads=(0, 0), dilations=(1,))], [x])
    refused(graph, "size -4 \\+ n = -1, for n = 3", x=zeros(1, 1, 3))
