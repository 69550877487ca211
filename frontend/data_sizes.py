"""Integers that a model computes, or is given, where its operators need sizes: they get symbols.

A shape, a count or a bound may depend on data. `DataSizes` names such numbers by symbols that begin with an underscore,
and sees to it that whatever uses a symbol comes after the node that gives it its number.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tilewright.frontend.contents import Contents, UndecidedError, as_declared, evaluate, is_small
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Graph, Value, apply
from tilewright.ir.op import Array
from tilewright.ir.types import HELD, INTEGERS

# What symbols of any sign may go through; divisions and comparisons of them are left to the running model.
_EXACT = frozenset({"add", "sub", "mul", "neg", "concat", "slice", "split", "gather", "reshape", "expand", "transpose"})
_EXACT_CAST = "cast"
_MANY = 8  # computed symbols in a size: sympy takes seconds over long sums of what models found


class DataSizes:
    """The symbols of one model, and the values that they stand for."""

    def __init__(self, contents: Contents, outer: DataSizes | None = None) -> None:
        """`outer` are those around a region, whose symbols are known before it runs."""
        self._contents = contents
        self._named: dict[Value, Array | None] = {}
        self._numbers: dict[str, tuple[Value, tuple[Dim, ...]]] = {}  # by symbol: a vector, and symbols of its elements
        self._short: dict[Dim, Dim] = {}  # by a size of many symbols: one that stands for it
        self._outer = outer
        self._count: Iterator[int] = itertools.count() if outer is None else outer._count

    @property
    def own(self) -> frozenset[str]:
        """The symbols that get their numbers here, not around."""
        return frozenset(self._numbers)

    def _is_outer(self, name: str) -> bool:
        return self._outer is not None and (name in self._outer._numbers or self._outer._is_outer(name))

    def fresh(self) -> Dim:
        """A symbol of its own, for a size that a new node will define by its result."""
        return dims.symbol(f"_s{next(self._count)}")

    def of(self, value: Value) -> Array | None:
        """The elements of `value`: known ones, expressions, or symbols. None for what is no small integer tensor."""
        stack = [value]
        while stack:
            top = stack[-1]
            pending = [] if top in self._named else [v for v in self._steps(top) if v not in self._named]
            stack.extend(pending)
            if not pending:
                stack.pop()
                if top not in self._named:
                    self._named[top] = self._settled(top)
        return self._named[value]

    def _steps(self, value: Value) -> Sequence[Value]:
        """The inputs through which the elements of `value` can be followed."""
        node = value.node
        if node is None or self._contents.of(value) is not None or not _is_integer(value):
            return ()
        follow = node.op.name in _EXACT or (node.op.name == _EXACT_CAST and _is_integer(node.inputs[0]))
        return node.inputs if follow else ()

    def _settled(self, value: Value) -> Array | None:
        known = self._contents.of(value)
        if known is not None or not _is_integer(value):
            return known
        steps = self._steps(value)
        arrays = [array for v in steps if (array := self._named.get(v)) is not None]
        if steps and len(arrays) == len(steps) and value.node is not None:
            try:
                return as_declared(evaluate(value.node, arrays)[value.index], value)
            except UndecidedError:
                pass
        return self._symbols(value)

    def _symbols(self, value: Value) -> Array:
        """A symbol for each element."""
        count = dims.static_product(value.shape)
        symbols = [self.fresh() for _ in range(count)]
        for symbol in symbols:
            self._numbers[str(symbol)] = (value, tuple(symbols))
        found = np.empty(count, dtype=object)
        found[:] = symbols
        return found.reshape(value.shape)

    def note(self, results: Iterable[Value]) -> None:
        """Remember the symbols that new nodes define by the sizes of their results."""
        for value in results:
            for dim in value.shape:
                plain = not isinstance(dim, int) and dim.is_Symbol and dims.is_computed(dim.name)
                if plain and not self._is_outer(dim.name):
                    self._numbers.setdefault(dim.name, (value, ()))

    def ordered(self, operands: Sequence[Value], attrs: Mapping[str, Any], source: str) -> tuple[Value, ...]:
        """`operands` such that a node of them comes after all that gives the symbols in `attrs` their numbers."""
        shown = dims.symbols_of(d for v in operands for d in v.shape)
        used = dims.computed_symbols(_sizes(attrs.values())) - shown
        vectors = dict.fromkeys(self._vector(name, source) for name in sorted(used) if name in self._numbers)
        if not vectors:
            return tuple(operands)
        first, *rest = operands or (next(iter(vectors))[0],)
        for numbers, symbols in vectors:
            first = apply("with_sizes", first, numbers, symbols=symbols, source=source)
        return (first, *rest)

    def shortened(self, value: Value, source: str) -> Value:
        """`value`; where a size has many computed symbols, with one that stands for it in its place."""
        long = [d for d in value.shape if not isinstance(d, int) and len(dims.computed_symbols([d])) > _MANY]
        if not long or value.dtype in HELD:
            return value
        for dim in long:
            if dim not in self._short:
                numbers = apply("sizes", *self.ordered((), {"dims": (dim,)}, source), dims=(dim,), source=source)
                self._short[dim] = self.fresh()
                self._numbers[str(self._short[dim])] = (numbers, (self._short[dim],))
        shape = tuple(self._short.get(d, d) for d in value.shape)
        return apply("reshape", *self.ordered((value,), {"shape": shape}, source), shape=shape, source=source)

    def _vector(self, name: str, source: str) -> tuple[Value, tuple[Dim, ...]]:
        """An int64 vector in which the number of symbol `name` is, and the symbols of all its elements."""
        value, symbols = self._numbers[name]
        if not symbols:
            symbols = (dims.symbol(name),)
            numbers = apply("sizes", value, dims=symbols, source=source)
        else:
            numbers = value if value.dtype == "int64" else apply("cast", value, to="int64", source=source)
            if numbers.rank != 1:
                numbers = apply("reshape", numbers, shape=(len(symbols),), source=source)
        for symbol in symbols:
            self._numbers[str(symbol)] = (numbers, symbols)
        return numbers, symbols


def _is_integer(value: Value) -> bool:
    return value.dtype in INTEGERS and is_small(value)


def _sizes(attributes: Iterable[Any]) -> Iterable[Dim]:
    for value in attributes:
        if isinstance(value, tuple):
            yield from _sizes(value)
        elif isinstance(value, Graph):
            for node in value.nodes:
                yield from (d for result in node.results for d in result.shape)
                yield from _sizes(node.attrs.values())
        elif hasattr(value, "free_symbols"):
            yield value
