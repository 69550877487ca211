"""Recognise layer norm written out in small operators."""

from __future__ import annotations

from tilewright.ir.graph import Graph, Value
from tilewright.passes.normalization import mean, normalized, parameter, times_root
from tilewright.passes.patterns import Match, Pattern, Patterns
from tilewright.passes.rewrite import Decline, Replacement, rewrite, rule


def _two_pass(p: Patterns, x: Pattern, epsilon: Pattern, scale: Pattern) -> Pattern:
    """Variance as the mean square of the centred values."""
    centred = p.sub(x, mean(p, x).named("average"))
    return times_root(p, centred, mean(p, p.mul(centred, centred)).named("variance"), epsilon, scale)


def _one_pass(p: Patterns, x: Pattern, epsilon: Pattern, scale: Pattern) -> Pattern:
    """Variance as the mean square less the squared mean, perhaps kept from falling below zero by rounding."""
    average = mean(p, x).named("average")
    variance = p.sub(mean(p, p.mul(x, x)).named("variance"), p.mul(average, average))
    return times_root(p, p.sub(x, average), p.either(variance, p.maximum(variance, 0)), epsilon, scale)


@rule(lambda p, x, epsilon, scale: p.either(_two_pass(p, x, epsilon, scale), _one_pass(p, x, epsilon, scale)))
def written_out(
    match: Match, x: Value, epsilon: Value, average: Value, variance: Value, scale: Value | None = None
) -> Replacement:
    return normalized(match, "layer_norm", x, epsilon, (average, variance), scale)


@rule(lambda p, x, c: p.mul(p.layer_norm(x, 1).named("norm"), c))
def scaled(match: Match, x: Value, c: Value, norm: Value) -> Replacement:
    scale = parameter(c, norm)
    if scale is None or norm.node is None:
        return Decline("the factor differs along other axes than the normalized ones")
    return match.apply("layer_norm", x, scale, **norm.node.attrs)


@rule(lambda p, x, scale, c: p.add(p.layer_norm(x, scale).named("norm"), c))
def shifted(match: Match, x: Value, scale: Value, c: Value, norm: Value) -> Replacement:
    bias = parameter(c, norm)
    if bias is None or norm.node is None:
        return Decline("the summand differs along other axes than the normalized ones")
    return match.apply("layer_norm", x, scale, bias, **norm.node.attrs)


def layer_norm(graph: Graph) -> Graph:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the last axes becomes one `layer_norm`."""
    return rewrite(graph, (written_out, scaled, shifted))
