"""Paired timing of several runtimes in one process, none of which pays for another's spinning threads.

In each round every contender has a turn. A turn begins when the threads of the process have come to rest, with one
run that is not timed; the median of the timed ones counts. Ratios are taken within a round, so that a machine that
slows down for a while slows down both sides of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Action = Callable[[], Any]
AT_REST = 0.05  # of one processor: less than this is what the waiting itself takes


@dataclass(frozen=True)
class Plan:
    """Turns last about `turn` seconds, rounds go on for about `seconds`; there are `least` to `most` of them.

    Where `least` would take more than three times as long there are fewer, but two.
    """

    turn: float
    seconds: float
    least: int
    most: int

    def is_over(self, rounds: int, seconds: float) -> bool:
        """After so many rounds, which have taken so long."""
        return seconds > self.seconds and rounds >= (self.least if seconds < 3 * self.seconds else 2)


THOROUGH = Plan(turn=0.1, seconds=40.0, least=5, most=15)
QUICK = Plan(turn=0.03, seconds=5.0, least=3, most=5)


@dataclass(frozen=True)
class Spread:
    """The median of some numbers between their quartiles."""

    low: float
    middle: float
    high: float

    @staticmethod
    def of(numbers: Sequence[float]) -> Spread:
        if len(numbers) < 2:
            return Spread(numbers[0], numbers[0], numbers[0])
        return Spread(*statistics.quantiles(numbers, n=4, method="inclusive"))


@dataclass
class Rounds:
    """For each contender the median of each turn, one a round; `restless` turns began before all was at rest."""

    turns: Mapping[str, list[float]]
    restless: int = 0

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(turns) for name, turns in self.turns.items()}

    def ratio(self, peer: str, ours: str) -> Spread:
        """The peer's time over ours: above 1, ours is faster."""
        pairs = zip(self.turns[peer], self.turns[ours], strict=True)
        return Spread.of([theirs / own for theirs, own in pairs])


@dataclass(frozen=True)
class Clocks:
    """Where time comes from; a test has its own."""

    now: Callable[[], float] = field(default=time.perf_counter)
    used: Callable[[], float] = field(default=time.process_time)
    sleep: Callable[[float], None] = field(default=time.sleep)


def play(contenders: Mapping[str, Action], plan: Plan, clocks: Clocks | None = None) -> Rounds:
    """Play rounds until the plan is fulfilled; each begins with another contender."""
    clocks = clocks or Clocks()
    names = list(contenders)
    rounds = Rounds({name: [] for name in names})
    begin = clocks.now()
    for number in range(plan.most):
        if plan.is_over(number, clocks.now() - begin):
            break
        first = number % len(names)
        for name in names[first:] + names[:first]:
            rounds.restless += not wait_until_at_rest(clocks)
            rounds.turns[name].append(turn(contenders[name], plan.turn, clocks))
    return rounds


def turn(run: Action, seconds: float, clocks: Clocks) -> float:
    """The median of the runs that fit into `seconds`, at least one, after a run that is not timed."""
    run()
    samples: list[float] = []
    begin = last = clocks.now()
    while not samples or last - begin < seconds:
        run()
        now = clocks.now()
        samples.append(now - last)
        last = now
    return statistics.median(samples)


def wait_until_at_rest(clocks: Clocks, limit: float = 0.3, window: float = 0.005) -> bool:
    """Wait until the process uses no processor for a few milliseconds; False if it still does at the limit."""
    end = clocks.now() + limit
    while clocks.now() < end:
        start, used = clocks.now(), clocks.used()
        clocks.sleep(window)
        if clocks.used() - used < AT_REST * (clocks.now() - start):
            return True
    return False
