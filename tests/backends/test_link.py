from __future__ import annotations

import sys

import pytest

from tilewright.backends import link
from tilewright.ir.errors import BuildError


def test_without_any_linker_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link.shutil, "which", lambda name: None)
    monkeypatch.setattr(link.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BuildError, match="pip install ziglang"):
        link.linker_command()


def test_python_can_bring_the_linker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link.shutil, "which", lambda name: None)
    monkeypatch.setattr(link.importlib.util, "find_spec", lambda name: object())
    assert link.linker_command()[:3] == [sys.executable, "-m", "ziglang"]


def test_a_compiler_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link.shutil, "which", lambda name: "/bin/gcc" if name == "gcc" else None)
    assert link.linker_command()[0] == "/bin/gcc"


def test_what_the_linker_says_is_in_the_error() -> None:
    with pytest.raises(BuildError, match=r"failed: .*broken"):
        link.link({"broken": b"no object code"})
