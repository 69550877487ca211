"""Opset 6, where operands were not laid over each other from the last axis on, but along axes that were named."""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir.graph import Value

SINCE = 7  # the opset from which operands broadcast as they do in numpy


def second_operand(c: Call) -> Value:
    """The second of two operands. Before opset 7 its axes may be those of the first one from `axis` on."""
    operand, rank = c[1], len(c[0].shape)
    if c.version >= SINCE or not c.has("axis"):
        return operand
    axis = c.integer("axis", 0)
    behind = rank - (axis % rank if rank else 0) - len(operand.shape)
    if not -rank <= axis < max(rank, 1) or behind < 0:
        raise c.malformed(f"lays an operand of {len(operand.shape)} axes along axis {axis} of one of {rank}")
    return c.reshape(operand, (*operand.shape, *(1,) * behind))


def slope(c: Call) -> Value:
    """Of PRelu: before opset 7 one number, or one for each channel."""
    operand, rank = c[1], len(c[0].shape)
    if c.version >= SINCE or len(operand.shape) != 1 or operand.shape[0] == 1 or rank < 2:
        return operand
    return c.reshape(operand, (*operand.shape, *(1,) * (rank - 2)))
