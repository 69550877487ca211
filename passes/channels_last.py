"""Channels last: decide for the whole graph which values have their channels behind the other axes.

Convolutions are faster so, and pointwise ones are matrix products. Other operators work in either layout, or only in
the model's. Where neighbours differ the value between them is transposed. The layouts that cost least are a minimum cut
of a graph whose edges weigh the bytes that are transposed, and what a convolution that is left as it is does not save.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.graph import Graph, Node, Value, apply, constant, make_node
from tilewright.ir.types import numpy_dtype
from tilewright.passes.layouts import CONVOLUTIONS, Channels, Flow, Order, flow, moves, order_last, relaid
from tilewright.passes.prologues import COLOURS

if TYPE_CHECKING:
    import networkx

RANKS = (3, 4, 5)
VECTOR = 8  # result channels with which vectors of channels are worth it
FEW, RUN = 4, 16  # result channels, and products side by side in a sum, with which vectors along the sums are
SHARED = 32  # result channels of all residues of the strides that a tile of vectors of 8 holds
NOMINAL = 64  # what a symbolic size is taken to be
WORTH = 1 / 16  # bytes that are transposed in the time that a multiply-add is faster with channels last
LAST, FIRST = "last", "first"  # the two sides of the cut


def channels_last(graph: Graph, worth: float = WORTH) -> Graph:
    """The graph with the channels of images last where that saves more time than the transposes around them take."""
    if not any(map(is_movable, graph.nodes)):
        return graph
    layouts = _Layouts(graph, worth)
    chosen = layouts.chosen()
    return _Rewriting(layouts, chosen).run(graph) if any(map(is_movable, chosen)) else graph


def is_movable(node: Node) -> bool:
    """A convolution that can have its channels last."""
    if node.op.name not in CONVOLUTIONS or node.attrs["channels_last"]:
        return False
    x, w = node.inputs[:2]
    if x.rank not in RANKS or not isinstance(x.shape[1], int) or not w.is_constant:
        return False
    fits = _fills_vectors(node) or is_pointwise(node) or _sums_in_vectors(node) or _shares_vectors(node)
    return x.dtype in ("float32", "int32") and fits


def _fills_vectors(node: Node) -> bool:
    """Whether there are enough result channels side by side: in each group, or, of depthwise ones, in all."""
    w, groups = node.inputs[1], node.attrs["groups"]
    outputs = w.shape[1] * groups if node.op.name == "conv_transpose" else w.shape[0]
    depthwise = node.op.name == "conv" and groups == w.shape[0] == node.inputs[0].shape[1] and w.dtype == "float32"
    return bool(outputs // (1 if depthwise else groups) >= VECTOR)


def _sums_in_vectors(node: Node) -> bool:
    """Whether results are so few, and what each sums is so long, that vectors lie along the sums."""
    x, w = node.inputs[:2]
    if node.op.name != "conv" or node.attrs["groups"] > 1 or x.dtype != "float32":
        return False
    outputs, channels, *_, taps = (int(size) for size in w.shape)
    run = channels * (taps if node.attrs["dilations"][-1] == 1 else 1)
    return outputs <= FEW and run >= RUN and (channels if channels > 1 else run) % VECTOR == 0


def _shares_vectors(node: Node) -> bool:
    """Whether a transposed convolution fills vectors with the results of all residues of its strides."""
    if node.op.name != "conv_transpose" or node.attrs["groups"] > 1 or node.inputs[0].dtype != "float32":
        return False
    channels, outputs = (int(size) for size in node.inputs[1].shape[:2])
    together = outputs * math.prod(node.attrs["strides"])
    return VECTOR <= together <= SHARED or (together <= FEW and channels >= RUN and channels % VECTOR == 0)


def is_pointwise(node: Node) -> bool:
    """A convolution that is a product of each place's channels with a matrix."""
    if node.op.name != "conv":
        return False
    attrs, kernel = node.attrs, node.inputs[1].shape[2:]
    plain = all(n == 1 for n in (*kernel, *attrs["strides"], attrs["groups"]))
    return plain and all(isinstance(p, int) and p == 0 for p in attrs["pads"])


