"""docs/operators.md says what the frontend's tables say. Its counts are checked by `make test-onnx`."""

from __future__ import annotations

import pytest

from tests.onnx_suite import document
from tests.onnx_suite.record import Record
from tests.onnx_suite.versions import tabled, versions_read

RECORDS = (
    Record("test_abs", "node", "Abs", 13, "passed"),
    Record("test_abs_f8", "node", "Abs", 13, "passed", host=("Abs",), not_plain="float8e4m3fn"),
    Record("test_lost", "node", "NotThere", 1, "failed", reason="no"),
    Record("test_odd", "node", "ai.onnx.ml.Odd", 1, "passed", host=("Odd",)),
    Record("test_net", "real", "", 0, "failed", reason="no"),
)


def test_page_is_up_to_date() -> None:
    assert document.outdated(document.FILE.read_text()) == [], "make test-onnx UPDATE=1 writes it anew"


def test_page_can_be_read_back() -> None:
    written = document.read_versions(document.render(RECORDS))
    assert set(written) == tabled() | {"ai.onnx.ml.Odd"}
    assert all(versions == versions_read(name) for name, versions in written.items())


def test_page_counts_cases() -> None:
    lines = [" ".join(line.split()) for line in document.render(RECORDS).splitlines()]
    assert "| Abs | 6, 13 | 1 compiled, 1 host | 2 of 2 |" in lines
    assert "| Odd | 1 | host | 1 of 1 |" in lines
    assert "| real | 0 of 1 | 0 | 0 |" in lines


@pytest.mark.parametrize(
    ("before", "after"), [("| Abs ", "| Abz "), ("| 6, 13 ", "| 6 "), ("## ai.onnx\n", "## ai.onnx.ml\n")]
)
def test_differences_are_seen(before: str, after: str) -> None:
    page = document.render(RECORDS)
    assert document.outdated(page) == []
    assert before in page
    assert document.outdated(page.replace(before, after))
