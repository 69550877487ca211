"""The same graphs built for several processors: each gives what the interpreter gives, where this one can run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.backends.compiling import assert_same, drawn, named
from tilewright.backends import compile_graph, lower, parse_target
from tilewright.backends.build import build_kernels
from tilewright.backends.target import Target
from tilewright.ir import Graph, Value, apply, constant, input_value, tensor
from tilewright.passes import pipeline
from tilewright.passes.fuse import fuse

TARGETS = (
    *("x86-64", "x86-64-v2", "haswell", "core-avx2", "alderlake", "skylake-avx512", "cascadelake", "znver4", "native"),
    *("sapphirerapids", "sapphirerapids -mattr=-amx-int8", "sapphirerapids -mattr=-amx-tile"),
    "x86-64-v4 -mattr=+avx512vnni,-avx512bw",
)


def weight(*shape: int) -> Value:
    return constant(np.random.default_rng(0).standard_normal(shape) / 4, "float32")


def image_kernel(x: Value, w: Value, **attrs: Any) -> Value:
    defaults: dict[str, Any] = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    return apply("conv", x, w, **{**defaults, **attrs})


def product(x: Value) -> Value:
    return apply("gelu", apply("matmul", x, weight(24, 70)))


def large_product(x: Value) -> Value:
    return apply("gelu", apply("matmul", x, weight(200, 768)))


def large_convolution(x: Value) -> Value:
    attrs = {"strides": (2, 2), "channels_last": True}
    return apply("maximum", image_kernel(x, weight(128, 64, 3, 3), **attrs), constant(0, "float32"))


def small_product(x: Value) -> Value:
    return apply("gelu", apply("matmul", x, weight(124, 150)))


def wide_windows(x: Value) -> Value:
    """Of which AMX computes neighbours together."""
    return apply("gelu", image_kernel(x, weight(8, 8, 3, 39), pads=(1, 19, 1, 19), channels_last=True))


def transposed_convolution(x: Value) -> Value:
    attrs: dict[str, Any] = {"strides": (2, 2), "pads": (1, 0, 1, 0), "dilations": (1, 1), "output_padding": (1, 0)}
    return apply("gelu", apply("conv_transpose", x, weight(64, 24, 3, 2), channels_last=True, **attrs))


def transposed_without_strides(x: Value) -> Value:
    attrs: dict[str, Any] = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "output_padding": (0, 0)}
    return apply("gelu", apply("conv_transpose", x, weight(16, 8, 5, 5), channels_last=True, **attrs))


def integer_product(x: Value) -> Value:
    """Few of the weights are too large for two products in 16 bits."""
    weights = np.random.default_rng(0).integers(-60, 61, (64, 70))
    weights[8:10, 3], weights[20:22, 69] = 127, -128
    octets = apply("cast", apply("abs", apply("mul", x, constant(40, "float32"))), to="uint8")
    return apply("matmul", octets, constant(weights, "int8"), dtype="int32")


def product_of_pairs(x: Value) -> Value:
    weights = np.random.default_rng(0).integers(-128, 128, (64, 70))
    return apply("matmul", apply("cast", x, to="int16"), constant(weights, "int8"), dtype="int32")


def integer_convolution(x: Value) -> Value:
    weights = constant(np.random.default_rng(0).integers(-60, 61, (40, 24, 3, 3)), "int8")
    return image_kernel(apply("cast", x, to="int16"), weights, channels_last=True, dtype="int32")


def convolution(x: Value) -> Value:
    return apply("sigmoid", image_kernel(x, weight(40, 24, 3, 3), channels_last=True))


def convolution_of_few(x: Value) -> Value:
    return apply("maximum", image_kernel(x, weight(3, 24, 3, 4), channels_last=True), constant(0, "float32"))


def convolution_of_one(x: Value) -> Value:
    return apply("sigmoid", image_kernel(x, weight(1, 24, 3, 1), pads=(1, 0, 1, 0), channels_last=True))


def depthwise(x: Value) -> Value:
    return image_kernel(x, weight(24, 1, 3, 3), strides=(2, 1), groups=24, channels_last=True)


def channels_first(x: Value) -> Value:
    return image_kernel(x, weight(20, 24, 3, 3))


def attention(x: Value) -> Value:
    return apply("attention", x, x, x, scale=0.3)


def softmax(x: Value) -> Value:
    return apply("softmax", apply("tanh", x), axis=1)


def exponential(x: Value) -> Value:
    return apply("exp", apply("mul", x, constant(-0.5, "float32")))


CASES: dict[str, tuple[Callable[[Value], Value], tuple[Any, ...], tuple[dict[str, int], ...]]] = {
    "product": (product, ("m", 24), ({"m": 1}, {"m": 29})),
    "large product": (large_product, ("m", 200), ({"m": 1}, {"m": 200}, {"m": 301})),
    "small product": (small_product, (500, 124), ({},)),
    "wide windows": (wide_windows, (1, "h", "w", 8), ({"h": 5, "w": 9}, {"h": 33, "w": 61})),
    "transposed convolution": (transposed_convolution, (1, "h", "w", 64), ({"h": 5, "w": 9}, {"h": 33, "w": 60})),
    "transposed, stride 1": (transposed_without_strides, (1, 40, "w", 16), ({"w": 9}, {"w": 60})),
    "large convolution": (large_convolution, (1, "h", "w", 64), ({"h": 5, "w": 9}, {"h": 33, "w": 60})),
    "integer product": (integer_product, ("m", 64), ({"m": 1}, {"m": 29})),
    "product of pairs": (product_of_pairs, ("m", 64), ({"m": 1}, {"m": 29})),
    "integer convolution": (integer_convolution, (1, "h", "w", 24), ({"h": 5, "w": 9}, {"h": 13, "w": 33})),
    "convolution": (convolution, (1, "h", "w", 24), ({"h": 5, "w": 9}, {"h": 13, "w": 33})),
    "convolution of few": (convolution_of_few, (1, "h", "w", 24), ({"h": 5, "w": 9}, {"h": 13, "w": 33})),
    "convolution of one": (convolution_of_one, (1, "h", "w", 24), ({"h": 5, "w": 9}, {"h": 13, "w": 33})),
    "depthwise": (depthwise, (1, "h", "w", 24), ({"h": 5, "w": 9}, {"h": 13, "w": 33})),
    "channels first": (channels_first, (1, 24, "h", "w"), ({"h": 5, "w": 9}, {"h": 13, "w": 33})),
    "attention": (attention, (1, 2, "s", 16), ({"s": 1}, {"s": 37})),
    "softmax": (softmax, ("n", 45), ({"n": 3}, {"n": 20})),
    "exponential": (exponential, ("n", 5), ({"n": 3}, {"n": 20})),
}


def graph_of(case: str) -> tuple[Graph, tuple[dict[str, int], ...]]:
    function, shape, sizes = CASES[case]
    x = input_value("x", tensor("float32", *shape))
    return named([function(x)], [x]), sizes


def runs_here(target: Target) -> bool:
    return target.features <= parse_target("llvm -mcpu=native").features


@pytest.mark.parametrize("options", ["haswell -mattr=-avx2", "skylake-avx512 -mattr=-avx512bw"])
def test_integer_products_without_the_instructions(options: str) -> None:
    """Vectors of floats that are wider than those of integers."""
    target = parse_target(f"llvm -mcpu={options} -num-cores=2")
    graph, sizes = graph_of("integer product")
    fused = pipeline.run(graph, (fuse,))
    built = build_kernels(tuple(lower.kernel_specs(fused).values()), target)
    assert "packed gemm" not in {kernel.rule for kernel in built.values()}
    if runs_here(target):
        assert_same(graph, compile_graph(fused, target, threads=2, strict=True), drawn(graph, sizes[1]))


@pytest.mark.parametrize("cpu", TARGETS)
@pytest.mark.parametrize("case", CASES)
def test_result_is_the_same(case: str, cpu: str) -> None:
    target = parse_target(f"llvm -mcpu={cpu} -num-cores=2")
    graph, sizes = graph_of(case)
    fused = pipeline.run(graph, (fuse,))
    if not runs_here(target):
        built = build_kernels(tuple(lower.kernel_specs(fused).values()), target)
        assert all(kernel.object.startswith(b"\x7fELF") for kernel in built.values())
        return  # this processor cannot run what it has built
    model = compile_graph(fused, target, threads=2, strict=True)
    for each in sizes:
        assert_same(graph, model, drawn(graph, each))


@pytest.mark.parametrize("case", ["large product", "small product", "large convolution", "wide windows"])
def test_the_ledger_says_what_runs_on_amx(case: str) -> None:
    fused = pipeline.run(graph_of(case)[0], (fuse,))
    specs = tuple(lower.kernel_specs(fused).values())
    with_amx, without = (
        {kernel.rule for kernel in build_kernels(specs, parse_target(f"llvm -mcpu={cpu} -num-cores=2")).values()}
        for cpu in ("sapphirerapids", "sapphirerapids -mattr=-amx-tile")
    )
    assert with_amx == {f"{rule}, AMX" for rule in without}


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_transposed_convolution_of_no_channels(*, channels_last: bool) -> None:
    x = input_value("x", tensor("float32", *((1, 6, 7, 0) if channels_last else (1, 0, 6, 7))))
    attrs: dict[str, Any] = {"strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 1), "output_padding": (0, 0)}
    y = apply("conv_transpose", x, weight(0, 8, 5, 5), channels_last=channels_last, **attrs)
    fused = pipeline.run(named([y], [x]), (fuse,))
    model = compile_graph(fused, parse_target("llvm -mcpu=native"), threads=2, strict=True)
    (result,) = model.run({"x": np.zeros(x.shape, np.float32)}).values()
    assert result.shape == y.shape
    assert not result.any()


SUMMING = ("alderlake", "cascadelake", "x86-64-v4 -mattr=+avx512vnni,-avx512bw")


@pytest.mark.parametrize("options", SUMMING)
@pytest.mark.parametrize("channels", [8, 2048], ids=["few channels", "deep"])
def test_convolutions_of_fours(channels: int, options: str) -> None:
    """One instruction sums them, whatever the weights, on processors with vectors of either size."""
    target = parse_target(f"llvm -mcpu={options} -num-cores=2")
    assert target.sums_neighbours
    random = np.random.default_rng(0)
    weights = constant(random.integers(-128, 128, (40, channels, 3, 3)), "int8")
    octets = apply("cast", apply("abs", x := input_value("x", tensor("int32", "n", 7, 6, channels))), to="uint8")
    graph = named([image_kernel(octets, weights, channels_last=True, dtype="int32")], [x])
    fused = pipeline.run(graph, (fuse,))
    built = build_kernels(tuple(lower.kernel_specs(fused).values()), target)
    rule = "conv, deep" if channels > 8 else "conv, channels last"
    assert rule in {kernel.rule for kernel in built.values()}
    if runs_here(target):
        model = compile_graph(fused, target, threads=2, strict=True)
        feed = {"x": random.integers(0, 256, (2, 7, 6, channels)).astype(np.int32)}
        assert_same(graph, model, feed)


@pytest.mark.parametrize(
    "options", ["x86-64 -mattr=+avx,+avx2,+fma", "x86-64-v3 -mattr=+avx512f,-f16c", "haswell -mattr=-sse4.2", "znver4"]
)
@pytest.mark.parametrize("columns", [8, 16])
def test_products_of_few_columns_build_for_features_one_by_one(options: str, columns: int) -> None:
    """LLVM and we agree on which registers there are, which multiply-adds in assembly language name."""
    x, w = input_value("x", tensor("float32", "n", 64)), constant(np.ones((64, columns), np.float32))
    fused = pipeline.run(named([apply("matmul", x, w)], [x]), (fuse,))
    specs = tuple(lower.kernel_specs(fused).values())
    assert build_kernels(specs, parse_target(f"llvm -mcpu={options} -num-cores=2"))
