"""Every open model beside onnxruntime and OpenVINO: each case in a process of its own, so that a crash costs a row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks.cases import NAMES, Case
from benchmarks.contenders import OURS
from benchmarks.costs import Costs, bare_mebibytes, costs
from benchmarks.machine import machine, versions
from benchmarks.process import DiedError, brief, python
from benchmarks.result import Result
from benchmarks.rounds import QUICK, THOROUGH, Plan
from examples.model_zoo import FetchError, fetch

Say = Callable[[str], object]


@dataclass(frozen=True)
class Survey:
    """All that one run found. `bare`: MiB of a process with numpy alone."""

    date: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    plan: Plan
    bare: float
    results: Sequence[Result]
    costs: Sequence[Costs]

    @property
    def shortened(self) -> str:
        """What the page says of a run that was not the whole one."""
        models = {result.case.model for result in self.results}
        some = f" Only {len(models)} of the {len(NAMES)} models were measured." if len(models) < len(NAMES) else ""
        return some + (" A quick run: shorter rounds." if self.plan == QUICK else "")

    def to_json(self) -> dict[str, Any]:
        return {
            "date": self.date,
            "machine": self.machine,
            "versions": self.versions,
            "plan": asdict(self.plan),
            "bare_mebibytes": self.bare,
            "results": [result.to_json() for result in self.results],
            "costs": [cost.to_json() for cost in self.costs],
        }


def survey(chosen: Sequence[Case], quick: bool, say: Say, done: Say) -> Survey:
    """`say` is told what begins, `done` gets a line about each result. Models that cannot be fetched are failures."""
    plan = QUICK if quick else THOROUGH
    results = []
    for case in chosen:
        say(str(case))
        results.append(result_of(case, plan))
        done(outcome(results[-1]))
    found = []
    most = max(case.threads for case in chosen)
    for name in models_of(chosen):
        say(f"{name}, memory and compiling")
        found.append(costs_of(name, most, 1 if quick else 3))
        done(f"{name}: {found[-1].failure or f'compiled in {found[-1].fresh:.1f} s'}")
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    return Survey(date, machine(), versions(), plan, bare_mebibytes(), results, found)


def steps(chosen: Sequence[Case]) -> int:
    """How many times `done` is called."""
    return len(chosen) + len(models_of(chosen))


def models_of(chosen: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(case.model for case in chosen))


def outcome(result: Result) -> str:
    if result.failure:
        return f"{result.case}: {result.failure}"
    ours, ratio = result.medians[OURS] * 1e3, result.ratio.middle
    return f"{result.case}: {ours:.3g} ms, {ratio:.2f} times as fast as {result.peer}"


def result_of(case: Case, plan: Plan) -> Result:
    """Measure a case. A peer that takes the process down with it is left out, with the reason, and all begins anew."""
    without: dict[str, str] = {}
    while True:
        try:
            fetch(case.model)
            return measured(case, plan, without)
        except FetchError as error:
            return Result(case, failure=brief(error))
        except DiedError as error:
            culprit = running_at_death(error.said)
            if culprit in ("", OURS) or culprit in without:
                return Result(case, failure=str(error))
            without[culprit] = str(error)


def measured(case: Case, plan: Plan, without: Mapping[str, str]) -> Result:
    asked = json.dumps({"case": asdict(case), "plan": asdict(plan), "without": without})
    return Result.from_json(python("benchmarks.measure", asked))


def running_at_death(said: str) -> str:
    """The runtime that a process was trying when it said its last; none once all had been tried."""
    lines = [line for line in said.splitlines() if line.startswith('{"at": ')]
    return str(json.loads(lines[-1])["at"]) if lines else ""


def costs_of(name: str, threads: int, runs: int) -> Costs:
    try:
        return costs(name, threads, runs)
    except FetchError as error:
        return Costs(name, threads, failure=brief(error))
