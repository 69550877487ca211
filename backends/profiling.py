"""Times every kernel of a program while the program runs."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tilewright.backends.ledger import Row
from tilewright.backends.program import HOST_CALL, ControlCall, HostCall, KernelCall, Program, Step
from tilewright.backends.runtime import Runner
from tilewright.backends.sizes import evaluate, symbols
from tilewright.backends.values import Array

_CALLS = KernelCall | HostCall | ControlCall
_GO_ON = 0  # TVM's VMInstrumentReturnKind::kNoOp


class _Watch:
    """Collects the duration and the bytes of each call that a step of the program makes, in order."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names
        self.called: list[str] = []
        self.durations: list[float] = []
        self.bytes: list[list[int]] = []
        self.overhead = math.inf
        self._starts: list[float] = []

    def __call__(self, function: Any, name: str, before: bool, result: Any, *arguments: Any) -> int:
        if before:
            self._starts.append(time.perf_counter())
            return _GO_ON
        duration = time.perf_counter() - self._starts.pop()
        self.overhead = min(self.overhead, duration)
        if name in self.names:
            self.called.append(name)
            self.durations.append(duration)
            self.bytes.append([_bytes(a) for a in arguments if hasattr(a, "dtype")])
        return _GO_ON


def _bytes(tensor: Any) -> int:
    return math.prod(map(int, tensor.shape)) * int(tensor.dtype.itemsize)


def profile(program: Program, runner: Runner, arrays: Sequence[Array], threads: int, repeats: int) -> tuple[Row, ...]:
    """One row a step that calls something: the median of `repeats` runs, less what the timing itself takes.

    A step of a region has the time of all its calls in a run, none where the region did not run.
    """
    names = frozenset(program.kernels()) | {HOST_CALL}
    watches = [_Watch(names) for _ in range(repeats)]
    for watch in watches:
        runner.profile(arrays, threads, watch)
    sizes = _sizes(program, arrays)
    calls = [_Calls(program, watch) for watch in watches]
    return tuple(_row(step, [c.of(step) for c in calls], sizes) for step in program.steps if isinstance(step, _CALLS))


class _Calls:
    """Which calls of a run each step made.

    Calls of main steps come in order. Within regions only the kernel's name tells, so that steps of one kernel share.
    """

    def __init__(self, program: Program, watch: _Watch) -> None:
        self._spans: dict[int, tuple[float, list[list[int]]]] = {}
        named: dict[str, list[int]] = {}
        inside = [step for region in program.regions for step in region.steps if isinstance(step, _CALLS)]
        order = [step for step in program.main.steps if isinstance(step, _CALLS)]
        if inside:
            for place, name in enumerate(watch.called):
                named.setdefault(name, []).append(place)
            shares = Counter(_called(step) for step in (*order, *inside))
            for step in (*order, *inside):
                self._keep(step, named.get(_called(step), []), watch, shares[_called(step)])
        else:
            for place, step in enumerate(order):
                self._keep(step, [place], watch, 1)

    def _keep(self, step: Step, places: Sequence[int], watch: _Watch, shares: int) -> None:
        seconds = sum(max(watch.durations[i] - watch.overhead, 0.0) for i in places) / shares
        self._spans[id(step)] = (seconds, [watch.bytes[i] for i in places])

    def of(self, step: Step) -> tuple[float, list[list[int]]]:
        """Seconds, and for each call the bytes of its arguments."""
        return self._spans[id(step)]


def _called(step: KernelCall | HostCall | ControlCall) -> str:
    return step.kernel if isinstance(step, KernelCall) else HOST_CALL


def _row(
    step: KernelCall | HostCall | ControlCall, runs: Sequence[tuple[float, list[list[int]]]], sizes: dict[str, int]
) -> Row:
    note, calls = step.note, runs[-1][1]
    known = symbols([note.flops]) <= set(sizes)
    moved = sum(size for call in calls for i, size in enumerate(call) if i not in note.gathered)
    flops = float(evaluate(note.flops, sizes)) * len(calls) if known else 0.0
    name = step.kernel if isinstance(step, KernelCall) else step.kind if isinstance(step, ControlCall) else "host"
    seconds = statistics.median(seconds for seconds, _ in runs)
    return Row(name, note.sources, note.rule, note.dtype, seconds, flops, float(moved))


def _sizes(program: Program, arrays: Sequence[Array]) -> dict[str, int]:
    """The symbols that are plain sizes of inputs."""
    sizes: dict[str, int] = {}
    for port, array in zip(program.inputs, arrays, strict=True):
        for dim, size in zip(port.spec.dims, array.shape, strict=True):
            if isinstance(dim, str) and dim.isidentifier():
                sizes[dim] = size
    return sizes
