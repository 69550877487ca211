from __future__ import annotations

import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from tests.backends.hand_written import expected
from tilewright.backends import compiled
from tilewright.backends.compiled import CompiledModel
from tilewright.backends.values import ALIGNMENT, address, aligned_empty
from tilewright.ir.errors import CompilerError, InputError, TargetError


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 32)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 17, 1000])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_values(model: CompiledModel, count: int, threads: int) -> None:
    model.threads = threads
    x = rows(count)
    results = model.run({"x": x})
    assert list(results) == ["result", "halves", "same", "weight"]
    for name, want in expected(x).items():
        np.testing.assert_allclose(results[name], want, rtol=1e-6)


def test_positional_and_named(model: CompiledModel) -> None:
    x = rows(3)
    for ours, theirs in zip(model(x), model(x=x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_lists_are_converted(model: CompiledModel) -> None:
    np.testing.assert_array_equal(model(rows(2).tolist())[2], rows(2))


def test_results_are_the_callers_own(model: CompiledModel) -> None:
    x = rows(4)
    first = model(x)
    kept = [r.copy() for r in first]
    for result in model(x):
        np.add(result, 1, out=result)
    for result, before in zip(first, kept, strict=True):
        np.testing.assert_array_equal(result, before)
    np.testing.assert_array_equal(model(x)[3], expected(x)["weight"])


@pytest.mark.parametrize("count", [6, 1000])
def test_inputs_wherever_they_lie(model: CompiledModel, count: int) -> None:
    x = rows(count)
    placed = aligned_empty(x.shape, x.dtype)
    shifted = aligned_empty((x.size + 1,), x.dtype)[1:].reshape(x.shape)
    placed[...] = shifted[...] = x
    assert address(shifted) % ALIGNMENT
    read_only = x.copy()
    read_only.flags.writeable = False
    results = []
    for variant in (placed, shifted, read_only, np.asfortranarray(x), rows(2 * count)[::2], placed + 1):
        results.append((model(variant), expected(np.asarray(variant))))
    for got, want in results:  # after all calls: none may have written into an earlier one's results
        for array, name in zip(got, want, strict=True):
            np.testing.assert_allclose(array, want[name], rtol=1e-6)


def test_many_sizes(model: CompiledModel) -> None:
    for count in range(1, 60):
        assert model(rows(count))[0].shape == (count, 32)


def test_several_threads_call_at_once(model: CompiledModel) -> None:
    wrong: list[int] = []

    def call(seed: int) -> None:
        for count in range(1, 30):
            x = rows(count, seed)
            if not np.allclose(model(x)[0], expected(x)["result"], rtol=1e-6):
                wrong.append(count)

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not wrong


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 32)), "dtype float64"),
        (np.zeros(32, np.float32), "1 axes"),
        (np.zeros((2, 31), np.float32), "axis 1 must be 32"),
        (np.zeros((0, 32), np.float32), "at least 1"),
    ],
)
def test_arrays_that_do_not_fit(model: CompiledModel, array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model(array)


def test_names_that_do_not_fit(model: CompiledModel) -> None:
    with pytest.raises(InputError, match="unknown: y; missing: x"):
        model.run({"y": rows(1)})
    with pytest.raises(InputError, match="missing: x"):
        model()
    with pytest.raises(InputError, match="takes 1 inputs"):
        model(rows(1), rows(1))
    with pytest.raises(InputError, match="given twice: x"):
        model(rows(1), x=rows(1))


def test_signature(model: CompiledModel) -> None:
    assert [str(info) for info in model.inputs] == ["x: float32[n, 32]"]
    assert str(model.outputs[1]) == "halves: float32[2*n, 16]"


def test_no_graph(model: CompiledModel) -> None:
    with pytest.raises(CompilerError, match="no graph"):
        _ = model.graph


def test_report(model: CompiledModel) -> None:
    report = model.report({"x": rows(64)}, repeats=3)
    assert [row.kernel for row in report.rows] == ["plus_one", "scale", "host", "plus_one"]
    assert [row.origin for row in report.host_rows()] == ["host"]
    first = report.rows[0]
    assert (first.flops, first.bytes, first.sources) == (64 * 32, 2 * 64 * 32 * 4, ("/add",))
    assert report.peaks.flops > 1e9
    assert report.peaks.bytes > 1e9
    assert "GFLOP/s in float32" in str(report)
    assert json.loads(json.dumps(report.to_json()))["inputs"] == {"x": [64, 32]}


def test_report_without_inputs_takes_the_latest_sizes(model: CompiledModel) -> None:
    assert model.report(repeats=1).shapes == {"x": (1, 32)}
    model(rows(5))
    assert model.report(repeats=1).shapes == {"x": (5, 32)}


def test_a_processor_that_lacks_something_is_told(model: CompiledModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown instruction would end the process."""
    monkeypatch.setattr(compiled, "cpu_features", lambda: frozenset({"sse2"}))
    target = replace(model.target, features=frozenset({"amx-tile", "avx"}))
    elsewhere = CompiledModel(model.program, model.executable, model.weights, target)
    for run in (lambda: elsewhere.run({"x": rows(2)}), lambda: elsewhere.report({"x": rows(2)})):
        with pytest.raises(TargetError, match="compiled for a processor with amx-tile, avx, which this one"):
            run()
    assert elsewhere.report({"x": rows(2)}, profile=False).rows
    monkeypatch.setattr(compiled, "cpu_features", frozenset)  # the system does not tell
    assert CompiledModel(model.program, model.executable, model.weights, target).run({"x": rows(2)})
