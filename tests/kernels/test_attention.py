"""Attention against numpy in float64: tails, masks, rows that are masked out entirely."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.built import NATIVE, Array, Built, hollow, normal
from tilewright.backends.kernels.attention import Attention, attention
from tilewright.backends.kernels.loops import Loops


def kernel(
    heads: int, depth: int, width: int, masked: bool, nan_to_zero: bool, softcap: float, excluding: bool
) -> Built:
    """Operands [batch, length, heads, size], mask [batch, queries, keys]."""
    k = Loops("attention")
    batch, queries, keys = (k.dim(name) for name in ("batch", "queries", "keys"))
    q, key = k.buffer("q", (batch, queries, heads, depth)), k.buffer("k", (batch, keys, heads, depth))
    value, mask = k.buffer("v", (batch, keys, heads, width)), k.buffer("mask", (batch, queries, keys))
    out = k.buffer("out", (batch, queries, heads, width))
    operands = Attention(
        batch, heads, queries, keys, depth, width, scale=depth**-0.5,
        query=lambda b, h, i, d: q[b, i, h, d],
        key=lambda b, h, j, d: key[b, j, h, d],
        value=lambda b, h, j, e: value[b, j, h, e],
        mask=(lambda b, h, i, j: mask[b, i, j]) if masked else None,
        nan_to_zero=nan_to_zero, softcap=softcap, excluding=excluding,
    )  # fmt: skip
    attention(k, NATIVE, operands, lambda b, h, i, e, result: k.store(out, (b, i, h, e), result))
    return Built(k)


def reference(q: Array, k: Array, v: Array, mask: Array | None, zeros: bool, softcap: float) -> Array:
    q, k, v = (x.transpose(0, 2, 1, 3).astype(np.float64) for x in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    if mask is not None:
        scores = scores + mask[:, None]
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
    if zeros:
        weights = np.nan_to_num(weights, nan=0.0)
    return np.asarray((weights @ v).transpose(0, 2, 1, 3))


def holes(batch: int, queries: int, keys: int) -> Array:
    """A mask with -inf in a third of the places, and everywhere in its second row."""
    random = np.random.default_rng(5)
    mask = np.where(random.random((batch, queries, keys)) < 0.3, -np.inf, normal(batch, queries, keys))
    mask[:, 1:2] = -np.inf
    return mask.astype(np.float32)


@pytest.mark.parametrize(
    ("heads", "depth", "width", "masked", "nan_to_zero", "softcap", "excluding"),
    [
        (3, 32, 32, False, False, 0.0, False),
        (2, 64, 64, True, False, 0.0, False),
        (2, 33, 40, True, True, 0.0, False),
        (1, 128, 16, False, True, 0.5, False),
        (2, 32, 32, True, False, 0.5, True),
        (1, 16, 16, True, False, 0.0, True),
    ],
)
def test_attention(
    heads: int, depth: int, width: int, masked: bool, nan_to_zero: bool, softcap: float, excluding: bool
) -> None:
    run = kernel(heads, depth, width, masked, nan_to_zero, softcap, excluding)
    for batch, queries, keys in [(1, 1, 1), (2, 5, 7), (1, 131, 65), (2, 128, 128), (1, 1, 300), (2, 4, 37)]:
        q, k, v = (
            normal(batch, queries, heads, depth),
            normal(batch, keys, heads, depth),
            normal(batch, keys, heads, width),
        )
        mask = holes(batch, queries, keys)
        result = run(q, k, v, mask, hollow(batch, queries, heads, width))
        expected = reference(q, k, v, mask if masked else None, nan_to_zero or excluding, softcap)
        np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-6)
