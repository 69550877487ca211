"""Recurrent layers: the input product of all steps is one matrix product, and a row walks over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir import dims
from tilewright.ir.graph import Value
from tilewright.ir.ops.recurrent import ALL_STEPS, DIRECTIONS
from tilewright.ir.ops.recurrent_activations import ACTIVATIONS
from tilewright.ir.types import numpy_dtype

_NARROW = ("float16", "bfloat16")  # computed in float32 from the first step to the last
_NAMES = {name.replace("_", ""): name for name in ACTIVATIONS}


@dataclass(frozen=True)
class Inputs:
    """The operands in one order for all layers: W [D, G * H, I], R [D, G * H, H], B [D, 2 * G * H] or None."""

    w: Value
    r: Value
    bias: Value | None
    lengths: Value | None
    states: tuple[Value | None, ...]


def lstm(c: Call) -> tuple[Value, ...]:
    peepholes = c.optional(7)
    rest = [] if peepholes is None else [peepholes]
    inputs = Inputs(c[1], c[2], c.optional(3), c.optional(4), (c.optional(5), c.optional(6)))
    return layer(c, "lstm", inputs, rest, "sigmoid tanh tanh", input_forget=c.flag("input_forget"))


def gru(c: Call) -> tuple[Value, ...]:
    """A reset gate behind the product needs the recurrent bias of the hidden gate for itself."""
    inputs = Inputs(c[1], c[2], c.optional(3), c.optional(4), (c.optional(5),))
    if not c.flag("linear_before_reset"):
        return layer(c, "gru", inputs, [], "sigmoid tanh")
    hidden, bias = inputs.r.shape[-1], inputs.bias
    zeros = c.expand(c.constant(np.zeros((1, 1), numpy_dtype(c[0].dtype))), (directions(c), hidden))
    if bias is None:
        return layer(c, "gru", inputs, [zeros], "sigmoid tanh")
    before = dims.product((5, hidden))
    own = c.slice(bias, 1, before, hidden)
    without = c.apply("concat", c.slice(bias, 1, 0, before), zeros, axis=1)
    return layer(c, "gru", replace(inputs, bias=without), [own], "sigmoid tanh")


def rnn(c: Call) -> tuple[Value, ...]:
    inputs = Inputs(c[1], c[2], c.optional(3), c.optional(4), (c.optional(5),))
    return layer(c, "rnn", inputs, [], "tanh")


def layer(c: Call, op: str, inputs: Inputs, rest: Sequence[Value], usual: str, **attrs: Any) -> tuple[Value, ...]:
    """The row `op` between the layouts and element types of ONNX. `usual` names its activations."""
    x, dtype, swapped = c[0], c[0].dtype, c.flag("layout")
    wide = "float32" if dtype in _NARROW else dtype
    if any(value.rank != 3 for value in (x, inputs.w, inputs.r)):
        raise c.malformed("needs three axes for each of X, W and R")
    states = [initial_state(c, state, wide, swapped=swapped) for state in inputs.states]
    lengths = inputs.lengths if inputs.lengths is not None else c.constant(np.array([ALL_STEPS], np.int32))
    results = c.apply_all(
        op,
        input_product(c, c.cast(c.transpose(x, (1, 0, 2)) if swapped else x, wide), inputs, wide),
        c.cast(inputs.r, wide),
        *states,
        lengths,
        *(c.cast(value, wide) for value in rest),
        **attributes(c, usual),
        **attrs,
    )
    every, *last = (c.cast(value, dtype) for value in results)
    if swapped:
        every, last = c.transpose(every, (2, 0, 1, 3)), [c.transpose(value, (1, 0, 2)) for value in last]
    return (every, *last)


def attributes(c: Call, usual: str) -> dict[str, Any]:
    """Those that all rows have."""
    clip = c.real("clip", 0.0) if c.has("clip") else None
    return {"direction": direction(c), "clip": clip, **activations(c, usual.split())}


def direction(c: Call) -> str:
    name = c.text("direction", "forward")
    if name not in DIRECTIONS:
        raise c.malformed(f"has the direction '{name}'")
    return name


def directions(c: Call) -> int:
    return len(DIRECTIONS[direction(c)])


def initial_state(c: Call, state: Value | None, dtype: str, *, swapped: bool) -> Value:
    """[D, B, H], or a zero for all of it."""
    if state is None:
        return c.constant(np.zeros((1, 1, 1), numpy_dtype(dtype)))
    if state.rank != 3:
        raise c.malformed(f"has an initial state with {state.rank} axes instead of three")
    return c.cast(c.transpose(state, (1, 0, 2)) if swapped else state, dtype)


def input_product(c: Call, x: Value, inputs: Inputs, dtype: str) -> Value:
    """X @ W^T plus both biases, for all steps and directions: [T, B, D * G * H]."""
    w = c.cast(inputs.w, dtype)
    columns = dims.product((w.shape[0], w.shape[1]))
    flat = c.reshape(c.transpose(w, (2, 0, 1)), (w.shape[2], columns))
    product = c.apply("matmul", x, flat)
    if inputs.bias is None:
        return product
    bias = c.cast(inputs.bias, dtype)
    halves = [c.slice(bias, 1, start, w.shape[1]) for start in (0, w.shape[1])]
    return c.apply("add", product, c.reshape(c.apply("add", *halves), (columns,)))


def activations(c: Call, usual: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The attributes of the row. Parameters go, in order, to the functions that take any, as onnxruntime reads it."""
    count = directions(c) * len(usual)
    given = c.texts("activations") or ()
    names = [activation(c, name) for name in given[:count]] or [*usual] * directions(c)
    if len(names) != count:
        raise c.malformed(f"has {len(names)} activations instead of {count}")
    found: dict[str, tuple[Any, ...]] = {"activations": tuple(names)}
    for what in ("alpha", "beta"):
        values = list(c.reals(f"activation_{what}") or ())
        defaults = [getattr(ACTIVATIONS[name], what) for name in names]
        found[what] = tuple(0.0 if d is None else float(values.pop(0)) if values else d for d in defaults)
    return found


def activation(c: Call, name: str) -> str:
    if name.lower() not in _NAMES:
        raise c.malformed(f"has the activation '{name}'")
    return _NAMES[name.lower()]


TABLE = {"GRU": gru, "LSTM": lstm, "RNN": rnn}