class _Layouts:
    """What is known before the choice: the channels of each value, and which nodes can have them last."""

    def __init__(self, graph: Graph, worth: float) -> None:
        self.graph, self.worth = graph, worth
        self.flows: dict[Node, Flow] = {n: f for n in graph.nodes if (f := _flow(n)) is not None}
        self.channels: dict[Value, Channels] = {}
        self._spread()
        self.sources: dict[Node, Channels] = {}
        for node, f in self.flows.items():
            source = self._source(node, f)
            result = f.forward(source) if source is not None else None
            if source is not None and result is not None and all(self.channels[r] == result for r in node.results):
                self.sources[node] = source

    def _spread(self) -> None:
        """Follow the channels from the convolutions, with the flow and against it, until nothing is new."""
        for node in filter(is_movable, self.flows):
            self.channels |= dict.fromkeys((node.inputs[0], *node.results), (1, 2))
        known = -1
        while known < len(self.channels):
            known = len(self.channels)
            for node, f in self.flows.items():
                if (source := self._source(node, f)) is not None and (found := f.forward(source)) is not None:
                    self._note(node.results, found)
            for node, f in reversed(self.flows.items()):
                result = self.channels.get(node.results[0])
                if result is not None and (source := f.backward(result)) is not None:
                    self._note([v for v in node.inputs[: f.operands] if v.rank == f.rank], source)

    def _note(self, values: Sequence[Value], channels: Channels) -> None:
        for value in values:
            if not value.is_constant:
                self.channels.setdefault(value, channels)

    def _source(self, node: Node, f: Flow) -> Channels | None:
        """The channels of the node's operands, as the first tells that knows."""
        found = (self.channels[v] for v in node.inputs[: f.operands] if v in self.channels and v.rank == f.rank)
        result = self.channels.get(node.results[0])
        return next(found, None) or (f.backward(result) if result is not None else None)

    def order(self, value: Value) -> Order:
        """The other layout of a value; that of the model where it has no channels."""
        return order_last(value.rank, self.channels.get(value, (0, 0)))

    def chosen(self) -> set[Node]:
        """The nodes that have their channels last in the cheapest choice."""
        import networkx  # slow to import, and few models but those with convolutions need it

        cut: networkx.DiGraph = networkx.DiGraph()
        cut.add_nodes_from((LAST, FIRST, *self.sources))
        for node, source in self.sources.items():
            _add(cut, LAST, node, self._first_costs(node))
            _add(cut, node, FIRST, self._last_costs(node, source))
        for value in dict.fromkeys((*self.graph.inputs, *(r for node in self.graph.nodes for r in node.results))):
            self._connect(cut, value)
        _, (last, _) = networkx.minimum_cut(cut, LAST, FIRST)
        return {node for node in self.sources if node in last}

    def _connect(self, cut: networkx.DiGraph, value: Value) -> None:
        """A value is transposed once where any of its readers wants it otherwise than it is made."""
        price = _bytes(value) if moves(value.shape, self.order(value)) else 0
        if not price:
            return
        maker = value.node if value.node in self.sources else FIRST
        readers = {n if self._reads_laid_out(n, value) else FIRST for n in self.graph.readers.get(value, ())}
        readers |= {FIRST} if self.graph.is_output(value) else set()
        if maker != FIRST:
            _add(cut, maker, (value, FIRST), price)
            cut.add_edges_from(((value, FIRST), reader) for reader in readers)
        _add(cut, (value, LAST), maker, price)
        # What several read is transposed for all of them: it is part of a kernel of one alone.
        if len(readers) > 1 or not any(isinstance(reader, Node) and _reads_planes(reader, value) for reader in readers):
            cut.add_edges_from((reader, (value, LAST)) for reader in readers if reader != FIRST)

    def _reads_laid_out(self, node: Node, value: Value) -> bool:
        """Whether the node, with its channels last, reads the value in its other layout."""
        if node not in self.sources:
            return False
        f = self.flows[node]
        moved = value in node.inputs[: f.operands] and value not in node.inputs[f.operands :]
        return moved and value.rank == f.rank and self.order(value) == order_last(f.rank, self.sources[node])

    def _first_costs(self, node: Node) -> int:
        """What the node costs more with its channels first, in transposed bytes."""
        if node.op.name in CONVOLUTIONS:
            places = (node.inputs if node.op.name == "conv_transpose" else node.results)[0]
            multiply_adds = _count((*places.shape, *node.inputs[1].shape[1:]))
            return max(1, round(self.worth * multiply_adds))
        moved = node.op.name == "transpose" and moves(node.inputs[0].shape, node.attrs["perm"])
        return _bytes(node.results[0]) if moved else 0

    def _last_costs(self, node: Node, source: Channels) -> int:
        """Bytes that the node transposes by itself with its channels last, or operands that have no such layout."""
        f = self.flows[node]
        order = order_last(f.rank, source)
        operands = [v for v in node.inputs[: f.operands] if not v.is_constant and not self._reads_laid_out(node, v)]
        cost = sum(_bytes(v) for v in operands if moves(_widened(v, f.rank), order))
        if node.op.name == "transpose":
            perm = relaid(node, order, self.order(node.results[0]))["perm"]
            shape = [node.inputs[0].shape[axis] for axis in order]
            cost += _bytes(node.results[0]) if moves(shape, perm) else 0
        return cost


