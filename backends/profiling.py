"""Times every kernel of a program while the program runs."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

from tilewright.backends.flow import CallStep, call_steps, sources
from tilewright.backends.ledger import Call, Row
from tilewright.backends.program import HOST_CALL, ControlCall, KernelCall, Program
from tilewright.backends.runtime import Runner
from tilewright.backends.sizes import evaluate, symbols
from tilewright.backends.values import Array

_GO_ON = 0  # TVM's VMInstrumentReturnKind::kNoOp


@dataclass(frozen=True, slots=True)
class _Array:
    """What an argument was."""

    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class _Span:
    """One call: when it began and ended, how much of that other calls took that it made, and its arguments' arrays.

    `handle` tells the functions of the host apart, which all have one name.
    """

    name: str
    handle: int
    start: float
    end: float
    inside: float
    arrays: list[_Array]


class _Watch:
    """Collects the calls that the steps of a program make, in the order in which they end.

    The arguments' sizes only if asked for: that takes so long that waiting threads fall asleep before the next call.
    """

    def __init__(self, names: frozenset[str], weigh: bool) -> None:
        self.names = names
        self.weigh = weigh
        self.spans: list[_Span] = []
        self.overhead = math.inf
        self._open: list[tuple[float, float]] = []

    def __call__(self, function: Any, name: str, before: bool, result: Any, *arguments: Any) -> int:
        now = time.perf_counter()
        if before:
            self._open.append((now, 0.0))
            return _GO_ON
        start, inside = self._open.pop()
        if self._open:
            outer, others = self._open.pop()
            self._open.append((outer, others + now - start))
        self.overhead = min(self.overhead, now - start)
        if name in self.names:
            handle = arguments[0].__chandle__() if name == HOST_CALL else 0
            arrays = [_array(a) for a in arguments if _is_tensor(a)] if self.weigh else []
            self.spans.append(_Span(name, handle, start, now, inside, arrays))
        return _GO_ON


def _is_tensor(argument: Any) -> bool:
    return hasattr(argument, "dtype")


def _array(tensor: Any) -> _Array:
    shape = tuple(map(int, tensor.shape))
    return _Array(shape, math.prod(shape) * int(tensor.dtype.itemsize))


class _Run:
    """A watched run: for each step its calls, in order.

    Where there are regions, of a call only the kernel's name is known. The steps of one kernel are then taken to have
    called it in turn, which is right unless a branch leaves some out.
    """

    def __init__(self, program: Program, watch: _Watch, handles: Sequence[int]) -> None:
        self.overhead = watch.overhead
        self.calls: list[list[_Span]] = [[] for _ in call_steps(program)]
        places = _places(program, handles)
        for span in watch.spans:
            self.calls[next(places[span.name, span.handle])].append(span)

    def seconds(self, place: int) -> float:
        """Of a step, less what the timing takes, and without what it called."""
        return sum(max(s.end - s.start - s.inside - self.overhead, 0.0) for s in self.calls[place])

    def total(self) -> float:
        return sum(self.seconds(place) for place in range(len(self.calls)))

    def moved(self, place: int, gathered: Sequence[int]) -> float:
        """The bytes of all arguments of a step's calls, but of those of which it reads only a few rows."""
        arrays = (a for s in self.calls[place] for i, a in enumerate(s.arrays) if i not in gathered)
        return float(sum(array.bytes for array in arrays))

    def sizes(self, program: Program) -> dict[str, int]:
        """What the symbols in the shapes of the kernels' results stood for, where that was the same all the time."""
        found: dict[str, set[int]] = {}
        for calls, step in zip(self.calls, call_steps(program), strict=True):
            if isinstance(step, KernelCall):
                for span in calls:
                    given = zip(step.outputs, span.arrays[-len(step.outputs) :], strict=True)
                    dims = (pair for result, a in given for pair in zip(result.spec.dims, a.shape, strict=True))
                    for dim, size in dims:
                        found.setdefault(str(dim), set()).add(size)
        return {name: sizes.pop() for name, sizes in found.items() if name.isidentifier() and len(sizes) == 1}

    def timeline(self) -> tuple[Call, ...]:
        """All calls in the order in which they began."""
        began = min((s.start for calls in self.calls for s in calls), default=0.0)
        calls = (Call(place, s.start - began, s.end - s.start) for place, calls in enumerate(self.calls) for s in calls)
        return tuple(sorted(calls, key=lambda call: call.start))


