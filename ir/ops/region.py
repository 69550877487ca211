"""Operators whose meaning is a graph of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require
from tilewright.ir.types import TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def _infer_fused(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    body = attrs["body"]
    require(len(types) == len(body.inputs), f"the body takes {len(body.inputs)} inputs, not {len(types)}")
    for given, wanted in zip(types, body.inputs, strict=True):
        require(wanted.type.matches(given), f"the body's input {wanted.name} is {wanted.type}, not {given}")
    return tuple(output.type for output in body.outputs)


def _ref_fused(attrs: Attrs, *arrays: Array) -> Any:
    return attrs["body"](*arrays)


def _compute_fused(b: Any, node: Node, *tensors: Any) -> tuple[Any, ...]:
    """The expressions of the body's operators, composed."""
    body = node.attrs["body"]
    made = dict(zip(body.inputs, tensors, strict=True))
    made.update((value, b.tensor_const(value.data)) for value in body.constants)
    for inner in body.nodes:
        results = inner.op.tensors(b, inner, [made[value] for value in inner.inputs])
        made.update(zip(inner.results, results, strict=True))
    return tuple(made[value] for value in body.outputs)


def _samples_fused() -> list[Sample]:
    from tilewright.ir.graph import Graph, apply, constant, input_value

    x, y = input_value("x", tensor("float32", "n", 4)), input_value("y", tensor("float32", 4))
    total = apply("add", x, y)
    two = constant(2.0, "float32")
    body = Graph((x, y), (apply("softmax", total, axis=1), apply("mul", total, two)))
    return [Sample((x.type, y.type), {"body": body})]


ROWS: tuple[Op, ...] = (
    Op(
        "fused",
        Kind.OPAQUE,
        _infer_fused,
        _ref_fused,
        _compute_fused,
        (0, None),
        {"body": REQUIRED},
        _samples_fused,
        "A group of operators that becomes one kernel. The body's symbolic sizes are those of the graph around it.",
    ),
)
