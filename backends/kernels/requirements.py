"""What the types take for granted and the sizes at run time must hold to, checked when a kernel starts.

A compiled kernel must never read past its arrays: sizes that were taken to be equal have to be, slices have to lie
inside, and indices have to be in range.
"""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.backends.kernels.expr import Namespace, Tensor
from tilewright.backends.kernels.loops import Expr, Loops, const, index
from tilewright.ir import dims
from tilewright.ir.graph import Graph, Node, Value
from tilewright.ir.ops.checks import assumptions

INDEXED = ("gather", "gather_elements", "gather_nd", "scatter_elements", "scatter_nd")  # by their second input
ALONG_AXIS = ("gather_elements", "scatter_elements")


def require_sizes(k: Loops, b: Namespace, body: Graph, tensors: Mapping[Value, Tensor]) -> None:
    """Emit the checks that the nodes of `body` need and that cannot be proved now."""
    for node in body.nodes:
        _require_equal_sizes(k, b, node)
        if node.op.name == "slice":
            _require_inside(k, b, node)
        elif node.op.name in INDEXED:
            _require_indices(k, b, node, tensors[node.inputs[1]])
        if node.op.name in ALONG_AXIS:
            _require_room(k, b, node)


def _require_equal_sizes(k: Loops, b: Namespace, node: Node) -> None:
    types = [v.type for v in node.inputs]
    for pair in assumptions(lambda: node.op.infer(types, node.attrs)):
        message = f"{node.op.name}: {pair.what} must be equal: {dims.to_text(pair.a)} and {dims.to_text(pair.b)}"
        k.require(b.equal(index(b.dim(pair.a)), index(b.dim(pair.b))), message)


def _require_inside(k: Loops, b: Namespace, node: Node) -> None:
    attrs, shape = node.attrs, node.inputs[0].shape
    for start, size, step, limit in zip(attrs["starts"], attrs["sizes"], attrs["steps"], shape, strict=True):
        last = dims.as_dim(start + (size - 1) * step)
        if (isinstance(last, int) and isinstance(limit, int)) or dims.equal(dims.sub(limit, size), start):
            continue
        ends, room = [index(b.dim(d)) for d in (start, last)], index(b.dim(limit))
        low, high = ends if isinstance(step, int) and step > 0 else reversed(ends)
        inside = b.logical_and(low >= 0, high < room)
        if not isinstance(step, int):  # it may go either way
            inside = b.logical_and(inside, b.logical_and(high >= 0, low < room))
        if dims.computed_symbols([size]):
            inside = b.logical_or(index(b.dim(size)) <= 0, inside)
        k.require(inside, f"slice: {size} elements from {start} do not fit into an axis of {limit}")


def _require_indices(k: Loops, b: Namespace, node: Node, indices: Tensor) -> None:
    """One pass over the indices, which are few beside the elements they fetch."""
    bad = k.local("bad", (1,), "int32")
    k.store(bad, (0,), const(0, "int32"))
    _each(k, indices, (), lambda place: k.store(bad, (0,), b.select(_valid(b, node, indices, place), bad[0], 1)))
    k.require(b.equal(bad[0], 0), f"{node.op.name}: an index is out of range ({node.inputs[0].type})")


def _require_room(k: Loops, b: Namespace, node: Node) -> None:
    """The indices are nowhere longer than the data, but along the axis."""
    for axis, (limit, size) in enumerate(zip(node.inputs[0].shape, node.inputs[1].shape, strict=True)):
        if axis == node.attrs["axis"] or dims.equal(size, limit) or (isinstance(size, int) and isinstance(limit, int)):
            continue
        message = f"{node.op.name}: axis {axis} of the indices ({size}) is longer than that of the data ({limit})"
        k.require(index(b.dim(size)) <= index(b.dim(limit)), message)


def _each(k: Loops, tensor: Tensor, place: tuple[Expr, ...], visit: object) -> None:
    assert callable(visit)
    if len(place) == len(tensor.shape):
        visit(place)
        return
    with k.serial(tensor.shape[len(place)]) as i:
        _each(k, tensor, (*place, i), visit)


def _valid(b: Namespace, node: Node, indices: Tensor, place: tuple[Expr, ...]) -> Expr:
    limits = [index(d) for d in b.shape(node.inputs[0])]
    value = b.cast(indices(*place), "int64")
    if not node.op.name.endswith("_nd"):
        limit = limits[node.attrs["axis"]]
        return b.logical_and(value >= -limit, value < limit)
    first, depth = node.attrs.get("batch_dims", 0), int(node.inputs[1].shape[-1])
    limit = limits[first]
    for axis in range(1, depth):
        limit = b.select(b.equal(place[-1], axis), limits[first + axis], limit)
    return b.logical_and(value >= -limit, value < limit)
