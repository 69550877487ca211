"""Do two runs of a model agree? Their outputs are compared, and the worst element of each is named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tilewright.ir.op import Array

EXACT_KINDS = "biu"  # numpy's kinds of bool and integers
TEXT_KINDS = "OUST"
SMALLEST_SCALE = 1e-30
"""Outputs below it are compared as if they were as large: exponentials are 0 in some libraries from 1e-35 on."""


@dataclass(frozen=True, slots=True)
class OutputCheck:
    """How far one output is off, at its worst element; no element is named where there is none to show."""

    name: str
    error: float  # |compiled - original| at the worst element over the largest |original|
    inputs: str  # shapes that were fed
    index: tuple[int, ...] | None = None
    compiled: float | None = None
    original: float | None = None
    problem: str = ""  # why it fails whatever the error: a NaN, another shape or dtype, integers that differ
    note: str = ""  # what was compared instead of elements

    def passes(self, tolerance: float) -> bool:
        return not self.problem and self.error <= tolerance

    def __str__(self) -> str:
        said = [self.problem or self.note or f"error {self.error:.2e} of its scale"]
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
    """The worst of each output over all inputs that were tried."""

    outputs: tuple[OutputCheck, ...]
    tolerance: float
    runs: int

    @property
    def passed(self) -> bool:
        return self.runs > 0 and not self.failures

    @property
    def failures(self) -> tuple[OutputCheck, ...]:
        return tuple(o for o in self.outputs if not o.passes(self.tolerance))

    @property
    def error(self) -> float:
        """The greatest error of any output; infinite where one fails for another reason."""
        return max((math.inf if o.problem else o.error for o in self.outputs), default=0.0)

    def __str__(self) -> str:
        verdict = "agrees with" if self.passed else "DIFFERS from"
        tried = f"{self.runs} input{'s'[: self.runs != 1]}"
        head = f"The compiled model {verdict} the original on {tried} (tolerance {self.tolerance:g})."
        return "\n".join([head, *(f"  {o}" for o in self.outputs)])

    def to_json(self) -> dict[str, Any]:
        outputs = [o.to_json() for o in self.outputs]
        return {"passed": self.passed, "tolerance": self.tolerance, "runs": self.runs, "outputs": outputs}


def worst(checks: Iterable[OutputCheck]) -> OutputCheck:
    """The one that is furthest off: a problem counts more than any error."""
    return max(checks, key=lambda check: (bool(check.problem), check.error))


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
    return worst([OutputCheck(name, 0.0, inputs), *parts])


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
    return OutputCheck(name, float(error[index]), inputs, index, *shown, problem=_problem(got, want))


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
