"""The backend's namespace over numpy scalars: it runs tensor expressions one element at a time, without a compiler."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tilewright.ir import Array, Dim, Node, Value, dims, numpy_dtype
from tilewright.ir.ops.erf import erf
from tilewright.ir.ops.rational import rational_sigmoid, rational_tanh
from tilewright.ir.types import dtype_name

FOLDS: Mapping[str, Callable[[Any, Any], Any]] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "any": np.logical_or,
    "all": np.logical_and,
}


class Tensor:
    """Elements computed when they are first read, and kept."""

    def __init__(self, shape: Sequence[int], dtype: str, element: Callable[..., Any]) -> None:
        self.shape, self.dtype, self._element = tuple(shape), dtype, element
        self._known: dict[tuple[int, ...], Any] = {}

    def __call__(self, *index: Any) -> Any:
        place = tuple(int(i) for i in index)
        assert len(place) == len(self.shape), f"{len(place)} indices for the shape {self.shape}"
        assert all(0 <= i < n for i, n in zip(place, self.shape, strict=True)), f"{place} is outside {self.shape}"
        if place not in self._known:
            value = self._element(*place)
            found = dtype_name(np.asarray(value).dtype)
            assert found == self.dtype, f"an element is {found}, not {self.dtype}"
            self._known[place] = value
        return self._known[place]

    def array(self) -> Array:
        result = np.empty(self.shape, dtype=numpy_dtype(self.dtype))
        for index in np.ndindex(*self.shape):
            result[index] = self(*index)
        return result


class ScalarNamespace:
    """All that `compute` may ask for. `sizes` gives the symbolic sizes."""

    isnan, isinf = staticmethod(np.isnan), staticmethod(np.isinf)
    exp, log, sqrt, tanh = staticmethod(np.exp), staticmethod(np.log), staticmethod(np.sqrt), staticmethod(np.tanh)
    exp_or_zero = exp
    rational_sigmoid, rational_tanh = staticmethod(rational_sigmoid), staticmethod(rational_tanh)
    unfused = staticmethod(np.positive)
    sin, cos, tan = staticmethod(np.sin), staticmethod(np.cos), staticmethod(np.tan)
    asin, acos, atan = staticmethod(np.arcsin), staticmethod(np.arccos), staticmethod(np.arctan)
    sinh, cosh = staticmethod(np.sinh), staticmethod(np.cosh)
    asinh, acosh, atanh = staticmethod(np.arcsinh), staticmethod(np.arccosh), staticmethod(np.arctanh)
    abs, floor, ceil = staticmethod(np.abs), staticmethod(np.floor), staticmethod(np.ceil)
    round, trunc = staticmethod(np.rint), staticmethod(np.trunc)
    minimum, maximum, pow = staticmethod(np.minimum), staticmethod(np.maximum), staticmethod(np.power)
    floordiv, floormod, truncmod = staticmethod(np.floor_divide), staticmethod(np.mod), staticmethod(np.fmod)
    equal = staticmethod(np.equal)
    logical_and, logical_or = staticmethod(np.logical_and), staticmethod(np.logical_or)
    logical_xor, logical_not = staticmethod(np.logical_xor), staticmethod(np.logical_not)
    bitwise_and, bitwise_or = staticmethod(np.bitwise_and), staticmethod(np.bitwise_or)
    bitwise_xor, bitwise_not = staticmethod(np.bitwise_xor), staticmethod(np.bitwise_not)
    shift_left, shift_right = staticmethod(np.left_shift), staticmethod(np.right_shift)

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes

    def dim(self, dim: Dim) -> int:
        return dims.evaluate(dim, self.sizes)

    def shape(self, value: Value) -> tuple[int, ...]:
        return tuple(self.dim(d) for d in value.shape)

    def const(self, value: Any, dtype: str) -> Any:
        return np.asarray(value).astype(numpy_dtype(dtype))[()]

    def tensor_const(self, array: Array) -> Tensor:
        return Tensor(array.shape, dtype_name(array.dtype), lambda *index: array[index])

    def cast(self, x: Any, dtype: str) -> Any:
        return np.asarray(x).astype(numpy_dtype(dtype))[()]

    def reinterpret(self, x: Any, dtype: str) -> Any:
        return np.asarray(x).view(numpy_dtype(dtype))[()]

    def select(self, condition: Any, x: Any, y: Any) -> Any:
        return x if condition else y

    def guard(self, condition: Any, then: Callable[[], Any], other: Any) -> Any:
        return then() if condition else other

    def erf(self, x: Any) -> Any:
        return erf(np.asarray(x)).astype(x.dtype)[()]

    def reciprocal(self, x: Any) -> Any:
        return 1 / x

    def rsqrt(self, x: Any) -> Any:
        return 1 / np.sqrt(x)

    def gelu(self, x: Any) -> Any:
        wide = np.asarray(x, np.float64)
        return (0.5 * wide * (1 + erf(wide * np.sqrt(0.5)))).astype(x.dtype)[()]

    def sigmoid(self, x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    def divide(self, x: Any, y: Any) -> Any:
        return x / y

    def truncdiv(self, x: Any, y: Any) -> Any:
        return (x - np.fmod(x, y)) // y

    def stage(self, shape: Sequence[int], dtype: str, fn: Callable[..., Any]) -> Tensor:
        return Tensor(shape, dtype, fn)

    def let(self, x: Any) -> Any:
        return x

    def reduce(self, kind: str, shape: Sequence[int], extents: Any, dtype: str, fn: Callable[..., Any]) -> Tensor:
        def element(*index: int) -> Any:
            total = self.const(_identity(kind, dtype), dtype)
            for row in itertools.product(*map(range, extents(index) if callable(extents) else extents)):
                total = FOLDS[kind](total, fn(index, row))
            return total

        return Tensor(shape, dtype, element)

    def argreduce(
        self,
        kind: str,
        shape: Sequence[int],
        extent: int,
        dtype: str,
        fn: Callable[..., Any],
        select_last: bool = False,
    ) -> Tensor:
        def element(*index: int) -> Any:
            row = [fn(index, (place,)) for place in range(extent)]
            best = functools.reduce(FOLDS[kind], row)
            places = [place for place, x in enumerate(row) if x == best or (x != x and best != best)]
            return self.const(places[-1 if select_last else 0], dtype)

        return Tensor(shape, dtype, element)


def evaluate(node: Node, arrays: Sequence[Array], sizes: Mapping[str, int]) -> tuple[Array, ...]:
    """The results of `node` by its tensor expressions."""
    b = ScalarNamespace(sizes)
    with np.errstate(all="ignore"):
        return tuple(t.array() for t in node.op.tensors(b, node, [b.tensor_const(array) for array in arrays]))


def _identity(kind: str, dtype: str) -> Any:
    if kind in ("sum", "prod", "any", "all"):
        return kind in ("prod", "all")
    sign = -1 if kind == "max" else 1
    if dtype.startswith(("float", "bfloat")):
        return sign * np.inf
    limits = np.iinfo(dtype)
    return limits.min if kind == "max" else limits.max
