"""How convolutions with channels last share out their results."""

from __future__ import annotations

import pytest

from tilewright.backends.kernels.conv_last_sizes import ConvLast, chunk_of, grid_of
from tilewright.backends.kernels.loops import Index, Loops
from tilewright.backends.kernels.patches import Axis, Block, Grid
from tilewright.backends.kernels.tile import Tile


@pytest.mark.parametrize(
    ("blocks", "tasks_without", "chunk"),
    [(6, None, 1), (12, None, 3), (3, None, 1), (6, 16, 6), (3, 12, 1), (2, 1, 1)],
)
def test_result_channels_are_shared_out_in_small_parts(blocks: int, tasks_without: int | None, chunk: int) -> None:
    places: Index = Loops("conv").dim("places") if tasks_without is None else tasks_without
    assert chunk_of(blocks, places) == chunk


@pytest.mark.parametrize(
    ("conv", "blocks"),
    [
        # one row: it is cut, though one task could read it all
        (ConvLast(1, 1, 36, 1, (Axis(1), Axis(427, 256))), (1, 8)),
        # so little work that a task has 24 places at least, and about 100,000 multiply-adds
        (ConvLast(1, 8, 8, 1, (Axis(1), Axis(300))), (1, 1)),
        # weights that every task would read anew from beyond the cache
        (ConvLast(1, 192, 192, 1, (Axis(1), Axis(62, 3))), (1, 1)),
        # images enough
        (ConvLast(16, 1, 36, 1, (Axis(1), Axis(427, 256))), (1, 1)),
        # rows are cut before columns are
        (ConvLast(1, 8, 48, 1, (Axis(34, 3), Axis(26, 3))), (16, 1)),
    ],
)
def test_places_are_cut_into_enough_tasks(conv: ConvLast, blocks: tuple[int, int]) -> None:
    assert grid_of(Loops("conv"), conv, Tile(8, 48, 16)).blocks == blocks


@pytest.mark.parametrize(("total", "size"), [(172, 15), (7, 3), (8, 4), (5, 8), (1, 1)])
def test_blocks_have_about_as_many_rows_each(total: int, size: int) -> None:
    k = Loops("conv")
    grid = Grid((Axis(total), Axis(4)), size, 4)
    found = [Block.at(k, grid, (i, 0)) for i in range(int(grid.blocks[0]))]
    assert [block.row for block in found] == [sum(int(b.rows) for b in found[:i]) for i in range(len(found))]
    assert sum(int(block.rows) for block in found) == total
    assert max(int(b.rows) for b in found) - min(int(b.rows) for b in found) <= 1
    assert max(int(b.rows) for b in found) <= size
