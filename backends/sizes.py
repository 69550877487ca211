"""Sizes as text: Python syntax over symbol names with + - * // % and the functions min and max."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from types import CodeType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import ast

Dim: TypeAlias = "int | str"
"""A number, or the text of an expression."""

_NAME = re.compile(r"[A-Za-z_]\w*")
_FUNCTIONS = {"min": min, "max": max}


def symbols(dims: Iterable[Dim]) -> set[str]:
    """Names of the symbols in `dims`."""
    return {name for d in dims if isinstance(d, str) for name in _NAME.findall(d)} - set(_FUNCTIONS)


def evaluate(dim: Dim, sizes: Mapping[str, int]) -> int:
    """The number for given sizes of the symbols. Raises KeyError for a symbol without a size."""
    if isinstance(dim, int):
        return dim
    if dim.isidentifier():
        return sizes[dim]
    values = {name: sizes[name] for name in symbols([dim])}
    return int(eval(_compiled(dim), {"__builtins__": _FUNCTIONS}, values))  # parse_dim has let nothing else pass


def parse_dim(text: str) -> ast.expr:
    """The syntax tree of a size. Raises ValueError for anything but the operators of sizes."""
    import ast

    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise ValueError(f"{text!r} is not a size") from error
    if not all(map(_is_allowed, ast.walk(tree))):
        raise ValueError(f"{text!r} is not a size")
    return tree.body


def _is_allowed(node: ast.AST) -> bool:
    import ast

    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    operators = (ast.BinOp, ast.UnaryOp, ast.USub, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod)
    return isinstance(node, (ast.Expression, ast.Name, ast.Load, ast.Constant, *operators))


@functools.lru_cache(maxsize=1024)
def _compiled(text: str) -> CodeType:
    import ast

    return compile(ast.Expression(parse_dim(text)), "<size>", "eval")
