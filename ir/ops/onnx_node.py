"""A node of an ONNX model whose meaning is that of onnx's own reference evaluator."""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require
from tilewright.ir.ops.control import declared, written
from tilewright.ir.types import TensorType, boxed, numpy_dtype, tensor


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require(isinstance(attrs["model"], str), "model must be a text")
    return declared(attrs["results"])


def _ref(attrs: Attrs, *arrays: Array) -> Any:
    evaluator = _evaluator(attrs["model"])
    given = (a.item() if a.dtype.kind == "O" and a.ndim == 0 and not isinstance(a.item(), str) else a for a in arrays)
    feeds = dict(zip(evaluator.input_names, given, strict=True))
    made = evaluator.run(None, feeds)
    if evaluator.proto_.graph.node[0].op_type == "Optional" and made[0]:
        made = made[0]  # it gives an optional as a list of its element
    types = declared(attrs["results"])
    return tuple(_array(value, type) for value, type in zip(made, types, strict=True))


def _array(value: Any, type: TensorType) -> Array:
    return boxed(value) if type.dtype == "object" else np.asarray(value).astype(numpy_dtype(type.dtype), copy=False)


@functools.lru_cache(maxsize=1024)
def _evaluator(model: str) -> Any:
    """onnx is imported here, when such a node first runs: all others do without."""
    from onnx import ModelProto
    from onnx.reference import ReferenceEvaluator

    proto = ModelProto()
    proto.ParseFromString(base64.b64decode(model))
    return ReferenceEvaluator(proto)


def _samples() -> list[Sample]:
    from onnx import TensorProto, helper

    node = helper.make_node("StringConcat", ["a", "b"], ["y"])
    texts = [helper.make_tensor_value_info(name, TensorProto.STRING, ["n"]) for name in "aby"]
    graph = helper.make_graph([node], "node", texts[:2], texts[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    text = base64.b64encode(model.SerializeToString()).decode()
    words = np.array(["ab", "c"], dtype=object)
    return [Sample((words, words), {"model": text, "results": written([tensor("string", 2)])})]


ROWS: tuple[Op, ...] = (
    Op(
        "onnx",
        Kind.OPAQUE,
        _infer,
        _ref,
        None,
        (0, None),
        {"model": REQUIRED, "results": REQUIRED},
        _samples,
        "A model of one ONNX node (its file, in base 64), run by onnx's reference evaluator. `results` are the types.",
    ),
)
