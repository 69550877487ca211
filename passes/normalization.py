"""What layer norm and RMS norm have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir import dims
from tilewright.ir.graph import Value, constant
from tilewright.ir.types import numpy_dtype
from tilewright.passes.patterns import Match, Pattern, Patterns, uniform
from tilewright.passes.rewrite import Decline, Replacement


def mean(p: Patterns, x: Pattern) -> Pattern:
    return p.reduce_mean(x, keepdims=True)


def times_root(p: Patterns, x: Pattern, variance: Pattern, epsilon: Pattern, scale: Pattern) -> Pattern:
    """x / sqrt(variance + epsilon) as `simplify` leaves it, perhaps with the root times `scale` first."""
    root = p.rsqrt(p.add(variance, p.constant(epsilon)))
    return p.either(p.mul(x, root), p.mul(x, p.mul(root, scale)))


def normalized(
    match: Match, op: str, x: Value, epsilon: Value, means: Sequence[Value], scale: Value | None
) -> Replacement:
    """`op` with scales of one over the axes of all the means, which must be the last ones and of known size."""
    axes = [v.node.attrs["axes"] for v in means if v.node is not None]
    first, number = x.rank - len(axes[0]), uniform(epsilon)
    if first == x.rank or any(a != tuple(range(first, x.rank)) for a in axes):
        return Decline("the mean is not over the last axes")
    if not all(dims.is_static(d) for d in x.shape[first:]) or number is None:
        return Decline("the normalized axes have no known size, or epsilon is not one number")
    ones = constant(np.ones(x.shape[first:], numpy_dtype(x.dtype)))
    result = match.apply(op, x, ones, axis=first, epsilon=float(number))
    return result if scale is None else match.apply("mul", result, scale)


def parameter(value: Value, norm: Value) -> Value | None:
    """A factor or summand of the result of `norm` in the shape of the normalized axes, or None if it has another."""
    assert norm.node is not None
    shape = norm.shape[norm.node.attrs["axis"] :]
    if dims.same_shape(value.shape, shape):
        return value
    if value.data is None or value.rank > norm.rank:
        return None
    leading = value.shape[: max(0, value.rank - len(shape))]
    if any(d != 1 for d in leading):
        return None
    data = value.data.reshape(value.shape[len(leading) :])
    return constant(np.ascontiguousarray(np.broadcast_to(data, shape)), name=value.name)
