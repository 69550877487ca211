"""Types of values: an element type and a shape of sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim

FLOATS = ("float16", "bfloat16", "float32", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = SIGNED + UNSIGNED
NUMERIC = FLOATS + INTEGERS
NARROW = (
    "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn",
    "int4", "uint4", "int2", "uint2",
)  # fmt: skip
HELD = (*NARROW, "complex64", "complex128", "string", "object")
"""Element types that no kernel knows: their arrays stay on the host. An "object" is a scalar that holds anything."""
DTYPES = (*NUMERIC, "bool", *HELD)


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type (a name in `DTYPES`) and shape; a scalar has the shape ()."""

    dtype: str
    shape: tuple[Dim, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"{self.dtype!r} is not an element type; known are {', '.join(DTYPES)}")

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_static(self) -> bool:
        return all(isinstance(d, int) for d in self.shape)

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return dims.product(self.shape)

    def with_shape(self, shape: Iterable[Dim]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: str) -> TensorType:
        return TensorType(dtype, self.shape)

    def matches(self, other: TensorType) -> bool:
        """Same element type and provably the same shape."""
        return self.dtype == other.dtype and dims.same_shape(self.shape, other.shape)

    def bind(self, sizes: Mapping[str, Dim]) -> TensorType:
        return self.with_shape(dims.bind(d, sizes) for d in self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(dims.to_text(d) for d in self.shape)}]"


def tensor(dtype: str, *shape: Any) -> TensorType:
    """`tensor("float32", "batch", 3)`: text names or writes a symbolic size, numbers are sizes."""
    return TensorType(dtype, tuple(dims.parse(d) if isinstance(d, str) else dims.as_dim(d) for d in shape))


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The numpy dtype that holds `dtype`; bfloat16 and narrower types come from ml_dtypes, strings are objects."""
    if dtype == "bfloat16" or dtype in NARROW:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, dtype))
        return found
    return np.dtype[Any](object if dtype in ("string", "object") else dtype)


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The name in `DTYPES` of a numpy dtype. Raises ValueError for one that has none."""
    name = "string" if dtype.kind in "OUST" else dtype.name
    if name not in DTYPES:
        raise ValueError(f"arrays of dtype {dtype} have no element type here; known are {', '.join(DTYPES)}")
    return name


def boxed(item: object) -> np.ndarray[Any, Any]:
    """A scalar of dtype "object" that holds `item`, whatever it is."""
    array = np.empty((), dtype=object)
    array[()] = item
    return array


def type_of(array: np.ndarray[Any, Any]) -> TensorType:
    if array.dtype.kind == "O" and array.ndim == 0 and not isinstance(array.item(), str | bytes):
        return TensorType("object", ())
    return TensorType(dtype_name(array.dtype), tuple(int(d) for d in array.shape))
