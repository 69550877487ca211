"""A fused graph becomes a program: kernels by name, calls in order, weights packed as the kernels want them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tilewright.backends import kernel_text
from tilewright.backends.build import BuiltKernel, KernelSpec
from tilewright.backends.flops import flops
from tilewright.backends.kernels.packing import matrices_of
from tilewright.backends.kernels.scaled import is_worth_scaling
from tilewright.backends.program import (
    ENTRY,
    Bind,
    ControlCall,
    Expect,
    HostCall,
    KernelCall,
    Note,
    Port,
    Program,
    Region,
    Result,
    Step,
    TensorSpec,
    View,
)
from tilewright.backends.values import placed
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.errors import BuildError
from tilewright.ir.graph import Graph, Node, Value, input_value
from tilewright.ir.op import Array
from tilewright.ir.quads import spare_quads
from tilewright.ir.show import show
from tilewright.ir.types import HELD, TensorType

REGIONS: Mapping[str, tuple[str, ...]] = {"if": ("then", "otherwise"), "loop": ("body",)}
"""The attributes of control flow that are graphs to be compiled."""
_LOWERED = {"fused", "reshape", "with_sizes", "expect", *REGIONS}


def kernel_specs(graph: Graph) -> dict[Node, KernelSpec]:
    """What has to be built for each fused node; nodes that do the same share a name."""
    return {node: _spec(node) for node in all_nodes(graph) if node.op.name == "fused"}


def _spec(node: Node) -> KernelSpec:
    body: Graph = node.attrs["body"]
    text, named = kernel_text.write(body, _weights(body, node.inputs))
    scalars = kernel_text.scalar_symbols(kernel_text.read(text)[0] if named else body)
    return KernelSpec(kernel_text.name_of(body, text), text, tuple(named.get(s, s) for s in scalars))


def _weights(body: Graph, inputs: Sequence[Value]) -> kernel_text.Weights:
    """What the constants among the inputs are, and how they may be stored."""
    constants = {i: v.data for i, v in enumerate(inputs) if v.data is not None}
    scaled: set[int] = set()
    spare: dict[int, int] = {}
    for i, data in constants.items():
        node = _product(body, body.inputs[i])
        if node is None:
            continue
        if node.op.name == "matmul" and is_worth_scaling(data):
            scaled.add(i)
        matrices = _in_quads(node, data)
        if matrices and (count := spare_quads(matrices)) is not None:
            spare[i] = count
    return kernel_text.Weights(frozenset(constants), frozenset(scaled), spare)


def _product(body: Graph, weights: Value) -> Node | None:
    """The node that multiplies something with `weights`, if nothing else reads them."""
    readers = body.readers.get(weights, ())
    return readers[0] if len(readers) == 1 and weights in readers[0].inputs[1:2] else None


def _in_quads(node: Node, weights: Array) -> Sequence[Array]:
    """The matrices whose products with 8 bits can be summed in fours, if there are any."""
    if weights.dtype != np.int8:
        return ()
    if node.op.name == "quantized_lstm":
        return matrices_of(weights, 4)
    fits = node.op.name == "matmul" and node.inputs[0].dtype == "uint8" and weights.ndim == 2
    return (weights,) if fits else ()


def all_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of the graph, and of the regions that its control flow runs."""
    for node in graph.nodes:
        yield node
        for name in REGIONS.get(node.op.name, ()):
            yield from all_nodes(node.attrs[name])


def host_nodes(graph: Graph) -> tuple[Node, ...]:
    """The nodes that run their reference on the host."""
    return tuple(n for n in all_nodes(graph) if n.op.name not in _LOWERED or (n.op.name == "reshape" and _is_held(n)))


def _is_held(node: Node) -> bool:
    return node.results[0].dtype in HELD


@dataclass(frozen=True)
class Lowered:
    """A program and the arrays of its constants, by value id."""

    program: Program
    weights: Mapping[str, Array]


def lower(graph: Graph, specs: Mapping[Node, KernelSpec], built: Mapping[str, BuiltKernel]) -> Lowered:
    """Order the calls, and pack each weight as the kernel that reads it wants."""
    lowering = _Lowering(specs, built)
    main = lowering.region(ENTRY, graph, ())
    constants = tuple(Result(key, _array_spec(array)) for key, array in lowering.weights.items())
    return Lowered(Program(main, constants, tuple(lowering.regions)), lowering.weights)


