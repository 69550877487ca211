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
from collections.abc import Iterator
from pathlib import Path

from tilewright.backends.versions import tvm_version

DEFAULT_LIMIT = 2 << 30
_FOLDER, _LIMIT = "TILEWRIGHT_CACHE", "TILEWRIGHT_CACHE_LIMIT"
_DIGEST_SIZE = hashlib.sha256().digest_size
_SOURCES = ("backends", "ir")
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
    state = hashlib.sha256(toolchain())
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


@functools.cache
def toolchain() -> bytes:
    """A digest of TVM's version and of the sources of our own that decide what code comes out."""
    state = hashlib.sha256(tvm_version().encode())
    package = Path(__file__).resolve().parent
    for folder in sorted({package, *(package.parent / name for name in _SOURCES)}):
        for path in sorted(folder.rglob("*.py")):
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
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        payload = data[_DIGEST_SIZE:]
        if hashlib.sha256(payload).digest() != data[:_DIGEST_SIZE]:
            self._remove(path)
            return None
        self._touch(path)
        return payload

    def put(self, key: str, payload: bytes) -> None:
        """Keep `payload` under `key`."""
        if not self._writable:
            return
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_PART)
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(payload).digest() + payload)
            Path(temporary).replace(path)
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

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _touch(self, path: Path) -> None:
        with contextlib.suppress(OSError):  # a shared store that we may only read
            os.utime(path)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(f"{path} could not be removed from the cache: {error}", stacklevel=2)
