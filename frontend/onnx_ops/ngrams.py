"""N-grams counted and weighed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir.graph import Value
from tilewright.ir.op import Array

Gram: TypeAlias = tuple[int, ...]


def tf_idf_vectorizer(c: Call) -> Value:
    """Integers only: where strings are counted, the host does it."""
    x = c[0]
    if x.dtype not in ("int32", "int64") or not c.has("pool_int64s"):
        raise c.unsupported("counts strings")
    if x.rank > 2:
        raise c.malformed(f"needs one or two axes, not {x.type}")
    columns = c.required(c.integers("ngram_indexes"), "ngram_indexes")
    if not columns or min(columns) < 0:
        raise c.malformed("needs ngram_indexes that are not negative")
    size = max(columns) + 1
    rows = c.cast(x if x.rank == 2 else c.reshape(x, (1, x.shape[0] if x.rank else 1)), "int64")
    found = weighed(c, rows, dict(grams(c, columns)), size)
    return found if x.rank == 2 else c.reshape(found, (size,))


def needed(c: Call, name: str, least: int) -> int:
    c.required(c.has(name) or None, name)
    value = c.integer(name, least)
    if value < least:
        raise c.malformed(f"has {name} = {value}, less than {least}")
    return value


def grams(c: Call, columns: tuple[int, ...]) -> Iterator[tuple[Gram, tuple[int, float]]]:
    """The n-grams to look for, and the column and the weight of each."""
    pool = c.required(c.integers("pool_int64s"), "pool_int64s")
    starts = c.required(c.integers("ngram_counts"), "ngram_counts")
    shortest, longest = needed(c, "min_gram_length", 1), needed(c, "max_gram_length", 1)
    bounds, number, weights = (*starts, len(pool)), 0, weights_of(c, len(columns))
    for length, (first, last) in enumerate(itertools.pairwise(bounds), 1):
        count, rest = divmod(last - first, length)
        if not 0 <= first <= last <= len(pool) or rest or number + count > len(columns):
            raise c.malformed(f"has no whole {length}-grams from {first} to {last} of its pool, or too few columns")
        if shortest <= length <= longest:
            for i in range(count):
                start, place = first + i * length, number + i
                yield pool[start : start + length], (columns[place], weights[place])
        number += count


def weights_of(c: Call, count: int) -> tuple[float, ...]:
    """The weights of all n-grams, as onnxruntime reads them; onnx's evaluator has them in the order of the columns."""
    given = c.reals("weights") or ()
    if c.text("mode", "") == "TF" or not given:
        return (1.0,) * count
    if len(given) != count:
        raise c.malformed(f"has {len(given)} weights for {count} n-grams")
    return given


def trie(found: Mapping[Gram, tuple[int, float]]) -> tuple[Array, ...]:
    """Tokens, first children, columns and weights, as the row `ngrams` wants them: level by level."""
    grams, longer, edges = list(found), list(range(len(found))), list[tuple[int, int]]()
    nodes = [0] * len(grams)  # which each n-gram has come to
    for level in range(max(map(len, grams))):
        longer = [i for i in longer if len(grams[i]) > level]
        added = sorted({(nodes[i], grams[i][level]) for i in longer})
        numbers = {edge: number for number, edge in enumerate(added, len(edges) + 1)}
        edges += added
        for i in longer:
            nodes[i] = numbers[nodes[i], grams[i][level]]
    parents, tokens = np.array(edges, np.int64).T
    columns, weights = np.full(len(edges), -1), np.zeros(len(edges), np.float32)
    for node, end in zip(nodes, found.values(), strict=True):
        columns[node - 1], weights[node - 1] = end
    return np.ascontiguousarray(tokens), np.searchsorted(parents, np.arange(len(edges) + 2)), columns, weights


def weighed(c: Call, rows: Value, found: Mapping[Gram, tuple[int, float]], size: int) -> Value:
    """float32[rows, size]"""
    mode, gaps = c.text("mode", ""), needed(c, "max_skip_count", 0) + 1
    if mode not in ("TF", "IDF", "TFIDF"):
        raise c.malformed(f"weighs in the mode '{mode}'")
    if not found:
        return c.expand(c.constant(np.zeros((1, 1)), "float32"), (rows.shape[0], size))
    longest, shortest = max(map(len, found)), needed(c, "min_gram_length", 1)
    attributes = {"size": size, "shortest": shortest, "longest": longest, "gaps": gaps, "summed": mode != "IDF"}
    return c.apply("ngrams", rows, *map(c.constant, trie(found)), **attributes)


TABLE = {"TfIdfVectorizer": tf_idf_vectorizer}
