"""Schedule rules: the first that fits a fused group turns it into one kernel."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from tilewright.backends import kernel_text
from tilewright.backends.kernels.group import Group, Packing
from tilewright.backends.rules import (
    attention,
    batched_matmul,
    concat,
    conv,
    conv_deep,
    conv_last,
    conv_transpose,
    depthwise,
    determinant,
    fallback,
    inverse,
    linear_attention,
    matmul,
    ngrams,
    nonzero,
    nothing,
    pad,
    pointwise,
    pool,
    random,
    recurrent,
    rows,
    scan,
    scatter,
    separable,
    suppression,
    top_k,
    transpose,
    trees,
    winograd,
)
from tilewright.backends.rules.rule import Rule
from tilewright.backends.target import Target
from tilewright.ir.errors import BuildError

RULES: tuple[Rule, ...] = (
    nothing.RULE,
    separable.RULE,
    matmul.RULE,
    batched_matmul.RULE,
    attention.RULE,
    linear_attention.RULE,
    winograd.RULE,
    conv.RULE,
    depthwise.RULE,
    conv_deep.RULE,
    conv_last.RULE,
    conv_transpose.RULE,
    pool.RULE,
    recurrent.RULE,
    rows.RULE,
    scan.RULE,
    random.RULE,
    determinant.RULE,
    inverse.RULE,
    ngrams.RULE,
    nonzero.RULE,
    scatter.RULE,
    suppression.RULE,
    top_k.RULE,
    trees.RULE,
    transpose.RULE,
    concat.RULE,
    pad.RULE,
    pointwise.RULE,
    fallback.RULE,
)


@dataclass(frozen=True)
class Emitted:
    """A kernel as TIR, the rule that made it and the units it needs, and how each input is packed (None: as it is)."""

    func: tirx.PrimFunc
    rule: str
    packings: tuple[Packing | None, ...]


def emit_text(text: str, name: str, target: Target) -> Emitted:
    """The kernel for a text that `kernel_text.write` made. Raises BuildError, with each rule's reason, if none fits."""
    body, weights = kernel_text.read(text)
    reasons: list[str] = []
    for rule in RULES:
        group = Group(body, weights, name, target)
        if reason := rule.declines(group):
            reasons.append(f"{rule.name}: {reason}")
            continue
        layouts = rule.emit(group)
        packings = tuple(layouts[v].packing if v in layouts else None for v in body.inputs)
        return Emitted(group.k.func(), ", ".join([rule.name, *group.k.units]), packings)
    raise BuildError(f"no schedule rule fits the kernel {name}: {'; '.join(reasons)}")
