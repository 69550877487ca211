"""Do two runs of a model agree? Their outputs are compared, and the worst element of each is named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tilewright.ir.op import Array

EXACT_KINDS = "biu"  # numpy's kinds of bool and integers
TEXT_KINDS = "OUST"
SMALLEST_SCALE = 1e-30
"""Outputs below it are compared as if they were as large: exponentials are 0 in some libraries from 1e-35 on."""

SLACK = 2.0
"""An output may be off by so many times what the original itself moves when its weights change in their last bits."""


@dataclass(frozen=True, slots=True)
class OutputCheck:
    """How far one output is off, at its worst element; no element is named where there is none to show.

    `spread` is how far the original itself moves, likewise, when its weights change in their last bits: 0 where that
    was not asked. Where a model rounds activations to 8 bits, each of its layers can turn a last bit into a whole step.
    """

    name: str
    error: float  # |compiled - original| at the worst element over the largest |original|
    inputs: str  # shapes that were fed
    index: tuple[int, ...] | None = None
    compiled: float | None = None
    original: float | None = None
    problem: str = ""  # why it fails whatever the error: a NaN, another shape or dtype, integers that differ
    note: str = ""  # what was compared instead of elements
    spread: float = 0.0
    middle: float = 0.0  # the median of the errors of those elements that tell something: see `_middle`

    def mostly_passes(self, tolerance: float) -> bool:
        """Whether at least half of the elements that tell something are within the tolerance."""
        return not self.problem and self.middle <= tolerance

    def passes(self, tolerance: float, *, excused: bool = True) -> bool:
        """Whether it is within the tolerance or, where that counts, not off by more than the original's spread."""
        return not self.problem and self.error <= max(tolerance, SLACK * self.spread if excused else 0.0)

    def __str__(self) -> str:
        said = [self.problem or self.note or f"error {self.error:.2e} of its scale"]
        if self.spread:
            said.append(f"where the original moves by {self.spread:.2e} when its weights change in their last bits")
        if self.index is not None:
            where = f" at [{', '.join(map(str, self.index))}]" if self.index else ""
            said.append(f"worst{where}: {self.compiled:.8g} instead of {self.original:.8g}")
        return f"output {self.name!r}: {', '.join(said)} (inputs {self.inputs})"

    def to_json(self) -> dict[str, Any]:
        return {key: _json_value(value) for key, value in asdict(self).items()}


def _json_value(value: Any) -> Any:
    """JSON has no infinities and NaNs: they become text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The worst of each output over all inputs that were tried.

    `alike` counts the inputs on which at least half of the elements of each output are within the tolerance, whatever
    the original's own spread, and `unsuited` those that were left out, as the model was compiled for others.
    """

    outputs: tuple[OutputCheck, ...]
    tolerance: float
    runs: int
    alike: int
    unsuited: int = 0

    @property
    def passed(self) -> bool:
        return self.runs > 0 and not self.failures

    @property
    def failures(self) -> tuple[OutputCheck, ...]:
        """A spread excuses nothing where there is no input on which the two are alike."""
        return tuple(o for o in self.outputs if not o.passes(self.tolerance, excused=self.alike > 0))

    @property
    def undetermined(self) -> bool:
        """Whether all that it lacks is an input on which the original's results are determined well enough."""
        return not self.passed and self.runs > 0 and all(o.passes(self.tolerance) for o in self.outputs)

    @property
    def error(self) -> float:
        """The greatest error of any output; infinite where one fails for another reason."""
        return max((math.inf if o.problem else o.error for o in self.outputs), default=0.0)

    def __str__(self) -> str:
        verdict = "agrees with" if self.passed else "DIFFERS from"
        tried = f"{self.runs} input{'s'[: self.runs != 1]}"
        if any(o.spread for o in self.outputs):
            tried += f", on {self.alike} of them at least half within the tolerance"
        if self.unsuited:
            tried += f", and was not compiled for {self.unsuited} more"
        head = f"The compiled model {verdict} the original on {tried} (tolerance {self.tolerance:g})."
        return "\n".join([head, *(f"  {o}" for o in self.outputs)])

    def to_json(self) -> dict[str, Any]:
        outputs = [o.to_json() for o in self.outputs]
        counts = {"runs": self.runs, "alike": self.alike, "unsuited": self.unsuited}
        return {"passed": self.passed, "tolerance": self.tolerance, **counts, "outputs": outputs}


