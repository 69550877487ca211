"""Arrays as TVM's virtual machine takes them, and its small runtime library: no compiler, no torch is imported here."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.backends.program import EXPECT, FITS_MEMORY, HOST_CALL, SAME_COUNT
from tilewright.backends.tvm_ffi_import import import_tvm_ffi
from tilewright.backends.versions import tvm_folder
from tilewright.ir.types import HELD, dtype_name, numpy_dtype

Array = NDArray[Any]

ALIGNMENT = 64
"""What we allocate starts at a multiple of this many bytes: vectors that cross cache lines take longer to load."""

_BFLOAT16 = "bfloat16"
_TOO_MANY = 2**40  # elements


@functools.cache
def ffi() -> ModuleType:
    """The `tvm_ffi` package with TVM's runtime libraries loaded, in a process that may or may not have TVM itself."""
    tvm_ffi = import_tvm_ffi()
    _library("libtvm_runtime.so")
    _library("libtvm_runtime_extra.so")
    tvm_ffi.register_global_func(HOST_CALL, lambda function, *values: function(*values), override=True)
    tvm_ffi.register_global_func(EXPECT, _expect, override=True)
    tvm_ffi.register_global_func(FITS_MEMORY, _fits_memory, override=True)
    tvm_ffi.register_global_func(SAME_COUNT, _same_count, override=True)
    return tvm_ffi


def _expect(condition: Any, message: str) -> None:
    if not np.from_dlpack(condition).item():
        raise ValueError(message)


def _fits_memory(shape: Sequence[int]) -> None:
    if any(size < 0 for size in shape) or math.prod(shape) >= _TOO_MANY:
        raise ValueError(f"no array can have the shape {list(shape)}, which the model computed")


def _same_count(old: int, new: int) -> None:
    if old != new:
        raise ValueError(f"an array of {old} elements cannot be reshaped to one of {new}")


@functools.cache
def _library(name: str) -> ctypes.CDLL:
    return ctypes.CDLL(str((tvm_folder() / "lib" / name).resolve()), ctypes.RTLD_GLOBAL)


def aligned_empty(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array whose first byte is at a multiple of `ALIGNMENT`."""
    size = math.prod(shape) * dtype.itemsize
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -address(buffer) % ALIGNMENT
    return buffer[start : start + size].view(dtype).reshape(shape)


def address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def in_place(array: Array) -> bool:
    """Whether kernels can use the array where it lies."""
    flags = array.flags
    return bool(flags.c_contiguous and flags.writeable and flags.aligned)


def aligned(array: Array) -> Array:
    """`array` itself where kernels can use it in place at full speed, else an aligned copy."""
    if in_place(array) and address(array) % ALIGNMENT == 0:
        return array
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def placed(array: Array) -> Array:
    """A weight as it stays in memory while the model lives, so that it need not be copied when it is loaded."""
    return array if is_held(array.dtype) or not array.size else aligned(array)


def to_tensor(array: Array) -> Any:
    """The array as a TVM tensor over the same bytes where kernels can use them, or over a copy."""
    if array.dtype.name == _BFLOAT16:  # of which numpy's DLPack knows nothing
        return _viewed(to_tensor(array.view(np.uint16)), _BFLOAT16)
    if not array.size:
        return ffi().from_dlpack(_compact(array))
    return ffi().from_dlpack(array if in_place(array) else aligned(array))


def to_array(tensor: Any) -> Array:
    """A numpy view of a TVM tensor, which it keeps alive."""
    if str(tensor.dtype) == _BFLOAT16:
        return np.from_dlpack(_viewed(tensor, "uint16")).view(numpy_dtype(_BFLOAT16))
    return np.from_dlpack(tensor)


class Held:
    """An array that no kernel reads: of strings, of 4-bit integers, or one that holds a list. The VM hands it on."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape


def to_value(array: Array) -> Any:
    """An array as the VM takes it."""
    return Held(array) if is_held(array.dtype) else to_tensor(array)


def to_result(value: Any) -> Array:
    """Inverse of `to_value`."""
    return value.array if isinstance(value, Held) else to_array(value)


@functools.cache
def is_held(dtype: np.dtype[Any]) -> bool:
    return dtype_name(dtype) in HELD


def _viewed(tensor: Any, dtype: str) -> Any:
    """The same bytes as elements of another dtype of the same width."""
    return ffi().get_global_func("runtime.TVMTensorCreateView")(tensor, tensor.shape, ffi().dtype(dtype), 0)


def _compact(array: Array) -> Array:
    """An array without elements, with the strides that TVM calls compact, which numpy's are not."""
    strides = [int(np.prod(array.shape[axis + 1 :])) * array.itemsize for axis in range(array.ndim)]
    return np.lib.stride_tricks.as_strided(aligned_empty(array.shape, array.dtype), strides=strides)
