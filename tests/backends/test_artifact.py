from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.backends.hand_written import expected
from tilewright.backends import artifact
from tilewright.backends.compiled import CompiledModel
from tilewright.ir.errors import ArtifactError

X = np.random.default_rng(1).standard_normal((5, 32)).astype(np.float32)


def test_round_trip(saved: Path) -> None:
    loaded = artifact.load(saved, threads=1)
    assert loaded.threads == 1
    for result, want in zip(loaded(X), expected(X).values(), strict=True):
        np.testing.assert_allclose(result, want, rtol=1e-6)


def test_a_loaded_model_can_be_saved(saved: Path, tmp_path: Path) -> None:
    artifact.load(saved).save(tmp_path / "again.tw")
    assert (tmp_path / "again.tw").read_bytes() == saved.read_bytes()


def test_weights_stay_in_the_file(saved: Path) -> None:
    base = artifact.load(saved).weights["w"]
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)


def test_saving_replaces_a_file_that_is_in_use(saved: Path, model: CompiledModel) -> None:
    loaded = artifact.load(saved)
    model.save(saved)
    np.testing.assert_allclose(loaded(X)[0], expected(X)["result"], rtol=1e-6)


def test_every_damaged_byte_is_noticed(saved: Path) -> None:
    data = saved.read_bytes()
    positions = np.linspace(0, len(data) - 1, 150).astype(int)
    for position in {*range(80), *positions.tolist()}:
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        saved.write_bytes(damaged)
        with pytest.raises(ArtifactError):
            artifact.load(saved)


@pytest.mark.parametrize("kept", [0, 4, 40, 63, 64, 1000, 5000, -4096, -1])
def test_a_truncated_file(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ArtifactError):
        artifact.load(saved)


def test_something_appended(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"\n")
    with pytest.raises(ArtifactError, match="not as long"):
        artifact.load(saved)


def test_another_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a model " * 100)
    with pytest.raises(ArtifactError, match="not a saved Tilewright model"):
        artifact.load(tmp_path / "text")
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifact.load(tmp_path / "nothing")


def test_a_newer_format(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[8] = artifact.FORMAT + 1
    data[36:40] = zlib.crc32(data[:36]).to_bytes(4, "little")
    saved.write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"has format {artifact.FORMAT + 1}; .* reads format {artifact.FORMAT}"):
        artifact.load(saved)


def test_another_processor(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "cpu_features", lambda: frozenset({"sse3"}))
    with pytest.raises(ArtifactError, match=r"processor with .*, which this one .* lacks"):
        artifact.load(saved)


def test_another_tvm(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "tvm_version", lambda: "9.9")
    with pytest.raises(ArtifactError, match=r"built with TVM .*, but 9\.9 is installed"):
        artifact.load(saved)


def test_a_folder_that_does_not_exist(model: CompiledModel, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be written"):
        model.save(tmp_path / "nowhere" / "model.tw")


def test_a_failed_save_leaves_the_old_file(saved: Path, model: CompiledModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(body: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact, "checksum", full)
    with pytest.raises(ArtifactError, match="No space left"):
        model.save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


FRESH = """
import sys
import numpy as np
from tilewright.backends import artifact
model = artifact.load(sys.argv[1])
loaded = sorted({"tvm", "onnx", "onnxruntime", "torch", "sympy", "networkx", "rich"} & set(sys.modules))
print(loaded, model.inputs[0])
"""


def test_loading_imports_nothing_of_the_compiler(saved: Path) -> None:
    command = [sys.executable, "-c", FRESH, str(saved)]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env={"PYTHONPATH": root})
    assert done.stdout == "[] x: float32[n, 32]\n"


BESIDE_TVM = """
import sys
{first}
import numpy as np
from tilewright.backends import artifact
model = artifact.load(sys.argv[1])
import tvm
print(model(np.zeros((3, 32), np.float32))[0].shape)
"""


@pytest.mark.parametrize("first", ["import tvm", "import tilewright"])
def test_runs_beside_tvm_whichever_comes_first(saved: Path, first: str) -> None:
    command = [sys.executable, "-c", BESIDE_TVM.format(first=first), str(saved)]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env={"PYTHONPATH": root})
    assert done.stdout == "(3, 32)\n"
