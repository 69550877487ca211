"""Group operators into kernels.

Each group becomes one `fused` node whose `body` is a graph of its own. A group has at most one anchor (a contraction
or a reduction), or a depthwise convolution and the product that reads it; elementwise operators after it as far as
post-dominance allows, and cheap operators before it. Only the last value of a group is visible outside, so groups
cannot form a cycle. The scheme follows "Relay: A High-Level Compiler for Deep Learning" (Roesch et al., 2019), section
on operator fusion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tilewright.ir import dims
from tilewright.ir.graph import Graph, Node, Value, input_value, make_node
from tilewright.ir.op import Kind
from tilewright.ir.ops import lookup
from tilewright.ir.types import HELD
from tilewright.passes.costly import LONG, is_costly, is_scalar
from tilewright.passes.dominators import post_dominators
from tilewright.passes.prologues import has_constant_matrix, is_depthwise, is_small_product, prepares, reads_weights

ANCHORS = (Kind.CONTRACTION, Kind.REDUCTION, Kind.SERIAL)
ROUNDINGS = 4  # to bfloat16 in one kernel: as for `LONG`
# Contractions read an operand many times, so only a change of place may be computed on the way in.
MOVES = {"attention": ("transpose", "slice"), "matmul": ("transpose",)}
PLACES = ("gather", "slice", "expand")  # are as fast within a concatenation as alone


@dataclass(frozen=True)
class Fuse:
    """The graph with every compilable operator in a `fused` node.

    Reshapes stay outside, since they move no data, but for those of axes of size 1 within a kernel. `splits_images`:
    whether the machine's convolutions read each element of an image once, to split it into pieces.
    """

    splits_images: bool = False

    def __call__(self, graph: Graph) -> Graph:
        return _fuse_all(graph, self.splits_images)


fuse = Fuse()


def _fuse_all(graph: Graph, splits_images: bool) -> Graph:
    groups = _Groups(graph, splits_images)
    for kinds in ((Kind.CONTRACTION,), (Kind.REDUCTION,), (Kind.INJECTIVE, Kind.ELEMENTWISE)):
        for node in graph.nodes:
            if node.op.kind in kinds:
                groups.extend_forward(node)
    for node in graph.nodes:
        groups.join_depthwise(node)
    for node in reversed(graph.nodes):
        groups.absorb(node)
    return _outline(graph, groups)


def compilable(node: Node) -> bool:
    """May become part of a kernel: has a tensor expression or a schedule rule, on arrays that kernels know."""
    values = (*node.inputs, *node.results)
    known = node.op.kind is Kind.SERIAL or (node.op.compute is not None and node.op.kind is not Kind.OPAQUE)
    return known and all(v.dtype not in HELD for v in values)


def _is_view(node: Node) -> bool:
    return node.op.name == "reshape"


class _Groups:
    """Which group each node is in. A group is known by its last node."""

    def __init__(self, graph: Graph, splits_images: bool) -> None:
        self.graph, self.splits_images = graph, splits_images
        self.tail: dict[Node, Node] = {node: node for node in graph.nodes if compilable(node) and not _is_view(node)}
        self.members: dict[Node, list[Node]] = {node: [node] for node in self.tail}
        self.after = post_dominators(graph)

    def anchor(self, tail: Node) -> Node | None:
        return next((n for n in self.members[tail] if n.op.kind in ANCHORS), None)

    def merge(self, nodes: Iterable[Node], tail: Node) -> None:
        """Put the groups of `nodes` and of `tail` into one that ends with `tail`."""
        tails = dict.fromkeys([*(self.tail[n] for n in nodes), self.tail[tail]])
        merged = [member for t in tails for member in self.members.pop(t)]
        self.members[tail] = merged
        self.tail.update((member, tail) for member in merged)

    def extend_forward(self, node: Node) -> None:
        """Take in the elementwise operators that all of the group's readers lead to."""
        while self.tail.get(node) is node:
            end = self.after.get(node)
            if end is None or len(node.results) > 1:
                return
            between = self._between(node, end)
            if between is None or not all(self._follows(node, n) for n in between):
                return
            anchor = self.anchor(node)
            if anchor is not None and anchor.op.kind is Kind.CONTRACTION and reads_weights(between, anchor):
                return
            if self._is_long([*self.members[node], *between]):
                return
            self.merge([node, *between], end)
            node = end

    @staticmethod
    def _is_long(nodes: Sequence[Node]) -> bool:
        rounded = [n for n in nodes if n.op.kind is Kind.ELEMENTWISE and n.results[0].dtype == "bfloat16"]
        long = sum(node.op.name in LONG for node in nodes)
        return long > 1 or len(rounded) > (1 if long else ROUNDINGS)

    def _between(self, start: Node, end: Node) -> list[Node] | None:
        """The nodes on the ways from `start` to `end`, with `end`; None if one of them is taken or in no kernel."""
        found: dict[Node, None] = {}
        pending = [start]
        while pending:
            current = pending.pop()
            if any(self.graph.is_output(r) for r in current.results):
                return None
            for value in current.results:
                for reader in self.graph.readers.get(value, ()):
                    if self.tail.get(reader) is not reader or len(self.members[reader]) > 1:
                        return None
                    if reader not in found:
                        found[reader] = None
                        if reader is not end:
                            pending.append(reader)
        return list(found)

    def _follows(self, start: Node, node: Node) -> bool:
        """May be computed on each element right after `start` made it."""
        if node.op.kind is Kind.ELEMENTWISE:
            return dims.same_shape(node.results[0].shape, start.results[0].shape)
        anchor = self.anchor(self.tail[start])
        return (
            node.op.name == "transpose"
            and anchor is not None
            and anchor.op.name in MOVES
            and start.op.name != "transpose"
            and self.graph.uses(start.results[0]) == 1  # nothing reads it at the place it had before
        )

    def absorb(self, node: Node) -> None:
        """Compute the group that ends with `node` inside its only reader, where that costs little."""
        if self.tail.get(node) is not node or self.anchor(node) is not None or len(node.results) > 1:
            return
        view = self._view_of(node.results[0])
        value = node.results[0] if view is None else view.results[0]
        if self.graph.is_output(value):
            return
        readers = set(self.graph.readers.get(value, ()))
        groups = {self.tail.get(reader) for reader in readers}
        group = groups.pop() if len(groups) == 1 else None
        if group is None or not all(self._accepts(reader, node) for reader in readers):
            return
        if self._is_long([*self.members[node], *self.members[group]]):
            return
        if view is not None:
            if self.anchor(group) is not None:
                return  # whose rule looks at what it reads
            self.tail[view], self.members[view] = view, [view]
            self.merge([node], view)
        self.merge([node], group)

    def join_depthwise(self, node: Node) -> None:
        """Put the group of a depthwise convolution, if it ends with `node`, and the product that reads it into one."""
        anchors = [n for n in self.members.get(node, ()) if n.op.kind in ANCHORS]
        if len(anchors) != 1 or not is_depthwise(anchors[0]) or self.graph.is_output(node.results[0]):
            return
        readers = self.graph.readers.get(node.results[0], ())
        product = readers[0] if len(readers) == 1 else None
        if product is None or not is_small_product(product, node.results[0]):
            return
        tail = self.tail[product]
        if self.anchor(tail) is product and not self._is_long([*self.members[node], *self.members[tail]]):
            self.merge([node], tail)

    def _prepares(self, nodes: Sequence[Node], reader: Node) -> bool:
        return prepares(nodes, reader, splits_images=self.splits_images)

    def _prepared_for(self, node: Node) -> Node | None:
        """The convolution or product whose first operand `node` helps to make, in its group."""
        tail = self.tail[node]
        anchor = self.anchor(tail)
        if anchor is None or not (anchor.op.name == "conv" or has_constant_matrix(anchor)):
            return None
        return anchor if node in self._makers(anchor.inputs[0], self.members[tail]) else None

    def _lead_only_to(self, contraction: Node, makers: Sequence[Node]) -> bool:
        """Whether nothing behind the contraction reads what its operand is made of."""
        read = (reader for node in makers for v in node.results for reader in self.graph.readers.get(v, ()))
        return all(reader is contraction or reader in makers for reader in read)

    @staticmethod
    def _makers(value: Value, members: Sequence[Node]) -> list[Node]:
        """Those of `members` that `value` is made by."""
        found: dict[Node, None] = {}
        pending = [value.node]
        while pending:
            node = pending.pop()
            if node is not None and node in members and node not in found:
                found[node] = None
                pending.extend(v.node for v in node.inputs)
        return list(found)

    def _view_of(self, value: Value) -> Node | None:
        """What alone reads `value`, if it only adds or drops axes of size 1: no detour for a kernel."""
        readers = self.graph.readers.get(value, ())
        if self.graph.is_output(value) or len(readers) != 1 or not _is_view(readers[0]):
            return None
        before, after = ([d for d in v.shape if d != 1] for v in (value, readers[0].results[0]))
        return readers[0] if dims.same_shape(before, after) else None

    def _accepts(self, reader: Node, producer: Node) -> bool:
        if reader.op.kind is Kind.SERIAL:
            return False
        if reader.op.kind is Kind.CONTRACTION:
            if reader.inputs[0] is producer.results[0] and self._prepares(self.members[producer], reader):
                return True
            if has_constant_matrix(reader):
                return False  # packed weights are read once for many rows, if these lie one after the other
            moves = MOVES.get(reader.op.name, ())
            return all(n.op.name in moves for n in self.members[producer])
        if (contraction := self._prepared_for(reader)) is not None:
            before = self._makers(contraction.inputs[0], self.members[self.tail[reader]])
            joins = any(n.op.name == "concat" for n in self.members[producer])
            if joins and not self._lead_only_to(contraction, before):
                return False
            return self._prepares([*before, *self.members[producer]], contraction)
        if any(n.op.name == "concat" for n in self.members[producer]):
            return False
        if reader.op.name == "concat":
            return all(n.op.kind is Kind.ELEMENTWISE or n.op.name in PLACES for n in self.members[producer])
        grows = not dims.equal(reader.results[0].type.size, producer.results[0].type.size)
        if reader.op.kind is Kind.REDUCTION:
            return reader.inputs[0].node is producer
        return not grows or not any(is_costly(n) for n in self.members[producer])


