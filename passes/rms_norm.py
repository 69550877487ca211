"""Recognise RMS norm written out in small operators."""

from __future__ import annotations

from tilewright.ir.graph import Graph, Value
from tilewright.passes.normalization import mean, normalized, parameter, times_root
from tilewright.passes.patterns import Match
from tilewright.passes.rewrite import Decline, Replacement, rewrite, rule


@rule(lambda p, x, epsilon, scale: times_root(p, x, mean(p, p.mul(x, x)).named("power"), epsilon, scale))
def written_out(match: Match, x: Value, epsilon: Value, power: Value, scale: Value | None = None) -> Replacement:
    return normalized(match, "rms_norm", x, epsilon, (power,), scale)


@rule(lambda p, x, c: p.mul(p.rms_norm(x, 1).named("norm"), c))
def scaled(match: Match, x: Value, c: Value, norm: Value) -> Replacement:
    scale = parameter(c, norm)
    if scale is None or norm.node is None:
        return Decline("the factor differs along other axes than the normalized ones")
    return match.apply("rms_norm", x, scale, **norm.node.attrs)


def rms_norm(graph: Graph) -> Graph:
    """x / sqrt(mean(x * x) + epsilon) * scale over the last axes becomes one `rms_norm`."""
    return rewrite(graph, (written_out, scaled))
