"""Random inputs that suit a model: ids within their tables, masks of ones, pictures, sizes that it may well take."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tilewright.backends.signature import TensorInfo
from tilewright.backends.sizes import evaluate, symbols
from tilewright.ir.errors import InputError
from tilewright.ir.graph import Graph, Node, Value
from tilewright.ir.op import Array
from tilewright.ir.types import FLOATS, HELD, INTEGERS, numpy_dtype

Sizes = Mapping[str, int]
Limits = Mapping[str, int]

# Integer values pass through these unchanged on their way to the operator that gives them a meaning.
CARRIERS = frozenset("cast reshape transpose expand slice concat split where minimum maximum".split())
LOOKUPS = ("gather", "gather_elements")
DEFAULT_LIMIT = 2  # zeros and ones are safe where nothing says what an integer input means


class Choice(NamedTuple):
    """Sizes for symbols by where they stand: the first axis, the last two of four (pictures), any other."""

    batch: int
    height: int
    width: int
    other: int


# Networks with strides want multiples of 32. Other axes count tokens, frames or samples.
CHOICES = (
    Choice(1, 64, 96, 16),
    Choice(2, 96, 64, 33),
    Choice(3, 64, 64, 9),
    Choice(1, 32, 320, 64),
    Choice(1, 320, 320, 128),
    Choice(1, 48, 192, 512),
    Choice(1, 224, 224, 1600),
)
LONGEST_OF_VOLUMES = 64
SEQUENCES = 5  # of a quantized recurrent layer, if several: each has a thread, and so a scale, of its own
LARGEST_INPUT = 1 << 26  # elements: sizes that make more are not tried after the first
MOST_BAKED = 16
LARGEST_BAKED = 1024


def suited_choices(graph: Graph) -> tuple[Choice, ...]:
    """Sizes to try; where there are quantized recurrent layers, batches of one sequence or of `SEQUENCES` at least."""
    if not any(node.op.name == "quantized_lstm" for node in graph.nodes):
        return CHOICES
    return tuple(c if c.batch == 1 else c._replace(batch=max(c.batch, SEQUENCES)) for c in CHOICES)


def baked_choices(graph: Graph) -> Iterator[Choice]:
    """Sizes that the model computes with: some models take no other, though they say that theirs are dynamic."""
    if all(isinstance(d, int) for value in graph.inputs for d in value.shape):
        return
    dims = Counter(d for node in graph.nodes for r in node.results for d in r.shape if isinstance(d, int))
    likely = [size for size, _ in dims.most_common() if 1 < size <= LARGEST_BAKED]
    for size in likely[:MOST_BAKED]:
        yield Choice(1, size, size, size)


def few_sequences(graph: Graph) -> frozenset[str]:
    """The symbols that are the number of sequences of a quantized recurrent layer, wherever they are."""
    batches = (node.inputs[0].shape[1] for node in graph.nodes if node.op.name == "quantized_lstm")
    return frozenset(str(batch) for batch in batches)


def size_choices(
    ports: Sequence[TensorInfo], choices: Iterable[Choice] = CHOICES, few: Collection[str] = ()
) -> Iterator[dict[str, int]]:
    """Sizes for the symbols of `ports`, the likeliest to be accepted first; without symbols one empty choice.

    Those of `few` are at most `SEQUENCES`.
    """
    if not symbols(d for port in ports for d in port.shape):
        yield {}
        return
    for number, choice in enumerate(choices):
        sizes: dict[str, int] = {}
        for port in ports:
            for axis, dim in enumerate(port.shape):
                for name in symbols([dim]):
                    size = _size(choice, axis, port.shape)
                    sizes.setdefault(name, min(size, SEQUENCES) if name in few else size)
        if not number or all(math.prod(evaluate(d, sizes) for d in p.shape) <= LARGEST_INPUT for p in ports):
            yield sizes


def _size(choice: Choice, axis: int, shape: Sequence[int | str]) -> int:
    """The batch is the first axis; the second of a recurrent state [layers, batch, width]. Volumes are small."""
    rank = len(shape)
    if rank == 4:
        return (choice.batch, 3, choice.height, choice.width)[axis]
    if rank > 4:
        return (choice.batch, 3)[axis] if axis < 2 else min(choice.other, LONGEST_OF_VOLUMES)
    is_state = rank == 3 and axis == 1 and isinstance(shape[0], int) and isinstance(shape[2], int)
    return choice.batch if is_state or (axis == 0 and rank > 1) else choice.other


def random_inputs(
    ports: Sequence[TensorInfo], sizes: Sizes, rng: np.random.Generator, limits: Limits | None = None
) -> dict[str, Array]:
    """One random array for each of `ports`. Raises KeyError for a symbol that `sizes` lacks.

    `limits`: one more than the greatest integer that may be fed to a port, by its name.
    """
    known = limits or {}
    return {p.name: _draw(p, tuple(evaluate(d, sizes) for d in p.shape), known.get(p.name), rng) for p in ports}


def _draw(port: TensorInfo, shape: tuple[int, ...], limit: int | None, rng: np.random.Generator) -> Array:
    dtype = numpy_dtype(port.dtype)
    if "mask" in port.name.lower():
        return np.ones(shape, dtype)
    if port.dtype == "string":
        return np.full(shape, "text", dtype)
    if port.dtype == "object":
        hint = "Give inputs with inputs={name: value}, or compile with check=False"
        raise InputError(f"the input '{port.name}' is no tensor, so that none can be drawn", hint=hint)
    if port.dtype in HELD:
        return rng.integers(0, 2, shape).astype(np.float32).astype(dtype)
    if _is_picture(port.dtype, shape):
        pictures = _pictures(shape, rng)
        return (pictures if port.dtype in FLOATS else (pictures + 1) * 127).astype(dtype)
    if port.dtype in FLOATS:
        return rng.standard_normal(shape).astype(dtype)
    if port.dtype == "bool":
        return rng.integers(0, 2, shape).astype(dtype)
    return _integers(dtype, shape, limit, rng)


def _integers(dtype: np.dtype[Any], shape: tuple[int, ...], limit: int | None, rng: np.random.Generator) -> Array:
    """Below `limit`; where there is none, all that 8 bits hold, as they are quantized numbers or raw bytes."""
    info = np.iinfo(dtype)
    if limit is None and dtype.itemsize == 1:
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    return rng.integers(0, min(limit or DEFAULT_LIMIT, int(info.max)), shape).astype(dtype)


def _is_picture(dtype: str, shape: tuple[int, ...]) -> bool:
    """[batch, channels, height, width], or channels last, with one or three of them."""
    return dtype in (*FLOATS, "uint8") and len(shape) == 4 and (shape[1] in (1, 3) or shape[3] in (1, 3))


def _pictures(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Pages of something like text, with noise: numbers from -1 to 1.

    White noise would not do: a network that looks for something gives next to nothing where there is nothing.
    """
    channels_first = shape[1] in (1, 3)
    count, channels = shape[0], shape[1 if channels_first else 3]
    height, width = shape[2:] if channels_first else shape[1:3]
    pages = np.stack([_page(height, width, rng) for _ in range(count)]) if count else np.empty((0, height, width))
    tinted = pages[:, None] * rng.uniform(0.8, 1.0, (count, channels, 1, 1))
    noisy = np.clip(tinted + 0.03 * rng.standard_normal(tinted.shape), -1, 1)
    return np.moveaxis(noisy, 1, 1 if channels_first else 3)


