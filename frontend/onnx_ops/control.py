"""Control flow: If, Loop and Scan, whose graphs become regions, or part of the model where the condition is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from onnx import GraphProto

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.region import Region, RegionBuilder
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value
from tilewright.ir.ops.control import ENDLESS, written
from tilewright.ir.types import TensorType, tensor


def if_(c: Call) -> tuple[Value, ...]:
    """A condition that is known when reading chooses now; a single element counts as a scalar."""
    known = c.maybe_known(c[0])
    branches = [c.graph(name) for name in ("then_branch", "else_branch")]
    if known is not None and known.size == 1:
        return c.inline(branches[0 if known.reshape(()).item() else 1], ())
    regions = _as_scalars(c, [_branch(c, branch) for branch in branches])
    if not _same_ranks(c, regions):
        return _chosen(c, branches)
    captured = list(dict.fromkeys(v for region in regions for v in region.captured))
    results = [_joined(c, regions, i) for i in range(len(regions[0].outputs))]
    then, otherwise = (region.graph(captured) for region in regions)
    condition = c.reshape(c[0], ())
    return c.apply_all("if", condition, *captured, then=then, otherwise=otherwise, results=written(results))


def _branch(c: Call, graph: GraphProto) -> Region:
    builder = RegionBuilder(c)
    return builder.close(builder.inline(graph, ()))


def _as_scalars(c: Call, regions: Sequence[Region]) -> list[Region]:
    """The regions with scalars for results that are one in one branch, and a single element in the other."""
    if len({len(region.outputs) for region in regions}) > 1:
        raise c.malformed("has branches with different numbers of results")
    pairs = list(zip(*(region.outputs for region in regions), strict=True))
    mixed = [{v.rank for v in pair} == {0, 1} and {v.type.size for v in pair} == {1} for pair in pairs]
    outputs = ([c.reshape(v, ()) if m else v for v, m in zip(r.outputs, mixed, strict=True)] for r in regions)
    return [replace(r, outputs=tuple(o)) for r, o in zip(regions, outputs, strict=True)]


def _same_ranks(c: Call, regions: Sequence[Region]) -> bool:
    ranks = [[v.rank for v in region.outputs] for region in regions]
    return ranks[0] == ranks[1]


def _chosen(c: Call, branches: Sequence[GraphProto]) -> tuple[Value, ...]:
    """Where the branches give different numbers of axes: one of them, which is then expected to be the one.

    Exporters write so what removes an axis if its size is 1. What follows takes only one of the two.
    """
    place = c.choice()
    condition = c.reshape(c[0], ())
    holds = c.apply("logical_not", condition) if place else condition
    name = ("then", "else")[place]
    message = f"The model was compiled for the {name} branch of {c.source}; the other gives another number of axes."
    return tuple(c.apply("expect", v, holds, message=message) for v in c.inline(branches[place], ()))


def _joined(c: Call, regions: Sequence[Region], place: int) -> TensorType:
    """The type of a result that either branch may give: sizes on which they do not agree are computed."""
    a, b = (region.outputs[place].type for region in regions)
    if a.dtype != b.dtype:
        raise c.malformed(f"gives {a.dtype} in one branch and {b.dtype} in the other")
    shape = [
        x if dims.equal(x, y) and not regions[0].is_own(x) else c.fresh_size()
        for x, y in zip(a.shape, b.shape, strict=True)
    ]
    return a.with_shape(shape)


def loop(c: Call) -> tuple[Value, ...]:
    """Carried sizes that a trip changes become symbols: the body is read again until its types hold for every trip."""
    trips = c.optional(0)
    limit = c.constant(ENDLESS, "int64") if trips is None else c.reshape(c.cast(trips, "int64"), ())
    given = c.optional(1)
    start = c.constant(True) if given is None else c.reshape(given, ())
    initial = [c[i] for i in range(2, len(c.inputs))]
    body = c.graph("body")

    def read(builder: RegionBuilder, trip: Value, again: Value, carried: Sequence[Value]) -> Sequence[Value]:
        return builder.inline(body, [trip, again, *carried])

    return looped(c, limit, start, initial, read)


Body = Callable[[RegionBuilder, Value, Value, Sequence[Value]], Sequence[Value]]


def looped(c: Call, limit: Value, start: Value, initial: Sequence[Value], body: Body) -> tuple[Value, ...]:
    """The `loop` over what `body(builder, trip, condition, carried)` gives: condition, carried, rows."""
    types = [v.type for v in initial]
    changing: set[Dim] = set()
    while True:
        region = _body(c, types, body)
        made = [v.type for v in region.outputs[1 : 1 + len(types)]]
        general = [_general(c, old, new, changing) for old, new in zip(types, made, strict=True)]
        if general == types:
            break
        types = general
    captured = list(region.captured)
    carried = [_outside(c, region, t) for t in types]
    count = _trips(c, limit, start, region)
    rows = [v.type.with_shape((count, *_outside(c, region, v.type).shape)) for v in region.outputs[1 + len(types) :]]
    results, graph = written([*carried, *rows]), region.graph(captured)
    return c.apply_all("loop", limit, start, *initial, *captured, body=graph, carried=len(initial), results=results)


def _body(c: Call, types: Sequence[TensorType], body: Body) -> Region:
    builder = RegionBuilder(c)
    trip, again = builder.formal(tensor("int64")), builder.formal(tensor("bool"))
    outputs = list(body(builder, trip, again, [builder.formal(t) for t in types]))
    if len(outputs) < 1 + len(types):
        raise c.malformed(f"carries {len(types)} values, but its body gives {len(outputs) - 1}")
    outputs[0] = builder.call.reshape(outputs[0], ())
    return builder.close(outputs)


def _general(c: Call, old: TensorType, new: TensorType, changing: set[Dim]) -> TensorType:
    """The type of a carried value, with a symbol for each size that a trip may change; they are added to `changing`."""
    if old.dtype != new.dtype:
        raise c.malformed(f"carries {old.dtype}, but its body gives {new.dtype}")
    if old.rank != new.rank:
        raise c.unsupported(f"carries {old}, of which its body makes {new}, with another number of axes")
    shape = [
        a if dims.equal(a, b) or a in changing else c.fresh_size() for a, b in zip(old.shape, new.shape, strict=True)
    ]
    changing.update(a for a, b in zip(shape, old.shape, strict=True) if a is not b and not isinstance(a, int))
    return old.with_shape(shape)


def _outside(c: Call, region: Region, type: TensorType) -> TensorType:
    """The type with symbols that mean something around the region."""
    return type.with_shape(c.fresh_size() if region.is_own(d) else d for d in type.shape)


def _trips(c: Call, limit: Value, start: Value, region: Region) -> Dim:
    """How many rows a loop gives: known where nothing but the limit ends it."""
    again, known = region.outputs[0], c.maybe_known(limit)
    endless = again is region.formals[1] or (again.data is not None and bool(again.data.item()))
    if known is None or known.dtype == object or not endless or start.data is None or not start.data.item():
        return c.fresh_size()
    return max(int(known.item()), 0)


def scan(c: Call) -> tuple[Value, ...]:
    """A loop over slices of its inputs; what it collects lies along an axis of the caller's choice."""
    count = c.integer("num_scan_inputs", 0)
    values = [c[i] for i in range(len(c.inputs))]
    states, sequences = values[: len(values) - count], values[len(values) - count :]
    if not sequences:
        raise c.malformed("scans nothing")
    backward = c.integers("scan_input_directions") or (0,) * count
    given = c.integers("scan_input_axes") or (0,) * count
    axes = [c.axis(a, v.rank) for a, v in zip(given, sequences, strict=True)]
    results = _scanned(c, states, sequences, axes, backward)
    rows = results[len(states) :]
    return (*results[: len(states)], *(_placed(c, row, i) for i, row in enumerate(rows)))


