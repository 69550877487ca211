"""Recognise GELU, exact (with erf) or approximated (with tanh), in the forms in which frameworks export it."""

from __future__ import annotations

import math

from tilewright.ir.graph import Graph, Value
from tilewright.passes.patterns import Match, Pattern, Patterns
from tilewright.passes.rewrite import Replacement, rewrite, rule

CUBIC = 0.044715


def _product(p: Patterns, a: Pattern | float, b: Pattern | float, c: Pattern | float) -> Pattern:
    """a * b * c in any order."""
    return p.either(p.mul(a, p.mul(b, c)), p.mul(b, p.mul(a, c)), p.mul(c, p.mul(a, b)))


def _halved(p: Patterns, x: Pattern, curve: Pattern) -> Pattern:
    """x * (1 + curve) / 2."""
    return p.either(_product(p, x, 0.5, p.add(curve, 1)), p.mul(x, p.add(p.mul(curve, 0.5), 0.5)))


def _tanh_argument(p: Patterns, x: Pattern) -> Pattern:
    """sqrt(2 / pi) * (x + CUBIC * x**3), or with x taken out of the bracket."""
    factor = math.sqrt(2 / math.pi)
    cube = p.either(p.pow(x, 3), p.mul(p.mul(x, x), x))
    cubic = p.either(p.mul(cube, CUBIC), p.mul(p.mul(p.mul(x, CUBIC), x), x), p.mul(x, _product(p, x, x, CUBIC)))
    rising = p.add(p.either(p.mul(p.mul(x, x), CUBIC), p.mul(p.mul(x, CUBIC), x)), 1)
    return p.either(p.mul(p.add(x, cubic), factor), _product(p, x, factor, rising))


@rule(
    lambda p, x: _halved(p, x, p.erf(p.either(p.mul(x, math.sqrt(0.5)), p.div(x, math.sqrt(2.0))))),
)
def erf_form(match: Match, x: Value) -> Replacement:
    return match.apply("gelu", x, approximate="none")


@rule(lambda p, x: _halved(p, x, p.tanh(_tanh_argument(p, x))))
def tanh_form(match: Match, x: Value) -> Replacement:
    return match.apply("gelu", x, approximate="tanh")


def gelu(graph: Graph) -> Graph:
    """x * (1 + erf(x / sqrt(2))) / 2 and its approximation become one `gelu`."""
    return rewrite(graph, (erf_form, tanh_form))
