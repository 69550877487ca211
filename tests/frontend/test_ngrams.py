"""Counts of n-grams that are compiled, and models that give no dictionary of them."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir.errors import ImportModelError

WHOLE = {
    "mode": '"TFIDF"',
    "min_gram_length": "1",
    "max_gram_length": "2",
    "max_skip_count": "1",
    "pool_int64s": "[3, 2, 3, 2]",
    "ngram_counts": "[0, 2]",
    "ngram_indexes": "[2, 0, 1]",
    "weights": "[0.5, 1.0, 2.0]",
}


def _text(**changes: str) -> str:
    attributes = ", ".join(f"{name} = {value}" for name, value in {**WHOLE, **changes}.items())
    return f"(int64[n, s] x) => (float[] y) {{ y = TfIdfVectorizer <{attributes}> (x) }}"


@pytest.mark.parametrize("size", [1, 6])
def test_is_compiled(size: int) -> None:
    x = np.array([[3, 2, 3, 4, 2, 3], [5, 3, 3, 5, 2, 2]])[:, :size]
    proto = model(_text())
    ours = tw.compile(proto, strict=True)(x)
    np.testing.assert_array_equal(ours, read(proto).original({"x": x})[0])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mode": '"DF"'}, "mode 'DF'"),
        ({"max_skip_count": "-1"}, "max_skip_count = -1"),
        ({"pool_int64s": "[3, 2, 3]"}, "no whole 2-grams"),
        ({"ngram_counts": "[0, 9]"}, "no whole 1-grams"),
        ({"ngram_indexes": "[2, 0]", "weights": "[1.0, 2.0]"}, "too few columns"),
        ({"ngram_indexes": "[2, 0, -1]"}, "not negative"),
        ({"weights": "[0.5]"}, "1 weights for 3 n-grams"),
    ],
)
def test_what_is_no_dictionary_is_refused(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(ImportModelError, match=problem):
        read(model(_text(**changes)))
