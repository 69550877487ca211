"""Each command on a small model: what it prints, as text and as JSON, and how it exits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilewright.cli import main


def said(capsys: pytest.CaptureFixture[str], *argv: object, code: int = 0) -> str:
    """What a command prints to standard output."""
    capsys.readouterr()
    assert main([str(a) for a in argv]) == code
    return capsys.readouterr().out


def data(capsys: pytest.CaptureFixture[str], *argv: object, code: int = 0) -> Any:
    return json.loads(said(capsys, *argv, "--json", code=code))


def test_compile(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.tw"
    found = data(capsys, "compile", model, "-o", output)
    assert found["saved"] == str(output)
    assert found["bytes"] == output.stat().st_size
    assert found["check"]["passed"] is True
    assert [o["name"] for o in found["check"]["outputs"]] == ["y", "best"]
    assert "agrees with the original on 3 inputs" in said(capsys, "compile", model, "-o", output)
    assert data(capsys, "compile", model, "-o", output, "--no-check")["check"] is None


def test_the_default_name_is_beside_the_model(saved: Path, model: Path) -> None:
    assert saved.parent == model.parent
    assert saved.exists()


@pytest.mark.parametrize("which", ["model", "saved"])
def test_run(which: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = request.getfixturevalue(which)
    x = np.eye(4, dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    options = ("--input", f"x={tmp_path / 'x.npy'}", "--save", tmp_path / "out.npz", "--seed", 3)
    found = data(capsys, "run", path, *options)
    assert found["outputs"] == {"y": {"dtype": "float32", "shape": [4, 3]}, "best": {"dtype": "int64", "shape": [4]}}
    results = dict(np.load(tmp_path / "out.npz"))
    np.testing.assert_allclose(results["y"].sum(axis=1), np.ones(4), rtol=1e-6)
    np.testing.assert_array_equal(results["best"], results["y"].argmax(axis=1))
    assert "y: float32[2, 3]" in said(capsys, "run", path, "--size", "n=2")


def test_check(model: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data(capsys, "check", model, "--compiled", saved)["runs"] == 3
    assert data(capsys, "check", model, "--compiled", saved, "--size", "n=7")["runs"] == 1
    assert "agrees" in said(capsys, "check", model, "--shape", "n=2")


def test_check_that_differs(model: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "check", model, "--compiled", saved, "--tolerance", 0, code=1)
    assert found["passed"] is False


def test_bench(model: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--seconds", 0.02, "--threads", 1, "--size", "n=8")
    found = data(capsys, "bench", model, *options)
    assert found["threads"] == 1
    assert found["low"] <= found["ratio"] <= found["high"]
    assert found["ours"]["runs"] >= 9
    assert data(capsys, "bench", saved, *options)["ours"]["median"] > 0
    assert "beside onnxruntime, 1 threads each, x [8, 4], ids [8]" in said(
        capsys, "bench", model, "--compiled", saved, *options
    )


def test_bench_with_the_ledger(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "bench", saved, "--seconds", 0.02, "--profile")
    assert found["profile"]["kernels"]
    assert "GFLOP/s" in said(capsys, "bench", saved, "--seconds", 0.02, "--profile")


def test_bench_writes_the_ledger(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, page = tmp_path / "trace.json", tmp_path / "page.html"
    found = data(capsys, "bench", saved, "--seconds", 0.02, "--profile", "--trace", trace, "--html", page)
    kernels = [row["kernel"] for row in found["profile"]["kernels"]]
    events = json.loads(trace.read_text())["traceEvents"]
    assert [event["name"] for event in events if event["ph"] == "X"] == kernels
    assert all(kernel in page.read_text() for kernel in kernels)


def test_inspect_a_model(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "inspect", model, "--summary")
    assert found["inputs"] == {"x": "float32[n, 4]", "ids": "int64[n]"}
    assert found["outputs"] == {"y": "float32[n, 3]", "best": "int64[n]"}
    assert found["operators"]["matmul"] == 1
    assert "1  matmul" in said(capsys, "inspect", model, "--summary")
    assert "matmul(x" in said(capsys, "inspect", model)
    assert "fused(" in said(capsys, "inspect", model, "--passes")
    assert "float32[2, 3]" in said(capsys, "inspect", model, "--types", "--shape", "n=2")


def test_inspect_a_saved_model(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "inspect", saved)
    assert found["inputs"] == {"x": "float32[n, 4]", "ids": "int64[n]"}
    assert found["target"].startswith("llvm -mcpu=")
    assert all(kernel["by"] for kernel in found["kernels"])
    assert "MatMul" in said(capsys, "inspect", saved)
    assert "kernels:" in said(capsys, "inspect", saved, "--summary")


def test_running_a_saved_model_needs_no_compiler(saved: Path) -> None:
    code = f"import sys, tilewright.cli\ntilewright.cli.main(['run', {str(saved)!r}])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    compiler = {"tvm", "onnx", "onnxruntime", "torch", "sympy", "networkx"}
    assert compiler.isdisjoint(done.stdout.splitlines()[-1].split())
