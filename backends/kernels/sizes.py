"""Symbolic sizes as int64 TIR expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

from tvm import tirx

from tilewright.backends.kernels.loops import Expr, Index, index
from tilewright.ir.dims import Dim, computed_symbols


def size_expr(dim: Dim, symbols: Mapping[str, Expr]) -> Index:
    """`dim` with its symbols replaced. Raises KeyError for an unknown symbol, ValueError for an unknown form."""
    return dim if isinstance(dim, int) else index(_translate(dim, symbols))


def _translate(dim: Any, symbols: Mapping[str, Expr]) -> Expr:
    if dim.is_Integer:
        return index(int(dim))
    if dim.is_Symbol:
        return symbols[dim.name]
    if dim.is_Pow and dim.exp.is_Integer and dim.exp > 0:
        return _fold([_translate(dim.base, symbols)] * int(dim.exp), tirx.Mul)
    name = type(dim).__name__
    # Sizes are not negative, so truncating is flooring, without a sign that TVM would try for minutes to prove.
    # Numbers that the model computes may be.
    if name == "floor":
        numerator, denominator = (_translate(part, symbols) for part in dim.args[0].together().as_numer_denom())
        return (tirx.floordiv if computed_symbols([dim]) else tirx.truncdiv)(numerator, denominator)
    if name in _FOLDS:
        return _fold([_translate(arg, symbols) for arg in dim.args], _FOLDS[name])
    raise ValueError(f"a size of the form {dim} cannot be computed in a kernel")


_FOLDS: Mapping[str, Callable[[Expr, Expr], Expr]] = {
    "Add": tirx.Add, "Mul": tirx.Mul, "Min": tirx.min, "Max": tirx.max, "Mod": tirx.floormod,
}  # fmt: skip


def _fold(parts: Sequence[Expr], combine: Callable[[Expr, Expr], Expr]) -> Expr:
    return reduce(combine, parts)
