"""Measures one case, in a process of its own: `python -m benchmarks.measure CASE`, where CASE is JSON.

The last line that it prints is the result. The lines before say what is being done, so that whoever started the
process knows whose fault it was if it dies.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import tilewright as tw
from benchmarks.cases import Case
from benchmarks.contenders import LOADERS, OURS, Feed, Run, failures, outputs, peers
from benchmarks.process import brief
from benchmarks.result import Errors, InTurn, Result
from benchmarks.rounds import Plan, Spread, play
from examples.model_zoo import feeds, fetch
from tilewright import frontend
from tilewright.backends import CompiledModel, probes
from tilewright.backends.runtime import Runner
from tilewright.checking import tolerance_for
from tilewright.frontend import Imported
from tilewright.ir.agreement import compare_value, worst
from tilewright.ir.graph import Graph
from tilewright.timing import compare

IN_TURN = 1 / 20  # of the time for the rounds


def main(text: str) -> None:
    data = json.loads(text)
    result = measure(Case(**data["case"]), Plan(**data["plan"]), data["without"])
    print(json.dumps(result.to_json()))


def measure(case: Case, plan: Plan, without: Mapping[str, str]) -> Result:
    """`without` are peers to leave out, with the reasons. Raises CompilerError where ours cannot run the case."""
    path = fetch(case.model)["model.onnx"]
    [feed] = feeds(case.model, sizes=[case.sizes])
    say(OURS)
    model = tw.compile(path, threads=case.threads, check=False)
    model.run(feed)
    imported = frontend.read(path)
    runs, failed = load_peers(path, feed, case.threads, without, has_narrow_weights(imported.graph))
    runs = {OURS: model.run, **runs}
    say("")
    rounds = play({name: partial(run, feed) for name, run in runs.items()}, plan)
    report = model.report(feed, repeats=3)
    flops = sum(row.flops for row in report.rows)
    result = Result(
        case,
        medians=rounds.medians(),
        ratios={name: rounds.ratio(name, OURS) for name in runs if name != OURS},
        failed=failed,
        errors=errors(imported, runs, feed),
        tolerance=tolerance_for(imported.graph),
        flops=flops,
        peak=report.peaks.flops,
        over_floor=over_floor(model, feed, flops, plan.seconds * IN_TURN) if flops else None,
        roofline=report.roofline,
        rounds=len(rounds.turns[OURS]),
        restless=rounds.restless,
    )
    return in_turn(result, runs, feed, plan.seconds * IN_TURN)


def say(runtime: str) -> None:
    """The runtime that is being loaded and tried; none while they are compared."""
    print(json.dumps({"at": runtime}), flush=True)


def has_narrow_weights(graph: Graph) -> bool:
    """Whether there are matrices of 8 bits among the constants."""
    return any(value.rank >= 2 and value.dtype in ("int8", "uint8") for value in graph.constants)


def load_peers(
    path: Path, feed: Feed, threads: int, without: Mapping[str, str], narrow: bool
) -> tuple[dict[str, Run], dict[str, str]]:
    """Each peer that can load and run the model, and why the others cannot; `narrow` as `peers` has it."""
    names, runs = peers(threads, narrow), dict[str, Run]()
    failed = {name: reason for name, reason in without.items() if name in names}
    for name in names:
        if name in without:
            continue
        say(name)
        try:
            runs[name] = LOADERS[name](path, threads)
            runs[name](feed)
        except failures() as error:
            runs.pop(name, None)
            failed[name] = brief(error)
    return runs, failed


def errors(imported: Imported, runs: Mapping[str, Run], feed: Feed) -> Errors:
    """How far each runtime is from onnxruntime with exact 8-bit products."""
    names, expected = imported.graph.output_names, imported.original(feed)

    def error(run: Run) -> float | None:
        pairs = zip(names, outputs(run(feed)), expected, strict=True)
        found = worst(compare_value(name, got, want) for name, got, want in pairs)
        return None if found.problem else found.error

    return {name: error(run) for name, run in runs.items()}


def over_floor(model: CompiledModel, feed: Feed, flops: float, seconds: float) -> float:
    """The time of a run over that of as many multiply-adds in registers on as many threads, the median over pairs."""
    runner, lanes = Runner(model.program, model.executable, model.weights, ()), model.target.lanes(32)
    each = probes.operations_per_repeat(lanes, model.threads)
    repeats = max(1, round(flops / each))
    turns = compare(partial(model.run, feed), probes.multiply_adds(runner, lanes, model.threads, repeats), seconds)
    return repeats * each / flops / turns.ratio


def in_turn(result: Result, runs: Mapping[str, Run], feed: Feed, seconds: float) -> Result:
    beside = result.onnxruntime
    compared = compare(partial(runs[OURS], feed), partial(runs[beside], feed), seconds)
    return replace(result, in_turn=InTurn(beside, Spread(compared.low, compared.ratio, compared.high)))


if __name__ == "__main__":
    main(sys.argv[1])
