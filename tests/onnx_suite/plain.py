"""Which cases are plain numeric: those that have to run compiled, without the host."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from tests.onnx_suite.cases import Case

NUMERIC = frozenset(
    TensorProto.DataType.Value(name)
    for name in "FLOAT DOUBLE FLOAT16 BFLOAT16 INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 BOOL".split()
)
RANDOM = frozenset({"Bernoulli", "Multinomial"})
NOT_NUMERIC = frozenset({"ConcatFromSequence", "ImageDecoder", "StringConcat", "StringNormalizer", "StringSplit"})
TRAINING = "ai.onnx.preview.training"
_TYPE_ATTRIBUTES = frozenset({"dtype", "output_dtype", "precision", "to"})


def why_not_plain(case: Case) -> str:
    """Why the case may run on the host; "" where it has only numeric tensors, and what is done with them compiles."""
    kind = _why_not(case.model) or _why_not_operator(case.operator.rpartition(".")[2])
    if not kind and "training_dropout" in case.name:
        return "random numbers"
    return kind


def _why_not(model: ModelProto) -> str:
    for value in (*model.graph.input, *model.graph.output):
        form = value.type.WhichOneof("value")
        if form != "tensor_type":
            return str(form).removesuffix("_type")
        if value.type.tensor_type.elem_type not in NUMERIC:
            return TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    return next(filter(None, map(_why_not_node, nodes_of(model.graph))), "")


def _why_not_node(node: NodeProto) -> str:
    if node.domain == TRAINING:
        return "training"
    return _why_not_operator(node.op_type) or next(filter(None, map(_why_not_attribute, node.attribute)), "")


def _why_not_operator(name: str) -> str:
    if name == "Unique":
        return "a size that depends on data"
    if name in RANDOM or name.startswith("Random"):
        return "random numbers"
    return name if name in NOT_NUMERIC or name.startswith(("Sequence", "SplitToSequence")) else ""


def _why_not_attribute(attribute: AttributeProto) -> str:
    types = [attribute.t.data_type] if attribute.type == AttributeProto.TENSOR else []
    if attribute.type == AttributeProto.INT and attribute.name in _TYPE_ATTRIBUTES and attribute.i:
        types.append(attribute.i)
    return next((TensorProto.DataType.Name(type).lower() for type in types if type not in NUMERIC), "")


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    """All nodes, those in the bodies of If, Loop and Scan too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (*attribute.graphs, *([attribute.g] if attribute.type == AttributeProto.GRAPH else [])):
                yield from nodes_of(body)
