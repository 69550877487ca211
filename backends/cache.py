"""A disk store of build results, addressed by a digest of everything that went into them.

Entries appear whole or not at all (written aside, then renamed), so that two processes may share the folder and a kill
in the middle harms nothing. Each entry carries its checksum; a damaged one is dropped. When the store has grown over
its limit, the entries that were not used for the longest time go.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tilewright.backends.versions import package_version, tvm_version

DEFAULT_LIMIT = 2 << 30
_FOLDER, _LIMIT = "TILEWRIGHT_CACHE", "TILEWRIGHT_CACHE_LIMIT"
_DIGEST_SIZE = hashlib.sha256().digest_size
_OF_KERNELS = ("backends", "ir")  # the sources that decide what code comes out of a kernel's text
_OF_MODELS = ("backends", "frontend", "ir", "passes")  # and those that decide what becomes of a model
_SOURCES = (".py", ".ll")
_PACKAGES = ("numpy", "onnx", "sympy")  # that do, too
_PART, _ABANDONED_SECONDS = ".part-", 3600
_MARK, _SECONDS_BETWEEN_PRUNINGS = ".pruned", 60


def default_folder() -> Path:
    """TILEWRIGHT_CACHE, or the platform's folder for caches."""
    asked = os.environ.get(_FOLDER)
    if asked:
        return Path(asked)
    import platformdirs

    return platformdirs.user_cache_path("tilewright")


def default_limit() -> int:
    """Size limit in bytes: TILEWRIGHT_CACHE_LIMIT, or 2 GiB."""
    return int(os.environ.get(_LIMIT) or DEFAULT_LIMIT)


def digest(*parts: str | bytes) -> str:
    """The address of what `parts`, this version of the compiler and of TVM make."""
    return _digest(toolchain(_OF_KERNELS), parts)


def model_digest(*parts: str) -> str:
    """The address of the compiled model that `parts` and what is installed make.

    Raises ModuleNotFoundError where nothing tells the version of what is installed.
    """
    return _digest(toolchain(_OF_MODELS), [*parts, *(package_version(name, name) for name in _PACKAGES)])


def _digest(start: bytes, parts: Iterable[str | bytes]) -> str:
    state = hashlib.sha256(start)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


@functools.cache
def toolchain(folders: tuple[str, ...]) -> bytes:
    """A digest of TVM's version and of our own sources in `folders`."""
    state = hashlib.sha256(tvm_version().encode())
    for folder in (Path(__file__).resolve().parents[1] / name for name in folders):
        for path in sorted(p for p in folder.rglob("*") if p.suffix in _SOURCES):
            state.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return state.digest()


class Store:
    """Bytes by digest in `folder`. A folder that cannot be written makes it a store that forgets, with a warning."""

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = (folder or default_folder()) / "objects"
        self.limit = default_limit() if limit is None else limit
        self._writable = True

    def get(self, key: str) -> bytes | None:
        """What was put under `key`, or None. A damaged entry is removed."""
        path = self.path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        payload = data[_DIGEST_SIZE:]
        if hashlib.sha256(payload).digest() != data[:_DIGEST_SIZE]:
            self._remove(path)
            return None
        self.touch(key)
        return payload

    def put(self, key: str, payload: bytes) -> None:
        """Keep `payload` under `key`."""
        self.write(key, lambda path: path.write_bytes(hashlib.sha256(payload).digest() + payload))

    def write(self, key: str, writer: Callable[[Path], object]) -> None:
        """Keep under `key` the file that `writer` writes at the path which it is given."""
        if not self._writable:
            return
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_PART)
            os.close(descriptor)
            try:
                writer(Path(temporary))
                Path(temporary).replace(path)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            self._writable = False
            warnings.warn(f"Nothing is cached, as {self.folder} cannot be written: {error}", stacklevel=2)

    def prune_at_times(self) -> None:
        """Prune, unless some process did a minute ago: with thousands of entries that takes a while."""
        mark = self.folder / _MARK
        with contextlib.suppress(OSError):  # no folder, or one that we may only read: nothing to prune
            if not mark.exists() or time.time() - mark.stat().st_mtime > _SECONDS_BETWEEN_PRUNINGS:
                mark.touch()
                self.prune()

    def prune(self) -> None:
        """Remove the least recently used entries until the store is within its limit."""
        entries = sorted(self._entries(), key=lambda entry: entry[1].st_mtime, reverse=True)
        total = 0
        for path, status in entries:
            total += status.st_size
            if total > self.limit:
                self._remove(path)

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Whole entries, and what processes that were killed left half written."""
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):  # another process pruned it
                status = path.stat()
                if not path.name.startswith(_PART) or time.time() - status.st_mtime > _ABANDONED_SECONDS:
                    yield path, status

    def path(self, key: str) -> Path:
        """Where the file of an entry is, if there is one."""
        return self.folder / key[:2] / key

    def touch(self, key: str) -> None:
        """Note that an entry was used."""
        with contextlib.suppress(OSError):  # a shared store that we may only read
            os.utime(self.path(key))

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(f"{path} could not be removed from the cache: {error}", stacklevel=2)