def _outline(graph: Graph, groups: _Groups) -> Graph:
    """Replace each group by one `fused` node."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    new: dict[Value, Value] = {}
    for node in graph.nodes:
        tail = groups.tail.get(node)
        if tail is None:
            results = node.with_inputs([new.get(v, v) for v in node.inputs]).results
        elif tail is node:
            results = _fused(sorted(groups.members[node], key=order.__getitem__), new)
        else:
            continue
        new.update(zip(node.results, results, strict=True))
    return Graph(graph.inputs, tuple(new.get(v, v) for v in graph.outputs), graph.output_names)


def _fused(members: list[Node], new: Mapping[Value, Value]) -> tuple[Value, ...]:
    """One `fused` node that computes `members`, whose last is visible."""
    inside = {result for node in members for result in node.results}
    outer = dict.fromkeys(v for node in members for v in node.inputs if v not in inside and not is_scalar(v))
    inner = {value: input_value(f"i{i}", value.type) for i, value in enumerate(outer)}
    for node in members:
        rebuilt = node.with_inputs([inner.get(v, v) for v in node.inputs])
        inner.update(zip(node.results, rebuilt.results, strict=True))
    results = tuple(inner[r] for r in members[-1].results)
    body = Graph(tuple(inner[v] for v in outer), results, tuple(f"o{i}" for i in range(len(results))))
    source = " + ".join(dict.fromkeys(node.source or node.op.name for node in members))
    return make_node(lookup("fused"), [new.get(v, v) for v in outer], {"body": body}, source=source).results
