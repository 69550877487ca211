"""What is measured: each open model at each of its sizes, and at a batch of 8 where the model leaves the batch open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from examples.model_zoo import MODELS, Model

BATCH = 8
NAMES = tuple(name for name, model in MODELS.items() if model.sizes)


@dataclass(frozen=True)
class Case:
    """One row of the table: a model, the sizes of its symbols, and a number of threads."""

    model: str
    sizes: Mapping[str, int]
    threads: int

    @property
    def shown(self) -> str:
        """The sizes as text, e.g. "batch 1, seq 128"."""
        return ", ".join(f"{name} {size}" for name, size in self.sizes.items()) or "fixed"

    def __str__(self) -> str:
        return f"{self.model}, {self.shown}, {counted(self.threads, 'thread')}"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def cases(names: Iterable[str], threads: Sequence[int], first_size_only: bool = False) -> list[Case]:
    """All cases of these models, model by model."""
    found = []
    for name in names:
        sizes = all_sizes(MODELS[name])
        found += [Case(name, chosen, count) for chosen in sizes[: 1 if first_size_only else None] for count in threads]
    return found


def all_sizes(model: Model) -> list[Mapping[str, int]]:
    """The sizes that the catalogue lists, then those of a batch of 1 with one of 8; none twice."""
    larger = [{**sizes, "batch": BATCH} for sizes in model.sizes if sizes.get("batch") == 1]
    found: list[Mapping[str, int]] = []
    for sizes in (*model.sizes, *larger):
        if sizes not in found:
            found.append(sizes)
    return found