def _scanned(
    c: Call, states: Sequence[Value], sequences: Sequence[Value], axes: Sequence[int], backward: Sequence[int]
) -> tuple[Value, ...]:
    length, body = sequences[0].shape[axes[0]], c.graph("body")

    def read(builder: RegionBuilder, trip: Value, again: Value, carried: Sequence[Value]) -> Sequence[Value]:
        inner = builder.call
        mirrored = inner.apply("sub", inner.size_value(dims.sub(length, 1)), trip)
        elements = [
            inner.apply("gather", builder.capture(v), mirrored if back else trip, axis=axis)
            for v, axis, back in zip(sequences, axes, backward, strict=True)
        ]
        return [inner.constant(True), *builder.inline(body, [*carried, *elements])]

    return looped(c, c.size_value(length), c.constant(True), states, read)


def _placed(c: Call, row: Value, place: int) -> Value:
    """Collected rows in the order, and along the axis, that the attributes say."""
    if (c.integers("scan_output_directions") or (0,) * (place + 1))[place]:
        starts = (dims.sub(row.shape[0], 1), *[0] * (row.rank - 1))
        row = c.apply("slice", row, starts=starts, sizes=row.shape, steps=(-1, *[1] * (row.rank - 1)))
    axis = c.axis((c.integers("scan_output_axes") or (0,) * (place + 1))[place], row.rank)
    order = list(range(1, row.rank))
    order.insert(axis, 0)
    return c.transpose(row, order)


def scan_8(c: Call) -> tuple[Value, ...]:
    """The first version: a batch of sequences, each scanned along its second axis."""
    if c.optional(0) is not None:
        raise c.unsupported("has sequences of different lengths")
    count = c.integer("num_scan_inputs", 0)
    values = [c[i] for i in range(1, len(c.inputs))]
    states, body = len(values) - count, c.graph("body")

    def one(builder: RegionBuilder, trip: Value, again: Value, carried: Sequence[Value]) -> Sequence[Value]:
        inner = builder.call
        rows = [inner.apply("gather", builder.capture(v), trip, axis=0) for v in values]
        length = rows[states].shape[0]

        def read(deeper: RegionBuilder, step: Value, going: Value, state: Sequence[Value]) -> Sequence[Value]:
            elements = [deeper.call.apply("gather", deeper.capture(v), step, axis=0) for v in rows[states:]]
            return [deeper.call.constant(True), *deeper.inline(body, [*state, *elements])]

        made = looped(inner, inner.size_value(length), inner.constant(True), rows[:states], read)
        return [inner.constant(True), *made]

    return looped(c, c.size_value(values[0].shape[0]), c.constant(True), (), one)


TABLE = {"If": if_, "Loop": loop, "Scan": {8: scan_8, 9: scan}}
