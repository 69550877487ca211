"""Tensors stored in an ONNX model, as numpy arrays: views where possible, checked before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

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

_NIBBLES = (TensorProto.INT4, TensorProto.UINT4)
_BY_ONNX = (
    *(TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E5M2FNUZ),
    *(TensorProto.FLOAT8E8M0, TensorProto.FLOAT4E2M1, TensorProto.INT2, TensorProto.UINT2),
    *(TensorProto.COMPLEX64, TensorProto.COMPLEX128),
)  # rare: onnx reads them
_TYPED_FIELDS: Mapping[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
    TensorProto.STRING: "string_data",
}


def dtype_of(code: int, what: str) -> str:
    """The IR's name of an ONNX element type. Raises ImportModelError or UnsupportedError, naming `what`."""
    if code in DTYPES:
        return DTYPES[code]
    if code not in TensorProto.DataType.values() or code == TensorProto.UNDEFINED:
        raise ImportModelError(f"{what} has the element type {code}, which ONNX does not define")
    raise UnsupportedError(f"{what} has elements of type {TensorProto.DataType.Name(code)}, which is not supported yet")


def read_tensor(tensor: TensorProto, folder: Path | None) -> Array:
    """The array of `tensor`.

    External data is mapped from files inside `folder` (None: there are none). Raises ImportModelError where the data
    does not fit the shape, or leaves the folder.
    """
    what = f"tensor '{tensor.name}'"
    shape = tuple(tensor.dims)
    if any(d < 0 for d in shape):
        raise ImportModelError(f"{what} has a negative size in its shape {list(shape)}")
    if tensor.HasField("segment"):
        raise UnsupportedError(f"{what} is stored in segments, which is not supported")
    dtype = numpy_dtype(dtype_of(tensor.data_type, what))
    if tensor.data_type in _BY_ONNX:
        return _read_by_onnx(tensor, folder, what)
    packed = tensor.data_type in _NIBBLES
    count = math.prod(shape)
    stored = (count + 1) // 2 if packed else count
    flat = _elements(tensor, np.dtype(np.uint8) if packed else dtype, stored, folder, what)
    if packed:
        flat = _unpack(flat, count, signed=tensor.data_type == TensorProto.INT4).astype(dtype)
    return flat.reshape(shape)


def _read_by_onnx(tensor: TensorProto, folder: Path | None, what: str) -> Array:
    if tensor.data_location == TensorProto.EXTERNAL:
        raise UnsupportedError(f"{what} has elements of a rare type in an external file, which is not supported")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        hint = "The file is damaged; export it again"
        raise ImportModelError(f"{what} cannot be read: {error}", hint=hint) from error


def _elements(tensor: TensorProto, dtype: np.dtype[Any], count: int, folder: Path | None, what: str) -> Array:
    if tensor.data_location == TensorProto.EXTERNAL:
        return _external(tensor, dtype, count, folder, what)
    if tensor.HasField("raw_data"):
        raw = tensor.raw_data
        _require_size(len(raw), count * dtype.itemsize, "bytes", what)
        return np.frombuffer(raw, dtype, count)
    values = getattr(tensor, _TYPED_FIELDS.get(tensor.data_type, "int32_data"))
    _require_size(len(values), count, "elements", what)
    return _from_field(values, dtype)


def _from_field(values: Any, dtype: np.dtype[Any]) -> Array:
    """Typed fields hold 16-bit floats as their bit patterns."""
    if dtype.name in ("float16", "bfloat16"):
        return np.asarray(values, dtype=np.int64).astype(np.uint16).view(dtype)
    if dtype.kind == "O":
        return np.array([text.decode("utf-8", "replace") for text in values], dtype=object)
    return np.asarray(values, dtype=np.int64).astype(dtype) if dtype.kind in "ib" else np.array(values, dtype=dtype)


def _require_size(stored: int, wanted: int, unit: str, what: str) -> None:
    if stored != wanted:
        raise ImportModelError(
            f"{what} stores {stored} {unit}, but its shape asks for {wanted}",
            hint="The file is damaged; export it again",
        )


def _unpack(pairs: Array, count: int, *, signed: bool) -> Array:
    """Two 4-bit integers a byte, the low half first."""
    halves = np.stack([pairs & 0xF, pairs >> 4], axis=1).reshape(-1)[:count]
    return ((halves ^ 8).astype(np.int8) - 8).astype(np.int8) if signed else halves


def _external(tensor: TensorProto, dtype: np.dtype[Any], count: int, folder: Path | None, what: str) -> Array:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _inside(folder, entries.get("location", ""), what)
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or count * dtype.itemsize)
    except ValueError as error:
        raise ImportModelError(f"{what} has an offset or a length of its external data that is not a number") from error
    _require_size(length, count * dtype.itemsize, "bytes", what)
    available = path.stat().st_size
    if offset < 0 or offset + length > available:
        raise ImportModelError(
            f"{what} reads bytes {offset} to {offset + length} of '{path.name}', which has only {available}",
            hint="The data file is damaged or belongs to another model",
        )
    if count == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r", offset=offset, shape=(count,))


def _inside(folder: Path | None, location: str, what: str) -> Path:
    """The data file at `location`, which has to be inside the model's own folder once links are followed."""
    if folder is None:
        raise ImportModelError(
            f"{what} keeps its data in the file '{location}', but a model given as bytes has no folder",
            hint="Give the path of the .onnx file instead",
        )
    root = folder.resolve()
    given = Path(location)
    if not location or "\0" in location or given.is_absolute() or ".." in given.parts:
        raise ImportModelError(f"{what} names the data file '{location}', which is not inside the model's folder")
    path = (root / given).resolve()
    if not path.is_relative_to(root):
        raise ImportModelError(f"{what} names the data file '{location}', which leads out of the model's folder")
    if not path.is_file():
        raise ImportModelError(f"{what} keeps its data in '{location}', which is missing from the model's folder")
    return path
