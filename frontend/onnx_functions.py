"""The functions by which ONNX itself defines some of its operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import FunctionProto, NodeProto, TypeProto

from tilewright.frontend.onnx_host import schema_of


def schema_function(node: NodeProto, version: int, types: Sequence[TypeProto] | None) -> FunctionProto | None:
    """The definition of the operator in simpler ones, if it has one for inputs of these types.

    Without `types`, whether there is any: a definition that depends on them then comes empty.
    """
    schema: Any = schema_of(node, version)  # onnx's stubs know less than it has
    if schema is None:
        return None
    if schema.has_context_dependent_function:
        return FunctionProto() if types is None else _for_types(schema, node, version, types)
    return _plain(schema, version) if schema.has_function else None


def _for_types(schema: Any, node: NodeProto, version: int, types: Sequence[TypeProto]) -> FunctionProto | None:
    versions = [v for v in schema.context_dependent_function_opset_versions if v <= version]
    if not versions:
        return None
    present = iter(types)
    given = [next(present).SerializeToString() if name else b"" for name in node.input]
    body = schema.get_context_dependent_function_with_opset_version(max(versions), node.SerializeToString(), given)
    return _filled(FunctionProto.FromString(body), schema, max(versions)) if body else None


def _plain(schema: Any, version: int) -> FunctionProto | None:
    versions = [v for v in schema.function_opset_versions if v <= version]
    if not versions:
        return None
    body = schema.get_function_with_opset_version(max(versions))
    return _filled(FunctionProto.FromString(body), schema, max(versions)) if body else None


def _filled(function: FunctionProto, schema: Any, version: int) -> FunctionProto:
    """The function with the attributes' defaults, which the operator's description has."""
    listed = {a.name for a in function.attribute_proto}
    for name, attribute in schema.attributes.items():
        if attribute.default_value.type and name not in listed:
            function.attribute_proto.add().CopyFrom(attribute.default_value)
            function.attribute_proto[-1].name = name
    return function
