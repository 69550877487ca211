"""onnxruntime's weights of few bits, several to a byte, with a scale for each block of them."""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir import dims
from tilewright.ir.graph import Value


def unpacked(c: Call, octets: Value, bits: int) -> Value:
    """The unsigned numbers along the last axis of `octets`, the lowest bits of a byte first, as uint8."""
    if bits == 8:
        return octets
    count = 8 // bits
    shifts = c.constant([bits * i for i in range(count)], "uint8")
    pieces = c.apply("shift_right", c.reshape(octets, (*octets.shape, 1)), shifts)
    numbers = c.apply("bitwise_and", pieces, (1 << bits) - 1)
    return c.reshape(numbers, (*octets.shape[:-1], dims.product((octets.shape[-1], count))))


def checked_bits(c: Call) -> int:
    bits = c.integer("bits", 4)
    if bits not in (2, 4, 8):
        raise c.unsupported(f"has weights of {bits} bits, which is not supported yet")
    return bits


def first(c: Call, x: Value, axis: int, size: dims.Dim) -> Value:
    """The first `size` elements of an axis: the rest was padding."""
    return x if x.shape[axis] == size else c.slice(x, axis, 0, size)


def zero_points(c: Call, zero: Value | None, scales: Value, bits: int) -> Value:
    """One for each scale, as float: packed like the weights, or plain floats; the middle where there are none."""
    if zero is None:
        return c.constant(1 << (bits - 1), scales.dtype)
    if zero.dtype == "uint8":
        rows = zero.rank if zero.rank > 1 else 0
        packed = zero if rows else c.reshape(zero, (*scales.shape[:-1], -(-scales.shape[-1] * bits // 8)))
        return c.cast(first(c, unpacked(c, packed, bits), packed.rank - 1, scales.shape[-1]), scales.dtype)
    return c.cast(c.reshape(zero, scales.shape), scales.dtype)


def matmul_nbits(c: Call) -> Value:
    """A @ transposed weights: B is [N, blocks, bytes of a block], the scales [N, blocks]."""
    bits, block = checked_bits(c), c.integer("block_size", 0)
    columns, depth = c.integer("N", 0), c.integer("K", 0)
    if min(block, columns, depth) < 1:
        raise c.malformed(f"has N = {columns}, K = {depth} and block_size = {block}, which must be positive")
    blocks = -(-depth // block)
    scales = c.reshape(c[2], (columns, blocks))
    octets = c.reshape(c[1], (columns, blocks * block * bits // 8))
    numbers = first(c, c.cast(unpacked(c, octets, bits), scales.dtype), 1, depth)
    spread = blocks_of(c, depth, block)
    zero = zero_points(c, c.optional(3), scales, bits)
    centred = c.apply("sub", numbers, c.apply("gather", zero, spread, axis=1) if zero.rank else zero)
    weights = c.apply("mul", centred, c.apply("gather", scales, spread, axis=1))
    result = c.apply("matmul", c[0], c.cast(c.transpose(weights, (1, 0)), c[0].dtype))
    bias = c.optional(5)
    return result if bias is None else c.apply("add", result, bias)


def blocks_of(c: Call, depth: int, block: int) -> Value:
    """Which block of scales each of `depth` rows has: input `g_idx`, or one after the other."""
    groups = c.optional(4)
    if groups is None:
        return c.constant([d // block for d in range(depth)], "int64")
    return first(c, groups, 0, depth)


def gather_block_quantized(c: Call) -> Value:
    """Rows of bytes, scales and zero points are gathered first, so that only what is asked for is unpacked."""
    data, indices, scales, zero = c[0], c[1], c[2], c.optional(3)
    bits, block = checked_bits(c), c.integer("block_size", 128)
    gathered, blocked = (
        c.axis(c.integer(name, default), data.rank) for name, default in (("gather_axis", 0), ("quantize_axis", 1))
    )
    if data.dtype != "uint8" or blocked != data.rank - 1 or gathered == blocked:
        raise c.unsupported("gathers along its blocks, or has blocks that do not lie along the last axis")

    def rows(x: Value) -> Value:
        return c.apply("gather", x, indices, axis=gathered)

    numbers, factors = c.cast(unpacked(c, rows(data), bits), scales.dtype), rows(scales)
    offset = zero_points(c, None if zero is None else rows(zero), factors, bits)
    last = numbers.rank - 1
    depth = numbers.shape[last]
    place = c.constant([d // block for d in range(c.static(depth, "a size"))], "int64")
    spread = c.apply("gather", factors, place, axis=last)
    centred = c.apply("sub", numbers, c.apply("gather", offset, place, axis=last) if offset.rank else offset)
    return c.apply("mul", centred, spread)


TABLE = {
    "com.microsoft.GatherBlockQuantized": gather_block_quantized,
    "com.microsoft.MatMulNBits": matmul_nbits,
}
