"""Sizes of tensors: `int`, or a sympy expression over named integer symbols.

A symbol is a positive size, unless its name begins with an underscore: then it is a number that the model computes, as
the length of what it found or a bound that it was given, and may be zero or negative.

sympy is imported on first symbolic use only, so that running a saved model never pays for it.
"""

from __future__ import annotations

import functools
import keyword
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import sympy

Dim: TypeAlias = "int | sympy.Expr"


def symbol(name: str) -> sympy.Expr:
    """The integer called `name`, positive unless the name says that it is computed; equal names are the same symbol."""
    import sympy

    if is_computed(name):
        return sympy.Symbol(name, integer=True)
    return sympy.Symbol(name, integer=True, positive=True)


def is_computed(name: str) -> bool:
    """Whether the symbol called `name` stands for a number that the model computes from data, of any sign."""
    return name.startswith("_")


def computed_symbols(dims: Iterable[Dim]) -> set[str]:
    """Names of the symbols in `dims` that stand for computed numbers."""
    return {name for name in symbols_of(dims) if is_computed(name)}


def as_dim(value: Any) -> Dim:
    """Normalise: whatever is an integer number becomes `int`.

    Raises TypeError for floats and anything else that is not an integer or an expression.
    """
    if type(value) is int:
        return value
    if hasattr(value, "is_Integer"):
        return int(value) if value.is_Integer else value
    if hasattr(value, "__index__"):
        return int(value.__index__())
    raise TypeError(f"{value!r} is not a size")


def is_static(dim: Dim) -> bool:
    return isinstance(dim, int)


def add(*terms: Dim) -> Dim:
    return as_dim(sum(terms))


def sub(a: Dim, b: Dim) -> Dim:
    return as_dim(a - b)


def product(dims: Iterable[Dim]) -> Dim:
    """The product, expanded so that equal products compare equal."""
    result: Dim = 1
    for dim in dims:
        result = result * dim
    return result if isinstance(result, int) else as_dim(result.expand())


def floordiv(a: Dim, b: Dim) -> Dim:
    """Floor division; exact where it can be proved, so (2*h)//2 is h, and in one step: (h//2 + 1)//2 is (h + 2)//4."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    import sympy

    if not isinstance(b, int):
        return as_dim(sympy.floor(sympy.cancel(sympy.sympify(a) / b)))
    expanded = sympy.expand(a)
    constant = int(expanded.as_coeff_Add()[0])
    quotient, remainder = divmod(constant, b)
    rest = expanded - constant
    if isinstance(rest, sympy.floor):
        numerator, denominator = rest.args[0].as_numer_denom()
        return as_dim(sympy.floor((numerator + remainder * denominator) / (denominator * b)) + quotient)
    return as_dim(sympy.floor((rest + remainder) / b) + quotient)


def ceildiv(a: Dim, b: Dim) -> Dim:
    return as_dim(-floordiv(as_dim(-a), b))


def mod(a: Dim, b: Dim) -> Dim:
    return as_dim(a - floordiv(a, b) * b)


def minimum(a: Dim, b: Dim) -> Dim:
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else _extreme("Min", a, b)


def maximum(a: Dim, b: Dim) -> Dim:
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else _extreme("Max", a, b)


@functools.lru_cache(maxsize=1 << 12)
def _extreme(name: str, a: Dim, b: Dim) -> Dim:
    """sympy takes milliseconds to find out whether one is always the smaller."""
    import sympy

    return as_dim(getattr(sympy, name)(a, b))


def equal(a: Dim, b: Dim) -> bool:
    """True only where equality can be proved for every value of the symbols."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    if a == b:
        return True
    import sympy

    return bool(sympy.expand(sympy.sympify(a) - b) == 0)


def same_shape(a: Iterable[Dim], b: Iterable[Dim]) -> bool:
    a, b = tuple(a), tuple(b)
    return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))


def symbols_of(dims: Iterable[Dim]) -> set[str]:
    """Names of all symbols in `dims`."""
    return {s.name for dim in dims if not isinstance(dim, int) for s in dim.free_symbols}


