"""Features in the domain ai.onnx.ml: scaled, encoded, chosen. What concerns strings is not for these converters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir import dims
from tilewright.ir.graph import Value
from tilewright.ir.op import Array


def floats(c: Call, x: Value) -> Value:
    return c.cast(x, "float32")


def binarizer(c: Call) -> Value:
    x = c[0]
    threshold = c.constant(c.real("threshold", 0.0), "float64" if x.dtype == "float64" else "float32")
    return c.cast(c.apply("greater", c.cast(x, threshold.dtype), threshold), x.dtype)


def scaler(c: Call) -> Value:
    x = floats(c, c[0])
    offset, scale = (c.constant(c.required(c.reals(name), name), "float32") for name in ("offset", "scale"))
    return c.apply("mul", c.apply("sub", x, offset), scale)


def normalizer(c: Call) -> Value:
    """Rows divided by their greatest element, the sum of magnitudes or the norm; a divisor of zero does nothing."""
    x, norm = floats(c, c[0]), c.text("norm", "MAX")
    axis = (x.rank - 1,)
    if x.rank not in (1, 2) or norm not in ("MAX", "L1", "L2"):
        raise c.malformed(f"normalizes {x.rank} axes by {norm}")
    if norm == "MAX":
        divisor = c.reduce("max", x, axis)
    elif norm == "L1":
        divisor = c.reduce("sum", c.apply("abs", x), axis)
    else:
        divisor = c.apply("sqrt", c.reduce("sum", c.apply("mul", x, x), axis))
    return c.apply("div", x, c.apply("where", c.apply("equal", divisor, 0.0), c.constant(1.0, "float32"), divisor))


def imputer(c: Call) -> Value:
    """What equals a number, or is NaN, becomes another: the same everywhere, or one for each column."""
    x = c[0]
    whole = not x.dtype.startswith("float")
    values = c.integers("imputed_value_int64s") if whole else c.reals("imputed_value_floats")
    replaced = c.integer("replaced_value_int64", 0) if whole else c.real("replaced_value_float", 0.0)
    new = c.constant(c.required(values, "imputed values"), x.dtype)
    missing = c.apply("isnan", x) if replaced != replaced else c.apply("equal", x, replaced)
    return c.apply("where", missing, new, x)


def array_feature_extractor(c: Call) -> Value:
    """Columns of the last axis; of a vector, as a matrix with one row."""
    x, places = c[0], c.reshape(c[1], (dims.product(c[1].shape),))
    rows = x if x.rank > 1 else c.reshape(x, (1, *x.shape))
    return c.apply("gather", rows, places, axis=rows.rank - 1)


def feature_vectorizer(c: Call) -> Value:
    """The inputs beside each other, each cut or filled up with zeros to its width."""
    widths = c.required(c.integers("inputdimensions"), "inputdimensions")
    if len(widths) != len(c.inputs):
        raise c.malformed(f"has {len(widths)} widths for {len(c.inputs)} inputs")
    parts = []
    for x, width in zip(c.variadic(), widths, strict=True):
        matrix = floats(c, x if x.rank == 2 else c.reshape(x, (x.shape[0], dims.product(x.shape[1:]))))
        extra = c.static(dims.sub(width, matrix.shape[1]), "a width")
        parts.append(
            c.apply("pad", matrix, before=(0, 0), after=(0, extra)) if extra > 0 else c.slice(matrix, 1, 0, width)
        )
    return c.apply("concat", *parts, axis=1)


def one_hot_encoder(c: Call) -> Value:
    """A 1 at the place of each category; a number that is none gives zeros."""
    categories = c.integers("cats_int64s")
    if categories is None or c[0].dtype == "string":
        raise c.unsupported("encodes strings")
    x = c.cast(c[0], "int64")
    hits = c.apply("equal", c.reshape(x, (*x.shape, 1)), c.constant(categories, "int64"))
    return c.cast(hits, "float32")


_KEYS = (("keys_floats", "float32"), ("keys_int64s", "int64"))
_VALUES = (("values_floats", "float32"), ("values_int64s", "int64"))


def listed(c: Call, lists: Sequence[tuple[str, str]], tensor: str) -> Array:
    """The numbers of the attribute that is there: a list of floats or integers, or a tensor."""
    found = c.array(tensor)
    if found is not None:
        return found.reshape(-1)
    for name, dtype in lists:
        values = c.reals(name) if dtype == "float32" else c.integers(name)
        if values is not None:
            return np.array(values, dtype)
    raise c.unsupported("maps strings")


def default_value(c: Call, values: Array) -> Any:
    found = c.array("default_tensor")
    if found is not None:
        return found.reshape(-1)[0]
    if values.dtype.kind == "f":
        return c.real("default_float", -0.0)
    return c.integer("default_int64", -1)


def label_encoder(c: Call) -> Value:
    """The value of the first key that equals an element, or the default; NaN equals NaN."""
    x = c[0]
    keys, values = listed(c, _KEYS, "keys_tensor"), listed(c, _VALUES, "values_tensor")
    if "string" in (x.dtype, c.constant(keys).dtype, c.constant(values).dtype):
        raise c.unsupported("maps strings")
    if len(keys) != len(values):
        raise c.malformed(f"has {len(keys)} keys for {len(values)} values")
    wide, table = c.reshape(x, (*x.shape, 1)), c.constant(keys, x.dtype)
    hits = c.apply("equal", wide, table)
    if x.dtype.startswith("float") and np.isnan(keys).any():
        hits = c.apply("logical_or", hits, c.apply("logical_and", c.apply("isnan", wide), c.apply("isnan", table)))
    numbers = c.cast(hits, "int32")
    place = c.apply("argmax", numbers, axis=x.rank)
    found = c.apply("greater", c.reduce("max", numbers, (x.rank,), keepdims=False), 0)
    chosen = c.apply("gather", c.constant(values), place, axis=0)
    return c.apply("where", found, chosen, c.constant(default_value(c, values), chosen.dtype))


DOMAIN = "ai.onnx.ml"
TABLE = {
    f"{DOMAIN}.ArrayFeatureExtractor": array_feature_extractor,
    f"{DOMAIN}.Binarizer": binarizer,
    f"{DOMAIN}.FeatureVectorizer": feature_vectorizer,
    f"{DOMAIN}.Imputer": imputer,
    f"{DOMAIN}.LabelEncoder": label_encoder,
    f"{DOMAIN}.Normalizer": normalizer,
    f"{DOMAIN}.OneHotEncoder": one_hot_encoder,
    f"{DOMAIN}.Scaler": scaler,
}
