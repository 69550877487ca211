"""The graph: order, readers, and the one edit."""

from __future__ import annotations

import time

import networkx
import numpy as np
import pytest
from hypothesis import given

from tests.strategies import graphs
from tilewright.ir import Array, Graph, Node, Value, apply, apply_op, constant, dims, input_value, tensor
from tilewright.ir.errors import TypeInferenceError, UnsupportedError, VerifyError
from tilewright.ir.interpret import run
from tilewright.ir.networkx_view import to_networkx
from tilewright.ir.parse import parse
from tilewright.ir.show import show
from tilewright.ir.verify import verify


def _diamond() -> tuple[Graph, Value, Value]:
    x = input_value("x", tensor("float32", "n", 2))
    top = apply("exp", x)
    left, right = apply("neg", top), apply("tanh", top)
    return Graph((x,), (apply("add", left, right),)), x, top


def test_nodes_come_after_what_they_read() -> None:
    graph, _, top = _diamond()
    assert [node.op.name for node in graph.nodes] == ["exp", "neg", "tanh", "add"]
    assert [node.op.name for node in graph.readers[top]] == ["neg", "tanh"]
    assert graph.uses(top) == 2
    assert graph.uses(graph.outputs[0]) == 1
    assert graph.is_output(graph.outputs[0]) and not graph.is_output(top)


def test_what_no_output_reaches_is_not_there() -> None:
    x = input_value("x", tensor("float32"))
    apply("exp", x)
    assert Graph((x,), (x,)).nodes == ()


def test_substitute_infers_types_anew_and_keeps_the_rest() -> None:
    graph, x, top = _diamond()
    wide = input_value("x", tensor("float32", 7, 2))
    changed = graph.substitute({x: wide})
    assert changed.outputs[0].type == tensor("float32", 7, 2)
    simpler = graph.substitute({graph.outputs[0].node.inputs[0]: top}) if graph.outputs[0].node else graph
    assert [node.op.name for node in simpler.nodes] == ["exp", "tanh", "add"]
    assert simpler.nodes[0] is graph.nodes[0]
    assert graph.substitute({}) is graph


def test_replacements_read_other_replacements() -> None:
    graph, x, top = _diamond()
    left = graph.nodes[1].results[0]
    changed = graph.substitute({top: apply("abs", x), left: apply("sin", top)})
    assert show(changed) == show(
        parse("""graph(x: float32[n, 2]) {
          a = abs(x)
          b = sin(a)
          c = tanh(a)
          d = add(b, c)
          return d
        }""")
    )


def test_a_replacement_must_not_read_what_it_replaces() -> None:
    graph, _, top = _diamond()
    with pytest.raises(VerifyError, match="reads the value that it replaces"):
        graph.substitute({top: apply("abs", top)})


def test_one_of_several_results_is_replaced() -> None:
    x = input_value("x", tensor("float32", 5))
    values, places = apply_op("top_k", x, k=2, axis=0)
    graph = Graph((x,), (values, places), ("values", "places"))
    changed = graph.substitute({values: constant([1.0, 2.0], "float32"), x: apply("neg", input_value("z", x.type))})
    assert changed.outputs[0].is_constant
    assert changed.outputs[1].index == 1
    assert changed.output_names == ("values", "places")


def test_map_nodes() -> None:
    graph, _, _ = _diamond()

    def drop_neg(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        return inputs if node.op.name == "neg" else None

    changed = graph.map_nodes(drop_neg)
    assert [node.op.name for node in changed.nodes] == ["exp", "tanh", "add"]
    assert graph.map_nodes(lambda node, inputs: None).outputs == graph.outputs


def test_ten_thousand_nodes_in_a_row_are_rebuilt_within_a_second() -> None:
    value = x = input_value("x", tensor("float32", "n"))
    for _ in range(10_000):
        value = apply("neg", value)
    graph = Graph((x,), (value,))
    assert len(graph.nodes) == 10_000
    start = time.process_time()
    y = input_value("y", tensor("float32", 4))
    changed = graph.substitute({x: y})
    assert time.process_time() - start < 1
    assert changed.outputs[0].shape == (4,)
    verify(Graph((y,), changed.outputs))


def test_a_ladder_of_diamonds_is_visited_once() -> None:
    value = x = input_value("x", tensor("float32"))
    for _ in range(100):
        value = apply("add", apply("neg", value), apply("abs", value))
    graph = Graph((x,), (value,)).substitute({x: input_value("y", x.type)})
    assert len(graph.nodes) == 300


@given(graphs())
def test_random_graphs_verify_and_survive_a_rebuild(case: tuple[Graph, tuple[Array, ...]]) -> None:
    graph, arrays = case
    verify(graph)
    rebuilt = graph.map_nodes(lambda node, inputs: node.with_inputs(inputs).results)
    assert show(rebuilt) == show(graph)
    for array in run(graph, arrays):
        assert array.dtype == bool or np.isfinite(array.astype(np.float64)).all()


def test_errors_name_the_operator_and_its_source() -> None:
    x, y = input_value("x", tensor("float32", 2)), input_value("y", tensor("float32", 3))
    with pytest.raises(TypeInferenceError) as caught:
        apply("add", x, y, source="layer 7")
    assert str(caught.value) == (
        "sizes 2 and 3 of axis -1 do not broadcast. Node: add(float32[2], float32[3]). In the model: layer 7."
    )
    with pytest.raises(TypeInferenceError, match="softmax needs the attribute axis"):
        apply("softmax", x)
    with pytest.raises(TypeInferenceError, match=r"softmax has no attribute axes.*It has: axis"):
        apply("softmax", x, axes=1)
    with pytest.raises(TypeInferenceError, match="neg takes 1 inputs, not 2"):
        apply("neg", x, x)
    with pytest.raises(UnsupportedError, match="Did you mean softmax"):
        apply("soft_max", x)


def test_networkx_finds_dominators_and_cuts() -> None:
    graph, x, top = _diamond()
    view = to_networkx(graph)
    assert networkx.is_directed_acyclic_graph(view)
    dominators = networkx.immediate_dominators(view, x)
    assert dominators[graph.nodes[3]] is top
    assert view.nodes[top]["kind"] == "result" and view.nodes[x]["kind"] == "input"
    assert networkx.minimum_node_cut(view, x, graph.outputs[0]) <= {top, graph.nodes[0], graph.nodes[3]}


def test_networkx_says_where_a_value_is_read() -> None:
    x = input_value("x", tensor("float32"))
    square = apply("mul", x, x)
    assert square.node is not None
    assert to_networkx(Graph((x,), (square,))).edges[x, square.node]["places"] == (0, 1)


def test_a_size_in_an_attribute_is_a_size() -> None:
    n = dims.symbol("n")
    x = input_value("x", tensor("float32", "n"))
    doubled = apply("concat", x, x, axis=0)
    assert doubled.shape == (dims.product((2, n)),)