def _page(height: int, width: int, rng: np.random.Generator) -> Array:
    """Lines of dark letters on light paper that darkens to one corner: float64[height, width]."""
    down, across = rng.uniform(0, 0.3, 2)
    page: Array = 0.9 - down * np.linspace(0, 1, height)[:, None] - across * np.linspace(0, 1, width)
    size = max(4, min(24, height // 3))  # of a letter
    for top in range(size // 2, height - size // 2, 2 * size):
        for left in range(size // 2, width - size // 2, size):
            if rng.random() < 0.85:  # the rest are the gaps between words
                _write_letter(page[top : top + size, left : left + 3 * size // 4], rng)
    return page


def _write_letter(area: Array, rng: np.random.Generator) -> None:
    """One upright and two crossing strokes."""
    ink, stroke = rng.uniform(-1, -0.6), max(1, area.shape[0] // 6)
    left = rng.integers(0, area.shape[1])
    area[:, left : left + stroke] = ink
    for top in rng.integers(0, area.shape[0], 2):
        area[top : top + stroke] = ink


def index_limits(graph: Graph) -> dict[str, int]:
    """For each integer input that is used as an index: the size of the smallest table that it indexes."""
    found = {v.name: list(_limits(graph, v)) for v in graph.inputs if v.dtype in INTEGERS}
    return {name: min(limits) for name, limits in found.items() if limits}


def _limits(graph: Graph, value: Value) -> Iterator[int]:
    pending, seen = [value], {value}
    while pending:
        current = pending.pop()
        for node in graph.readers.get(current, ()):
            yield from _limit_by(node, current)
            fresh = [r for r in node.results if node.op.name in CARRIERS and r not in seen]
            seen.update(fresh)
            pending.extend(fresh)


def _limit_by(node: Node, value: Value) -> Iterator[int]:
    """What `node` says about the integers of `value`, which it reads."""
    if node.op.name in LOOKUPS and node.inputs[1] is value:
        size = node.inputs[0].shape[node.attrs["axis"]]
        yield from [size] if isinstance(size, int) else []
    elif node.op.name == "equal":
        # Compared with 0, 1, 2, ... ids become one-hot vectors, with as many classes as the other side has elements.
        yield from (int(o.data.max()) + 1 for o in node.inputs if o.data is not None and o.data.size > 1)
