"""ONNX models in: opset 6 to the newest.

Every node is converted by a row of `onnx_ops.TABLE`. What is not supported is collected over the whole model and
reported at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import combinations, islice

from onnx import GraphProto, ModelProto, NodeProto

from tilewright.frontend.data_sizes import DataSizes
from tilewright.frontend.imported import Imported
from tilewright.frontend.onnx_file import OnnxFile, OnnxRuntime, open_onnx
from tilewright.frontend.onnx_graph import DOMAINS, Model, Scope
from tilewright.frontend.onnx_host import HostNodes, schema_of
from tilewright.frontend.onnx_order import ordered
from tilewright.frontend.onnx_types import input_type
from tilewright.frontend.symbols import Symbols
from tilewright.ir.errors import ImportModelError, UnsupportedError
from tilewright.ir.graph import Graph, Value, input_value

OLDEST, NEWEST = 6, 28
_MOST_TRIES = 16


def read_onnx(source: str | os.PathLike[str] | bytes | ModelProto, shapes: Mapping[str, int] | None = None) -> Imported:
    """Read a model; `shapes` fixes symbolic sizes by name.

    Raises ImportModelError for a damaged, unsafe or malformed model, TypeInferenceError for operators given what they
    do not accept, and UnsupportedError listing everything that is not supported.
    """
    file, symbols = open_onnx(source), Symbols(shapes or {})
    graph = read_model(file, symbols)
    return Imported(graph, OnnxRuntime(file, graph.output_names), file.name or "model", symbols.names)


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
    if found[0] < OLDEST and all(means_the_same(node, found[0]) for node in model.graph.node):
        return OLDEST
    if not OLDEST <= found[0] <= NEWEST:
        raise UnsupportedError(
            f"the model uses ONNX opset {found[0]}; {OLDEST} to {NEWEST} are supported",
            hint="Export it again, or convert it with onnx.version_converter",
        )
    return found[0]


def means_the_same(node: NodeProto, version: int) -> bool:
    """Whether the operator of an opset before the oldest is still that of the oldest."""
    old, new = schema_of(node, version), schema_of(node, OLDEST)
    return old is not None and new is not None and old.since_version == new.since_version


def read_model(file: OnnxFile, symbols: Symbols) -> Graph:
    """The model's graph. Raises what was found to be wrong with it.

    Where a node can be converted in two ways, and what follows does not fit the first, the other is tried. Where the
    model says otherwise how many axes its results have, as few other ways as it takes are tried.
    """
    choices: dict[str, int] = {}
    model, graph = read_once(file, symbols, choices)
    first = model.problems
    for _ in range(_MOST_TRIES):
        open_choices = _open(choices)
        if graph is not None or not open_choices:
            break
        choices[open_choices[-1]] = 1
        model, graph = read_once(file, symbols, choices)
    if graph is None:
        first.report()
    assert graph is not None
    others = (found for found in _others(file, symbols, choices) if found is not None and _fits(found, file, symbols))
    return graph if _fits(graph, file, symbols) else next(others, graph)


def _open(choices: Mapping[str, int]) -> list[str]:
    return [source for source, place in choices.items() if place == 0]


def _others(file: OnnxFile, symbols: Symbols, choices: Mapping[str, int]) -> Iterator[Graph | None]:
    """What is read where one more choice is the other way, the last first, then two of them, and so on."""
    sources = _open(choices)[::-1]
    flips = (flipped for count in range(1, len(sources) + 1) for flipped in combinations(sources, count))
    for flipped in islice(flips, _MOST_TRIES):
        yield read_once(file, symbols, {**choices, **dict.fromkeys(flipped, 1)})[1]


def _fits(graph: Graph, file: OnnxFile, symbols: Symbols) -> bool:
    """Whether results have as many axes as the model says, where it does, of sizes that are not fixed to be 1."""
    for info, value in zip(file.model.graph.output, graph.outputs, strict=True):
        said = info.type.tensor_type
        fixed = any(symbols.is_one(dim.dim_param) for dim in said.shape.dim)
        if said.HasField("shape") and not fixed and len(said.shape.dim) != value.rank:
            return False
    return True


def read_once(file: OnnxFile, symbols: Symbols, choices: dict[str, int]) -> tuple[Model, Graph | None]:
    """The model as far as it could be read, and its graph if that was all of it."""
    proto, versions = file.model.graph, opsets(file.model)
    functions = {(f.domain, f.name, f.overload): f for f in file.model.functions}
    declared = {info.name: info.type for info in (*proto.value_info, *proto.output, *proto.input)}
    model = Model(versions, functions, file.storage, HostNodes(declared), choices)
    scope = Scope(model, DataSizes(model.contents), versions)
    order = ordered(proto, lambda name: False)
    scope.read_initializers(proto)
    inputs = read_inputs(scope, proto, symbols)
    symbols.require_all_bound()
    names = tuple(output.name for output in proto.output)
    scope.read_nodes(order, names)
    if model.problems:
        return model, None
    return model, Graph(inputs, tuple(scope.values[name] for name in names), names)


def read_inputs(scope: Scope, graph: GraphProto, symbols: Symbols) -> tuple[Value, ...]:
    """Inputs that are also initializers have a default value, which is taken as constant."""
    inputs = []
    for info in graph.input:
        if info.name in scope.values or info.name in scope.missing:
            continue
        try:
            value = input_value(info.name, input_type(info, symbols))
        except UnsupportedError as error:
            scope.reject([info.name], error.message, f"input '{info.name}'")
            continue
        if value.dtype == "object":
            scope.model.hosts.types[value] = info.type
        scope.values[info.name] = value
        inputs.append(value)
    return tuple(inputs)
