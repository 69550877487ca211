"""Times every kernel of a program while the program runs."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

from tilewright.backends.ledger import Row
from tilewright.backends.program import HOST_CALL, HostCall, KernelCall, Program
from tilewright.backends.runtime import Array, Runner
from tilewright.backends.sizes import evaluate, symbols

_GO_ON = 0  # TVM's VMInstrumentReturnKind::kNoOp


class _Watch:
    """Collects the duration and the bytes of each call that a step of the program makes, in order."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names
        self.durations: list[float] = []
        self.bytes: list[list[int]] = []
        self.overhead = math.inf
        self._start = 0.0

    def __call__(self, function: Any, name: str, before: bool, result: Any, *arguments: Any) -> int:
        if before:
            self._start = time.perf_counter()
            return _GO_ON
        duration = time.perf_counter() - self._start
        self.overhead = min(self.overhead, duration)
        if name in self.names:
            self.durations.append(duration)
            self.bytes.append([_bytes(a) for a in arguments if hasattr(a, "dtype")])
        return _GO_ON


def _bytes(tensor: Any) -> int:
    return math.prod(map(int, tensor.shape)) * int(tensor.dtype.itemsize)


def profile(program: Program, runner: Runner, arrays: Sequence[Array], threads: int, repeats: int) -> tuple[Row, ...]:
    """One row a kernel or host call: the median of `repeats` runs, less what the timing itself takes."""
    steps = [step for step in program.steps if isinstance(step, KernelCall | HostCall)]
    names = frozenset(program.kernels()) | {HOST_CALL}
    watches = [_Watch(names) for _ in range(repeats)]
    for watch in watches:
        runner.profile(arrays, threads, watch)
    sizes = _sizes(program, arrays)
    rows = []
    for i, step in enumerate(steps):
        seconds = statistics.median(max(w.durations[i] - w.overhead, 0.0) for w in watches)
        rows.append(_row(step, seconds, watches[-1].bytes[i], sizes))
    return tuple(rows)


def _row(step: KernelCall | HostCall, seconds: float, sizes_in_bytes: list[int], sizes: dict[str, int]) -> Row:
    note = step.note
    known = symbols([note.flops]) <= set(sizes)
    moved = sum(size for i, size in enumerate(sizes_in_bytes) if i not in note.gathered)
    flops = float(evaluate(note.flops, sizes)) if known else 0.0
    name, origin = ("host", "host") if isinstance(step, HostCall) else (step.kernel, note.rule)
    return Row(name, note.sources, origin, note.dtype, seconds, flops, float(moved))


def _sizes(program: Program, arrays: Sequence[Array]) -> dict[str, int]:
    """The symbols that are plain sizes of inputs."""
    sizes: dict[str, int] = {}
    for port, array in zip(program.inputs, arrays, strict=True):
        for dim, size in zip(port.spec.dims, array.shape, strict=True):
            if isinstance(dim, str) and dim.isidentifier():
                sizes[dim] = size
    return sizes
