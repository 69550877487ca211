"""How arrays come to the virtual machine and results come back, at little cost for each: small models run in 0.1 ms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tilewright.backends.program import Port
from tilewright.backends.values import Array, Held, aligned_empty, in_place, to_array, to_tensor
from tilewright.ir.types import HELD

_SMALL = 1 << 16  # bytes that are copied sooner than a tensor over them is made


class Inlet:
    """The way in of one input: large arrays are used where they lie if kernels can, others copied to memory of its own.

    That memory is used again by the next array of the same shape: what is read from it has to be copied before.
    """

    def __init__(self, port: Port) -> None:
        self._held = port.spec.dtype in HELD
        self._array: Array | None = None
        self._tensor: Any = None

    def __call__(self, array: Array) -> Any:
        """The array as the VM takes it."""
        if self._held:
            return Held(array)
        if array.nbytes > _SMALL and in_place(array):
            return to_tensor(array)
        if self._array is None or self._array.shape != array.shape:
            self._array = aligned_empty(array.shape, array.dtype)
            self._tensor = to_tensor(self._array)
        self._array[...] = array
        return self._tensor


def outlet(port: Port, borrowed: bool) -> Callable[[Any], Array]:
    """The way out of one output, whose bytes are copied if they are `borrowed` from an input, a weight or an output."""
    if port.spec.dtype in HELD:
        read: Callable[[Any], Array] = _held_array
    else:
        read = to_array if port.spec.dtype == "bfloat16" else np.from_dlpack
    return (lambda value: read(value).copy()) if borrowed else read


def _held_array(value: Held) -> Array:
    return value.array
