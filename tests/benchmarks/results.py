"""Results that were never measured, for the tests of what is made of them."""

from __future__ import annotations

from benchmarks.cases import Case
from benchmarks.contenders import ONNXRUNTIME, OPENVINO, OURS, PATIENT
from benchmarks.costs import Costs, Start
from benchmarks.result import InTurn, Result
from benchmarks.rounds import QUICK, Spread
from benchmarks.survey import Survey


def result(ratio: float = 2.0, model: str = "magika", threads: int = 2, batch: int = 1) -> Result:
    """Ours takes a millisecond, and the fastest peer `ratio` of them."""
    return Result(
        Case(model, {"batch": batch}, threads),
        medians={OURS: 1e-3, ONNXRUNTIME: 2e-3 * ratio, PATIENT: 1e-3 * ratio},
        ratios={
            ONNXRUNTIME: Spread(1.9 * ratio, 2 * ratio, 2.1 * ratio),
            PATIENT: Spread(0.9 * ratio, ratio, 1.1 * ratio),
        },
        failed={OPENVINO: "an operator <X> is missing | here"},
        in_turn=InTurn(PATIENT, Spread(1.0, 1.5, 2.0)),
        errors={OURS: 2e-6, ONNXRUNTIME: 0.0, PATIENT: 0.0},
        tolerance=1e-4,
        flops=1e8,
        peak=4e11,
        over_floor=4.0,
        roofline=5e-4,
        rounds=5,
    )


def survey() -> Survey:
    starts = {OURS: Start(50.0, 0.1, 0.02), OPENVINO: Start(failure="an operator is missing")}
    return Survey(
        date="2030-01-02",
        machine={"processor": "one of the tests"},
        versions={"tilewright": "0"},
        plan=QUICK,
        bare=26.0,
        results=[
            result(2.0, threads=1),
            result(0.5),
            result(4.0, batch=8),
            Result(Case("piper-joe", {}, 2), failure="killed by SIGKILL"),
        ],
        costs=[Costs("magika", 2, fresh=3.0, cached=0.5, starts=starts), Costs("piper-joe", 2, failure="no memory")],
    )
