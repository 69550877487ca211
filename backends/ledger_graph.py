"""The graph of kernels as SVG, coloured by time: an arrow goes from each kernel to those that read its results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tilewright.backends.ledger_layout import HEIGHT, WIDTH, Item, layout
from tilewright.backends.ledger_svg import cut, duration, heat, is_dark, short_name, text

if TYPE_CHECKING:
    from tilewright.backends.ledger import Report

_MARGIN = 12


def graph(report: Report) -> str:
    found = layout([row.reads for row in report.rows])
    items = [item for layer in found.layers for item in layer]
    width, height = found.width + 2 * _MARGIN, found.height + 2 * _MARGIN
    longest = max((row.seconds for row in report.rows), default=0.0)
    body = [line for item in items for line in _lines(item)]
    body += [part for item in items for part in _box(report, item, longest)]
    return (
        f'<svg class="graph" viewBox="{-_MARGIN} {-_MARGIN} {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="The kernels, and which reads the results of which">\n'
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 1 L10 5 L0 9 z" class="head"/></marker></defs>\n' + "\n".join(body) + "\n</svg>"
    )


def _lines(item: Item) -> Iterator[str]:
    """To all below; a bend is a piece of a line that runs straight down."""
    if item.row is None:
        yield f'<path class="edge" d="M{item.x:.1f} {item.top:.1f} V{item.bottom:.1f}"/>'
    for below in item.below:
        middle = (item.bottom + below.top) / 2
        head = "" if below.row is None else ' marker-end="url(#head)"'
        yield (
            f'<path class="edge" d="M{item.x:.1f} {item.bottom:.1f} C{item.x:.1f} {middle:.1f} '
            f'{below.x:.1f} {middle:.1f} {below.x:.1f} {below.top:.1f}"{head}/>'
        )


def _box(report: Report, item: Item, longest: float) -> Iterator[str]:
    if item.row is None:
        return
    row = report.rows[item.row]
    part = row.seconds / longest if longest else 0.0
    left, ink = item.x - WIDTH / 2, "light" if is_dark(part) else "dark"
    kind = "box host" if row.origin == "host" else "box"
    name, spent = cut(short_name(row.kernel), 21), duration(row.seconds) if report.profiled else row.origin
    yield f'<g class="kernel" data-row="{item.row}" transform="translate({left:.1f} {item.top:.1f})">'
    yield f'<rect class="{kind}" width="{WIDTH:.0f}" height="{HEIGHT:.0f}" rx="5" fill="{heat(part)}"/>'
    yield text(9, 18, name, ink)
    yield text(WIDTH - 9, 18, cut(spent, 11), f"{ink} end")
    yield "</g>"
