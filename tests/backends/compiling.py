"""Compiles small graphs, and compares what they give with the interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tests.strategies import random_array
from tilewright.backends import CompiledModel, compile_graph, parse_target
from tilewright.backends.target import Target
from tilewright.ir import Array, Graph, Value, constant, input_value, tensor
from tilewright.ir.interpret import run
from tilewright.ir.op import Kind
from tilewright.ir.types import FLOATS, dtype_name
from tilewright.passes import pipeline
from tilewright.passes.fuse import fuse

TARGET = parse_target("llvm -mcpu=native")
EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
ULPS, ULPS_OF_SUMS = 16, 64
NARROW = ("float16", "bfloat16")  # computed in float32, so that the last rounding alone may differ
# They sum up as well, though they are no reductions.
ADDING = ("resize", "cumsum", "scatter_elements", "scatter_nd", "lstm", "quantized_lstm", "gru", "rnn")


def compiled(graph: Graph, target: Target = TARGET, *, strict: bool = True) -> CompiledModel:
    """The graph, fused and built, for two threads."""
    return compile_graph(pipeline.run(graph, (fuse,)), target, threads=2, strict=strict)


def named(outputs: Sequence[Value], inputs: Sequence[Value]) -> Graph:
    return Graph(tuple(inputs), tuple(outputs), tuple(f"y{i}" for i in range(len(outputs))))


def given(**shapes: Sequence[object]) -> list[Value]:
    """Inputs of float32."""
    return [input_value(name, tensor("float32", *shape)) for name, shape in shapes.items()]


def weight(*shape: int) -> Value:
    """Small numbers of both signs, the same each time."""
    size = int(np.prod(shape))
    return constant((np.arange(size) % 13 - 6).reshape(shape) / 7, "float32")


def drawn(graph: Graph, sizes: Mapping[str, int], seed: int = 0) -> dict[str, Array]:
    """An array for each input."""
    generator = np.random.default_rng(seed)
    return {v.name: random_array(generator, v.type, dict(sizes)) for v in graph.inputs}


def assert_same(graph: Graph, model: CompiledModel, arrays: Mapping[str, Array]) -> None:
    """The compiled graph gives what the interpreter gives: dtypes, shapes, and values within rounding."""
    found = model.run(arrays)
    for name, value, wanted in zip(graph.output_names, graph.outputs, run(graph, arrays), strict=True):
        assert_close(found[name], wanted, sums=_adds_up(value), what=name)


def _adds_up(value: Value) -> bool:
    """Whether a value depends on sums, which may be made in another order."""
    node = value.node
    if node is None:
        return False
    added = node.op.kind in (Kind.REDUCTION, Kind.CONTRACTION) or node.op.name in ADDING
    return added or any(map(_adds_up, node.inputs))


def assert_close(found: Array, wanted: Array, *, sums: bool = False, what: str = "") -> None:
    """Floats within a few units in the last place, of the largest element where sums cancel; all else exactly."""
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), what
    dtype = dtype_name(found.dtype)
    if dtype not in FLOATS:
        np.testing.assert_array_equal(found, wanted, err_msg=what)
        return
    ours, theirs = found.astype(np.float64), wanted.astype(np.float64)
    ulps = 1 if dtype in NARROW else ULPS_OF_SUMS if sums else ULPS
    largest = np.max(np.abs(theirs), where=np.isfinite(theirs), initial=0.0)
    absolute = EPSILON[dtype] * largest * (ulps if sums else 1)
    np.testing.assert_allclose(ours, theirs, rtol=EPSILON[dtype] * ulps, atol=absolute, err_msg=what)
