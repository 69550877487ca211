"""Comparing graphs by what they compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tilewright.ir import dims
from tilewright.ir.graph import Graph
from tilewright.ir.interpret import run
from tilewright.ir.op import Array
from tilewright.ir.types import FLOATS, TensorType, numpy_dtype

SIZES = {"n": 3, "b": 2, "h": 4, "s": 5, "t": 6, "w": 7}


def draw(type: TensorType, rng: np.random.Generator, sizes: Mapping[str, int] = SIZES) -> Array:
    """A random array: floats around zero, small natural numbers, coin flips."""
    shape = tuple(dims.evaluate(d, sizes) for d in type.shape)
    if type.dtype in FLOATS:
        return rng.standard_normal(shape).astype(numpy_dtype(type.dtype))
    return rng.integers(0, 2, shape).astype(numpy_dtype(type.dtype))


def assert_same_meaning(before: Graph, after: Graph, inputs: Sequence[Array], sizes: Mapping[str, int] = SIZES) -> None:
    """Both graphs give the same, up to 1e-5 of the largest element of each output; NaN and infinity included."""
    assert before.output_names == after.output_names
    with np.errstate(all="ignore"):
        expected, found = run(before, inputs, sizes), run(after, inputs, sizes)
    for name, a, b in zip(before.output_names, expected, found, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape, name
        if a.dtype.kind != "f":
            np.testing.assert_array_equal(a, b, err_msg=name)
            continue
        scale = np.abs(a[np.isfinite(a)]).max(initial=0)
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * scale, err_msg=name)
