"""Random inputs that suit each model of the zoo, at each of its sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.model_zoo.catalogue import MODELS
from tilewright.backends.signature import TensorInfo
from tilewright.draw import random_inputs

Sizes = Mapping[str, int]
Feed = dict[str, NDArray[Any]]


def feeds(name: str, seed: int = 0, sizes: Sequence[Sizes] | None = None) -> list[Feed]:
    """One feed {input: array} for each of `sizes`, by default the model's; the same seed gives the same numbers."""
    model = MODELS[name]
    rng = np.random.default_rng(seed)
    return [{port: draw(spec, s, rng) for port, spec in model.inputs.items()} for s in sizes or model.sizes]


def draw(spec: Mapping[str, Any], sizes: Sizes, rng: np.random.Generator) -> NDArray[Any]:
    """An array as models.json describes it.

    `values` are given in full; `fill` repeats one value; `low` (default 0) and `below` bound uniform numbers; without
    any of these, images are like pages of text, and other floats normal with standard deviation `scale` (default 1).
    Symbols may stand for numbers.
    """
    dtype = np.dtype(spec["dtype"])
    shape = [_number(dim, sizes) for dim in spec["shape"]]
    if "values" in spec:
        return np.array(spec["values"], dtype).reshape(shape)
    if "fill" in spec:
        return np.full(shape, _number(spec["fill"], sizes), dtype)
    if "below" in spec:
        low, below = spec.get("low", 0), _number(spec["below"], sizes)
        drawn = rng.integers(low, below, shape) if dtype.kind in "iu" else rng.uniform(low, below, shape)
        return np.asarray(drawn, dtype)
    port = TensorInfo("", spec["dtype"], tuple(shape))
    return np.asarray(random_inputs([port], {}, rng)[""] * spec.get("scale", 1), dtype)


def _number(value: int | str, sizes: Sizes) -> int:
    return sizes[value] if isinstance(value, str) else value
