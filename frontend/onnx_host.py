"""Nodes that only onnx's reference evaluator can run: strings, sequences, optionals, narrow numbers, rare operators."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Mapping, Sequence

import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TypeProto, helper, numpy_helper, shape_inference
from onnx.defs import OpSchema, SchemaError, get_schema

from tilewright.frontend.onnx_types import from_proto, to_proto
from tilewright.ir.dims import Dim
from tilewright.ir.errors import UnsupportedError
from tilewright.ir.graph import Value, apply_op
from tilewright.ir.ops.control import written
from tilewright.ir.types import HELD, TensorType

_SMALL = 4096  # elements of constants that inference may look at


def schema_of(node: NodeProto, version: int) -> OpSchema | None:
    """onnx's own description of the operator, if it knows it."""
    try:
        return get_schema(node.op_type, version, "" if node.domain == "ai.onnx" else node.domain)
    except SchemaError:
        return None


def can_host(node: NodeProto, version: int) -> bool:
    """Whether the reference evaluator may run the node: it has no graphs, which could read values around it."""
    graphs = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
    return schema_of(node, version) is not None and all(a.type not in graphs for a in node.attribute)


class HostNodes:
    """Makes such nodes. `types` holds, for values that are no tensors, what ONNX says of them."""

    def __init__(self, declared: Mapping[str, TypeProto]) -> None:
        self._declared = declared
        self.types: dict[Value, TypeProto] = {}

    def make(
        self,
        node: NodeProto,
        inputs: Sequence[Value | None],
        versions: Mapping[str, int],
        fresh: Callable[[], Dim],
        source: str,
    ) -> tuple[Value, ...]:
        """The results of a node that runs on the host; `fresh` gives symbols for sizes that only it will tell.

        `versions` are the opsets of the graph that the node is in.
        """
        given = {name: value for name, value in zip(node.input, inputs, strict=True) if value is not None}
        protos = self._results(node, given, versions)
        known = {dim for v in given.values() for dim in map(str, v.shape)}
        types = tuple(from_proto(proto, fresh, known) for proto in protos)
        model = base64.b64encode(self._model(node, given, versions).SerializeToString()).decode()
        results = apply_op("onnx", *given.values(), source=source, model=model, results=written(types))
        self.types.update((v, p) for v, p in zip(results, protos, strict=True) if v.dtype == "object")
        by_name = dict(zip((name for name in node.output if name), results, strict=True))
        return tuple(by_name.get(name, results[0]) for name in node.output)

    def type_of(self, value: Value) -> TypeProto:
        return self.types.get(value, TypeProto()) if value.dtype == "object" else to_proto(value.type)

    def _results(self, node: NodeProto, given: Mapping[str, Value], versions: Mapping[str, int]) -> list[TypeProto]:
        """What onnx infers of each result that is there, or what the model declares."""
        schema = schema_of(node, versions.get(node.domain, versions[""]))
        if schema is None:
            raise UnsupportedError(f"operator {node.op_type} of a version that onnx does not know")
        types = {name: self.type_of(value) for name, value in given.items()}
        data = {
            name: numpy_helper.from_array(value.data, name)
            for name, value in given.items()
            if value.data is not None and value.data.size <= _SMALL and value.dtype not in HELD
        }
        inferred: Mapping[str, TypeProto] = {}
        failures = (RuntimeError, ValueError, TypeError, shape_inference.InferenceError)
        with contextlib.suppress(*failures):  # what the model declares has to do
            inferred = shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=_imports(versions), ir_version=onnx.IR_VERSION
            )
        return [_better(inferred.get(n), self._declared.get(n)) for n in node.output if n]

    def _model(self, node: NodeProto, given: Mapping[str, Value], versions: Mapping[str, int]) -> ModelProto:
        """A model of this node alone."""
        inputs = [helper.make_value_info(name, self.type_of(value)) for name, value in given.items()]
        outputs = [helper.make_value_info(name, TypeProto()) for name in node.output if name]
        graph = helper.make_graph([node], "node", inputs, outputs)
        return helper.make_model(graph, opset_imports=_imports(versions))


def _imports(versions: Mapping[str, int]) -> list[onnx.OperatorSetIdProto]:
    return [helper.make_opsetid(name, version) for name, version in versions.items() if name != "ai.onnx"]


def _better(inferred: TypeProto | None, declared: TypeProto | None) -> TypeProto:
    """The type that tells more."""

    def told(proto: TypeProto | None) -> int:
        if proto is None or not proto.WhichOneof("value"):
            return 0
        return 2 if not proto.HasField("tensor_type") or proto.tensor_type.HasField("shape") else 1

    chosen = inferred if told(inferred) >= told(declared) else declared
    return chosen or TypeProto()


def is_held(types: Sequence[TensorType]) -> bool:
    """Whether some array of these types stays on the host."""
    return any(t.dtype in HELD for t in types)
