"""A fused graph becomes a program: kernels by name, calls in order, weights packed as the kernels want them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tilewright.backends import kernel_text
from tilewright.backends.build import BuiltKernel, KernelSpec
from tilewright.backends.flops import flops
from tilewright.backends.program import Bind, HostCall, KernelCall, Note, Port, Program, Result, Step, TensorSpec, View
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.errors import BuildError
from tilewright.ir.graph import Graph, Node, Value, input_value
from tilewright.ir.op import Array
from tilewright.ir.show import show
from tilewright.ir.types import TensorType


def kernel_specs(graph: Graph) -> dict[Node, KernelSpec]:
    """What has to be built for each fused node; nodes that do the same share a name."""
    return {node: _spec(node) for node in graph.nodes if node.op.name == "fused"}


def _spec(node: Node) -> KernelSpec:
    body: Graph = node.attrs["body"]
    text = kernel_text.write(body, (i for i, v in enumerate(node.inputs) if v.is_constant))
    return KernelSpec(kernel_text.name_of(body, text), text)


def host_nodes(graph: Graph) -> tuple[Node, ...]:
    """The nodes that run their reference on the host."""
    return tuple(node for node in graph.nodes if node.op.name not in ("fused", "reshape", "with_sizes"))


@dataclass(frozen=True)
class Lowered:
    """A program and the arrays of its constants, by value id."""

    program: Program
    weights: Mapping[str, Array]


def lower(graph: Graph, specs: Mapping[Node, KernelSpec], built: Mapping[str, BuiltKernel]) -> Lowered:
    """Order the calls, and pack each weight as the kernel that reads it wants."""
    lowering = _Lowering(specs, built, {str(d) for v in graph.inputs for d in v.shape if not isinstance(d, int)})
    steps = [lowering.step(node) for node in graph.nodes]
    inputs = tuple(Port(v.name, lowering.id(v), _tensor_spec(v.type)) for v in graph.inputs)
    outputs = tuple(
        Port(name, lowering.id(v), _tensor_spec(v.type))
        for name, v in zip(graph.output_names, graph.outputs, strict=True)
    )
    constants = tuple(Result(key, _array_spec(array)) for key, array in lowering.weights.items())
    return Lowered(Program(inputs, outputs, constants, tuple(steps)), lowering.weights)


class _Lowering:
    """Names values, and collects the weights that the calls read."""

    def __init__(self, specs: Mapping[Node, KernelSpec], built: Mapping[str, BuiltKernel], symbols: set[str]) -> None:
        """`symbols` are those that are plain sizes of the program's inputs; steps that define others add them."""
        self.specs, self.built, self.symbols = specs, built, symbols
        self.ids: dict[Value, str] = {}
        self.weights: dict[str, Array] = {}
        self._packed: dict[tuple[Value, str], str] = {}

    def id(self, value: Value) -> str:
        """The name of `value`; a constant's array is taken as it is."""
        if value not in self.ids:
            self.ids[value] = f"v{len(self.ids)}"
            if value.data is not None:
                self.weights[self.ids[value]] = value.data
        return self.ids[value]

    def packed(self, value: Value, kernel: BuiltKernel, position: int) -> str:
        """The name of an argument in the layout that `kernel` wants at `position`."""
        packing = kernel.packings[position]
        if packing is None or value.data is None:
            return self.id(value)
        key = (value, repr(packing))
        if key not in self._packed:
            self._packed[key] = f"w{len(self._packed)}"
            self.weights[self._packed[key]] = packing(value.data)
        return self._packed[key]

    def step(self, node: Node) -> Step:
        if node.op.name == "reshape":
            return View(self.id(node.inputs[0]), self.result(node.results[0]))
        if node.op.name == "with_sizes":
            return self.bind(node)
        return self.kernel(node) if node in self.specs else self.host(node)

    def bind(self, node: Node) -> Bind:
        x, numbers = node.inputs
        self.ids[node.results[0]] = self.id(x)
        names = tuple(s.name for s in node.attrs["symbols"])
        self.symbols.update(names)
        return Bind(self.id(numbers), names)

    def result(self, value: Value) -> Result:
        return Result(self.id(value), _tensor_spec(value.type))

    def kernel(self, node: Node) -> KernelCall:
        body: Graph = node.attrs["body"]
        kernel = self.built[self.specs[node].name]
        inputs = tuple(self.packed(v, kernel, i) for i, v in enumerate(node.inputs))
        scalars = tuple(kernel_text.scalar_symbols(body))
        note = Note((node.source,), kernel.rule, _compute_dtype(body), _text(flops(body.nodes)), _gathered(body))
        return KernelCall(kernel.name, inputs, tuple(self.result(r) for r in node.results), scalars, note)

    def host(self, node: Node) -> HostCall:
        inputs = dict.fromkeys(node.inputs)
        note = Note((node.source or node.op.name,), "host", node.results[0].dtype)
        results = tuple(self.result(r) for r in node.results)
        alone = _alone(node)
        shown = {str(d) for v in alone.inputs for d in v.shape}
        symbols = tuple(s for s in kernel_text.symbols(alone) if s in self.symbols and s not in shown)
        self.symbols.update(str(d) for r in node.results for d in r.shape if not isinstance(d, int) and d.is_Symbol)
        return HostCall(show(alone), tuple(self.id(v) for v in inputs), results, symbols, note)


def _alone(node: Node) -> Graph:
    """A graph of this one node; all that it reads is an input."""
    inputs = {v: input_value(f"i{i}", v.type) for i, v in enumerate(dict.fromkeys(node.inputs))}
    results = node.with_inputs([inputs[v] for v in node.inputs]).results
    return Graph(tuple(inputs.values()), results, tuple(f"o{i}" for i in range(len(results))))


def _gathered(body: Graph) -> tuple[int, ...]:
    """Positions of the tables from which a kernel only picks rows."""
    tables = {node.inputs[0] for node in body.nodes if node.op.name in ("gather", "slice")}
    return tuple(i for i, value in enumerate(body.inputs) if value in tables)


def _compute_dtype(body: Graph) -> str:
    return body.nodes[-1].inputs[0].dtype if body.nodes and body.nodes[-1].inputs else body.outputs[0].dtype


def _text(dim: Dim) -> int | str:
    return dim if isinstance(dim, int) else dims.to_text(dim)


def _tensor_spec(type: TensorType) -> TensorSpec:
    return TensorSpec(type.dtype, tuple(_text(d) for d in type.shape))


def _array_spec(array: Array) -> TensorSpec:
    from tilewright.ir.types import dtype_name

    return TensorSpec(dtype_name(array.dtype), tuple(int(d) for d in array.shape))


def refuse_host(nodes: Sequence[Node]) -> None:
    """For `strict=True`. Raises BuildError that lists every node that would run on the host."""
    if nodes:
        listed = "; ".join(f"{node.op.name} ({node.source or 'no source'})" for node in nodes)
        raise BuildError(
            f"{len(nodes)} nodes cannot be compiled and would run on the host: {listed}",
            hint="Compile without strict=True to let them run in numpy",
        )
