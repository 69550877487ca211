"""The ledger in each of its forms: table, JSON, trace, page; from rows that were never measured, and from a loop."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx.parser
import pytest

import tilewright as tw
from tests.backends.hand_written import PROGRAM
from tilewright.backends.flow import call_steps, sources
from tilewright.backends.ledger import Call, Report, Row
from tilewright.backends.ledger_layout import GAP, layout
from tilewright.backends.ledger_svg import duration, heat, short_name
from tilewright.backends.probes import Peaks

ODD = "a<b>&\"c'</script>"
ROWS = (
    Row("matmul_add_0123456789", (ODD,), "packed gemm", "float32", 1e-3, 5e7, 4e6, 1),
    Row("host", ("Nonzero",), "host", "int64", 2e-4, 0.0, 1e5, 1, (0,)),
    Row(ODD, (), "pointwise", "float32", 4e-4, 2e5, 8e5, 2, (0, 1), "region_0"),
    Row("idle", ("never",), "conv", "float32", reads=(2,), region="region_1"),
)
CALLS = (Call(0, 0.0, 1e-3), Call(2, 1e-3, 2e-4), Call(1, 2e-3, 2e-4), Call(2, 3e-3, 2e-4))
REPORT = Report(ROWS, {"x": (1, 3)}, 2e-3, Peaks(2, 1e11, 2e10), CALLS)
PLAIN = Report(tuple(Row(r.kernel, r.sources, r.origin, r.dtype) for r in ROWS), {}, 0.0, Peaks(2, 0.0, 0.0))
LOOP = """<ir_version: 8, opset_import: ["" : 17]>
looping (float[n, 4] x, int64 trips) => (float[n, 4] y) {
    c = Constant <value = bool {1}> ()
    s = Exp(x)
    r = Loop (trips, c, s) <body = b (int64 i, bool d, float[n, 4] a) => (bool e, float[n, 4] f) {
        e = Identity(d)  g = Tanh(a)  f = Softmax(g)
    }>
    y = Softmax(r)
}"""


def pictures(page: str) -> list[ElementTree.Element]:
    """The SVG parts of the page: each has to be XML by itself."""
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)]


def places(picture: ElementTree.Element) -> list[str]:
    return sorted(node.attrib["data-row"] for node in picture.iter() if "data-row" in node.attrib)


def test_shares() -> None:
    first = REPORT.rows[0]
    assert (REPORT.share_of_peak(first), REPORT.share_of_bandwidth(first)) == (0.5, 0.2)
    assert REPORT.share(first) == 0.5
    assert first.intensity == 12.5
    assert PLAIN.share(PLAIN.rows[0]) == 0.0


def test_roofline_is_the_longer_of_arithmetic_and_traffic_for_each_kernel() -> None:
    assert REPORT.roofline == pytest.approx(5e7 / 1e11 + 1e5 / 2e10 + 8e5 / 2e10)
    assert PLAIN.roofline == 0.0


def test_table() -> None:
    text = str(REPORT)
    assert re.search(r"packed gemm +float32 +1000\.0 +62\.5 +50\.0 +50% +4\.0 +20%", text)
    assert "4 kernels, 1 of them on the host, 2.000 ms a call for x [1, 3] on 2 threads." in text
    assert "Nothing was run" in str(PLAIN) and "GFLOP/s" not in str(PLAIN)


@pytest.mark.parametrize("report", [REPORT, PLAIN])
def test_json(report: Report) -> None:
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert [row["kernel"] for row in data["kernels"]] == [row.kernel for row in ROWS]
    if report.profiled:
        shown = {"flops_per_second": 5e10, "bytes_per_second": 4e9, "share_of_peak": 0.5, "share_of_bandwidth": 0.2}
        assert data["kernels"][0] | shown == data["kernels"][0]
        assert data["kernels"][2]["reads"] == [0, 1]


def test_trace() -> None:
    events = json.loads(json.dumps(REPORT.to_trace(), allow_nan=False))["traceEvents"]
    calls = [event for event in events if event["ph"] == "X"]
    assert [event["name"] for event in calls] == [ROWS[call.row].kernel for call in CALLS]
    assert [event["ts"] for event in calls] == pytest.approx([0.0, 1000.0, 2000.0, 3000.0])
    assert calls[0]["dur"] == pytest.approx(1000.0)
    arguments = {"rule": "packed gemm", "sources": [ODD], "flops": 5e7, "bytes": 4e6, "GFLOP/s": 50.0}
    assert calls[0]["args"] | arguments == calls[0]["args"]
    assert calls[1]["args"]["flops"] == 1e5  # half of its row's, which is called twice
    assert [e for e in PLAIN.to_trace()["traceEvents"] if e["ph"] == "X"] == []


def test_page() -> None:
    page = REPORT.to_html()
    assert page.count("</script>") == 2  # no name ends a script
    assert "http" not in page.replace("http-equiv", "")  # it needs no network
    assert page.count("<tr data-row=") == len(ROWS)
    roofline, graph = pictures(page)
    assert places(roofline) == ["0", "2"]  # those that do arithmetic, and ran
    assert places(graph) == ["0", "1", "2", "3"]
    texts = [node.text for node in graph.iter() if node.tag.endswith("text")]
    assert {"matmul_add", "1 ms", "host", ODD} <= set(texts)
    rows = json.loads(re.findall(r'<script type="application/json" id="rows">(.*?)</script>', page)[0])
    assert rows[0][:2] == ["matmul_add_0123456789", f"from {ODD}"]
    assert "50 GFLOP/s, 50% of the peak" in " ".join(rows[0])


def test_page_of_a_report_without_a_profile_or_without_kernels() -> None:
    [graph] = pictures(PLAIN.to_html())
    assert places(graph) == ["0", "1", "2", "3"]
    assert len(pictures(Report((), {}, 1e-6, Peaks(1, 1e11, 2e10)).to_html())) == 2


def test_layers_and_bends() -> None:
    found = layout([(), (0,), (1,), (0, 2), ()])
    assert [[item.row for item in layer if item.row is not None] for layer in found.layers] == [[0, 4], [1], [2], [3]]
    assert [sum(item.row is None for item in layer) for layer in found.layers] == [0, 1, 1, 0]
    for layer in found.layers:
        assert all(right.x - left.x >= left.half + GAP + right.half - 1e-6 for left, right in pairwise(layer))
        assert all(item.half - 1e-6 <= item.x <= found.width - item.half + 1e-6 for item in layer)
    assert layout([]).layers == []


def test_what_is_read_by_one_kernel_lies_right_above_it() -> None:
    found = layout([(), (0,), (1,), (), (2, 3)])
    assert [item.layer for layer in found.layers for item in layer if item.row == 3] == [2]


def test_words_and_colours() -> None:
    assert [duration(s) for s in (2.5, 3.21e-3, 4.5e-6)] == ["2.5 s", "3.21 ms", "4.5 µs"]
    assert short_name("conv_add_0123456789") == "conv_add" and short_name("host") == "host"
    assert heat(0.0) != heat(0.5) != heat(1.0) == heat(2.0)


def test_which_step_feeds_which() -> None:
    assert [type(step).__name__ for step in call_steps(PROGRAM)] == ["KernelCall"] * 2 + ["HostCall", "KernelCall"]
    assert sources(PROGRAM) == ((), (0,), (1,), (2,))


@pytest.fixture(scope="module")
def looping() -> Any:
    return tw.compile(onnx.parser.parse_model(LOOP), check=False)


def test_ledger_of_a_loop(looping: Any) -> None:
    report = looping.report({"x": np.ones((2, 4), np.float32), "trips": np.array(3)}, repeats=2)
    rows = {row.kernel: row for row in report.rows}
    places = {row.kernel: place for place, row in enumerate(report.rows)}
    inside = [row for row in report.rows if row.region != "main"]
    assert inside and {row.calls for row in inside} == {3}
    assert rows["loop"].calls == 1
    assert inside[0].reads == (places["loop"],)
    assert len(report.calls) == sum(row.calls for row in report.rows)
    [loop] = [call for call in report.calls if call.row == places["loop"]]
    within = [call for call in report.calls if report.rows[call.row].region != "main"]
    assert all(loop.start < call.start < loop.start + loop.seconds for call in within)


def test_report_without_a_profile(looping: Any) -> None:
    report = looping.report({"x": np.ones((2, 4), np.float32), "trips": np.array(3)}, profile=False)
    assert not report.profiled and report.calls == ()
    assert "loop" in {row.kernel for row in report.rows}
    assert {row.seconds for row in report.rows} == {0.0}
    assert max(row.flops for row in report.rows) > 0


CHOSEN = """<ir_version: 8, opset_import: ["" : 17]>
chosen (float[n] x, float[8, 6] w) => (float[m, 6] y) {
    i = NonZero(x)
    j = Transpose(i)
    shape = Constant <value = int64[2] {1, 8}> ()
    k = Expand(j, shape)
    f = Cast <to = 1> (k)
    y = MatMul(f, w)
}"""


def test_arithmetic_of_sizes_that_depend_on_data() -> None:
    """They are known when the model has run."""
    model = tw.compile(onnx.parser.parse_model(CHOSEN), check=False)
    x, w = np.zeros(20, np.float32), np.ones((8, 6), np.float32)
    x[:13] = 1
    product = "MatMul"
    [before] = [row for row in model.report({"x": x, "w": w}, profile=False).rows if product in str(row.sources)]
    [row] = [row for row in model.report({"x": x, "w": w}, repeats=1).rows if product in str(row.sources)]
    assert before.flops == 0
    assert row.flops >= 2 * 13 * 8 * 6
