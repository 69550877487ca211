"""ONNX models in: opset 7 to the newest, without control flow.

Every node is converted by a row of `onnx_ops.TABLE`. What is not supported is collected over the whole model and
reported at once.
"""

from __future__ import annotations

import graphlib
import os
from collections.abc import Iterable, Mapping, Sequence

from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

from tilewright.frontend.contents import Contents
from tilewright.frontend.data_sizes import DataSizes
from tilewright.frontend.imported import Imported
from tilewright.frontend.onnx_file import OnnxFile, OnnxRuntime, open_onnx
from tilewright.frontend.onnx_ops import converter
from tilewright.frontend.onnx_ops.call import Call, describe
from tilewright.frontend.onnx_tensor import dtype_of, read_tensor
from tilewright.frontend.symbols import Symbols
from tilewright.ir import dims
from tilewright.ir.errors import CompilerError, ImportModelError, UnsupportedError
from tilewright.ir.graph import Graph, Value, constant, input_value
from tilewright.ir.op import TOO_MANY_ELEMENTS
from tilewright.ir.types import TensorType

OLDEST, NEWEST = 7, 28
DOMAINS = ("", "ai.onnx")


def read_onnx(source: str | os.PathLike[str] | bytes | ModelProto, shapes: Mapping[str, int] | None = None) -> Imported:
    """Read a model; `shapes` fixes symbolic sizes by name.

    Raises ImportModelError for a damaged, unsafe or malformed model, TypeInferenceError for operators given what they
    do not accept, and UnsupportedError listing everything that is not supported.
    """
    file = open_onnx(source)
    reader = _Reader(file, Symbols(shapes or {}))
    graph = reader.read()
    return Imported(graph, OnnxRuntime(file, graph.output_names), file.name or "model", reader.symbols.names)


def opsets(model: ModelProto) -> dict[str, int]:
    """The version of each domain that the model uses; ONNX's own is the domain "", whatever the model calls it."""
    versions = {entry.domain: int(entry.version) for entry in model.opset_import}
    return {**versions, **dict.fromkeys(DOMAINS, opset(model))}


def opset(model: ModelProto) -> int:
    """The version of the default domain, which only a model without its operators may leave out."""
    found = [int(entry.version) for entry in model.opset_import if entry.domain in DOMAINS]
    if not found and all(node.domain not in DOMAINS for node in model.graph.node):
        return NEWEST
    if not found:
        raise ImportModelError("the model does not say which ONNX opset it uses")
    if not OLDEST <= found[0] <= NEWEST:
        raise UnsupportedError(
            f"the model uses ONNX opset {found[0]}; {OLDEST} to {NEWEST} are supported",
            hint="Export it again, or convert it with onnx.version_converter",
        )
    return found[0]


class _Reader:
    """One pass over a graph: values by name, and what went wrong with which node."""

    def __init__(self, file: OnnxFile, symbols: Symbols) -> None:
        self.symbols = symbols
        self._graph: GraphProto = file.model.graph
        self._versions = opsets(file.model)
        self._folder = file.folder
        self._contents = Contents()
        self._data_sizes = DataSizes(self._contents)
        self._values: dict[str, Value] = {}
        self._missing: set[str] = set()  # names whose value could not be made
        self._unsupported: dict[str, list[str]] = {}  # places by what is not supported
        self._failure: CompilerError | None = None
        self._read = {name for node in self._graph.node for name in node.input} | {o.name for o in self._graph.output}

    def read(self) -> Graph:
        order = ordered(self._graph)
        self._read_initializers()
        inputs = self._read_inputs()
        self.symbols.require_all_bound()
        for node in order:
            self._convert(node)
        self._report()
        names = tuple(output.name for output in self._graph.output)
        return Graph(inputs, tuple(self._values[name] for name in names), names)

    def _read_initializers(self) -> None:
        for tensor in self._graph.initializer:
            try:
                self._values[tensor.name] = constant(read_tensor(tensor, self._folder), name=tensor.name)
            except UnsupportedError as error:
                self._reject([tensor.name], error.message, f"initializer '{tensor.name}'")
        for sparse in self._graph.sparse_initializer:
            name = sparse.values.name
            self._reject([name], "sparse initializers", f"'{name}'")

    def _read_inputs(self) -> tuple[Value, ...]:
        """Inputs that are also initializers have a default value, which is taken as constant."""
        inputs = []
        for info in self._graph.input:
            if info.name in self._values or info.name in self._missing:
                continue
            try:
                value = input_value(info.name, input_type(info, self.symbols))
            except UnsupportedError as error:
                self._reject([info.name], error.message, f"input '{info.name}'")
                continue
            require_size(value.type, f"input '{info.name}'")
            self._values[info.name] = value
            inputs.append(value)
        return tuple(inputs)

    def _convert(self, node: NodeProto) -> None:
        """Add the values of `node`. What fails is kept for the report, and its results count as missing."""
        try:
            results = self._results(node)
        except UnsupportedError as error:
            self._reject(node.output, error.message, error.source or describe(node))
        except CompilerError as error:
            self._failure = self._failure or error
            self._missing.update(node.output)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # Attributes can be anything in a damaged file; the rules of the operators need not foresee all of it.
            self._failure = self._failure or malformed(node, error)
            self._missing.update(node.output)
        else:
            self._values.update(results)

    def _results(self, node: NodeProto) -> dict[str, Value]:
        """Values of `node` by output name; none where its inputs are missing."""
        operator = node.op_type if node.domain in DOMAINS else f"{node.domain}.{node.op_type}"
        version = self._versions.get(node.domain, self._versions[""])
        convert = converter(operator, version)
        if convert is None:
            raise UnsupportedError(f"operator {operator}", source=describe(node))
        if not self._missing.isdisjoint(node.input):
            self._missing.update(node.output)
            return {}
        inputs = [self._values[name] if name else None for name in node.input]
        wanted = [name in self._read for name in node.output]
        call = Call(node, version, inputs, wanted, self._contents, self._data_sizes)
        made = convert(call)
        values = (made,) if isinstance(made, Value) else tuple(made)
        if any(call.wanted[len(values) :]):
            raise call.unsupported(f"has the output '{node.output[len(values)]}', which is not supported")
        return {name: call.settled(value) for name, value in zip(node.output, values, strict=False) if name}

    def _reject(self, names: Iterable[str], problem: str, place: str) -> None:
        self._missing.update(names)
        self._unsupported.setdefault(problem, []).append(place)

    def _report(self) -> None:
        """Raise what was kept: everything unsupported in one error, or the first failure."""
        if self._unsupported:
            found = "; ".join(f"{problem}: {', '.join(places)}" for problem, places in self._unsupported.items())
            raise UnsupportedError(f"the model uses what is not supported yet. {found}")
        if self._failure is not None:
            raise self._failure


