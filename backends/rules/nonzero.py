"""The places of elements that are not zero, one after the other; how many there are is known before."""

from __future__ import annotations

from collections.abc import Mapping

from tvm import tirx

from tilewright.backends.kernels.group import Group, Layout
from tilewright.backends.kernels.loops import index
from tilewright.backends.kernels.ranges import nested
from tilewright.backends.rules.rule import Rule
from tilewright.ir.graph import Value


def declines(group: Group) -> str:
    return (
        "" if group.anchor is not None and group.anchor.op.name == "nonzero" else "does not look for what is not zero"
    )


def emit(group: Group) -> Mapping[Value, Layout]:
    node = group.anchor
    assert node is not None
    group.place({}, node.results[0])
    k, x, out = group.k, group.tensors[node.inputs[0]], group.outputs[node.results[0]]
    size = group.b.dim(node.attrs["size"])
    found = k.local("found", (1,), "int64")
    k.store(found, (0,), 0)
    with nested(k, x.shape) as place:
        here = group.b.cast(k.let("element", x(*place)), "bool")
        with k.when(here):
            with k.when(found[0] < index(size)):
                for axis, i in enumerate(place):
                    k.store(out, (axis, found[0]), index(i))
            k.store(found, (0,), found[0] + index(1))
    k.require(tirx.EQ(found[0], index(size)), "nonzero: `size` is not the number of elements that are not zero")
    return {}


RULE = Rule("nonzero", declines, emit)
