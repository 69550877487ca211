"""Products that stay floats since sums of their integers would wrap around; and the passes for a machine."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.ir import apply, constant, input_value, tensor
from tilewright.ir.graph import Graph
from tilewright.passes.fuse import Fuse
from tilewright.passes.integer_products import integer_products
from tilewright.passes.narrow_products import NarrowProducts, narrow_products
from tilewright.passes.pipeline import PIPELINE, pipeline_for


@pytest.mark.parametrize(("depth", "changes"), [(66_000, True), (67_000, False)])
def test_sums_that_could_wrap_around_are_made_of_floats(depth: int, changes: bool) -> None:
    x = input_value("x", tensor("uint8", "n", depth))
    scale, zero = constant(0.5, "float32"), constant(0, "uint8")
    weights = apply("dequantize", constant(np.full((depth, 1), 127, np.int8)), scale)
    product = apply("matmul", apply("dequantize", x, scale, zero), weights)
    graph = Graph((x,), (apply("quantize", product, scale, zero),), ("y",))
    found = {node.op.name: node for node in integer_products(graph).nodes}
    assert (found["matmul"].results[0].dtype == "int32") == changes


def test_the_passes_for_a_machine() -> None:
    assert pipeline_for(any_quads=False, splits_images=False) == PIPELINE
    own = [each for each in pipeline_for(any_quads=True, splits_images=True) if each not in PIPELINE]
    assert own == [NarrowProducts(any_quads=True), Fuse(splits_images=True)]
    assert narrow_products in PIPELINE
