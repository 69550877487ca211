"""Recurrent layers, after their input product: `x` holds what each step adds to the gates, biases and all.

Every row takes x [T, B, D * G * H] (for each direction its G gates, each H wide), the recurrent weights
r [D, G * H, H], the initial state(s), which broadcast to [D, B, H], and the lengths of the sequences, int32 and
broadcasting to [B]; what is beyond T counts as T. Each gives all states [T, D, B, H], zero beyond a sequence's end,
and the last one(s) [D, B, H]. The second of two directions, or the only one if `direction` is "reverse", runs each
sequence from its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_equal, require_rank, require_same_dtype
from tilewright.ir.ops.elementwise import broadcast_shapes
from tilewright.ir.ops.precision import exact
from tilewright.ir.ops.recurrent_activations import ACTIVATIONS
from tilewright.ir.types import TensorType, tensor

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
ALL_STEPS = 2**31 - 1  # the length of a sequence that has no other end than that of x

Step = Callable[..., tuple[Array, ...]]
Function = Callable[[Array], Array]


def infer_recurrent(gates: int, functions: int, states: int, extra: int) -> Callable[..., tuple[TensorType, ...]]:
    """`extra` is the width, in units of H, of the optional last input, a row for each direction."""

    def infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
        x, r, *initial = types[: 2 + states]
        lengths, *rest = types[2 + states :]
        require_same_dtype([x, r, *initial, *rest])
        require_dtype(x, ("float32", "float64"), "the gates")
        require_rank(x, 3, "the gates")
        require_rank(r, 3, "the recurrent weights")
        directions, hidden = _check_directions(attrs, functions, r), r.shape[2]
        require_equal(r.shape[1], dims.product((gates, hidden)), "the gates of the recurrent weights")
        require_equal(x.shape[2], dims.product((directions, gates, hidden)), "the gates and those of the weights")
        last = (directions, x.shape[1], hidden)
        for type in initial:
            require_broadcast(type, last, "an initial state")
        require_dtype(lengths, ("int32",), "the lengths")
        require_broadcast(lengths, (x.shape[1],), "the lengths")
        for type in rest:
            require_rank(type, 2, "the last input")
            require_equal(type.shape[0], directions, "the rows of the last input and the directions")
            require_equal(type.shape[1], dims.product((extra, hidden)), "the columns of the last input")
        return (x.with_shape((x.shape[0], *last)), *(x.with_shape(last) for _ in initial))

    return infer


def _check_directions(attrs: Attrs, functions: int, r: TensorType) -> int:
    require(attrs["direction"] in DIRECTIONS, f"there is no direction {attrs['direction']!r}")
    directions = len(DIRECTIONS[attrs["direction"]])
    require_equal(r.shape[0], directions, "the recurrent weights' first axis and the directions")
    for name in ("activations", "alpha", "beta"):
        require(len(attrs[name]) == directions * functions, f"{name} needs {directions * functions} entries")
    for activation in attrs["activations"]:
        require(activation in ACTIVATIONS, f"there is no activation {activation!r}")
    return directions


def require_broadcast(type: TensorType, shape: tuple[dims.Dim, ...], what: str) -> None:
    wide = broadcast_shapes([shape, type.shape])
    grows = len(wide) != len(shape) or any(old == 1 and new != 1 for old, new in zip(shape, wide, strict=True))
    require(type.rank == len(shape) and not grows, f"{what} {type} does not broadcast to {type.with_shape(shape)}")


def walk(
    states: int, step: Callable[[Attrs, int, Sequence[Array]], Step], widened: Function = exact
) -> Callable[..., tuple[Array, ...]]:
    """The walk over time. `step(attrs, direction, rest)` makes the cell: from the gates of one step without the
    recurrent product, the weights and the states to the new states, the first of which is H. What it is given has gone
    through `widened`.
    """

    def ref(attrs: Attrs, x: Array, r: Array, *others: Array) -> tuple[Array, ...]:
        (steps, batch), hidden = x.shape[:2], r.shape[2]
        reverse = DIRECTIONS[attrs["direction"]]
        shape = (len(reverse), batch, hidden)
        rows = np.arange(batch)
        lengths = np.clip(np.broadcast_to(others[states], (batch,)), 0, steps)
        initial = [np.broadcast_to(widened(s), shape) for s in others[:states]]
        split = widened(x).reshape(steps, batch, len(reverse), -1)
        every, last = np.zeros((steps, *shape)), [np.zeros(shape) for _ in initial]
        for d, backward in enumerate(reverse):
            cell = step(attrs, d, [widened(a[d]) for a in others[states + 1 :]])
            state = tuple(s[d] for s in initial)
            for s in range(steps):
                active = s < lengths
                time = np.where(active, lengths - 1 - s if backward else s, s)
                new = cell(split[time, rows, d], widened(r[d]), *state)
                state = tuple(np.where(active[:, None], n, old) for n, old in zip(new, state, strict=True))
                every[time, d, rows] = np.where(active[:, None], new[0], 0.0)
            for kept, value in zip(last, state, strict=True):
                kept[d] = value
        return tuple(a.astype(x.dtype) for a in (every, *last))

    return ref


def _functions(attrs: Attrs, direction: int, count: int) -> list[Function]:
    """The activations of a direction, of which those of gates clip their arguments. The third is that of the cell."""

    def function(i: int) -> Function:
        place = direction * count + i
        name, alpha, beta = (attrs[what][place] for what in ("activations", "alpha", "beta"))
        clip = attrs["clip"] if i < 2 and attrs["clip"] is not None else np.inf
        return lambda v: ACTIVATIONS[name].function(np.clip(v, -clip, clip), alpha, beta)

    return [function(i) for i in range(count)]


def _lstm_cell(attrs: Attrs, direction: int, rest: Sequence[Array]) -> Step:
    f, g, h = _functions(attrs, direction, 3)
    p_i, p_o, p_f = np.split(rest[0], 3) if rest else (np.zeros(()),) * 3

    def step(x: Array, r: Array, hidden: Array, cell: Array) -> tuple[Array, ...]:
        gate_i, gate_o, gate_f, gate_c = np.split(x + hidden @ r.T, 4, axis=1)
        i = f(gate_i + p_i * cell)
        forget = 1 - i if attrs["input_forget"] else f(gate_f + p_f * cell)
        cell = forget * cell + i * g(gate_c)
        return f(gate_o + p_o * cell) * h(cell), cell

    return step


def _gru_cell(attrs: Attrs, direction: int, rest: Sequence[Array]) -> Step:
    f, g = _functions(attrs, direction, 2)

    def step(x: Array, r: Array, hidden: Array) -> tuple[Array, ...]:
        (x_zr, x_h), (r_zr, r_h) = np.split(x, [2 * len(r) // 3], axis=1), np.split(r, [2 * len(r) // 3])
        z, reset = np.split(f(x_zr + hidden @ r_zr.T), 2, axis=1)
        inner = reset * (hidden @ r_h.T + rest[0]) if rest else (reset * hidden) @ r_h.T
        return ((1 - z) * g(x_h + inner) + z * hidden,)

    return step


def _rnn_cell(attrs: Attrs, direction: int, rest: Sequence[Array]) -> Step:
    (f,) = _functions(attrs, direction, 1)
    return lambda x, r, hidden: (f(x + hidden @ r.T),)


def _sample(gates: int, states: int, names: str, dtype: str = "float32", **options: Any) -> Sample:
    """Sizes n (steps), m (batch) and 5 wide; `extra` is the width of the last input in units of that."""
    activations = tuple(names.split())
    given: dict[str, Any] = {"direction": "forward", "lengths": np.array([ALL_STEPS], np.int32), **options}
    extra, lengths = given.pop("extra", 0), given.pop("lengths")
    directions = len(DIRECTIONS[given["direction"]])
    state = tensor(dtype, directions, "m", 5)
    inputs = (tensor(dtype, "n", "m", directions * gates * 5), tensor(dtype, directions, gates * 5, 5))
    rest = (tensor(dtype, directions, extra * 5),) if extra else ()
    return Sample((*inputs, *[state] * states, lengths, *rest), {**attributes(activations), **given})


def attributes(activations: tuple[str, ...]) -> dict[str, Any]:
    return {"activations": activations, "alpha": (0.5,) * len(activations), "beta": (0.25,) * len(activations)}


VARYING = tensor("int32", "m")


def _samples_lstm() -> Sequence[Sample]:
    usual = "sigmoid tanh tanh"
    return [
        _sample(4, 2, usual),
        _sample(4, 2, f"{usual} hard_sigmoid softsign relu", direction="bidirectional", extra=3, lengths=VARYING),
        _sample(4, 2, usual, "float64", direction="reverse", input_forget=True, clip=0.75, lengths=VARYING),
        _sample(4, 2, "sigmoid affine elu", extra=3),
    ]


def _samples_gru() -> Sequence[Sample]:
    return [
        _sample(3, 1, "sigmoid tanh"),
        _sample(3, 1, "sigmoid tanh " * 2, direction="bidirectional", extra=1, lengths=VARYING),
        _sample(3, 1, "sigmoid softsign sigmoid scaled_tanh", direction="bidirectional", clip=1.5),
        _sample(3, 1, "hard_sigmoid tanh", "float64", direction="reverse", extra=1),
    ]


def _samples_rnn() -> Sequence[Sample]:
    """The last has small weights, as many of the others' would make the states chaotic."""
    wide = np.random.default_rng(0).normal(scale=0.1, size=(1, 70, 70)).astype(np.float32)
    every = np.array([ALL_STEPS], np.int32)
    return [
        _sample(1, 1, "tanh"),
        _sample(1, 1, "softsign sigmoid", direction="bidirectional", lengths=VARYING),
        *(_sample(1, 1, name, "float64", direction="reverse", clip=2.0) for name in ("softplus", "leaky_relu")),
        _sample(1, 1, "thresholded_relu", clip=1.0),
        Sample((tensor("float32", "n", "m", 70), wide, tensor("float32", 1, "m", 70), every), attributes(("tanh",))),
    ]


