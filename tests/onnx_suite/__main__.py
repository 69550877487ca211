"""ONNX's own test cases, each compiled, run and compared: `python -m tests.onnx_suite`, or `make test-onnx`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.onnx_suite import document, exceptions, verdict
from tests.onnx_suite.cases import KINDS, Case, load_cases
from tests.onnx_suite.record import Record
from tests.onnx_suite.workers import SECONDS_A_CASE, run_all

_SHOWN = 40
_EVERY = 200  # cases, between two lines where the output is no terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 where all is well: see `verdict.faults`, and the page docs/operators.md is up to date."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    console.print("Loading the cases; the first time they are generated, which takes half a minute ...")
    cases = [case for case in load_cases() if _asked_for(case, options)]
    start = time.perf_counter()
    records = list(_watched(run_all(cases, options.processes, options.limit), len(cases), console))
    _print_table(console, records)
    console.print(f"{len(records)} cases took {time.perf_counter() - start:.0f} s on {options.processes} processes.")
    if options.json:
        options.json.write_text(json.dumps(verdict.to_json(records), indent=1))
    return _judged(console, records, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.onnx_suite", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", action="append", help="the cases whose kind/name contains TEXT")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what became of every case")
    parser.add_argument("--processes", type=int, default=2, help="how many cases run at a time (default: 2)")
    parser.add_argument("--limit", type=float, default=SECONDS_A_CASE, help="seconds after which a case has hung")
    parser.add_argument(
        "--update", action="store_true", help="rewrite docs/operators.md, and remove exceptions that no longer are any"
    )
    return parser


def _asked_for(case: Case, options: argparse.Namespace) -> bool:
    return not options.only or any(text in f"{case.kind}/{case.name}" for text in options.only)


def _watched(records: Iterable[Record], total: int, console: Console) -> Iterator[Record]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    failed = 0
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        for number, record in enumerate(records, 1):
            failed += not record.passed
            progress.update(task, advance=1, description=f"{record.name[:50]:50} {failed} failed")
            if not console.is_terminal and number % _EVERY == 0:
                console.print(f"{number} of {total}, {failed} failed")
            yield record


def _print_table(console: Console, records: Sequence[Record]) -> None:
    """Failures by their reason, then the counts."""
    for reason, count in verdict.reasons(records)[:_SHOWN]:
        console.print(f"{count:5} failed: {reason}", markup=False)
    for record in verdict.on_the_host_against_the_rules(records)[:_SHOWN]:
        console.print(f"on the host: {record.kind}/{record.name}: {', '.join(record.host)}", markup=False)
    for kind in KINDS:
        if of_kind := [record for record in records if record.kind == kind]:
            compiled, passed = sum(r.compiled for r in of_kind), sum(r.passed for r in of_kind)
            console.print(f"{kind}: {len(of_kind)} cases, {passed} pass, {compiled} of them fully compiled.")
    console.print(str(verdict.Totals.of(records)))


def _judged(console: Console, records: Sequence[Record], options: argparse.Namespace) -> int:
    whole = not options.only
    if whole and options.update:
        document.FILE.write_text(document.render(records))
        exceptions.remove(exceptions.no_longer(records, exceptions.read_exceptions()))
    found = verdict.faults(records, exceptions.read_exceptions(), whole=whole)
    if whole and document.FILE.read_text() != document.render(records):
        found.append(f"{document.FILE.name} is out of date: make test-onnx UPDATE=1 writes it anew")
    for fault in found:
        console.print(f"FAULT {fault}", markup=False)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
