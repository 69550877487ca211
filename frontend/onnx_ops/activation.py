"""Activation functions, written out in arithmetic; the backend fuses them into what makes their input."""

from __future__ import annotations

from collections.abc import Callable

from tilewright.frontend.onnx_ops.before_7 import slope
from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir.graph import Value
from tilewright.ir.types import FLOATS


def relu(c: Call) -> Value:
    return c.apply("maximum", c[0], 0)


def negative_branch(c: Call, x: Value, negative: Value) -> Value:
    """`x` where it is positive or zero, `negative` elsewhere."""
    return c.apply("where", c.apply("less", x, 0), negative, x)


def leaky_relu(c: Call) -> Value:
    return negative_branch(c, c[0], c.apply("mul", c[0], c.real("alpha", 0.01)))


def prelu(c: Call) -> Value:
    return negative_branch(c, c[0], c.apply("mul", c[0], slope(c)))


def exponential_branch(c: Call, alpha: float, rate: float = 1.0) -> Value:
    """alpha * (exp(rate * x) - 1) for negative x; the exponent is kept from overflowing for the others."""
    x = c.apply("minimum", c[0], 0.0)
    return c.apply("mul", c.apply("sub", c.apply("exp", scaled(c, x, rate)), 1.0), alpha)


def scaled(c: Call, x: Value, factor: float) -> Value:
    return x if factor == 1.0 else c.apply("mul", x, factor)


def elu(c: Call) -> Value:
    return negative_branch(c, c[0], exponential_branch(c, c.real("alpha", 1.0)))


def celu(c: Call) -> Value:
    alpha = c.real("alpha", 1.0)
    if alpha == 0.0:
        raise c.malformed("has an alpha of zero")
    return negative_branch(c, c[0], exponential_branch(c, alpha, 1 / alpha))


def selu(c: Call) -> Value:
    alpha, gamma = c.real("alpha", 1.67326319217681884765625), c.real("gamma", 1.05070102214813232421875)
    return c.apply("mul", negative_branch(c, c[0], exponential_branch(c, alpha)), gamma)


def clamped_line(c: Call, x: Value, alpha: float, beta: float) -> Value:
    line = c.apply("add", c.apply("mul", x, alpha), beta)
    return c.apply("minimum", c.apply("maximum", line, 0.0), 1.0)


def hard_sigmoid(c: Call) -> Value:
    return clamped_line(c, c[0], c.real("alpha", 0.2), c.real("beta", 0.5))


def hard_swish(c: Call) -> Value:
    return c.apply("mul", c[0], clamped_line(c, c[0], 1 / 6, 0.5))


def swish(c: Call) -> Value:
    return swished(c, c[0])


def swished(c: Call, x: Value) -> Value:
    return c.apply("mul", x, c.apply("sigmoid", scaled(c, x, c.real("alpha", 1.0))))


def swiglu(c: Call) -> Value:
    return c.apply("mul", swished(c, c[0]), c[1])


def gelu(c: Call) -> Value:
    approximate = c.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise c.malformed(f"has the approximation '{approximate}', not none or tanh")
    return c.apply("gelu", c[0], approximate=approximate)


def softplus_of(c: Call, x: Value) -> Value:
    """log(1 + exp(x)) without overflow: max(x, 0) + log(1 + exp(-|x|))."""
    small = c.apply("exp", c.apply("neg", c.apply("abs", x)))
    return c.apply("add", c.apply("maximum", x, 0.0), c.apply("log", c.apply("add", small, 1.0)))


def softplus(c: Call) -> Value:
    return softplus_of(c, c[0])


def mish(c: Call) -> Value:
    return c.apply("mul", c[0], c.apply("tanh", softplus_of(c, c[0])))


def softsign(c: Call) -> Value:
    return c.apply("div", c[0], c.apply("add", c.apply("abs", c[0]), 1.0))


def thresholded_relu(c: Call) -> Value:
    return c.apply("where", c.apply("greater", c[0], c.real("alpha", 1.0)), c[0], c.constant(0, c[0].dtype))


def shrink(c: Call) -> Value:
    """x + bias below -lambd, x - bias above lambd, zero between."""
    x = c[0] if c[0].dtype in FLOATS else c.cast(c[0], "float32")
    bias, edge = c.real("bias", 0.0), c.real("lambd", 0.5)
    above = c.apply("where", c.apply("greater", x, edge), c.apply("sub", x, bias), c.constant(0, x.dtype))
    return c.cast(c.apply("where", c.apply("less", x, -edge), c.apply("add", x, bias), above), c[0].dtype)


def in_single(convert: Callable[[Call], Value]) -> Callable[[Call], Value]:
    """Computes with 16-bit floats in float32, and rounds once at the end."""

    def converted(c: Call) -> Value:
        dtype = c[0].dtype
        if dtype not in ("float16", "bfloat16"):
            return convert(c)
        c.inputs = tuple(v if v is None else c.cast(v, "float32") for v in c.inputs)
        return c.cast(convert(c), dtype)

    return converted


TABLE = {
    "Celu": in_single(celu),
    "Elu": in_single(elu),
    "Gelu": gelu,
    "HardSigmoid": in_single(hard_sigmoid),
    "HardSwish": in_single(hard_swish),
    "LeakyRelu": leaky_relu,
    "Mish": in_single(mish),
    "PRelu": prelu,
    "Relu": relu,
    "Selu": in_single(selu),
    "Shrink": shrink,
    "Softplus": in_single(softplus),
    "Softsign": in_single(softsign),
    "SwiGLU": in_single(swiglu),
    "Swish": in_single(swish),
    "ThresholdedRelu": thresholded_relu,
}
