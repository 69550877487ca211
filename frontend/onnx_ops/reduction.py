"""Reductions, softmax, arg-max, top-k and running sums."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.computed import is_listed, split_around, split_axes, vector, without_listed
from tilewright.ir import dims
from tilewright.ir.graph import Value

SHORT = 16  # elements of a row


def reduction(compute: Callable[[Call, Value, tuple[int, ...], bool], Value]) -> Callable[[Call], Value]:
    """A converter from `compute(call, x, axes, keepdims)`; axes are an attribute in older versions, then an input."""

    def convert(c: Call) -> Value:
        x, computed = c[0], c.computed(1)
        if computed is not None:
            return over_computed(c, x, vector(c, computed), compute)
        given = c.moved_ints("axes", 1)
        nothing = not given and c.flag("noop_with_empty_axes")
        axes = c.axes(given, x.rank) if given else tuple(range(0 if nothing else x.rank))
        return compute(c, x, tuple(sorted(axes)), c.flag("keepdims", True))

    return convert


def over_computed(c: Call, x: Value, axes: Value, compute: Callable[..., Value]) -> Value:
    """The reduction over axes that are known only when the model runs."""
    listed = is_listed(c, axes, x.rank)
    folded = compute(c, split_axes(c, x, listed), tuple(range(1, 2 * x.rank, 2)), False)
    if c.flag("keepdims", True):
        return folded
    return without_listed(c, folded, listed, c.static(axes.shape[0], "a number of axes"))


def plain(kind: str) -> Callable[[Call], Value]:
    return reduction(lambda c, x, axes, keep: c.reduce(kind, x, axes, keepdims=keep))


def log_sum(c: Call, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    return c.apply("log", c.reduce("sum", x, axes, keepdims=keep))


def log_sum_exp(c: Call, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    """The largest element is taken out first, so that nothing overflows; an infinite one is left in."""
    top = c.reduce("max", x, axes)
    shift = c.apply("where", c.apply("isinf", top), c.constant(0, x.dtype), top)
    total = c.reduce("sum", c.apply("exp", c.apply("sub", x, shift)), axes)
    result = c.apply("add", c.apply("log", total), shift)
    return result if keep else c.reshape(result, [d for i, d in enumerate(result.shape) if i not in axes])


def sum_of(inner: Callable[[Call, Value], Value], outer: str = "") -> Callable[[Call], Value]:
    def compute(c: Call, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
        total = c.reduce("sum", inner(c, x), axes, keepdims=keep)
        return c.apply(outer, total) if outer else total

    return reduction(compute)


def square(c: Call, x: Value) -> Value:
    return c.apply("mul", x, x)


def absolute(c: Call, x: Value) -> Value:
    return c.apply("abs", x)


def arg(name: str) -> Callable[[Call], Value]:
    return lambda c: c.apply(
        name,
        c[0],
        axis=c.axis(c.integer("axis", 0), c[0].rank),
        keepdims=c.flag("keepdims", True),
        select_last=c.flag("select_last_index"),
    )


def along_axis(name: str) -> Callable[[Call], Value]:
    """Softmax and its logarithm from opset 13 on."""
    return lambda c: c.apply(name, c[0], axis=c.axis(c.integer("axis", -1), c[0].rank))


def softmax(c: Call, x: Value, axis: int) -> Value:
    """Over short rows of bfloat16 every operation rounds, each addition too, which is how ONNX's reference has it.

    The sum of a long row would stop growing that way, at 256: there, as for other types, it is made in float32.
    """
    length = x.shape[axis]
    if x.dtype != "bfloat16" or not isinstance(length, int) or not 1 <= length <= SHORT:
        return c.apply("softmax", x, axis=axis)
    powers = c.apply("exp", c.apply("sub", x, c.reduce("max", x, (axis,))))
    total = reduce(lambda a, b: c.apply("add", a, b), (c.slice(powers, axis, i, 1) for i in range(length)))
    return c.apply("div", powers, total)


def flattened(name: str) -> Callable[[Call], Value]:
    """Before opset 13 all axes from `axis` on are taken together."""

    def convert(c: Call) -> Value:
        x = c[0]
        axis = c.axis(c.integer("axis", 1), x.rank)
        if axis == x.rank - 1:
            return c.apply(name, x, axis=axis)
        flat = c.reshape(x, (dims.product(x.shape[:axis]), dims.product(x.shape[axis:])))
        return c.reshape(c.apply(name, flat, axis=1), x.shape)

    return convert


def hardmax(c: Call) -> Value:
    """1 at the first largest element along the axis, 0 elsewhere; before opset 13 the axes from `axis` on are one."""
    x = c[0]
    axis = c.axis(c.integer("axis", 1 if c.version < 13 else -1), x.rank)
    rows = x.shape if c.version >= 13 else (dims.product(x.shape[:axis]), dims.product(x.shape[axis:]))
    place = axis if c.version >= 13 else 1
    flat = c.reshape(x, rows)
    largest = c.apply("argmax", flat, axis=place, keepdims=True)
    count = c.apply("range", start=0, step=1, size=rows[place], dtype="int64")
    index = c.reshape(count, [rows[place] if i == place else 1 for i in range(len(rows))])
    return c.reshape(c.cast(c.apply("equal", largest, index), x.dtype), x.shape)


def top_k(c: Call) -> tuple[Value, ...]:
    x = c[0]
    count = c.optional(1)
    k = c.integer("k", 0) if count is None else dims.as_dim(c.number(count, "a k"))
    return c.apply_all(
        "top_k",
        x,
        k=k,
        axis=c.axis(c.integer("axis", -1), x.rank),
        largest=c.flag("largest", True),
        sorted=c.flag("sorted", True),
    )


def cumulative(name: str) -> Callable[[Call], Value]:
    """Running sums and products."""

    def convert(c: Call) -> Value:
        x, computed = c[0], c.computed(1)
        order = {"exclusive": c.flag("exclusive"), "reverse": c.flag("reverse")}
        if computed is not None:
            return c.reshape(c.apply(name, split_around(c, x, computed), axis=1, **order), x.shape)
        axis = c.axis(c.static(c.number(c[1], "an axis"), "an axis"), x.rank)
        return c.apply(name, x, axis=axis, **order)

    return convert


TABLE = {
    "ArgMax": arg("argmax"),
    "ArgMin": arg("argmin"),
    "CumProd": cumulative("cumprod"),
    "CumSum": cumulative("cumsum"),
    "Hardmax": hardmax,
    "LogSoftmax": {1: flattened("log_softmax"), 13: along_axis("log_softmax")},
    "ReduceL1": sum_of(absolute),
    "ReduceL2": sum_of(square, "sqrt"),
    "ReduceLogSum": reduction(log_sum),
    "ReduceLogSumExp": reduction(log_sum_exp),
    "ReduceMax": plain("max"),
    "ReduceMean": plain("mean"),
    "ReduceMin": plain("min"),
    "ReduceProd": plain("prod"),
    "ReduceSum": plain("sum"),
    "ReduceSumSquare": sum_of(square),
    "Softmax": {1: flattened("softmax"), 13: lambda c: softmax(c, c[0], c.axis(c.integer("axis", -1), c[0].rank))},
    "TopK": top_k,
}
