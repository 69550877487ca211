"""Is the compiled model the same function as the original? Both run on the same inputs, and the outputs are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tilewright.draw import Sizes, draw_inputs, size_choices
from tilewright.ir.errors import CheckError
from tilewright.ir.graph import Graph
from tilewright.ir.op import Array

Original = Callable[[Mapping[str, Array]], Sequence[Array]]

# Greatest error relative to the output's largest magnitude. Rounding activations to 8 bits turns a last-bit difference into a
# whole step, hence the wider bound for models that do.
TOLERANCES = {"fp32": 1e-4, "fp32 with quantized activations": 1e-3}
LARGEST_TOLERANCE = 1e-2


@dataclass(frozen=True)
class OutputCheck:
    """How far one output is off, at its worst element."""

    name: str
    error: float  # |compiled - original| at the worst element over the largest |original|
    index: tuple[int, ...]
    compiled: float
    original: float
    inputs: str  # shapes that were fed
    problem: str = ""  # why it fails whatever the error: a NaN, another shape or dtype

    def passes(self, tolerance: float) -> bool:
        return not self.problem and self.error <= tolerance

    def describe(self) -> str:
        if self.problem:
            return f"output {self.name!r}: {self.problem} (inputs {self.inputs})"
        where = ", ".join(map(str, self.index))
        return (
            f"output {self.name!r}: error {self.error:.2e} of its scale, worst at [{where}]: "
            f"{self.compiled:.7g} instead of {self.original:.7g} (inputs {self.inputs})"
        )


@dataclass(frozen=True)
class CheckReport:
    """The worst of each output over all inputs that were tried."""

    outputs: tuple[OutputCheck, ...]
    tolerance: float
    runs: int

    @property
    def passed(self) -> bool:
        return self.runs > 0 and all(o.passes(self.tolerance) for o in self.outputs)

    @property
    def error(self) -> float:
        """The greatest error of any output."""
        return max((float("inf") if o.problem else o.error for o in self.outputs), default=0.0)

    def __str__(self) -> str:
        verdict = "agrees with" if self.passed else "DIFFERS from"
        head = f"The compiled model {verdict} the original on {self.runs} inputs (tolerance {self.tolerance:g})."
        return "\n".join([head, *(f"  {o.describe()}" for o in self.outputs)])

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "tolerance": self.tolerance,
            "runs": self.runs,
            "outputs": [asdict(o) for o in self.outputs],
        }


def tolerance_for(graph: Graph) -> float:
    """The tolerance that fits the model: wider only where the model itself rounds activations to integers."""
    quantized = any(n.op.name == "quantize" and not n.inputs[0].is_constant for n in graph.nodes)
    return TOLERANCES["fp32 with quantized activations" if quantized else "fp32"]


def compare(
    compiled: Callable[[Mapping[str, Array]], Sequence[Array]],
    original: Original,
    graph: Graph,
    *,
    inputs: Mapping[str, Array] | Sequence[Mapping[str, Array]] | None = None,
    tolerance: float | None = None,
    draws: int = 3,
    seed: int = 0,
) -> CheckReport:
    """Run both and compare.

    `inputs`: one feed or several; by default `draws` random ones that suit the model (see `draw`).
    Raises CheckError when the tolerance is above 1e-2, or when the original accepts none of the inputs that were tried.
    """
    tolerance = tolerance_for(graph) if tolerance is None else tolerance
    if not 0 <= tolerance <= LARGEST_TOLERANCE:
        raise CheckError(f"a tolerance of {tolerance:g} proves nothing; it has to be between 0 and {LARGEST_TOLERANCE:g}")
    pairs = _feeds(original, graph, draws, seed) if inputs is None else _given(original, inputs)
    found: dict[str, OutputCheck] = {}
    for feed, expected in pairs:
        shapes = ", ".join(f"{name} {list(np.shape(array))}" for name, array in feed.items())
        for name, got, want in zip(graph.output_names, compiled(feed), expected, strict=True):
            found[name] = _worse(found.get(name), compare_output(name, np.asarray(got), np.asarray(want), shapes))
    return CheckReport(tuple(found.values()), tolerance, len(pairs))


def _given(
    original: Original, inputs: Mapping[str, Array] | Sequence[Mapping[str, Array]]
) -> list[tuple[Mapping[str, Array], Sequence[Array]]]:
    feeds = [inputs] if isinstance(inputs, Mapping) else list(inputs)
    return [(feed, original(feed)) for feed in feeds]


def _feeds(
    original: Original, graph: Graph, draws: int, seed: int
) -> list[tuple[Mapping[str, Array], Sequence[Array]]]:
    """Random inputs at several sizes, with what the original makes of them; sizes that it refuses are passed over."""
    rng = np.random.default_rng(seed)
    accepted: list[tuple[Mapping[str, Array], Sequence[Array]]] = []
    refusal: CheckError | None = None
    choices: list[Sizes] = list(size_choices(graph))
    for sizes in choices * draws if len(choices) == 1 else choices:
        feed = draw_inputs(graph, sizes, rng)
        try:
            accepted.append((feed, original(feed)))
        except CheckError as error:
            refusal = error
        if len(accepted) == draws:
            break
    if not accepted:
        raise CheckError(
            f"the original runs on none of the inputs that were drawn; the last refusal was: {refusal}",
            hint="Give inputs that it accepts with inputs={name: array}, or compile with check=False",
        )
    return accepted


def _worse(a: OutputCheck | None, b: OutputCheck) -> OutputCheck:
    if a is None or (b.problem and not a.problem):
        return b
    return a if a.problem or a.error >= b.error else b


def compare_output(name: str, got: Array, want: Array, inputs: str = "") -> OutputCheck:
    """Compare one output. A NaN on either side never passes; infinities have to be equal."""
    if got.shape != want.shape or got.dtype != want.dtype:
        problem = f"is {got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}"
        return OutputCheck(name, float("inf"), (), 0.0, 0.0, inputs, problem)
    if want.dtype.kind in "OUS":
        problem = "" if np.array_equal(got, want) else "has other strings"
        return OutputCheck(name, 0.0, (), 0.0, 0.0, inputs, problem)
    if got.size == 0:
        return OutputCheck(name, 0.0, (), 0.0, 0.0, inputs)
    return _compare_numbers(name, got.astype(np.float64), want.astype(np.float64), inputs)


def _compare_numbers(name: str, got: Array, want: Array, inputs: str) -> OutputCheck:
    finite = want[np.isfinite(want)]
    scale = float(np.abs(finite).max()) if finite.size else 0.0
    with np.errstate(invalid="ignore"):
        error = np.where(got == want, 0.0, np.abs(got - want)) / (scale or 1.0)
    error = np.where(np.isnan(error), np.inf, error)
    worst = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    nans = [side for side, array in (("compiled", got), ("original", want)) if np.isnan(array).any()]
    problem = f"the {' and the '.join(nans)} output holds NaN" if nans else ""
    return OutputCheck(name, float(error[worst]), worst, float(got[worst]), float(want[worst]), inputs, problem)
