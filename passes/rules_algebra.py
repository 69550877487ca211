"""Rules of arithmetic: neutral elements, inverses, and one form for what can be written in several.

They keep NaN and infinity: x * 0 is not 0 and x - x is not 0 for floats. The sign of zero is not kept.
"""

from __future__ import annotations

import math

import numpy as np

from tilewright.ir import dims
from tilewright.ir.graph import Value, constant
from tilewright.ir.op import Array
from tilewright.ir.types import FLOATS
from tilewright.passes.patterns import Match, is_number, uniform
from tilewright.passes.rewrite import Decline, Replacement, rule


def is_float(array: Array) -> bool:
    return np.issubdtype(array.dtype, np.floating)


@rule(
    lambda p, x: p.either(
        p.add(x, 0), p.sub(x, 0), p.mul(x, 1), p.div(x, 1), p.pow(x, 1), p.logical_and(x, True), p.logical_or(x, False)
    )
)
def neutral_element(match: Match, x: Value) -> Replacement:
    return match.fit(x)


@rule(lambda p, x: p.either(p.maximum(x, -math.inf), p.minimum(x, math.inf)))
def no_bound(match: Match, x: Value) -> Replacement:
    return match.fit(x)


@rule(lambda p, x: p.logical_and(x, False))
def and_false(match: Match, x: Value) -> Replacement:
    return match.fit(constant(False))


@rule(lambda p, x: p.logical_or(x, True))
def or_true(match: Match, x: Value) -> Replacement:
    return match.fit(constant(True))


@rule(
    lambda p, x: p.either(p.maximum(x, x), p.minimum(x, x), p.logical_and(x, x), p.logical_or(x, x)),
)
def idempotent(match: Match, x: Value) -> Replacement:
    return x


@rule(lambda p, x: p.either(p.neg(p.neg(x)), p.logical_not(p.logical_not(x))), shared=True)
def double_negation(match: Match, x: Value) -> Replacement:
    return x


@rule(lambda p, x: p.either(p.abs(p.neg(x)), p.abs(p.abs(x))), shared=True)
def sign_lost(match: Match, x: Value) -> Replacement:
    return match.apply("abs", x)


@rule(lambda p, x: p.either(p.mul(x, -1), p.div(x, -1), p.sub(0, x)))
def negation(match: Match, x: Value) -> Replacement:
    return match.fit(match.apply("neg", x))


@rule(lambda p, x, y: p.add(x, p.neg(y)))
def add_of_negation(match: Match, x: Value, y: Value) -> Replacement:
    return match.apply("sub", x, y)


@rule(lambda p, x, y: p.sub(x, p.neg(y)))
def sub_of_negation(match: Match, x: Value, y: Value) -> Replacement:
    return match.apply("add", x, y)


@rule(lambda p, x, c, d: p.maximum(p.maximum(x, p.constant(c)), p.constant(d)))
def maximum_chain(match: Match, x: Value, c: Value, d: Value) -> Replacement:
    return match.apply("maximum", x, constant(np.maximum(c.data, d.data)))  # type: ignore[arg-type]


@rule(lambda p, x, c, d: p.minimum(p.minimum(x, p.constant(c)), p.constant(d)))
def minimum_chain(match: Match, x: Value, c: Value, d: Value) -> Replacement:
    return match.apply("minimum", x, constant(np.minimum(c.data, d.data)))  # type: ignore[arg-type]


@rule(lambda p, x: p.pow(x, 2))
def square(match: Match, x: Value) -> Replacement:
    return match.fit(match.apply("mul", x, x))


@rule(lambda p, x: p.pow(x, 3))
def cube(match: Match, x: Value) -> Replacement:
    return match.fit(match.apply("mul", match.apply("mul", x, x), x))


@rule(lambda p, x: p.pow(x, 0.5))
def square_root(match: Match, x: Value) -> Replacement:
    if not _nonnegative(x):
        return Decline("the base may be minus infinity, whose square root is NaN but whose power 0.5 is infinity")
    return match.fit(match.apply("sqrt", x))


@rule(lambda p, x: p.pow(x, -0.5))
def reciprocal_square_root(match: Match, x: Value) -> Replacement:
    if not _nonnegative(x):
        return Decline("the base may be minus infinity")
    return match.fit(match.apply("rsqrt", x))


@rule(lambda p, x: p.either(p.pow(x, -1), p.div(1, x)))
def reciprocal(match: Match, x: Value) -> Replacement:
    if x.dtype not in FLOATS:
        return Decline("integers have no reciprocal")
    return match.fit(match.apply("reciprocal", x))


@rule(lambda p, x: p.reciprocal(p.sqrt(x)))
def reciprocal_of_root(match: Match, x: Value) -> Replacement:
    return match.apply("rsqrt", x)


@rule(lambda p, x, y: p.either(p.div(x, p.sqrt(y)), p.div(x, p.reciprocal(p.rsqrt(y)))))
def division_by_root(match: Match, x: Value, y: Value) -> Replacement:
    return match.apply("mul", x, match.apply("rsqrt", y))


@rule(lambda p, x, c: p.div(x, p.constant(c, is_float)))
def division_by_constant(match: Match, x: Value, c: Value) -> Replacement:
    """Multiply by the reciprocal where that is exact: for powers of two."""
    assert c.data is not None
    with np.errstate(all="ignore"):
        inverse = np.reciprocal(c.data)
    if not np.isfinite(inverse).all() or (np.abs(np.frexp(inverse)[0]) != 0.5).any():
        return Decline("the reciprocal of the divisor is not exact")
    return match.apply("mul", x, constant(inverse))


