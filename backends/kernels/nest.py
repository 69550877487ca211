"""The axes of a kernel with reductions, all over the same axes: which it keeps, which it folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilewright.backends.kernels.expr import ArgReduction, Reduction, Tensor
from tilewright.backends.kernels.loops import Index
from tilewright.backends.kernels.ranges import Indices

Fold = Reduction | ArgReduction


@dataclass(frozen=True)
class Nest:
    """`shape` before the reduction, and the axes that the reductions fold."""

    shape: tuple[Index, ...]
    folded: tuple[int, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(len(self.shape)) if axis not in self.folded)

    @property
    def rows(self) -> Indices:
        """The extents of the kept axes."""
        return tuple(self.shape[axis] for axis in self.kept)

    @property
    def columns(self) -> Indices:
        """The extents of the folded axes."""
        return tuple(self.shape[axis] for axis in self.folded)

    @property
    def folds_innermost(self) -> bool:
        """Whether the elements to fold lie next to each other."""
        return len(self.shape) - 1 in self.folded

    def index(self, row: Sequence[Index], column: Sequence[Index]) -> Indices:
        """The place in `shape`."""
        place: list[Index] = [0] * len(self.shape)
        for axis, i in zip((*self.kept, *self.folded), (*row, *column), strict=True):
            place[axis] = i
        return tuple(place)

    def row_index(self, tensor: Tensor, row: Sequence[Index]) -> Indices:
        """The place in a result of a reduction, which has the kept axes, and perhaps the folded ones with size 1."""
        return tuple(row) if len(tensor.shape) == len(row) else self.index(row, [0] * len(self.folded))

    def column(self, place: Sequence[Index]) -> Indices:
        """The folded part of a place in `shape`."""
        return tuple(place[axis] for axis in self.folded)
