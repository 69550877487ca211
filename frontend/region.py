"""Graphs that control flow runs: what they see of the values around them becomes their inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.frontend.contents import Contents
from tilewright.frontend.data_sizes import DataSizes
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Graph, Value, apply, constant, input_value
from tilewright.ir.types import INTEGERS, TensorType

if TYPE_CHECKING:
    from onnx import GraphProto

    from tilewright.frontend.onnx_ops.call import Call


class Capture:
    """Turns values from around a region into inputs of it; constants, and elements that are known, stay as they are."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self.inputs: dict[Value, Value] = {}

    def __call__(self, value: Value) -> Value:
        if value.is_constant:
            return value
        if value not in self.inputs:
            known = self._known(value)
            if known is not None:
                return known
            self.inputs[value] = input_value(value.name, value.type)
        return self.inputs[value]

    def _known(self, value: Value) -> Value | None:
        elements = self._contents.of(value) if value.dtype in INTEGERS else None
        if elements is None:
            return None
        if elements.dtype != object:
            return constant(elements)
        flat = apply("sizes", dims=tuple(elements.reshape(-1).tolist()))
        shaped = flat if value.shape == flat.shape else apply("reshape", flat, shape=value.shape)
        return shaped if value.dtype == "int64" else apply("cast", shaped, to=value.dtype)


@dataclass(frozen=True)
class Region:
    """What a region computes: `outputs` from `formals`, and from what it captured. `own` are its own symbols."""

    formals: tuple[Value, ...]
    captured: dict[Value, Value]
    outputs: tuple[Value, ...]
    own: frozenset[str]

    def graph(self, captured: Iterable[Value]) -> Graph:
        """The region as a graph of its formals and of `captured`, of which it may use some only."""
        given = (self.captured.get(v) or input_value("", v.type) for v in captured)
        values = (*self.formals, *given)
        names = tuple(f"o{i}" for i in range(len(self.outputs)))
        renamed = {v: input_value(f"x{i}", v.type) for i, v in enumerate(values)}
        return Graph(tuple(renamed.values()), _substituted(self.outputs, renamed), names)

    def is_own(self, dim: Dim) -> bool:
        """Whether a size means something only inside."""
        return not self.own.isdisjoint(dims.symbols_of([dim]))


def _substituted(outputs: Sequence[Value], renamed: dict[Value, Value]) -> tuple[Value, ...]:
    return Graph((), tuple(outputs), tuple(f"o{i}" for i in range(len(outputs)))).substitute(renamed).outputs


class RegionBuilder:
    """Makes a region inside a call: `call` builds nodes of it."""

    def __init__(self, outer: Call) -> None:
        scope = outer.scope
        self._capture = Capture(scope.model.contents)
        self._sizes = DataSizes(scope.model.contents, scope.data_sizes)
        self._scope = scope.inside(outer, self._capture, self._sizes)
        self._formals: list[Value] = []
        self.call = outer.within(self._scope)

    def formal(self, type: TensorType) -> Value:
        """An input of the region that each run gives."""
        self._formals.append(input_value(f"formal{len(self._formals)}", type))
        self._sizes.note([self._formals[-1]])
        return self._formals[-1]

    def capture(self, value: Value) -> Value:
        """A value from around the region."""
        return self._capture(value)

    def inline(self, graph: GraphProto, values: Sequence[Value]) -> tuple[Value, ...]:
        """The outputs of a subgraph on values of the region."""
        return self.call.inline(graph, values)

    def close(self, outputs: Sequence[Value]) -> Region:
        return Region(tuple(self._formals), self._capture.inputs, tuple(outputs), self._sizes.own)
