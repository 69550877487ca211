"""What every reader of models returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tilewright.ir.graph import Graph
from tilewright.ir.op import Array

Original = Callable[[Mapping[str, Array]], tuple[Array, ...]]


@dataclass(frozen=True)
class Imported:
    """A model as a graph, and the same model in its own runtime.

    `original(inputs by name)` gives the outputs in the graph's order; the runtime is loaded on the first call.
    `symbols` maps the names of sizes in the model to the symbols of the graph, which are legal identifiers.
    """

    graph: Graph
    original: Original
    name: str
    symbols: Mapping[str, str]
