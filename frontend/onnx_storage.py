"""Where a model's tensors keep their bytes outside of its messages: in data files, or in the model's own file.

Files are mapped into memory, each once, and tensors are views of them, so that importing reads no weights at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import TensorProto

from tilewright.ir.errors import ImportModelError
from tilewright.ir.op import Array

EMBEDDED = "offset in the model's own bytes"
"""Key of a tensor's `external_data` that `onnx_embedded` writes where it left out the bytes of the tensor."""


@dataclass(frozen=True)
class Storage:
    """`folder` holds the data files, and `content` is the serialized model; each None if there is no such thing."""

    folder: Path | None = None
    content: Array | None = None
    _mapped: dict[Path, Array] = field(default_factory=dict)

    def external(self, tensor: TensorProto, wanted: int, what: str) -> Array:
        """The `wanted` bytes of a tensor that keeps them elsewhere, as a view.

        Raises ImportModelError where there are not as many, or where they lie outside of the model's folder.
        """
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if EMBEDDED in entries and self.content is not None:
            source, name = self.content, "the model"
            offset = _number(entries, EMBEDDED, 0, what)
        else:
            path = _inside(self.folder, entries.get("location", ""), what)
            source, name = self._map(path, what), f"'{path.name}'"
            offset = _number(entries, "offset", 0, what)
        length = _number(entries, "length", wanted, what)
        require_count(length, wanted, "bytes", what)
        if offset < 0 or offset + length > source.size:
            raise ImportModelError(
                f"{what} reads bytes {offset} to {offset + length} of {name}, which has only {source.size}",
                hint="The data file is damaged or belongs to another model",
            )
        return source[offset : offset + length]

    def _map(self, path: Path, what: str) -> Array:
        if path not in self._mapped:
            try:
                self._mapped[path] = mapped(path)
            except OSError as error:
                reason = error.strerror or error
                raise ImportModelError(f"{what} keeps its data in '{path}', which cannot be read: {reason}") from error
        return self._mapped[path]


def mapped(path: Path) -> Array:
    """The bytes of a file, read when they are first used. Raises OSError."""
    if path.stat().st_size == 0:  # which cannot be mapped
        return np.empty(0, np.uint8)
    return np.asarray(np.memmap(path, np.uint8, "r"))


def require_count(stored: int, wanted: int, unit: str, what: str) -> None:
    """Raises ImportModelError unless a tensor stores as much as its shape asks for."""
    if stored != wanted:
        raise ImportModelError(
            f"{what} stores {stored} {unit}, but its shape asks for {wanted}",
            hint="The file is damaged; export it again",
        )


def _number(entries: Mapping[str, str], key: str, default: int, what: str) -> int:
    try:
        return int(entries.get(key) or default)
    except ValueError as error:
        raise ImportModelError(f"{what} has an offset or a length of its external data that is not a number") from error


def _inside(folder: Path | None, location: str, what: str) -> Path:
    """The data file at `location`, which has to be inside the model's own folder once links are followed."""
    if folder is None:
        raise ImportModelError(
            f"{what} keeps its data in the file '{location}', but a model given as bytes has no folder",
            hint="Give the path of the .onnx file instead",
        )
    root = folder.resolve()
    given = Path(location)
    if not location or "\0" in location or given.is_absolute() or ".." in given.parts:
        raise ImportModelError(f"{what} names the data file '{location}', which is not inside the model's folder")
    path = (root / given).resolve()
    if not path.is_relative_to(root):
        raise ImportModelError(f"{what} names the data file '{location}', which leads out of the model's folder")
    if not path.is_file():
        raise ImportModelError(f"{what} keeps its data in '{location}', which is missing from the model's folder")
    return path
