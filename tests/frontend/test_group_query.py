"""GroupQueryAttention against onnxruntime: prompts, single tokens, chunks, with caches that fit and longer ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir.interpret import run
from tilewright.ir.op import Array

# batch, new keys, length of the cache, total length, number of keys in each of the batch
CALLS = (
    (2, 5, 6, 5, (4, 2)),
    (2, 1, 7, 8, (8, 8)),
    (1, 3, 4, 7, (7,)),
    (2, 1, 7, 8, (8, 6)),
    (1, 4, 9, 4, (4,)),
    (2, 1, 16, 8, (8, 6)),
)
TABLES = ("float[32, 8] c, float[32, 8] d", 'c, d, "", "", ""')
VARIANTS = {
    "": ("float[1] c", ""),
    "local_window_size = 3": ("float[1] c", ""),
    "softcap = 0.5, scale = 0.3": ("float[1] c", ""),
    "smooth_softmax = 1": ("float[1] c", ""),
    "do_rotary = 1": TABLES,
    "do_rotary = 1, rotary_interleaved = 1": TABLES,
    "scale = 0.25": ("float[1, 1, s, t] c", '"", "", "", c'),
    "scale = 0.2": ("float[4] c", '"", "", "", "", c'),
}


def text(attributes: str) -> str:
    """Four heads of the query for two of the key, 16 wide; the total length is the size of z."""
    declared, more = VARIANTS[attributes]
    attributes = f", {attributes}" if attributes else ""
    return (
        "(float[n, s, 64] q, float[n, s, 32] k, float[n, s, 32] v, float[n, 2, p, 16] a, float[n, 2, p, 16] b, "
        f"int32[n] l, int32[t] z, {declared}) => (float[] y, float[] e, float[] f) <int64 zero = {{0}}> "
        "{ h = Shape(z) i = Gather(h, zero) t = Cast <to = 6> (i) y, e, f = com.microsoft.GroupQueryAttention "
        f"<num_heads = 4, kv_num_heads = 2{attributes}> (q, k, v, a, b, l, t{', ' + more if more else ''}) }}"
    )


def arrays(attributes: str, call: tuple[int, int, int, int, Sequence[int]]) -> dict[str, Array]:
    n, s, p, total, counts = call
    shapes = {"q": (n, s, 64), "k": (n, s, 32), "v": (n, s, 32), "a": (n, 2, p, 16), "b": (n, 2, p, 16)}
    extra = VARIANTS[attributes][0]
    shapes |= {"c": (1, 1, s, total)} if "s, t" in extra else {"c": (4,)} if "[4]" in extra else {"c": (1,)}
    shapes |= {"c": (32, 8), "d": (32, 8)} if "d" in extra else {}
    random = np.random.default_rng(0)
    drawn: dict[str, Array] = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {**drawn, "l": np.array(counts, np.int32) - 1, "z": np.zeros(total, np.int32)}


def assert_same(ours: Sequence[Array], theirs: Sequence[Array], counts: Sequence[int]) -> None:
    """Beyond its number of keys nothing in a cache means anything, nor do the results of padding."""
    for mine, wanted in zip(ours, theirs, strict=True):
        assert mine.shape == wanted.shape
        for i, count in enumerate(counts):
            rows = (slice(count),) if mine.ndim == 3 else (slice(None), slice(count))
            np.testing.assert_allclose(mine[i][rows], wanted[i][rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attributes", VARIANTS)
def test_agrees_with_onnxruntime(attributes: str) -> None:
    imported = read(model(text(attributes), domains={"com.microsoft": 1}))
    for call in CALLS:
        given = arrays(attributes, call)
        feed = {value.name: given[value.name] for value in imported.graph.inputs}
        assert_same(run(imported.graph, feed), imported.original(feed), call[-1])


def test_compiles() -> None:
    source = model(text("do_rotary = 1"), domains={"com.microsoft": 1})
    compiled, original = tw.compile(source, check=False, strict=True), read(source).original
    for call in CALLS:
        given = arrays("do_rotary = 1", call)
        feed = {info.name: given[info.name] for info in compiled.inputs}
        assert_same(list(compiled.run(feed).values()), original(feed), call[-1])
