"""Whole models in the cache: what is found again, what is not, and that it is the same model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tilewright as tw
from tilewright import api
from tilewright.backends import kept
from tilewright.backends.cache import Store
from tilewright.frontend import identity


def model(factor: float = 2.0, size: int | str = "n") -> bytes:
    """x * factor."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [size]) for name in "xy")
    weight = numpy_helper.from_array(np.full(1, factor, np.float32), "w")
    graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "scaled", [x], [y], [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(proto.SerializeToString())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(folder))
    return folder


def compiled(source: Any, **options: Any) -> tuple[Any, list[str]]:
    """The model and the stages that its compile went through."""
    stages: list[str] = []
    return tw.compile(source, progress=stages.append, **options), stages


def kept_files(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file() and path.read_bytes().startswith(b"\x89TWM")]


X = np.arange(8, dtype=np.float32)
FOUND = "found the compiled model in the cache"


def test_the_second_compile_only_loads(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model())
    first, stages = compiled(path, check=False)
    assert any("improving" in stage for stage in stages)
    for source in (path, str(path), model()):
        second, stages = compiled(source, check=False)
        assert stages == [FOUND]
        np.testing.assert_array_equal(second(X), first(X))
        assert second.inputs == first.inputs
    assert len(second.graph.nodes) == 1


def test_it_is_checked_as_asked(cache: Path) -> None:
    compiled(model(), check=False)
    again, stages = compiled(model())
    assert stages == [FOUND, "reading the model", "checking against the original"]
    assert again.check_report.passed


def test_what_differs_is_compiled_anew(cache: Path) -> None:
    compiled(model(), check=False)
    assert compiled(model(3.0), check=False)[0](X)[1] == 3
    for options in ({"shapes": {"n": 8}}, {"strict": True}, {"target": "llvm -mcpu=haswell"}):
        assert any("improving" in stage for stage in compiled(model(), check=False, **options)[1]), options
    assert len(kept_files(cache)) == 5


def test_a_damaged_file_is_replaced(cache: Path) -> None:
    compiled(model(), check=False)
    (path,) = kept_files(cache)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert compiled(model(), check=False)[0](X)[1] == 2
    assert path.read_bytes() == whole


def test_a_large_model_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_CACHE_LIMIT", "1000")
    compiled(model(), check=False)
    assert kept_files(cache) == []


def test_the_graph_of_a_file_that_changed(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model())
    compiled(path, check=False)
    again = compiled(path, check=False)[0]
    path.write_bytes(model(3.0))
    with pytest.raises(tw.errors.CompilerError, match=r"model\.onnx has changed since its compile began"):
        _ = again.graph
    assert compiled(path, check=False)[0](X)[1] == 3


def test_a_file_that_is_replaced_while_it_is_compiled(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model())
    read = api._read

    def late(source: Any, shapes: Any) -> Any:
        path.write_bytes(model(3.0))
        return read(source, shapes)

    with monkeypatch.context() as patch:
        patch.setattr(api, "_read", late)
        with pytest.raises(tw.errors.CompilerError, match=r"model\.onnx has changed since its compile began"):
            compiled(path, check=False)
    path.write_bytes(model())
    assert compiled(path, check=False)[0](X)[1] == 2


def test_another_processor_and_unknown_versions(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*parts: str) -> str:
        raise ModuleNotFoundError(parts)

    with monkeypatch.context() as patch:
        patch.setattr(kept, "cpu_features", lambda: frozenset({"sse3"}))
        compiled(model(), check=False)
    with monkeypatch.context() as patch:
        patch.setattr(kept, "model_digest", unknown)
        compiled(model(), check=False)
    assert kept_files(cache) == []


def test_it_needs_neither_onnx_nor_sympy(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model())
    compiled(path, check=False)
    program = (
        "import json, sys, numpy, tilewright as tw\n"
        f"y = tw.compile({str(path)!r}, check=False)(numpy.ones(8, numpy.float32))\n"
        "print(json.dumps([y.tolist(), [m for m in ('onnx', 'sympy', 'tvm') if m in sys.modules]]))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == [[2.0] * 8, []]


def test_who_has_no_identity(tmp_path: Path) -> None:
    """Models whose bytes alone do not tell what they are, and what is no model."""
    proto = onnx.load_from_string(model())
    onnx.save_model(
        proto, tmp_path / "apart.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    (tmp_path / "empty.onnx").touch()
    whole = onnx.load_from_string(model())
    sources = [whole, tw.read(whole), tmp_path / "apart.onnx", tmp_path / "empty.onnx", tmp_path, "no\0path", 3]
    assert [identity(source) for source in sources] == [None] * len(sources)


def test_identities() -> None:
    assert identity(model()) == identity(bytearray(model())) == identity(memoryview(model()))
    assert identity(model(), {"n": 1, "m": 2}) == identity(model(), {"m": 2, "n": 1})
    assert len({identity(model()), identity(model(), {"n": 1}), identity(model(3.0))}) == 3


def test_a_store_writes_whole_files_or_none(tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    store = Store(tmp_path)
    with pytest.warns(UserWarning, match="no space left"):
        store.write("ab" * 32, fails)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
