"""The graph: immutable dataflow between typed values.

Order and readers are derived, never stored; whatever the outputs do not reach is not there. The one edit is
`Graph.substitute`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from tilewright.ir.errors import CompilerError, TypeInferenceError, VerifyError
from tilewright.ir.op import Array, Attrs, Op
from tilewright.ir.types import TensorType, type_of


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """A typed value: a graph input (no node, no data), a constant (data), or result `index` of `node`.

    Values are compared by identity.
    """

    type: TensorType
    node: Node | None = None
    index: int = 0
    data: Array | None = None
    name: str = ""

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def is_input(self) -> bool:
        return self.node is None and self.data is None

    @property
    def dtype(self) -> str:
        return self.type.dtype

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.type.shape

    @property
    def rank(self) -> int:
        return self.type.rank

    def made_by(self, *names: str) -> bool:
        """True when one of the named operators makes this value."""
        return self.node is not None and self.node.op.name in names

    def __repr__(self) -> str:
        kind = f"{self.node.op.name}.{self.index}" if self.node else "constant" if self.is_constant else "input"
        return f"<{kind} {self.name}: {self.type}>"


@dataclass(frozen=True, eq=False)
class Node:
    """An operator applied to values. `source` says where it came from in the model. Made by `apply_op`."""

    op: Op
    inputs: tuple[Value, ...]
    attrs: Attrs
    source: str = ""
    results: tuple[Value, ...] = ()

    def with_inputs(self, inputs: Sequence[Value]) -> Node:
        """The same operator on other inputs, types inferred anew where theirs differ."""
        names = [r.name for r in self.results]
        if [v.type for v in inputs] == [v.type for v in self.inputs]:
            types = [r.type for r in self.results]
            return _with_results(Node(self.op, tuple(inputs), self.attrs, self.source), types, names)
        return make_node(self.op, inputs, self.attrs, source=self.source, names=names)

    def __repr__(self) -> str:
        return f"<{self.op.name} {self.source}>"


def input_value(name: str, type: TensorType) -> Value:
    return Value(type, name=name)


def constant(data: Any, dtype: str | None = None, name: str = "") -> Value:
    """A constant from anything numpy takes. The array is shared, not copied, and must not be written to afterwards."""
    from tilewright.ir.types import numpy_dtype

    array = np.asarray(data) if dtype is None else np.asarray(data, dtype=numpy_dtype(dtype))
    return Value(type_of(array), data=array, name=name)


def make_node(op: Op, inputs: Sequence[Value], attrs: Attrs, *, source: str = "", names: Sequence[str] = ()) -> Node:
    """A node with its types inferred. Raises TypeInferenceError, naming `source`."""
    try:
        full = op.complete(attrs)
        types = op.result_types([v.type for v in inputs], full)
    except TypeInferenceError as error:
        raise located(error, op, inputs, source) from error
    node = Node(op, tuple(inputs), MappingProxyType(full), source)
    return _with_results(node, types, [*names, *[""] * (len(types) - len(names))])


def _with_results(node: Node, types: Sequence[TensorType], names: Sequence[str]) -> Node:
    """The node itself: it and its results refer to each other, so one of them has to be finished late."""
    results = tuple(Value(t, node, i, None, names[i]) for i, t in enumerate(types))
    object.__setattr__(node, "results", results)
    return node


def located(error: CompilerError, op: Op, inputs: Sequence[Value], source: str) -> CompilerError:
    """The same error, naming the operator with its input types, and where it came from."""
    if error.node:
        return error
    shown = f"{op.name}({', '.join(str(v.type) for v in inputs)})"
    return type(error)(error.message, node=shown, source=error.source or source, hint=error.hint)


def apply_op(name: str, *inputs: Value, source: str = "", **attrs: Any) -> tuple[Value, ...]:
    """Results of a new node of the operator called `name`. Raises TypeInferenceError."""
    from tilewright.ir.ops import lookup

    return make_node(lookup(name), inputs, attrs, source=source).results


def apply(name: str, *inputs: Value, source: str = "", **attrs: Any) -> Value:
    """The first (mostly the only) result of a new node."""
    return apply_op(name, *inputs, source=source, **attrs)[0]


@dataclass(frozen=True, eq=False)
class Graph:
    """Inputs and outputs; all else follows from them. Output names default to those of the values."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    output_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.output_names:
            names = tuple(v.name or f"output{i}" for i, v in enumerate(self.outputs))
            object.__setattr__(self, "output_names", names)
        if len(self.output_names) != len(self.outputs):
            raise VerifyError(f"{len(self.outputs)} outputs have {len(self.output_names)} names")

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that the outputs need, each after the nodes it reads."""
        order: list[Node] = []
        seen: set[Node] = set()
        for output in self.outputs:
            _post_order(output, seen, order)
        return tuple(order)

    @cached_property
    def constants(self) -> tuple[Value, ...]:
        """All constants that are read, each once, in order of first use."""
        read = (v for node in self.nodes for v in node.inputs)
        return tuple(dict.fromkeys(v for v in (*read, *self.outputs) if v.is_constant))

    @cached_property
    def readers(self) -> Mapping[Value, tuple[Node, ...]]:
        """The nodes that read each value, a node once for each time it reads it; see `is_output` for the outputs."""
        found: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                found.setdefault(value, []).append(node)
        return {value: tuple(nodes) for value, nodes in found.items()}

    @cached_property
    def _output_set(self) -> frozenset[Value]:
        return frozenset(self.outputs)

    def is_output(self, value: Value) -> bool:
        return value in self._output_set

    def uses(self, value: Value) -> int:
        """How often nodes read `value`, plus how often it is an output."""
        return len(self.readers.get(value, ())) + self.outputs.count(value)

    def substitute(self, replacements: Mapping[Value, Value]) -> Graph:
        """The graph with every use of each key replaced by its value; types are inferred anew downstream.

        A replacement is taken as written: where it reads other keys, those reads are replaced too, but it must not read
        its own key. Raises VerifyError when it does.
        """
        if not replacements:
            return self
        rebuilt = _rebuild(self.outputs, replacements)
        return replace(self, outputs=tuple(rebuilt[v] for v in self.outputs))

    def map_nodes(self, visit: Callable[[Node, tuple[Value, ...]], Sequence[Value] | None]) -> Graph:
        """Rebuild in order: `visit(node, new inputs)` gives values for its results, or None to keep the operator."""
        new: dict[Value, Value] = {}
        for node in self.nodes:
            inputs = tuple(new.get(v, v) for v in node.inputs)
            results = visit(node, inputs)
            if results is None:
                same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
                results = node.results if same else node.with_inputs(inputs).results
            new.update(zip(node.results, results, strict=True))
        return replace(self, outputs=tuple(new.get(v, v) for v in self.outputs))

    def __str__(self) -> str:
        from tilewright.ir.show import show

        return show(self)


def _post_order(start: Value, seen: set[Node], order: list[Node]) -> None:
    """Append the nodes that `start` needs, without recursion: models are deeper than Python's stack."""
    if start.node is None or start.node in seen:
        return
    seen.add(start.node)
    stack = [(start.node, iter(start.node.inputs))]
    while stack:
        node, pending = stack[-1]
        for value in pending:
            if value.node is not None and value.node not in seen:
                seen.add(value.node)
                stack.append((value.node, iter(value.node.inputs)))
                break
        else:
            order.append(node)
            stack.pop()


def _rebuild(outputs: Iterable[Value], replacements: Mapping[Value, Value]) -> dict[Value, Value]:
    """New values for all that `outputs` reach once `replacements` are made."""
    new: dict[Value, Value] = {}
    open_values: set[Value] = set()
    stack = list(outputs)
    while stack:
        value = stack[-1]
        if value in new:
            stack.pop()
            continue
        target = replacements.get(value)
        needed = [target] if target is not None else list(value.node.inputs) if value.node else []
        pending = [v for v in needed if v not in new]
        if pending:
            if value in open_values:
                raise VerifyError(f"the replacement of {value!r} reads the value that it replaces")
            open_values.add(value)
            stack.extend(pending)
            continue
        stack.pop()
        open_values.discard(value)
        if target is not None:
            new[value] = new[target]
        elif value.node is None or all(new[v] is v for v in value.node.inputs):
            new[value] = value
        else:
            node = value.node.with_inputs([new[v] for v in value.node.inputs])
            new.update(
                (old, fresh)
                for old, fresh in zip(value.node.results, node.results, strict=True)
                if old not in replacements
            )
    return new
