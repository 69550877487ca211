"""What is installed is what is in the tree: a package that is not listed would vanish from the wheel without a word."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("backends", "frontend", "ir", "passes")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def sources() -> set[str]:
    """Each module of the tree, as the path that it has once installed."""
    inner = {f"tilewright/{p.relative_to(ROOT)}" for layer in LAYERS for p in (ROOT / layer).rglob("*.py")}
    return inner | {f"tilewright/{p.name}" for p in (ROOT / "tilewright").glob("*.py")}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the build reads, so that the build leaves nothing in the tree."""
    folder = tmp_path_factory.mktemp("copy")
    for name in (*LAYERS, "tilewright"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def build(copy: Path, kind: str) -> Path:
    code = f"from setuptools.build_meta import build_{kind} as build; print(build('dist'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=True)
    return copy / "dist" / done.stdout.splitlines()[-1]


def test_every_package_is_listed() -> None:
    packages = {str(Path(path).parent).replace("/", ".") for path in sources() if path.endswith("/__init__.py")}
    assert sorted(packages) == SETTINGS["tool"]["setuptools"]["packages"]


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {p.parent for layer in LAYERS for p in (ROOT / layer).rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("layer", LAYERS)
def test_links_are_relative(layer: str) -> None:
    assert (ROOT / "tilewright" / layer).readlink() == Path("..", layer)


def test_no_module_hides_a_public_function() -> None:
    """Importing the submodule `tilewright.check` would put the module in the place of the function `tw.check`."""
    import tilewright

    assert {p.stem for p in (ROOT / "tilewright").glob("*.py")} & set(tilewright.__all__) == set()


def test_wheel_holds_every_module(copy: Path) -> None:
    with zipfile.ZipFile(build(copy, "wheel")) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == sources() | {"tilewright/py.typed", "tilewright/backends/pool.ll"}


def test_source_distribution_holds_every_module(copy: Path) -> None:
    with tarfile.open(build(copy, "sdist")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for path in sources():
        assert path in names or path.removeprefix("tilewright/") in names
