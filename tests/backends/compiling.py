"""Compiles small graphs, and compares what they give with the interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tilewright.backends import CompiledModel, compile_graph, parse_target
from tilewright.ir import Array, Graph, TensorType, Value, input_value, tensor
from tilewright.ir.dims import symbols_of
from tilewright.ir.interpret import run
from tilewright.ir.op import Kind
from tilewright.ir.types import FLOATS
from tilewright.passes.fuse import fuse

TARGET = parse_target("llvm -mcpu=native")
EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
NARROW = ("float16", "bfloat16")  # computed in float32: off by one rounding at most
ULPS, ULPS_OF_SUMS = 16, 64


def compiled(graph: Graph, *, strict: bool = True) -> CompiledModel:
    """The graph, fused and built, for two threads."""
    return compile_graph(fuse(graph), TARGET, threads=2, strict=strict)


def with_sizes(inputs: Sequence[Value]) -> tuple[Value, ...]:
    """`inputs`, and one that nothing reads for the symbolic sizes that none of them plainly has."""
    plain = {str(d) for v in inputs for d in v.shape}
    hidden = sorted(symbols_of(d for v in inputs for d in v.shape) - plain)
    return (*inputs, input_value("sizes", tensor("bool", *hidden))) if hidden else tuple(inputs)


def assert_same(graph: Graph, model: CompiledModel, arrays: Mapping[str, Array]) -> None:
    """The compiled graph gives what the interpreter gives: dtypes, shapes, and values within rounding."""
    found = model.run(arrays)
    for name, value, wanted in zip(graph.output_names, graph.outputs, run(graph, arrays), strict=True):
        assert_close(found[name], wanted, sums=_sums(value), what=name)


def _sums(value: Value) -> bool:
    """Whether a value depends on sums, which may be made in another order."""
    while value.node is not None and value.node.op.kind not in (Kind.REDUCTION, Kind.CONTRACTION):
        if not value.node.inputs:
            return False
        value = value.node.inputs[0]
    return value.node is not None


def assert_close(found: Array, wanted: Array, *, sums: bool = False, what: str = "") -> None:
    """Floats within a few ulp (of the largest element, for sums), everything else exactly."""
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), what
    dtype = found.dtype.name
    if dtype not in FLOATS:
        np.testing.assert_array_equal(found, wanted, err_msg=what)
        return
    ours, theirs = found.astype(np.float64), wanted.astype(np.float64)
    bound = EPSILON[dtype] * (1 if dtype in NARROW else ULPS_OF_SUMS if sums else ULPS)
    largest = np.max(np.abs(theirs), where=np.isfinite(theirs), initial=0.0) if sums else 0.0
    np.testing.assert_allclose(ours, theirs, rtol=bound, atol=bound * largest, err_msg=what)


def drawn(types: Mapping[str, TensorType], sizes: Mapping[str, int], seed: int = 0) -> dict[str, Array]:
    """An array for each type."""
    from tests.strategies import random_array

    generator = np.random.default_rng(seed)
    return {name: random_array(generator, type, dict(sizes)) for name, type in types.items()}
