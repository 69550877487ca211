"""A fused group on its way to being one kernel: its parameters, its tensors, and where finished elements go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tilewright.backends.kernel_text import Weights, symbols
from tilewright.backends.kernels.elementwise import emit_pointwise
from tilewright.backends.kernels.expr import Namespace, Tensor
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, product
from tilewright.backends.kernels.ranges import noted
from tilewright.backends.kernels.requirements import require_sizes
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.target import Target
from tilewright.ir.graph import Graph, Node, Value
from tilewright.ir.op import Array, Kind

ANCHORS = (Kind.CONTRACTION, Kind.REDUCTION, Kind.SERIAL)
# They load an element only where its place is within bounds, so what they read must not be computed ahead.
GUARDING = frozenset({"pad", "max_pool", "max_pool_places", "avg_pool", "conv", "conv_transpose"})
Packing = Callable[[Array], Array]


@dataclass(frozen=True)
class Layout:
    """How a weight lies in memory: `packing` turns the model's array into `shape`, once, when compiling.

    `dtype` is that of the elements, where it is not the array's.
    """

    packing: Packing
    shape: tuple[int, ...]
    dtype: str = ""


class Group:
    """What a schedule rule works with.

    `body` is the fused graph, `weights` tells which of its inputs are constants of the model and how they may be
    stored, and `anchors` are its contractions and reductions, of which most have one, the `anchor`. A rule may set
    `body` to an equal graph whose inputs and outputs have other shapes, with their elements in the same order. After
    `place`, `k` has the parameters, `tensors` reads any value of the body, and `stages` are what each node is computed
    by.
    """

    def __init__(self, body: Graph, weights: Weights, name: str, target: Target) -> None:
        self.signature, self.body, self.weights, self.target = body, body, weights, target
        self.k = Loops(name)
        sizes = {s: self.k.dim(s) for s in symbols(body)}
        self.b = Namespace(sizes, partial(noted, self.k), fuses=target.has("fma"))
        self.inputs: dict[Value, Buffer] = {}
        self.outputs: dict[Value, Buffer] = {}
        self.tensors: dict[Value, Tensor] = {}
        self.stages: dict[Node, list[Tensor]] = {}
        self._guarded = _read_by(body, GUARDING)

    @property
    def anchors(self) -> list[Node]:
        return [n for n in self.body.nodes if n.op.kind in ANCHORS]

    @property
    def anchor(self) -> Node | None:
        """The last one."""
        return next(iter(self.anchors[::-1]), None)

    def is_weight(self, value: Value) -> bool:
        """An input of the body that is a constant of the model."""
        return self._position(value) in self.weights.positions

    def is_scaled(self, value: Value) -> bool:
        """A weight that is 8-bit integers times a scale for each column, and may be stored so."""
        return self._position(value) in self.weights.scaled

    def spare_quads(self, value: Value) -> int | None:
        """How many quads of a weight are multiplied twice if its products are summed in fours; None: they are not."""
        if self.target.sums_neighbours:
            return 0 if value.dtype == "int8" and self.is_weight(value) else None
        return self.weights.spare.get(self._position(value))

    def _position(self, value: Value) -> int:
        return self.body.inputs.index(value) if value in self.body.inputs else -1

    @property
    def is_empty(self) -> bool:
        """Whether some operand is known to have no elements."""
        return any(0 in value.shape for node in self.body.nodes for value in (*node.inputs, *node.results))

    def shape(self, value: Value) -> tuple[Index, ...]:
        return self.b.shape(value)

    def place(self, layouts: Mapping[Value, Layout], *held: Value | None) -> None:
        """Declare the parameters, in the given layouts, and define the tensors of all values.

        `held` are values that the rule computes by itself, with all else that their nodes give: see `finisher`.
        """
        inputs = [self._parameter(f"i{i}", v, layouts.get(v)) for i, v in enumerate(self.signature.inputs)]
        outputs = [self._parameter(f"o{i}", v) for i, v in enumerate(self.signature.outputs)]
        self._name_sizes()
        self.inputs.update((v, self._viewed(v, b)) for v, b in zip(self.body.inputs, inputs, strict=True))
        self.outputs.update((v, self._viewed(v, b)) for v, b in zip(self.body.outputs, outputs, strict=True))
        for value, buffer in self.inputs.items():
            self.tensors[value] = self.b.buffer(buffer, self.shape(value), value.dtype)
        for node in self.body.nodes:
            self._define(node, held)
        require_sizes(self.k, self.b, self.body, self.tensors)

    def _parameter(self, name: str, value: Value, layout: Layout | None = None) -> Buffer:
        if layout is None:
            return self.k.buffer(name, self.shape(value), value.dtype)
        return self.k.buffer(name, layout.shape, layout.dtype or value.dtype)

    def _name_sizes(self) -> None:
        """Compute composite sizes once: TVM's arithmetic on indices is slow, and may not end, on nested divisions."""
        for value in (*self.body.inputs, *(r for node in self.body.nodes for r in node.results)):
            for dim in value.shape:
                self.b.name_size(dim, lambda size: self.k.let("size", size))

    def _viewed(self, value: Value, buffer: Buffer) -> Buffer:
        """The parameter with the axes of `value`, and with its sizes by name; a packed weight stays as it is."""
        known = all(isinstance(d, int) or d.is_Symbol for d in value.shape)
        same = self.body is self.signature or len(buffer.shape) == value.rank
        return buffer if same and known else self.k.view(buffer, self.shape(value))

    def _define(self, node: Node, held: Collection[Value | None]) -> None:
        for value in node.inputs:
            if value.data is not None and value not in self.tensors:
                self.tensors[value] = self._scalar(value)
        if any(node.results[0] is value for value in held):
            self.tensors.update((r, Tensor(self.shape(r), r.dtype)) for r in node.results)
            return
        before = len(self.b.stages)
        tensors = node.op.tensors(self.b, node, [self.tensors[v] for v in node.inputs])
        self.stages[node] = self.b.stages[before:]
        for result, tensor in zip(node.results, tensors, strict=True):
            self.tensors[result] = self._named(tensor) if self._is_named(result) else tensor

    def _scalar(self, value: Value) -> Tensor:
        assert value.data is not None
        number = value.data.reshape(()).item()
        return Tensor(self.shape(value), value.dtype, lambda *index: self.b.const(number, value.dtype))

    def _is_named(self, value: Value) -> bool:
        """Read several times at one place, in a body that guards no loads: worth a variable."""
        plain = all(n in self.anchors or n.op.kind is Kind.ELEMENTWISE for n in self.body.nodes)
        return plain and self.body.uses(value) > 1 and value.node not in self.anchors and value not in self._guarded

    def _named(self, tensor: Tensor) -> Tensor:
        """The same tensor, each element computed once a block."""
        last: list[tuple[object, tuple[object, ...], Expr]] = []

        def read(*index: Expr) -> Expr:
            block, key = self.k.block(), tuple(_identity(i) for i in index)
            if not last or last[0][0] is not block or last[0][1] != key:
                last[:] = [(block, key, self.k.let("t", tensor(*index)))]
            return last[0][2]

        return Tensor(tensor.shape, tensor.dtype, read)

    def element(self, value: Value) -> Callable[[Index], Expr]:
        """That of a value at a place of row-major order, for what elementwise operators make of inputs of its shape."""
        tensor, axes = self.tensors[value], value.rank
        # A load at a place beyond the end of an axis goes on in the next row; an axis of size 1 is read at 0.
        last = max((axis for axis, size in enumerate(value.shape) if size != 1), default=axes - 1)
        return lambda place: tensor(*(place if axis == last else 0 for axis in range(axes)))

    def made(self, value: Value) -> Buffer:
        """Where a value lies that operators before the anchor make: all of it is made here, unless it is an input."""
        if value in self.inputs:
            return self.inputs[value]
        shape, tensor = self.shape(value), self.tensors[value]
        buffer = self.k.scratch("made", shape, value.dtype)
        emit_pointwise(self.k, Vectors.of(self.target), shape, lambda i: self.k.store(buffer, i, tensor(*i)))
        return buffer

    def store(self, value: Value, index: Sequence[Index]) -> None:
        """Compute the element at `index` of an output, and store it."""
        self.k.store(self.outputs[value], index, self.tensors[value](*index))

    def finisher(self, held: Value) -> Callable[[Sequence[Index], Expr], None]:
        """`finish(index, element)`: what follows when the rule has computed an element of `held`.

        The operators after `held` are applied, and the result is stored at its place, which transposes may have moved.
        """
        order = self._permutation(held)

        def finish(index: Sequence[Index], element: Expr) -> None:
            self.tensors[held].bind(lambda *_: element)
            self.store(self.body.outputs[0], [index[axis] for axis in order])

        return finish

    def asker(self, held: Value, level: int = 1) -> Callable[[Index], None] | None:
        """`ask(place)`: what finishing this element of `held` reads and writes is fetched, and not waited for.

        Into the cache of that level.

        `place` counts elements in row-major order. None if transposes move them: their lines would be too many.
        """
        order, output = self._permutation(held), self.body.outputs[0]
        if order != sorted(order):
            return None
        before = _makers(held)
        alike = [v for v in self.body.inputs if v.shape == output.shape and self._is_read_outside(v, before)]
        count = product(self.shape(output))
        flat = [self.k.view(b, (count,)) for b in (self.outputs[output], *(self.inputs[v] for v in alike))]

        def ask(place: Index) -> None:
            for buffer in flat:
                self.k.prefetch(buffer, (place,), level)

        return ask

    def _is_read_outside(self, value: Value, nodes: Collection[Node]) -> bool:
        return any(node not in nodes for node in self.body.readers.get(value, ()))

    def _permutation(self, held: Value) -> list[int]:
        """Which axis of `held` each axis of the output is."""
        order = list(range(held.rank))
        value = held
        while value not in self.outputs:
            node = self.body.readers[value][0]
            if node.op.name == "transpose":
                order = [order[axis] for axis in node.attrs["perm"]]
            value = node.results[0]
        return order


def _makers(value: Value) -> set[Node]:
    """The nodes that make a value."""
    found, pending = set[Node](), [value.node]
    while pending:
        node = pending.pop()
        if node is not None and node not in found:
            found.add(node)
            pending.extend(v.node for v in node.inputs)
    return found


def _read_by(body: Graph, operators: frozenset[str]) -> set[Value]:
    """All values that the named operators read, themselves or through others."""
    found: set[Value] = set()
    for node in reversed(body.nodes):
        if node.op.name in operators or not found.isdisjoint(node.results):
            found.update(node.inputs)
    return found


def _identity(index: Expr) -> object:
    """Equal for equal numbers and for the same expression."""
    number = getattr(index, "value", None)
    return number if isinstance(number, int) else index
