"""Imports `tvm_ffi` without what running a model does not need, which is half of its time and most of its memory.

torch (180 MB) and ml_dtypes (15 ms) it imports if it can, and does without. Through importlib.metadata (30 ms) it
looks for its library, which lies in a folder of its own. Its builder of C++ modules (15 ms and 4 MB) is imported when
it is called, and so is what tvm_ffi adds to torch, unless torch is there already. Other threads may import what they
like meanwhile.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib.util
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

_PACKAGE, _FINDS_LIBRARY, _METADATA = "tvm_ffi", "tvm_ffi.libinfo", "importlib.metadata"
_NOT_NEEDED = ("torch", "ml_dtypes")
_BUILDER, _FOR_TORCH = "tvm_ffi.cpp.extension", "tvm_ffi._optional_torch_c_dlpack"


def import_tvm_ffi() -> ModuleType:
    """The `tvm_ffi` package."""
    if _PACKAGE in sys.modules:
        return sys.modules[_PACKAGE]
    later = (_BUILDER,) if "torch" in sys.modules else (_BUILDER, _FOR_TORCH)
    with _without(_NOT_NEEDED), _metadata_later(), _on_call(later):
        return import_module(_PACKAGE)


@contextlib.contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """This thread cannot import the modules, but for those that are there already."""
    finder = _Absent(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Absent:
    """Finds that some modules do not exist, for the thread that made it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names, self._thread = names, threading.get_ident()

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname in self._names and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} is not needed here", name=fullname)


@contextlib.contextmanager
def _on_call(names: Sequence[str]) -> Iterator[None]:
    """What this thread imports from the modules meanwhile are functions, which import them when they are called."""
    finder = _Later(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for stand_in in finder.made:
            stand_in.importing = False
            _forget(stand_in)


def _forget(stand_in: _Functions) -> None:
    """From now on an import of the module finds the real one."""
    if sys.modules.get(stand_in.__name__) is stand_in:
        del sys.modules[stand_in.__name__]


class _Later:
    """Finds modules whose functions import them when called, for the thread that made it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names, self._thread = names, threading.get_ident()
        self.made: list[_Functions] = []

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname in self._names and threading.get_ident() == self._thread:
            return ModuleSpec(fullname, cast("Any", self))  # importlib.abc, which has the type, takes 5 ms
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self.made.append(_Functions(spec.name))
        return self.made[-1]

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run yet."""


class _Functions(ModuleType):
    """Stands for a module of functions while `importing`, and has what the real one has after that."""

    importing = True

    def __getattr__(self, name: str) -> Any:
        if not self.importing:
            return self._real(name)
        if name.startswith("_"):
            raise AttributeError(name)

        def later(*arguments: Any, **named: Any) -> Any:
            return self._real(name)(*arguments, **named)

        return later

    def _real(self, name: str) -> Any:
        _forget(self)
        return getattr(import_module(self.__name__), name)


@contextlib.contextmanager
def _metadata_later() -> Iterator[None]:
    """`tvm_ffi.libinfo` finds no metadata until tvm_ffi is imported, and imports what reads them when it asks again."""
    folder = _folder_with_library()
    if folder is None or _METADATA in sys.modules:
        yield
        return
    later = _Metadata()
    sys.modules[_FINDS_LIBRARY] = _run(_FINDS_LIBRARY, folder / "libinfo.py", {_METADATA: later})
    try:
        yield
    finally:
        later.importing = False
        if _PACKAGE not in sys.modules:
            del sys.modules[_FINDS_LIBRARY]


def _folder_with_library() -> Path | None:
    """The package's folder, if it finds its library there without metadata."""
    specification = importlib.util.find_spec(_PACKAGE)
    folders = (specification.submodule_search_locations if specification else None) or ()
    return next((Path(f) for f in folders if Path(f, "lib", "libtvm_ffi.so").exists()), None)


class _Metadata:
    """Stands for importlib.metadata: finds no package while `importing`, and is the real one after that."""

    importing = True

    def __getattr__(self, name: str) -> Any:
        if not self.importing:
            return getattr(import_module(_METADATA), name)
        if name == "PackageNotFoundError":
            return ModuleNotFoundError  # of which it is a kind
        if name == "distribution":
            return _not_found
        raise AttributeError(name)


def _not_found(package: str) -> Any:
    raise ModuleNotFoundError(package)


def _run(name: str, path: Path, given: dict[str, Any]) -> ModuleType:
    """The module of a file, which gets some of its imports, all of the form `package.module`, from `given`."""
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)

    def import_(wanted: str, *arguments: Any, **named: Any) -> Any:
        if wanted in given:
            return SimpleNamespace(**{wanted.rpartition(".")[2]: given[wanted]})
        return builtins.__import__(wanted, *arguments, **named)

    module.__dict__["__builtins__"] = {**vars(builtins), "__import__": import_}
    specification.loader.exec_module(module)
    return module
