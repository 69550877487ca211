"""What is measured beside the models, as a page: docs/kernels.md."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from benchmarks import machine
from benchmarks.page import facts, table
from benchmarks.table import Rows, cell, columns

HEAD = """# Kernels, compiling and starting

Single kernels against what the machine can do at most, and what a user waits for. `make bench` measures it all and
writes this page; nothing here is written by hand. Whole models are in [Benchmarks](benchmarks.md).
"""
ABOUT = {
    "gemm": """float32 products with constant weights, in turn with work that is nothing but multiply-adds in registers,
on as many threads and for as long. `share` is the median of the paired ratios of both rates, `low` and `high` are the
quartiles. The whole call also copies its input and makes its output; `onnxruntime` is the rate of its whole calls, in
turn with ours, with idle threads that sleep. `error` is that of the worst element against the product in float64, in
1e-7 of the largest magnitude, `their error` onnxruntime's. Where the processor has AMX, a share may be more than 1: its
tiles multiply bfloat16 up to sixteen times as fast, and take six products of pieces for one of float32.""",
    "streaming": """`share` is the kernel's rate over that of copying as much with as many threads, the median of paired
ratios, `low` and `high` are the quartiles. Both write past the caches, to memory that has been written to before; rates
count what is read and what is written.""",
    "compiling": "Seconds from the import to the compiled model, without the check.",
    "starting": """A `python` process from its start to the first result of a saved model, and its memory beside that of
the file.""",
}


def kernels_page(tables: Mapping[str, Rows]) -> str:
    """The tables by title, with the machine and the versions they were measured with."""
    sections = [
        HEAD,
        f"Measured on {datetime.now(UTC):%Y-%m-%d}.",
        *(f"\n## {title}\n\n{ABOUT.get(title, '')}\n\n{_table(rows)}" for title, rows in tables.items()),
        facts("## Machine", machine.machine()),
        facts("## Versions", machine.versions()),
    ]
    return "\n".join(f"{section.strip()}\n" for section in sections)


def _table(rows: Rows) -> str:
    names = columns(rows)
    return table(names, ([cell(row.get(name, "")) for name in names] for row in rows))
