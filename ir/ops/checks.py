"""Checks that the type rules of several operators share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.errors import TypeInferenceError
from tilewright.ir.types import TensorType


@dataclass(frozen=True)
class Assumption:
    """Two sizes that a type rule takes to be equal without a proof. `what` names them."""

    a: Dim
    b: Dim
    what: str


_NOTED: ContextVar[list[Assumption] | None] = ContextVar("noted", default=None)


def assumptions(infer: Callable[[], object]) -> tuple[Assumption, ...]:
    """What the type rules that `infer` calls take for granted: compiled code has to check it when it runs."""
    noted: list[Assumption] = []
    token = _NOTED.set(noted)
    try:
        infer()
    finally:
        _NOTED.reset(token)
    return tuple(noted)


def assume_equal(a: Dim, b: Dim, what: str) -> None:
    """Note, for `assumptions`, that two sizes are taken to be equal, unless that can be proved."""
    noted = _NOTED.get()
    if noted is not None and not dims.equal(a, b):
        noted.append(Assumption(a, b, what))


def require(condition: bool, message: str, hint: str | None = None) -> None:
    """Raise TypeInferenceError with `message` unless `condition` holds."""
    if not condition:
        raise TypeInferenceError(message, hint=hint)


def require_dtype(type: TensorType, allowed: Sequence[str], what: str) -> None:
    require(type.dtype in allowed, f"{what} must be one of {', '.join(allowed)}, not {type.dtype}")


def require_same_dtype(types: Sequence[TensorType]) -> None:
    found = list(dict.fromkeys(t.dtype for t in types))
    require(len(found) == 1, f"the inputs have different element types: {', '.join(found)}", "Insert a cast.")


def require_rank(type: TensorType, rank: int, what: str) -> None:
    require(type.rank == rank, f"{what} must have {rank} axes, not {type.rank}")


def require_axis(axis: int, rank: int) -> None:
    require(0 <= axis < rank, f"axis {axis} is not one of the {rank} axes (counted from 0)")


def require_lengths(rank: int, **attributes: Sequence[object]) -> None:
    """Each attribute must have one entry per axis."""
    for name, entries in attributes.items():
        require(len(entries) == rank, f"{name} has {len(entries)} entries for {rank} axes")


def differ(a: Dim, b: Dim) -> bool:
    """True only where two sizes can be proved to differ for every value of the symbols."""
    if isinstance(a, int) and isinstance(b, int):
        return a != b
    import sympy

    return sympy.expand(sympy.sympify(a) - b).is_zero is False


def require_equal(a: Dim, b: Dim, what: str) -> Dim:
    """The better known of two sizes that must be equal. Raises TypeInferenceError where they provably differ."""
    require(not differ(a, b), f"{what} must be equal, but they are {dims.to_text(a)} and {dims.to_text(b)}")
    assume_equal(a, b, what)
    return b if isinstance(b, int) else a


def require_sizes(sizes: Iterable[Dim], what: str) -> None:
    """Sizes must not be negative where they are known."""
    negative = [size for size in sizes if isinstance(size, int) and size < 0]
    if negative:
        raise TypeInferenceError(f"{what} holds the negative size {negative[0]}")


def index_depth(data: TensorType, indices: TensorType, batch: int) -> int:
    """How many axes of `data` each index names. Raises TypeInferenceError when it is unknown or too great."""
    depth = indices.shape[-1]
    known = isinstance(depth, int) and 1 <= depth <= data.rank - batch
    require(known, f"the last axis of the indices {indices} must name 1 to {data.rank - batch} axes of {data}")
    return int(depth)
