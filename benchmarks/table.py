"""Results as rows, which may carry floors and limits that they are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

Row = Mapping[str, str | float | bool]
Rows = Sequence[Row]


def held(row: Row, key: str, *, floor: float | None = None, limit: float | None = None) -> Row:
    """The row with a bound on one of its numbers, and whether it keeps this and its other bounds."""
    value = float(row[key])
    bounds = [(value >= floor, f"{key} >= {floor:g}")] if floor is not None else []
    bounds += [(value <= limit, f"{key} <= {limit:g}")] if limit is not None else []
    for kept, text in bounds:
        texts = [str(row["bounds"])] if "bounds" in row else []
        row = {**row, "bounds": ", ".join([*texts, text]), "kept": kept and row.get("kept", True) is True}
    return row


def missed(rows: Rows) -> Rows:
    return [row for row in rows if row.get("kept") is False]


def show(title: str, rows: Rows) -> None:
    """Print the rows as a table, with a column for every key."""
    names = columns(rows)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(name, justify="left" if name == names[0] else "right")
    for row in rows:
        table.add_row(*(cell(row.get(name, "")) for name in names))
    Console(width=160).print(table)


def columns(rows: Rows) -> list[str]:
    """The keys of all rows, in the order in which they come."""
    return list(dict.fromkeys(key for row in rows for key in row))


def cell(value: str | float | bool) -> str:
    """A value of a row as text."""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
