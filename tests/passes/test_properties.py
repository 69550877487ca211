"""Random graphs keep their meaning through every pass and through the whole pipeline."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings

from tests.passes.meaning import assert_same_meaning
from tests.strategies import graphs
from tilewright.ir.graph import Graph
from tilewright.ir.op import Array
from tilewright.ir.verify import verify
from tilewright.passes.channels_last import channels_last
from tilewright.passes.narrow_products import NarrowProducts
from tilewright.passes.pipeline import PIPELINE, Pass, pass_name, run

PASSES = {pass_name(each): each for each in PIPELINE} | {"narrow_products, any quads": NarrowProducts(any_quads=True)}
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", PASSES)
@few
@given(drawn=graphs())
def test_each_pass_keeps_the_meaning(name: str, drawn: tuple[Graph, tuple[Array, ...]]) -> None:
    _check(PASSES[name], *drawn)


@few
@given(drawn=graphs(max_nodes=16))
def test_the_pipeline_keeps_the_meaning(drawn: tuple[Graph, tuple[Array, ...]]) -> None:
    _check(run, *drawn)


@few
@given(drawn=graphs(max_nodes=12, images=True))
def test_channels_last_keep_the_meaning(drawn: tuple[Graph, tuple[Array, ...]]) -> None:
    """As if convolutions were worth any transpose, for images so small are not."""
    _check(partial(channels_last, worth=1000), *drawn)


def _check(each: Pass, graph: Graph, arrays: tuple[Array, ...]) -> None:
    after = each(graph)
    verify(after)
    assert [v.type for v in after.outputs] == [v.type for v in graph.outputs]
    assert_same_meaning(graph, after, arrays, {})
