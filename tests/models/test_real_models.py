"""Real models, compiled once each, give what onnxruntime gives at every size they are tried at."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilewright as tw
from examples.model_zoo import feeds, fetch

MODELS = ("minilm-l6-v2-int8", "ppocr-cls", "ppocrv4-det", "ddddocr-det", "magika")
pytestmark = [pytest.mark.models, pytest.mark.slow]


@functools.cache
def compiled(name: str) -> Any:
    return tw.compile(fetch(name)["model.onnx"], check=False)


@pytest.mark.parametrize("name", MODELS)
def test_agrees_with_onnxruntime_at_each_size(name: str) -> None:
    report = tw.check(compiled(name), fetch(name)["model.onnx"], inputs=feeds(name))
    assert report.passed, str(report)
    assert report.runs == len(feeds(name))


@pytest.mark.parametrize("name", MODELS)
def test_saved_model_gives_the_same(name: str, tmp_path: Path) -> None:
    compiled(name).save(tmp_path / "model.tw")
    loaded = tw.load(tmp_path / "model.tw")
    for feed in feeds(name):
        expected = compiled(name).run(feed)
        for output, array in loaded.run(feed).items():
            np.testing.assert_array_equal(array, expected[output])
