"""Reads the nodes of ONNX graphs, of subgraphs that see the values around them, and of functions that see none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, SparseTensorProto, TensorProto

from tilewright.frontend.contents import Contents
from tilewright.frontend.data_sizes import DataSizes
from tilewright.frontend.onnx_functions import schema_function
from tilewright.frontend.onnx_host import HostNodes, can_host, is_held
from tilewright.frontend.onnx_ops import converter
from tilewright.frontend.onnx_ops.call import Call, describe
from tilewright.frontend.onnx_order import ordered, reads_of
from tilewright.frontend.onnx_sparse import read_sparse
from tilewright.frontend.onnx_storage import Storage
from tilewright.frontend.onnx_tensor import read_tensor
from tilewright.frontend.problems import EndlessModelError, Problems, UnfinishedError
from tilewright.frontend.region import Capture
from tilewright.ir.errors import CompilerError, ImportModelError, TypeInferenceError, UnsupportedError
from tilewright.ir.graph import Value, constant
from tilewright.ir.op import Array

_Stored = TypeVar("_Stored", TensorProto, SparseTensorProto)

DOMAINS = ("", "ai.onnx")
DEEPEST = 32  # functions and subgraphs within each other
MOST_NODES = 200_000  # read in all, each as often as the functions and loops around it are
ON_OBJECTS = frozenset({"Identity", "If", "Loop", "Optional", "Scan"})  # operators that hand on whatever they are given


@dataclass
class Model:
    """What all graphs of a model share."""

    versions: Mapping[str, int]
    functions: Mapping[tuple[str, str, str], FunctionProto]
    storage: Storage
    hosts: HostNodes
    choices: dict[str, int] = field(default_factory=dict)  # see `Call.choice`, by the node
    count: int = 0  # nodes read
    problems: Problems = field(default_factory=Problems)
    contents: Contents = field(default_factory=Contents)


@dataclass(frozen=True)
class Scope:
    """The values that the nodes of one graph see, by name, and how far inside other graphs it lies.

    `outer` is the scope around a subgraph, and `capture` turns its values into inputs of the region that is being
    made, if the subgraph becomes one. `attributes` are those that a function was called with.
    """

    model: Model
    data_sizes: DataSizes
    versions: Mapping[str, int]
    attributes: Mapping[str, AttributeProto | None] = field(default_factory=dict)
    outer: Scope | None = None
    capture: Capture | None = None
    depth: int = 0
    path: str = ""  # the calls and control flow around it
    absent: frozenset[str] = frozenset()  # inputs of a function that its call leaves out
    calls: frozenset[tuple[str, str, str]] = frozenset()  # the functions around it
    values: dict[str, Value] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)  # names whose value could not be made

    def find(self, name: str) -> Value | None:
        """The value called `name`, here or around; None if it could not be made, or if there is none."""
        if name in self.values or name in self.missing or self.outer is None:
            return self.values.get(name)
        found = self.outer.find(name)
        return found if found is None or self.capture is None else self.capture(found)

    def knows(self, name: str) -> bool:
        """Whether there is a value called `name`, or would be one if it could be made."""
        if not name or name in self.values or name in self.missing or name in self.absent:
            return True
        return self.outer is not None and self.outer.knows(name)

    # Graphs

    def read_graph(self, graph: GraphProto) -> list[Value | None]:
        """The outputs of a graph whose inputs are in `values` already; None for those that could not be made."""
        order = ordered(graph, self.knows)
        self.read_initializers(graph)
        self.read_nodes(order, [output.name for output in graph.output])
        return [self.find(output.name) for output in graph.output]

    def read_initializers(self, graph: GraphProto) -> None:
        for tensor in graph.initializer:
            self._read_initializer(tensor.name, read_tensor, tensor)
        for sparse in graph.sparse_initializer:
            self._read_initializer(sparse.values.name, read_sparse, sparse)

    def _read_initializer(self, name: str, read: Callable[[_Stored, Storage], Array], stored: _Stored) -> None:
        try:
            self.values[name] = constant(read(stored, self.model.storage), name=name)
        except UnsupportedError as error:
            self.reject([name], error.message, f"initializer '{name}'")

    def read_nodes(self, nodes: Sequence[NodeProto], outputs: Iterable[str]) -> None:
        read = {name for node in nodes for name in reads_of(node)} | set(outputs)
        for node in nodes:
            self.model.count += 1
            if self.model.count > MOST_NODES:
                raise EndlessModelError(f"the model comes to more than {MOST_NODES} nodes", source=describe(node))
            self._convert(node, read)

    def reject(self, names: Iterable[str], problem: str, place: str) -> None:
        self.missing.update(names)
        self.model.problems.reject(problem, place)

    # Nodes

    def _convert(self, node: NodeProto, read: set[str]) -> None:
        """Add the values of `node`. What fails is kept for the report, and its results count as missing."""
        try:
            results = self._results(node, read)
        except UnfinishedError:
            self.missing.update(node.output)
        except UnsupportedError as error:
            self.reject(node.output, error.message, error.source or describe(node))
        except EndlessModelError:
            raise
        except CompilerError as error:
            self._fail(node, error)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # Attributes can be anything in a damaged file; the rules of the operators need not foresee all of it.
            self._fail(node, malformed(node, error))
        else:
            self.values.update(results)

    def _fail(self, node: NodeProto, error: CompilerError) -> None:
        self.model.problems.fail(error)
        self.missing.update(node.output)

    def _results(self, node: NodeProto, read: set[str]) -> dict[str, Value]:
        """Values of `node` by output name. Raises UnfinishedError where its inputs are missing."""
        node = self._with_attributes(node)
        version = self.versions.get(node.domain, self.versions[""])
        self._require_known(node, version)
        inputs = [self._input(name, node) for name in node.input]
        wanted = [bool(name) and name in read for name in node.output]
        call = Call(node, version, inputs, wanted, self)
        made = self._made(call, node, version)
        if any(wanted[len(made) :]):
            raise call.unsupported(f"has the output '{node.output[len(made)]}', which is not supported")
        return {name: call.settled(value) for name, value in zip(node.output, made, strict=False) if name}

    def _input(self, name: str, node: NodeProto) -> Value | None:
        if not name or self._is_absent(name):
            return None
        value = self.find(name)
        if value is None and not self.knows(name):  # in a function, whose names nobody has looked at before
            raise ImportModelError(f"a node reads '{name}', which nothing before it makes", source=describe(node))
        if value is None:
            raise UnfinishedError
        return value

    def _is_absent(self, name: str) -> bool:
        if name in self.values or name in self.missing:
            return False
        return name in self.absent or (self.outer is not None and self.outer._is_absent(name))

    def _require_known(self, node: NodeProto, version: int) -> None:
        """Raises UnsupportedError for an operator that nothing here can do anything with."""
        known = converter(qualified(node), version) or self._function(node, version, None) or can_host(node, version)
        if not known:
            raise UnsupportedError(f"operator {qualified(node)}", source=describe(node))

    def _made(self, call: Call, node: NodeProto, version: int) -> tuple[Value, ...]:
        """The results by the operator's converter, by its function, or else by a node that runs on the host."""
        held = is_held([v.type for v in call.inputs if v is not None])
        failure: CompilerError | None = None
        for way in self._ways(call, node, version):
            try:
                return way()
            except UnsupportedError as error:
                failure = failure or error
            except TypeInferenceError as error:
                if not held:
                    raise
                failure = failure or error
        raise failure or UnsupportedError(f"operator {qualified(node)}", source=call.source)

    def _ways(self, call: Call, node: NodeProto, version: int) -> Iterator[Callable[[], tuple[Value, ...]]]:
        """The ways to make a node's results, the best first."""
        given = [v for v in call.inputs if v is not None]
        convert = converter(qualified(node), version)
        objects = any(v.dtype == "object" for v in given) and node.op_type not in ON_OBJECTS
        if convert is not None and not objects:
            yield lambda: _as_tuple(convert(call))
        function = self._function(node, version, given)
        if function is not None:
            yield lambda: self._inlined(function, call, node)
        if can_host(node, version):
            yield lambda: self._hosted(call, node)

    def _hosted(self, call: Call, node: NodeProto) -> tuple[Value, ...]:
        made = self.model.hosts.make(node, call.inputs, self.versions, self.data_sizes.fresh, call.source)
        self.data_sizes.note(made)
        return made

    # Functions

    def _with_attributes(self, node: NodeProto) -> NodeProto:
        """The node with the attributes of the function around it in place of references to them."""
        if not any(a.ref_attr_name for a in node.attribute):
            return node
        copy = NodeProto()
        copy.CopyFrom(node)
        del copy.attribute[:]
        for attribute in node.attribute:
            given = self.attributes.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
            if given is not None:
                copy.attribute.add().CopyFrom(given)
                copy.attribute[-1].name = attribute.name
        return copy

    def _function(self, node: NodeProto, version: int, given: Sequence[Value] | None) -> FunctionProto | None:
        """The function that the operator is: of the model, or of onnx's description. Without `given`, any answer."""
        own = self.model.functions.get((node.domain, node.op_type, node.overload))
        if own is not None:
            return own
        types = None if given is None else [self.model.hosts.type_of(v) for v in given]
        return schema_function(node, version, types)

    def _inlined(self, function: FunctionProto, call: Call, node: NodeProto) -> tuple[Value, ...]:
        """The results of a function's nodes on the inputs of a call."""
        key = (node.domain, node.op_type, node.overload)
        if key in self.calls:
            raise EndlessModelError(f"the function {qualified(node)} calls itself", source=call.source)
        scope = self.inside(call)
        versions = {entry.domain: int(entry.version) for entry in function.opset_import}
        given = {a.name: a for a in node.attribute}
        defaults = {a.name: a for a in function.attribute_proto}
        attributes = {**dict.fromkeys(function.attribute), **defaults, **given}
        default = versions.get("", versions.get("ai.onnx", self.versions[""]))
        named = dict(zip(function.input, call.inputs, strict=False))
        inner = Scope(
            self.model,
            self.data_sizes,
            {**versions, **dict.fromkeys(DOMAINS, default)},
            attributes,
            depth=scope.depth,
            path=scope.path,
            absent=frozenset(name for name in function.input if named.get(name) is None),
            calls=self.calls | {key},
            values={name: value for name, value in named.items() if value is not None},
        )
        inner.read_nodes(function.node, function.output)
        for name, is_read in zip(function.output, call.wanted, strict=False):
            if is_read and not inner.knows(name):
                raise call.malformed(f"is a function whose output '{name}' nothing makes")
        results = [inner.find(name) for name in function.output]
        wanted = results[: len(call.wanted)]
        if any(value is None for value, is_read in zip(wanted, call.wanted, strict=False) if is_read):
            raise UnfinishedError
        any_value = next((value for value in results if value is not None), None)
        if any_value is None:
            raise UnfinishedError
        return tuple(any_value if value is None else value for value in wanted)

    def inside(self, call: Call, capture: Capture | None = None, data_sizes: DataSizes | None = None) -> Scope:
        """A scope for a graph inside this one. Raises ImportModelError where they lie too deep."""
        if self.depth == DEEPEST:
            raise ImportModelError(f"graphs and functions lie over {DEEPEST} deep in each other", source=call.source)
        return Scope(
            self.model,
            data_sizes or self.data_sizes,
            self.versions,
            self.attributes,
            self,
            capture,
            self.depth + (capture is None),  # a region has a scope for what it captures around that of its graph
            f"{self.path}{call.source} / ",
            calls=self.calls,
        )


def _as_tuple(made: Value | Sequence[Value]) -> tuple[Value, ...]:
    return (made,) if isinstance(made, Value) else tuple(made)


def qualified(node: NodeProto) -> str:
    """The operator's name, with its domain unless that is ONNX's own."""
    return node.op_type if node.domain in DOMAINS else f"{node.domain}.{node.op_type}"


def malformed(node: NodeProto, error: Exception) -> ImportModelError:
    failure = ImportModelError(
        f"{node.op_type} has inputs or attributes that make no sense: {error}", source=describe(node)
    )
    failure.__cause__ = error
    return failure
