"""Operators that make one element of a whole row: sums, extremes, and where the extremes are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.dims import Dim
from tilewright.ir.op import REQUIRED, Array, Attrs, Compute, Infer, Kind, Op, Ref, Sample
from tilewright.ir.ops.checks import require, require_axis, require_dtype
from tilewright.ir.ops.precision import accumulator, exact, narrowed
from tilewright.ir.types import FLOATS, INTEGERS, NUMERIC, TensorType, dtype_name, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def reduced_shape(shape: Sequence[Any], axes: Sequence[int], keepdims: bool) -> tuple[Any, ...]:
    """`shape` after a reduction over `axes`, which become 1 or vanish."""
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def merged_index(rank: int, axes: Sequence[int], keepdims: bool, index: Sequence[Any], row: Sequence[Any]) -> list[Any]:
    """The place in the input: `row` along `axes`, the result's `index` along the others."""
    inside = iter(row)
    outside = (i for axis, i in enumerate(index) if not keepdims or axis not in axes)
    return [next(inside) if axis in axes else next(outside) for axis in range(rank)]


def reduce_stage(
    b: Any,
    kind: str,
    x: Any,
    axes: Sequence[int],
    keepdims: bool = True,
    element: Callable[[Any], Any] | None = None,
    dtype: str | None = None,
) -> Any:
    """The stage that reduces `element(x[...])` over `axes`, in `dtype` or the accumulator's type for `x`."""
    wide = dtype or accumulator(x.dtype)
    axes = sorted(axes)
    rank = len(x.shape)

    def term(index: Sequence[Any], row: Sequence[Any]) -> Any:
        value = b.cast(x(*merged_index(rank, axes, keepdims, index, row)), wide)
        return element(value) if element else value

    extents = tuple(x.shape[axis] for axis in axes)
    return b.reduce(kind, reduced_shape(x.shape, axes, keepdims), extents, wide, term)


def reciprocal_of_count(b: Any, extents: Sequence[Any], dtype: str) -> Any:
    """1 / the product of `extents`, as a scalar of `dtype`; a constant where all are known."""
    count: Any = 1
    for extent in extents:
        count = count * extent
    if isinstance(count, int):
        return b.const(1 / count if count else float("nan"), dtype)
    return b.const(1, dtype) / b.cast(count, dtype)


def lowest(dtype: str) -> Any:
    """What every element of `dtype` is at least."""
    return False if dtype == "bool" else -np.inf if dtype in FLOATS else np.iinfo(dtype).min


def highest(dtype: str) -> Any:
    """What every element of `dtype` is at most."""
    return True if dtype == "bool" else np.inf if dtype in FLOATS else np.iinfo(dtype).max


def _infer_reduction(accepted: Sequence[str]) -> Infer:
    def infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
        axes = attrs["axes"]
        require_dtype(types[0], accepted, "the input")
        for axis in axes:
            require_axis(axis, types[0].rank)
        require(len(set(axes)) == len(axes), f"axes {axes} names an axis twice")
        return (types[0].with_shape(reduced_shape(types[0].shape, axes, attrs["keepdims"])),)

    return infer


def _ref_reduction(function: Callable[[Array, tuple[int, ...], bool, str], Any]) -> Ref:
    def ref(attrs: Attrs, x: Array) -> Array:
        with np.errstate(all="ignore"):
            result = function(exact(x), attrs["axes"], attrs["keepdims"], dtype_name(x.dtype))
            return np.asarray(result).astype(x.dtype)

    return ref


def _compute_reduction(kind: str, of_bool: str = "") -> Compute:
    """A reduction of the given kind; `of_bool` is the kind that does the same to bools."""

    def compute(b: Any, node: Node, x: Any) -> Any:
        chosen = of_bool if x.dtype == "bool" else kind
        return narrowed(b, reduce_stage(b, chosen, x, node.attrs["axes"], node.attrs["keepdims"]), x.dtype)

    return compute


def _compute_mean(b: Any, node: Node, x: Any) -> Any:
    total = reduce_stage(b, "sum", x, node.attrs["axes"], node.attrs["keepdims"])
    scale = reciprocal_of_count(b, [x.shape[axis] for axis in node.attrs["axes"]], total.dtype)
    return b.stage(total.shape, x.dtype, lambda *index: b.cast(total(*index) * scale, x.dtype))


def _reduction(
    name: str,
    accepted: Sequence[str],
    ref: Callable[[Array, tuple[int, ...], bool, str], Any],
    compute: Compute,
    doc: str,
) -> Op:
    return Op(
        name,
        Kind.REDUCTION,
        _infer_reduction(accepted),
        _ref_reduction(ref),
        compute,
        (1, 1),
        {"axes": REQUIRED, "keepdims": False},
        lambda: _samples_reduction(accepted),
        doc,
    )


