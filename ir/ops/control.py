"""Control flow: operators whose attributes are graphs that run once, several times, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.errors import InputError
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require
from tilewright.ir.types import TensorType, tensor

ENDLESS = 2**63 - 1
"""The trip count of a loop that only its condition ends."""


def declared(results: Sequence[tuple[Any, ...]]) -> tuple[TensorType, ...]:
    """Types written as (dtype, size, ...): what the results of an operator are declared to be."""
    return tuple(TensorType(dtype, tuple(map(dims.as_dim, shape))) for dtype, *shape in results)


def written(types: Sequence[TensorType]) -> tuple[tuple[Any, ...], ...]:
    """Inverse of `declared`."""
    return tuple((t.dtype, *t.shape) for t in types)


def _require_alike(given: Sequence[TensorType], wanted: Sequence[TensorType], what: str) -> None:
    """Same element types and numbers of axes: sizes may differ, since each run binds them anew."""
    require(len(given) == len(wanted), f"{len(given)} values are given for {len(wanted)} {what}")
    for a, b in zip(given, wanted, strict=True):
        require(a.dtype == b.dtype and a.rank == b.rank, f"one of the {what} is {b}, but {a} is given")


def _require_scalar(type: TensorType, dtype: str, what: str) -> None:
    require(type.dtype == dtype and type.rank == 0, f"{what} must be a {dtype} scalar, not {type}")


def _infer_if(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    condition, *captured = types
    results = declared(attrs["results"])
    _require_scalar(condition, "bool", "the condition")
    for name in ("then", "otherwise"):
        branch = attrs[name]
        _require_alike(captured, [v.type for v in branch.inputs], f"inputs of {name}")
        _require_alike([v.type for v in branch.outputs], results, f"results of {name}")
    return results


def _ref_if(attrs: Attrs, condition: Array, *captured: Array) -> Any:
    return tuple(attrs["then" if condition.item() else "otherwise"](*captured))


def _samples_if() -> list[Sample]:
    from tilewright.ir.graph import Graph, apply, input_value

    def branch(operator: str) -> Graph:
        x = input_value("x", tensor("float32", 1, 2))
        return Graph((x,), (apply(operator, x),))

    attrs = {"then": branch("neg"), "otherwise": branch("abs"), "results": written([tensor("float32", 1, 2)])}
    x = np.array([[1.0, -2.0]], np.float32)
    return [Sample((np.array(answer), x), attrs) for answer in (True, False)]


def _infer_loop(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    trips, condition, *rest = types
    body, carried = attrs["body"], attrs["carried"]
    results = declared(attrs["results"])
    _require_scalar(trips, "int64", "the number of trips")
    _require_scalar(condition, "bool", "the condition")
    _require_alike([trips, condition, *rest], [v.type for v in body.inputs], "inputs of the body")
    again, *made = (v.type for v in body.outputs)
    _require_scalar(again, "bool", "the body's condition")
    rows = [TensorType(t.dtype, (1, *t.shape)) for t in made[carried:]]
    _require_alike([*made[:carried], *rows], results, "results")
    return results


def _ref_loop(attrs: Attrs, trips: Array, condition: Array, *values: Array) -> Any:
    carried, captured = list(values[: attrs["carried"]]), values[attrs["carried"] :]
    types = declared(attrs["results"])[attrs["carried"] :]
    rows: list[list[Array]] = [[] for _ in types]
    trip = 0
    while trip < trips.item() and condition.item():
        condition, *made = attrs["body"](np.array(trip, np.int64), condition, *carried, *captured)
        carried = made[: attrs["carried"]]
        for collected, row in zip(rows, made[attrs["carried"] :], strict=True):
            collected.append(row)
        trip += 1
    return (*carried, *(stacked(r, t) for r, t in zip(rows, types, strict=True)))


def stacked(rows: Sequence[Array], type: TensorType) -> Array:
    """What a loop collected, along a new first axis; without any row, symbolic sizes are zero."""
    from tilewright.ir.types import numpy_dtype

    if rows:
        return np.stack(rows)
    return np.empty((0, *(d if isinstance(d, int) else 0 for d in type.shape[1:])), numpy_dtype(type.dtype))


def _samples_loop() -> list[Sample]:
    from tilewright.ir.graph import Graph, apply, input_value

    trip, again = input_value("trip", tensor("int64")), input_value("again", tensor("bool"))
    total, step = input_value("total", tensor("float32", 2)), input_value("step", tensor("float32", 2))
    grown = apply("add", total, step)
    body = Graph((trip, again, total, step), (again, grown, apply("mul", grown, grown)), ("again", "total", "square"))
    results = written([tensor("float32", 2), tensor("float32", "_trips", 2)])
    attrs = {"body": body, "carried": 1, "results": results}
    start, by = np.array([1.0, 2.0], np.float32), np.array([0.5, -1.0], np.float32)
    return [Sample((np.array(trips), np.array(True), start, by), attrs) for trips in (3, 0)]


def _infer_expect(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    _require_scalar(types[1], "bool", "the condition")
    return (types[0],)


def _ref_expect(attrs: Attrs, x: Array, condition: Array) -> Array:
    if not condition.item():
        raise InputError(attrs["message"])
    return x


def _samples_expect() -> list[Sample]:
    return [Sample((np.arange(3, dtype=np.float32), np.array(True)), {"message": "the sizes do not fit"})]


ROWS: tuple[Op, ...] = (
    Op(
        "expect",
        Kind.OPAQUE,
        _infer_expect,
        _ref_expect,
        None,
        (2, 2),
        {"message": REQUIRED},
        _samples_expect,
        "The first input as it is. The model fails with `message` where the second, a bool scalar, is false.",
    ),
    Op(
        "if",
        Kind.OPAQUE,
        _infer_if,
        _ref_if,
        None,
        (1, None),
        {"then": REQUIRED, "otherwise": REQUIRED, "results": REQUIRED},
        _samples_if,
        "One of two graphs of the inputs after the condition. `results` are their types, as (dtype, size, ...).",
    ),
    Op(
        "loop",
        Kind.OPAQUE,
        _infer_loop,
        _ref_loop,
        None,
        (2, None),
        {"body": REQUIRED, "carried": REQUIRED, "results": REQUIRED},
        _samples_loop,
        "Runs body(trip, condition, *carried, *captured) -> (condition, *carried, *rows) while the condition holds and "
        "trips are left. The results are what is carried, then the rows of all trips, stacked.",
    ),
)
