"""What every reader of models returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tilewright.ir.graph import Graph
from tilewright.ir.op import Array


class Original(Protocol):
    """A model in its own runtime, which is loaded on the first call."""

    def __call__(self, inputs: Mapping[str, Array], /) -> tuple[Array, ...]:
        """The outputs in the graph's order.

        Raises InputError for inputs that the runtime does not take, ImportModelError where it cannot load the model.
        """

    def with_threads(self, threads: int) -> Original:
        """The same on so many threads, to compare times with."""

    def nudged(self, seed: int) -> Original | None:
        """The model with weights that differ in their last bits, another way for each seed; None if there is none."""


@dataclass(frozen=True)
class Imported:
    """A model as a graph, and the same model in its own runtime.

    `symbols` maps the names of sizes in the model to the symbols of the graph, which are legal identifiers.
    """

    graph: Graph
    original: Original
    name: str
    symbols: Mapping[str, str]
