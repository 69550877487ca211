"""Serialized models without the long arrays in them, so that protobuf makes no copies of these.

A tensor's bytes lie in the file as they lie in memory. `without_arrays` leaves them out of those tensors that hold
weights (initializers and Constants, in subgraphs and functions too) and notes where they are, as if they were external
data. What it does not understand stays as it is, for protobuf to refuse. The wire format is described in
https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    StringStringEntryProto,
    TensorProto,
)

from tilewright.frontend.onnx_storage import EMBEDDED

LONG = 4096  # bytes
_LARGEST = 1 << 31  # bytes, from which on protobuf reads no message
_MOST_FIELDS = 1 << 20  # so that a hostile file takes seconds
_DEEPEST = 100  # messages in each other, of which protobuf reads no more either
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_INSIDE: Mapping[type, Mapping[int, type]] = {
    ModelProto: {ModelProto.GRAPH_FIELD_NUMBER: GraphProto, ModelProto.FUNCTIONS_FIELD_NUMBER: FunctionProto},
    FunctionProto: {FunctionProto.NODE_FIELD_NUMBER: NodeProto},
    GraphProto: {
        GraphProto.NODE_FIELD_NUMBER: NodeProto,
        GraphProto.INITIALIZER_FIELD_NUMBER: TensorProto,
        GraphProto.SPARSE_INITIALIZER_FIELD_NUMBER: SparseTensorProto,
    },
    NodeProto: {NodeProto.ATTRIBUTE_FIELD_NUMBER: AttributeProto},
    AttributeProto: {AttributeProto.G_FIELD_NUMBER: GraphProto, AttributeProto.GRAPHS_FIELD_NUMBER: GraphProto},
    SparseTensorProto: {
        SparseTensorProto.VALUES_FIELD_NUMBER: TensorProto,
        SparseTensorProto.INDICES_FIELD_NUMBER: TensorProto,
    },
}
"""Messages, by the fields of others that hold them."""
_OF_CONSTANTS = {
    AttributeProto.T_FIELD_NUMBER: TensorProto,
    AttributeProto.SPARSE_TENSOR_FIELD_NUMBER: SparseTensorProto,
}
_TYPED: Mapping[int, int] = {
    TensorProto.FLOAT: TensorProto.FLOAT_DATA_FIELD_NUMBER,
    TensorProto.COMPLEX64: TensorProto.FLOAT_DATA_FIELD_NUMBER,
    TensorProto.DOUBLE: TensorProto.DOUBLE_DATA_FIELD_NUMBER,
    TensorProto.COMPLEX128: TensorProto.DOUBLE_DATA_FIELD_NUMBER,
}
"""Typed fields that hold the same bytes as `raw_data` would."""


class _WireError(Exception):
    """This is not the wire format, or a form of it that nobody writes any more."""


class _EndlessError(Exception):
    """There are more fields than any model has."""


class _Field(NamedTuple):
    """One field of a message: from `tag` to `end`; its payload is the number `value`, or the bytes from `start`."""

    number: int
    wire: int
    tag: int
    start: int
    end: int
    value: int = 0


def without_arrays(data: memoryview) -> bytes:
    """The serialized model `data` without its long arrays. Raises ValueError if that is more than protobuf reads."""
    try:
        pieces = _Scan(data).message(0, len(data), ModelProto, _INSIDE[ModelProto], _DEEPEST)
    except _EndlessError:
        pieces = [data]
    size = sum(map(len, pieces))
    if size >= _LARGEST:
        raise ValueError(f"{size} bytes of it are no arrays of numbers")
    return b"".join(pieces)


class _Scan:
    """Walks through the messages of `data`, of which it looks only into those that are long."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._left = _MOST_FIELDS

    def message(self, start: int, end: int, kind: type, inside: Mapping[int, type], levels: int) -> list[memoryview]:
        """The pieces of a message that is left."""
        try:
            fields = self._fields(start, end)
        except _WireError:
            return [self._data[start:end]]
        if kind is TensorProto:
            return self._tensor(start, end, fields)
        pieces, done = [], start
        for field in fields:
            child = (
                inside.get(field.number)
                if field.wire == _BYTES and field.end - field.start >= LONG and levels
                else None
            )
            if child is not None:
                deeper = self._inside_of(kind, child, fields)
                made = self.message(field.start, field.end, child, deeper, levels - 1)
                head = _varint(field.number << 3 | _BYTES) + _varint(sum(map(len, made)))
                pieces += [self._data[done : field.tag], memoryview(head), *made]
                done = field.end
        return [*pieces, self._data[done:end]]

    def _inside_of(self, kind: type, child: type, siblings: list[_Field]) -> Mapping[int, type]:
        """What to look for in a message: tensors in attributes only of Constant, as hosted nodes need theirs whole."""
        inside = _INSIDE.get(child, {})
        if kind is not NodeProto:
            return inside
        names = [bytes(self._data[f.start : f.end]) for f in siblings if f.number == NodeProto.OP_TYPE_FIELD_NUMBER]
        return {**inside, **_OF_CONSTANTS} if names and names[-1] == b"Constant" else inside

    def _tensor(self, start: int, end: int, fields: list[_Field]) -> list[memoryview]:
        """A tensor, with a reference to its elements where they are one long run of bytes."""
        types = [f.value for f in fields if f.number == TensorProto.DATA_TYPE_FIELD_NUMBER]
        typed = _TYPED.get(types[-1]) if types else None
        held = [f for f in fields if f.number in (TensorProto.RAW_DATA_FIELD_NUMBER, typed)]
        external = any(f.number == TensorProto.EXTERNAL_DATA_FIELD_NUMBER for f in fields)
        if external or len(held) != 1 or held[0].wire != _BYTES or held[0].end - held[0].start < LONG:
            return [self._data[start:end]]
        entries = {EMBEDDED: held[0].start, "length": held[0].end - held[0].start}
        reference = TensorProto(
            data_location=TensorProto.EXTERNAL,
            external_data=[StringStringEntryProto(key=key, value=str(value)) for key, value in entries.items()],
        )
        # Messages written one after the other count as one that has the fields of both.
        rest = [self._data[start : held[0].tag], self._data[held[0].end : end]]
        return [*rest, memoryview(reference.SerializeToString())]

    def _fields(self, start: int, end: int) -> list[_Field]:
        """The fields of a message that may be of interest."""
        found, at = [], start
        while at < end:
            field = _field(self._data, at, end)
            at = field.end
            if field.wire == _BYTES or field.number == TensorProto.DATA_TYPE_FIELD_NUMBER:
                found.append(field)
            self._left -= 1
            if not self._left:
                raise _EndlessError
        return found


def _field(data: memoryview, tag: int, end: int) -> _Field:
    """The field that begins at `tag`. Raises _WireError where it does not end before `end`."""
    key, start = _read_varint(data, tag, end)
    number, wire, value = key >> 3, key & 7, 0
    if wire == _VARINT:
        value, stop = _read_varint(data, start, end)
    elif wire == _BYTES:
        size, start = _read_varint(data, start, end)
        stop = start + size
    elif wire in (_FIXED32, _FIXED64):
        stop = start + (4 if wire == _FIXED32 else 8)
    else:
        raise _WireError
    if stop > end or number == 0:
        raise _WireError
    return _Field(number, wire, tag, start, stop, value)


def _read_varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """A number and where it ends: seven bits a byte, the lowest first; the eighth bit says that more follow."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        if byte < 0x80:
            return value | byte << shift, at
        value |= (byte & 0x7F) << shift
        shift += 7
    raise _WireError


def _varint(number: int) -> bytes:
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