def malformed(node: NodeProto, error: Exception) -> ImportModelError:
    failure = ImportModelError(
        f"{node.op_type} has inputs or attributes that make no sense: {error}", source=describe(node)
    )
    failure.__cause__ = error
    return failure


def input_type(info: ValueInfoProto, symbols: Symbols) -> TensorType:
    """The declared type of an input; sizes without a number are symbols."""
    what = f"input '{info.name}'"
    if not info.type.HasField("tensor_type"):
        raise UnsupportedError("inputs that are not tensors")
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        raise UnsupportedError("inputs whose number of axes is not declared")
    shape = [
        dim.dim_value
        if dim.HasField("dim_value") and dim.dim_value >= 0
        else symbols.size(dim.dim_param, info.name, axis)
        for axis, dim in enumerate(tensor.shape.dim)
    ]
    return TensorType(dtype_of(tensor.elem_type, what), tuple(shape))


def require_size(type: TensorType, what: str) -> None:
    """Raises ImportModelError for a tensor that no machine could hold; symbolic sizes count as one."""
    if dims.static_product(d for d in type.shape if isinstance(d, int)) >= TOO_MANY_ELEMENTS:
        raise ImportModelError(f"{what} is {type}, which no memory holds", hint="The model is damaged")


def ordered(graph: GraphProto) -> list[NodeProto]:
    """The nodes, each after those it reads. Raises ImportModelError for names made twice or never, and for cycles."""
    given = require_unique([t.name for t in graph.initializer], "initializer")
    declared = require_unique([i.name for i in graph.input], "input")
    sparse = [s.values.name for s in graph.sparse_initializer]
    maker = makers(graph.node, given | declared | set(sparse))
    known = given | declared | set(sparse) | set(maker) | {""}
    reads: dict[int, set[int]] = {}
    for index, node in enumerate(graph.node):
        for name in node.input:
            if name not in known:
                raise ImportModelError(
                    f"a node reads '{name}', which nothing in the model makes", source=describe(node)
                )
        reads[index] = {maker[name] for name in node.input if name in maker}
    require_outputs(graph, known)
    try:
        return [graph.node[index] for index in graphlib.TopologicalSorter(reads).static_order()]
    except graphlib.CycleError as error:
        circle = ", ".join(describe(graph.node[index]) for index in error.args[1][:-1])
        raise ImportModelError(f"nodes of the model read each other in a circle: {circle}") from error


def require_unique(names: Sequence[str], what: str) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if not name or name in seen:
            raise ImportModelError(f"the model has two {what}s called '{name}'" if name else f"an {what} has no name")
        seen.add(name)
    return seen


def makers(nodes: Sequence[NodeProto], taken: set[str]) -> dict[str, int]:
    """The node that makes each name."""
    found: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.output:
            if name in found or name in taken:
                raise ImportModelError(f"the name '{name}' is given to two values", source=describe(node))
            if name:
                found[name] = index
    return found


def require_outputs(graph: GraphProto, known: set[str]) -> None:
    if not graph.output:
        raise ImportModelError("the model has no outputs")
    for name in require_unique([o.name for o in graph.output], "output"):
        if name not in known:
            raise ImportModelError(f"the model's output '{name}' is made by nothing in the model")
