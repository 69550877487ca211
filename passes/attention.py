"""Recognise scaled dot-product attention written out in small operators.

softmax(q @ k^T * scale + mask) @ v, where the scale may be on q, on k, on both or on the scores, before or after the
mask, and the mask may be a choice between the scores and minus infinity. Exporters of PyTorch guard rows without any
key by where(isnan(p), 0, p); that becomes `nan_to_zero`.
"""

from __future__ import annotations

import numpy as np

from tilewright.ir import dims
from tilewright.ir.graph import Graph, Value, constant
from tilewright.ir.op import Array
from tilewright.passes.patterns import Match, Pattern, Patterns, uniform
from tilewright.passes.rewrite import Decline, Replacement, rewrite, rule

# Scores replaced by numbers below this are as good as minus infinity after softmax, whatever is added to them.
EXCLUDED = -1e9


def _is_excluding(data: Array) -> bool:
    return bool((data <= EXCLUDED).all())


def _scores(p: Patterns, q: Pattern, keys: Pattern, scale: Pattern) -> Pattern:
    product = p.matmul(q, keys)
    return p.either(product, p.mul(product, p.constant(scale)))


def _weighted(p: Patterns, scores: Pattern, v: Pattern) -> Pattern:
    """softmax(scores) @ v, perhaps with NaN replaced by zero."""
    weights = p.softmax(scores).named("weights")
    return p.matmul(p.either(weights, p.where(p.isnan(weights), 0, weights).named("guarded")), v)


@rule(lambda p, q, keys, v, scale: _weighted(p, _scores(p, q, keys, scale), v))
def plain(match: Match, **found: Value) -> Replacement:
    return _attention(match, **found)


@rule(lambda p, q, keys, v, scale, mask: _weighted(p, p.add(_scores(p, q, keys, scale), mask), v))
def masked(match: Match, **found: Value) -> Replacement:
    return _attention(match, **found)


@rule(lambda p, q, keys, v, scale, mask: _weighted(p, p.mul(p.add(p.matmul(q, keys), mask), p.constant(scale)), v))
def masked_before_scaling(match: Match, mask: Value, scale: Value, **found: Value) -> Replacement:
    return _attention(match, mask=match.apply("mul", mask, scale), scale=scale, **found)


@rule(
    lambda p, q, keys, v, scale, allowed, low: _weighted(
        p, p.where(allowed, _scores(p, q, keys, scale), p.constant(low, _is_excluding)), v
    )
)
def allowed_only(match: Match, allowed: Value, low: Value, **found: Value) -> Replacement:
    zero = constant(0, low.dtype)
    return _attention(match, mask=match.apply("where", allowed, zero, low), **found)


@rule(
    lambda p, q, keys, v, scale, excluded, low: _weighted(
        p, p.where(excluded, p.constant(low, _is_excluding), _scores(p, q, keys, scale)), v
    )
)
def excluded_left_out(match: Match, excluded: Value, low: Value, **found: Value) -> Replacement:
    zero = constant(0, low.dtype)
    return _attention(match, mask=match.apply("where", excluded, low, zero), **found)


def _attention(
    match: Match,
    *,
    q: Value,
    keys: Value,
    v: Value,
    weights: Value,
    scale: Value | None = None,
    mask: Value | None = None,
    guarded: Value | None = None,
) -> Replacement:
    """One `attention` of what the patterns found; `keys` is k with its last two axes exchanged."""
    factor = 1.0 if scale is None else uniform(scale)
    q, q_factor = _unscaled(q)
    keys, k_factor = _unscaled(keys)
    if factor is None or not keys.made_by("transpose") or not 2 <= keys.rank <= 4:
        return Decline("the scale is not one number, or the keys are not transposed here")
    if weights.node is None or weights.node.attrs["axis"] != weights.rank - 1:
        return Decline("softmax is not along the keys")
    if not all(dims.same_shape(q.shape[:-2], other.shape[:-2]) for other in (keys, v)):
        return Decline("queries, keys and values differ in batch or heads")
    operands = [_four_axes(match, x) for x in (q, _transposed(match, keys), v)]
    if mask is not None:
        operands.append(_mask(match, mask, weights.rank))
    total = float(factor) * q_factor * k_factor
    result = match.apply("attention", *operands, scale=total, nan_to_zero=guarded is not None)
    return result if match.root.rank == 4 else match.apply("reshape", result, shape=match.root.shape)


def _transposed(match: Match, keys: Value) -> Value:
    """What `keys`, made by a transpose, are the transpose of: their last two axes exchanged once more."""
    assert keys.node is not None
    perm = keys.node.attrs["perm"]
    perm = (*perm[:-2], perm[-1], perm[-2])
    x = keys.node.inputs[0]
    return x if perm == tuple(range(x.rank)) else match.apply("transpose", x, perm=perm)


def _unscaled(value: Value) -> tuple[Value, float]:
    """`value` without a factor that is one number, and that factor."""
    if value.node is None or value.node.op.name != "mul":
        return value, 1.0
    for x, factor in (value.node.inputs, value.node.inputs[::-1]):
        number = uniform(factor)
        if number is not None and np.isfinite(number) and dims.same_shape(x.shape, value.shape):
            return x, float(number)
    return value, 1.0


def _four_axes(match: Match, value: Value) -> Value:
    """[B, S, D] as [B, 1, S, D], and [S, D] as [1, 1, S, D]."""
    if value.rank == 4:
        return value
    batch = (1,) * (3 - value.rank) + value.shape[:-2]
    return match.apply("reshape", value, shape=(*batch, 1, *value.shape[-2:]))


def _mask(match: Match, mask: Value, rank: int) -> Value:
    """The mask for scores of four axes. Attention broadcasts by itself."""
    if mask.node is not None and mask.made_by("expand"):
        mask = mask.node.inputs[0]
    if mask.rank < 3 or rank == 4:
        return mask
    return match.apply("reshape", mask, shape=(mask.shape[0], 1, *mask.shape[1:]))


def attention(graph: Graph) -> Graph:
    """Attention in small operators becomes one `attention`."""
    return rewrite(graph, (plain, masked, masked_before_scaling, allowed_only, excluded_left_out))
