"""The LSTM of onnxruntime whose states are rounded to 8 bits in each step before they are multiplied.

Where a state lies between two of 256 steps its last bit decides, and what follows differs by a whole step. onnxruntime
alone says what the operator is, so this is what it computes, operation by operation and in float32: the sums are exact
integers, scales are multiplied before sums are, and nothing is fused but the multiply-adds of `rational`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require_dtype, require_equal, require_rank, require_same_dtype
from tilewright.ir.ops.rational import rational_sigmoid, rational_tanh
from tilewright.ir.ops.recurrent import ALL_STEPS, ATTRS, VARYING, Step, attributes, infer_recurrent, walk
from tilewright.ir.ops.recurrent_activations import ACTIVATIONS
from tilewright.ir.types import TensorType, tensor

Function = Callable[[Array], Array]

_infer_lstm = infer_recurrent(gates=4, functions=3, states=2, extra=3)


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, r, hidden, cell, lengths, scales, bias, *peepholes = types
    require_dtype(x, ("float32",), "the gates")
    require_dtype(r, ("int8", "int16"), "the recurrent weights")
    results = _infer_lstm([x, r.with_dtype(x.dtype), hidden, cell, lengths, *peepholes], attrs)
    require_same_dtype([x, scales, bias])
    for type, what in ((scales, "the scales"), (bias, "the bias")):
        require_rank(type, 2, what)
        require_equal(type.shape[0], r.shape[0], f"the rows of {what} and the directions")
        require_equal(type.shape[1], dims.product((4, r.shape[2])), f"the columns of {what}")
    return results


def rounded_state(h: Array) -> tuple[Array, Array]:
    """Each row of h as integers and their unit: unsigned 8 bits less a zero point, for a range that holds zero."""
    low, high = (fold(h, axis=1, keepdims=True, initial=np.float32(0)) for fold in (np.min, np.max))
    scale = np.where(high > low, (high - low) / np.float32(255), np.float32(1))
    zero = np.rint(-low / scale)
    return np.clip(np.rint(h / scale) + zero, 0, 255) - zero, scale


def _cell(attrs: Attrs, direction: int, rest: Sequence[Array]) -> Step:
    f, g, h = (_function(attrs, 3 * direction + i, clips=i < 2) for i in range(3))
    scales, bias = rest[0], np.split(rest[1], 4)
    peepholes = np.split(rest[2], 3) if len(rest) > 2 else None

    def step(x: Array, r: Array, hidden: Array, cell: Array) -> tuple[Array, ...]:
        state, scale = rounded_state(hidden)
        sums = state.astype(np.float64) @ r.T.astype(np.float64)  # integers below 2**53
        gates = np.split(sums.astype(np.float32) * (scale * scales) + x, 4, axis=1)

        def gate(i: int, function: Function, cell: Array) -> Array:
            seen = gates[i] if peepholes is None or i == 3 else gates[i] + cell * peepholes[i]
            return function(seen + bias[i])

        i = gate(0, f, cell)
        forget = np.float32(1) - i if attrs["input_forget"] else gate(2, f, cell)
        cell = forget * cell + i * gate(3, g, cell)
        return gate(1, f, cell) * h(cell), cell

    return step


_RATIONAL = {"sigmoid": rational_sigmoid, "tanh": rational_tanh}


def _function(attrs: Attrs, place: int, *, clips: bool) -> Function:
    name, alpha, beta = (attrs[what][place] for what in ("activations", "alpha", "beta"))
    clip = np.float32(attrs["clip"] if clips and attrs["clip"] is not None else np.inf)

    def function(x: Array) -> Array:
        x = np.clip(x, -clip, clip)
        if name in _RATIONAL:
            return _RATIONAL[name](x)
        return ACTIVATIONS[name].function(x.astype(np.float64), alpha, beta).astype(np.float32)

    return function


def _sample(
    activations: str, directions: int = 1, *, dtype: str = "int16", peepholes: bool = False, **options: Any
) -> Sample:
    given: dict[str, Any] = {"lengths": np.array([ALL_STEPS], np.int32), **options}
    largest = np.iinfo(dtype).max if dtype == "int8" else 255
    weights = np.random.default_rng(0).integers(-largest, largest + 1, (directions, 20, 5)).astype(dtype)
    unit = np.full((directions, 20), 0.01, np.float32)
    state = tensor("float32", directions, "m", 5)
    inputs = (tensor("float32", "n", "m", directions * 20), weights, state, state, given.pop("lengths"))
    rest = (tensor("float32", directions, 15),) if peepholes else ()
    names = tuple(activations.split())
    return Sample((*inputs, unit, tensor("float32", directions, 20), *rest), {**attributes(names), **given})


def _samples() -> Sequence[Sample]:
    usual = "sigmoid tanh tanh"
    both: dict[str, Any] = {"direction": "bidirectional", "lengths": VARYING}
    return [
        _sample(usual, dtype="int8"),
        _sample(f"{usual} hard_sigmoid softsign tanh", 2, peepholes=True, **both),
        _sample(usual, direction="reverse", input_forget=True, clip=0.75, lengths=VARYING),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "quantized_lstm",
        Kind.SERIAL,
        _infer,
        walk(2, _cell, np.asarray),
        None,
        (7, 8),
        {**ATTRS, "input_forget": False},
        _samples,
        "Long short-term memory as `lstm`, but r holds integers of -255 to 255. "
        "After the lengths come their scales [D, 4 * H], the bias [D, 4 * H], which x does not hold, and peepholes, if "
        "any. Each row of H is rounded to 8 bits before it is multiplied.",
    ),
)
