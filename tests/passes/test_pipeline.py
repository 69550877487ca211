"""Running passes in order: what a watcher sees, and how failures are told."""

from __future__ import annotations

import pytest

from tilewright.ir.errors import PassError
from tilewright.ir.graph import Graph, apply, input_value
from tilewright.ir.parse import parse
from tilewright.ir.types import tensor
from tilewright.passes.fold_constants import FoldConstants
from tilewright.passes.pipeline import PIPELINE, pass_name, run
from tilewright.passes.simplify import simplify

TEXT = "graph(x: float32[n]) { zero = constant float32[] 0.0 %0 = add(x, zero) %1 = neg(%0) return y=%1 }"


def test_a_watcher_sees_every_step() -> None:
    seen: list[tuple[str, int, int]] = []
    pipeline = (simplify, FoldConstants())
    run(parse(TEXT), pipeline, lambda name, before, after: seen.append((name, len(before.nodes), len(after.nodes))))
    assert seen == [("simplify", 2, 1), ("fold_constants", 1, 1)]


def test_a_second_run_of_the_pipeline_before_fusion_changes_nothing() -> None:
    unfused = PIPELINE[:-1]
    once = run(parse(TEXT), unfused)
    assert pass_name(PIPELINE[-1]) == "fuse"
    assert str(run(once, unfused)) == str(once)


def test_an_invalid_result_names_the_pass() -> None:
    def broken(graph: Graph) -> Graph:
        return Graph(graph.inputs, (apply("neg", input_value("stray", tensor("float32", 3))),))

    with pytest.raises(PassError, match=r"the pass broken failed: .*it reads .*stray"):
        run(parse(TEXT), (broken,))


def test_a_failing_pass_is_named() -> None:
    def divides(graph: Graph) -> Graph:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(PassError, match="the pass divides failed: ZeroDivisionError: division by zero"):
        run(parse(TEXT), (divides,))
