"""The tables, the page and the chart, from numbers that were never measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.cases import Case
from benchmarks.chart import Axis, chart
from benchmarks.contenders import OURS, ROUNDING
from benchmarks.kernels_page import kernels_page
from benchmarks.models import keep
from benchmarks.page import page, peer_cell, table
from benchmarks.rounds import THOROUGH, Spread
from benchmarks.summary import rows_of, shown_error, tables
from benchmarks.table import missed
from tests.benchmarks.results import result, survey

SVG = "{http://www.w3.org/2000/svg}"


def test_tables() -> None:
    found = tables(survey())
    assert list(found)[:2] == [
        "models on 1 thread, geometric mean of the ratios 2.00",
        "models on 2 threads, geometric mean of the ratios 1.41",
    ]
    first = found["models on 2 threads, geometric mean of the ratios 1.41"][0]
    assert (first["ratio"], first["its ms"], first["fastest peer"]) == (0.5, 0.5, "onnxruntime, no spinning")
    assert [row["model"] for row in missed([row for rows in found.values() for row in rows])] == ["piper-joe"] * 2


def test_bounds() -> None:
    slow = replace(result(), case=Case("minilm-l6-v2-int8", {"batch": 1, "seq": 128}, 2))
    assert slow.in_turn is not None
    slow = replace(slow, in_turn=replace(slow.in_turn, ratio=Spread(0.8, 0.9, 1.0)))
    [row] = rows_of([slow], 2, 2)
    assert (row["kept"], row["bounds"]) == (False, "in turn >= 1")
    assert "kept" not in rows_of([slow], 2, 4)[0]


def test_errors_that_are_too_large_are_marked() -> None:
    assert shown_error(result()) == "2.0e-06"
    assert shown_error(replace(result(), errors={OURS: 0.5})) == "5.0e-01 > 0.0001"
    assert shown_error(replace(result(), errors={OURS: None})) == "differs"


def test_page() -> None:
    text = page(survey())
    assert "| 2 threads | 3 | 1 | 1 | 1 | 1.41 | 1.41 |  |" in text
    assert "| magika | batch 1 | **slower** | 0.50 | 0.45 to 0.55 | 1 | 1 | **0.5** | fails | 1.50 |" in text
    assert "| piper-joe | fixed | failed |" in text
    assert "| magika | OpenVINO | an operator <X> is missing \\| here |" in text
    assert text.count("an operator <X> is missing") == 1
    assert "Only 2 of the 15 models" in text and "A quick run" in text
    assert "timed runs for 0.03 s" in text
    assert "A quick run" not in page(replace(survey(), plan=THOROUGH))


def test_a_peer_that_computes_something_else_has_its_error_beside_its_time() -> None:
    found = result(2.0)
    found = replace(found, medians={**found.medians, ROUNDING: 5e-4}, errors={**found.errors, ROUNDING: 0.015})
    assert peer_cell(found, ROUNDING) == "0.5 (error 1.5e-02)"
    assert peer_cell(replace(found, errors={**found.errors, ROUNDING: None}), ROUNDING) == "0.5 (differs)"
    assert peer_cell(result(2.0), ROUNDING) == ""


def test_columns_of_markdown() -> None:
    assert table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | --: |\n| x | 1 |\n"


def test_chart() -> None:
    results = [*survey().results, result(0.01, model="<&>")]
    root = ElementTree.fromstring(chart(results))
    texts = [node.text for node in root.iter(f"{SVG}text")]
    assert {"magika", "batch 8", "<&>", "2.00", "0.50", "0.01", "failed", "1 thread", "2 threads"} <= set(texts)
    width = float(root.attrib["viewBox"].split()[2])
    bars = [rect for group in root.iter(f"{SVG}g") for rect in group.iter(f"{SVG}rect")]
    assert len(bars) == 4
    assert all(0 <= float(bar.attrib["x"]) <= width - float(bar.attrib["width"]) for bar in bars)


def test_the_axis_reaches_as_far_as_the_numbers() -> None:
    axis = Axis(0.0, 100.0, [Spread(0.2, 0.3, 0.4), Spread(1.0, 5.0, 6.0)])
    assert axis.ticks() == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert axis.at(0.2) < axis.at(1.0) < axis.at(6.0) == axis.at(9.0)


def test_all_that_is_kept(tmp_path: Path) -> None:
    keep(survey(), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["benchmarks.json", "benchmarks.md", "benchmarks.svg"]
    data = json.loads((tmp_path / "benchmarks.json").read_text())
    assert data["results"][1]["ratio"]["middle"] == 0.5
    assert data["costs"][1]["failure"] == "no memory"


def test_the_page_of_kernels() -> None:
    text = kernels_page({"gemm": [{"M x N x K": "1 x 2 x 3", "share": 0.912, "kept": False}]})
    assert "| M x N x K | share | kept |" in text
    assert "| 1 x 2 x 3 | 0.912 | NO |" in text
    assert "## Machine" in text
