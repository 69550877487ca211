"""Optimizers of the domain ai.onnx.preview.training: one step for any number of tensors at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import TypeAlias

from tilewright.frontend.onnx_ops.call import Call, Operand
from tilewright.ir.graph import Value

Step: TypeAlias = Callable[[Call, Value, Value, Sequence[Value]], Sequence[Value]]


def sum_of(c: Call, first: Value, *rest: Value) -> Value:
    return reduce(lambda a, b: c.apply("add", a, b), rest, first)


def times(c: Call, x: Value, *factors: Operand) -> Value:
    return reduce(lambda a, b: c.apply("mul", a, b), factors, x)


def optimizer(states: int, step: Step) -> Callable[[Call], tuple[Value, ...]]:
    """Inputs: the rate, the number of steps taken, the tensors, their gradients, and `states` more for each tensor.

    Results: the new tensors, then the new states. `step(call, x, gradient, states)` is one tensor's share.
    """

    def convert(c: Call) -> tuple[Value, ...]:
        count, rest = divmod(len(c.inputs) - 2, states + 2)
        if rest or count < 1:
            raise c.malformed(f"has {len(c.inputs)} inputs, not 2 and {states + 2} for each tensor")
        made = []
        for i in range(count):
            x, gradient, *held = (c[2 + i + count * place] for place in range(states + 2))
            pulled = c.apply("add", gradient, times(c, x, c.real("norm_coefficient", 0.0)))
            made.append(step(c, x, pulled, held))
        return tuple(result for kind in zip(*made, strict=True) for result in kind)

    return convert


def rate(c: Call, x: Value) -> Value:
    return c.cast(c.reshape(c[0], ()), x.dtype)


def steps_taken(c: Call, x: Value) -> Value:
    return c.cast(c.reshape(c[1], ()), x.dtype)


def adagrad(c: Call, x: Value, gradient: Value, states: Sequence[Value]) -> tuple[Value, Value]:
    """J. Duchi and others, Adaptive Subgradient Methods, JMLR 12, 2011; the rate decays with the steps."""
    decay = c.apply("add", times(c, steps_taken(c, x), c.real("decay_factor", 0.0)), 1.0)
    squares = c.apply("add", states[0], times(c, gradient, gradient))
    divisor = c.apply("add", c.apply("sqrt", squares), c.real("epsilon", 0.0))
    change = c.apply("div", times(c, gradient, c.apply("div", rate(c, x), decay)), divisor)
    return c.apply("sub", x, change), squares


def adam(c: Call, x: Value, gradient: Value, states: Sequence[Value]) -> tuple[Value, Value, Value]:
    """D. Kingma and J. Ba, Adam, 2014. After the first step the rate is corrected for the averages' start at zero."""
    alpha, beta = c.real("alpha", 0.9), c.real("beta", 0.999)
    mean = sum_of(c, times(c, states[0], alpha), times(c, gradient, 1 - alpha))
    squares = sum_of(c, times(c, states[1], beta), times(c, gradient, gradient, 1 - beta))
    taken = steps_taken(c, x)
    low, high = (missing(c, factor, taken) for factor in (alpha, beta))
    corrected = c.apply("div", times(c, rate(c, x), c.apply("sqrt", high)), low)
    by = c.apply("where", c.apply("greater", taken, 0), corrected, rate(c, x))
    divisor = c.apply("add", c.apply("sqrt", squares), c.real("epsilon", 0.0))
    moved = c.apply("sub", x, c.apply("div", times(c, mean, by), divisor))
    return times(c, moved, 1 - c.real("norm_coefficient_post", 0.0)), mean, squares


def missing(c: Call, factor: float, taken: Value) -> Value:
    """1 - factor ** taken."""
    power = c.apply("pow", c.constant(factor, taken.dtype), taken)
    return c.apply("sub", c.constant(1.0, taken.dtype), power)


def momentum(c: Call, x: Value, gradient: Value, states: Sequence[Value]) -> tuple[Value, Value]:
    """Stochastic gradient descent with momentum, or Nesterov's. In the first step beta counts as 1."""
    alpha, mode = c.real("alpha", 0.0), c.text("mode", "standard")
    if mode not in ("standard", "nesterov"):
        raise c.malformed(f"has the mode '{mode}', not standard or nesterov")
    first = c.apply("greater", steps_taken(c, x), 0)
    beta = c.apply("where", first, c.constant(c.real("beta", 0.0), x.dtype), c.constant(1.0, x.dtype))
    velocity = c.apply("add", times(c, states[0], alpha), times(c, gradient, beta))
    ahead = velocity if mode == "standard" else c.apply("add", gradient, times(c, velocity, alpha))
    return c.apply("sub", x, times(c, ahead, rate(c, x))), velocity


DOMAIN = "ai.onnx.preview.training"
TABLE = {
    f"{DOMAIN}.Adagrad": optimizer(1, adagrad),
    f"{DOMAIN}.Adam": optimizer(2, adam),
    f"{DOMAIN}.Momentum": optimizer(1, momentum),
}
