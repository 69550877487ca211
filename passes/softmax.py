"""Recognise softmax and log softmax written out in small operators."""

from __future__ import annotations

from tilewright.ir.graph import Graph, Value
from tilewright.passes.patterns import Match, Pattern, Patterns
from tilewright.passes.rewrite import Decline, Replacement, rewrite, rule


def _centred(p: Patterns, x: Pattern) -> Pattern:
    return p.sub(x, p.reduce_max(x, keepdims=True).named("greatest"))


def _total(p: Patterns, x: Pattern) -> Pattern:
    return p.reduce_sum(p.exp(_centred(p, x)), keepdims=True).named("total")


@rule(
    lambda p, x: p.either(
        p.div(p.exp(_centred(p, x)), _total(p, x)), p.mul(p.exp(_centred(p, x)), p.reciprocal(_total(p, x)))
    )
)
def written_out(match: Match, x: Value, greatest: Value, total: Value) -> Replacement:
    return _along_axis(match, "softmax", x, greatest, total)


@rule(lambda p, x: p.sub(_centred(p, x), p.log(_total(p, x))))
def written_out_log(match: Match, x: Value, greatest: Value, total: Value) -> Replacement:
    return _along_axis(match, "log_softmax", x, greatest, total)


def _along_axis(match: Match, op: str, x: Value, greatest: Value, total: Value) -> Replacement:
    assert greatest.node is not None and total.node is not None
    axes = greatest.node.attrs["axes"]
    if len(axes) != 1 or total.node.attrs["axes"] != axes:
        return Decline("the maximum and the sum are not over one and the same axis")
    return match.apply(op, x, axis=axes[0])


def softmax(graph: Graph) -> Graph:
    """exp(x - max) / sum(exp(x - max)) along an axis becomes one `softmax`.

    Without the maximum it stays as it is: then large inputs overflow to NaN, which `softmax` would hide.
    """
    return rewrite(graph, (written_out, written_out_log))
