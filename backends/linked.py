"""What is linked into every library beside its kernels."""

from __future__ import annotations

from pathlib import Path

_FILES = ("pool.ll", "stream.ll")


def source() -> str:
    """The thread pool and stores past the caches, as one module in LLVM's intermediate language."""
    return "\n".join(Path(__file__).with_name(name).read_text() for name in _FILES)
