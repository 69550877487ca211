"""What is known about the elements of small tensors: numbers, or expressions over the graph's symbolic sizes.

Exporters compute shapes with ordinary operators (Shape, Gather, Concat, Reshape, ...). `Contents.of(value)` evaluates
such a chain when a converter needs it, so that the shape becomes an attribute and the chain is left unread. What no
chain tells, `DataSizes` names by symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.graph import Node, Value
from tilewright.ir.op import Array
from tilewright.ir.types import FLOATS, INTEGERS

LARGEST = 4096  # elements: shapes are far smaller, and weights must not be folded here
_DEEPEST = 64  # operations in one expression: keeps a hostile model from growing it without end
_MOVES = ("reshape", "transpose", "expand", "slice", "concat", "split", "tile")
_PICKS = (
    "gather",
    "gather_elements",
    "gather_nd",
    "scatter_elements",
    "scatter_nd",
)  # their second input holds indices


class UndecidedError(Exception):
    """The elements depend on data, or on sizes in a way that has no expression."""


class Contents:
    """Known elements of values, each worked out once.

    An array of a numeric dtype where all elements are numbers, an object array where some are expressions.
    """

    def __init__(self) -> None:
        self._known: dict[Value, Array | None] = {}

    def of(self, value: Value) -> Array | None:
        """The elements of `value`, or None where they are not known."""
        stack = [value]
        while stack:
            top = stack[-1]
            if top in self._known:
                stack.pop()
                continue
            inputs = read_inputs(top.node) if top.node and is_small(top) else ()
            unknown = any(v in self._known and self._known[v] is None for v in inputs)
            pending = [] if unknown else [v for v in inputs if v not in self._known]
            stack.extend(pending)
            if not pending:
                self._settle(top)
        return self._known[value]

    def _settle(self, value: Value) -> None:
        """Record the elements of `value`, whose inputs are settled."""
        if value.node is None or not is_small(value):
            self._known[value] = value.data
            return
        arrays = [self._known.get(v) for v in read_inputs(value.node)]
        try:
            results = (
                evaluate(value.node, [a for a in arrays if a is not None])
                if all(a is not None for a in arrays)
                else None
            )
        except UndecidedError:
            results = None
        for index, result in enumerate(value.node.results):
            self._known[result] = None if results is None else as_declared(results[index], result)


def read_inputs(node: Node) -> tuple[Value, ...]:
    """The inputs that the elements of the result depend on."""
    return {"sizes": (), "range": (), "with_sizes": node.inputs[:1]}.get(node.op.name, node.inputs)


def is_small(value: Value) -> bool:
    shape = value.shape
    return all(isinstance(d, int) for d in shape) and dims.static_product(shape) <= LARGEST


def as_declared(array: Array, value: Value) -> Array:
    """Back to numbers once no expression is left."""
    if array.dtype != object or any(hasattr(e, "free_symbols") for e in array.flat):
        return array
    return array.astype(value.dtype)


def evaluate(node: Node, arrays: list[Array]) -> tuple[Array, ...]:
    """Results of `node` on known elements. Raises UndecidedError."""
    if node.op.name == "sizes":
        return (_bounded(np.array(node.attrs["dims"], dtype=object)),)
    if node.op.name == "with_sizes":
        return (arrays[0],)
    if any(_is_symbolic(value) for value in node.attrs.values()):
        raise UndecidedError
    if all(a.dtype != object for a in arrays):
        return node.op.run(node.attrs, arrays)
    if node.op.name in _MOVES or (node.op.name in _PICKS and arrays[1].dtype != object):
        return node.op.run(node.attrs, arrays)
    if node.op.name == "cast":
        return (_cast(arrays[0], node.results[0].dtype),)
    if node.op.name in _REDUCTIONS:
        return (_reduce(node, arrays[0]),)
    if node.op.name == "div" and node.results[0].dtype in INTEGERS:
        return (_elementwise(_floordiv, arrays),)
    if node.op.name in _SCALAR:
        return (_elementwise(_SCALAR[node.op.name], arrays),)
    raise UndecidedError


def _is_symbolic(attribute: Any) -> bool:
    if isinstance(attribute, tuple):
        return any(_is_symbolic(item) for item in attribute)
    return hasattr(attribute, "free_symbols")


def _elementwise(function: Callable[..., Any], arrays: list[Array]) -> Array:
    exact = [np.frompyfunc(_exact, 1, 1)(a) for a in arrays]
    return _bounded(np.asarray(np.frompyfunc(function, len(arrays), 1)(*exact), dtype=object))


def _exact(element: Any) -> Any:
    """Floats as the fractions they are, so that expressions stay exact."""
    if not isinstance(element, float):
        return element
    import sympy

    if not np.isfinite(element):
        raise UndecidedError
    return dims.as_dim(sympy.Rational(element))


def _bounded(array: Array) -> Array:
    """Raises UndecidedError for numbers beyond 64 bits and for overlong expressions."""
    for element in array.flat:
        if isinstance(element, int):
            if not -(2**63) <= element < 2**64:
                raise UndecidedError
        elif hasattr(element, "count_ops") and not element.is_Symbol and element.count_ops() > _DEEPEST:
            raise UndecidedError
    return array


def _cast(array: Array, dtype: str) -> Array:
    if dtype in INTEGERS:
        return _elementwise(_floor, [array])
    if dtype in FLOATS:
        return array
    raise UndecidedError


def _reduce(node: Node, array: Array) -> Array:
    combine = np.frompyfunc(_REDUCTIONS[node.op.name], 2, 1)
    result = array
    for axis in sorted(node.attrs["axes"], reverse=True):
        if result.shape[axis] == 0:
            raise UndecidedError
        result = np.asarray(combine.reduce(result, axis=axis), dtype=object)
    return _bounded(result.reshape(node.results[0].shape))


def _fraction(value: Any) -> tuple[Any, Any]:
    import sympy

    numerator, denominator = sympy.fraction(sympy.together(value))
    return dims.as_dim(numerator), dims.as_dim(denominator)


def _floor(value: Any) -> Any:
    return value if isinstance(value, int) or value.is_integer else dims.floordiv(*_fraction(value))


def _ceil(value: Any) -> Any:
    return value if isinstance(value, int) or value.is_integer else dims.ceildiv(*_fraction(value))


def _divide(a: Any, b: Any) -> Any:
    import sympy

    if b == 0:
        raise UndecidedError
    return dims.as_dim(sympy.cancel(sympy.sympify(a) / b))


def _floordiv(a: Any, b: Any) -> Any:
    """Sizes are not negative, where truncation and floor are the same."""
    if b == 0:
        raise UndecidedError
    return dims.floordiv(a, b)


def _power(base: Any, exponent: Any) -> Any:
    if not isinstance(exponent, int) or not 0 <= exponent <= 4:
        raise UndecidedError
    return dims.as_dim(base**exponent)


def _decide(answer: bool | None) -> bool:
    if answer is None:
        raise UndecidedError
    return bool(answer)


def _difference(a: Any, b: Any) -> Any:
    import sympy

    return sympy.expand(sympy.sympify(a) - b)


def _equal(a: Any, b: Any) -> bool:
    return _decide(_difference(a, b).is_zero)


def _less(a: Any, b: Any) -> bool:
    return _decide(_difference(a, b).is_negative)


def _less_equal(a: Any, b: Any) -> bool:
    return _decide(_difference(a, b).is_nonpositive)


def _where(condition: Any, a: Any, b: Any) -> Any:
    return a if condition else b


_REDUCTIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "reduce_prod": lambda a, b: dims.as_dim(a * b),
    "reduce_sum": lambda a, b: dims.as_dim(a + b),
    "reduce_max": dims.maximum,
    "reduce_min": dims.minimum,
}
_SCALAR: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b: dims.as_dim(a + b),
    "sub": lambda a, b: dims.as_dim(a - b),
    "mul": lambda a, b: dims.as_dim(a * b),
    "div": _divide,
    "mod": dims.mod,
    "pow": _power,
    "neg": lambda a: dims.as_dim(-a),
    "minimum": dims.minimum,
    "maximum": dims.maximum,
    "floor": _floor,
    "ceil": _ceil,
    "equal": _equal,
    "less": _less,
    "less_equal": _less_equal,
    "greater": lambda a, b: _less(b, a),
    "greater_equal": lambda a, b: _less_equal(b, a),
    "where": _where,
}
