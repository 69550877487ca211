"""Every row of the table against its own samples: types, references and tensor expressions agree."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tests.ir.scalar_namespace import evaluate
from tests.strategies import random_array
from tilewright.ir import Array, Graph, Op, TensorType, Value, apply_op, input_value, tensor, type_of
from tilewright.ir.interpret import run
from tilewright.ir.op import Sample
from tilewright.ir.ops import TABLE
from tilewright.ir.verify import verify

SIZES = {"n": 3, "m": 2, "s": 4, "t": 7, "h": 5, "w": 6, "p": 8, "q": 9}
TOLERANCE = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-5, "float64": 1e-12}


CASES = [
    pytest.param(row, sample, id=f"{name}-{number}")
    for name, row in TABLE.items()
    for number, sample in enumerate(row.samples())
]


def _arrays(row: Op, sample: Sample) -> list[Array]:
    generator = np.random.default_rng(zlib.crc32(row.name.encode()))
    return [random_array(generator, x, SIZES) if isinstance(x, TensorType) else x for x in sample.inputs]


def _graph(row: Op, sample: Sample) -> Graph:
    """The row on its own. The graph's last input, which nothing reads, gives the symbolic sizes."""
    types = [x if isinstance(x, TensorType) else type_of(x) for x in sample.inputs]
    inputs = tuple(input_value(f"x{i}", type) for i, type in enumerate(types))
    return Graph((*inputs, input_value("sizes", tensor("bool", *SIZES))), apply_op(row.name, *inputs, **sample.attrs))


def _run(graph: Graph, arrays: list[Array]) -> tuple[Array, ...]:
    return run(graph, [*arrays, np.zeros(tuple(SIZES.values()), dtype=bool)])


@pytest.mark.parametrize(("row", "sample"), CASES)
def test_reference_agrees_with_inferred_types(row: Op, sample: Sample) -> None:
    graph = _graph(row, sample)
    verify(graph)
    _run(graph, _arrays(row, sample))


@pytest.mark.parametrize(("row", "sample"), CASES)
def test_tensor_expressions_agree_with_reference(row: Op, sample: Sample) -> None:
    if row.compute is None:
        pytest.skip("it has no tensor expression: a schedule rule or the host does it")
    graph, arrays = _graph(row, sample), _arrays(row, sample)
    wanted = _run(graph, arrays)
    found = evaluate(graph.nodes[0], arrays, SIZES)
    for value, ours, theirs in zip(graph.outputs, found, wanted, strict=True):
        _assert_close(value, ours, theirs)


def _assert_close(value: Value, found: Array, wanted: Array) -> None:
    assert found.dtype == wanted.dtype
    tolerance = TOLERANCE.get(value.dtype)
    if tolerance is None:
        np.testing.assert_array_equal(found, wanted)
    else:
        wide = found.astype(np.float64), wanted.astype(np.float64)
        np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("row", TABLE.values(), ids=str)
def test_row_is_documented_and_has_samples(row: Op) -> None:
    assert row.doc.endswith(".")
    assert len(row.samples()) >= 1
