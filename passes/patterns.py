"""Patterns: what a value may look like, and where they fit. See `rewrite` for how they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.graph import Node, Value, apply
from tilewright.ir.op import Array

COMMUTATIVE = frozenset({"add", "mul", "minimum", "maximum", "equal"}) | frozenset(
    f"{kind}_{name}" for kind in ("logical", "bitwise") for name in ("and", "or", "xor")
)


@dataclass(frozen=True, eq=False)
class Pattern:
    """What a value may look like; `name` is how the replacement calls it."""

    name: str = ""

    def named(self, name: str) -> Pattern:
        return replace(self, name=name)


@dataclass(frozen=True, eq=False)
class Variable(Pattern):
    """Any value."""


@dataclass(frozen=True, eq=False)
class Number(Pattern):
    """A constant all of whose elements are this number."""

    value: float = 0


@dataclass(frozen=True, eq=False)
class Constant(Pattern):
    """A constant whose array is accepted."""

    accept: Callable[[Array], bool] | None = None


@dataclass(frozen=True, eq=False)
class Operation(Pattern):
    """The first result of a node: one of the operators, these inputs (None: any), and at least these attributes."""

    ops: tuple[str, ...] = ()
    inputs: tuple[Pattern, ...] | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Either(Pattern):
    """One of several forms; all of them bind the same names."""

    forms: tuple[Pattern, ...] = ()


def _pattern(term: Pattern | float) -> Pattern:
    return term if isinstance(term, Pattern) else Number(value=term)


class Patterns:
    """The namespace in which patterns are written: every operator of the table is a method."""

    def __getattr__(self, name: str) -> Callable[..., Pattern]:
        return lambda *inputs, **attrs: self.op((name,), *inputs, **attrs)

    def op(self, names: Iterable[str], *inputs: Any, **attrs: Any) -> Pattern:
        """A node of any of the named operators; `...` in place of the inputs allows any."""
        wanted = None if inputs == (...,) else tuple(map(_pattern, inputs))
        return Operation(ops=tuple(names), inputs=wanted, attrs=attrs)

    def constant(self, variable: Pattern, accept: Callable[[Array], bool] | None = None) -> Pattern:
        """The variable, if it is a constant (whose array is accepted)."""
        return Constant(variable.name, accept)

    def either(self, *forms: Pattern | float) -> Pattern:
        return Either(forms=tuple(map(_pattern, forms)))


@dataclass(frozen=True, eq=False)
class Match:
    """Where a pattern fits: the value it fits, the nodes it covers and the values it names."""

    root: Value
    nodes: tuple[Node, ...] = ()
    names: Mapping[str, Value] = field(default_factory=dict)

    @property
    def node(self) -> Node:
        """The node that makes the root."""
        return self.nodes[0]

    def bind(self, name: str, value: Value) -> Match | None:
        """This match with one more name, or None where the name stands for another value."""
        if not name:
            return self
        known = self.names.get(name)
        if known is None:
            return Match(self.root, self.nodes, {**self.names, name: value})
        return self if known is value else None

    def apply(self, op: str, *inputs: Value, **attrs: Any) -> Value:
        """A new node that comes from the same place of the model as the root."""
        return apply(op, *inputs, source=self.node.source, **attrs)

    def fit(self, value: Value) -> Value:
        """`value` broadcast to the root's shape; left as it is where it cannot be proved to broadcast."""
        shape = self.root.shape
        if dims.same_shape(value.shape, shape) or value.rank > len(shape):
            return value
        pairs = zip(value.shape, shape[len(shape) - value.rank :], strict=True)
        return self.apply("expand", value, shape=shape) if all(d == 1 or dims.equal(d, w) for d, w in pairs) else value


def roots(pattern: Pattern) -> Iterator[str]:
    """The operators that the pattern can end in. Raises ValueError where it can end in something else."""
    if isinstance(pattern, Operation):
        yield from pattern.ops
    elif isinstance(pattern, Either):
        for form in pattern.forms:
            yield from roots(form)
    else:
        raise ValueError("a pattern has to end in an operator")


