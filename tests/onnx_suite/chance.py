"""Cases with random outputs: shape, type and distribution are checked, for the numbers are each runtime's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.onnx_suite.cases import Case

_DEVIATIONS = 5.0
"""A mean further than this many standard deviations from where it should be happens once in two million runs."""


def is_random(case: Case) -> bool:
    return case.operator == "Bernoulli" or _dropout_ratio(case, case.data_sets[0][0]) > 0


def assert_likely(case: Case, given: Sequence[Any], got: Sequence[Any], wanted: Sequence[Any]) -> None:
    """Raises AssertionError where the outputs are not those of the case's distribution."""
    assert len(got) == len(wanted), f"{len(got)} outputs instead of {len(wanted)}"
    for value, right in zip(got, wanted, strict=True):
        assert value.shape == right.shape, f"shape {value.shape} instead of {right.shape}"
        assert value.dtype == right.dtype, f"type {value.dtype} instead of {right.dtype}"
    if case.operator == "Bernoulli":
        assert set(np.unique(got[0])) <= {0, 1}, "Bernoulli gives something else than 0 and 1"
        assert_mean(got[0].astype(float), given[0].astype(float))
    else:
        assert_dropped(given[0], _dropout_ratio(case, given), got)


def assert_mean(drawn: np.ndarray[Any, Any], chance: np.ndarray[Any, Any]) -> None:
    """As many ones as `chance`, that of each element, makes likely."""
    deviation = float(np.sqrt((chance * (1 - chance)).sum()))
    expected, count = float(chance.sum()), float(drawn.sum())
    assert abs(count - expected) <= _DEVIATIONS * deviation, f"{count:g} ones where {expected:g} are expected"


def assert_dropped(x: np.ndarray[Any, Any], ratio: float, got: Sequence[Any]) -> None:
    """Each element is 0 or x / (1 - ratio), the mask says which, and about `ratio` of them are 0."""
    kept = np.not_equal(got[0], 0)
    np.testing.assert_allclose(got[0], np.where(kept, x / (1 - ratio), 0), rtol=1e-3, atol=1e-7)
    assert_mean(kept.astype(float), np.full(x.shape, 1 - ratio))
    if len(got) > 1:
        assert np.array_equal(got[1], kept), "the mask is not that of the output"


def _dropout_ratio(case: Case, given: Sequence[Any]) -> float:
    """The share that a Dropout in training drops; 0 where nothing is random."""
    if case.operator != "Dropout" or case.expanded:
        return 0.0
    node = case.model.graph.node[0]
    values: Mapping[str, Any] = dict(zip([i.name for i in case.model.graph.input], given, strict=True))
    named = dict(zip(("x", "ratio", "training"), node.input, strict=False))
    if not values.get(named.get("training", ""), False):
        return 0.0
    return float(values.get(named.get("ratio", ""), 0.5))
