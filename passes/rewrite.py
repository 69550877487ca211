"""Rewrite rules: patterns written as the program they match. This is the only matcher.

    @rule(lambda p, x: p.neg(p.neg(x)))
    def double_negation(match, x):
        return x

The parameters of the pattern are its variables: each stands for any value, and for the same one wherever it comes
again. `p.<operator>(inputs, attribute=wanted)` stands for a node (`wanted` may be a predicate), a number for a constant
of that value (an integer: exactly; a float: to six digits), `p.constant(c)` for any constant, `p.either(a, b)` for one
of several forms, and `.named("y")` gives the value of a node a name. The replacement takes the match and all that was
named, as keywords. It returns the new value, or a reason to decline.

The form follows onnxscript's rewriter (onnxscript.rewriter.pattern).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from tilewright.ir import dims
from tilewright.ir.errors import PassError
from tilewright.ir.graph import Graph, Node, Value, apply
from tilewright.ir.op import Array

COMMUTATIVE = frozenset({"add", "mul", "minimum", "maximum", "equal"}) | frozenset(
    f"{kind}_{name}" for kind in ("logical", "bitwise") for name in ("and", "or", "xor")
)
MAX_SWEEPS = 1000


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


@dataclass(frozen=True)
class Decline:
    """Why a rule leaves a match as it is."""

    reason: str


Replacement: TypeAlias = "Value | Decline"


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
            return replace(self, names={**self.names, name: value})
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


@dataclass(frozen=True)
class Rule:
    """A pattern and what replaces it.

    Values inside the pattern that something else reads too stop the rule, for they would be computed twice. Not so
    where it is `shared`: then the replacement costs nothing beside what stays.
    """

    name: str
    pattern: Pattern
    replace: Callable[..., Replacement]
    shared: bool = False

    @property
    def roots(self) -> frozenset[str]:
        """The operators that the pattern can end in."""
        return frozenset(_roots(self.pattern))

    def matches(self, value: Value) -> Iterator[Match]:
        """All ways in which the pattern fits `value`."""
        return _match(self.pattern, value, Match(value))

    def replacement(self, graph: Graph, match: Match) -> Replacement:
        """The new value. One of another type declines, so that a rule need not look at broadcasting."""
        if not self.shared and (outside := _read_outside(graph, match)):
            return Decline(f"the result of {outside.op.name} is read outside of the match")
        new = self.replace(match, **match.names)
        if isinstance(new, Decline) or new.type.matches(match.root.type):
            return new
        return Decline(f"the replacement is {new.type}, not {match.root.type}")


def rule(pattern: Callable[..., Pattern], *, shared: bool = False) -> Callable[[Callable[..., Replacement]], Rule]:
    """Decorator: makes the function that builds the replacement a rule of the same name."""
    names = list(inspect.signature(pattern).parameters)[1:]
    built = pattern(Patterns(), *(Variable(name) for name in names))
    return lambda function: Rule(function.__name__, built, function, shared)


def _roots(pattern: Pattern) -> Iterator[str]:
    if isinstance(pattern, Operation):
        yield from pattern.ops
    elif isinstance(pattern, Either):
        for form in pattern.forms:
            yield from _roots(form)
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
    covered = replace(so_far, nodes=(*so_far.nodes, node))
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


def _read_outside(graph: Graph, match: Match) -> Node | None:
    """A node inside the match with a result that the graph returns or that some node outside reads."""
    inside = set(match.nodes)
    for node in match.nodes[1:]:
        for result in node.results:
            if graph.is_output(result) or not inside.issuperset(graph.readers.get(result, ())):
                return node
    return None


def rewrite(graph: Graph, rules: Iterable[Rule], declined: Callable[[Rule, Node, str], None] | None = None) -> Graph:
    """Apply the rules, the earlier ones first, until none fits any more.

    `declined` hears of every match that a rule leaves alone. Each sweep collects matches that do not overlap and makes
    them all in one substitution. Raises PassError when the rules do not come to rest.
    """
    by_root: dict[str, list[Rule]] = {}
    for each in rules:
        for root in each.roots:
            by_root.setdefault(root, []).append(each)
    for _ in range(MAX_SWEEPS):
        sweep = _Sweep(graph, by_root, declined)
        sweep.run()
        if not sweep.replacements:
            return graph
        graph = graph.substitute(sweep.replacements)
    last = ", ".join(sorted(sweep.applied))
    raise PassError(f"the rules still change the graph after {MAX_SWEEPS} sweeps; the last were {last}")


class _Sweep:
    """One walk over the graph.

    Replacements read only values before their roots, so any set of them can be made at once.
    """

    def __init__(
        self, graph: Graph, by_root: Mapping[str, list[Rule]], declined: Callable[[Rule, Node, str], None] | None
    ) -> None:
        self.graph, self.by_root, self.declined = graph, by_root, declined
        self.replacements: dict[Value, Value] = {}
        self.applied: set[str] = set()
        self._covered: set[Node] = set()

    def run(self) -> None:
        for node in self.graph.nodes:
            for each in self.by_root.get(node.op.name, ()):
                if self._try(each, node):
                    break

    def _try(self, each: Rule, node: Node) -> bool:
        """Note the first replacement that the rule makes of the node's result, if there is one."""
        for match in each.matches(node.results[0]):
            covered = match.nodes[:1] if each.shared else match.nodes
            if not self._covered.isdisjoint(covered):
                continue
            new = each.replacement(self.graph, match)
            if isinstance(new, Value):
                self.replacements[match.root] = new
                self.applied.add(each.name)
                self._covered.update(covered)
                return True
            if self.declined:
                self.declined(each, node, new.reason)
        return False
