"""The ledger as one page that needs nothing else: summary, roofline, the graph of kernels, and a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from tilewright.backends.ledger_graph import graph
from tilewright.backends.ledger_roofline import roofline, shown
from tilewright.backends.ledger_style import SCRIPT, STYLE
from tilewright.backends.ledger_svg import duration, heat

if TYPE_CHECKING:
    from tilewright.backends.ledger import Report, Row

_TEXTS = ("#", "kernel", "from", "by", "type")
_NUMBERS = ("calls", "µs", "% of time", "GFLOP/s", "% of peak", "GB/s", "% of memory")


def page(report: Report) -> str:
    sections = [_head(report), _roofline(report), _graph(report), _table(report)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Tilewright: the ledger</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + f'\n<div id="hint" hidden></div>\n<script type="application/json" id="rows">{_data(report)}</script>\n'
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _head(report: Report) -> str:
    """The numbers that matter most, large; then the summary as the table of the terminal has it."""
    rows, peaks = report.rows, report.peaks
    facts = [("kernels", str(len(rows))), ("on the host", str(len(report.host_rows())))]
    if report.profiled:
        flops = sum(row.flops for row in rows)
        facts = [
            ("a call", duration(report.seconds)),
            *facts,
            ("on average", f"{flops / report.seconds / 1e9:.3g} GFLOP/s"),
            ("of the peak", f"{flops / report.seconds / peaks.flops:.0%}"),
        ]
    shown_facts = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in facts)
    return f'<h1>The ledger</h1>\n<div class="facts">{shown_facts}</div>\n<p>{escape(report.summary())}</p>'


def _roofline(report: Report) -> str:
    if not report.profiled:
        return ""
    left_out = len(report.rows) - len(shown(report))
    others = f" Not shown, as they do no arithmetic: {left_out} of {len(report.rows)}." if left_out else ""
    note = (
        "Each circle is a kernel; its area is its time. The roofs are what this machine was measured to do at most: "
        f"multiply-adds in float32, and reading memory. What stays in the caches can be above the slope.{others}"
    )
    return f"<h2>Roofline</h2>\n<p>{note}</p>\n{roofline(report)}"


def _graph(report: Report) -> str:
    scale = "".join(f'<i style="background:{heat((step / 10) ** 2)}"></i>' for step in range(11))
    longest = max((row.seconds for row in report.rows), default=0.0)
    legend = f'<p class="legend">0 {scale} {duration(longest)}; a dashed frame: on the host</p>' if longest else ""
    return f'<h2>Kernels</h2>\n{legend}\n<div class="scroll">{graph(report)}</div>'


def _table(report: Report) -> str:
    head = "".join(f'<th scope="col"{_kind(name)}>{escape(name)}</th>' for name in (*_TEXTS, *_NUMBERS))
    rows = "\n".join(_line(report, place, row) for place, row in enumerate(report.rows))
    find = '<p><input id="find" type="search" placeholder="only kernels that contain …" aria-label="filter"></p>'
    return (
        f"<h2>Table</h2>\n<p>A click on a column's name sorts by it.</p>\n{find}\n"
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'
    )


def _kind(name: str) -> str:
    return ' class="number"' if name in _NUMBERS else ""


def _line(report: Report, place: int, row: Row) -> str:
    texts = (row.kernel, ", ".join(row.sources), row.origin, row.dtype)
    cells = "".join(f'<td title="{escape(cell)}">{escape(cell)}</td>' for cell in texts)
    numbers = "".join(f'<td class="number" data-value="{value!r}">{said}</td>' for value, said in _numbers(report, row))
    return f'<tr data-row="{place}"><td data-value="{place}">{place}</td>{cells}{numbers}</tr>'


def _numbers(report: Report, row: Row) -> Iterator[tuple[float, str]]:
    """Each number with its text, in the order of the columns."""
    part = row.seconds / (report.kernel_seconds() or 1.0)
    yield row.calls, str(row.calls)
    yield row.seconds, f"{row.seconds * 1e6:.1f}"
    yield part, f'<span class="bar" style="width:{48 * part:.1f}px"></span>{part:.1%}'
    yield row.flops_per_second, _blank(row.flops_per_second, f"{row.flops_per_second / 1e9:.1f}")
    yield report.share_of_peak(row), _blank(row.flops, f"{report.share_of_peak(row):.0%}")
    yield row.bytes_per_second, _blank(row.bytes_per_second, f"{row.bytes_per_second / 1e9:.1f}")
    yield report.share_of_bandwidth(row), _blank(row.bytes, f"{report.share_of_bandwidth(row):.0%}")


def _blank(value: float, said: str) -> str:
    return said if value else ""


def _data(report: Report) -> str:
    """What is shown of each kernel beside the pointer, as JSON that cannot end the script that it stands in."""
    rows = [[row.kernel, *_details(report, row)] for row in report.rows]
    return json.dumps(rows, ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _details(report: Report, row: Row) -> Iterator[str]:
    yield f"from {', '.join(row.sources) or 'nothing that has a name'}"
    yield f"by {row.origin or 'hand'}, {row.dtype}" + ("" if row.region == "main" else f", in {row.region}")
    if not report.profiled:
        return
    part = row.seconds / (report.kernel_seconds() or 1.0)
    calls = f" in {row.calls} calls" if row.calls != 1 else ""
    yield f"{duration(row.seconds)}{calls}, {part:.1%} of the time"
    if row.flops:
        rate, share = row.flops_per_second / 1e9, report.share_of_peak(row)
        yield f"{row.flops / 1e6:.3g} MFLOP: {rate:.3g} GFLOP/s, {share:.0%} of the peak"
    if row.bytes:
        rate, share = row.bytes_per_second / 1e9, report.share_of_bandwidth(row)
        yield f"{row.bytes / 1e6:.3g} MB: {rate:.3g} GB/s, {share:.0%} of memory's bandwidth"
    if row.flops and row.bytes:
        yield f"{row.intensity:.3g} operations for each byte"
