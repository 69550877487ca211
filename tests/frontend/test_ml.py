"""Operators of the domain ai.onnx.ml against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.onnx_text import SIZES, inputs_for, model
from tilewright.frontend import read
from tilewright.ir.interpret import run

ML = "ai.onnx.ml"
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
WEIGHTS = "coefficients = [0.5, -1.0, 2.0, 1.0, 0.25, -0.5]"
NODES = """nodes_treeids = [0, 0, 0, 0, 0, 1, 1, 1], nodes_nodeids = [0, 1, 2, 3, 4, 0, 1, 2],
    nodes_featureids = [0, 1, 0, 0, 0, 2, 0, 0], nodes_truenodeids = [1, 2, 0, 0, 0, 1, 0, 0],
    nodes_falsenodeids = [4, 3, 0, 0, 0, 2, 0, 0], nodes_missing_value_tracks_true = [1, 0, 0, 0, 0, 1, 0, 0],
    nodes_modes = ["BRANCH_LEQ", "BRANCH_GT", "LEAF", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"],
    nodes_values = [0.25, -0.5, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0]"""
SIGNED, SHARES = [0.5, -1.5, 2.0, -0.25, 1.0], [0.1, 0.4, 0.3, 0.2, 0.5]


def linear(kind: str, attributes: str, transform: str, width: int) -> str:
    """A linear model of `width` features."""
    outputs, names = ("float[] y", "y") if kind == "Regressor" else ("int64[] y, float[] z", "y, z")
    text = f'{ML}.Linear{kind} <{attributes}, {WEIGHTS}, post_transform = "{transform}"> (x)'
    return f"(float[n, {width}] x) => ({outputs}) {{ {names} = {text} }}"


def trees(kind: str, attributes: str, weights: list[float], targets: int, dtype: str = "float") -> str:
    """Two trees, whose leaves have a weight for each of the targets."""
    outputs, names = ("float[] y", "y") if kind == "Regressor" else ("int64[] y, float[] z", "y, z")
    role = "target" if kind == "Regressor" else "class"
    lists = {
        "treeids": [0, 0, 0, 1, 1] * targets,
        "nodeids": [2, 3, 4, 1, 2] * targets,
        "ids": [i for i in range(targets) for _ in range(5)],
        "weights": [w * (1 + i) for i in range(targets) for w in weights],
    }
    leaves = ", ".join(f"{role}_{name} = {numbers}" for name, numbers in lists.items())
    text = f"{ML}.TreeEnsemble{kind} <{NODES}, {leaves}, {attributes}> (x)"
    return f"({dtype}[n, 3] x) => ({outputs}) {{ {names} = {text} }}"


ALONE = 'coefficients = [1.5, -0.5, 2.0], rho = [0.1], kernel_type = "LINEAR", kernel_params = [0.0, 0.0, 0.0]'
NAN_TO_NUMBERS = "<imputed_value_floats = [7.0, 8.0, 9.0], replaced_value_float = nan>"
TO_FLOATS = "<keys_int64s = [3, 1], values_floats = [0.5, 1.5], default_float = -2.0>"
TO_INTEGERS = "<keys_floats = [0.0, 1.0], values_int64s = [10, 20]>"
CASES = [
    f"(float[n, 5] x) => (float[] y) {{ y = {ML}.Binarizer <threshold = 0.5> (x) }}",
    f"(float[n, 5] x, int64[s] i) => (float[] y) {{ y = {ML}.ArrayFeatureExtractor(x, i) }}",
    f"(float[s] x) => (float[] y) <int64[2] i = {{2, 0}}> {{ y = {ML}.ArrayFeatureExtractor(x, i) }}",
    f"(float[n, 3] x) => (float[] y) {{ y = {ML}.Scaler <offset = [1.0, 2.0, 0.5], scale = [0.5, 3.0, -1.0]> (x) }}",
    f"(int64[n, 3] x) => (float[] y) {{ y = {ML}.Scaler <offset = [1.0], scale = [0.5]> (x) }}",
    *(
        f'(float[n, s] x) => (float[] y) {{ y = {ML}.Normalizer <norm = "{norm}"> (x) }}'
        for norm in ("L1", "L2", "MAX")
    ),
    f"(int64[n, 3] x) => (int64[] y) {{ y = {ML}.Imputer <imputed_value_int64s = [7], replaced_value_int64 = 2> (x) }}",
    f"(float[n, 3] x) => (float[] y) {{ z = Log(x) y = {ML}.Imputer {NAN_TO_NUMBERS} (z) }}",
    f"(int64[n, 3] x) => (float[] y) {{ y = {ML}.OneHotEncoder <cats_int64s = [3, 0, 1]> (x) }}",
    f"(int64[n, 3] x) => (float[] y) {{ y = {ML}.LabelEncoder {TO_FLOATS} (x) }}",
    f"(float[n, 3] x) => (int64[] y) {{ z = Round(x) y = {ML}.LabelEncoder {TO_INTEGERS} (z) }}",
    f"(float[n, 3] x, float[n, 2] z) => (float[] y) {{ y = {ML}.FeatureVectorizer <inputdimensions = [3, 2]> (x, z) }}",
]

MODELS = [
    *(
        f'(float[n, 3] x) => (float[] y) {{ y = {ML}.SVMRegressor <kernel_type = "{kernel}", n_supports = 2, '
        "kernel_params = [0.5, 0.25, 3.0], coefficients = [1.5, -0.5], rho = [0.1], one_class = "
        f"{one_class}, support_vectors = [0.5, -1.0, 2.0, 1.0, 0.25, -0.5]> (x) }}"
        for kernel in ("LINEAR", "POLY", "RBF", "SIGMOID")
        for one_class in (0, 1)
    ),
    f"(float[n, 3] x) => (float[] y) {{ y = {ML}.SVMRegressor <{ALONE}> (x) }}",
    *(linear("Regressor", "targets = 2, intercepts = [0.1, -0.2]", transform, 3) for transform in TRANSFORMS),
    *(
        linear("Classifier", f"classlabels_ints = [4, 7], intercepts = {intercepts}", transform, 6 // len(intercepts))
        for transform in TRANSFORMS
        for intercepts in ([0.1], [0.1, -0.2])
    ),
    *(
        trees("Regressor", f'n_targets = {targets}, aggregate_function = "{aggregate}"', SIGNED, targets, dtype)
        for aggregate in ("SUM", "AVERAGE", "MIN", "MAX")
        for targets, dtype in ((1, "double"), (2, "float"))
    ),
    trees("Regressor", "n_targets = 2, base_values = [0.5, -1.0]", SIGNED, 2),
    *(
        trees("Classifier", f'classlabels_int64s = {labels}, post_transform = "{transform}"', weights, targets)
        for transform in TRANSFORMS
        for weights in (SIGNED, SHARES)
        for targets, labels in ((3, [5, 6, 9]), (1, [5, 6]), (2, [5, 6]))
    ),
    trees("Classifier", "classlabels_int64s = [5, 6], base_values = [0.75]", SIGNED, 1),
]


def test_trees_are_compiled() -> None:
    proto = model(trees("Classifier", "classlabels_int64s = [5, 6, 9]", SIGNED, 3), domains={ML: 3})
    x = np.random.default_rng(0).standard_normal((300, 3), np.float32)
    x[::7, 0] = np.nan
    compiled = tw.compile(proto, check=False, strict=True)
    for ours, theirs in zip(compiled.run({"x": x}).values(), read(proto).original({"x": x}), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", [*CASES, *MODELS])
def test_agrees_with_onnxruntime(text: str) -> None:
    imported = read(model(text, domains={ML: 3}))
    for sizes in SIZES:
        inputs = inputs_for(imported.graph, sizes)
        for ours, theirs in zip(run(imported.graph, inputs), imported.original(inputs), strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
