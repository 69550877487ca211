"""Other work between the products of a step on AMX, which take far longer than it.

What it asks for goes to the second-level cache: the first level's few places for lines that are under way are those
through which tiles come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tilewright.backends.kernels.loops import Expr, Index, Loops, index
from tilewright.backends.kernels.packing_pieces import SIDE
from tilewright.backends.kernels.ranges import div_up, named, noted
from tilewright.backends.kernels.tile import Ahead, Tile, ask_ahead

LEVEL = 2  # of the cache

Between = Callable[[Expr, int], None]
"""between(step, slot): what is done in a slot of a step."""


def nothing(step: Expr, slot: int) -> None:
    """For products that have nothing to do meanwhile."""


def in_turns(k: Loops, total: Index, turns: Index) -> Callable[[Index, Callable[[Expr], None]], None]:
    """`share(turn, do)` emits `do(i)` for those of `total` numbers that fall to a turn, of so many."""
    each = named(k, "each", div_up(total, turns))

    def share(turn: Index, do: Callable[[Expr], None]) -> None:
        with k.serial(each, name="i") as i:
            number = noted(k, index(turn * each + i), "number")
            with k.when(number < total):
                do(number)

    return share


def asking(k: Loops, tile: Tile, steps: int, slots: int, ahead: Ahead) -> Between:
    """Asks for a block of results, by `ahead(row, column)` of the block, in so many slots of each of the steps."""
    share, line = in_turns(k, SIDE, steps * slots), replace(tile, rows=1)

    def between(step: Expr, slot: int) -> None:
        share(step * slots + slot, lambda row: ask_ahead(k, line, ahead, row))

    return between
