"""What is computed on the way to a convolution or a product, in its kernel, compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.backends.compiling import assert_same, compiled, drawn, given, named, weight
from tilewright.backends import compile_graph, parse_target
from tilewright.backends.kernels.scaled import is_worth_scaling
from tilewright.ir import Value, apply, constant, dims
from tilewright.passes.fuse import Fuse, fuse
from tilewright.passes.slices_by_reader import slices_by_reader

FLOAT = "float32"


COLOURED: dict[str, tuple[tuple[int, ...], dict[str, tuple[int, ...]], Sequence[object]]] = {
    "with padding": ((24, 3, 3, 3), {"strides": (2, 2), "pads": (1, 1, 1, 1)}, ("n", 3, "h", "w")),
    "without padding": ((8, 4, 1, 2), {"strides": (1, 3)}, (2, 4, 9, 40)),
    "of rows far apart": ((16, 2, 3, 3), {"dilations": (40, 1), "pads": (40, 1, 40, 1)}, (1, 2, 90, 50)),
    "on one axis": ((32, 5, 7), {"pads": (6, 0)}, ("n", 5, "w")),
    "on three axes": ((8, 3, 2, 3, 3), {"pads": (0, 1, 1, 1, 1, 1)}, (1, 3, 4, 9, 18)),
    "with many products": ((64, 3, 7, 7), {"strides": (2, 2), "pads": (3, 3, 3, 3)}, (1, 3, 64, 80)),
    "narrow, with many products": ((64, 8, 3, 3), {"pads": (1, 1, 1, 1)}, (2, 8, 64, 7)),
    "of any size, with many products": ((64, 8, 3, 3), {"pads": (1, 1, 1, 1)}, ("n", 8, "h", "w")),
    "for one channel": ((1, 8, 5, 5), {"pads": (2, 2, 2, 2)}, ("n", 8, "h", "w")),
}


@pytest.mark.parametrize("target", ["llvm -mcpu=native", "llvm -mcpu=haswell"])
@pytest.mark.parametrize("name", COLOURED)
def test_a_convolution_of_an_image_of_planes(name: str, target: str) -> None:
    """The channels are put last, and what prepares them is computed, where rows are copied."""
    kernel, attrs, shape = COLOURED[name]
    rank = len(kernel) - 2
    whole = {"strides": (1,) * rank, "dilations": (1,) * rank, "pads": (0,) * 2 * rank, **attrs}
    (x,) = given(x=shape)
    scaled = apply("mul", apply("sub", x, weight(kernel[1], *(1,) * rank)), constant(0.25, FLOAT))
    turned = apply("transpose", scaled, perm=(0, *range(2, rank + 2), 1))
    result = apply("conv", turned, weight(*kernel), weight(kernel[0]), channels_last=True, groups=1, **whole)
    graph = named([apply("maximum", result, constant(0, FLOAT))], [x])
    model = compile_graph(fuse(graph), parse_target(target), threads=2)
    assert len(model.program.kernels()) == 1
    for numbers in ({"n": 1, "h": 17, "w": 70}, {"n": 2, "h": 5, "w": 9}):
        assert_same(graph, model, drawn(graph, numbers))


def test_what_a_convolution_of_planes_does_not_compute_on_the_way() -> None:
    """Another move, or what is costly: its rule would not take them, or they would be repeated."""
    (x,) = given(x=("n", 3, "h", "w"))

    def grouped(*steps: str) -> list[list[str]]:
        value = x
        for step in steps:
            turn = {"perm": (0, 2, 3, 1) if step == "last" else (0, 1, 3, 2)}
            value = apply("transpose", value, **turn) if step in ("last", "turn") else apply(step, value)
        attrs: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0,) * 4, "groups": 1}
        result = apply("conv", value, weight(8, 3, 3, 3), channels_last=True, **attrs)
        return [[n.op.name for n in node.attrs["body"].nodes] for node in fuse(named([result], [x])).nodes]

    assert grouped("neg", "last", "abs") == [["neg", "transpose", "abs", "conv"]]
    assert grouped("turn", "neg", "last") == [["transpose", "neg"], ["transpose", "conv"]]
    assert grouped("sin", "last") == [["sin"], ["transpose", "conv"]]
    assert grouped("last", "tanh")[-1] == ["conv"]


CONVOLUTIONS: dict[str, tuple[Sequence[object], tuple[int, ...], dict[str, tuple[int, ...]]]] = {
    "of any size": (("n", "w", 32), (32, 32, 5), {"pads": (4, 4), "dilations": (2,)}),
    "of known size": ((2, 20, 24, 48), (48, 48, 1, 5), {"pads": (0, 2, 0, 2)}),
    "in minimal filtering": (("n", 20, 24, 32), (32, 32, 3, 3), {"pads": (1, 1, 1, 1)}),
    "of one channel": (("n", "w", 1), (32, 1, 64), {"pads": (60, 60)}),
    "of an image of one channel": (("n", 1, "w", 1), (16, 1, 1, 64), {"pads": (0, 60, 0, 60)}),
    "deep": ((1, 6, 6, 128), (128, 128, 3, 3), {"pads": (1, 1, 1, 1), "strides": (2, 2)}),
}


@pytest.mark.parametrize("target", ["llvm -mcpu=native", "llvm -mcpu=native -mattr=-amx-tile,-amx-bf16"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_elementwise_before_a_convolution_that_splits_its_image(name: str, target: str) -> None:
    """On machines that read it once; others make it first. The image is added to the results, too, if it fits."""
    shape, kernel, attrs = CONVOLUTIONS[name]
    (x,) = given(x=shape)
    whole = {"strides": (1,) * (len(kernel) - 2), "dilations": (1,) * (len(kernel) - 2), **attrs}
    leaky = apply("where", apply("less", x, constant(0, FLOAT)), apply("mul", x, constant(0.1, FLOAT)), x)
    result = apply("conv", leaky, weight(*kernel), weight(kernel[0]), channels_last=True, groups=1, **whole)
    if dims.same_shape(result.shape, x.shape):
        result = apply("add", result, x)
    graph = named([result], [x])
    model = compile_graph(Fuse(splits_images=True)(graph), parse_target(target), threads=2)
    assert len(model.program.kernels()) == 1
    for sizes in ({"n": 1, "w": 9}, {"n": 3, "w": 150}):
        assert_same(graph, model, drawn(graph, sizes))


def test_what_a_split_image_is_not_made_of() -> None:
    """Values of other shapes, costly operators, and what others read as well are kernels of their own."""
    x, scale = given(x=("n", "w", 32), scale=(32,))
    kernel = {"strides": (1,), "dilations": (1,), "pads": (2, 2), "groups": 1, "channels_last": True}
    for image in (apply("mul", x, scale), apply("exp", x)):
        graph = named([apply("conv", image, weight(32, 32, 5), **kernel)], [x, scale])
        assert [node.op.name for node in Fuse(splits_images=True)(graph).nodes] == ["fused"] * 2
    relu = apply("maximum", x, constant(0, FLOAT))
    graph = named([apply("conv", relu, weight(32, 32, 5), **kernel), relu], [x])
    assert [node.op.name for node in Fuse(splits_images=True)(graph).nodes] == ["fused"] * 2


def widened(x: Value, factor: int) -> Value:
    """The image with each place `factor` times along both axes."""
    batch, rows, columns, channels = x.shape
    sizes = (batch, factor * rows, factor * columns, channels)
    return apply("resize", x, sizes=sizes, mode="nearest", coordinates="asymmetric", nearest="floor")


PLAIN_3x3 = {"strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 1, "channels_last": True}


@pytest.mark.parametrize("target", ["llvm -mcpu=native", "llvm -mcpu=haswell"])
def test_images_that_are_scaled_resized_and_joined_before_a_convolution(target: str) -> None:
    """All in one kernel, whose vectors of channels do not begin where those of an image end."""
    small, scale, large = given(small=("n", "h", "w", 24), scale=("n", 1, 1, 24), large=("n", "2*h", "2*w", 17))
    joined = apply("concat", widened(apply("add", apply("mul", small, scale), small), 2), large, axis=3)
    image = apply("maximum", apply("add", joined, weight(41)), constant(0, FLOAT))
    result = apply("maximum", apply("conv", image, weight(20, 41, 3, 3), weight(20), **PLAIN_3x3), constant(0, FLOAT))
    graph = named([result], [small, scale, large])
    model = compile_graph(fuse(graph), parse_target(target), threads=2)
    report = model.report(drawn(graph, {"n": 1, "h": 6, "w": 5}), profile=False)
    assert [row.origin for row in report.rows] == ["winograd"]
    for sizes in ({"n": 1, "h": 1, "w": 1}, {"n": 2, "h": 11, "w": 6}, {"n": 1, "h": 30, "w": 41}):
        assert_same(graph, model, drawn(graph, sizes))


@pytest.mark.parametrize("target", ["llvm -mcpu=native", "llvm -mcpu=native -mattr=-amx-tile,-amx-bf16"])
@pytest.mark.parametrize("rows", [3, 4])
def test_images_joined_before_a_convolution_with_few_places(rows: int, target: str) -> None:
    """Minimal filtering is not for these: the image is made first, whoever reads it."""
    small, large = given(small=("n", rows, 4, 1600), large=("n", 2 * rows, 8, 1200))
    image = apply("concat", widened(small, 2), large, axis=3)
    graph = named([apply("conv", image, weight(16, 2800, 3, 3), **PLAIN_3x3)], [small, large])
    model = compile_graph(fuse(graph), parse_target(target), threads=2)
    assert len(model.program.kernels()) == 1
    assert_same(graph, model, drawn(graph, {"n": 2}))


ROWS_MADE: dict[str, tuple[tuple[Any, ...], int]] = {
    "an image": (("n", "h", "w"), 24),
    "an image of known size, for AMX": (("n", 24, 30), 160),
    "rows of a batch": ((3, "n"), 33),
    "rows": ((1500,), 64),
}


@pytest.mark.parametrize("target", ["llvm -mcpu=native", "llvm -mcpu=haswell"])
@pytest.mark.parametrize("name", ROWS_MADE)
def test_rows_that_are_scaled_and_joined_before_a_product(name: str, target: str) -> None:
    leading, outputs = ROWS_MADE[name]
    left, right, scale = given(left=(*leading, 90), right=(*leading, 35), scale=(*leading, 1))
    joined = apply("concat", apply("mul", left, scale), right, left, axis=len(leading))
    rows = apply("maximum", apply("add", joined, weight(215)), constant(0, FLOAT))
    graph = named([apply("add", apply("matmul", rows, weight(215, outputs)), weight(outputs))], [left, right, scale])
    model = compile_graph(fuse(graph), parse_target(target), threads=2)
    assert len(model.program.kernels()) == 1
    for sizes in ({"n": 1, "h": 1, "w": 1}, {"n": 2, "h": 11, "w": 36}, {"n": 700, "h": 2, "w": 1}):
        assert_same(graph, model, drawn(graph, sizes))


@pytest.mark.parametrize("target", ["llvm -mcpu=native", "llvm -mcpu=haswell"])
def test_rows_that_are_made_before_a_product_with_stored_integers(target: str) -> None:
    """A matrix that is just large enough to be stored so, and just small enough to be read for some rows at once."""
    x, y = given(x=("n", 96, 600), y=("n", 96, 424))
    integers = np.random.default_rng(1).integers(-127, 128, (1024, 128))
    assert is_worth_scaling(integers.astype(FLOAT))
    graph = named([apply("matmul", apply("concat", x, y, axis=2), constant(integers, FLOAT))], [x, y])
    model = compile_graph(fuse(graph), parse_target(target), threads=2)
    assert len(model.program.kernels()) == 1
    assert_same(graph, model, drawn(graph, {"n": 2}))


@pytest.mark.parametrize("target", ["llvm -mcpu=native", "llvm -mcpu=haswell"])
def test_parts_of_an_image_are_copied_by_no_kernel(target: str) -> None:
    """A convolution takes one of two parts, and a product both, joined with what the convolution makes."""
    (x,) = given(x=("n", "h", "w", 53))
    sizes, steps = (*x.shape[:3], 25), (1, 1, 1, 1)
    first, second = (apply("slice", x, starts=(0, 0, 0, at), sizes=sizes, steps=steps) for at in (3, 28))
    y = apply("maximum", apply("conv", second, weight(20, 25, 3, 3), weight(20), **PLAIN_3x3), constant(0, FLOAT))
    joined = apply("concat", first, second, y, axis=3)
    graph = named([apply("matmul", joined, weight(70, 40))], [x])
    model = compile_graph(fuse(slices_by_reader(graph)), parse_target(target), threads=2)
    assert len(model.program.kernels()) == 2
    for numbers in ({"n": 1, "h": 1, "w": 1}, {"n": 2, "h": 13, "w": 30}):
        assert_same(graph, model, drawn(graph, numbers))


@pytest.mark.parametrize("taps", [1, 3])
def test_what_is_joined_before_a_contraction_and_read_after_it(taps: int) -> None:
    """By way of an operator that both read: the images are joined first."""
    x, y = given(x=("n", "h", "w", 20), y=("n", "h", "w", 28))
    joined = apply("concat", x, y, axis=3)
    scaled = apply("mul", joined, constant(0.1, FLOAT))
    image = apply("maximum", joined, scaled)
    kernel = weight(48, 48, 3, 3) if taps == 3 else weight(48, 48)
    result = apply("matmul", image, kernel) if taps == 1 else apply("conv", image, kernel, **PLAIN_3x3)
    graph = named([apply("add", result, scaled)], [x, y])
    assert_same(graph, compiled(graph), drawn(graph, {"n": 1, "h": 9, "w": 11}))


@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize("first", [0, 16, 20])
def test_a_part_of_what_is_joined_before_a_contraction(first: int, taps: int) -> None:
    """Cut out by itself, and added up with the rest: what is joined has more channels than what the kernel reads."""
    x, y = given(x=("n", "h", "w", 24), y=("n", "h", "w", 24))
    joined, sizes = apply("concat", x, y, axis=3), (*x.shape[:3], 24)
    parts = [apply("slice", joined, starts=(0, 0, 0, at), sizes=sizes, steps=(1,) * 4) for at in (first, 24 - first)]
    image = apply("add", *parts)
    kernel = weight(32, 24, 3, 3) if taps == 3 else weight(24, 32)
    result = apply("matmul", image, kernel) if taps == 1 else apply("conv", image, kernel, **PLAIN_3x3)
    graph = named([result], [x, y])
    model = compile_graph(fuse(slices_by_reader(graph)), parse_target("llvm -mcpu=native"), threads=2)
    assert_same(graph, model, drawn(graph, {"n": 2, "h": 9, "w": 11}))


def test_one_channel_of_what_is_joined_scales_an_image() -> None:
    x, y = given(x=("n", "h", "w", 24), y=("n", "h", "w", 40))
    sizes, steps = (*x.shape[:3], 1), (1,) * 4
    scale = apply("slice", apply("concat", x, x, axis=3), starts=(0, 0, 0, 30), sizes=sizes, steps=steps)
    graph = named([apply("conv", apply("mul", y, scale), weight(16, 40, 3, 3), **PLAIN_3x3)], [x, y])
    assert_same(graph, compiled(graph), drawn(graph, {"n": 1, "h": 9, "w": 11}))


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_matrix_that_multiplies_and_is_read_beside_it(place: str) -> None:
    """Only the product has it in another layout."""
    (x,) = given(x=("n", "s", 32, 32))
    matrix = weight(32, 32)
    image = apply("mul", x, matrix) if place == "before" else x
    result = apply("matmul", image, matrix)
    graph = named([result if place == "before" else apply("add", result, matrix)], [x])
    assert_same(graph, compiled(graph), drawn(graph, {"n": 2, "s": 3}))


def test_a_contraction_of_one_operand_with_operators_on_both_sides() -> None:
    (x,) = given(x=("n", 9, 5))
    smaller = apply("resize_axis", apply("mul", x, weight(5)), axis=1, size=4, mode="linear", antialias=True)
    graph = named([apply("mul", smaller, constant(3, FLOAT))], [x])
    assert_same(graph, compiled(graph), drawn(graph, {"n": 2}))


def test_images_without_rows_before_a_convolution() -> None:
    x, wide = given(x=("n", 0, "w", 32), wide=("n", 0, "2*w", 32))
    image = apply("resize", x, sizes=wide.shape, mode="nearest", coordinates="asymmetric")
    attrs = {**PLAIN_3x3, "pads": (2, 1, 2, 1)}
    assert fuse(named([apply("conv", image, weight(32, 32, 3, 3), **attrs)], [x])).nodes


def test_long_expressions_are_made_before_a_contraction() -> None:
    """Each use of a value computes it again, so that these are more and more."""
    (x,) = given(x=("n", "h", "w", 32))
    image = x
    for _ in range(6):
        image = apply("add", image, apply("maximum", apply("mul", image, weight(32)), constant(0, FLOAT)))
    graph = named([apply("conv", image, weight(32, 32, 3, 3), **PLAIN_3x3)], [x])
    assert len(fuse(graph).nodes) == 2


def test_what_is_made_before_a_contraction_that_reads_it_again() -> None:
    """Small images, those of few channels, what is costly, windows that are not of 3 x 3, and large matrices."""
    plain, few, small = given(plain=("n", "h", "w", 32), few=("n", "h", "w", 8), small=("n", 20, 20, 32))
    scaled = [apply("mul", x, weight(32)) for x in (plain, small)]
    few_and_plain = apply("concat", few, plain, axis=3)

    def windows(image: Value, *kernel: int) -> Value:
        return apply("conv", image, weight(*kernel), **PLAIN_3x3)

    results = {
        "large": (windows(scaled[0], 32, 32, 3, 3), 1),
        "small": (windows(scaled[1], 32, 32, 3, 3), 2),
        "few channels": (windows(few_and_plain, 32, 40, 3, 3), 2),
        "costly": (windows(apply("exp", plain), 32, 32, 3, 3), 2),
        "other windows": (windows(scaled[0], 32, 32, 3, 5), 2),
        "large rows": (apply("matmul", scaled[0], weight(32, 64)), 1),
        "small rows": (apply("matmul", scaled[1], weight(32, 64)), 2),
        "rows of few channels": (apply("matmul", few_and_plain, weight(40, 64)), 2),
        "costly rows": (apply("matmul", apply("exp", plain), weight(32, 64)), 2),
        "a large matrix": (apply("matmul", scaled[0], weight(32, 5000)), 2),
    }
    for name, (result, count) in results.items():
        assert len(fuse(named([result], [plain, few, small])).nodes) == count, name