ATTRS: Attrs = {"direction": "forward", "activations": REQUIRED, "alpha": REQUIRED, "beta": REQUIRED, "clip": None}
_CLIPPED = "`clip` bounds what the activations of gates are applied to."

ROWS: tuple[Op, ...] = (
    Op(
        "lstm",
        Kind.SERIAL,
        infer_recurrent(gates=4, functions=3, states=2, extra=3),
        walk(2, _lstm_cell),
        None,
        (5, 6),
        {**ATTRS, "input_forget": False},
        _samples_lstm,
        "Long short-term memory with the gates i, o, f, c and, as a sixth input, peepholes [D, 3 * H] for i, o and f. "
        "`input_forget` makes f = 1 - i. " + _CLIPPED,
    ),
    Op(
        "gru",
        Kind.SERIAL,
        infer_recurrent(gates=3, functions=2, states=1, extra=1),
        walk(1, _gru_cell),
        None,
        (4, 5),
        ATTRS,
        _samples_gru,
        "Gated recurrent units with the gates z, r, h. With a fifth input [D, H] the reset gate multiplies the product "
        "of H plus that bias, without it H itself. " + _CLIPPED,
    ),
    Op(
        "rnn",
        Kind.SERIAL,
        infer_recurrent(gates=1, functions=1, states=1, extra=0),
        walk(1, _rnn_cell),
        None,
        (4, 4),
        ATTRS,
        _samples_rnn,
        "H = f(x + H @ r^T) for each step. " + _CLIPPED,
    ),
)
