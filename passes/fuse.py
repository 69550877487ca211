"""Group operators into kernels.

Each group becomes one `fused` node whose `body` is a graph of its own. A group has at most one anchor (a contraction
or a reduction), or a depthwise convolution and the product that reads it; elementwise operators after it as far as
post-dominance allows, and cheap operators before it. Only the last value of a group is visible outside, so groups
cannot form a cycle. The scheme follows "Relay: A High-Level Compiler for Deep Learning" (Roesch et al., 2019), section
on operator fusion.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tilewright.ir import dims
from tilewright.ir.graph import Graph, Node, Value, input_value, make_node
from tilewright.ir.op import Kind
from tilewright.ir.ops import lookup
from tilewright.ir.types import HELD

ANCHORS = (Kind.CONTRACTION, Kind.REDUCTION, Kind.SERIAL)
TRIGONOMETRIC = {"sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "tanh"}
# Long expressions: TVM takes minutes to lower one of them inside another, so a kernel has one at most.
LONG = frozenset({"exp", "log", "tanh", "erf", "sigmoid", "gelu", "rational_sigmoid", "rational_tanh"})
COSTLY = TRIGONOMETRIC | LONG | {"sqrt", "rsqrt", "reciprocal", "pow", "div", "mod"}
ROUNDINGS = 4  # to bfloat16 in one kernel: likewise
# Contractions read an operand many times, so only a change of place may be computed on the way in.
MOVES = {"attention": ("transpose", "slice"), "matmul": ("transpose",)}
PLACES = ("gather", "slice", "expand")  # are as fast within a concatenation as alone
SPLIT_OUTPUTS, SPLIT_TERMS = 16, 64  # of a convolution with which splitting its image pays
COLOURS = 8  # channels of an image, at most, that a convolution puts last where it copies rows
SMALL_MATRIX = 1 << 15  # elements of a matrix that may be read again for each few rows of an image
LARGE_IMAGE = 1 << 17  # elements of an image that is better not written and read again between two operators
LEAST_ROWS = 16  # of an image, which threads share where they go on with a product
IMAGE_RANK = 4  # of an image with two axes beside batch and channels
FILTERED = 3  # taps of a window along each axis, of which neighbours are computed together, vectors of channels at once
FILTERED_CHANNELS = 16  # of each image that such a window reads, at least, and of its results
JOINED_IMAGES = 6  # at most, that one convolution reads as one: each has loops of its own there


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
        if len(anchors) != 1 or not _is_depthwise(anchors[0]) or self.graph.is_output(node.results[0]):
            return
        readers = self.graph.readers.get(node.results[0], ())
        product = readers[0] if len(readers) == 1 else None
        if product is None or not _is_small_product(product, node.results[0]):
            return
        tail = self.tail[product]
        if self.anchor(tail) is product and not self._is_long([*self.members[node], *self.members[tail]]):
            self.merge([node], tail)

    def _prepares(self, nodes: Sequence[Node], conv: Node) -> bool:
        """Whether these, which make the image of a convolution, are computed on the way there."""
        if _reads_colours(conv) and _turns_planes(nodes, conv.inputs[0].rank):
            return True
        if _reads_large_windows(conv) and _makes_vectors(nodes):
            return True
        return self.splits_images and _reads_each_once(conv) and _is_cheap_on_one_shape(nodes)

    def _prepared_by(self, node: Node) -> Node | None:
        """The convolution whose image `node` helps to make, in its group."""
        tail = self.tail[node]
        anchor = self.anchor(tail)
        if anchor is None or anchor.op.name != "conv":
            return None
        return anchor if node in self._makers(anchor.inputs[0], self.members[tail]) else None

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
            if reader.op.name == "matmul" and reader.inputs[1].is_constant and reader.inputs[1].rank == 2:
                return False  # packed weights are read once for many rows, if these lie one after the other
            if reader.inputs[0] is producer.results[0] and self._prepares(self.members[producer], reader):
                return True
            moves = MOVES.get(reader.op.name, ())
            return all(n.op.name in moves for n in self.members[producer])
        if (conv := self._prepared_by(reader)) is not None:
            before = self._makers(conv.inputs[0], self.members[self.tail[reader]])
            return self._prepares([*before, *self.members[producer]], conv)
        if any(n.op.name == "concat" for n in self.members[producer]):
            return False
        if reader.op.name == "concat":
            return all(n.op.kind is Kind.ELEMENTWISE or n.op.name in PLACES for n in self.members[producer])
        grows = not dims.equal(reader.results[0].type.size, producer.results[0].type.size)
        if reader.op.kind is Kind.REDUCTION:
            return reader.inputs[0].node is producer
        return not grows or not any(_is_costly(n) for n in self.members[producer])


def _reads_each_once(reader: Node) -> bool:
    """Whether a convolution, on a machine that splits its image, reads each element of the image once."""
    if not _is_plain_conv(reader):
        return False
    image, weights = reader.inputs[:2]
    outputs, *terms = weights.shape
    if image.rank > IMAGE_RANK:
        return False
    return bool(outputs >= SPLIT_OUTPUTS and math.prod(terms) >= SPLIT_TERMS)


def _reads_colours(reader: Node) -> bool:
    """Whether it is a convolution of an image of few channels."""
    if not _is_plain_conv(reader):
        return False
    channels = reader.inputs[0].shape[-1]
    return isinstance(channels, int) and 1 < channels <= COLOURS


def _reads_large_windows(reader: Node) -> bool:
    """Whether it is a convolution that reads a large image a few times, in vectors of channels."""
    if not _is_plain_conv(reader):
        return False
    (image, weights), attrs = reader.inputs[:2], reader.attrs
    if weights.shape[2:] != (FILTERED, FILTERED) or {*attrs["strides"], *attrs["dilations"]} != {1}:
        return False
    sizes = [size for size in image.shape[1:] if isinstance(size, int)]
    large = len(sizes) < image.rank - 1 or math.prod(sizes) >= LARGE_IMAGE
    return large and all(isinstance(d, int) and d >= FILTERED_CHANNELS for d in (image.shape[-1], weights.shape[0]))


def _makes_vectors(nodes: Sequence[Node]) -> bool:
    """Whether these are cheap for a vector of channels, which last: elementwise, resized, or joined of vectors."""
    if any(map(_is_costly, nodes)) or sum(node.op.name == "concat" for node in nodes) > 1:
        return False
    return all(n.op.kind is Kind.ELEMENTWISE or _resizes_by_whole_numbers(n) or _joins_channels(n) for n in nodes)


def _resizes_by_whole_numbers(node: Node) -> bool:
    """To the nearest places, but not along the channels."""
    if node.op.name != "resize" or node.attrs["mode"] != "nearest" or len(node.inputs) > 1:
        return False
    old, new = node.inputs[0].shape, node.results[0].shape
    whole = all(isinstance(dims.floordiv(b, a), int) for a, b in zip(old[1:-1], new[1:-1], strict=True))
    return whole and dims.equal(old[0], new[0]) and dims.equal(old[-1], new[-1])


def _joins_channels(node: Node) -> bool:
    """A concatenation of a few images with channels enough for vectors."""
    if node.op.name != "concat" or node.attrs["axis"] != node.results[0].rank - 1 or len(node.inputs) > JOINED_IMAGES:
        return False
    channels = [v.shape[-1] for v in node.inputs]
    return all(isinstance(count, int) and count >= FILTERED_CHANNELS for count in channels)


def _is_plain_conv(node: Node) -> bool:
    """A convolution in one group with channels last and constant weights."""
    if node.op.name != "conv" or not node.attrs["channels_last"] or node.attrs["groups"] > 1:
        return False
    image, weights = node.inputs[:2]
    return weights.is_constant and image.dtype == "float32"


def _turns_planes(nodes: Sequence[Node], rank: int) -> bool:
    """Whether these are the transpose that puts channels last, and perhaps cheap elementwise operators."""
    turns = [node for node in nodes if node.op.kind is not Kind.ELEMENTWISE]
    if len(turns) != 1 or turns[0].op.name != "transpose" or any(map(_is_costly, nodes)):
        return False
    return bool(turns[0].attrs["perm"] == (0, *range(2, rank), 1))


def _is_depthwise(node: Node) -> bool:
    """A depthwise convolution of images, channels last."""
    if node.op.name != "conv" or not node.attrs["channels_last"]:
        return False
    image, weights = node.inputs[:2]
    each = 1 < node.attrs["groups"] == image.shape[-1] == weights.shape[0]
    return each and image.rank == IMAGE_RANK and image.dtype == "float32" and weights.is_constant


def _is_small_product(node: Node, left: Value) -> bool:
    """Whether `left` is multiplied with a matrix of which many passes take no time beside what they save."""
    if node.op.name != "matmul" or node.inputs[0] is not left:
        return False
    right = node.inputs[1]
    alike = left.dtype == right.dtype == node.results[0].dtype == "float32"
    if not alike or not right.is_constant or right.rank != 2 or math.prod(right.shape) > SMALL_MATRIX:
        return False
    rows, sizes = left.shape[1], [size for size in left.shape[1:] if isinstance(size, int)]
    if isinstance(rows, int) and rows < LEAST_ROWS:
        return False
    return len(sizes) < left.rank - 1 or math.prod(sizes) >= LARGE_IMAGE


def _is_cheap_on_one_shape(nodes: Sequence[Node]) -> bool:
    """Whether these are cheap elementwise operators, of scalars and of values of one shape."""
    read = [v for node in nodes for v in (*node.inputs, *node.results) if not _is_scalar(v)]
    alike = all(dims.same_shape(v.shape, read[0].shape) for v in read)
    return alike and all(n.op.kind is Kind.ELEMENTWISE and not _is_costly(n) for n in nodes)


def _is_costly(node: Node) -> bool:
    """Better computed once than for each element that reads it."""
    if node.op.name == "div" and node.results[0].dtype == "float32" and _is_scalar(node.inputs[1]):
        return False  # a product and a multiply-add
    return node.op.name in COSTLY or (node.op.name == "resize" and node.attrs["mode"] != "nearest")


def post_dominators(graph: Graph) -> Mapping[Node | None, Node | None]:
    """For each node the first one that every way from it to an output passes; None where that is the end itself.

    "A Simple, Fast Dominance Algorithm" (Cooper, Harvey, Kennedy, 2001), which without cycles takes one pass.
    """
    after: dict[Node | None, Node | None] = {}
    depth: dict[Node | None, int] = {None: 0}

    def meet(a: Node | None, b: Node | None) -> Node | None:
        while a is not b:
            a, b = (after[a], b) if depth[a] >= depth[b] else (a, after[b])
        return a

    for node in reversed(graph.nodes):
        ways: list[Node | None] = [reader for r in node.results for reader in graph.readers.get(r, ())]
        after[node] = functools.reduce(meet, [*ways, *(None for r in node.results if graph.is_output(r))])
        depth[node] = depth[after[node]] + 1
    return after


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
    outer = dict.fromkeys(v for node in members for v in node.inputs if v not in inside and not _is_scalar(v))
    inner = {value: input_value(f"i{i}", value.type) for i, value in enumerate(outer)}
    for node in members:
        rebuilt = node.with_inputs([inner.get(v, v) for v in node.inputs])
        inner.update(zip(node.results, rebuilt.results, strict=True))
    results = tuple(inner[r] for r in members[-1].results)
    body = Graph(tuple(inner[v] for v in outer), results, tuple(f"o{i}" for i in range(len(results))))
    source = " + ".join(dict.fromkeys(node.source or node.op.name for node in members))
    return make_node(lookup("fused"), [new.get(v, v) for v in outer], {"body": body}, source=source).results


def _is_scalar(value: Value) -> bool:
    return value.data is not None and value.data.size == 1
