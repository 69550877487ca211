"""The survey as tables for the terminal, with the bounds that its results are held to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from benchmarks.cases import counted
from benchmarks.contenders import OURS
from benchmarks.costs import Costs, Start
from benchmarks.result import Result, geometric_mean, measured, thread_counts
from benchmarks.survey import Survey
from benchmarks.table import Row, Rows, held

IN_TURN_FLOORS = {("minilm-l6-v2-int8", "batch 1, seq 128"): 1.0}  # on all the threads that there are


def tables(found: Survey) -> Mapping[str, Rows]:
    """One for each number of threads, and one for what the models cost before they run."""
    counts = thread_counts(found.results)
    named = {title(found.results, count): rows_of(found.results, count, counts[-1]) for count in counts}
    memory = f"before the first result (a process with numpy alone takes {found.bare:.0f} MiB)"
    return {**named, memory: [costs_row(costs) for costs in found.costs]}


def title(results: Iterable[Result], threads: int) -> str:
    ratios = [r.ratio.middle for r in measured(results, threads)]
    mean = f", geometric mean of the ratios {geometric_mean(ratios):.2f}" if ratios else ""
    return f"models on {counted(threads, 'thread')}{mean}"


def rows_of(results: Iterable[Result], threads: int, most: int) -> Rows:
    return [row_of(result, most) for result in results if result.case.threads == threads]


def row_of(result: Result, most: int) -> Row:
    """`ratio`: the fastest peer's time over ours. `in turn`: the same beside onnxruntime, where nobody waits."""
    row: Row = {"model": result.case.model, "sizes": result.case.shown}
    if result.failure:
        return {**row, "bounds": f"failed: {result.failure}", "kept": False}
    ratio, in_turn = result.ratio, result.in_turn
    row = {
        **row,
        "ours ms": result.medians[OURS] * 1e3,
        "fastest peer": result.peer,
        "its ms": result.medians[result.peer] * 1e3,
        "ratio": ratio.middle,
        "quartiles": f"{ratio.low:.2f} to {ratio.high:.2f}",
        "in turn": in_turn.ratio.middle if in_turn else "",
        "error": shown_error(result),
        "over floor": result.over_floor or "",
        "over roofline": result.over_roofline or "",
    }
    floor = IN_TURN_FLOORS.get((result.case.model, result.case.shown)) if result.case.threads == most else None
    return held(row, "in turn", floor=floor)


def shown_error(result: Result) -> str:
    """The worst error of our outputs, and whether it is more than it may be."""
    error = result.errors[OURS]
    if error is None:
        return "differs"
    return f"{error:.1e}" + (f" > {result.tolerance:g}" if error > result.tolerance else "")


def costs_row(costs: Costs) -> Row:
    if costs.failure:
        return {"model": costs.model, "bounds": f"failed: {costs.failure}", "kept": False}
    starts = {f"{name} MiB, load s, first ms": shown_start(start) for name, start in costs.starts.items()}
    return {"model": costs.model, "fresh compile s": costs.fresh, "cached s": costs.cached, **starts}


def shown_start(start: Start) -> str:
    if start.failure:
        return "fails"
    return f"{start.mebibytes:.0f}, {start.load:.2f}, {start.first * 1e3:.3g}"
