"""The hand-written program, built once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import hand_written
from tilewright.backends.build import KernelSpec, build_executable, build_kernels
from tilewright.backends.cache import Store
from tilewright.backends.compiled import CompiledModel
from tilewright.backends.runtime import Executable
from tilewright.backends.target import Target, parse_target


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Build results of this session, unless the user asks for another cache."""
    with pytest.MonkeyPatch.context() as patch:
        if "TILEWRIGHT_CACHE" not in os.environ:
            patch.setenv("TILEWRIGHT_CACHE", str(tmp_path_factory.mktemp("kernels")))
        yield


@pytest.fixture(scope="session")
def native() -> Target:
    return parse_target("llvm -mcpu=native")


@pytest.fixture(scope="session")
def executable(native: Target, tmp_path_factory: pytest.TempPathFactory) -> Executable:
    store = Store(tmp_path_factory.mktemp("cache"))
    specs = [KernelSpec(name, name) for name in hand_written.PROGRAM.kernels()]
    kernels = build_kernels(specs, native, emitter=hand_written.EMITTER, store=store)
    objects = {name: kernel.object for name, kernel in kernels.items()}
    return build_executable(hand_written.PROGRAM, objects, native, store=store)


@pytest.fixture
def model(executable: Executable, native: Target) -> CompiledModel:
    return CompiledModel(hand_written.PROGRAM, executable, hand_written.WEIGHTS, native, threads=2)


@pytest.fixture
def saved(model: CompiledModel, tmp_path: Path) -> Path:
    path = tmp_path / "model.tw"
    model.save(path)
    return path
