"""Attention without softmax, whose keys and values are summed up in a state of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_equal, require_rank, require_same_dtype
from tilewright.ir.types import FLOATS, TensorType, tensor


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    q, k, v, state, *gates = types
    require_same_dtype((q, k, v, *gates))
    for type, what in ((q, "the query"), (state, "the state")):
        require_dtype(type, FLOATS, what)
    for type in types:
        require_rank(type, 4, "each input")
    require(len(gates) == attrs["decayed"] + attrs["corrected"], f"there are {len(gates)} gates")
    for axis, what in ((0, "batch"), (1, "length")):
        for type in (k, v, *gates):
            require_equal(q.shape[axis], type.shape[axis], f"{what} of the query and of another input")
    _check_heads(q, k, v)
    for size, other, what in zip(state.shape, _state_shape(k, v), ("batch", "heads", "depth", "width"), strict=True):
        require_equal(size, other, f"{what} of the state and of keys and values")
    if attrs["decayed"]:
        _check_gate(gates[0], (k.shape[2],), (k.shape[3], 1), "the decay")
    if attrs["corrected"]:
        _check_gate(gates[-1], (k.shape[2], 1), (1,), "the rate")
    return (v.with_shape((*q.shape[:3], v.shape[3])), state)


def _state_shape(k: TensorType, v: TensorType) -> tuple[dims.Dim, ...]:
    return (k.shape[0], k.shape[2], k.shape[3], v.shape[3])


def _check_heads(q: TensorType, k: TensorType, v: TensorType) -> None:
    require_equal(q.shape[3], k.shape[3], "the depths of query and key")
    require_equal(k.shape[2], v.shape[2], "heads of key and value")
    heads, shared = q.shape[2], k.shape[2]
    known = isinstance(heads, int) and isinstance(shared, int) and shared > 0
    require(known and heads % shared == 0, f"{heads} heads of the query do not share {shared} of the key")


def _check_gate(gate: TensorType, heads: Sequence[dims.Dim], widths: Sequence[dims.Dim], what: str) -> None:
    for size, allowed, axis in ((gate.shape[2], heads, "heads"), (gate.shape[3], widths, "width")):
        if not any(dims.equal(size, other) for other in allowed):
            require_equal(size, allowed[0], f"the {axis} of {what} and of the keys")


def _ref(attrs: Attrs, q: Array, k: Array, v: Array, state: Array, *gates: Array) -> tuple[Array, Array]:
    """In float32, as the operator is defined."""
    result = np.zeros((*q.shape[:3], v.shape[3]), np.float32)
    memory = state.astype(np.float32)
    single = [x.astype(np.float32) for x in (q, k, v)]
    decay = gates[0].astype(np.float32) if attrs["decayed"] else None
    rate = gates[-1].astype(np.float32) if attrs["corrected"] else None
    for t in range(q.shape[1]):
        query, key, value = (x[:, t] for x in single)
        if decay is not None:
            memory = memory * np.exp(decay[:, t])[..., None]
        if rate is not None:
            value = rate[:, t] * (value - np.einsum("bgdm,bgd->bgm", memory, key))
        memory = memory + key[..., None] * value[:, :, None, :]
        read = np.repeat(memory, q.shape[2] // k.shape[2], axis=1)
        result[:, t] = attrs["scale"] * np.einsum("bhd,bhdm->bhm", query, read)
    return result.astype(q.dtype), memory.astype(state.dtype)


def _samples() -> Sequence[Sample]:
    def sample(dtype: str, heads: int, shared: int, *gates: TensorType, length: Any = "s", **attrs: bool) -> Sample:
        q, k, v = (tensor(dtype, "n", length, h, w) for h, w in ((heads, 5), (shared, 5), (shared, 19)))
        return Sample((q, k, v, tensor("float32", "n", shared, 5, 19), *gates), {"scale": 0.5, **attrs})

    decay, rate = tensor("float32", "n", 3, 2, 5), tensor("float32", "n", 3, 1, 1)
    half = tensor("float16", "n", 2, 1, 1)
    return [
        sample("float32", 2, 2),
        sample("float32", 4, 2, decay, length=3, decayed=True),
        sample("float32", 2, 2, decay, rate, length=3, decayed=True, corrected=True),
        sample("float16", 2, 1, half, half, length=2, decayed=True, corrected=True),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "linear_attention",
        Kind.SERIAL,
        _infer,
        _ref,
        None,
        (4, 6),
        {"scale": REQUIRED, "decayed": False, "corrected": False},
        _samples,
        doc="For q [B, T, H, D], k [B, T, G, D], v [B, T, G, E] and a state S [B, G, D, E], at each time: "
        "S *= exp(decay) if `decayed`; v becomes rate * (v - k S) if `corrected`; S += k^T v; the result is "
        "scale * q S [B, T, H, E]. decay is [B, T, G, D or 1], rate [B, T, G or 1, 1]. Each H / G heads of q share a "
        "state. The state is float32 on the way; the last one is a result too.",
    ),
)
