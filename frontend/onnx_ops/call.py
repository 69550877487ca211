"""One node of an ONNX model, as the converters see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from tilewright.frontend.onnx_sparse import read_sparse
from tilewright.frontend.onnx_tensor import dtype_of, read_tensor
from tilewright.frontend.problems import UnfinishedError
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.errors import ImportModelError, UnsupportedError
from tilewright.ir.graph import Value, apply_op, constant
from tilewright.ir.op import Array
from tilewright.ir.types import numpy_dtype

if TYPE_CHECKING:
    from tilewright.frontend.onnx_graph import Scope

Operand: TypeAlias = "Value | float | int | bool"
_FIELDS = {
    AttributeProto.INT: "i",
    AttributeProto.FLOAT: "f",
    AttributeProto.STRING: "s",
    AttributeProto.INTS: "ints",
    AttributeProto.FLOATS: "floats",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
}


_SHORT = 64  # elements


def describe(proto: NodeProto) -> str:
    """Where a node is in the model: its operator, its name if it has one, its first output."""
    name = f" '{proto.name}'" if proto.name else ""
    output = next((o for o in proto.output if o), "")
    return f"{proto.op_type}{name} (output '{output}')"


class Call:
    """Inputs and attributes of one node, and the means to build its replacement.

    `version` is the opset of the node's domain. Inputs left out are None. `wanted` tells which outputs are read at all.
    """

    def __init__(
        self,
        proto: NodeProto,
        version: int,
        inputs: Sequence[Value | None],
        wanted: Sequence[bool],
        scope: Scope,
    ) -> None:
        self.op_type = proto.op_type
        self.version = version
        self.source = describe(proto)
        self.inputs = tuple(inputs)
        self.wanted = tuple(wanted)
        self.scope = scope
        self._proto = proto
        self._contents = scope.model.contents
        self._data_sizes = scope.data_sizes
        self._attributes: Mapping[str, AttributeProto] = {a.name: a for a in proto.attribute}
        if len(self._attributes) != len(proto.attribute):
            raise self.malformed("gives an attribute twice")

    # Graphs in attributes

    def graph(self, name: str) -> GraphProto:
        """The graph of the attribute `name`, which has to be there."""
        value: GraphProto = self.required(self._attribute(name, AttributeProto.GRAPH), name)
        return value

    def inline(self, graph: GraphProto, values: Sequence[Value]) -> tuple[Value, ...]:
        """The outputs of a subgraph for these inputs, its nodes becoming part of the graph around it."""
        if len(graph.input) != len(values):
            raise self.malformed(f"has a graph with {len(graph.input)} inputs, where {len(values)} are given")
        scope = self.scope.inside(self, None, self._data_sizes)
        scope.values.update((info.name, value) for info, value in zip(graph.input, values, strict=True))
        outputs = scope.read_graph(graph)
        if any(value is None for value in outputs):
            raise UnfinishedError
        return tuple(value for value in outputs if value is not None)

    def within(self, scope: Scope) -> Call:
        """The same call, to build nodes of a region inside it."""
        return Call(self._proto, self.version, self.inputs, self.wanted, scope)

    # Errors

    def malformed(self, problem: str) -> ImportModelError:
        return ImportModelError(f"{self.op_type} {problem}", source=self.source)

    def unsupported(self, problem: str) -> UnsupportedError:
        return UnsupportedError(f"{self.op_type} {problem}", source=self.source)

    # Inputs

    def __getitem__(self, index: int) -> Value:
        """Input `index`, which has to be there."""
        value = self.optional(index)
        if value is None:
            raise self.malformed(f"lacks its input {index}")
        return value

    def optional(self, index: int) -> Value | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def variadic(self) -> tuple[Value, ...]:
        """All inputs of a variadic operator: at least one, none left out."""
        return tuple(self[i] for i in range(max(1, len(self.inputs))))

    def known(self, value: Value, what: str) -> Array:
        """The elements of `value`. Raises UnsupportedError where they depend on data."""
        elements = self._contents.of(value)
        if elements is None:
            raise self.unsupported(f"has {what} computed from data, which is not supported yet")
        return elements

    def computed(self, index: int) -> Value | None:
        """Input `index` where it is there and its elements depend on data."""
        value = self.optional(index)
        return value if value is not None and value.shape != (0,) and self._contents.of(value) is None else None

    def maybe_known(self, value: Value) -> Array | None:
        return self._contents.of(value)

    def sizes(self, value: Value, what: str) -> tuple[Dim, ...]:
        """The elements of an integer value as sizes; those that depend on data are symbols of any sign."""
        elements = self._named(value, what)
        if elements.dtype != object and elements.dtype.kind not in "iu":
            raise self.malformed(f"has {what} of {value.dtype}, not of integers")
        return tuple(dims.as_dim(e) for e in elements.reshape(-1))

    def size(self, value: Value, what: str) -> Dim:
        """The one element of an integer value."""
        return dims.as_dim(self.number(value, what))

    def choice(self) -> int:
        """Which of two ways to convert this node: 0, or 1 where what follows did not fit the first."""
        return self.scope.model.choices.setdefault(f"{self.scope.path}{self.source}", 0)

    def fresh_size(self) -> Dim:
        """A symbol for a size that depends on data, which the result of a new node will define."""
        return self._data_sizes.fresh()

    def _named(self, value: Value, what: str) -> Array:
        elements = self._data_sizes.of(value)
        return self.known(value, what) if elements is None else elements

    def number(self, value: Value, what: str) -> Any:
        """The one element of `value`: int, float, bool, an expression, or a symbol where it depends on data."""
        elements = self._named(value, what)
        if elements.size != 1:
            raise self.malformed(f"has {what} with {elements.size} elements instead of one")
        return elements.reshape(-1).tolist()[0]

    # Attributes

    def _attribute(self, name: str, kind: int) -> Any:
        found = self._attributes.get(name)
        if found is None:
            return None
        if found.type != kind:
            raise self.malformed(f"has the attribute {name} of a wrong type")
        return getattr(found, _FIELDS[kind])  # type: ignore[index]

    def has(self, name: str) -> bool:
        return name in self._attributes

    def integer(self, name: str, default: int) -> int:
        value = self._attribute(name, AttributeProto.INT)
        return default if value is None else int(value)

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.integer(name, default))

    def real(self, name: str, default: float) -> float:
        value = self._attribute(name, AttributeProto.FLOAT)
        return default if value is None else float(value)

    def text(self, name: str, default: str) -> str:
        value = self._attribute(name, AttributeProto.STRING)
        return default if value is None else value.decode("utf-8", "replace")

    def texts(self, name: str) -> tuple[str, ...] | None:
        value = self._attribute(name, AttributeProto.STRINGS)
        return None if value is None else tuple(v.decode("utf-8", "replace") for v in value)

    def integers(self, name: str) -> tuple[int, ...] | None:
        value = self._attribute(name, AttributeProto.INTS)
        return None if value is None else tuple(value)

    def reals(self, name: str) -> tuple[float, ...] | None:
        value = self._attribute(name, AttributeProto.FLOATS)
        return None if value is None else tuple(value)

    def tensor(self, name: str) -> TensorProto | None:
        value: TensorProto | None = self._attribute(name, AttributeProto.TENSOR)
        return value

    def array(self, name: str) -> Array | None:
        """The elements of the tensor in the attribute `name`, if it is there."""
        proto = self.tensor(name)
        return None if proto is None else read_tensor(proto, self.scope.model.storage)

    def sparse_array(self, name: str) -> Array | None:
        """The same for a sparse tensor."""
        proto = self._attribute(name, AttributeProto.SPARSE_TENSOR)
        return None if proto is None else read_sparse(proto, self.scope.model.storage)

    def required(self, value: Any, name: str) -> Any:
        """`value` of the attribute `name`, which has no default."""
        if value is None:
            raise self.malformed(f"lacks its attribute {name}")
        return value

    def dtype(self, name: str, default: str | None = None) -> str:
        """An element type given as an attribute."""
        if default is not None and self.integer(name, 0) == 0:
            return default
        return dtype_of(self.integer(name, 0), f"the attribute {name} of {self.source}")

    # What moved from attributes to inputs in later versions

    def moved_dims(self, name: str, index: int) -> tuple[Dim, ...] | None:
        """Integers from the attribute `name` or from input `index`; None where neither is there."""
        value = self.optional(index)
        return self.integers(name) if value is None else self.sizes(value, name)

    def moved_ints(self, name: str, index: int) -> tuple[int, ...] | None:
        """The same, for numbers that must not be symbolic."""
        values = self.moved_dims(name, index)
        if values is None:
            return None
        return tuple(self.static(v, name) for v in values)

    def static(self, value: Any, what: str) -> int:
        if not isinstance(value, int):
            raise self.unsupported(f"has {what} that depends on a symbolic size ({value})")
        return value

    # Axes

    def axis(self, axis: int, rank: int) -> int:
        """`axis` counted from the front."""
        if not -rank <= axis < rank:
            raise self.malformed(f"has the axis {axis}, but its tensor has {rank} axes")
        return axis % rank

    def axes(self, axes: Sequence[int], rank: int) -> tuple[int, ...]:
        normal = tuple(self.axis(a, rank) for a in axes)
        if len(set(normal)) != len(normal):
            raise self.malformed(f"names an axis twice in {list(axes)}")
        return normal

    # Building

    def apply_all(self, name: str, *operands: Operand, **attrs: Any) -> tuple[Value, ...]:
        """Results of a new node; plain numbers become constants of the first value's element type."""
        dtype = next((o.dtype for o in operands if isinstance(o, Value)), None)
        values = [o if isinstance(o, Value) else self.constant(o, dtype) for o in operands]
        results = apply_op(name, *self._data_sizes.ordered(values, attrs, self.source), source=self.source, **attrs)
        self._data_sizes.note(results)
        return tuple(self._data_sizes.shortened(result, self.source) for result in results)

    def apply(self, name: str, *operands: Operand, **attrs: Any) -> Value:
        return self.apply_all(name, *operands, **attrs)[0]

    def constant(self, data: Any, dtype: str | None = None) -> Value:
        """A constant; a number out of the range of `dtype` is an error of the model."""
        try:
            with np.errstate(over="ignore"):  # too large for a float is infinite
                return constant(data if dtype is None else np.array(data, numpy_dtype(dtype)))
        except (OverflowError, ValueError) as error:
            raise self.malformed(f"uses the number {data}, which {dtype} cannot hold") from error

    def cast(self, value: Value, dtype: str) -> Value:
        return value if value.dtype == dtype else self.apply("cast", value, to=dtype)

    def reshape(self, value: Value, shape: Sequence[Dim]) -> Value:
        return value if tuple(shape) == value.shape else self.apply("reshape", value, shape=tuple(shape))

    def transpose(self, value: Value, perm: Sequence[int]) -> Value:
        return value if tuple(perm) == tuple(range(value.rank)) else self.apply("transpose", value, perm=tuple(perm))

    def expand(self, value: Value, shape: Sequence[Dim]) -> Value:
        return value if tuple(shape) == value.shape else self.apply("expand", value, shape=tuple(shape))

    def reduce(self, kind: str, value: Value, axes: Sequence[int], *, keepdims: bool = True) -> Value:
        """`reduce_<kind>`; over no axes it is the value itself."""
        return self.apply(f"reduce_{kind}", value, axes=tuple(axes), keepdims=keepdims) if axes else value

    def slice(self, value: Value, axis: int, start: Dim, size: Dim) -> Value:
        """`size` elements of one axis from `start` on."""
        starts, sizes = [0] * value.rank, list(value.shape)
        starts[axis], sizes[axis] = start, size
        return self.apply("slice", value, starts=tuple(starts), sizes=tuple(sizes), steps=(1,) * value.rank)

    def settled(self, value: Value) -> Value:
        """`value`, or its elements where it is an integer scalar or a short list whose elements are known.

        So a size that is read as data is one value, however many operators the exporter computed it with.
        """
        if value.dtype not in ("int32", "int64") or value.rank > 1 or value.node is None or value.made_by("sizes"):
            return value
        if value.shape and not (isinstance(value.shape[0], int) and value.shape[0] <= _SHORT):
            return value
        elements = self._contents.of(value)
        if elements is None:
            return value
        if elements.dtype != object:
            return self.constant(elements)
        return self.cast(self.reshape(self.sizes_value(elements.reshape(-1).tolist()), value.shape), value.dtype)

    def sizes_value(self, sizes: Sequence[Dim]) -> Value:
        """Sizes as data: int64, one axis."""
        if all(isinstance(d, int) for d in sizes):
            return constant(np.array(sizes, dtype=np.int64))
        return self.apply("sizes", dims=tuple(sizes))

    def size_value(self, size: Dim) -> Value:
        """A size as data: an int64 scalar."""
        return self.reshape(self.sizes_value([size]), ())
