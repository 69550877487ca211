"""Recognise scaled dot-product attention written out in small operators.

softmax(q @ k^T * scale + mask) @ v, where the scale may be on q, on k, on both or on the scores, before or after the
mask, and the mask may be a choice between the scores and minus infinity. Exporters of PyTorch guard rows without any
key by where(isnan(p), 0, p); that becomes `nan_to_zero`. Attention over the places of an image has its values in
columns: v^T @ softmax(...)^T.
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
    """softmax(scores) @ v, perhaps with NaN replaced by zero, or v @ softmax(scores)^T."""
    weights = p.softmax(scores).named("weights")
    guarded = p.either(weights, p.where(p.isnan(weights), 0, weights).named("guarded"))
    return p.either(p.matmul(guarded, v), p.matmul(v, p.transpose(guarded, perm=_is_turn).named("turned")))


def _turn(rank: int) -> tuple[int, ...]:
    """The transpose that exchanges the last two of so many axes."""
    return (*range(rank - 2), rank - 1, rank - 2)


def _is_turn(perm: tuple[int, ...]) -> bool:
    return len(perm) >= 2 and perm == _turn(len(perm))


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
    turned: Value | None = None,
) -> Replacement:
    """One `attention` of what the patterns found; `keys` is k with its last two axes exchanged.

    `turned` are the weights with these axes exchanged: then v and the result are so, too.
    """
    factor = 1.0 if scale is None else uniform(scale)
    q, q_factor = _unscaled(q)
    keys, k_factor = _unscaled(keys)
    if factor is None or keys.data is not None or not 2 <= keys.rank <= 4:
        return Decline("the scale is not one number, or the keys are weights")
    if weights.node is None or weights.node.attrs["axis"] != weights.rank - 1:
        return Decline("softmax is not along the keys")
    if not q.rank == keys.rank == v.rank == weights.rank:
        return Decline("queries, keys, values and scores differ in rank")
    if not all(dims.same_shape(q.shape[:-2], other.shape[:-2]) for other in (keys, v)):
        return Decline("queries, keys and values differ in batch or heads")
    values = v if turned is None else _transposed(match, v)
    operands = [_four_axes(match, x) for x in (q, _transposed(match, keys), values)]
    if mask is not None:
        operands.append(_mask(match, mask, weights.rank))
    total = float(factor) * q_factor * k_factor
    result = match.apply("attention", *operands, scale=total, nan_to_zero=guarded is not None)
    if weights.rank != 4:
        result = match.apply("reshape", result, shape=(*weights.shape[:-1], values.shape[-1]))
    return result if turned is None else match.apply("transpose", result, perm=_turn(weights.rank))


def _transposed(match: Match, x: Value) -> Value:
    """`x` with its last two axes exchanged; where a transpose made it, one from what that was given."""
    perm = _turn(x.rank)
    if x.node is not None and x.node.op.name == "transpose":
        perm = tuple(x.node.attrs["perm"][axis] for axis in perm)
        x = x.node.inputs[0]
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
