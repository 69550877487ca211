"""How convolutions with channels last share out their results."""

from __future__ import annotations

import pytest

from tilewright.backends.kernels.conv_last import _chunk
from tilewright.backends.kernels.loops import Index, Loops


@pytest.mark.parametrize(
    ("blocks", "tasks_without", "chunk"),
    [(6, None, 1), (12, None, 3), (3, None, 1), (6, 16, 6), (3, 12, 1), (2, 1, 1)],
)
def test_result_channels_are_shared_out_in_small_parts(blocks: int, tasks_without: int | None, chunk: int) -> None:
    places: Index = Loops("conv").dim("places") if tasks_without is None else tasks_without
    assert _chunk(blocks, places) == chunk
