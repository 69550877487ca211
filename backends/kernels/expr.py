"""The namespace that operator rows compute with: tensors as functions from indices to TIR expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tvm import tirx

from tilewright.backends.kernels.loops import Buffer, Expr, Index, const, index
from tilewright.backends.kernels.scalars import Scalars
from tilewright.backends.kernels.sizes import size_expr
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value

Reader = Callable[..., Expr]
Term = Callable[[tuple[Index, ...], tuple[Index, ...]], Expr]
Extents = Sequence[Index] | Callable[[Sequence[Index]], Sequence[Index]]


class Tensor:
    """`shape`, `dtype`, and a value at every index: `x(i, j)`. How it is read may be bound later, and bound again."""

    def __init__(self, shape: Sequence[Index], dtype: str, reader: Reader | None = None) -> None:
        self.shape, self.dtype, self._reader = tuple(shape), dtype, reader

    def __call__(self, *indices: Index) -> Expr:
        """The element. Raises ValueError for a wrong number of indices, or if a rule has yet to place this tensor."""
        if len(indices) != len(self.shape):
            raise ValueError(f"a tensor with {len(self.shape)} axes was given {len(indices)} indices")
        if self._reader is None:
            raise ValueError("a reduction is read before the schedule rule has made it")
        return self._reader(*(index(i) for i in indices))

    @property
    def is_placed(self) -> bool:
        """Whether it can be read: always, except for a reduction that no rule has made yet."""
        return self._reader is not None

    @property
    def reader(self) -> Reader | None:
        """How elements are read now, to bind it again later."""
        return self._reader

    def bind(self, reader: Reader) -> None:
        """From now on elements are read so."""
        self._reader = reader

    def bind_buffer(self, buffer: Buffer) -> None:
        """From now on elements are loaded from `buffer`, which has this tensor's axes."""
        self.bind(lambda *indices: buffer[indices])


class Reduction(Tensor):
    """Over the reduced indices r: element i is the fold of `term(i, r)`. `kind` is a key of `Scalars.folds`.

    A rule loops over `shape` and `extents`, starts from `initial` and applies `fold`, then binds where the result lies.
    Where elements fold ranges of their own, `extents` is () and `extents_at` has to be asked.
    """

    def __init__(self, b: Scalars, kind: str, shape: Sequence[Index], extents: Extents, dtype: str, term: Term) -> None:
        super().__init__(shape, dtype)
        self._ragged = extents if callable(extents) else None
        self.kind, self.extents, self.term = kind, () if callable(extents) else tuple(extents), term
        self.initial = b.identity(kind, dtype)
        self.fold: Callable[[Expr, Expr], Expr] = b.folds[kind]

    def extents_at(self, place: Sequence[Index]) -> tuple[Index, ...]:
        """How far the element at `place` folds."""
        return self.extents if self._ragged is None else tuple(self._ragged(place))


class ArgReduction(Tensor):
    """The place r in [0, extent) of the best `term(i, (r,))`; `better(new, best)` says when to move to a later place.

    A NaN is better than any number, as in numpy.
    """

    def __init__(
        self, b: Scalars, kind: str, shape: Sequence[Index], extent: Index, dtype: str, term: Term, select_last: bool
    ) -> None:
        super().__init__(shape, dtype)
        self.kind, self.extents, self.term = kind, (extent,), term
        self.better: Callable[[Expr, Expr], Expr] = lambda new, best: b.better(kind, new, best, select_last)


class Namespace(Scalars):
    """What `compute(b, node, *inputs)` gets as `b`.

    `symbols` maps the names of symbolic sizes to int64 expressions. `stages` lists the tensors defined so far, each
    after all that it reads. `let(x)` is x computed once, before the element that is being written.
    """

    def __init__(
        self, symbols: Mapping[str, Expr], let: Callable[[Expr], Expr] = lambda value: value, *, fuses: bool = False
    ) -> None:
        super().__init__(fuses=fuses)
        self._symbols, self.let = symbols, let
        self._sizes: dict[Dim, Expr] = {}
        self.stages: list[Tensor] = []

    @property
    def reductions(self) -> list[Reduction | ArgReduction]:
        """The stages that a rule has to make before they can be read."""
        return [stage for stage in self.stages if isinstance(stage, Reduction | ArgReduction)]

    def dim(self, dim: Dim) -> Index:
        """A size as an int, or an int64 expression."""
        return self._sizes[dim] if dim in self._sizes else size_expr(dim, self._symbols)

    def name_size(self, dim: Dim, name: Callable[[Expr], Expr]) -> None:
        """From now on a composite size is what `name` makes of its expression: a variable, computed once."""
        if not isinstance(dim, int) and not dim.is_Symbol and dim not in self._sizes:
            self._sizes[dim] = name(self.dim(dim))

    def shape(self, value: Value) -> tuple[Index, ...]:
        """The shape of a graph value."""
        return tuple(self.dim(d) for d in value.type.shape)

    def buffer(self, buffer: Buffer, shape: Sequence[Index], dtype: str) -> Tensor:
        """A tensor that lies in memory."""
        tensor = Tensor(shape, dtype)
        tensor.bind_buffer(buffer)
        return tensor

    def tensor_const(self, array: np.ndarray[tuple[int, ...], Any]) -> Tensor:
        """A tiny table as a chain of choices; keep it below 16 elements."""
        entries = [const(v.item(), array.dtype.name) for v in array.ravel()]
        return Tensor(array.shape, array.dtype.name, lambda *indices: _choose(entries, array.shape, indices))

    def stage(self, shape: Sequence[Index], dtype: str, fn: Reader) -> Tensor:
        """A pointwise definition, computed wherever it is read until a rule binds it to a buffer."""
        self.stages.append(stage := Tensor(shape, dtype, fn))
        return stage

    def reduce(self, kind: str, shape: Sequence[Index], extents: Extents, dtype: str, fn: Term) -> Reduction:
        """Folds `fn(idx, ridx)` over `extents`, or over `extents(idx)`; kind is sum, prod, max, min, any or all."""
        self.stages.append(found := Reduction(self, kind, shape, extents, dtype, fn))
        return found

    def argreduce(
        self, kind: str, shape: Sequence[Index], extent: Index, dtype: str, fn: Term, select_last: bool = False
    ) -> ArgReduction:
        """The index of the greatest (kind max) or least (min) `fn(idx, (r,))` for r in [0, extent), as `dtype`."""
        self.stages.append(found := ArgReduction(self, kind, shape, extent, dtype, fn, select_last))
        return found


def _choose(entries: Sequence[Expr], shape: Sequence[int], indices: Sequence[Expr]) -> Expr:
    """entries[indices], in row-major order."""
    place = index(0)
    for size, i in zip(shape, indices, strict=True):
        place = place * size + i
    result = entries[-1]
    for number in reversed(range(len(entries) - 1)):
        result = tirx.Select(tirx.EQ(place, index(number)), entries[number], result)
    return result
