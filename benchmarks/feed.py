"""A feed as files of its own: reading them takes a process less time than an archive does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_NAMES = "names.json"


def save_feed(folder: Path, arrays: Mapping[str, Any]) -> None:
    """Write the arrays into a new folder."""
    folder.mkdir()
    (folder / _NAMES).write_text(json.dumps(list(arrays)))
    for number, array in enumerate(arrays.values()):
        np.save(folder / f"{number}.npy", array)


def load_feed(folder: Path) -> dict[str, Any]:
    """Inverse of `save_feed`."""
    names = json.loads((folder / _NAMES).read_text())
    return {name: np.load(folder / f"{number}.npy") for number, name in enumerate(names)}
