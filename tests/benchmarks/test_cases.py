"""Which models are measured, and at which sizes."""

from __future__ import annotations

import pytest

from benchmarks.cases import NAMES, Case, all_sizes, cases
from benchmarks.contenders import ONNXRUNTIME, OPENVINO, PATIENT, ROUNDING, SINGLE, peers
from examples.model_zoo import MODELS


def sizes(name: str) -> list[dict[str, int]]:
    return [dict(sizes) for sizes in all_sizes(MODELS[name])]


def test_every_model_that_can_run_is_measured() -> None:
    assert set(NAMES) == {name for name, model in MODELS.items() if "model.onnx" in model.files}


def test_a_batch_of_8_where_the_model_leaves_the_batch_open() -> None:
    assert sizes("ppocr-cls") == [{"batch": 1}, {"batch": 6}, {"batch": 8}]
    assert sizes("magika") == [{"batch": 1}, {"batch": 8}]
    assert sizes("ddddocr-det") == [{}]
    assert {"batch": 8, "seq": 17} in sizes("minilm-l6-v2-int8")


@pytest.mark.parametrize("name", NAMES)
def test_the_batch_is_a_size_of_the_inputs_where_it_is_one(name: str) -> None:
    symbols = {dim for spec in MODELS[name].inputs.values() for dim in spec["shape"] if isinstance(dim, str)}
    assert all(symbols <= set(chosen) for chosen in all_sizes(MODELS[name]))


def test_cases() -> None:
    found = cases(["magika"], [1, 2])
    assert [(c.sizes["batch"], c.threads) for c in found] == [(1, 1), (1, 2), (8, 1), (8, 2)]
    assert [c.sizes["batch"] for c in cases(["magika"], [1], first_size_only=True)] == [1]
    assert str(Case("m", {"batch": 1, "seq": 9}, 2)) == "m, batch 1, seq 9, 2 threads"
    assert str(Case("m", {}, 1)) == "m, fixed, 1 thread"


def test_nothing_spins_on_one_thread() -> None:
    assert peers(1) == (ONNXRUNTIME, OPENVINO)
    assert peers(2) == (ONNXRUNTIME, PATIENT, SINGLE, OPENVINO)
    assert peers(1, narrow=True) == (ONNXRUNTIME, OPENVINO, ROUNDING)
