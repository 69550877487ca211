"""Activations of onnxruntime, alone and fused behind sums, products and convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tilewright.frontend.onnx_ops.activation import softplus_of
from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.microsoft_normalization import total_of
from tilewright.frontend.onnx_ops.product import gemm
from tilewright.frontend.onnx_ops.window import convolution
from tilewright.ir import dims
from tilewright.ir.graph import Value

Activation = Callable[[Call, Value, Sequence[float]], Value]


def gelu(approximate: str) -> Callable[[Call], Value]:
    """Of the sum of the input and a bias that may be left out."""
    return lambda c: c.apply("gelu", total_of(c, 0, 1), approximate=approximate)


def quick_gelu(c: Call) -> Value:
    return c.apply("mul", c[0], c.apply("sigmoid", c.apply("mul", c[0], c.real("alpha", 1.702))))


def bias_split_gelu(c: Call) -> Value:
    """The left half of the channels times the GELU of the right one."""
    total = c.apply("add", c[0], c[1])
    half = dims.floordiv(total.shape[2], 2)
    left, right = (c.slice(total, 2, start, half) for start in (0, half))
    return c.apply("mul", left, c.apply("gelu", right, approximate="none"))


def _branch(c: Call, x: Value, negative: Value) -> Value:
    return c.apply("where", c.apply("less", x, 0), negative, x)


def _below_zero(c: Call, x: Value, alpha: float) -> Value:
    """alpha * (exp(x) - 1) for negative x."""
    powers = c.apply("sub", c.apply("exp", c.apply("minimum", x, 0.0)), 1.0)
    return _branch(c, x, c.apply("mul", powers, alpha))


def _clamped(c: Call, x: Value, low: float, high: float) -> Value:
    return c.apply("minimum", c.apply("maximum", x, low), high)


ACTIVATIONS: dict[str, tuple[Activation, tuple[float, ...]]] = {
    "Clip": (lambda c, x, p: _clamped(c, x, *p), (-3.402823e38, 3.402823e38)),
    "Elu": (lambda c, x, p: _below_zero(c, x, p[0]), (1.0,)),
    "HardSigmoid": (
        lambda c, x, p: _clamped(c, c.apply("add", c.apply("mul", x, p[0]), p[1]), 0.0, 1.0),
        (0.2, 0.5),
    ),
    "LeakyRelu": (lambda c, x, p: _branch(c, x, c.apply("mul", x, p[0])), (0.01,)),
    "Relu": (lambda c, x, p: c.apply("maximum", x, 0), ()),
    "Selu": (
        lambda c, x, p: c.apply("mul", _below_zero(c, x, p[0]), p[1]),
        (1.67326319217681884765625, 1.05070102214813232421875),
    ),
    "Sigmoid": (lambda c, x, p: c.apply("sigmoid", x), ()),
    "Softplus": (lambda c, x, p: softplus_of(c, x), ()),
    "Softsign": (lambda c, x, p: c.apply("div", x, c.apply("add", c.apply("abs", x), 1.0)), ()),
    "Tanh": (lambda c, x, p: c.apply("tanh", x), ()),
    "ThresholdedRelu": (
        lambda c, x, p: c.apply("where", c.apply("greater", x, p[0]), x, c.constant(0, x.dtype)),
        (1.0,),
    ),
}


def activated(c: Call, x: Value, given: Sequence[float | None]) -> Value:
    """`x` through the function that the attribute `activation` names; parameters that are not given have a default."""
    name = c.text("activation", "")
    if not name:
        return x
    if name not in ACTIVATIONS:
        raise c.malformed(f"has the unknown activation '{name}'")
    function, defaults = ACTIVATIONS[name]
    padded = [*given, *[None] * len(defaults)]
    return function(c, x, [d if p is None else p for p, d in zip(padded, defaults, strict=False)])


def named_parameters(c: Call) -> list[float | None]:
    return [c.real(n, 0.0) if c.has(n) else None for n in ("activation_alpha", "activation_beta", "activation_gamma")]


def fused_gemm(c: Call) -> Value:
    return activated(c, gemm(c), named_parameters(c))


def fused_conv(c: Call, *, channels_last: bool = False) -> Value:
    """A convolution, an addend Z of the result's shape, an activation."""
    x, w, bias, addend = c[0], c[1], c.optional(2), c.optional(3)
    forth = (0, x.rank - 1, *range(1, x.rank - 1)) if channels_last else tuple(range(x.rank))
    back = (0, *range(2, x.rank), 1) if channels_last else forth
    parameters = (w,) if bias is None else (w, bias)
    result = c.transpose(convolution(c, c.transpose(x, forth), *parameters), back)
    return activated(
        c, result if addend is None else c.apply("add", result, addend), c.reals("activation_params") or ()
    )


def fused_matmul(c: Call) -> Value:
    """The product of two tensors that are transposed before, times alpha."""
    product = c.apply("matmul", turned(c, c[0], "A"), turned(c, c[1], "B"))
    alpha = c.real("alpha", 1.0)
    return product if alpha == 1.0 else c.apply("mul", product, alpha)


def turned(c: Call, x: Value, which: str) -> Value:
    """First the leading axis may go behind the others of the batch, then the last two may change places."""
    if x.rank < 2:
        return x
    perm = list(range(x.rank))
    if c.flag(f"transBatch{which}"):
        perm = [*perm[1:-1], 0, perm[-1]]
    if c.flag(f"trans{which}"):
        perm[-2:] = perm[:-3:-1]
    return c.transpose(x, perm)


def bias_softmax(c: Call) -> Value:
    """Softmax over all axes from `axis` on; the bias repeats over those before it."""
    x, bias = c[0], c[1]
    axis = c.axis(c.integer("axis", 1), x.rank)
    if c.flag("is_inner_broadcast", True) and bias.rank < x.rank:
        bias = c.reshape(bias, (bias.shape[0], *[1] * (x.rank - bias.rank), *bias.shape[1:]))
    total = c.apply("add", x, bias)
    if axis == x.rank - 1:
        return c.apply("softmax", total, axis=axis)
    flat = c.reshape(total, (dims.product(x.shape[:axis]), dims.product(x.shape[axis:])))
    return c.reshape(c.apply("softmax", flat, axis=1), x.shape)


TABLE = {
    "com.microsoft.BiasAdd": lambda c: total_of(c, 0, 1, 2),
    "com.microsoft.BiasGelu": gelu("none"),
    "com.microsoft.BiasSoftmax": bias_softmax,
    "com.microsoft.BiasSplitGelu": bias_split_gelu,
    "com.microsoft.FastGelu": gelu("tanh"),
    "com.microsoft.FusedConv": fused_conv,
    "com.microsoft.FusedGemm": fused_gemm,
    "com.microsoft.FusedMatMul": fused_matmul,
    "com.microsoft.FusedMatMulActivation": lambda c: activated(c, fused_matmul(c), named_parameters(c)),
    "com.microsoft.Gelu": gelu("none"),
    "com.microsoft.NhwcConv": lambda c: fused_conv(c, channels_last=True),
    "com.microsoft.NhwcFusedConv": lambda c: fused_conv(c, channels_last=True),
    "com.microsoft.QuickGelu": quick_gelu,
    "com.microsoft.TransposeMatMul": fused_matmul,
}
