"""Sparse tensors stored in an ONNX model, as dense arrays: no operator of ours takes a sparse one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import SparseTensorProto

from tilewright.frontend.onnx_storage import Storage
from tilewright.frontend.onnx_tensor import read_tensor
from tilewright.ir.errors import ImportModelError, UnsupportedError
from tilewright.ir.op import Array

_FREE, _GROWTH = 256 << 20, 4096  # bytes, and bytes for each that is stored: a few must not ask for all the memory


def read_sparse(sparse: SparseTensorProto, storage: Storage | None = None) -> Array:
    """The array of `sparse`, zero where it stores nothing.

    Its indices are [NNZ], places in the flat array, or [NNZ, rank], and ascend. Raises ImportModelError where they do
    not, or do not lie in the shape, and UnsupportedError for arrays far larger than what is stored of them.
    """
    what = f"sparse tensor '{sparse.values.name}'"
    shape = tuple(sparse.dims)
    if any(d < 0 for d in shape):
        raise ImportModelError(f"{what} has a negative size in its shape {list(shape)}")
    values = read_tensor(sparse.values, storage)
    if values.ndim != 1:
        raise ImportModelError(f"{what} has values with {values.ndim} axes instead of one")
    if values.dtype.kind == "O":
        raise UnsupportedError(f"{what} has elements of type string, which is not supported")
    size = math.prod(shape) * values.itemsize
    if size > max(_FREE, _GROWTH * values.nbytes):
        raise UnsupportedError(f"{what} would take {size} bytes as a dense one, of which it stores {values.nbytes}")
    places = _places(read_tensor(sparse.indices, storage), len(values), shape, what)
    dense = np.zeros(math.prod(shape), values.dtype)
    dense[places] = values
    return dense.reshape(shape)


def _places(indices: Array, count: int, shape: Sequence[int], what: str) -> Array:
    """Where each of the `count` values is in the flat array."""
    if indices.dtype != np.int64 or indices.shape not in ((count,), (count, len(shape))):
        raise ImportModelError(
            f"{what} has indices of type {indices.dtype} and shape {list(indices.shape)} "
            f"for {count} values of an array of shape {list(shape)}"
        )
    limits = np.array(shape if indices.ndim == 2 else [math.prod(shape)], np.int64)
    columns = indices.reshape(count, len(limits))
    if count and bool(np.any((columns.min(axis=0) < 0) | (columns.max(axis=0) >= limits))):
        raise ImportModelError(f"{what} has indices outside of its shape {list(shape)}")
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))] if indices.ndim == 2 else [1]
    places = np.zeros(count, np.int64)
    for column, stride in zip(columns.T, strides, strict=True):
        places += column * stride
    if bool(np.any(np.diff(places) <= 0)):
        raise ImportModelError(f"{what} has indices that do not ascend")
    return places
