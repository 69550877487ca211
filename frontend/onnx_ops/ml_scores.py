"""What becomes of scores in the domain ai.onnx.ml: transforms, and the labels of the classes."""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir.graph import Value

TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


def transform_of(c: Call) -> str:
    name = c.text("post_transform", "NONE")
    if name not in TRANSFORMS:
        raise c.malformed(f"has the unknown transform '{name}'")
    return name


def transformed(c: Call, scores: Value, transform: str) -> Value:
    """Scores [N, C]. A single score knows no transform but PROBIT, as in onnxruntime."""
    if transform == "PROBIT":
        return probit(c, scores)
    if scores.shape[1] == 1 or transform == "NONE":
        return scores
    if transform == "LOGISTIC":
        return c.apply("sigmoid", scores)
    return c.apply("softmax", scores, axis=1) if transform == "SOFTMAX" else softmax_zero(c, scores)


def softmax_zero(c: Call, scores: Value) -> Value:
    """A softmax in which a score of zero stays zero; 0.5 where all of them are."""
    top = c.reduce("max", scores, (1,))
    is_zero = c.apply("less_equal", c.apply("abs", scores), 1e-7)
    kept = c.apply("mul", scores, c.apply("exp", c.apply("neg", top)))
    powers = c.apply("where", is_zero, kept, c.apply("exp", c.apply("sub", scores, top)))
    total = c.reduce("sum", powers, (1,))
    nothing = c.apply("equal", total, 0.0)
    one, half = c.constant(1.0, scores.dtype), c.constant(0.5, scores.dtype)
    return c.apply("where", nothing, half, c.apply("div", powers, c.apply("where", nothing, one, total)))


def probit(c: Call, scores: Value) -> Value:
    """The inverse of the normal distribution function, by S. Winitzki's approximation of the inverse error function."""
    x = c.apply("sub", c.apply("mul", scores, 2.0), 1.0)
    log = c.apply("log", c.apply("mul", c.apply("sub", c.constant(1.0, x.dtype), x), c.apply("add", x, 1.0)))
    middle = c.apply("add", c.apply("mul", log, 0.5), 2.0 / (3.14159 * 0.147))
    root = c.apply("sqrt", c.apply("sub", c.apply("mul", middle, middle), c.apply("mul", log, 1.0 / 0.147)))
    inverse = c.apply("mul", c.apply("sign", x), c.apply("sqrt", c.apply("sub", root, middle)))
    return c.apply("mul", inverse, 1.41421356)


def integer_labels(c: Call, *names: str) -> tuple[int, ...]:
    """The classes' labels. Raises UnsupportedError where they are strings."""
    for name in names:
        labels = c.integers(name)
        if labels:
            return labels
    if c.texts("classlabels_strings"):
        raise c.unsupported("has classes with names, which is not supported yet")
    raise c.malformed("has no labels")


def best_label(c: Call, scores: Value, labels: tuple[int, ...]) -> Value:
    """The label of the greatest score of each row."""
    if scores.shape[1] != len(labels):
        raise c.malformed(f"has {len(labels)} labels for {scores.shape[1]} scores")
    return c.apply("gather", c.constant(labels, "int64"), c.apply("argmax", scores, axis=1), axis=0)


def two_labels(c: Call, positive: Value, labels: tuple[int, ...]) -> Value:
    """The second label where the condition ([N, 1]) holds, else the first."""
    condition = c.reshape(positive, (positive.shape[0],))
    return c.apply("where", condition, *(c.constant(label, "int64") for label in labels[1::-1]))


def two_scores(c: Call, score: Value, transform: str, *, shares: bool) -> Value:
    """Scores of both classes from that of the second ([N, 1]): what is left of 1 if they are shares, else opposites.

    Of the transforms, only LOGISTIC and PROBIT apply then, as in onnxruntime.
    """
    if transform == "PROBIT":
        return probit(c, score)
    opposite = c.apply("neg", score)
    if transform == "LOGISTIC":
        return c.apply("sigmoid", c.apply("concat", opposite, score, axis=1))
    return c.apply("concat", c.apply("add", opposite, 1.0) if shares else opposite, score, axis=1)
