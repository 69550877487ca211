"""Fair timing on a noisy machine: two functions in turn, in one process, compared pair by pair."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

Run = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """Seconds a call over `runs` calls."""

    median: float
    fastest: float
    runs: int

    @staticmethod
    def of(samples: list[float]) -> Timing:
        return Timing(statistics.median(samples), min(samples), len(samples))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """`ratio` is theirs / ours, the median over pairs of neighbouring runs, with quartiles: above 1, ours is faster."""

    ours: Timing
    theirs: Timing
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        ours, theirs = self.ours.median * 1e3, self.theirs.median * 1e3
        return f"{ours:.2f} ms against {theirs:.2f} ms: {self.ratio:.2f}x (quartiles {self.low:.2f} to {self.high:.2f})"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(run: Run, seconds: float = 1.0, most: int = 1000) -> Timing:
    """Time one function for about `seconds`, at least 5 runs after a warm-up."""
    _warm_up(run, seconds)
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < 5 or (time.perf_counter() < end and len(samples) < most):
        samples.append(_seconds(run))
    return Timing.of(samples)


def compare(ours: Run, theirs: Run, seconds: float = 3.0, most: int = 1000) -> Comparison:
    """Time two functions in turn for about `seconds`, at least 9 pairs after a warm-up; which goes first alternates."""
    _warm_up(lambda: (ours(), theirs()), seconds)
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(pairs) < 9 or (time.perf_counter() < end and len(pairs) < most):
        if len(pairs) % 2:
            second = _seconds(theirs)
            pairs.append((_seconds(ours), second))
        else:
            pairs.append((_seconds(ours), _seconds(theirs)))
    low, middle, high = statistics.quantiles([b / a for a, b in pairs], n=4)
    return Comparison(Timing.of([a for a, _ in pairs]), Timing.of([b for _, b in pairs]), middle, low, high)


def _warm_up(run: Run, seconds: float, most: int = 5) -> None:
    """Up to `most` runs: fewer of one that is slow beside the `seconds` to come."""
    end = time.perf_counter() + seconds / 3
    for _ in range(most):
        run()
        if time.perf_counter() > end:
            return


def _seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
