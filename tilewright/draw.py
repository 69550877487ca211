"""Random inputs that suit a model: ids within their tables, masks of ones, images, sizes that the model accepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tilewright.ir import dims
from tilewright.ir.graph import Graph, Value
from tilewright.ir.op import Array
from tilewright.ir.types import FLOATS, numpy_dtype

# Integer values pass through these unchanged on their way to the operator that gives them a meaning.
CARRIERS = frozenset("cast reshape transpose expand slice concat where minimum maximum fused".split())
DEFAULT_IDS = 2  # zeros and ones are safe where nothing says what an integer input means
Sizes = Mapping[str, int]


def draw_inputs(graph: Graph, sizes: Sizes, rng: np.random.Generator) -> dict[str, Array]:
    """One random array for each input of `graph`, at the given sizes of its symbols."""
    return {v.name: _draw(graph, v, tuple(dims.evaluate(d, sizes) for d in v.shape), rng) for v in graph.inputs}


def _draw(graph: Graph, value: Value, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    dtype = numpy_dtype(value.dtype)
    if "mask" in value.name.lower():
        return np.ones(shape, dtype)
    if value.dtype in FLOATS:
        return rng.standard_normal(shape).astype(dtype)
    if value.dtype == "bool":
        return rng.integers(0, 2, shape).astype(dtype)
    if value.dtype == "string":
        return np.full(shape, "text", dtype=object)
    return rng.integers(0, id_limit(graph, value), shape).astype(dtype)


def id_limit(graph: Graph, value: Value) -> int:
    """One more than the greatest integer that may be fed to `value`: the size of the smallest table that it indexes."""
    limits = list(_limits(graph, value))
    return min(limits) if limits else DEFAULT_IDS


def _limits(graph: Graph, value: Value) -> Iterator[int]:
    pending, seen = [value], {value}
    while pending:
        current = pending.pop()
        for node in graph.readers.get(current, ()):
            if node.op.name in ("gather", "gather_elements") and node.inputs[1] is current:
                size = node.inputs[0].shape[node.attrs["axis"]]
                yield from [size] if isinstance(size, int) else []
            elif node.op.name == "equal":
                yield from _classes(node.inputs, current)
            elif node.op.name in CARRIERS:
                fresh = [r for r in node.results if r not in seen]
                seen.update(fresh)
                pending.extend(fresh)


def _classes(inputs: tuple[Value, ...], value: Value) -> Iterator[int]:
    """Comparing ids with 0, 1, 2, ... is a one-hot encoding: as many classes as the other side has elements."""
    for other in inputs:
        if other is not value and other.data is not None and other.data.size > 1:
            yield int(other.data.max()) + 1


def size_choices(graph: Graph) -> Iterator[dict[str, int]]:
    """Sizes for the symbols of the inputs, the likeliest to be accepted first.

    Batches are small; images are multiples of 32, as networks with strides want them; other axes are short.
    """
    for batch, image, other in ((1, 64, 16), (2, 96, 32), (3, 64, 9), (1, 128, 64), (1, 32, 128), (1, 224, 1)):
        sizes: dict[str, int] = {}
        for value in graph.inputs:
            for axis, dim in enumerate(value.shape):
                for name in dims.symbols_of([dim]):
                    sizes.setdefault(name, batch if axis == 0 else image if value.rank == 4 else other)
        yield sizes
        if not sizes:
            return
