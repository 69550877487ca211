"""The build processes start early where there is something to build, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilewright.backends import build
from tilewright.backends.cache import Store
from tilewright.backends.target import Target
from tilewright.ir.parse import parse

GRAPH = parse("graph(x: float32[n]) { %0 = exp(x) return y=%0 }")
OTHER = parse("graph(x: float32[n]) { %0 = log(x) return y=%0 }")


def test_only_what_was_never_built_starts_them(native: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(build, "prestart", lambda: started.append("started"))
    store = Store(tmp_path)
    build.foresee(GRAPH, native, store)  # which then fails to build
    note = build.foresee(GRAPH, native, store)
    assert len(started) == 2
    note()
    build.foresee(GRAPH, native, store)
    assert len(started) == 2
    build.foresee(OTHER, native, store)
    assert len(started) == 3