def _places(program: Program, handles: Sequence[int]) -> dict[tuple[str, int], Iterator[int]]:
    """Whose turn it is, for each kernel and each function of the host."""
    of_steps = dict(zip(map(id, program.calls_out()), handles, strict=True))
    places: dict[tuple[str, int], list[int]] = {}
    for place, step in enumerate(call_steps(program)):
        key = (step.kernel, 0) if isinstance(step, KernelCall) else (HOST_CALL, of_steps[id(step)])
        places.setdefault(key, []).append(place)
    return {key: cycle(found) for key, found in places.items()}


def rows(program: Program, arrays: Sequence[Array], learned: Mapping[str, int] | None = None) -> tuple[Row, ...]:
    """One row for each step that calls something, with what is known of it before it runs, or was `learned`: sizes."""
    sizes, feeds = {**(learned or {}), **_sizes(program, arrays)}, sources(program)
    regions = [region.name for region in (program.main, *program.regions) for _ in call_steps(region)]
    return tuple(
        Row(
            kernel=_shown_name(step),
            sources=step.note.sources,
            origin=step.note.rule,
            dtype=step.note.dtype,
            flops=_flops(step, sizes),
            reads=reads,
            region=region,
        )
        for step, reads, region in zip(call_steps(program), feeds, regions, strict=True)
    )


def profile(
    program: Program, runner: Runner, arrays: Sequence[Array], threads: int, repeats: int
) -> tuple[tuple[Row, ...], tuple[Call, ...]]:
    """The rows with the medians of `repeats` runs, less what the timing itself takes; and the calls of a typical run.

    One more run, before, tells how many bytes each call was given, and sizes that depend on the data.
    A step of a region has the time of all its calls in a run, none where the region did not run. The time of a step
    that runs regions is without that of their steps.
    """
    weighed = _watched(program, runner, arrays, threads, weigh=True)
    runs = [_watched(program, runner, arrays, threads, weigh=False) for _ in range(repeats)]
    timed = [_timed(row, place, runs) for place, row in enumerate(rows(program, arrays, weighed.sizes(program)))]
    gathered = [step.note.gathered for step in call_steps(program)]
    moved = [replace(row, bytes=weighed.moved(place, gathered[place])) for place, row in enumerate(timed)]
    typical = sorted(runs, key=_Run.total)[(repeats - 1) // 2]
    return tuple(moved), typical.timeline()


def _watched(program: Program, runner: Runner, arrays: Sequence[Array], threads: int, weigh: bool) -> _Run:
    watch = _Watch(frozenset(program.kernels()) | {HOST_CALL}, weigh)
    handles = runner.profile(arrays, threads, watch)
    return _Run(program, watch, handles)


def _timed(row: Row, place: int, runs: Sequence[_Run]) -> Row:
    calls = len(runs[-1].calls[place])
    seconds = statistics.median(run.seconds(place) for run in runs)
    return replace(row, seconds=seconds, calls=calls, flops=row.flops * calls)


def _shown_name(step: CallStep) -> str:
    return step.kernel if isinstance(step, KernelCall) else step.kind if isinstance(step, ControlCall) else "host"


def _flops(step: CallStep, sizes: dict[str, int]) -> float:
    """Of one call; none where that depends on sizes that are not known."""
    known = symbols([step.note.flops]) <= set(sizes)
    return float(evaluate(step.note.flops, sizes)) if known else 0.0


def _sizes(program: Program, arrays: Sequence[Array]) -> dict[str, int]:
    """The symbols that are plain sizes of inputs."""
    sizes: dict[str, int] = {}
    for port, array in zip(program.inputs, arrays, strict=True):
        for dim, size in zip(port.spec.dims, array.shape, strict=True):
            if isinstance(dim, str) and dim.isidentifier():
                sizes[dim] = size
    return sizes
