"""The choice among overlapping boxes: the best first, each beside all that were chosen before it.

Images and classes are shared among the threads.
"""

from __future__ import annotations

from collections.abc import Mapping

from tvm import tirx

from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, index
from tilewright.backends.kernels.ordering import Row, merge_sort
from tilewright.backends.kernels.ranges import div_up, maximum, product, tasks, worth_forking
from tilewright.backends.kernels.tile import Vectors, fold_lanes
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Node, Value
from tilewright.ir.ops.detection import NONE

_COST = 50.0  # of a box, in elements copied
_LOW, _HIGH, _AREA = (0, 1), (2, 3), 4  # what is kept of a box
_NUMBERS = 5


def declines(group: Group) -> str:
    suits = group.anchor is not None and group.anchor.op.name == "non_max_suppression"
    return "" if suits else "does not choose among boxes"


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
    k, found = group.k, group.outputs[node.results[0]]
    images, classes, boxes = group.shape(node.inputs[1])
    most, lanes = group.b.dim(node.attrs["most"]), Vectors.of(group.target).lanes
    with tasks(k, [images, classes], worth_forking(product((images, classes, boxes)), _COST)) as (image, label):
        candidates, count = _candidates(group, node, image, label)
        scores = group.tensors[node.inputs[1]]
        places, side = merge_sort(Row(k, group.b, count, lambda i: scores(image, label, candidates[i]), largest=True))
        chosen = k.scratch("chosen", (_NUMBERS, div_up(most, lanes) * lanes + lanes))
        kept, new = k.local("kept", (1,), "int64"), k.local("new", (_NUMBERS,))
        k.store(kept, (0,), 0)
        with k.serial(count) as step, k.when(kept[0] < index(most)):
            box = k.let("box", candidates[places[side, step]])
            _measure(group, node, image, box, new)
            with k.when(group.b.logical_not(_overlaps(group, node, chosen, kept[0], new))):
                _keep(k, lanes, chosen, kept[0], new)
                k.store(found, (image, label, kept[0]), box)
                k.store(kept, (0,), kept[0] + index(1))
        with k.serial(index(most) - kept[0], start=kept[0]) as rest:
            k.store(found, (image, label, rest), NONE)
    return {}


def _keep(k: Loops, lanes: int, chosen: Buffer, count: Expr, new: Buffer) -> None:
    """Box number `count`, which begins a vector of empty ones where the last is full."""
    full = tirx.EQ(tirx.truncmod(count, index(lanes)), index(0))
    with k.when(full), k.serial(_NUMBERS) as i, k.vectorized(lanes) as lane:
        k.store(chosen, (i, count + lane), 0.0)
    with k.serial(_NUMBERS) as i:
        k.store(chosen, (i, count), new[i])


def _candidates(group: Group, node: Node, image: Index, label: Index) -> tuple[Buffer, Expr]:
    """The boxes whose scores suffice, and how many they are."""
    k, scores = group.k, group.tensors[node.inputs[1]]
    boxes = group.shape(node.inputs[1])[2]
    candidates, count = k.scratch("candidates", (maximum(boxes, 1),), "int64"), k.local("count", (1,), "int64")
    k.store(count, (0,), 0)
    with k.serial(boxes) as box:
        least = [group.tensors[v]() for v in node.inputs[3:]]
        with k.when(scores(image, label, box) > least[0] if least else True):
            k.store(candidates, (count[0],), box)
            k.store(count, (0,), count[0] + index(1))
    return candidates, k.let("candidate_count", count[0])


def _measure(group: Group, node: Node, image: Index, box: Expr, into: Buffer) -> None:
    """The least and greatest coordinates of a box, and its area."""
    k, b, boxes = group.k, group.b, group.tensors[node.inputs[0]]
    for axis in range(2):
        first, second = (k.let("corner", boxes(image, box, index(axis + i))) for i in (0, 2))
        if node.attrs["center"]:
            half = k.let("half", second / 2.0)
            low, high = first - half, first + half
        else:
            low, high = b.minimum(first, second), b.maximum(first, second)
        k.store(into, (_LOW[axis],), low)
        k.store(into, (_HIGH[axis],), high)
    down, across = (into[_HIGH[i]] - into[_LOW[i]] for i in range(2))
    k.store(into, (_AREA,), down * across)


def _overlaps(group: Group, node: Node, chosen: Buffer, count: Expr, new: Buffer) -> Expr:
    """Whether one of the chosen boxes shares too much with the new one: many at once, in vectors."""
    k, b, limit, lanes = group.k, group.b, group.tensors[node.inputs[2]], Vectors.of(group.target).lanes
    worst, hits = k.local("worst", (1,)), k.local("hits", (lanes,))
    k.store(worst, (0,), 0.0)
    with k.serial(div_up(count, lanes)) as block, k.when(worst[0] <= 0.0):
        with k.vectorized(lanes) as lane:
            other = block * lanes + lane
            sides = [
                b.minimum(chosen[_HIGH[i], other], new[_HIGH[i]]) - b.maximum(chosen[_LOW[i], other], new[_LOW[i]])
                for i in range(2)
            ]
            shared = sides[0] * sides[1]
            union = chosen[_AREA, other] + new[_AREA] - shared
            solid = [side > 0.0 for side in (*sides, chosen[_AREA, other], new[_AREA], union)]
            k.store(hits, (lane,), tirx.Select(tirx.all(*solid, shared / union > limit()), 1.0, 0.0))
        vector = tirx.BufferLoad(hits, [tirx.Ramp(index(0), index(1), lanes)])
        k.store(worst, (0,), fold_lanes(vector, lanes, tirx.max))
    return k.let("overlaps", worst[0] > 0.0)


RULE = Rule("suppression", declines, emit)
