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
        return _floor(dim, symbols)
    if name == "Mul" and dim.args[0].is_negative and type(dim.args[-1]).__name__ == "floor" and len(dim.args) == 2:
        return tirx.Mul(_translate(dim.args[0], symbols), _floor(dim.args[1], symbols, subtracted=True))
    if name in _FOLDS:
        return _fold([_translate(arg, symbols) for arg in dim.args], _FOLDS[name])
    raise ValueError(f"a size of the form {dim} cannot be computed in a kernel")


def _floor(dim: Any, symbols: Mapping[str, Expr], *, subtracted: bool = False) -> Expr:
    """A quotient rounded down. `subtracted`, or with a minus, it may be less than 0: it is rounded up without."""
    numerator, denominator = dim.args[0].together().as_numer_denom()
    below, by = _translate(numerator, symbols), _translate(denominator, symbols)
    if computed_symbols([dim]):
        return tirx.floordiv(below, by)
    if subtracted or numerator.could_extract_minus_sign():
        above = _translate(-numerator, symbols)
        up = tirx.Select(above > 0, tirx.truncdiv(above + (by - 1), by), tirx.truncdiv(above, by))
        return tirx.Mul(index(-1), up)
    return tirx.truncdiv(below, by)


_FOLDS: Mapping[str, Callable[[Expr, Expr], Expr]] = {
    "Add": tirx.Add, "Mul": tirx.Mul, "Min": tirx.min, "Max": tirx.max, "Mod": tirx.floormod,
}  # fmt: skip


def _fold(parts: Sequence[Expr], combine: Callable[[Expr, Expr], Expr]) -> Expr:
    return reduce(combine, parts)
