"""Linear attention: a task for each head of the keys, which goes through time with the state in memory of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Buffer, Expr, Index
from tilewright.backends.kernels.ranges import product, tasks, worth_forking
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value
from tilewright.ir.ops.elementwise import broadcast_reader

_COST = 4.0  # of an element of the state in a step, in elements copied


def declines(group: Group) -> str:
    named = group.anchor is not None and group.anchor.op.name == "linear_attention"
    return "" if named else "is not linear attention"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
    batch, length, heads, depth = group.shape(node.inputs[1])
    width = group.shape(node.inputs[2])[3]
    work = worth_forking(product((batch, length, heads, depth, width)), _COST)
    with tasks(group.k, (batch, heads), work) as (n, g):
        state = group.k.scratch("state", (depth, width))
        head = _Head(group, node, n, g, state, group.k.scratch("value", (width,)))
        head.load()
        with group.k.serial(length, name="t") as t:
            head.step(t)
        head.save()
    return {}


@dataclass(frozen=True)
class _Head:
    """Batch `n`, head `g` of the keys, its state [D, E], and the value [E] that is about to be added to it."""

    group: Group
    node: Node
    n: Index
    g: Index
    state: Buffer
    value: Buffer

    def load(self) -> None:
        given = self._reader(3)
        self._each_row(lambda d, e: self.group.k.store(self.state, (d, e), given(self.n, self.g, d, e)))

    def save(self) -> None:
        value = self.node.results[1]
        out, dtype = self.group.outputs[value], value.dtype
        self._each_row(
            lambda d, e: self.group.k.store(out, (self.n, self.g, d, e), self.group.b.cast(self.state[d, e], dtype))
        )

    def step(self, t: Index) -> None:
        k, attrs = self.group.k, self.node.attrs
        key, value = self._reader(1), self._reader(2)
        if attrs["decayed"]:
            self._decay(t)
        self._along(lambda e: k.store(self.value, (e,), value(self.n, t, self.g, e)))
        if attrs["corrected"]:
            self._correct(t)
        with k.serial(self.state.shape[0], name="d") as d:
            weight = k.let("weight", key(self.n, t, self.g, d))
            self._along(lambda e: k.store(self.state, (d, e), self.state[d, e] + weight * self.value[e]))
        with k.serial(self._shared(), name="h") as h:
            self._read(t, h)

    def _decay(self, t: Index) -> None:
        k, decay = self.group.k, self._reader(4)
        with k.serial(self.state.shape[0], name="d") as d:
            factor = k.let("factor", self.group.b.exp(decay(self.n, t, self.g, d)))
            self._along(lambda e: k.store(self.state, (d, e), self.state[d, e] * factor))

    def _correct(self, t: Index) -> None:
        """What the state gives for the key already is taken off the value."""
        k, key, rate = self.group.k, self._reader(1), self._reader(len(self.node.inputs) - 1)
        with k.serial(self.state.shape[0], name="d") as d:
            weight = k.let("weight", key(self.n, t, self.g, d))
            self._along(lambda e: k.store(self.value, (e,), self.value[e] - weight * self.state[d, e]))
        share = k.let("share", rate(self.n, t, self.g, 0))
        self._along(lambda e: k.store(self.value, (e,), self.value[e] * share))

    def _read(self, t: Index, h: Expr) -> None:
        """The result of one head of the query, summed up where the value was."""
        k, b, result = self.group.k, self.group.b, self.node.results[0]
        query, out, head = self._reader(0), self.group.outputs[result], self.g * self._shared() + h
        scale = b.const(self.node.attrs["scale"], "float32")
        self._along(lambda e: k.store(self.value, (e,), 0.0))
        with k.serial(self.state.shape[0], name="d") as d:
            weight = k.let("weight", query(self.n, t, head, d) * scale)
            self._along(lambda e: k.store(self.value, (e,), self.value[e] + weight * self.state[d, e]))
        self._along(lambda e: k.store(out, (self.n, t, head, e), b.cast(self.value[e], result.dtype)))

    def _shared(self) -> int:
        return int(self.node.inputs[0].shape[2]) // int(self.node.inputs[1].shape[2])

    def _reader(self, place: int) -> Callable[..., Expr]:
        """Input `place` in float32."""
        read = broadcast_reader(self.group.tensors[self.node.inputs[place]], 4)
        return lambda *index: self.group.b.cast(read(*index), "float32")

    def _each_row(self, visit: Callable[[Expr, Expr], None]) -> None:
        with self.group.k.serial(self.state.shape[0], name="d") as d:
            self._along(lambda e: visit(d, e))

    def _along(self, visit: Callable[[Expr], None]) -> None:
        self.group.k.lanes(self.group.shape(self.node.inputs[2])[3], Vectors.of(self.group.target).lanes, visit)


RULE = Rule("linear_attention", declines, emit)
