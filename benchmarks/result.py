"""What was measured of a case, and what follows from it; plain data that goes from process to process as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.cases import Case
from benchmarks.contenders import OURS, is_onnxruntime
from benchmarks.rounds import Spread

Errors = Mapping[str, float | None]


@dataclass(frozen=True)
class InTurn:
    """The ratio where runs alternate with those of the peer `beside`, without waiting."""

    beside: str
    ratio: Spread


_DERIVED = ("peer", "ratio", "over_roofline")


@dataclass(frozen=True)
class Result:
    """One row. `failure` says why there are no numbers, `failed` why there are none of a peer.

    `medians`: seconds a run by runtime. `ratios`: each peer's time over ours. `errors`: the worst of each runtime
    against onnxruntime with exact 8-bit products, relative to the output's largest magnitude; None where the outputs
    differ otherwise. `flops` and `peak`: arithmetic operations of a run, and how many a second were measured;
    `over_floor` is our time over that of as many operations in turn with it, None where there are none.
    `roofline`: seconds that a run takes at least, as `Report` has it.
    """

    case: Case
    failure: str = ""
    medians: Mapping[str, float] = field(default_factory=dict)
    ratios: Mapping[str, Spread] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    in_turn: InTurn | None = None
    errors: Errors = field(default_factory=dict)
    tolerance: float = 0.0
    flops: float = 0.0
    peak: float = 0.0
    over_floor: float | None = None
    roofline: float = 0.0
    rounds: int = 0
    restless: int = 0

    @property
    def peer(self) -> str:
        """The fastest of the others that compute the same."""
        return min(filter(self.agrees, self.ratios), key=lambda name: self.medians[name])

    def agrees(self, name: str) -> bool:
        """Whether a runtime's error is within the tolerance; onnxruntime counts in any case."""
        error = self.errors.get(name)
        return is_onnxruntime(name) or (error is not None and error <= self.tolerance)

    @property
    def onnxruntime(self) -> str:
        """The fastest setting of onnxruntime."""
        return min(filter(is_onnxruntime, self.ratios), key=lambda name: self.medians[name])

    @property
    def ratio(self) -> Spread:
        """That peer's time over ours: above 1, ours is faster than all of them."""
        return self.ratios[self.peer]

    @property
    def over_roofline(self) -> float | None:
        return self.medians[OURS] / self.roofline if self.roofline else None

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        if self.ratios:
            data |= {name: getattr(self, name) for name in _DERIVED} | {"ratio": asdict(self.ratio)}
        return data

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Result:
        """Inverse of `to_json`; what follows from the rest is worked out anew."""
        kept = {name: value for name, value in data.items() if name not in _DERIVED}
        ratios = {name: Spread(**spread) for name, spread in data["ratios"].items()}
        beside = data["in_turn"]
        in_turn = InTurn(beside["beside"], Spread(**beside["ratio"])) if beside else None
        return Result(**{**kept, "case": Case(**data["case"]), "ratios": ratios, "in_turn": in_turn})


def geometric_mean(ratios: Iterable[float]) -> float:
    logarithms = [math.log(ratio) for ratio in ratios]
    return math.exp(math.fsum(logarithms) / len(logarithms))


def measured(results: Iterable[Result], threads: int | None = None) -> list[Result]:
    """Those that have numbers, of all or of one number of threads."""
    return [r for r in results if r.ratios and threads in (None, r.case.threads)]


def thread_counts(results: Iterable[Result]) -> list[int]:
    return sorted({r.case.threads for r in results})
