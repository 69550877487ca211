"""What can be computed in vectors along its last axis, wherever it is needed: fusion and kernels agree on it."""

from __future__ import annotations

from collections.abc import Sequence

from tilewright.ir import dims
from tilewright.ir.graph import Node, Value
from tilewright.ir.op import Kind


def made_in_vectors(nodes: Sequence[Node], least: int) -> bool:
    """Whether these, which make one value, are such: elementwise, resized, cut out, and one concatenation at most.

    That is along the last axis, of values that each have `least` elements there, and what follows it keeps these.
    Resizes are to the nearest places, and of other axes; slices have no steps.
    """
    joints = [node for node in nodes if _joins_vectors(node, least)]
    if len(joints) > 1:
        return False
    behind = {node for joint in joints for node in _behind(joint, nodes)}
    return all(
        node in joints
        or node.op.kind is Kind.ELEMENTWISE
        or _resizes_places(node)
        or _cuts_out(node, keeps_last=node in behind)
        for node in nodes
    )


def joint_of(nodes: Sequence[Node]) -> Node | None:
    """The concatenation among nodes that `made_in_vectors`."""
    return next((node for node in nodes if node.op.name == "concat"), None)


def _joins_vectors(node: Node, least: int) -> bool:
    last = node.op.name == "concat" and node.attrs["axis"] == node.results[0].rank - 1
    return last and all(isinstance(v.shape[-1], int) and v.shape[-1] >= least for v in node.inputs)


def _behind(joint: Node, nodes: Sequence[Node]) -> set[Node]:
    """Those of the nodes that depend on it."""
    found, values = set[Node](), set[Value](joint.results)
    while more := [n for n in nodes if n not in found and not values.isdisjoint(n.inputs)]:
        found.update(more)
        values.update(result for node in more for result in node.results)
    return found


def _resizes_places(node: Node) -> bool:
    if node.op.name != "resize" or node.attrs["mode"] != "nearest":
        return False
    return dims.equal(node.inputs[0].shape[-1], node.results[0].shape[-1])


def _cuts_out(node: Node, *, keeps_last: bool) -> bool:
    if node.op.name != "slice" or set(node.attrs["steps"]) != {1}:
        return False
    return not keeps_last or dims.equal(node.inputs[0].shape[-1], node.results[0].shape[-1])
