"""Rotary position embeddings, as ONNX and as onnxruntime have them."""

from __future__ import annotations

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.indexing import index_along
from tilewright.frontend.onnx_ops.scaled_product import merge_heads, split_heads
from tilewright.ir import dims
from tilewright.ir.graph import Value


def rotated(c: Call, x: Value, cos: Value, sin: Value, *, interleaved: bool) -> Value:
    """Pairs of channels of x [B, H, S, D] turned by the angles of cos and sin [B or 1, S, R / 2]; D - R stay.

    A pair is a channel of either half, or two neighbours. The partner of each is read by a step backwards along the
    axis that tells the two apart, so that all is one elementwise kernel.
    """
    width = dims.product((2, cos.shape[-1]))
    if dims.equal(width, x.shape[3]):
        return rotated_fully(c, x, cos, sin, interleaved=interleaved)
    if isinstance(width, int) and isinstance(x.shape[3], int) and width > x.shape[3]:
        raise c.malformed(f"rotates {width} of {x.shape[3]} channels")
    turned = rotated_fully(c, c.slice(x, 3, 0, width), cos, sin, interleaved=interleaved)
    rest = c.slice(x, 3, width, dims.sub(x.shape[3], width))
    return c.apply("concat", turned, rest, axis=3)


def rotated_fully(c: Call, x: Value, cos: Value, sin: Value, *, interleaved: bool) -> Value:
    half = cos.shape[-1]
    pair, split = (4, (half, 2)) if interleaved else (3, (2, half))
    signs = np.array([-1, 1]).reshape((2,) if interleaved else (2, 1))
    batch, length = cos.shape[:2]
    angles = (batch, 1, length, half, 1) if interleaved else (batch, 1, length, 1, half)
    parts = c.reshape(x, (*x.shape[:3], *split))
    starts, steps = [0] * 5, [1] * 5
    starts[pair], steps[pair] = 1, -1
    partner = c.apply("slice", parts, starts=tuple(starts), sizes=parts.shape, steps=tuple(steps))
    along = c.apply("mul", parts, c.reshape(cos, angles))
    across = c.apply("mul", c.apply("mul", partner, c.reshape(sin, angles)), c.constant(signs, x.dtype))
    return c.reshape(c.apply("add", along, across), x.shape)


def angles_at(c: Call, table: Value, places: Value) -> Value:
    """Rows of a table [M, R / 2] at places [B, S]."""
    if table.rank != 2 or places.rank != 2:
        raise c.malformed(f"has a table of {table.rank} axes and positions of {places.rank}, instead of 2 each")
    return c.apply("gather", table, places, axis=0)


def rotary_embedding(c: Call) -> Value:
    """Opset 23: without positions the tables are [B, S, R / 2] already."""
    cos, sin, places = c[1], c[2], c.optional(3)
    if places is not None:
        cos, sin = (angles_at(c, table, places) for table in (cos, sin))
    check_width(c, cos, sin)
    return on_heads(c, c[0], c.integer("num_heads", 0), cos, sin)


def check_width(c: Call, cos: Value, sin: Value) -> None:
    width = c.integer("rotary_embedding_dim", 0)
    if cos.rank != 3 or sin.rank != 3:
        raise c.malformed(f"has tables of {cos.rank} and {sin.rank} axes where it has no positions")
    if width and isinstance(cos.shape[2], int) and width != 2 * cos.shape[2]:
        raise c.malformed(f"rotates {width} channels with a table for {2 * cos.shape[2]}")


def on_heads(c: Call, x: Value, heads: int, cos: Value, sin: Value) -> Value:
    """`rotated` for x [B, H, S, D] or [B, S, H * D]."""
    interleaved = c.flag("interleaved")
    if x.rank == 4:
        return rotated(c, x, cos, sin, interleaved=interleaved)
    if x.rank != 3:
        raise c.malformed(f"has an input of {x.rank} axes, not 3 or 4")
    return merge_heads(c, rotated(c, split_heads(c, x, heads), cos, sin, interleaved=interleaved))


def microsoft_rotary_embedding(c: Call) -> Value:
    """Tables [M, R / 2]; one position is that of the first row. Heads left out are as wide as the table says."""
    x, places, cos, sin = (c[i] for i in range(4))
    if c.flag("is_packed_batching"):
        raise c.unsupported("has packed batches, which are not supported yet")
    length = x.shape[-2]
    if places.type.size == 1 and places.rank < 2:
        places = c.apply("add", c.reshape(places, (1, 1)), c.cast(index_along(c, length, 1, 2), places.dtype))
    heads = c.integer("num_heads", 0)
    if x.rank == 3 and not heads:
        heads = c.static(dims.floordiv(x.shape[2], dims.product((2, cos.shape[1]))), "a number of heads")
    cos, sin = (c.cast(angles_at(c, table, places), x.dtype) for table in (cos, sin))
    check_width(c, cos, sin)
    return on_heads(c, x, heads, cos, sin)


TABLE = {"RotaryEmbedding": rotary_embedding, "com.microsoft.RotaryEmbedding": microsoft_rotary_embedding}
