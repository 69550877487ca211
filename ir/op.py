"""What an operator is: one row of the op table."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.errors import TypeInferenceError
from tilewright.ir.types import TensorType

if TYPE_CHECKING:
    from tilewright.ir.graph import Node

Attrs = Mapping[str, Any]
Array = np.ndarray[Any, Any]
Infer = Callable[[Sequence[TensorType], Attrs], tuple[TensorType, ...]]
Ref = Callable[..., Any]
Compute = Callable[..., Any]


class Kind(Enum):
    """How an operator may be fused with its neighbours."""

    ELEMENTWISE = "elementwise"  # result[i] reads input[i] (after broadcasting)
    INJECTIVE = "injective"  # result[i] reads one computed place of each input: transpose, slice, gather
    REDUCTION = "reduction"  # reads a row for each result: sums, softmax, norms
    CONTRACTION = "contraction"  # products summed: matmul, convolution, attention
    SERIAL = "serial"  # works through an axis in order: a kernel of its own, whose loops a schedule rule knows
    OPAQUE = "opaque"  # never fused


REQUIRED = object()
TOO_MANY_ELEMENTS = 2**40
_FEW = 256  # items or letters of attributes whose results are kept


@dataclass(frozen=True)
class Sample:
    """One example of use: arrays (or types, drawn at random) and attributes. A test runs every sample of every row."""

    inputs: tuple[Array | TensorType, ...]
    attrs: Attrs = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Op:
    """One row of the table.

    `attrs` maps each attribute to its default, or to `REQUIRED`.
    `infer(types, attrs)` gives the result types and raises TypeInferenceError on what the operator does not accept; it
    depends on nothing else.
    `ref(attrs, *arrays)` is the meaning in numpy: an array, or a tuple for several results. Symbolic sizes in attrs are
    numbers by then, and a graph attribute is a function of arrays.
    `compute(b, node, *tensors)` is the same as tensor expressions over the backend's namespace `b`; None means that
    only the host can run it, unless it is of the kind SERIAL.
    `arity` is the least and the greatest number of inputs (None: no limit).
    """

    name: str
    kind: Kind
    infer: Infer
    ref: Ref
    compute: Compute | None
    arity: tuple[int, int | None]
    attrs: Attrs = field(default_factory=dict)
    samples: Callable[[], Sequence[Sample]] = tuple
    doc: str = ""

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def complete(self, attrs: Attrs) -> dict[str, Any]:
        """`attrs` with the defaults filled in. Raises TypeInferenceError for an unknown or a missing one."""
        if unknown := sorted(set(attrs) - set(self.attrs)):
            raise TypeInferenceError(
                f"{self.name} has no attribute {', '.join(unknown)}", hint=f"It has: {', '.join(self.attrs) or 'none'}"
            )
        full = {**self.attrs, **attrs}
        if missing := sorted(name for name, value in full.items() if value is REQUIRED):
            raise TypeInferenceError(f"{self.name} needs the attribute {', '.join(missing)}")
        return full

    def result_types(self, types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
        """Types of the results for inputs of these types; `attrs` are complete."""
        least, most = self.arity
        if len(types) < least or (most is not None and len(types) > most):
            wanted = str(least) if least == most else f"{least} to {most if most is not None else 'any number'}"
            raise TypeInferenceError(f"{self.name} takes {wanted} inputs, not {len(types)}")
        if not all(map(_may_be_kept, attrs.values())):
            return _checked(self.infer(types, attrs))
        return _inferred(self, tuple(types), tuple((name, _Exactly.of(value)) for name, value in attrs.items()))

    def run(self, attrs: Attrs, arrays: Sequence[Array]) -> tuple[Array, ...]:
        """The reference on concrete arrays, always as a tuple."""
        result = self.ref(attrs, *arrays)
        return tuple(np.asarray(r) for r in result) if isinstance(result, tuple) else (np.asarray(result),)

    def tensors(self, b: Any, node: Node, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """The tensor expressions of the results, always as a tuple."""
        if self.compute is None:
            raise TypeInferenceError(f"{self.name} has no tensor expression")
        result = self.compute(b, node, *inputs)
        return result if isinstance(result, tuple) else (result,)


def _may_be_kept(value: Any) -> bool:
    """Small attributes may; a graph would keep its weights."""
    if isinstance(value, tuple):
        return len(value) <= _FEW and all(map(_may_be_kept, value))
    if isinstance(value, str):
        return len(value) <= _FEW
    return value is None or type(value) in (bool, int, float) or hasattr(value, "free_symbols")


@dataclass(frozen=True)
class _Exactly:
    """An attribute with the classes of all that it holds, which tell 1 from True."""

    value: Any
    classes: Any

    @staticmethod
    def of(value: Any) -> _Exactly:
        return _Exactly(value, _classes(value))


def _classes(value: Any) -> Any:
    return tuple(map(_classes, value)) if isinstance(value, tuple) else type(value)


@functools.lru_cache(maxsize=1 << 13)
def _inferred(op: Op, types: tuple[TensorType, ...], attrs: tuple[tuple[str, _Exactly], ...]) -> tuple[TensorType, ...]:
    """What `op.infer` gives: passes ask again and again."""
    return _checked(op.infer(types, {name: exactly.value for name, exactly in attrs}))


def _checked(types: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
    """The same types. Rejects what no memory holds before anything tries to allocate it."""
    for type in types:
        size = math.prod(d for d in type.shape if isinstance(d, int))
        if size >= TOO_MANY_ELEMENTS:
            raise TypeInferenceError(f"the result {type} has {size} or more elements, which is too many to compute")
    return types


def table(*rows: Op) -> dict[str, Op]:
    """Rows by name. Raises ValueError when a name comes twice."""
    found: dict[str, Op] = {}
    for row in rows:
        if row.name in found:
            raise ValueError(f"operator {row.name} is declared twice")
        found[row.name] = row
    return found
