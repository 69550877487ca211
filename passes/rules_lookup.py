"""Rules for lookups: ones and zeros times a matrix choose its rows, and what comes next is done to the table."""

from __future__ import annotations

import numpy as np

from tilewright.ir import dims
from tilewright.ir.graph import Value, constant
from tilewright.ir.types import HELD, numpy_dtype
from tilewright.passes.counting import Counting, counting
from tilewright.passes.narrow_tables import LEAST, bytes_of
from tilewright.passes.patterns import Match
from tilewright.passes.rewrite import Decline, Replacement, rule
from tilewright.passes.rules_movement import ELEMENTWISE


@rule(
    lambda p, x, numbers, w: p.matmul(
        p.either(
            p.cast(p.equal(x, numbers).named("hot")),
            p.where(p.equal(x, numbers).named("hot"), 1, 0),
        ),
        p.constant(w),
    )
)
def one_hot_product(match: Match, x: Value, numbers: Value, w: Value, hot: Value) -> Replacement:
    """Row i of the matrix for each index i, and zeros for an index without a row."""
    assert w.data is not None
    along_last = Counting(0, 1, numbers.rank - 1)
    if w.rank != 2 or counting(numbers) != along_last or any(d != 1 for d in numbers.shape[:-1]):
        return Decline("the rows are not those of numbers that count from 0, or are of several matrices")
    if len(w.data) - 1 > np.iinfo(numpy_dtype(numbers.dtype)).max:
        return Decline("the numbers wrap around")
    if x.rank != hot.rank or x.shape[-1] != 1:
        return Decline("not each row has an index of its own")
    if not np.isfinite(w.data).all():
        return Decline("zero times an element that is not finite is NaN")
    table = constant(np.concatenate([w.data, np.zeros((1, w.shape[1]), w.data.dtype)]))
    none = constant(len(w.data), "int64")
    index = match.apply("cast", match.apply("reshape", x, shape=x.shape[:-1]), to="int64")
    known = match.apply("where", match.apply("less", index, constant(0, "int64")), none, index)
    return match.apply("gather", table, match.apply("minimum", known, none), axis=0)


@rule(lambda p, table, i: p.op(ELEMENTWISE, p.gather(p.constant(table), i, axis=0).named("rows")))
def lookup_of_result(match: Match, table: Value, i: Value, rows: Value) -> Replacement:
    """A gather from the results for all rows of a small table, instead of the result for each row that is found."""
    return _looked_up(match, table, i, rows, table)


@rule(
    lambda p, table, i, c: p.either(
        p.op(ELEMENTWISE, p.gather(p.constant(table), i, axis=0).named("rows"), p.constant(c)),
        p.op(ELEMENTWISE, p.constant(c), p.gather(p.constant(table), i, axis=0).named("rows")),
    )
)
def lookup_of_result_with_constant(match: Match, table: Value, i: Value, c: Value, rows: Value) -> Replacement:
    each = _within_row(c, table.rank - 1)
    if each is None:
        return Decline("the constant is not the same for all rows")
    return _looked_up(match, table, i, rows, *(table if v is rows else each for v in match.node.inputs))


def _looked_up(match: Match, table: Value, indices: Value, rows: Value, *inputs: Value) -> Replacement:
    if not dims.same_shape(rows.shape, match.root.shape):
        return Decline("the rows are broadcast")
    if table.dtype in HELD:
        return Decline("an element that is not looked up may be one that cannot be worked with")
    result = match.apply(match.node.op.name, *inputs, **match.node.attrs)
    if max(map(bytes_of, (table, result))) >= LEAST:
        return Decline("the table is large: it may stay narrower than its results")
    return match.apply("gather", result, indices, axis=0)


def _within_row(c: Value, rank: int) -> Value | None:
    """A constant of at most `rank` axes that is broadcast to the same, or None where it differs between rows."""
    assert c.data is not None
    spare = max(0, c.rank - rank)
    return None if any(d != 1 for d in c.shape[:spare]) else constant(c.data.reshape(c.data.shape[spare:]), name=c.name)


RULES = (one_hot_product, lookup_of_result, lookup_of_result_with_constant)
