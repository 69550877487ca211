"""Normalisations of onnxruntime: those of ONNX with sums before them, as fused in transformer and diffusion models."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.indexing import index_along
from tilewright.frontend.onnx_ops.normalization import layer_statistics, standardized
from tilewright.ir import dims
from tilewright.ir.graph import Value
from tilewright.ir.ops.precision import accumulator


def simplified_layer_normalization(c: Call) -> tuple[Value, ...]:
    """x over its root mean square, in the scale's element type, and the inverse of the root."""
    x, scale = c[0], c[1]
    axis, epsilon = c.axis(c.integer("axis", -1), x.rank), c.real("epsilon", 1e-5)
    wide = x if x.dtype == scale.dtype else c.cast(x, accumulator(x.dtype))
    parameters = c.cast(c.expand(scale, x.shape[axis:]), wide.dtype)
    result = c.cast(c.apply("rms_norm", wide, parameters, axis=axis, epsilon=epsilon), scale.dtype)
    return (result, inverse_root(c, x, axis, epsilon)) if any(c.wanted[1:]) else (result,)


def inverse_root(c: Call, x: Value, axis: int, epsilon: float) -> Value:
    wide = c.cast(x, "float32")
    mean = c.reduce("mean", c.apply("mul", wide, wide), range(axis, x.rank))
    return c.apply("rsqrt", c.apply("add", mean, epsilon))


def total_of(c: Call, *places: int) -> Value:
    """The sum of those inputs that are there."""
    return reduce(lambda a, b: c.apply("add", a, b), (v for p in places if (v := c.optional(p)) is not None))


def skip_layer_normalization(c: Call) -> tuple[Value, ...]:
    """Input and skip, which may be one for all of the batch, and a bias; the sum is a result too."""
    total, axis, epsilon = total_of(c, 0, 1, 4), c[0].rank - 1, c.real("epsilon", 1e-12)
    beta = c.optional(3)
    parameters = (c[2],) if beta is None else (c[2], beta)
    result = c.apply("layer_norm", total, *parameters, axis=axis, epsilon=epsilon)
    return with_statistics(c, result, total, lambda: layer_statistics(c, total, axis, epsilon))


def skip_simplified_layer_normalization(c: Call) -> tuple[Value, ...]:
    total, axis, epsilon = total_of(c, 0, 1, 3), c[0].rank - 1, c.real("epsilon", 1e-5)
    result = c.apply("rms_norm", total, c[2], axis=axis, epsilon=epsilon)
    root = layer_statistics(c, total, axis, epsilon)[0], inverse_root(c, total, axis, epsilon)
    return with_statistics(c, result, total, lambda: root)


def with_statistics(
    c: Call, result: Value, total: Value, statistics: Callable[[], tuple[Value, Value]]
) -> tuple[Value, ...]:
    """The result, two figures of each row and the sum, as far as anything reads them."""
    return (result, *statistics(), total) if any(c.wanted[1:]) else (result,)


def embed_layer_normalization(c: Call) -> tuple[Value, ...]:
    """Word, position and segment embeddings added up and normalised; how many words count; the sum."""
    words, segments, places = c[0], c.optional(1), c.optional(8)
    if places is None:
        places = index_along(c, words.shape[1], 1, 2)
    parts = [c.apply("gather", c[2], words, axis=0), c.apply("gather", c[3], places, axis=0)]
    if segments is not None:
        parts.append(c.apply("gather", c[4], segments, axis=0))
    total = reduce(lambda a, b: c.apply("add", a, b), parts)
    result = c.apply("layer_norm", total, c[5], c[6], axis=2, epsilon=c.real("epsilon", 1e-12))
    return result, counted(c, words), total


def counted(c: Call, words: Value) -> Value:
    """How many ones each row of the mask has; zero without a mask."""
    mask = c.optional(7)
    if mask is None:
        return c.expand(c.constant(0, "int32"), words.shape[:1])
    return c.reduce("sum", c.cast(c.apply("equal", mask, 1), "int32"), (1,), keepdims=False)


def group_norm(c: Call) -> Value:
    """Over groups of channels, which are the last axis unless the model says otherwise, and perhaps SiLU after it."""
    return grouped(c, c[0])


def skip_group_norm(c: Call) -> tuple[Value, Value]:
    """The skip may have no spatial axes, or ones of size 1."""
    x, skip, bias = c[0], c[3], c.optional(4)
    if skip.rank == 2:
        skip = c.reshape(skip, (skip.shape[0], *[1] * (x.rank - 2), skip.shape[1]))
    total = c.apply("add", x, skip)
    total = total if bias is None else c.apply("add", total, bias)
    return grouped(c, total), total


def grouped(c: Call, x: Value) -> Value:
    groups, last = c.integer("groups", 0), c.flag("channels_last", True)
    channel = x.rank - 1 if last else 1
    if groups < 1 or x.rank < 3:
        raise c.malformed(f"splits {x.type} into {groups} groups")
    wide = c.cast(x, accumulator(x.dtype))
    parts = (groups, dims.floordiv(x.shape[channel], groups))
    split = c.reshape(wide, (*x.shape[:channel], *parts, *x.shape[channel + 1 :]))
    axes = [axis for axis in range(1, split.rank) if axis != channel]
    normal = c.reshape(standardized(c, split, axes, c.real("epsilon", 1e-5)), x.shape)
    around = (1,) * (x.rank - 1 - channel)
    scale, shift = (c.reshape(c.cast(c[i], wide.dtype), (x.shape[channel], *around)) for i in (1, 2))
    result = c.apply("add", c.apply("mul", normal, scale), shift)
    if c.flag("activation"):
        result = c.apply("mul", result, c.apply("sigmoid", result))
    return c.cast(result, x.dtype)


TABLE = {
    "SimplifiedLayerNormalization": simplified_layer_normalization,
    "com.microsoft.EmbedLayerNormalization": embed_layer_normalization,
    "com.microsoft.GroupNorm": group_norm,
    "com.microsoft.SimplifiedLayerNormalization": simplified_layer_normalization,
    "com.microsoft.SkipGroupNorm": skip_group_norm,
    "com.microsoft.SkipLayerNormalization": skip_layer_normalization,
    "com.microsoft.SkipSimplifiedLayerNormalization": skip_simplified_layer_normalization,
}