def uniform(value: Value) -> Any:
    """The number that every element of `value` is, as a numpy scalar, or None; looks through expand and reshape."""
    while value.made_by("expand", "reshape"):
        assert value.node is not None
        value = value.node.inputs[0]
    data = value.data
    if data is None or data.size == 0 or data.dtype == object:
        return None
    first, last = data.flat[0], data.flat[-1]
    return first if first == last and bool((data == first).all()) else None


def is_number(value: Value, wanted: float) -> bool:
    """Whether every element is `wanted`: exactly if that is an integer, else to six digits."""
    found = uniform(value)
    if found is None:
        return False
    if isinstance(wanted, int):
        return bool(found == wanted)
    if not np.issubdtype(found.dtype, np.number):
        return False
    return bool(found == wanted or abs(float(found) - wanted) <= 1e-6 * abs(wanted) < np.inf)


def matches(pattern: Pattern, value: Value) -> Iterable[Match]:
    """All ways in which the pattern fits `value`."""
    return _match(pattern, value, Match(value)) if _may_fit(pattern, value, 2) else ()


def _may_fit(pattern: Pattern, value: Value, depth: int) -> bool:
    """False where `value` surely does not fit, by the operators up to so many nodes deep: most fail there, and soon."""
    if isinstance(pattern, Operation):
        node = value.node
        if node is None or node.op.name not in pattern.ops:
            return False
        wanted, found = pattern.inputs, node.inputs
        if wanted is None or depth == 1:
            return True
        if len(wanted) != len(found):
            return False
        if all(_may_fit(p, v, depth - 1) for p, v in zip(wanted, found, strict=True)):
            return True
        swapped = zip(wanted, found[::-1], strict=True)
        return node.op.name in COMMUTATIVE and all(_may_fit(p, v, depth - 1) for p, v in swapped)
    if isinstance(pattern, Constant):
        return value.data is not None
    return not isinstance(pattern, Number) or value.data is not None or value.made_by("expand", "reshape")


def _match(pattern: Pattern, value: Value, so_far: Match) -> Iterator[Match]:
    """All ways in which the pattern fits `value`, each with what it names added to `so_far`."""
    match pattern:
        case Operation():
            found = _match_operation(pattern, value, so_far)
        case Either():
            found = (m for form in pattern.forms for m in _match(form, value, so_far))
        case Number():
            found = iter([so_far] if is_number(value, pattern.value) else [])
        case Constant():
            accepted = value.data is not None and (pattern.accept is None or pattern.accept(value.data))
            found = iter([so_far] if accepted else [])
        case _:
            found = iter([so_far])
    for match in found:
        if (bound := match.bind(pattern.name, value)) is not None:
            yield bound


def _match_operation(pattern: Operation, value: Value, so_far: Match) -> Iterator[Match]:
    node = value.node
    if node is None or node.op.name not in pattern.ops or value.index != 0:
        return
    if not _attributes_fit(pattern.attrs, node):
        return
    covered = Match(so_far.root, (*so_far.nodes, node), so_far.names)
    if pattern.inputs is None:
        yield covered
        return
    if len(node.inputs) != len(pattern.inputs):
        return
    yield from _match_inputs(pattern.inputs, node.inputs, covered)
    if node.op.name in COMMUTATIVE:
        yield from _match_inputs(pattern.inputs, node.inputs[::-1], covered)


def _attributes_fit(wanted: Mapping[str, Any], node: Node) -> bool:
    found = node.attrs
    return all(check(found[name]) if callable(check) else found[name] == check for name, check in wanted.items())


def _match_inputs(patterns: Sequence[Pattern], values: Sequence[Value], so_far: Match) -> Iterator[Match]:
    if not patterns:
        yield so_far
        return
    for match in _match(patterns[0], values[0], so_far):
        yield from _match_inputs(patterns[1:], values[1:], match)
