"""Types as ONNX declares them, in both directions."""

from __future__ import annotations

from collections.abc import Callable

from onnx import TypeProto, ValueInfoProto

from tilewright.frontend.onnx_tensor import CODES, dtype_of
from tilewright.frontend.symbols import Symbols
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.errors import ImportModelError, UnsupportedError
from tilewright.ir.op import TOO_MANY_ELEMENTS
from tilewright.ir.types import TensorType

OBJECT = TensorType("object", ())
"""Sequences, optionals, maps, and tensors of which not even the number of axes is known."""


def input_type(info: ValueInfoProto, symbols: Symbols) -> TensorType:
    """The declared type of an input; sizes without a number are symbols."""
    what = f"input '{info.name}'"
    if not info.type.HasField("tensor_type"):
        return OBJECT
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        raise UnsupportedError("inputs whose number of axes is not declared")
    shape = [
        dim.dim_value
        if dim.HasField("dim_value") and dim.dim_value >= 0
        else symbols.size(dim.dim_param, info.name, axis)
        for axis, dim in enumerate(tensor.shape.dim)
    ]
    type = TensorType(dtype_of(tensor.elem_type, what), tuple(shape))
    require_size(type, what)
    return type


def require_size(type: TensorType, what: str) -> None:
    """Raises ImportModelError for a tensor that no machine could hold; symbolic sizes count as one."""
    if dims.static_product(d for d in type.shape if isinstance(d, int)) >= TOO_MANY_ELEMENTS:
        raise ImportModelError(f"{what} is {type}, which no memory holds", hint="The model is damaged")


def to_proto(type: TensorType) -> TypeProto:
    """The type as ONNX writes it; symbolic sizes are named by their text."""
    proto = TypeProto()
    proto.tensor_type.elem_type = CODES[type.dtype]
    proto.tensor_type.shape.SetInParent()
    for size in type.shape:
        dim = proto.tensor_type.shape.dim.add()
        if isinstance(size, int):
            dim.dim_value = size
        else:
            dim.dim_param = dims.to_text(size)
    return proto


def from_proto(proto: TypeProto, fresh: Callable[[], Dim], known: set[str]) -> TensorType:
    """Inverse of `to_proto` for sizes whose texts are in `known`; `fresh` gives symbols for the others."""
    if not proto.HasField("tensor_type") or not proto.tensor_type.HasField("shape"):
        return OBJECT

    def size(dim: TypeProto) -> Dim:
        if dim.HasField("dim_value"):
            return int(dim.dim_value)
        return dims.parse(dim.dim_param) if dim.dim_param in known else fresh()

    tensor = proto.tensor_type
    return TensorType(dtype_of(tensor.elem_type, "a result"), tuple(size(dim) for dim in tensor.shape.dim))
