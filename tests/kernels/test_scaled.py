"""Matrices that are 8-bit integers times a scale for each column: found exactly, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.built import Array, normal
from tilewright.backends.kernels.packing import pack_b
from tilewright.backends.kernels.scaled import ROWS_OF_SCALES, column_scales, is_worth_scaling, pack_scaled_b

SCALE = st.floats(2.0**-60, 2.0**60, width=32)


def quantized(depth: int, columns: int, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    scales = np.exp(random.uniform(-9, 0, columns)).astype(np.float32)
    return random.integers(-128, 128, (depth, columns)).astype(np.float32) * scales


ROW = st.lists(st.integers(-128, 127), min_size=5, max_size=5)


@given(st.lists(ROW, min_size=1, max_size=20), st.lists(SCALE, min_size=5, max_size=5))
def test_the_numbers_are_the_same_to_the_last_bit(integers: list[list[int]], scales: list[float]) -> None:
    matrix = np.array(integers, np.float32) * np.array(scales, np.float32)
    found = column_scales(matrix)
    assert found is not None
    again = np.rint(matrix / found).astype(np.int8).astype(np.float32) * found
    np.testing.assert_array_equal(again, matrix)


@pytest.mark.parametrize("value", [1.0 + 2.0**-23, 1 / 3, np.inf, np.nan, 1e-45])
def test_one_other_number_is_enough_to_decline(value: float) -> None:
    matrix = quantized(300, 7)
    assert column_scales(matrix) is not None
    matrix[250, 3] = value
    assert column_scales(matrix) is None


def test_unsigned_weights_of_more_than_eight_bits_with_sign_are_declined() -> None:
    assert column_scales(np.array([[255.0], [-3.0], [2.0]], np.float32)) is None


def test_columns_whose_largest_integers_are_small() -> None:
    integers = np.random.default_rng(0).integers(-3, 4, (2000, 40)).astype(np.float32)
    matrix = integers * np.linspace(0.1, 1, 40, dtype=np.float32)
    found = column_scales(matrix)
    assert found is not None
    np.testing.assert_array_equal(np.rint(matrix / found) * found, matrix)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_columns_of_nothing_but_what_is_not_finite(value: float) -> None:
    matrix = quantized(300, 7)
    matrix[:, 3] = 0
    matrix[5, 3] = value
    assert column_scales(matrix) is None
    matrix[:, 3] = value
    assert column_scales(matrix) is None


def test_columns_of_zeros() -> None:
    found = column_scales(np.zeros((3, 2), np.float32))
    assert found is not None
    assert found.tolist() == [1, 1]


def test_only_large_matrices_are_worth_it() -> None:
    assert is_worth_scaling(quantized(512, 256))
    assert not is_worth_scaling(quantized(64, 64))
    assert not is_worth_scaling(normal(512, 256))
    assert not is_worth_scaling(quantized(512, 256).astype(np.float64))


def test_packed() -> None:
    matrix = quantized(9, 20)
    packed = pack_scaled_b(matrix, 16)
    scales = packed[:, :ROWS_OF_SCALES].reshape(2, -1).view(np.float32)
    np.testing.assert_array_equal(packed[:, ROWS_OF_SCALES:] * scales[:, None], pack_b(matrix, 16))
