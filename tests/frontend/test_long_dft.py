"""Fourier transforms that are too long for one matrix."""

from __future__ import annotations

import numpy as np
import pytest

from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir.graph import Graph
from tilewright.ir.interpret import run
from tilewright.ir.op import Array


def _largest_constant(graph: Graph) -> int:
    return max(value.data.size for value in graph.constants if value.data is not None)


def _read(length: int, parts: int, attributes: str) -> Graph:
    text = f"(float[n, {length}, {parts}] x) => (float[] y) {{ y = DFT <{attributes}> (x) }}"
    return read(model(text, 17)).graph


def _drawn(length: int, parts: int) -> Array:
    return np.random.default_rng(0).standard_normal((2, length, parts)).astype(np.float32)


def _complex(x: Array) -> Array:
    return np.asarray(x[..., 0] + 1j * x[..., -1] if x.shape[-1] == 2 else x[..., 0], np.complex128)


@pytest.mark.parametrize(("length", "parts"), [(4096, 2), (6000, 1)])
def test_split(length: int, parts: int) -> None:
    graph, x = _read(length, parts, "axis = 1"), _drawn(length, parts)
    (found,) = run(graph, [x])
    assert _largest_constant(graph) < length * 200
    np.testing.assert_allclose(_complex(found), np.fft.fft(_complex(x)), rtol=1e-4, atol=1e-3)


def test_split_inverse() -> None:
    x = _drawn(4096, 2)
    (found,) = run(_read(4096, 2, "axis = 1, inverse = 1"), [x])
    np.testing.assert_allclose(_complex(found), np.fft.ifft(_complex(x)), rtol=1e-4, atol=1e-6)


def test_split_one_sided() -> None:
    x = _drawn(8192, 1)
    (found,) = run(_read(8192, 1, "axis = 1, onesided = 1"), [x])
    np.testing.assert_allclose(_complex(found), np.fft.rfft(_complex(x).real), rtol=1e-4, atol=1e-3)
