"""Imports `tvm_ffi` without what running a model does not need, which is half of its time and most of its memory."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

_METADATA = "importlib.metadata"


def import_tvm_ffi() -> ModuleType:
    """The `tvm_ffi` package."""
    try:
        with hidden("torch"), hidden("ml_dtypes"), _metadata_later():
            return import_module("tvm_ffi")
    except RuntimeError:  # its library is not in its own folder: look for it as the package would
        return import_module("tvm_ffi")


@contextlib.contextmanager
def hidden(name: str) -> Iterator[None]:
    """Make `import name` fail, unless the module is already there.

    tvm_ffi imports torch (180 MB) and ml_dtypes (15 ms) if it can, and does without.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the documented way to block an import
    try:
        yield
    finally:
        del sys.modules[name]


@contextlib.contextmanager
def _metadata_later() -> Iterator[None]:
    """Put off the import of importlib.metadata (30 ms), through which tvm_ffi looks for its library first."""
    if _METADATA in sys.modules:
        yield
        return
    sys.modules[_METADATA] = _Metadata(_METADATA)
    try:
        yield
    finally:
        del sys.modules[_METADATA]


class _Metadata(ModuleType):
    """Stands for importlib.metadata: finds no package while it is in its place, and is the real one after that."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(_METADATA) is not self:
            return getattr(import_module(_METADATA), name)
        if name == "PackageNotFoundError":
            return ModuleNotFoundError  # of which it is a kind
        if name == "distribution":
            return _not_found
        raise AttributeError(name)


def _not_found(package: str) -> Any:
    raise ModuleNotFoundError(package)
