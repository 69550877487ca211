"""Whole compiled models in the cache: to compile a model again takes no longer than to load it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tilewright.backends import artifact
from tilewright.backends.cache import Store, model_digest
from tilewright.backends.target import Target, cpu_features
from tilewright.ir.errors import ArtifactError

if TYPE_CHECKING:
    from tilewright.backends.compiled import CompiledModel
    from tilewright.ir.graph import Graph

_SHARE = 8  # of the cache's limit one model may take this part


class Kept:
    """The place of one compiled model in the cache.

    `identity` tells the model from all others; without one it is not kept, nor is one for a processor that cannot run
    here, or where the versions of the packages that made it are unknown. `strict`: whether the host was refused.
    """

    def __init__(self, identity: str | None, target: Target, strict: bool, store: Store | None = None) -> None:
        self._store = store or Store()
        self._key = None
        if identity is not None and target.features <= cpu_features():
            try:
                self._key = model_digest(identity, str(target), str(strict))
            except ModuleNotFoundError:
                return

    def load(self, threads: int | None, graph: Callable[[], Graph]) -> CompiledModel | None:
        """What `save` kept, if it did; `graph` gives the graph that it was compiled from."""
        if self._key is None:
            return None
        try:
            model = artifact.load(self._store.path(self._key), threads, graph)
        except ArtifactError:  # it is not there, or damaged, and will be made anew
            return None
        self._store.touch(self._key)
        return model

    def save(self, model: CompiledModel) -> None:
        """Keep a model, unless it takes a large part of the cache."""
        size = sum(array.nbytes for array in model.weights.values()) + len(model.executable.library)
        if self._key is not None and size * _SHARE <= self._store.limit:
            self._store.write(self._key, lambda path: artifact.write(model, path))
            self._store.prune_at_times()
