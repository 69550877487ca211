"""The nodes of decision trees, in the two forms that the domain ai.onnx.ml has had for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir.op import Array
from tilewright.ir.types import numpy_dtype

_MODES = (
    "BRANCH_LEQ",
    "BRANCH_LT",
    "BRANCH_GTE",
    "BRANCH_GT",
    "BRANCH_EQ",
    "BRANCH_NEQ",
)  # as the tests of tree_leaves
_EQUAL, _MEMBER = 4, 6


def numbers(c: Call, name: str) -> Array:
    """A list of floats, or a tensor of that name or of the one that may stand for it; empty where none is there."""
    if c.op_type == "TreeEnsemble":
        found = c.array(name)
    else:
        found = c.array(f"{name}_as_tensor")
        if found is None:
            return np.array(c.reals(name) or (), np.float32)
    return np.zeros(0, np.float32) if found is None else found.reshape(-1)


@dataclass
class Forest:
    """One entry for each node; a leaf goes to itself. `places` finds a node by its tree and its number there."""

    feature: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    test: list[int] = field(default_factory=list)
    yes: list[int] = field(default_factory=list)
    no: list[int] = field(default_factory=list)
    missing: list[bool] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    places: dict[tuple[int, int], int] = field(default_factory=dict)
    depth: int = 0

    def __len__(self) -> int:
        return len(self.feature)

    @property
    def features(self) -> int:
        return max(self.feature) + 1

    def index(self, c: Call, tree: int, number: int) -> int:
        if (tree, number) not in self.places:
            raise c.malformed(f"has no node {number} in tree {tree}")
        return self.places[tree, number]

    def add(self, feature: int, threshold: float, test: int, yes: int, no: int, missing: bool) -> int:
        row = (feature, threshold, test, yes, no, missing)
        columns = (self.feature, self.threshold, self.test, self.yes, self.no, self.missing)
        for column, entry in zip(columns, row, strict=True):
            column.append(entry)  # type: ignore[attr-defined]
        return len(self) - 1

    def add_leaf(self) -> int:
        here = len(self)
        return self.add(0, 0.0, 0, here, here, False)

    def arrays(self, dtype: str) -> tuple[Array, ...]:
        """The inputs of `tree_leaves` after the first."""
        whole = [np.array(column, np.int32) for column in (self.feature, self.test, self.yes, self.no, self.roots)]
        feature, test, yes, no, roots = whole
        return feature, np.array(self.threshold, numpy_dtype(dtype)), test, yes, no, np.array(self.missing), roots

    def settle(self, c: Call) -> Forest:
        """Checks the nodes, and finds how deep the trees are. Raises ImportModelError for a circle."""
        count = len(self)
        ends = (*self.yes, *self.no, *self.roots)
        if not count or not self.roots or min(self.feature) < 0 or not all(0 <= end < count for end in ends):
            raise c.malformed("has trees with features or nodes that do not exist")
        level = set(self.roots)
        while level:
            level = {end for i in level for end in (self.yes[i], self.no[i]) if end != i}
            self.depth += bool(level)
            if self.depth > count:
                raise c.malformed("has trees whose nodes go in a circle")
        return self


def classic_forest(c: Call) -> Forest:
    """Parallel lists, leaves among them, in which nodes are named by tree and number."""
    names = ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids")
    trees, ids, features, yes, no = (c.required(c.integers(f"nodes_{name}"), f"nodes_{name}") for name in names)
    modes, values = c.required(c.texts("nodes_modes"), "nodes_modes"), numbers(c, "nodes_values")
    tracks = c.integers("nodes_missing_value_tracks_true") or (0,) * len(ids)
    forest = Forest(places={place: i for i, place in enumerate(zip(trees, ids, strict=True))})
    rows = zip(trees, features, values.tolist(), modes, yes, no, tracks, strict=True)
    for tree, feature, value, mode, true, false, missing in rows:
        if mode == "LEAF":
            forest.add_leaf()
        elif mode in _MODES:
            ends = (forest.index(c, tree, true), forest.index(c, tree, false))
            forest.add(feature, value, _MODES.index(mode), *ends, bool(missing))
        else:
            raise c.malformed(f"has a node of the unknown mode '{mode}'")
    children = {end for i in range(len(forest)) for end in (forest.yes[i], forest.no[i]) if end != i}
    first: dict[int, int] = {}
    for i, tree in enumerate(trees):
        if i not in children:
            first.setdefault(tree, i)
    forest.roots = list(first.values())
    return forest.settle(c)


def listed_forest(c: Call) -> tuple[Forest, int]:
    """Nodes and leaves in lists of their own, in which places name them; and where the leaves begin."""
    names = ("featureids", "truenodeids", "falsenodeids", "trueleafs", "falseleafs")
    features, yes, no, true_leaf, false_leaf = (c.required(c.integers(f"nodes_{n}"), f"nodes_{n}") for n in names)
    modes, splits = (numbers(c, f"nodes_{name}") for name in ("modes", "splits"))
    tracks = c.integers("nodes_missing_value_tracks_true") or (0,) * len(features)
    roots = c.required(c.integers("tree_roots"), "tree_roots")
    count, leaves = len(features), len(c.required(c.integers("leaf_targetids"), "leaf_targetids"))
    forest, members = Forest(roots=list(roots)), _sets(numbers(c, "membership_values"))
    chains: list[tuple[int, Sequence[float]]] = []
    for i in range(count):
        mode = int(modes[i])
        ends = (yes[i] + count * bool(true_leaf[i]), no[i] + count * bool(false_leaf[i]))
        if not 0 <= mode <= _MEMBER:
            raise c.malformed(f"has a node of the unknown mode {mode}")
        if mode == _MEMBER:
            chains.append((i, next(members, ())))
        forest.add(features[i], float(splits[i]), min(mode, _MODES.index("BRANCH_NEQ")), *ends, bool(tracks[i]))
    for _ in range(leaves):
        forest.add_leaf()
    for node, values in chains:
        _as_chain(forest, node, values)
    return forest.settle(c), count


def _sets(values: Array) -> Iterator[Sequence[float]]:
    """Sets of numbers, which NaN ends."""
    found: list[float] = []
    for value in values.tolist():
        if value != value:
            yield found
            found = []
        else:
            found.append(value)


def _as_chain(forest: Forest, node: int, values: Sequence[float]) -> None:
    """A test for membership as a chain of tests for equality; of nothing, one that always fails but for NaN."""
    first, *rest = values or (np.inf,)
    feature, yes, no, missing = forest.feature[node], forest.yes[node], forest.no[node], forest.missing[node]
    for value in reversed(rest):
        no = forest.add(feature, value, _EQUAL, yes, no, missing)
    forest.threshold[node], forest.test[node], forest.no[node] = float(first), _EQUAL, no
