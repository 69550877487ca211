"""Models in: each format is read into the same graph.

The names are loaded on first use: a model that was compiled before is known by its bytes, without reading it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tilewright.frontend.fingerprint import identity
    from tilewright.frontend.imported import Imported, Original
    from tilewright.frontend.reading import read

__all__ = ["Imported", "Original", "identity", "read"]

_HOMES = {"Imported": "imported", "Original": "imported", "identity": "fingerprint", "read": "reading"}


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tilewright.frontend' has no attribute {name!r}")
    return getattr(import_module(f"tilewright.frontend.{_HOMES[name]}"), name)
