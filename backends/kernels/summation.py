"""Long sums in blocks: products are summed one by one within a block, and the blocks' sums after that.

The error of a sum that is added up one by one grows with its length, that of sums in blocks with the length of a block
and their number (Blanchard, Higham and Mary, "A class of fast and accurate summation algorithms", 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilewright.backends.kernels.loops import Index, ceildiv, minimum
from tilewright.backends.kernels.ranges import product

BLOCK = 256  # steps, about
_WHOLE = 8  # a multiple of so many steps is one of what loops take together


@dataclass(frozen=True)
class Blocks:
    """A sum over `outside`, `within` and a last extent, of which a block has `within` and `length` steps of the last.

    The last extent falls into `pieces`.
    """

    outside: Sequence[Index]
    within: Sequence[Index]
    pieces: Index
    length: Index

    @classmethod
    def of(cls, outer: Sequence[Index], last: Index) -> Blocks | None:
        """The blocks of a sum over these extents; None for one that is short, or may be as its extents are unknown."""
        known = [e for e in (*outer, last) if isinstance(e, int)]
        if not isinstance(last, int) or product(known) < 2 * BLOCK:
            return None
        if last >= 2 * BLOCK:
            pieces = round(last / BLOCK)
            return cls(outer, (), pieces, ceildiv(ceildiv(last, pieces), _WHOLE) * _WHOLE)
        steps, first = last, len(outer)
        while first and steps < BLOCK / 2 and isinstance(size := outer[first - 1], int):
            steps, first = steps * size, first - 1
        return cls(outer[:first], outer[first:], 1, last) if first else None

    def count(self, last: Index, start: Index) -> Index:
        """Steps of the last extent in the piece that begins at `start`."""
        whole = isinstance(last, int) and isinstance(self.length, int) and last % self.length == 0
        return self.length if whole else minimum(self.length, last - start)
