"""Random small graphs for Hypothesis, with arrays to run them on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st

from tilewright.ir import Array, Graph, TensorType, Value, apply, apply_op, constant, dims, input_value, numpy_dtype
from tilewright.ir.types import FLOATS

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]
Builder: TypeAlias = Callable[[Draw, list[Value]], Sequence[Value]]

SIZES: tuple[Any, ...] = (1, 2, 3, 4, dims.symbol("n"), dims.symbol("m"))
TAME = ("neg", "abs", "tanh", "sigmoid", "erf", "sign", "floor", "gelu", "sin", "round")  # no NaN, no overflow
UNARY = st.sampled_from(TAME)
ARITHMETIC = st.sampled_from(("add", "sub", "mul", "minimum", "maximum"))
COMPARISON = st.sampled_from(("equal", "less", "less_equal", "greater", "greater_equal"))
REDUCTION = st.sampled_from(("reduce_sum", "reduce_mean", "reduce_max", "reduce_min"))


@st.composite
def graphs(draw: Draw, max_nodes: int = 8, images: bool = False) -> tuple[Graph, tuple[Array, ...]]:
    """A graph of at most about `max_nodes` nodes, and arrays that fit its inputs; all results are finite.

    Inputs share the symbolic sizes n and m. Some nodes are dead or read twice, and an input may be an output. With
    `images` the first input is one, and it is convolved.
    """
    types = draw(st.lists(_types(), min_size=0 if images else 1, max_size=3))
    if images:
        types.insert(0, TensorType("float32", draw(st.tuples(st.sampled_from(SIZES), *[st.integers(2, 4)] * 3))))
    inputs = [input_value(f"x{i}", type) for i, type in enumerate(types)]
    pool = [*inputs, *(_conv(draw, inputs[:1]) if images else ())]
    for _ in range(draw(st.integers(1, max_nodes))):
        pool.extend(draw(st.sampled_from(BUILDERS))(draw, pool))
    outputs = draw(st.lists(st.sampled_from(pool[-5:]), min_size=1, max_size=3))
    names = tuple(f"y{i}" for i in range(len(outputs)))
    return Graph(tuple(inputs), tuple(outputs), names), draw(arrays_for([v.type for v in inputs]))


@st.composite
def arrays_for(draw: Draw, types: Sequence[TensorType]) -> tuple[Array, ...]:
    """Arrays of the given types; each symbolic size is between 1 and 4 and the same throughout."""
    sizes = {name: draw(st.integers(1, 4)) for name in sorted(dims.symbols_of(d for t in types for d in t.shape))}
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))
    return tuple(random_array(generator, type, sizes) for type in types)


def random_array(generator: np.random.Generator, type: TensorType, sizes: dict[str, int]) -> Array:
    """Normal floats; integers from 0 to 9, also as texts; fair bools."""
    shape = tuple(dims.evaluate(d, sizes) for d in type.shape)
    if type.dtype == "string":
        return np.asarray(generator.integers(0, 10, shape)).astype(str).astype(object)
    if type.dtype in FLOATS:
        return np.asarray(generator.standard_normal(shape)).astype(numpy_dtype(type.dtype))
    return np.asarray(generator.integers(0, 2 if type.dtype == "bool" else 10, shape)).astype(numpy_dtype(type.dtype))


@st.composite
def _types(draw: Draw) -> TensorType:
    dtype = draw(st.sampled_from(("float32", "float32", "float32", "float64", "int64", "bool")))
    return TensorType(dtype, tuple(draw(st.lists(st.sampled_from(SIZES), max_size=3))))


def _pick(draw: Draw, pool: list[Value], accept: Callable[[Value], bool]) -> Value | None:
    fitting = [v for v in pool if accept(v)]
    return draw(st.sampled_from(fitting)) if fitting else None


def _is_float(value: Value) -> bool:
    return value.dtype in FLOATS


def _has_axes(value: Value) -> bool:
    return _is_float(value) and value.rank > 0


def _fits(value: Value, other: Value) -> bool:
    """Whether the shapes broadcast for every size of the symbols."""
    pairs = zip(reversed(value.shape), reversed(other.shape), strict=False)
    return value.dtype == other.dtype and all(a == b or a == 1 or b == 1 for a, b in pairs)


def _unary(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = _pick(draw, pool, _is_float)
    return [apply(draw(UNARY), x)] if x else []


def _binary(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = _pick(draw, pool, lambda v: v.dtype != "bool")
    if x is None:
        return []
    y = _pick(draw, [*pool, _scalar(draw, x), _factors(draw, x)], lambda v: _fits(x, v))
    assert y is not None
    # Bounded, so that no chain of products overflows.
    result = apply(draw(ARITHMETIC), *draw(st.permutations((x, y))))
    return [apply("tanh", result)] if _is_float(result) else [apply("minimum", result, constant(9, result.dtype))]


def _scalar(draw: Draw, like: Value) -> Value:
    return constant(draw(st.sampled_from((0, 1, 2, 0.5) if _is_float(like) else (0, 1, 2))), like.dtype)


def _factors(draw: Draw, like: Value) -> Value:
    """A constant that broadcasts along some axes of `like`."""
    shape = [d if isinstance(d, int) and draw(st.booleans()) else 1 for d in like.shape]
    shape = shape[draw(st.integers(0, like.rank)) :]
    return constant(np.arange(math.prod(shape)).reshape(shape) % 3, like.dtype)


def _select(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = _pick(draw, pool, lambda v: v.dtype != "bool")
    if x is None:
        return []
    condition = apply(draw(COMPARISON), x, _scalar(draw, x))
    return [condition, apply("where", condition, x, _scalar(draw, x))]


def _cast(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    return [
        apply("cast", draw(st.sampled_from(pool)), to=draw(st.sampled_from(("float32", "float64", "int64", "bool"))))
    ]


def _reduce(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = _pick(draw, pool, _has_axes)
    if x is None:
        return []
    axes = draw(st.sets(st.integers(0, x.rank - 1), min_size=1))
    return [apply(draw(REDUCTION), x, axes=tuple(sorted(axes)), keepdims=draw(st.booleans()))]


def _normalize(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = _pick(draw, pool, _has_axes)
    if x is None:
        return []
    last = x.shape[-1]
    if isinstance(last, int) and draw(st.booleans()):
        weights = [constant(np.linspace(0.5, 1.5, last), x.dtype) for _ in range(2)]
        return [apply("layer_norm", x, *weights, axis=x.rank - 1, epsilon=0.1)]
    return [apply("softmax", x, axis=draw(st.integers(0, x.rank - 1)))]


def _transpose(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = draw(st.sampled_from(pool))
    return [apply("transpose", x, perm=tuple(draw(st.permutations(range(x.rank)))))]


def _reshape(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    """Flattens, or puts an axis of size 1 somewhere."""
    x = draw(st.sampled_from(pool))
    if draw(st.booleans()):
        return [apply("reshape", x, shape=(x.type.size,))]
    place = draw(st.integers(0, x.rank))
    return [apply("reshape", x, shape=(*x.shape[:place], 1, *x.shape[place:]))]


def _expand(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = draw(st.sampled_from(pool))
    return [apply("expand", x, shape=(2, *x.shape))]


def _slice(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    """The first half, rounded up, of the axes of known size; perhaps backwards."""
    x = draw(st.sampled_from(pool))
    backwards = draw(st.booleans())
    known = [isinstance(d, int) for d in x.shape]
    sizes = tuple((d + 1) // 2 if k else d for d, k in zip(x.shape, known, strict=True))
    starts = tuple(d - 1 if k and backwards else 0 for d, k in zip(sizes, known, strict=True))
    return [apply("slice", x, starts=starts, sizes=sizes, steps=tuple(-1 if k and backwards else 1 for k in known))]


def _concat(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = _pick(draw, pool, lambda v: v.rank > 0)
    return [apply("concat", x, x, axis=draw(st.integers(0, x.rank - 1)))] if x else []


def _split(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = _pick(draw, pool, lambda v: v.rank > 0 and isinstance(v.shape[-1], int) and v.shape[-1] > 1)
    return apply_op("split", x, axis=x.rank - 1, sizes=(1, x.shape[-1] - 1)) if x else []


def _image(draw: Draw, pool: list[Value]) -> Value | None:
    """A value with batch, channels and spatial axes: one that has them, or another one with axes put before it."""
    image = _pick(draw, pool, lambda v: v.dtype == "float32" and v.rank in (3, 4) and isinstance(v.shape[1], int))
    if image is not None and draw(st.integers(0, 3)):
        return image
    x = _pick(draw, pool, lambda v: v.dtype == "float32" and v.rank in (1, 2))
    return image if x is None else apply("reshape", x, shape=(1, 1, *x.shape))


def _windows(draw: Draw, rank: int) -> tuple[tuple[int, ...], dict[str, Any]]:
    """A kernel that fits images of any size, and its attributes."""
    size = draw(st.sampled_from((1, 3)))
    pads = (size // 2,) * (2 * rank)
    return (size,) * rank, {"strides": (draw(st.integers(1, 2)),) * rank, "pads": pads, "dilations": (1,) * rank}


def _conv(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = _image(draw, pool)
    if x is None:
        return []
    kernel, attrs = _windows(draw, x.rank - 2)
    groups = draw(st.sampled_from((1, x.shape[1])))
    shape = (groups * draw(st.integers(1, 3)), x.shape[1] // groups, *kernel)
    weights = constant(np.linspace(-1, 1, math.prod(shape)).reshape(shape), "float32")
    bias = [constant(np.arange(shape[0]), "float32")] if draw(st.booleans()) else []
    return [apply("tanh", apply("conv", x, weights, *bias, groups=groups, **attrs))]


def _pool(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = _image(draw, pool)
    if x is None:
        return []
    kernel, attrs = _windows(draw, x.rank - 2)
    return [apply(draw(st.sampled_from(("max_pool", "avg_pool"))), x, kernel=kernel, **attrs)]


def _matmul(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = _pick(draw, pool, lambda v: _has_axes(v) and isinstance(v.shape[-1], int))
    if x is None:
        return []
    rows, columns = x.shape[-1], draw(st.integers(1, 4))
    return [apply("matmul", x, constant(np.linspace(-1, 1, rows * columns).reshape(rows, columns), x.dtype))]


def _gather(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = _pick(draw, pool, lambda v: v.rank > 0)
    return [apply("gather", x, constant([0, -1], "int64"), axis=draw(st.integers(0, x.rank - 1)))] if x else []


def _top(draw: Draw, pool: list[Value]) -> Sequence[Value]:
    x = _pick(draw, pool, _has_axes)
    return apply_op("top_k", x, k=1, axis=draw(st.integers(0, x.rank - 1))) if x else []


BUILDERS: tuple[Builder, ...] = (
    _unary,
    _binary,
    _binary,
    _select,
    _cast,
    _reduce,
    _normalize,
    _transpose,
    _reshape,
    _expand,
    _slice,
    _concat,
    _split,
    _conv,
    _conv,
    _pool,
    _matmul,
    _gather,
    _top,
)
