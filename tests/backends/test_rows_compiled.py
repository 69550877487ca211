"""Every row of the table, compiled: each of its samples gives what the row's reference gives."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tests.backends.compiling import assert_same, compiled
from tests.strategies import random_array
from tilewright.ir import Array, Graph, Op, TensorType, Value, apply_op, input_value, tensor, type_of
from tilewright.ir.errors import BuildError
from tilewright.ir.op import Kind, Sample
from tilewright.ir.ops import TABLE

SIZES = (
    {"n": 3, "m": 2, "s": 4, "t": 7, "h": 5, "w": 6, "p": 8, "q": 9},
    {"n": 17, "m": 3, "s": 16, "t": 33, "h": 15, "w": 19, "p": 1, "q": 2},
)
NUMBERED = "{}.{}"  # sample and place


def _is_compiled(row: Op) -> bool:
    return row.kind is Kind.SERIAL or (row.compute is not None and row.kind is not Kind.OPAQUE)


COMPILED = [row for row in TABLE.values() if _is_compiled(row)]
STEPS = [TABLE[name] for name in ("with_sizes", "expect", "if", "loop")]  # of the program: neither kernels nor host
ON_THE_HOST = [r for r in TABLE.values() if r.compute is None and r.kind is Kind.OPAQUE and r not in STEPS]


def _inputs(sample: Sample, number: int) -> list[Value]:
    types = [x if isinstance(x, TensorType) else type_of(x) for x in sample.inputs]
    return [input_value(f"x{number}_{i}", type) for i, type in enumerate(types)]


def _graph(row: Op, samples: Sequence[Sample]) -> Graph:
    """The row's samples side by side. Inputs that nothing reads give the symbolic sizes."""
    inputs = [input_value(f"size_{name}", tensor("bool", name)) for name in SIZES[0]]
    outputs: list[Value] = []
    names: list[str] = []
    for number, sample in enumerate(samples):
        own = _inputs(sample, number)
        results = apply_op(row.name, *own, source=f"sample {number}", **sample.attrs)
        inputs += own
        outputs += results
        names += [NUMBERED.format(number, i) for i in range(len(results))]
    return Graph(tuple(inputs), tuple(outputs), tuple(names))


def _arrays(row: Op, samples: Sequence[Sample], sizes: Mapping[str, int]) -> dict[str, Array]:
    generator = np.random.default_rng(zlib.crc32(row.name.encode()))
    arrays = {f"size_{name}": np.zeros(size, dtype=bool) for name, size in sizes.items()}
    for number, sample in enumerate(samples):
        for i, x in enumerate(sample.inputs):
            drawn = random_array(generator, x, dict(sizes)) if isinstance(x, TensorType) else x
            arrays[f"x{number}_{i}"] = drawn
    return arrays


@pytest.mark.parametrize("row", COMPILED, ids=lambda row: row.name)
def test_compiled_row_is_its_reference(row: Op) -> None:
    samples = row.samples()
    graph = _graph(row, samples)
    model = compiled(graph)
    for sizes in SIZES:
        assert_same(graph, model, _arrays(row, samples, sizes))


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_step_is_its_reference(row: Op) -> None:
    for sample in row.samples():
        graph = _graph(row, [sample])
        assert_same(graph, compiled(graph), _arrays(row, [sample], SIZES[0]))


@pytest.mark.parametrize("row", ON_THE_HOST, ids=lambda row: row.name)
def test_row_without_kernel_runs_on_the_host(row: Op) -> None:
    samples = row.samples()
    graph = _graph(row, samples)
    model = compiled(graph, strict=False)
    for sizes in SIZES:
        assert_same(graph, model, _arrays(row, samples, sizes))
    report = model.report(_arrays(row, samples, SIZES[0]), repeats=1)
    assert {source for line in report.host_rows() for source in line.sources} == {s.source for s in graph.nodes}


@pytest.mark.parametrize("row", ON_THE_HOST, ids=lambda row: row.name)
def test_strict_refuses_what_runs_on_the_host(row: Op) -> None:
    with pytest.raises(BuildError, match=f"{row.name} \\(sample 0\\)"):
        compiled(_graph(row, row.samples()))
