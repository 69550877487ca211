"""Bodies that differ only in names that do not matter share a kernel."""

from __future__ import annotations

from tilewright.backends import kernel_text
from tilewright.backends.kernel_text import Weights
from tilewright.ir.dims import symbol
from tilewright.ir.parse import parse

LAYER = """
graph(i0: float32[{a}, 4], i1: float32[{b}, 4], i2: int64[n]) {{
  "{weight}" = constant float32[] 0.5
  %0 = slice(i0) {{starts=(0, 0), sizes=({a} + -1*{b}, 4), steps=(1, 1)}}
  %1 = mul(%0, "{weight}")
  return o0=%1
}}
"""


def written(**names: str) -> tuple[str, dict[str, str]]:
    text, named = kernel_text.write(parse(LAYER.format(**names)), Weights(frozenset({1})))
    return text, dict(named)


def test_names_of_constants_and_computed_sizes_do_not_matter() -> None:
    first, named = written(a="_s9", b="_s10", weight="layers.0.scale")
    second, others = written(a="_s43", b="_s44", weight="layers.1.scale")
    assert first == second
    assert named == {"_0": "_s9", "_1": "_s10"}
    assert others == {"_0": "_s43", "_1": "_s44"}


def test_which_size_is_which_matters() -> None:
    assert written(a="_s9", b="_s10", weight="w")[0] != written(a="_s10", b="_s9", weight="w")[0]


def test_names_of_the_model_stay() -> None:
    """They are what messages say when sizes do not fit."""
    text, named = written(a="rows", b="_s1", weight="w")
    assert "i0: float32[rows, 4]" in text
    assert "i2: int64[n]" in text
    assert named == {"_0": "_s1"}


def test_sizes_that_are_passed_keep_their_order() -> None:
    """A call passes the caller's names in the order in which the kernel takes its own."""
    body = (
        "graph(i0: float32[4]) {{ %0 = slice(i0) {{starts=({b},), sizes=({a} + -1*{b},), steps=(1,)}} return o0=%0 }}"
    )
    text, named = kernel_text.write(parse(body.format(a="_s9", b="_s10")), Weights())
    scalars = kernel_text.scalar_symbols(kernel_text.read(text)[0])
    assert [named[s] for s in scalars] == ["_s9", "_s10"]


def test_names_stay_where_types_would_come_out_otherwise() -> None:
    """The shorter text of two equal sizes is chosen, and new names change lengths."""
    body = parse("graph(i0: float32[2*_s1], i1: float32[_s100]) { %0 = add(i0, i1) return o0=%0 }")
    text, named = kernel_text.write(body, Weights())
    again = kernel_text.read(text)[0]
    back = {short: symbol(name) for short, name in named.items()}
    assert again.outputs[0].type.bind(back) == body.outputs[0].type


def test_the_text_reads_back() -> None:
    layer = parse(LAYER.format(a="_s9", b="_s10", weight="layers.0.scale"))
    weights = Weights(frozenset({1, 2}), frozenset({2}), {1: 8})
    text, _ = kernel_text.write(layer, weights)
    body, found = kernel_text.read(text)
    assert found == weights
    assert kernel_text.scalar_symbols(body) == ()
    assert kernel_text.write(body, weights)[0] == text