class _Lowering:
    """Names values, and collects the regions, and the weights that the calls read."""

    def __init__(self, specs: Mapping[Node, KernelSpec], built: Mapping[str, BuiltKernel]) -> None:
        self.specs, self.built = specs, built
        self.ids: dict[Value, str] = {}
        self.weights: dict[str, Array] = {}
        self.regions: list[Region] = []
        self._packed: dict[tuple[Value, str], str] = {}

    def id(self, value: Value) -> str:
        """The name of `value`; a constant's array keeps its layout."""
        if value not in self.ids:
            self.ids[value] = f"v{len(self.ids)}"
            if value.data is not None:
                self.weights[self.ids[value]] = placed(value.data)
        return self.ids[value]

    def packed(self, value: Value, kernel: BuiltKernel, position: int) -> str:
        """The name of an argument in the layout that `kernel` wants at `position`."""
        packing = kernel.packings[position]
        if packing is None or value.data is None:
            return self.id(value)
        key = (value, repr(packing))
        if key not in self._packed:
            self._packed[key] = f"w{len(self._packed)}"
            self.weights[self._packed[key]] = placed(packing(value.data))
        return self._packed[key]

    def region(self, name: str, graph: Graph, outer: Sequence[str]) -> Region:
        """The steps of a graph; `outer` are the symbols whose numbers it is given beside its inputs."""
        shown = _plain(v.type for v in graph.inputs if v.dtype not in HELD)
        held = tuple(sorted(_plain(v.type for v in graph.inputs) - shown)) if name == ENTRY else ()
        given = (*held, *(s for s in outer if s not in shown))
        known = {*shown, *given}
        inputs = tuple(Port(v.name, self.id(v), _tensor_spec(v.type)) for v in graph.inputs)
        steps = tuple(self.step(node, known) for node in graph.nodes)
        outputs = tuple(
            Port(name, self.id(v), _tensor_spec(v.type))
            for name, v in zip(graph.output_names, graph.outputs, strict=True)
        )
        return Region(name, inputs, outputs, steps, given)

    def step(self, node: Node, known: set[str]) -> Step:
        """The call for a node; symbols that it defines are added to those that are known."""
        if node.op.name == "reshape" and not _is_held(node):
            return View(self.id(node.inputs[0]), self.result(node.results[0]))
        if node.op.name == "with_sizes":
            return self.bind(node, known)
        if node.op.name == "expect":
            x, condition = node.inputs
            self.ids[node.results[0]] = self.id(x)
            return Expect(self.id(condition), node.attrs["message"])
        if node in self.specs:
            return self.kernel(node)
        return self.control(node, known) if node.op.name in REGIONS else self.host(node, known)

    def bind(self, node: Node, known: set[str]) -> Bind:
        x, numbers = node.inputs
        self.ids[node.results[0]] = self.id(x)
        names = tuple(s.name for s in node.attrs["symbols"])
        known.update(names)
        return Bind(self.id(numbers), names)

    def result(self, value: Value) -> Result:
        return Result(self.id(value), _tensor_spec(value.type))

    def kernel(self, node: Node) -> KernelCall:
        body: Graph = node.attrs["body"]
        spec = self.specs[node]
        kernel = self.built[spec.name]
        inputs = tuple(self.packed(v, kernel, i) for i, v in enumerate(node.inputs))
        note = Note((node.source,), kernel.rule, _compute_dtype(body), _text(flops(body.nodes)), _gathered(body))
        return KernelCall(kernel.name, inputs, tuple(self.result(r) for r in node.results), spec.scalars, note)

    def host(self, node: Node, known: set[str]) -> HostCall:
        inputs = tuple(self.id(v) for v in dict.fromkeys(node.inputs))
        note = Note((node.source or node.op.name,), "host", node.results[0].dtype)
        alone = _alone(node)
        shown = _plain(v.type for v in alone.inputs)
        symbols = tuple(s for s in kernel_text.symbols(alone) if s in known and s not in shown)
        outputs = tuple(self.result(r) for r in node.results)
        return HostCall(show(alone), inputs, outputs, symbols, self._defined(node, known), note)

    def control(self, node: Node, known: set[str]) -> ControlCall:
        """The graphs in the node's attributes become regions, which are given all symbols that are known here."""
        symbols = tuple(sorted(known))
        names = []
        for attribute in REGIONS[node.op.name]:
            names.append(f"region_{len(self.regions)}")
            self.regions.append(Region(names[-1], (), (), ()))  # keeps its place while those inside are made
            place = len(self.regions) - 1
            self.regions[place] = self.region(names[-1], node.attrs[attribute], symbols)
        inputs, outputs = tuple(self.id(v) for v in node.inputs), tuple(self.result(r) for r in node.results)
        note = Note((node.source or node.op.name,), "control flow", node.results[0].dtype if node.results else "bool")
        defined = self._defined(node, known)
        carried = int(node.attrs.get("carried", 0))
        return ControlCall(node.op.name, tuple(names), carried, inputs, outputs, symbols, defined, note)

    @staticmethod
    def _defined(node: Node, known: set[str]) -> tuple[str, ...]:
        """The symbols that first appear in the sizes of a node's results."""
        names = tuple(sorted(_plain(r.type for r in node.results) - known))
        known.update(names)
        return names


def _plain(types: Iterable[TensorType]) -> set[str]:
    """Symbols that are plainly a size."""
    return {d.name for type in types for d in type.shape if not isinstance(d, int) and d.is_Symbol}


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
