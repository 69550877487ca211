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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tilewright.ir.errors import PassError
from tilewright.ir.graph import Graph, Node, Value
from tilewright.passes.patterns import Match, Pattern, Patterns, Variable, matches, roots

MAX_SWEEPS = 1000


@dataclass(frozen=True)
class Decline:
    """Why a rule leaves a match as it is."""

    reason: str


Replacement: TypeAlias = "Value | Decline"


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
        return frozenset(roots(self.pattern))

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
        for match in matches(each.pattern, node.results[0]):
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