def _samples_reduction(accepted: Sequence[str]) -> list[Sample]:
    return [
        Sample((tensor(accepted[0], 3, "n", 5),), {"axes": (2,)}),
        Sample((tensor(accepted[len(accepted) // 2], 3, "n", 2),), {"axes": (0, 2), "keepdims": True}),
        Sample((tensor(accepted[-1], 2, 3),), {"axes": (1, 0)}),
        Sample((tensor("float32", 4),), {"axes": (), "keepdims": True}),
        Sample((np.array([[1.0, np.nan], [3.0, 2.0]], dtype=np.float32),), {"axes": (1,)}),
    ]


def _infer_arg(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require_dtype(types[0], NUMERIC, "the input")
    require_axis(attrs["axis"], types[0].rank)
    shape: tuple[Dim, ...] = reduced_shape(types[0].shape, (attrs["axis"],), attrs["keepdims"])
    return (TensorType("int64", shape),)


def _ref_arg(function: Callable[..., Any]) -> Ref:
    def ref(attrs: Attrs, x: Array) -> Array:
        axis, keepdims = attrs["axis"], attrs["keepdims"]
        if not attrs["select_last"]:
            return np.asarray(function(x, axis=axis, keepdims=keepdims)).astype(np.int64)
        from_end = function(np.flip(x, axis), axis=axis, keepdims=keepdims)
        return np.asarray(x.shape[axis] - 1 - from_end).astype(np.int64)

    return ref


def _compute_arg(kind: str) -> Compute:
    def compute(b: Any, node: Node, x: Any) -> Any:
        axis, keepdims = node.attrs["axis"], node.attrs["keepdims"]
        rank, wide = len(x.shape), accumulator(x.dtype)

        def element(index: Sequence[Any], place: Sequence[Any]) -> Any:
            return b.cast(x(*merged_index(rank, (axis,), keepdims, index, place)), wide)

        shape = reduced_shape(x.shape, (axis,), keepdims)
        return b.argreduce(kind, shape, x.shape[axis], "int64", element, node.attrs["select_last"])

    return compute


def _samples_arg() -> list[Sample]:
    ties = np.array([[1, 3, 3, 2], [5, 5, 0, 0]], dtype=np.int32)
    return [
        Sample((ties,), {"axis": 1}),
        Sample((ties,), {"axis": 1, "select_last": True, "keepdims": True}),
        Sample((np.array([1.0, np.nan, 3.0, np.nan, 2.0], dtype=np.float32),), {"axis": 0}),
        Sample((tensor("float32", 3, "n", 2),), {"axis": 0}),
    ]


def _arg(name: str, kind: str, function: Callable[..., Any], doc: str) -> Op:
    return Op(
        name,
        Kind.REDUCTION,
        _infer_arg,
        _ref_arg(function),
        _compute_arg(kind),
        (1, 1),
        {"axis": REQUIRED, "keepdims": False, "select_last": False},
        _samples_arg,
        doc,
    )


ROWS: tuple[Op, ...] = (
    _reduction(
        "reduce_sum",
        NUMERIC,
        lambda x, axes, keepdims, dtype: np.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype),
        _compute_reduction("sum"),
        "The sum over axes; integers wrap around.",
    ),
    _reduction(
        "reduce_mean",
        FLOATS,
        lambda x, axes, keepdims, dtype: np.mean(x, axis=axes, keepdims=keepdims),
        _compute_mean,
        "The arithmetic mean over axes.",
    ),
    _reduction(
        "reduce_max",
        (*FLOATS, *INTEGERS, "bool"),
        lambda x, axes, keepdims, dtype: np.max(x, axis=axes, keepdims=keepdims, initial=lowest(dtype)),
        _compute_reduction("max", "any"),
        "The greatest element over axes; of nothing, the lowest number; NaN if there is one.",
    ),
    _reduction(
        "reduce_min",
        (*FLOATS, *INTEGERS, "bool"),
        lambda x, axes, keepdims, dtype: np.min(x, axis=axes, keepdims=keepdims, initial=highest(dtype)),
        _compute_reduction("min", "all"),
        "The least element over axes; of nothing, the highest number; NaN if there is one.",
    ),
    _reduction(
        "reduce_prod",
        NUMERIC,
        lambda x, axes, keepdims, dtype: np.prod(x, axis=axes, keepdims=keepdims, dtype=x.dtype),
        _compute_reduction("prod"),
        "The product over axes; integers wrap around.",
    ),
    _arg(
        "argmax",
        "max",
        np.argmax,
        "The place of the greatest element along an axis: the first, or the last, of equals; NaN wins.",
    ),
    _arg(
        "argmin",
        "min",
        np.argmin,
        "The place of the least element along an axis: the first, or the last, of equals; NaN wins.",
    ),
)
