"""Real models, compiled once each, give what onnxruntime gives at every size they are tried at."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilewright as tw
from examples.model_zoo import feeds, fetch
from tilewright.ir.errors import InputError

FIRST = ("minilm-l6-v2-int8", "ppocr-cls", "ppocrv4-det", "ddddocr-det", "magika")
MODELS = (
    *FIRST,
    "basic-pitch",
    "caustic-painn",
    "ddddocr-rec",
    "ddddocr-rec-old",
    "piper-joe",
    "silero-vad-16k",
    "silero-vad-half",
    "silero-vad-openvino",
    "silero-vad-seq",
    "tashkeel-rawi",
)
ROUNDED = {"ddddocr-rec-old": 1e-6, "tashkeel-rawi": 1e-6}  # to 8 bits, again and again, as onnxruntime does it
pytestmark = [pytest.mark.models, pytest.mark.slow]


def of(names: Iterable[str]) -> list[Any]:
    """Parameters such that all tests of a model run in one process, which compiles it once."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name), id=name) for name in names]


@functools.cache
def compiled(name: str) -> Any:
    return tw.compile(fetch(name)["model.onnx"], check=False)


@pytest.mark.parametrize("name", of(MODELS))
def test_agrees_with_onnxruntime_at_each_size(name: str) -> None:
    report = tw.check(compiled(name), fetch(name)["model.onnx"], inputs=feeds(name), tolerance=ROUNDED.get(name))
    assert report.passed, str(report)
    assert report.runs == len(feeds(name))


@pytest.mark.parametrize("name", of(MODELS))
def test_all_of_it_is_compiled(name: str) -> None:
    assert compiled(name).program.host_calls() == ()


@pytest.mark.parametrize("name", of(ROUNDED))
def test_what_is_rounded_agrees_with_all_numbers(name: str) -> None:
    """A number so near the middle of two steps that its last bit decides comes with every other input."""
    more = [feed for seed in range(1, 5) for feed in feeds(name, seed)]
    report = tw.check(compiled(name), fetch(name)["model.onnx"], inputs=more, tolerance=ROUNDED[name])
    assert report.passed, str(report)


@pytest.mark.parametrize("name", of(FIRST))
def test_agrees_on_inputs_that_we_draw(name: str) -> None:
    report = tw.check(compiled(name), fetch(name)["model.onnx"])
    assert report.passed, str(report)
    assert report.runs == 3


@pytest.mark.xdist_group("minilm-l6-v2-int8")
def test_more_tokens_or_other_tokens_than_the_encoder_knows() -> None:
    model = compiled("minilm-l6-v2-int8")
    for length, largest, expected in ((512, 30521, ""), (513, 0, "axis of 512"), (4, 30522, "index is out of range")):
        ids = np.full((1, length), largest)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        with pytest.raises(InputError, match=expected) if expected else nullcontext():
            model.run(feed)


@pytest.mark.parametrize("name", of([*FIRST, "silero-vad-16k", "piper-joe"]))
def test_saved_model_gives_the_same(name: str, tmp_path: Path) -> None:
    compiled(name).save(tmp_path / "model.tw")
    loaded = tw.load(tmp_path / "model.tw")
    for feed in feeds(name):
        expected = compiled(name).run(feed)
        for output, array in loaded.run(feed).items():
            np.testing.assert_array_equal(array, expected[output])
