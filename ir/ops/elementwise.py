"""What elementwise operators share: broadcasting, one element type, and 16-bit floats computed in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.errors import TypeInferenceError
from tilewright.ir.op import Array, Attrs, Compute, Infer, Ref
from tilewright.ir.ops.checks import assume_equal, require_dtype, require_same_dtype
from tilewright.ir.ops.precision import accumulator
from tilewright.ir.types import TensorType, dtype_name, numpy_dtype

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def broadcast_shapes(shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """The numpy broadcast of shapes. Raises TypeInferenceError where known sizes clash."""
    rank = max(len(s) for s in shapes)
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, dim in enumerate(shape, rank - len(shape)):
            merged = dims.broadcast(result[axis], dim)
            if merged is None:
                raise TypeInferenceError(f"sizes {result[axis]} and {dim} of axis {axis - rank} do not broadcast")
            if result[axis] != 1 and dim != 1:
                assume_equal(result[axis], dim, f"sizes of axis {axis - rank}")
            result[axis] = merged
    return tuple(result)


def broadcast_reader(tensor: Any, rank: int) -> Callable[..., Any]:
    """Reads `tensor` at an index of the broadcast result of `rank` axes: axes of size 1 are read at 0."""
    offset = rank - len(tensor.shape)
    fixed = [isinstance(d, int) and d == 1 for d in tensor.shape]
    return lambda *index: tensor(*(0 if one else i for one, i in zip(fixed, index[offset:], strict=True)))


def elementwise_infer(accepted: Sequence[str], result: str | None = None) -> Infer:
    """All inputs of one accepted element type; the result has it too, unless `result` names another."""

    def infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
        require_same_dtype(types)
        require_dtype(types[0], accepted, "the input")
        return (TensorType(result or types[0].dtype, broadcast_shapes([t.shape for t in types])),)

    return infer


def elementwise_ref(function: Callable[..., Any], result: str | None = None) -> Ref:
    """`function(attrs, *arrays)`, 16-bit floats as float32, rounded to the inputs' element type or to `result`."""

    def ref(attrs: Attrs, *arrays: Array) -> Array:
        dtype = numpy_dtype(result) if result else arrays[-1].dtype
        with np.errstate(all="ignore"):
            return np.asarray(function(attrs, *map(single, arrays))).astype(dtype, copy=False)

    return ref


def single(array: Array) -> Array:
    """16-bit floats as float32, anything else as it is."""
    dtype = dtype_name(array.dtype)
    return array.astype(accumulator(dtype)) if accumulator(dtype) != dtype else array


def elementwise_compute(function: Callable[..., Any]) -> Compute:
    """One stage: `function(b, node, *scalars)` with 16-bit floats as float32, rounded to the result's element type."""

    def compute(b: Any, node: Node, *tensors: Any) -> Any:
        result = node.results[0]
        readers = [broadcast_reader(t, result.rank) for t in tensors]
        wide = [accumulator(t.dtype) for t in tensors]

        def element(*index: Any) -> Any:
            scalars = [b.cast(read(*index), dtype) for read, dtype in zip(readers, wide, strict=True)]
            return b.cast(function(b, node, *scalars), result.dtype)

        return b.stage(b.shape(result), result.dtype, element)

    return compute