def _flow(node: Node) -> Flow | None:
    return None if node.op.name in CONVOLUTIONS and not is_movable(node) else flow(node)


def _reads_planes(node: Node, value: Value) -> bool:
    """Whether the node puts the few channels of an image, as colours are, side by side by itself."""
    few = isinstance(value.shape[1], int) and value.shape[1] <= COLOURS
    plain = node.op.name == "conv" and node.attrs["groups"] == 1 and not is_pointwise(node)
    return few and plain and value is node.inputs[0] and value.dtype == "float32"


def _add(cut: networkx.DiGraph, start: Any, end: Any, capacity: int) -> None:
    if capacity:
        known = cut.get_edge_data(start, end, {"capacity": 0})["capacity"]
        cut.add_edge(start, end, capacity=known + capacity)


def _count(shape: Sequence[dims.Dim]) -> int:
    """The number of elements, guessed where sizes are not known."""
    nominal = dict.fromkeys(dims.symbols_of(shape), NOMINAL)
    return math.prod(max(1, dims.evaluate(d, nominal)) for d in shape)


def _bytes(value: Value) -> int:
    return _count(value.shape) * numpy_dtype(value.dtype).itemsize


def _widened(value: Value, rank: int) -> tuple[dims.Dim, ...]:
    """The shape of an operand with the leading axes that broadcasting adds."""
    return (*[1] * (rank - value.rank), *value.shape)


class _Rewriting:
    """Makes the graph anew. Values are transposed when first read in another layout than they have."""

    def __init__(self, layouts: _Layouts, chosen: set[Node]) -> None:
        self.layouts, self.chosen = layouts, chosen
        self.made: dict[Value, tuple[Value, Order]] = {}
        self.versions: dict[tuple[Value, Order], Value] = {}

    def run(self, graph: Graph) -> Graph:
        for node in graph.nodes:
            results, last = self._again(node), node in self.chosen
            for old, new in zip(node.results, results, strict=True):
                self.made[old] = new, self.layouts.order(old) if last else _same(old.rank)
        return Graph(graph.inputs, tuple(map(self._as_before, graph.outputs)), graph.output_names)

    def _again(self, node: Node) -> Sequence[Value]:
        if node not in self.chosen:
            inputs = [self._as_before(v) for v in node.inputs]
            same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
            return node.results if same else node.with_inputs(inputs).results
        f = self.layouts.flows[node]
        order = order_last(f.rank, self.layouts.sources[node])
        operands = [self._operand(v, order) for v in node.inputs[: f.operands]]
        others = [self._as_before(v) for v in node.inputs[f.operands :]]
        if is_pointwise(node):
            return [_product(node, operands[0], *others)]
        attrs = relaid(node, order, self.layouts.order(node.results[0]))
        names = [r.name for r in node.results]
        return make_node(node.op, [*operands, *others], attrs, source=node.source, names=names).results

    def _as_before(self, value: Value) -> Value:
        return self._in(value, _same(value.rank))

    def _operand(self, value: Value, order: Order) -> Value:
        """An operand, which may have fewer axes than the operator's result, in the given order."""
        if value.rank == len(order):
            return self._in(value, order)
        value = self._as_before(value)
        if all(d == 1 for d in value.shape):
            return value
        shape = _widened(value, len(order))
        if value.data is not None:
            return constant(np.ascontiguousarray(value.data.reshape(shape).transpose(order)))
        return apply("transpose", apply("reshape", value, shape=shape), perm=order)

    def _in(self, value: Value, order: Order) -> Value:
        if (value, order) not in self.versions:
            made, has = self.made.get(value, (value, _same(value.rank)))
            self.versions[value, order] = _transposed(made, tuple(has.index(axis) for axis in order))
        return self.versions[value, order]


def _same(rank: int) -> Order:
    return tuple(range(rank))


def _transposed(value: Value, perm: Order) -> Value:
    if perm == _same(value.rank):
        return value
    if value.data is not None:
        return constant(np.ascontiguousarray(value.data.transpose(perm)))
    return apply("transpose", value, perm=perm, source=value.node.source if value.node else "")


def _product(node: Node, x: Value, weights: Value, *bias: Value) -> Value:
    """A pointwise convolution of x [N, ..., C] as x times a matrix [C, O]."""
    assert weights.data is not None
    matrix = np.ascontiguousarray(weights.data.reshape(weights.data.shape[:2]).T)
    product = apply("matmul", x, constant(matrix), source=node.source)
    return apply("add", product, bias[0], source=node.source) if bias else product
