"""Rules for conditions, choices and changes of element type."""

from __future__ import annotations

from tilewright.ir.graph import Value
from tilewright.ir.types import FLOATS, HELD, numpy_dtype
from tilewright.passes.patterns import Match
from tilewright.passes.rewrite import Decline, Replacement, rule

SIGNIFICANT_BITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}
EXPONENT_BITS = {"bfloat16": 8, "float16": 5, "float32": 8, "float64": 11}


def keeps_values(narrow: str, wide: str) -> bool:
    """Whether every value of one element type is a value of the other, too."""
    if narrow in HELD or wide in HELD or (wide == "bool" and narrow != "bool"):
        return False
    if narrow == "bool" or narrow == wide:
        return True
    if narrow in FLOATS:
        return wide in FLOATS and all(bits[narrow] <= bits[wide] for bits in (SIGNIFICANT_BITS, EXPONENT_BITS))
    if wide in FLOATS:
        return numpy_dtype(narrow).itemsize * 8 <= SIGNIFICANT_BITS[wide]
    return _integer_fits(narrow, wide)


def _integer_fits(narrow: str, wide: str) -> bool:
    unsigned, room = narrow.startswith("u"), numpy_dtype(wide).itemsize - numpy_dtype(narrow).itemsize
    if wide.startswith("u"):
        return unsigned and room >= 0
    return room > 0 if unsigned else room >= 0


@rule(lambda p, a, b: p.where(True, a, b))
def always(match: Match, a: Value, b: Value) -> Replacement:
    return match.fit(a)


@rule(lambda p, a, b: p.where(False, a, b))
def never(match: Match, a: Value, b: Value) -> Replacement:
    return match.fit(b)


@rule(lambda p, c, a: p.where(c, a, a))
def either_way(match: Match, c: Value, a: Value) -> Replacement:
    return match.fit(a)


@rule(lambda p, c, a, b: p.where(p.logical_not(c), a, b), shared=True)
def inverted_choice(match: Match, c: Value, a: Value, b: Value) -> Replacement:
    return match.apply("where", c, b, a)


@rule(lambda p, c: p.where(c, True, False))
def choice_is_condition(match: Match, c: Value) -> Replacement:
    if match.root.dtype != "bool":
        return Decline("the choice is between numbers")
    return match.fit(c)


@rule(lambda p, x: p.cast(x))
def cast_to_same(match: Match, x: Value) -> Replacement:
    return x if x.dtype == match.root.dtype else Decline("the element type changes")


@rule(lambda p, x: p.cast(p.cast(x).named("between")).named("last"), shared=True)
def cast_of_cast(match: Match, x: Value, between: Value, last: Value) -> Replacement:
    if not keeps_values(x.dtype, between.dtype):
        return Decline(f"{between.dtype} does not hold every {x.dtype}")
    return match.apply("cast", x, to=last.dtype)


RULES = (always, never, either_way, inverted_choice, choice_is_condition, cast_to_same, cast_of_cast)
