"""Long sums in blocks: products are summed one by one within a block, and the blocks' sums after that.

The error of a sum that is added up one by one grows with its length, that of sums in blocks with the length of a block
and their number (Blanchard, Higham and Mary, "A class of fast and accurate summation algorithms", 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilewright.backends.kernels.loops import TURN, Index, minimum
from tilewright.backends.kernels.ranges import product

BLOCK = 256  # steps, about; at most twice as many


@dataclass(frozen=True)
class Blocks:
    """A sum over `outside`, `within` and a last extent, of which a block has `within` and `length` steps of the last.

    The last extent falls into `pieces`.
    """

    outside: Sequence[Index]
    within: Sequence[Index]
    pieces: int
    length: int

    @classmethod
    def of(cls, outer: Sequence[Index], last: Index) -> Blocks | None:
        """The blocks of a sum over these extents; None for one that is short, or may be as its extents are unknown."""
        known = [e for e in (*outer, last) if isinstance(e, int)]
        if not isinstance(last, int) or product(known) < 2 * BLOCK:
            return None
        if last >= 2 * BLOCK:
            length = -(-last // round(last / BLOCK) // TURN) * TURN  # loops take whole turns
            return cls(outer, (), -(-last // length), length)
        steps, first = last, len(outer)
        while first and isinstance(size := outer[first - 1], int) and steps * size <= 2 * BLOCK:
            steps, first = steps * size, first - 1
        return cls(outer[:first], outer[first:], 1, last) if first else None

    def count(self, last: int, start: Index) -> Index:
        """Steps of the last extent in the piece that begins at `start`."""
        return self.length if last % self.length == 0 else minimum(self.length, last - start)
