"""Operators of the domain com.microsoft against onnxruntime at two sizes from one import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.frontend.onnx_text import SIZES, inputs_for, model, name_of, written
from tilewright.frontend import read
from tilewright.ir.interpret import run

CASES = written(Path(__file__).parent / "microsoft_ops.txt")


@pytest.mark.parametrize(("text", "opset"), CASES, ids=map(name_of, CASES))
def test_agrees_with_onnxruntime(text: str, opset: int) -> None:
    imported = read(model(text, opset, domains={"com.microsoft": 1}))
    for sizes in SIZES:
        inputs = inputs_for(imported.graph, sizes)
        for ours, theirs in zip(run(imported.graph, inputs), imported.original(inputs), strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
