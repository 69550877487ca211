"""Reductions over any axes, softmax, arg-reductions, and elementwise kernels, with fixed and run-time sizes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from tests.kernels.built import NATIVE, Array, Built, normal
from tilewright.backends.kernels.elementwise import emit_pointwise
from tilewright.backends.kernels.expr import ArgReduction, Namespace, Reduction
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops
from tilewright.backends.kernels.nest import Nest
from tilewright.backends.kernels.rowwise import emit_rows

SHAPES = [
    ((7, 100), (1,)),
    ((3, 5, 33), (1,)),
    ((4, 6, 5), (1,)),
    ((2, 3, 40), (0, 1)),
    ((3, 7, 13, 13), (2, 3)),
    ((50000,), (0,)),
    ((6, 5, 130), (0, 2)),
]
FIXED_OR_NOT = pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "run-time"])


class Problem:
    """A kernel from `x` to `y`, and the axes that it folds."""

    def __init__(self, shape: tuple[int, ...], axes: tuple[int, ...], dtype: str, dynamic: bool) -> None:
        self.k, self.b = Loops("rows"), Namespace({})
        sizes: list[Index] = [self.k.dim(f"d{a}") if dynamic else s for a, s in enumerate(shape)]
        self.nest = Nest(tuple(sizes), axes)
        self.x = self.k.buffer("x", sizes, dtype)

    def term(self, row: tuple[Index, ...], column: tuple[Index, ...]) -> Expr:
        return self.x[self.nest.index(row, column)]

    def result(self, shape: tuple[Index, ...], dtype: str) -> Buffer:
        return self.k.buffer("y", shape, dtype)

    def emit_row(self, fold: Reduction | ArgReduction) -> None:
        y = self.result(self.nest.rows, fold.dtype)
        emit_rows(self.k, NATIVE, self.nest, [fold], finish_row=lambda row: self.k.store(y, row, fold(*row)))


def array(shape: tuple[int, ...], dtype: str) -> Array:
    values = normal(*shape)
    return values > -1 if dtype == "bool" else (values * 4).astype(dtype)


@FIXED_OR_NOT
@pytest.mark.parametrize(("shape", "axes"), SHAPES)
@pytest.mark.parametrize(("kind", "dtype"), [("sum", "float32"), ("max", "float32"), ("sum", "int64"), ("all", "bool")])
def test_reduction(shape: tuple[int, ...], axes: tuple[int, ...], kind: str, dtype: str, dynamic: bool) -> None:
    problem, x = Problem(shape, axes, dtype, dynamic), array(shape, dtype)
    nest = problem.nest
    problem.emit_row(problem.b.reduce(kind, nest.rows, nest.columns, dtype, problem.term))
    expected = np.asarray(getattr(np, kind)(x, axis=axes))
    result = Built(problem.k)(x, np.zeros_like(expected))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)


@FIXED_OR_NOT
@pytest.mark.parametrize(("shape", "axes"), SHAPES)
def test_softmax(shape: tuple[int, ...], axes: tuple[int, ...], dynamic: bool) -> None:
    problem, x = Problem(shape, axes, "float32", dynamic), normal(*shape)
    k, b, nest = problem.k, problem.b, problem.nest

    def row(place: tuple[Index, ...]) -> list[Index]:
        return [place[axis] for axis in nest.kept]

    greatest = b.reduce("max", nest.rows, nest.columns, "float32", problem.term)
    powers = b.stage(nest.shape, "float32", lambda *i: b.exp(problem.x[i] - greatest(*row(i))))
    total = b.reduce("sum", nest.rows, nest.columns, "float32", lambda i, r: powers(*nest.index(i, r)))
    y = problem.result(nest.shape, "float32")
    emit_rows(
        k, NATIVE, nest, [greatest, powers, total],
        finish=lambda place: k.store(y, place, powers(*place) / total(*row(place))),
    )  # fmt: skip
    expected = np.exp(x - x.max(axes, keepdims=True))
    result = Built(k)(x, np.zeros_like(x))
    np.testing.assert_allclose(result, expected / expected.sum(axes, keepdims=True), rtol=1e-4)


@FIXED_OR_NOT
@pytest.mark.parametrize("select_last", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((4, 70, 49), 1), ((5, 70), 1), ((3, 9), 0)])
@pytest.mark.parametrize("kind", ["max", "min"])
def test_arg_reduction(shape: tuple[int, ...], axis: int, kind: str, select_last: bool, dynamic: bool) -> None:
    problem = Problem(shape, (axis,), "float32", dynamic)
    x = np.round(normal(*shape))  # many equal elements
    nest, dtype = problem.nest, "int64"
    problem.emit_row(problem.b.argreduce(kind, nest.rows, nest.columns[0], dtype, problem.term, select_last))
    function = np.argmax if kind == "max" else np.argmin
    expected = function(x, axis=axis)
    if select_last:
        expected = shape[axis] - 1 - function(np.flip(x, axis), axis=axis)
    np.testing.assert_array_equal(Built(problem.k)(x, np.zeros_like(expected)), expected)


@FIXED_OR_NOT
@pytest.mark.parametrize("shape", [(1,), (5,), (1000,), (30001,), (3, 7), (50, 33), (2, 3, 20, 100)])
def test_pointwise(shape: tuple[int, ...], dynamic: bool) -> None:
    k = Loops("pointwise")
    sizes: list[Index] = [k.dim(f"d{a}") if dynamic else s for a, s in enumerate(shape)]
    x, y = k.buffer("x", sizes), k.buffer("y", sizes)
    emit_pointwise(k, NATIVE, sizes, functools.partial(_double, k, x, y))
    values = normal(*shape)
    np.testing.assert_array_equal(Built(k)(values, np.zeros_like(values)), values * 2)


def test_pointwise_without_axes() -> None:
    k = Loops("pointwise")
    x, y = k.buffer("x", ()), k.buffer("y", ())
    emit_pointwise(k, NATIVE, (), functools.partial(_double, k, x, y))
    assert Built(k)(np.array(3.0, np.float32), np.zeros((), np.float32)) == 6.0


def _double(k: Loops, x: Buffer, y: Buffer, place: Any) -> None:
    k.store(y, place, x[place] * 2.0)
