"""Simplify: algebra, choices, moves that cancel, windows, indices that count, lookups."""

from __future__ import annotations

from tilewright.ir.graph import Graph
from tilewright.passes import rules_algebra, rules_choice, rules_indexing, rules_lookup, rules_movement, rules_windows
from tilewright.passes.rewrite import rewrite

RULES = (
    *rules_movement.RULES,
    *rules_windows.RULES,
    *rules_algebra.RULES,
    *rules_choice.RULES,
    *rules_indexing.RULES,
    *rules_lookup.RULES,
)


def simplify(graph: Graph) -> Graph:
    """The same graph in fewer and plainer operators."""
    return rewrite(graph, RULES)
