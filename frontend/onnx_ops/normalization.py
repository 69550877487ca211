"""Normalisations. Those without a row of their own are written out; passes recognise and fold them."""

from __future__ import annotations

from collections.abc import Sequence

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir import dims
from tilewright.ir.graph import Value


def per_channel(c: Call, values: Value, rank: int) -> Value:
    """[C] as [C, 1, ...], to broadcast over the spatial axes of [N, C, ...]."""
    return c.reshape(values, (*values.shape[:1], *[1] * (rank - 2)))


def scaled_and_shifted(c: Call, x: Value, scale: Value, shift: Value) -> Value:
    return c.apply("add", c.apply("mul", x, scale), shift)


def batch_normalization(c: Call) -> Value | tuple[Value, ...]:
    """For inference a multiplication and an addition, whose factors fold when the statistics are constant."""
    if c.flag("training_mode") or (c.version < 14 and any(c.wanted[1:])):
        return batch_training(c)
    x, gamma, beta, mean, variance = (c[i] for i in range(5))
    return batch_normalized(c, x, gamma, beta, mean, variance)


def batch_normalized(c: Call, x: Value, gamma: Value, beta: Value, mean: Value, variance: Value) -> Value:
    deviation = c.apply("sqrt", c.apply("add", variance, c.real("epsilon", 1e-5)))
    factor = c.apply("div", c.cast(gamma, variance.dtype), deviation)
    shift = c.apply("sub", c.cast(beta, variance.dtype), c.apply("mul", c.cast(mean, variance.dtype), factor))
    scale, shift = (c.cast(per_channel(c, v, x.rank), x.dtype) for v in (factor, shift))
    return scaled_and_shifted(c, x, scale, shift)


def batch_training(c: Call) -> tuple[Value, ...]:
    """By the batch's own statistics. The running ones move towards them, and before opset 14 the batch's come too."""
    x, gamma, beta, mean, variance = (c[i] for i in range(5))
    wide = c.cast(x, "float32") if x.dtype in ("float16", "bfloat16") else x
    axes = [axis for axis in range(x.rank) if axis != 1]
    centre = c.reduce("mean", wide, axes)
    centred = c.apply("sub", wide, centre)
    spread = c.reduce("mean", c.apply("mul", centred, centred), axes, keepdims=False)
    centre = c.reshape(centre, (x.shape[1],))
    y = batch_normalized(c, x, gamma, beta, centre, spread)
    running = (moved_towards(c, old, new) for old, new in ((mean, centre), (variance, spread)))
    batch = (c.cast(centre, mean.dtype), c.cast(spread, variance.dtype)) if c.version < 14 else ()
    return (y, *running, *batch)


def moved_towards(c: Call, old: Value, new: Value) -> Value:
    """old * momentum + new * (1 - momentum), in the element type of `old`."""
    momentum = c.real("momentum", 0.9)
    kept = c.apply("mul", c.cast(old, new.dtype), momentum)
    return c.cast(c.apply("add", kept, c.apply("mul", new, 1 - momentum)), old.dtype)


def standardized(c: Call, x: Value, axes: Sequence[int], epsilon: float) -> Value:
    """(x - mean) / sqrt(variance + epsilon) over `axes`."""
    centred = c.apply("sub", x, c.reduce("mean", x, axes))
    variance = c.reduce("mean", c.apply("mul", centred, centred), axes)
    return c.apply("div", centred, c.apply("sqrt", c.apply("add", variance, epsilon)))


def instance_normalization(c: Call) -> Value:
    x = c[0]
    normal = standardized(c, x, range(2, x.rank), c.real("epsilon", 1e-5))
    return scaled_and_shifted(c, normal, per_channel(c, c[1], x.rank), per_channel(c, c[2], x.rank))


