"""The survey as a page: docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from benchmarks.cases import counted
from benchmarks.contenders import ONNXRUNTIME, OPENVINO, OURS, PATIENT, ROUNDING, SINGLE
from benchmarks.costs import Costs, Start
from benchmarks.method import METHOD
from benchmarks.result import Result, geometric_mean, measured, thread_counts
from benchmarks.summary import shown_error
from benchmarks.survey import Survey

HEAD = """# Benchmarks

Tilewright beside onnxruntime and OpenVINO, on the open models of `examples/model_zoo`. `make bench` measures it all and
writes this page, [the numbers](benchmarks.json) and the chart; nothing here is written by hand.

![The ratio of times for each model, sizes and number of threads](benchmarks.svg)
"""
PEERS = (ONNXRUNTIME, PATIENT, SINGLE, OPENVINO, ROUNDING)


def page(found: Survey) -> str:
    sections = [
        HEAD,
        f"Measured on {found.date}.{found.shortened}",
        summary(found.results),
        *(results(found.results, count) for count in thread_counts(found.results)),
        failures(found),
        costs(found),
        METHOD.format(plan=found.plan),
        facts("## Machine", found.machine),
        facts("## Versions", found.versions),
    ]
    return "\n".join(f"{section.strip()}\n" for section in sections if section)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table of Markdown; the first `left` columns are texts, the others numbers."""
    rules = ["---"] * left + ["--:"] * (len(columns) - left)
    lines = [columns, rules, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def summary(found: Sequence[Result]) -> str:
    """The geometric means of the ratios, and how many rows are won and lost."""
    columns = ["", "rows", "faster", "slower", "failed", "fastest peer", "fastest onnxruntime", OPENVINO]
    rows = []
    for count in thread_counts(found):
        here = measured(found, count)
        faster = sum(r.ratio.middle >= 1 for r in here)
        failed = sum(bool(r.failure) for r in found if r.case.threads == count)
        means = [
            mean(here, lambda r: r.peer),
            mean(here, lambda r: r.onnxruntime),
            mean([r for r in here if OPENVINO in r.ratios and r.agrees(OPENVINO)], lambda r: OPENVINO),
        ]
        numbers = (len(here) + failed, faster, len(here) - faster, failed)
        rows.append([counted(count, "thread"), *map(str, numbers), *means])
    head = "\nThe geometric mean over the rows of the peer's time over ours: above 1, Tilewright is faster.\n\n"
    return head + table(columns, rows)


def mean(found: Sequence[Result], peer: Callable[[Result], str]) -> str:
    return f"{geometric_mean(r.ratios[peer(r)].middle for r in found):.2f}" if found else ""


def results(found: Sequence[Result], threads: int) -> str:
    peers = [p for p in PEERS if any(p in r.medians or p in r.failed for r in found if r.case.threads == threads)]
    columns = ["model", "sizes", "", "ratio", "quartiles", f"{OURS} ms", *(f"{p} ms" for p in peers)]
    columns += ["in turn", "error", "over floor", "over roofline"]
    rows = [result_row(r, peers) for r in found if r.case.threads == threads]
    return f"\n## On {counted(threads, 'thread')}\n\n{table(columns, rows, left=3)}"


def result_row(result: Result, peers: Sequence[str]) -> list[str]:
    row = [result.case.model, result.case.shown]
    if result.failure:
        return [*row, "failed", *[""] * (len(peers) + 7)]
    ratio, in_turn = result.ratio, result.in_turn
    return [
        *row,
        "faster" if ratio.middle >= 1 else "**slower**",
        f"{ratio.middle:.2f}",
        f"{ratio.low:.2f} to {ratio.high:.2f}",
        milliseconds(result.medians[OURS]),
        *(peer_cell(result, peer) for peer in peers),
        f"{in_turn.ratio.middle:.2f}" if in_turn else "",
        shown_error(result),
        *("" if over is None else f"{over:.2f}" for over in (result.over_floor, result.over_roofline)),
    ]


def peer_cell(result: Result, peer: str) -> str:
    """The fastest peer's time is bold; one that computes something else has its error beside it."""
    if peer not in result.medians:
        return "fails" if peer in result.failed else ""
    shown = milliseconds(result.medians[peer])
    if not result.agrees(peer):
        error = result.errors.get(peer)
        return f"{shown} (differs)" if error is None else f"{shown} (error {error:.1e})"
    return f"**{shown}**" if peer == result.peer else shown


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def failures(found: Survey) -> str:
    """What could not be measured, and why: each reason once."""
    rows = list(dict.fromkeys(reasons(found)))
    return f"\n## What fails\n\n{table(['model', 'runtime', 'why'], rows, left=3)}" if rows else ""


def reasons(found: Survey) -> Iterator[tuple[str, str, str]]:
    for result in found.results:
        if result.failure:
            yield (result.case.model, f"{OURS}, {result.case.shown}", result.failure)
        yield from ((result.case.model, peer, reason) for peer, reason in result.failed.items())
    yield from ((c.model, "compiling", c.failure) for c in found.costs if c.failure)


def costs(found: Survey) -> str:
    """Memory, loading, first run and compiling."""
    names = list(dict.fromkeys(name for cost in found.costs for name in cost.starts))
    columns = ["model", "compile s, fresh", "cached"]
    for title in ("MiB", "load s", "first run ms"):
        columns += [f"{title}, {name}" for name in names]
    rows = [costs_row(cost, names) for cost in found.costs]
    text = (
        "\n## Before the first result\n\n"
        "In processes of their own: the most memory that a process has had which loads the model (Tilewright: a saved\n"
        "one) and runs it once, at its first sizes. A process that has imported numpy and nothing else has\n"
        f"{found.bare:.0f} MiB. Loading goes from the import of the runtime to the loaded model. Compiling, which is\n"
        "done once, goes from the import to the compiled model, without the check: with an empty cache, and with a\n"
        "full one.\n\n"
    )
    return text + table(columns, rows)


def costs_row(costs: Costs, names: Sequence[str]) -> list[str]:
    if costs.failure:
        return [costs.model, "failed", *[""] * (1 + 3 * len(names))]
    starts = [costs.starts[name] for name in names]
    shown: list[Callable[[Start], str]] = [
        lambda s: f"{s.mebibytes:.0f}",
        lambda s: f"{s.load:.2f}",
        lambda s: f"{s.first * 1e3:.3g}",
    ]
    cells = ["fails" if start.failure else show(start) for show in shown for start in starts]
    return [costs.model, f"{costs.fresh:.1f}", f"{costs.cached:.2f}", *cells]


def facts(title: str, found: Mapping[str, str]) -> str:
    return f"\n{title}\n\n" + table(["", ""], found.items(), left=2)
