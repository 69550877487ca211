"""Builds one kernel the way models are built, and calls it on arrays."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from tests.kernels.guarded import guard_scratch
from tilewright.backends.kernels.loops import Loops
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.link import link
from tilewright.backends.pool import source
from tilewright.backends.target import parse_target
from tilewright.backends.tvm_adapter import assemble, compile_function
from tilewright.backends.values import aligned, aligned_empty, to_tensor

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

TARGET = parse_target("llvm -mcpu=native -num-cores=2")
NATIVE = Vectors.of(TARGET)


@functools.cache
def pool() -> bytes:
    """What kernels tell whether a loop is worth sharing out."""
    return assemble(source())


class Built:
    """A compiled kernel; calling it fills the output arrays in place.

    Its scratch memory is full of NaN and ends before a forbidden page.
    """

    def __init__(self, k: Loops) -> None:
        code = link({k.name: compile_function(k.func(), k.name, TARGET), "tilewright_pool": pool()})
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "kernel.so")
            path.write_bytes(code)
            self._function = tvm.runtime.load_module(str(path))[k.name]
            guard_scratch(str(path))

    def __call__(self, *arguments: Array | int) -> Array:
        """Runs on inputs and then one output, and returns what the output holds."""
        output = [a for a in arguments if not isinstance(a, int)][-1]
        placed = [a if isinstance(a, int) else aligned(a) if a is output else unaligned(a) for a in arguments]
        tensors = [a if isinstance(a, int) else to_tensor(a) for a in placed]
        self._function(*tensors)
        outputs = [t for t in tensors if not isinstance(t, int)]
        return np.from_dlpack(outputs[-1])

    def run(self, *arguments: Array | int) -> None:
        """Runs on the arrays as they are."""
        self._function(*(a if isinstance(a, int) else to_tensor(a) for a in arguments))


def unaligned(array: Array) -> Array:
    """A copy of which no more than the elements is aligned, as arrays that users give may be."""
    copy = aligned_empty((array.size + 1,), array.dtype)[1:].reshape(array.shape)
    copy[...] = array
    return copy


def normal(*shape: int, seed: int = 0) -> Array:
    """Reproducible float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def hollow(*shape: int) -> Array:
    """An output full of NaN, so that an element never written shows."""
    return np.full(shape, np.nan, np.float32)
