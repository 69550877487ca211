"""The ratios as a bar chart, in plain SVG: right of the line in the middle we are faster, left of it slower."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.cases import Case, counted
from benchmarks.result import Result, thread_counts
from benchmarks.rounds import Spread

ROW, BAR, TOP, BOTTOM = 24, 12, 92, 36
LABELS, PANEL, GAP, MARGIN = 330, 340, 34, 20
LEAST, MOST = 1 / 8, 16.0  # ratios beyond are cut off, but their numbers are shown
PLACE = 46  # beside a bar, for its number
FASTER, SLOWER, INK, PALE, GRID = "#2563eb", "#ea580c", "#1e293b", "#64748b", "#e2e8f0"
STYLE = (
    "text{font-family:system-ui,sans-serif;font-size:12px;fill:" + INK + "}"
    ".pale{fill:" + PALE + "}.head{font-weight:600}.title{font-size:15px;font-weight:600}"
)


class Axis:
    """Ratios on a logarithmic scale, around 1."""

    def __init__(self, left: float, width: float, spreads: Sequence[Spread]) -> None:
        numbers = [x for spread in spreads for x in (spread.low, spread.high)]
        self.least = max(LEAST, min([0.5, *numbers]))
        self.most = min(MOST, max([2.0, *numbers]))
        self.left, self.width = left + PLACE, width - 2 * PLACE

    def at(self, ratio: float) -> float:
        ratio = min(max(ratio, self.least), self.most)
        return self.left + self.width * math.log(ratio / self.least) / math.log(self.most / self.least)

    def ticks(self) -> list[float]:
        exponents = range(math.ceil(math.log2(self.least)), math.floor(math.log2(self.most)) + 1)
        return [2.0**exponent for exponent in exponents]


def chart(results: Sequence[Result]) -> str:
    """One row for each model and sizes, one panel for each number of threads."""
    counts = thread_counts(results)
    rows = list(dict.fromkeys((r.case.model, r.case.shown) for r in results))
    width = LABELS + len(counts) * (PANEL + GAP) + MARGIN
    height = TOP + ROW * len(rows) + BOTTOM
    body = [*heading(width), *labels(rows)]
    spreads = [r.ratio for r in results if r.ratios]
    for number, count in enumerate(counts):
        axis = Axis(LABELS + number * (PANEL + GAP), PANEL, spreads)
        body += grid(axis, count, len(rows))
        for result in results:
            if result.case.threads == count:
                body += bar(result, axis, middle(rows.index((result.case.model, result.case.shown))))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-labelledby="title">\n<title id="title">How fast each model runs beside its fastest peer</title>\n'
        f'<style>{STYLE}</style>\n<rect width="{width}" height="{height}" rx="12" fill="#f8fafc"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def middle(row: int) -> float:
    return TOP + ROW * row + ROW / 2


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'


def heading(width: float) -> Iterator[str]:
    yield text(MARGIN, 30, "Times as fast as the fastest peer", "title")
    legend = ((FASTER, "faster"), (SLOWER, "slower"))
    for number, (colour, word) in enumerate(legend):
        x = width - MARGIN - 150 + 78 * number
        yield f'<rect x="{x}" y="20" width="12" height="12" rx="2" fill="{colour}"/>'
        yield text(x + 18, 30, word)
    yield text(MARGIN, 50, "Median over rounds of the ratio of times; the lines are quartiles; logarithmic.", "pale")


def labels(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The model's name where it begins, and the sizes of every row."""
    for number, (model, sizes) in enumerate(rows):
        if number == 0 or rows[number - 1][0] != model:
            if number:
                y = TOP + ROW * number
                yield f'<line x1="{MARGIN}" x2="{LABELS}" y1="{y}" y2="{y}" stroke="{GRID}"/>'
            yield text(MARGIN, middle(number) + 4, model, "head")
        yield text(LABELS - 12, middle(number) + 4, sizes, "pale", "end")


def grid(axis: Axis, threads: int, rows: int) -> Iterator[str]:
    bottom = TOP + ROW * rows
    yield text(axis.at(1.0), 74, counted(threads, "thread"), "head", "middle")
    for tick in axis.ticks():
        x = axis.at(tick)
        stroke = f'stroke="{PALE}" stroke-width="1.5"' if tick == 1 else f'stroke="{GRID}"'
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom + 4}" {stroke}/>'
        yield text(x, bottom + 20, f"{tick:g}", "pale", "middle")


def bar(result: Result, axis: Axis, y: float) -> Iterator[str]:
    """From 1 to the ratio, with a line from quartile to quartile, and the number beside both."""
    if result.failure:
        yield text(axis.at(1.0) + 8, y + 4, "failed", "pale")
        return
    ratio, hint = result.ratio, tooltip(result.case, result)
    start, end = sorted((axis.at(1.0), axis.at(ratio.middle)))
    low, high = axis.at(ratio.low), axis.at(ratio.high)
    colour = FASTER if ratio.middle >= 1 else SLOWER
    yield f"<g><title>{escape(hint)}</title>"
    yield (
        f'<rect x="{start:.1f}" y="{y - BAR / 2:.1f}" width="{max(end - start, 1):.1f}" height="{BAR}" rx="2" '
        f'fill="{colour}"/>'
    )
    yield f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{INK}" stroke-width="1.2"/>'
    if ratio.middle >= 1:
        yield text(max(end, high) + 6, y + 4, f"{ratio.middle:.2f}")
    else:
        yield text(min(start, low) - 6, y + 4, f"{ratio.middle:.2f}", "", "end")
    yield "</g>"


def tooltip(case: Case, result: Result) -> str:
    ratio = result.ratio
    return f"{case}: {ratio.middle:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) beside {result.peer}"
