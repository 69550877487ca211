"""What a compiled model takes: checks arrays against its inputs, with errors that name the input at fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.backends.expectations import Expectations
from tilewright.backends.program import Port, Program
from tilewright.backends.sizes import Dim, evaluate, symbols
from tilewright.backends.values import Array
from tilewright.ir.errors import InputError
from tilewright.ir.types import boxed, numpy_dtype

_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output as the user sees it; a symbolic size is a text, such as "batch"."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(str(d) for d in self.shape)}]"


def describe(ports: Sequence[Port]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(p.name, p.spec.dtype, p.spec.dims) for p in ports)


class Signature:
    """The inputs of a program."""

    def __init__(self, program: Program) -> None:
        self._expectations = Expectations.of(program)
        self.infos = describe(program.inputs)
        self.names = tuple(info.name for info in self.infos)
        self._named = frozenset(self.names)
        self._dtypes = tuple(numpy_dtype(info.dtype) for info in self.infos)
        self._boxed = tuple(info.dtype == "object" for info in self.infos)
        self._checked: set[tuple[tuple[int, ...], ...]] = set()

    def in_order(self, positional: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """One value an input. Raises InputError for missing, unknown or doubly given ones."""
        if not named and len(positional) == len(self.names):
            return list(positional)
        if not positional and named.keys() == self._named:
            return [named[name] for name in self.names]
        if len(positional) > len(self.names):
            raise InputError(f"The model takes {len(self.names)} inputs ({self._list()}), not {len(positional)}.")
        given = dict(zip(self.names, positional, strict=False))
        unknown, twice = [n for n in named if n not in self.names], [n for n in named if n in given]
        missing = [n for n in self.names if n not in given and n not in named]
        if unknown or twice or missing:
            faults = (("unknown", unknown), ("given twice", twice), ("missing", missing))
            said = "; ".join(f"{what}: {', '.join(names)}" for what, names in faults if names)
            raise InputError(f"The inputs do not fit the model's ({self._list()}): {said}.")
        given.update(named)
        return [given[name] for name in self.names]

    def _list(self) -> str:
        return ", ".join(str(info) for info in self.infos) or "none"

    def arrays(self, values: Sequence[Any]) -> list[Array]:
        """The values as arrays of the right dtype. Numbers and lists are converted, arrays of another dtype refused."""
        arrays = [self._array(i, value) for i, value in enumerate(values)]
        shapes = tuple(a.shape for a in arrays)
        if shapes not in self._checked:
            self._check(shapes)
            if len(self._checked) == _REMEMBERED:
                self._checked.clear()
            self._checked.add(shapes)
        return arrays

    def _array(self, index: int, value: Any) -> Array:
        dtype = self._dtypes[index]
        if self._boxed[index]:
            return boxed(value)
        if not isinstance(value, np.ndarray | np.generic):
            return np.asarray(value, dtype)
        if value.dtype != dtype:
            info = self.infos[index]
            raise InputError(
                f"The input '{info.name}' has dtype {value.dtype}; the model takes {info}.",
                hint=f"Convert it with .astype('{info.dtype}')",
            )
        return np.asarray(value)

    def _check(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Every size fits, and sizes with the same symbol are equal. Raises InputError."""
        sizes: dict[str, tuple[int, str]] = {}
        for info, shape in zip(self.infos, shapes, strict=True):
            if len(shape) != len(info.shape):
                raise InputError(f"The input '{info.name}' has {len(shape)} axes, {list(shape)}; it must be {info}.")
            for dim, size in zip(info.shape, shape, strict=True):
                if isinstance(dim, str) and dim.isidentifier():
                    self._bind(info, dim, size, sizes)
        known = {name: size for name, (size, _) in sizes.items()}
        for info, shape in zip(self.infos, shapes, strict=True):
            for axis, (dim, size) in enumerate(zip(info.shape, shape, strict=True)):
                if symbols([dim]) <= set(known) and evaluate(dim, known) != size:
                    raise InputError(
                        f"The input '{info.name}' has shape {list(shape)}; its axis {axis} must be "
                        f"{evaluate(dim, known)}: the model takes {info}."
                    )
        self._expectations.check(known)

    def _bind(self, info: TensorInfo, dim: str, size: int, sizes: dict[str, tuple[int, str]]) -> None:
        if size < 1:
            raise InputError(f"The size '{dim}' of the input '{info.name}' is {size}; it must be at least 1.")
        known, where = sizes.setdefault(dim, (size, info.name))
        if known != size:
            raise InputError(
                f"The size '{dim}' is {known} in the input '{where}' but {size} in '{info.name}'; they must be equal."
            )
