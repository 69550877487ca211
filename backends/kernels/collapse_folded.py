"""Fewer, longer axes for a reduction: neighbours that it folds become one, so that inner loops are long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tilewright.backends.kernels.collapse import Run, goes_by_element, scalar
from tilewright.ir import dims
from tilewright.ir.graph import Graph, Node, Value, input_value, make_node
from tilewright.ir.op import Attrs


def collapse_folded(body: Graph, fold: Node) -> Graph:
    """The same graph, whose node `fold` folds as few axes as possible; others stay as they are.

    `fold` is a `reduce_*` of what elementwise operators make of inputs of one shape, and of scalars, that nothing else
    reads. Where it keeps the axes that it folds, what follows it reads nothing else but scalars. Inputs and outputs
    keep their order, and each keeps its elements in their order.
    """
    if not fold.op.name.startswith("reduce_"):
        return body
    parts = _Parts.of(body, fold)
    runs = _runs(fold.inputs[0].rank, fold.attrs["axes"])
    if len(runs) == fold.inputs[0].rank or not parts.may_collapse():
        return body
    shape = [dims.product(fold.inputs[0].shape[axis] for axis in run) for run in runs]
    axes = tuple(i for i, run in enumerate(runs) if run[0] in fold.attrs["axes"])
    made = {v: input_value(v.name, v.type.with_shape(shape)) for v in parts.read}
    for node in (*parts.before, fold):
        _remake(node, {**node.attrs, "axes": axes} if node is fold else node.attrs, made, _scalars(node))
    for node in parts.after:
        _remake(node, node.attrs, made, _scalars(node) if fold.attrs["keepdims"] else {})
    return Graph(tuple(made.get(v, v) for v in body.inputs), tuple(made[v] for v in body.outputs), body.output_names)


@dataclass(frozen=True)
class _Parts:
    """What makes that which `fold` folds, and what follows; `read` are the inputs of the former."""

    fold: Node
    before: tuple[Node, ...]
    after: tuple[Node, ...]
    read: tuple[Value, ...]

    @staticmethod
    def of(body: Graph, fold: Node) -> _Parts:
        before = Graph(body.inputs, fold.inputs).nodes
        after = tuple(node for node in body.nodes if node is not fold and node not in before)
        read = {v: None for node in (*before, fold) for v in node.inputs if v.node is None and not v.is_constant}
        return _Parts(fold, before, after, tuple(read))

    def may_collapse(self) -> bool:
        return self._have_one_shape_before() and not self._are_read_behind() and self._do_with_fewer_axes_behind()

    @property
    def _values_before(self) -> tuple[Value, ...]:
        return (*self.read, *(result for node in self.before for result in node.results))

    def _have_one_shape_before(self) -> bool:
        shape = self.fold.inputs[0].shape
        alike = all(dims.same_shape(v.shape, shape) for v in self._values_before)
        return alike and _has_scalars_only(self.before) and all(map(goes_by_element, self.before))

    def _are_read_behind(self) -> bool:
        return any(v in self._values_before for node in self.after for v in node.inputs)

    def _do_with_fewer_axes_behind(self) -> bool:
        """Those that `fold` keeps with size 1 go, too, from all that follows: it may read nothing that has them."""
        if not self.fold.attrs["keepdims"]:
            return True
        made = all(v.node or v.is_constant for node in self.after for v in node.inputs)
        return made and _has_scalars_only(self.after) and all(map(goes_by_element, self.after))


def _has_scalars_only(nodes: Iterable[Node]) -> bool:
    """Whether all constants that the nodes read have one element."""
    return all(v.type.size == 1 for node in nodes for v in node.inputs if v.is_constant)


def _scalars(node: Node) -> Mapping[Value, Value]:
    """Constants of one element without axes."""
    return {v: scalar(v) for v in node.inputs if v.is_constant}


def _remake(node: Node, attrs: Attrs, made: dict[Value, Value], constants: Mapping[Value, Value]) -> None:
    """Make the node of what has been made of its inputs, and add its results."""
    rebuilt = make_node(node.op, [made.get(v, constants.get(v, v)) for v in node.inputs], attrs)
    made.update(zip(node.results, rebuilt.results, strict=True))


def _runs(rank: int, folded: Sequence[int]) -> list[Run]:
    """All axes in order: neighbours that are folded are one run, others one each."""
    runs: list[Run] = []
    for axis in range(rank):
        if runs and axis in folded and axis - 1 in folded:
            runs[-1] = (*runs[-1], axis)
        else:
            runs.append((axis,))
    return runs