def evaluate(dim: Dim, sizes: Mapping[str, int]) -> int:
    """The number for given sizes of the symbols. Raises KeyError for a symbol without a size."""
    if isinstance(dim, int):
        return dim
    if dim.is_Symbol and dim.name in sizes:
        return sizes[dim.name]
    missing = symbols_of([dim]) - set(sizes)
    if missing:
        raise KeyError(", ".join(sorted(missing)))
    return int(dim.subs({s: sizes[s.name] for s in dim.free_symbols}))


def bind(dim: Dim, sizes: Mapping[str, Dim]) -> Dim:
    """Replace the symbols that `sizes` names; the others stay."""
    if isinstance(dim, int):
        return dim
    return as_dim(_rebuilt(dim, sizes))


def _rebuilt(expr: Any, sizes: Mapping[str, Dim]) -> Any:
    if expr.is_Symbol:
        return sizes.get(expr.name, expr)
    args = [_rebuilt(arg, sizes) for arg in expr.args]
    if all(new is old for new, old in zip(args, expr.args, strict=True)):
        return expr
    extreme = _EXTREMES.get(type(expr).__name__.lower())
    return reduce(extreme, map(as_dim, args)) if extreme else expr.func(*args)


def broadcast(a: Dim, b: Dim) -> Dim | None:
    """The size of a broadcast axis, or None where two known sizes clash.

    A symbol beside another size that it cannot be proved equal to is taken to be equal: compiled kernels check it when
    they run. A computed one is kept, so that what follows comes after it.
    """
    if equal(a, b) or b == 1:
        return a
    if a == 1 or isinstance(b, int):
        return None if isinstance(a, int) and a != 1 else b
    if isinstance(a, int):
        return a
    return min(a, b, key=lambda d: (not computed_symbols([d]), len(str(d)), str(d)))


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = ("min", "max", "inf", "nan", "graph", *keyword.kwlist)


def symbol_name(text: str) -> str:
    """A name from a model turned into one that the text form can hold."""
    cleaned = re.sub(r"[^A-Za-z0-9_]", "_", text)
    legal = _NAME.fullmatch(cleaned) and cleaned not in _RESERVED and not is_computed(cleaned)
    return cleaned if legal else f"d_{cleaned}"


def to_text(dim: Dim) -> str:
    """Python syntax over symbol names with + - * // and the functions min, max; `parse` reads it back."""
    if isinstance(dim, int):
        return str(dim)
    return _text(dim)


def _text(expr: Any) -> str:
    if expr.is_Integer or expr.is_Symbol:
        return str(expr)
    if expr.is_Add:
        return " + ".join(_text(arg) for arg in expr.args)
    if expr.is_Mul:
        return "*".join(f"({_text(arg)})" if arg.is_Add else _text(arg) for arg in expr.args)
    if expr.is_Pow and expr.exp.is_Integer and expr.exp > 0:
        return "*".join([f"({_text(expr.base)})"] * int(expr.exp))
    name = type(expr).__name__
    if name == "floor":
        numerator, denominator = expr.args[0].together().as_numer_denom()
        return f"(({_text(numerator)}) // ({_text(denominator)}))"
    if name in ("Min", "Max"):
        return f"{name.lower()}({', '.join(_text(arg) for arg in expr.args)})"
    raise ValueError(f"a size of the form {expr} has no text form")


def parse(text: str) -> Dim:
    """Read what `to_text` wrote. Raises ValueError on anything else."""
    import ast

    try:
        return _from_ast(ast.parse(text, mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"{text!r} is not a size") from error


def _from_ast(node: Any) -> Dim:
    import ast

    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.Name(id=name):
            return symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return as_dim(-_from_ast(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op).__name__ in _BINARY:
            return _BINARY[type(op).__name__](_from_ast(left), _from_ast(right))
        case ast.Call(func=ast.Name(id=name), args=args) if name in _EXTREMES and args:
            return reduce(_EXTREMES[name], map(_from_ast, args))
    raise ValueError(f"{ast.unparse(node)} is not a size")


_BINARY: Mapping[str, Callable[[Dim, Dim], Dim]] = {
    "Add": add,
    "Sub": sub,
    "Mult": lambda a, b: as_dim(a * b),
    "FloorDiv": floordiv,
    "Mod": mod,
}
_EXTREMES: Mapping[str, Callable[[Dim, Dim], Dim]] = {"min": minimum, "max": maximum}


def static_product(dims: Iterable[int]) -> int:
    return math.prod(dims)