def worst(checks: Iterable[OutputCheck], tolerance: float = 0.0) -> OutputCheck:
    """The one that is furthest off: a problem counts more than an error that fails, and that more than any other."""
    return max(checks, key=lambda check: (bool(check.problem), not check.passes(tolerance), check.error))


def compare_value(name: str, got: Any, want: Any, inputs: str = "") -> OutputCheck:
    """The same for an output that may be a sequence, a map or nothing, all of whose parts are compared."""
    if isinstance(want, Mapping):
        if not isinstance(got, Mapping) or list(got) != list(want):
            return OutputCheck(name, math.inf, inputs, problem="is a map with other keys")
        got, want = list(got.values()), list(want.values())
    if want is None or got is None:
        problem = "" if want is got else "is there on one side only"
        return OutputCheck(name, math.inf if problem else 0.0, inputs, problem=problem)
    if not isinstance(want, list | tuple):
        return compare_output(name, np.asarray(got), np.asarray(want), inputs)
    if not isinstance(got, list | tuple) or len(got) != len(want):
        return OutputCheck(name, math.inf, inputs, problem="is a sequence of another length")
    parts = (compare_value(f"{name}[{i}]", *pair, inputs) for i, pair in enumerate(zip(got, want, strict=True)))
    checks = [OutputCheck(name, 0.0, inputs), *parts]
    return replace(worst(checks), middle=max(check.middle for check in checks))


def compare_kind(name: str, got: Any, want: Any, inputs: str = "") -> OutputCheck:
    """What can be compared where a model draws random numbers: element types and numbers of axes."""
    ours, theirs = ([(np.asarray(x).dtype, np.ndim(x)) for x in _parts(value)] for value in (got, want))
    note = "random: only its element type and number of axes were compared"
    return OutputCheck(name, 0.0, inputs, problem="" if ours == theirs else f"is {ours}, not {theirs}", note=note)


def _parts(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def compare_output(name: str, got: Array, want: Array, inputs: str = "") -> OutputCheck:
    """Compare what was compiled, `got`, with the original's output, `want`.

    Integers, booleans and strings have to be equal, as do infinities. A NaN on either side never passes.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        problem = f"is {got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}"
        return OutputCheck(name, math.inf, inputs, problem=problem)
    if want.dtype.kind in TEXT_KINDS:
        same = np.array_equal(got, want)
        return OutputCheck(name, 0.0 if same else math.inf, inputs, problem="" if same else "has other strings")
    if want.size == 0:
        return OutputCheck(name, 0.0, inputs)
    return _compare_numbers(name, got, want, inputs)


def _compare_numbers(name: str, got: Array, want: Array, inputs: str) -> OutputCheck:
    error = relative_error(got.astype(np.float64), want.astype(np.float64))
    different = got != want
    if want.dtype.kind in EXACT_KINDS:  # float64 has no room for all 64-bit integers
        error = np.where(different, np.maximum(error, np.finfo(np.float64).tiny), 0.0)
    index = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    shown = float(got[index]), float(want[index])
    middle = _middle(error, want)
    return OutputCheck(name, float(error[index]), inputs, index, *shown, problem=_problem(got, want), middle=middle)


def _middle(error: Array, want: Array) -> float:
    """The median of the errors, but of equal elements that many a wrong result has too: zeros, and the limits."""
    telling = (error > 0) | ((want != 0) & (want != want.min()) & (want != want.max()))
    return float(np.median(error[telling])) if telling.any() else 0.0


def relative_error(got: Array, want: Array) -> Array:
    """|got - want| over the largest finite |want|, for each element; infinite where one is NaN."""
    scale = np.abs(want[np.isfinite(want)]).max(initial=SMALLEST_SCALE)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(got == want, 0.0, np.abs(got - want) / scale)
    return np.where(np.isnan(error), np.inf, error)


def _problem(got: Array, want: Array) -> str:
    if want.dtype.kind in EXACT_KINDS:
        count = np.count_nonzero(got != want)
        return f"differs at {count} of {want.size} elements, which have to be equal" if count else ""
    sides = [side for side, array in (("compiled", got), ("original", want)) if np.isnan(array).any()]
    return f"the {' and the '.join(sides)} output holds NaN" if sides else ""
