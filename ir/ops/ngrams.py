"""N-grams: sequences of tokens, with gaps of one size between them, that a dictionary in the form of a trie weighs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_equal, require_rank
from tilewright.ir.types import TensorType, tensor

_INPUTS = (
    ("the input", 2, "int64"),
    ("the tokens", 1, "int64"),
    ("the children", 1, "int64"),
    ("the columns", 1, "int64"),
    ("the weights", 1, "float32"),
)


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    for type, (what, rank, dtype) in zip(types, _INPUTS, strict=True):
        require_dtype(type, (dtype,), what)
        require_rank(type, rank, what)
    x, tokens, first, column, weight = types
    require_equal(tokens.shape[0], column.shape[0], "the numbers of tokens and columns")
    require_equal(tokens.shape[0], weight.shape[0], "the numbers of tokens and weights")
    require_equal(dims.add(tokens.shape[0], 2), first.shape[0], "the number of nodes and that of first children")
    require(attrs["shortest"] >= 1 and attrs["gaps"] >= 1, "n-grams have tokens, and gaps are at least 1")
    return (TensorType("float32", (x.shape[0], attrs["size"])),)


def _ref(attrs: Attrs, x: Array, tokens: Array, first: Array, column: Array, weight: Array) -> Array:
    parents = np.repeat(np.arange(len(tokens) + 1), np.diff(first))
    edges = {pair: edge for edge, pair in enumerate(zip(parents.tolist(), tokens.tolist(), strict=True))}
    found = np.zeros((len(x), attrs["size"]), np.float32)
    for gap in range(1, min(attrs["gaps"], x.shape[1]) + 1):
        least = attrs["shortest"] if gap == 1 else max(2, attrs["shortest"])
        for row, start in np.ndindex(*x.shape):
            node = 0
            for length, token in enumerate(x[row, start::gap][: attrs["longest"]].tolist(), 1):
                edge = edges.get((node, token))
                if edge is None:
                    break
                node = edge + 1
                if length >= least and column[edge] >= 0:
                    found[row, column[edge]] *= attrs["summed"]
                    found[row, column[edge]] += weight[edge]
    return found


def _samples() -> list[Sample]:
    """The 1-grams 5 and -2, the 2-grams (3, 3), (5, 5) and (5, 6), and the 3-gram (5, 5, 6)."""
    tokens, first = np.array([-2, 3, 5, 3, 5, 6, 6]), np.array([0, 3, 3, 4, 6, 6, 7, 7, 7])
    weight = np.array([0.5, 9.0, -1.0, 2.0, 0.25, 3.0, 1.5], np.float32)
    trie = (tokens, first, np.array([4, -1, 0, 1, 2, 2, 3]), weight)
    x = np.array([[5, 5, 6, -2, 3, 3, 5], [3, 1, 3, 5, 0, 5, 6], [9, -9, 9, 5, 3, 3, 6]])
    return [
        Sample((x, *trie), {"size": 6, "shortest": 1, "longest": 3, "gaps": 3, "summed": False}),
        Sample((x, *trie), {"size": 7, "shortest": 2, "longest": 2, "gaps": 1}),
        Sample((x[:, :1], *trie), {"size": 6, "shortest": 1, "longest": 1, "gaps": 9}),
        Sample((tensor("int64", "n", "s"), *trie), {"size": 6, "shortest": 1, "longest": 3, "gaps": 20}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "ngrams",
        Kind.SERIAL,
        _infer,
        _ref,
        None,
        (5, 5),
        {"size": REQUIRED, "shortest": REQUIRED, "longest": REQUIRED, "gaps": REQUIRED, "summed": True},
        _samples,
        "The n-grams of a trie that come in each row of x: one that ends at node i + 1 adds weight[i] to column[i], "
        "unless that is negative; if not `summed`, it replaces what is there. Tokens are 1 to `gaps` places apart; one "
        "alone comes once. The root is node 0; the children of node i are first[i] + 1 to first[i + 1], and tokens[j], "
        "ascending among them, leads to node j + 1.",
    ),
)
