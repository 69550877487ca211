"""How far an original's own results move when its weights change in their last bits, where a compiled model is off.

Where a model rounds activations to 8 bits, a last bit becomes a whole step now and then, and each layer makes more of
it: the results of some models are determined to a few per cent, or not at all. That is their condition, not an error of
the compiler (N. J. Higham, Accuracy and Stability of Numerical Algorithms, chapter 1.6). Other models are not excused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from tilewright.ir.agreement import OutputCheck
from tilewright.ir.errors import InputError
from tilewright.ir.op import Array

Feed = Mapping[str, Array]
Run = Callable[[Feed], Sequence[Array]]
Nudged = Callable[[int], "Run | None"]
Compare = Callable[..., OutputCheck]
MOST_NUDGED = 8


class Compared(NamedTuple):
    """Inputs, what the original makes of them, and how far each output of the compiled model is off."""

    feed: Feed
    expected: Sequence[Array]
    checks: list[OutputCheck]

    def alike(self, tolerance: float) -> bool:
        """Whether at least half of the elements of each output are within the tolerance.

        Where a model rounds its results, they differ by whole steps, at a few elements of nearly all inputs.
        """
        return all(check.mostly_passes(tolerance) for check in self.checks)

    def settled(self, tolerance: float) -> bool:
        """Whether nothing that the original says of itself could change the verdict."""
        return all(check.problem or check.passes(tolerance) for check in self.checks)


def with_spreads(runs: Sequence[Compared], nudged: Nudged, tolerance: float, compare_one: Compare) -> list[Compared]:
    """The runs with the original's own spread where an output is off, as far as it takes to excuse that."""
    runs = list(runs)
    for seed in range(MOST_NUDGED):
        if all(run.settled(tolerance) for run in runs) or (other := nudged(seed)) is None:
            break
        runs = [run if run.settled(tolerance) else _with_spread(run, other, compare_one) for run in runs]
    return runs


def _with_spread(run: Compared, other: Run, compare_one: Compare) -> Compared:
    try:
        moved = other(run.feed)
    except InputError:  # a size may hang on a number that was nudged
        return run
    spreads = [compare_one(c.name, *pair) for c, *pair in zip(run.checks, moved, run.expected, strict=True)]
    wider = [
        max(c.spread, s.error if not s.problem and math.isfinite(s.error) else 0.0)
        for c, s in zip(run.checks, spreads, strict=True)
    ]
    return run._replace(checks=[replace(c, spread=w) for c, w in zip(run.checks, wider, strict=True)])
