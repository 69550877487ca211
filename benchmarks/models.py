"""Every open model beside onnxruntime and OpenVINO: tables on the terminal, and the page in docs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.cases import NAMES, cases
from benchmarks.chart import chart
from benchmarks.page import page
from benchmarks.process import ROOT
from benchmarks.summary import tables
from benchmarks.survey import Say, Survey, steps, survey
from benchmarks.table import Rows
from tilewright.backends.threads import default_threads

DOCS = ROOT / "docs"


def run(
    names: Sequence[str] | None = None,
    threads: Sequence[int] | None = None,
    quick: bool = False,
    first_sizes: bool = False,
    write: Path | None = None,
) -> Mapping[str, Rows]:
    """Tables by title; `write` is a folder to keep all of it in.

    By default all models, on one thread and on as many as there are.
    """
    chosen = cases(names or NAMES, threads or sorted({1, default_threads()}), first_sizes)
    with progress(steps(chosen)) as (say, done):
        found = survey(chosen, quick, say, done)
    if write:
        keep(found, write)
    return tables(found)


def keep(found: Survey, folder: Path) -> None:
    """Write benchmarks.md, .json and .svg."""
    (folder / "benchmarks.json").write_text(json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
    (folder / "benchmarks.svg").write_text(chart(found.results))
    (folder / "benchmarks.md").write_text(page(found))


@contextmanager
def progress(total: int) -> Iterator[tuple[Say, Say]]:
    """What is being measured, and a line for each result, on standard error."""
    columns = BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=total)

        def done(line: str) -> None:
            bar.console.print(line, highlight=False, markup=False)
            bar.advance(task)

        yield lambda line: bar.update(task, description=line), done
