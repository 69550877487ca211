"""Losses over class scores: [N, C, d1, ...] and labels [N, d1, ...]."""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir.graph import Value


def negative_log_likelihood(c: Call) -> Value:
    return likelihood_loss(c, c[0])


def softmax_cross_entropy(c: Call) -> tuple[Value, Value]:
    """The loss, and the logarithms of the probabilities."""
    logarithms = c.apply("log_softmax", c[0], axis=c.axis(1, c[0].rank))
    return likelihood_loss(c, logarithms), logarithms


def likelihood_loss(c: Call, logarithms: Value) -> Value:
    """-weight[label] * logarithms[label] for each label, reduced; the mean is over the weights."""
    labels = c[1]
    if labels.rank != logarithms.rank - 1:
        raise c.malformed(f"has labels with {labels.rank} axes for scores with {logarithms.rank}")
    ignored = c.apply("equal", labels, c.integer("ignore_index", 0)) if c.has("ignore_index") else None
    # An ignored label may be the number of no class.
    labels = labels if ignored is None else c.apply("where", ignored, c.constant(0, labels.dtype), labels)
    chosen = c.apply("neg", picked(c, logarithms, labels))
    weight = weights(c, labels, ignored, logarithms.dtype)
    loss = chosen if weight is None else c.apply("mul", chosen, weight)
    if ignored is not None:  # a loss that is infinite would make NaN of its weight of zero
        loss = c.apply("where", ignored, c.constant(0, loss.dtype), loss)
    return reduced(c, loss, weight)


def picked(c: Call, logarithms: Value, labels: Value) -> Value:
    """The element of axis 1 that each label names."""
    places = c.reshape(labels, (labels.shape[0], 1, *labels.shape[1:]))
    return c.reshape(c.apply("gather_elements", logarithms, places, axis=1), labels.shape)


def weights(c: Call, labels: Value, ignored: Value | None, dtype: str) -> Value | None:
    """The weight of each label, zero where it is ignored; None where all are 1."""
    given = c.optional(2)
    if given is None and ignored is None:
        return None
    if given is None:
        weight = c.expand(c.constant(1, dtype), labels.shape)
    else:
        weight = c.apply("gather", given, labels, axis=0)
    return weight if ignored is None else c.apply("where", ignored, c.constant(0, dtype), weight)


def reduced(c: Call, loss: Value, weight: Value | None) -> Value:
    reduction, axes = c.text("reduction", "mean"), range(loss.rank)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return c.reduce("sum", loss, axes, keepdims=False)
    if reduction != "mean":
        raise c.malformed(f"has the unknown reduction '{reduction}'")
    if weight is None:
        return c.reduce("mean", loss, axes, keepdims=False)
    total = c.reduce("sum", loss, axes, keepdims=False)
    return c.apply("div", total, c.reduce("sum", weight, axes, keepdims=False))


TABLE = {
    "NegativeLogLikelihoodLoss": negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy,
}