def group_normalization(c: Call) -> Value:
    """Scale and bias are per group in opset 18, per channel from 21 on."""
    x, groups = c[0], c.integer("num_groups", 0)
    if groups < 1:
        raise c.malformed(f"has {groups} groups")
    split = (x.shape[0], groups, dims.floordiv(x.shape[1], groups), *x.shape[2:])
    normal = standardized(c, c.reshape(x, split), range(2, len(split)), c.real("epsilon", 1e-5))
    if c.version < 21:
        scale, bias = (per_channel(c, c[i], len(split)) for i in (1, 2))
        return c.reshape(scaled_and_shifted(c, normal, scale, bias), x.shape)
    scale, bias = (per_channel(c, c[i], x.rank) for i in (1, 2))
    return scaled_and_shifted(c, c.reshape(normal, x.shape), scale, bias)


def layer_normalization(c: Call) -> tuple[Value, ...]:
    """The mean and the inverse deviation, seldom read, are computed beside the result."""
    x = c[0]
    axis, epsilon = c.axis(c.integer("axis", -1), x.rank), c.real("epsilon", 1e-5)
    bias = c.optional(2)
    parameters = [c.expand(v, x.shape[axis:]) for v in (c[1], bias) if v is not None]
    result = c.apply("layer_norm", x, *parameters, axis=axis, epsilon=epsilon)
    return (result, *layer_statistics(c, x, axis, epsilon)) if any(c.wanted[1:]) else (result,)


def layer_statistics(c: Call, x: Value, axis: int, epsilon: float) -> tuple[Value, Value]:
    axes, wide = range(axis, x.rank), c.cast(x, "float32")
    mean = c.reduce("mean", wide, axes)
    centred = c.apply("sub", wide, mean)
    variance = c.reduce("mean", c.apply("mul", centred, centred), axes)
    return mean, c.apply("rsqrt", c.apply("add", variance, epsilon))


def rms_normalization(c: Call) -> Value:
    x = c[0]
    axis = c.axis(c.integer("axis", -1), x.rank)
    return c.apply("rms_norm", x, c.expand(c[1], x.shape[axis:]), axis=axis, epsilon=c.real("epsilon", 1e-5))


def lp_normalization(c: Call) -> Value:
    """Rows whose norm is zero stay zero."""
    x, p = c[0], c.integer("p", 2)
    axis = (c.axis(c.integer("axis", -1), x.rank),)
    if p not in (1, 2):
        raise c.malformed(f"has p = {p}, not 1 or 2")
    if p == 1:
        norm = c.reduce("sum", c.apply("abs", x), axis)
    else:
        norm = c.apply("sqrt", c.reduce("sum", c.apply("mul", x, x), axis))
    safe = c.apply("where", c.apply("equal", norm, 0), c.constant(1, x.dtype), norm)
    return c.apply("div", x, safe)


def mean_variance_normalization(c: Call) -> Value:
    x = c[0]
    axes = c.axes(c.integers("axes") or (0, 2, 3), x.rank)
    return standardized(c, x, sorted(axes), 1e-9)


def local_response_normalization(c: Call) -> Value:
    """Squares summed over `size` neighbouring channels: the sum of shifted slices of the padded squares."""
    x, size = c[0], c.integer("size", 0)
    if not 1 <= size <= 64:
        raise c.unsupported(f"sums {size} channels (1 to 64 are supported)")
    before, after = [0] * x.rank, [0] * x.rank
    before[1], after[1] = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = c.apply("pad", c.apply("mul", x, x), before=tuple(before), after=tuple(after))
    total = c.slice(squares, 1, 0, x.shape[1])
    for start in range(1, size):
        total = c.apply("add", total, c.slice(squares, 1, start, x.shape[1]))
    base = c.apply("add", c.apply("mul", total, c.real("alpha", 1e-4) / size), c.real("bias", 1.0))
    return c.apply("div", x, c.apply("pow", base, c.real("beta", 0.75)))


TABLE = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LRN": local_response_normalization,
    "LayerNormalization": layer_normalization,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "RMSNormalization": rms_normalization,
}