@rule(lambda p, x, c, d: p.div(p.minimum(p.maximum(x, 0), p.constant(c)).named("clipped"), p.constant(d, is_float)))
def hard_sigmoid_divided(match: Match, x: Value, c: Value, d: Value, clipped: Value) -> Replacement:
    share = _share_of_bound(match, clipped, c, d)
    return share if isinstance(share, Decline) else match.fit(share)


@rule(
    lambda p, x, y, c, d: p.div(
        p.mul(x, p.minimum(p.maximum(y, 0), p.constant(c)).named("clipped")), p.constant(d, is_float)
    )
)
def hard_swish_divided(match: Match, x: Value, y: Value, c: Value, d: Value, clipped: Value) -> Replacement:
    share = _share_of_bound(match, clipped, c, d)
    return share if isinstance(share, Decline) else match.fit(match.apply("mul", x, share))


def _share_of_bound(match: Match, clipped: Value, bound: Value, divisor: Value) -> Value | Decline:
    """What is clipped to 0 ... bound, over the bound: a product, which takes a tenth of the time of a division.

    The ends stay 0 and 1; between them the last bits may differ, and what is multiplied by it overflows later.
    """
    number = uniform(divisor)
    if number is None or uniform(bound) != number:
        return Decline("the divisor is not the upper bound")
    with np.errstate(all="ignore"):
        inverse = np.reciprocal(np.asarray(number, divisor.dtype))
    if not np.isfinite(inverse) or inverse * np.asarray(number, divisor.dtype) != 1:
        return Decline("the bound times its reciprocal is not 1")
    return match.apply("mul", clipped, constant(inverse))


@rule(lambda p, x, c: p.mul(p.reduce_sum(x).named("total"), p.constant(c, is_float)))
def sum_over_count(match: Match, x: Value, c: Value, total: Value) -> Replacement:
    assert total.node is not None
    count = dims.product(x.shape[axis] for axis in total.node.attrs["axes"])
    if not isinstance(count, int) or count == 0 or not is_number(c, 1.0 / count):
        return Decline("the factor is not one over the number of summands")
    return match.fit(match.apply("reduce_mean", x, **total.node.attrs))


@rule(lambda p, x, w: p.reduce_mean(p.matmul(x, p.constant(w))))
def mean_of_product(match: Match, x: Value, w: Value) -> Replacement:
    return _product_of_mean(match, x, w)


@rule(lambda p, x, w: p.reduce_mean(p.matmul(x, p.constant(w))), shared=True)
def mean_beside_product(match: Match, x: Value, w: Value) -> Replacement:
    """Worth it even where the product is needed, if its rows are longer than those that it is made of."""
    if not isinstance(x.shape[-1], int) or x.shape[-1] > w.shape[-1]:
        return Decline("something else reads the product, whose rows are short")
    return _product_of_mean(match, x, w)


@rule(lambda p, x, w, b: p.reduce_mean(p.add(p.matmul(x, p.constant(w)), p.constant(b))))
def mean_of_biased_product(match: Match, x: Value, w: Value, b: Value) -> Replacement:
    if any(size != 1 for size in b.shape[:-1]):
        return Decline("what is added differs from row to row")
    mean = _product_of_mean(match, x, w)
    return mean if isinstance(mean, Decline) else match.apply("add", mean, b)


def _product_of_mean(match: Match, x: Value, w: Value) -> Replacement:
    """Of rows, which have a mean before they are multiplied, too."""
    assert match.root.node is not None
    attrs = match.root.node.attrs
    if w.rank != 2 or x.rank < 2 or x.dtype not in FLOATS or x.rank - 1 in attrs["axes"]:
        return Decline("the mean is not one of rows of floats that a matrix multiplies")
    if match.root.rank < 2:
        return Decline("the mean is a vector, which no kernel multiplies as fast")
    mean = match.apply("reduce_mean", x, **attrs)
    return match.apply("matmul", mean, w)


@rule(lambda p, x: p.reciprocal(p.add(p.exp(p.neg(x)), 1)))
def written_out_sigmoid(match: Match, x: Value) -> Replacement:
    return match.fit(match.apply("sigmoid", x))


def _nonnegative(value: Value, depth: int = 4) -> bool:
    """True where it can be seen that `value` is at least zero, or NaN."""
    if (found := uniform(value)) is not None:
        return bool(found >= 0)
    node = value.node
    if node is None or depth == 0:
        return False
    if node.op.name in ("abs", "exp", "sqrt", "sigmoid", "softmax"):
        return True
    if node.op.name == "mul" and node.inputs[0] is node.inputs[1]:
        return True
    keeps_sign = node.op.name in ("add", "mul", "reduce_mean", "reduce_sum", "reduce_max", "reshape", "expand")
    return keeps_sign and all(_nonnegative(v, depth - 1) for v in node.inputs)


RULES = (
    neutral_element,
    no_bound,
    and_false,
    or_true,
    idempotent,
    double_negation,
    sign_lost,
    negation,
    add_of_negation,
    sub_of_negation,
    maximum_chain,
    minimum_chain,
    square,
    cube,
    square_root,
    reciprocal_square_root,
    reciprocal,
    reciprocal_of_root,
    division_by_root,
    division_by_constant,
    hard_sigmoid_divided,
    hard_swish_divided,
    sum_over_count,
    mean_of_product,
    mean_beside_product,
    mean_of_biased_product,
    written_out_sigmoid,
)
