"""Weights split so that 16 bits hold each two of their products, and how many have to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.ir.op import Array
from tilewright.ir.quads import QUAD, halves, spare_quads

EIGHT_BITS = st.integers(-128, 127)


@given(st.lists(st.tuples(EIGHT_BITS, EIGHT_BITS), min_size=1, max_size=9))
def test_halves_sum_up_and_stay_within_16_bits(pairs: list[tuple[int, int]]) -> None:
    weights = np.array(pairs, np.int8).reshape(-1, 1)
    parts = halves(weights)
    np.testing.assert_array_equal(sum(part.astype(np.int32) for part in parts), weights)
    for part in parts:
        sizes = np.abs(part.astype(np.int32)).reshape(-1, 2).sum(axis=1)
        assert (255 * sizes < 2**15).all()


def test_what_fits_is_not_split() -> None:
    weights = np.array([[127], [1], [-128], [0], [64], [-64], [65], [64]], np.int8)
    assert halves(weights)[1].ravel().tolist() == [0, 0, 0, 0, 0, 0, 32, 32]


def tame(depth: int, columns: int, large: int = 0) -> Array:
    """Weights of which `large` quads overflow, in one column each."""
    random = np.random.default_rng(columns)
    weights = random.integers(-40, 41, (depth, columns)).astype(np.int8)
    for quad in random.choice(depth // QUAD, large, replace=False):
        weights[quad * QUAD : quad * QUAD + 2, random.integers(columns)] = 127, -128
    return weights


@pytest.mark.parametrize("nb", [4, 8, 12, 24, 32, 56, 64])
def test_no_block_has_more_than_are_counted(nb: int) -> None:
    weights = tame(1000, 200, 60)
    counted = spare_quads([weights])
    assert counted is not None
    spare = halves(weights)[1].reshape(-1, QUAD, 200).any(axis=1)
    starts = range(0, 200, nb)
    assert max(int(spare[:, start : start + nb].any(axis=1).sum()) for start in starts) <= counted


def test_they_are_rounded_up_to_a_power_of_two() -> None:
    assert spare_quads([tame(400, 30)]) == 0
    assert spare_quads([tame(400, 30, 1)]) == 8
    assert spare_quads([tame(400, 30, 12), tame(400, 30, 3)]) == 16
    assert spare_quads([tame(1000, 30, 30)]) == 32


def test_too_many_are_not_worth_it() -> None:
    assert spare_quads([tame(400, 30, 13)]) is None
    assert spare_quads([tame(400, 30), tame(8, 30, 1)]) is None
    assert spare_quads([np.full((64, 16), 127, np.int8)]) is None


@pytest.mark.parametrize(("depth", "columns"), [(0, 3), (5, 0), (1, 1), (6, 3)])
def test_odd_shapes(depth: int, columns: int) -> None:
    assert spare_quads([np.ones((depth, columns), np.int8)]) == 0
