"""Slices that each reader takes by itself, where its kernel can, also in place of splits: fusion does not copy these.

A slice that several kernels read would be a kernel of its own, which writes what these read again.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilewright.ir import dims
from tilewright.ir.graph import Graph, Node, Value, apply
from tilewright.ir.op import Kind
from tilewright.passes.prologues import prepares


def slices_by_reader(graph: Graph) -> Graph:
    """The graph with slices for splits, and one for each reader whose kernel may have it.

    Slices come behind reshapes, which are in no kernel, where these divide the last axis, as into the heads of an
    attention.
    """
    sliced = graph.map_nodes(_plain_slices)

    def visit(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        own = {v: _again(new) for v, new in zip(node.inputs, inputs, strict=True) if _is_worth_own(sliced, node, v)}
        if not own:
            return None
        return node.with_inputs([own.get(v, new) for v, new in zip(node.inputs, inputs, strict=True)]).results

    return sliced.map_nodes(visit)


def _plain_slices(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name == "split":
        return _slices(node, inputs[0]) if _is_whole(node, inputs[0]) else None
    if node.op.name == "reshape" and (behind := _slice_behind(node, inputs[0])) is not None:
        return (behind,)
    return None


def _is_whole(split: Node, x: Value) -> bool:
    """Whether the parts surely are all of x, which slices do not check, and none is empty, as no slice may be."""
    axis, parts = split.attrs["axis"], [result.shape for result in split.results]
    whole = dims.equal(dims.add(*(shape[axis] for shape in parts)), x.shape[axis])
    return whole and not any(0 in shape for shape in (x.shape, *parts))


def _slice_behind(reshape: Node, cut: Value) -> Value | None:
    """A reshape of a slice as a slice of a reshape: where it is of the last axis, which is divided into equal parts."""
    if not cut.made_by("slice") or cut.node is None or reshape.results[0].rank != cut.rank + 1:
        return None
    x, attrs, shape = cut.node.inputs[0], cut.node.attrs, reshape.results[0].shape
    *outer, whole = x.shape
    width, start = shape[-1], attrs["starts"][-1]
    if not dims.same_shape((*outer, attrs["sizes"][-1]), cut.shape) or not dims.same_shape(outer, shape[:-2]):
        return None
    known = all(isinstance(size, int) for size in (whole, width, start))
    if not known or set(attrs["steps"]) != {1} or width == 0 or whole % width or start % width:
        return None
    divided = apply("reshape", x, shape=(*outer, whole // width, width), source=reshape.source)
    starts, steps = (*(0 for _ in outer), start // width, 0), (1,) * len(shape)
    return apply("slice", divided, starts=starts, sizes=shape, steps=steps, source=cut.node.source)


def _slices(split: Node, x: Value) -> list[Value]:
    """The results of a split of x."""
    axis, found = split.attrs["axis"], list[Value]()
    first: dims.Dim = 0
    for result in split.results:
        starts = tuple(first if a == axis else 0 for a in range(x.rank))
        steps = (1,) * x.rank
        found.append(apply("slice", x, starts=starts, sizes=result.shape, steps=steps, source=split.source))
        first = dims.add(first, result.shape[axis])
    return found


def _again(value: Value) -> Value:
    assert value.node is not None
    return value.node.with_inputs(value.node.inputs).results[0]


def _is_worth_own(graph: Graph, reader: Node, value: Value) -> bool:
    if not value.made_by("slice") or value.node is None:
        return False
    shared = graph.is_output(value) or len(set(graph.readers.get(value, ()))) > 1
    return shared and _takes(reader, value.node)


def _takes(reader: Node, slice: Node) -> bool:
    """Whether the kernel of a reader computes a slice on the way."""
    kind, is_first = reader.op.kind, reader.inputs[0] is slice.results[0]
    if reader.op.name == "reshape":
        return False  # is in no kernel
    if kind is Kind.CONTRACTION:
        return reader.op.name == "attention" or (is_first and prepares([slice], reader, splits_images=False))
    return kind in (Kind.ELEMENTWISE, Kind.INJECTIVE) or (kind is Kind.REDUCTION and is_first)
