"""Winograd's minimal filtering F(4 x 4, 3 x 3): its points, and weights transformed for it. Imports no TVM.

Along an axis, 4 results by 3 taps need 6 products, as the method of Toom and Cook, transposed, finds them: the taps are
taken for the coefficients of a polynomial, whose values at 6 points are multiplied. The points are 0, then p and -p for
each p in `POINTS`, then infinity; this is also the order in which they lie in memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tilewright.backends.values import aligned_empty

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

TAPS = 3
POINTS = (11 / 16, 3 / 2)
"""They let the variance of the rounding errors of sums grow by 7.5 in the worst result, where the usual 1 and 2 make it
31; no other multiples of 1/16 are much better. The constants of the transforms are exact in float32."""
SIZE = 2 * len(POINTS)
SIDE = SIZE + TAPS - 1


def polynomial(roots: Sequence[float]) -> list[float]:
    """The coefficients of the product of x - r over all roots r, the constant first."""
    coefficients = [1.0]
    for root in roots:
        raised = [0.0, *coefficients]
        coefficients = [a - root * b for a, b in zip(raised, [*coefficients, 0.0], strict=True)]
    return coefficients


def weight_transform() -> Array:
    """[SIDE, TAPS] float64: what makes values at the points of taps, scaled as the interpolation wants it."""
    finite = [0.0, *(x for p in POINTS for x in (p, -p))]
    rows = [np.array([1, x, x * x]) / math.prod(x - other for other in finite if other != x) for x in finite]
    return np.stack([*rows, np.array([0, 0, 1])])


def pack_winograd(weights: Array, columns: int) -> Array:
    """[O, C, 3, 3] -> [ceil(O / columns), SIDE**2, C, columns], the last block padded with zeros.

    Computed in float64, rounded to the dtype of the weights.
    """
    outputs, channels = weights.shape[:2]
    transform = weight_transform()
    packed = aligned_empty(packed_winograd_shape(outputs, channels, columns), weights.dtype)
    for block, first in zip(packed, range(0, outputs, columns), strict=True):
        part = weights[first : first + columns].astype(np.float64)
        transformed = np.einsum("ai,bj,ocij->abco", transform, transform, part, optimize=True)
        block[..., : len(part)] = transformed.reshape(SIDE**2, channels, len(part))
        block[..., len(part) :] = 0
    return packed


def packed_winograd_shape(outputs: int, channels: int, columns: int) -> tuple[int, ...]:
    """The shape of what `pack_winograd` makes."""
    return (-(-outputs // columns), SIDE**2, channels, columns)
