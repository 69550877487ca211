"""The facts about each model, from models.json: where it comes from, its licence, and the inputs it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelFile:
    """A file inside a wheel. `member` may hold wildcards; `archive.zip!inner` is a file in a nested archive."""

    member: str
    sha256: str


@dataclass(frozen=True)
class Model:
    """A model that the package index holds as part of a wheel.

    `inputs` describes each input (see `feeds`), `sizes` the sizes of its symbols at which the model is tried.
    """

    about: str
    licence: str
    package: str
    files: Mapping[str, ModelFile]
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sizes: tuple[Mapping[str, int], ...] = ()

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Model:
        files = {name: ModelFile(**file) for name, file in data["files"].items()}
        return Model(**{**data, "files": files, "sizes": tuple(data.get("sizes", ()))})


def _read(path: Path) -> dict[str, Model]:
    return {name: Model.from_json(data) for name, data in json.loads(path.read_text(encoding="utf-8")).items()}


MODELS: Mapping[str, Model] = _read(Path(__file__).with_name("models.json"))
