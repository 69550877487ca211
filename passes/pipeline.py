"""The order of the passes, and how they are run."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from tilewright.ir.errors import CompilerError, PassError
from tilewright.ir.graph import Graph, Node, Value, make_node
from tilewright.ir.verify import verify
from tilewright.passes.attention import attention
from tilewright.passes.channels_last import channels_last
from tilewright.passes.exact_floats import exact_floats
from tilewright.passes.fold_constants import fold_constants
from tilewright.passes.fold_scales import fold_scales
from tilewright.passes.fuse import Fuse, fuse
from tilewright.passes.gelu import gelu
from tilewright.passes.integer_products import integer_products
from tilewright.passes.last_bits import last_bits
from tilewright.passes.layer_norm import layer_norm
from tilewright.passes.merge_products import merge_products
from tilewright.passes.narrow_products import NarrowProducts, narrow_products
from tilewright.passes.narrow_tables import narrow_tables
from tilewright.passes.resize_by_axes import resize_by_axes
from tilewright.passes.rms_norm import rms_norm
from tilewright.passes.share_subexpressions import share_subexpressions
from tilewright.passes.simplify import simplify
from tilewright.passes.slices_by_reader import slices_by_reader
from tilewright.passes.softmax import softmax

Pass: TypeAlias = Callable[[Graph], Graph]
Watch: TypeAlias = Callable[[str, Graph, Graph], None]

CONTROL = ("if", "loop")  # operators with graphs that run as they are; the body of a fused node is one kernel

PIPELINE: tuple[Pass, ...] = (
    narrow_tables,
    integer_products,
    fold_constants,
    simplify,
    fold_constants,
    share_subexpressions,
    softmax,
    gelu,
    layer_norm,
    rms_norm,
    attention,
    fold_scales,
    simplify,
    fold_constants,
    share_subexpressions,
    merge_products,
    exact_floats,
    channels_last,
    resize_by_axes,
    simplify,
    fold_constants,
    share_subexpressions,
    narrow_products,
    fold_constants,
    share_subexpressions,
    last_bits,
    slices_by_reader,
    fuse,
)


def pipeline_for(*, any_quads: bool, splits_images: bool) -> tuple[Pass, ...]:
    """The passes for a machine; `any_quads` as `NarrowProducts` has it, `splits_images` as `Fuse`."""
    own: dict[Pass, Pass] = {narrow_products: NarrowProducts(any_quads), fuse: Fuse(splits_images)}
    return tuple(own.get(each, each) for each in PIPELINE)


def run(graph: Graph, pipeline: Sequence[Pass] = PIPELINE, watch: Watch | None = None) -> Graph:
    """Run the passes one after the other, verifying each result; `watch(name, before, after)` sees every step.

    Raises PassError, naming the pass, where a pass fails or leaves an invalid graph.
    """
    verified: frozenset[Node] = frozenset()
    for each in pipeline:
        before, graph = graph, _step(each, graph, verified)
        verified = frozenset(graph.nodes) if graph is not before else verified
        if watch is not None:
            watch(pass_name(each), before, graph)
    return graph


def _with_regions(each: Pass, graph: Graph) -> Graph:
    """The graph with the pass applied to the graphs that its control flow runs."""
    if not any(node.op.name in CONTROL for node in graph.nodes):
        return graph

    def visit(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name not in CONTROL:
            return None
        attrs = {name: _step(each, a, ()) if isinstance(a, Graph) else a for name, a in node.attrs.items()}
        return make_node(node.op, inputs, attrs, source=node.source, names=[r.name for r in node.results]).results

    return graph.map_nodes(visit)


def pass_name(each: Pass) -> str:
    """The name of a pass: of its function, or of its class where it has options, written in the same way."""
    return getattr(each, "__name__", re.sub(r"(?<!^)(?=[A-Z])", "_", type(each).__name__).lower())


def _step(each: Pass, graph: Graph, verified: Collection[Node]) -> Graph:
    try:
        result = each(_with_regions(each, graph))
        if (result.inputs, result.outputs) != (graph.inputs, graph.outputs):  # values are equal only to themselves
            verify(result, verified)
    except CompilerError as error:
        message = f"the pass {pass_name(each)} failed: {error.message}"
        raise PassError(message, node=error.node, source=error.source, hint=error.hint) from error
    except Exception as error:
        raise PassError(f"the pass {pass_name(each)} failed: {type(error).__name__}: {error}") from error
    return result
