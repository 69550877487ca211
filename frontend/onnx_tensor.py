"""Tensors stored in an ONNX model, as numpy arrays: views where possible, checked before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from tilewright.frontend.onnx_storage import Storage, require_count
from tilewright.ir.errors import ImportModelError, UnsupportedError
from tilewright.ir.op import Array
from tilewright.ir.types import numpy_dtype

DTYPES: Mapping[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.INT8: "int8",
    TensorProto.INT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.UINT8: "uint8",
    TensorProto.UINT16: "uint16",
    TensorProto.UINT32: "uint32",
    TensorProto.UINT64: "uint64",
    TensorProto.BOOL: "bool",
    TensorProto.STRING: "string",
    TensorProto.FLOAT8E4M3FN: "float8_e4m3fn",
    TensorProto.FLOAT8E4M3FNUZ: "float8_e4m3fnuz",
    TensorProto.FLOAT8E5M2: "float8_e5m2",
    TensorProto.FLOAT8E5M2FNUZ: "float8_e5m2fnuz",
    TensorProto.FLOAT8E8M0: "float8_e8m0fnu",
    TensorProto.FLOAT4E2M1: "float4_e2m1fn",
    TensorProto.INT4: "int4",
    TensorProto.UINT4: "uint4",
    TensorProto.INT2: "int2",
    TensorProto.UINT2: "uint2",
    TensorProto.COMPLEX64: "complex64",
    TensorProto.COMPLEX128: "complex128",
}
"""Element types of the format that the IR has."""
CODES: Mapping[str, int] = {name: code for code, name in DTYPES.items()}

_BITS: Mapping[int, int] = {
    **dict.fromkeys((TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1), 4),
    **dict.fromkeys((TensorProto.INT2, TensorProto.UINT2), 2),
}
"""Types of which several elements share a byte, the first in its lowest bits."""
_TYPED_FIELDS: Mapping[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
    TensorProto.STRING: "string_data",
    TensorProto.COMPLEX64: "float_data",
    TensorProto.COMPLEX128: "double_data",
}


def dtype_of(code: int, what: str) -> str:
    """The IR's name of an ONNX element type. Raises ImportModelError or UnsupportedError, naming `what`."""
    if code in DTYPES:
        return DTYPES[code]
    if code not in TensorProto.DataType.values() or code == TensorProto.UNDEFINED:
        raise ImportModelError(f"{what} has the element type {code}, which ONNX does not define")
    raise UnsupportedError(f"{what} has elements of type {TensorProto.DataType.Name(code)}, which is not supported yet")


def read_tensor(tensor: TensorProto, storage: Storage | None = None) -> Array:
    """The array of `tensor`.

    What it keeps elsewhere is in `storage` (None: there is nothing elsewhere). Raises ImportModelError where the data
    does not fit the shape, or leaves the model's folder.
    """
    what = f"tensor '{tensor.name}'"
    shape = tuple(tensor.dims)
    if any(d < 0 for d in shape):
        raise ImportModelError(f"{what} has a negative size in its shape {list(shape)}")
    if tensor.HasField("segment"):
        raise UnsupportedError(f"{what} is stored in segments, which is not supported")
    dtype = numpy_dtype(dtype_of(tensor.data_type, what))
    count, bits = math.prod(shape), _BITS.get(tensor.data_type)
    if bits is None:
        return _elements(tensor, dtype, count, storage or Storage(), what).reshape(shape)
    stored = _elements(tensor, np.dtype(np.uint8), -(-count * bits // 8), storage or Storage(), what)
    return _unpack(stored, bits, dtype)[:count].reshape(shape)


def _elements(tensor: TensorProto, dtype: np.dtype[Any], count: int, storage: Storage, what: str) -> Array:
    """`count` elements of the width of `dtype`, as a flat array, which is a view wherever there are bytes to view."""
    if tensor.data_location == TensorProto.EXTERNAL:
        return storage.external(tensor, count * dtype.itemsize, what).view(dtype)
    if tensor.HasField("raw_data"):
        raw = tensor.raw_data
        require_count(len(raw), count * dtype.itemsize, "bytes", what)
        return np.frombuffer(raw, dtype, count)
    values = getattr(tensor, _TYPED_FIELDS.get(tensor.data_type, "int32_data"))
    require_count(len(values), count * (2 if dtype.kind == "c" else 1), "elements", what)
    return _from_field(values, dtype)


def _from_field(values: Any, dtype: np.dtype[Any]) -> Array:
    """Typed fields hold floats of up to 16 bits as their bit patterns, and complex numbers as pairs."""
    if dtype.kind == "O":
        return np.array([text.decode("utf-8", "replace") for text in values], dtype=object)
    numbers = np.asarray(values)  # protobuf copies them into an array, without a list between
    if dtype.kind == "c":
        return numbers.view(dtype)
    if dtype.kind in "fV" and numbers.dtype.kind == "i":
        return numbers.astype(f"u{dtype.itemsize}").view(dtype)
    return numbers.astype(dtype, copy=False)


def _unpack(stored: Array, bits: int, dtype: np.dtype[Any]) -> Array:
    """All elements in the bytes `stored`, of so many bits each."""
    mask, sign = (1 << bits) - 1, 1 << (bits - 1)
    parts = np.stack([(stored >> shift) & mask for shift in range(0, 8, bits)], axis=1).reshape(-1)
    if dtype.name.startswith("float"):
        return parts.view(dtype)
    return ((parts ^ sign).astype(np.int8) - sign if dtype.name.startswith("int") else parts).astype(dtype)
