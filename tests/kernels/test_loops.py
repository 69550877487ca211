"""Loop nests: sizes known late, tails, branches, parallel loops that may stay serial, scratch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.built import Built, hollow, normal
from tilewright.backends.kernels.loops import Expr, Loops, ceildiv, minimum, product, quotient, remainder


def centred_rows(columns: int) -> Loops:
    """y = x - mean of its row, but 0 from column `limit` on; parallel above two rows."""
    k = Loops("centre")
    n, limit = k.dim("n"), k.dim("limit")
    x, y = k.buffer("x", (n, columns)), k.buffer("y", (n, columns))
    with k.parallel(n, worth=n > 2) as i:
        doubled = k.scratch("doubled", (2 * n,))
        k.store(doubled, (i,), 0.0)
        with k.serial(columns) as j:
            k.store(doubled, (i,), doubled[i] + 2.0 * x[i, j])
        mean = k.let("mean", doubled[i] / (2.0 * columns))

        def finish(j: Expr) -> None:
            with k.when(j < limit):
                k.store(y, (i, j), x[i, j] - mean)
            with k.when(j >= limit):
                k.store(y, (i, j), 0.0)

        k.lanes(columns, 16, finish)
    return k


@pytest.mark.parametrize("columns", [5, 16, 70])
def test_rows(columns: int) -> None:
    kernel = Built(centred_rows(columns))
    for n, limit in [(1, columns), (2, 3), (9, columns - 2)]:
        x = normal(n, columns)
        expected = x - x.mean(1, keepdims=True)
        expected[:, limit:] = 0
        np.testing.assert_allclose(kernel(x, hollow(n, columns), limit), expected, atol=1e-5)


def test_branch_and_indices() -> None:
    k = Loops("label")
    a, b = k.dim("a"), k.dim("b")
    y = k.buffer("y", (a, b))
    with k.parallel(a * b, worth=False) as flat:
        i, j = k.indices(flat, (a, b))
        k.branch(i < j, lambda: k.store(y, (i, j), 1.0), lambda: k.store(y, (i, j), 2.0))
    i, j = np.indices((3, 5))
    np.testing.assert_array_equal(Built(k)(hollow(3, 5)), np.where(i < j, 1, 2))


def test_a_known_condition_leaves_no_branch() -> None:
    k = Loops("constant")
    y = k.buffer("y", (1,))
    k.store(y, (0,), 1.0)
    with k.when(False):
        k.store(y, (0,), 2.0)
    assert "if" not in str(k.func())
    assert Built(k)(hollow(1)) == 1


def test_arithmetic_of_known_sizes_stays_known() -> None:
    assert (ceildiv(7, 3), quotient(7, 3), remainder(7, 3), minimum(7, 3), product([7, 3, 2])) == (3, 2, 1, 3, 42)
