"""Reductions over axes: sums and extremes, softmax, norms, with the elementwise operators before and after them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tilewright.backends.kernels.collapse_folded import collapse_folded
from tilewright.backends.kernels.expr import ArgReduction, Reduction, Tensor
from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.nest import Nest
from tilewright.backends.kernels.ranges import Indices
from tilewright.backends.kernels.rowwise import emit_rows
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value


def declines(group: Group) -> str:
    node = group.anchor
    if node is None or folded_axes(node) is None:
        return "is not a reduction over axes"
    return "" if node.inputs[0].rank else "reduces a scalar"


def folded_axes(node: Node) -> tuple[int, ...] | None:
    """The axes that a reduction folds; None for other operators."""
    name, attrs = node.op.name, node.attrs
    if name.startswith("reduce_"):
        return tuple(attrs["axes"]) or None
    if name in ("argmax", "argmin", "softmax", "log_softmax"):
        return (attrs["axis"],)
    return tuple(range(attrs["axis"], node.inputs[0].rank)) if name in ("layer_norm", "rms_norm") else None


def emit(group: Group) -> Mapping[Value, Layout]:
    assert group.anchor is not None
    group.body = collapse_folded(group.body, group.anchor)
    node = group.anchor
    assert node is not None
    axes = folded_axes(node)
    assert axes is not None
    group.place({})
    nest = Nest(group.shape(node.inputs[0]), axes)
    stages, output = list(_stages(group, node)), group.body.outputs[0]
    whole = output.rank == len(nest.shape) and node.results[0].type.matches(node.inputs[0].type)

    def finish_row(row: Indices) -> None:
        group.store(output, nest.row_index(group.tensors[output], row))

    def finish(place: Indices) -> None:
        group.store(output, place)

    machine = Vectors.of(group.target)
    if whole and not node.op.name.startswith(("reduce_", "arg")):
        emit_rows(group.k, machine, nest, stages, finish=finish)
    else:
        emit_rows(group.k, machine, nest, stages, finish_row=finish_row)
    return {}


def _stages(group: Group, node: Node) -> Iterator[Tensor]:
    """What is made of each row in order: the input, if computed on the way, and all up to the last fold."""
    own = group.stages[node]
    folds = [i for i, stage in enumerate(own) if isinstance(stage, Reduction | ArgReduction)]
    if node.inputs[0] not in group.inputs and len(own) > 1:
        yield group.tensors[node.inputs[0]]
    whole = group.tensors[node.inputs[0]].shape
    yield from (s for s in own[: folds[-1] + 1] if isinstance(s, Reduction | ArgReduction) or s.shape is whole)


RULE = Rule("rows", declines, emit)
