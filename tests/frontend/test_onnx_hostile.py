"""Damaged, unsafe and unsupported models: each gives one clear error, without a crash, a hang or much memory."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from mmap import mmap
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from onnx import AttributeProto, ModelProto, StringStringEntryProto, TensorProto, helper, numpy_helper

from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir import dims
from tilewright.ir.errors import CompilerError, ImportModelError, UnsupportedError
from tilewright.ir.types import tensor

SMALL = (
    "(float[n, 4] x) => (float[] y) <float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, int64[2] t = {-1, 3}> "
    "{ a = MatMul(x, w)  b = Reshape(a, t)  c = ReduceMean <axes = [1]> (b)  y = Softmax <axis = 0> (c) }"
)


def small() -> ModelProto:
    return model(SMALL, 13)


def message(source: ModelProto | bytes | str | Path, error: type[CompilerError] = ImportModelError) -> str:
    with pytest.raises(error) as raised:
        read(source)
    return str(raised.value)


@pytest.mark.parametrize("data", [b"", b"\0" * 64, bytes(range(256)), b"version https://git-lfs.github.com/spec/v1\n"])
def test_bytes_of_something_else(data: bytes) -> None:
    assert "ONNX" in message(data)


def test_missing_file(tmp_path: Path) -> None:
    assert "none.onnx" in message(tmp_path / "none.onnx")


def test_truncated_file(tmp_path: Path) -> None:
    data = small().SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: len(data) // 2])
    assert "cut.onnx" in message(path)


def test_something_that_is_no_model() -> None:
    with pytest.raises(ImportModelError, match="float"):
        read(3.5)


BROKEN = {
    "read each other in a circle": "(float[n] x) => (float[] y) { a = Add(x, b)  b = Relu(a)  y = Add(a, b) }",
    "reads 'q', which nothing": "(float[n] x) => (float[] y) { y = Relu(q) }",
    "output 'z' is made by nothing": "(float[n] x) => (float[] z) { y = Relu(x) }",
    "'y' is given to two values": "(float[n] x) => (float[] y) { y = Relu(x)  y = Abs(x) }",
    "'x' is given to two values": "(float[n] x) => (float[] x) { x = Relu(x) }",
    "two inputs called 'x'": "(float[n] x, float[n] x) => (float[] y) { y = Relu(x) }",
    "no outputs": "(float[n] x) => () { y = Relu(x) }",
    "lacks its input 1": "(float[n] x) => (float[] y) { y = Add(x) }",
    "axis of a wrong type": "(float[n, 3] x) => (float[] y) { y = Softmax <axis = 0.5> (x) }",
    "the axis 5": "(float[n, 3] x) => (float[] y) { y = Softmax <axis = 5> (x) }",
    "permutation": "(float[n, 3] x) => (float[] y) { y = Transpose <perm = [0, 0]> (x) }",
    "impossible shape": "(float[n, 3] x) => (float[] y) <int64[2] t = {-3, 1}> { y = Reshape(x, t) }",
    "float32[1099511627776]": "(float[n] x) => (float[] y) <int64[1] t = {HUGE}> { y = ConstantOfShape(t) }",
    "float32[n, 1099511627776]": "(float[n, 1] x) => (float[] y) <int64[2] t = {1, HUGE}> { y = Expand(x, t) }",
    "too many to compute. Node: tile": "(float[n, 1] x) => (float[] y) <int64[2] t = {1, HUGE}> { y = Tile(x, t) }",
    "step of zero": "(float[n] x) => (int64[] y) <int64 a = {0}, int64 b = {5}> { y = Range(a, b, a) }",
    "1 outputs for": "(float[n, 4] x) => (float[] y) { y = Split <num_outputs = HUGE> (x) }",
    "kernel_shape": "(float[n, 1, 8] x) => (float[] y) { y = MaxPool <kernel_shape = [-1]> (x) }",
}


@pytest.mark.parametrize(("expected", "text"), BROKEN.items(), ids=BROKEN)
def test_broken_graphs(expected: str, text: str) -> None:
    assert expected in message(model(text.replace("HUGE", str(2**40)), 13), CompilerError)


@pytest.mark.parametrize(("body", "expected"), [("z = Relu(q)", "reads 'q'"), ("y = Relu(x)", "output 'z' nothing")])
def test_broken_functions(body: str, expected: str) -> None:
    proto = model("(float[n] x) => (float[] y) { y = my.own.f(x) }", domains={"my.own": 1})
    function = f'<domain: "my.own", opset_import: ["" : 17]> f (x) => (z) {{ {body} }}'
    proto.functions.append(onnx.parser.parse_function(function))
    assert expected in message(proto)


def test_shape_that_claims_more_than_the_data() -> None:
    proto = small()
    proto.graph.initializer[0].CopyFrom(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**20, 2**20]))
    assert "asks for 1099511627776" in message(proto)
    proto.graph.initializer[0].raw_data = b"abcd"
    assert "stores 4 bytes" in message(proto)


def test_negative_and_huge_sizes() -> None:
    proto = small()
    proto.graph.initializer[0].dims[0] = -4
    assert "negative" in message(proto)
    proto = small()
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**40
    assert "memory" in message(proto)


def test_undefined_element_type() -> None:
    proto = small()
    proto.graph.input[0].type.tensor_type.elem_type = 999
    assert "999" in message(proto)


def test_attribute_of_a_wrong_type() -> None:
    proto = small()
    proto.graph.node[2].attribute[0].CopyFrom(AttributeProto(name="axes", type=AttributeProto.STRING, s=b"1"))
    assert "wrong type" in message(proto)


@pytest.mark.parametrize("versions", [[], [0], [10**9]])
def test_opsets_out_of_range(versions: list[int]) -> None:
    proto = small()
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid("", version) for version in versions)
    assert "opset" in message(proto, CompilerError)


def test_all_that_is_unsupported_comes_in_one_error() -> None:
    text = (
        "(float[n, 4] x) => (float[] y) { a = my.own.Other(x)  b = Missing(x)  c = my.own.Thing(x) "
        " d = my.own.Other(c)  y = Concat <axis = 0> (a, b, c, d) }"
    )
    found = message(model(text, 13, domains={"my.own": 1}), UnsupportedError)
    for part in ("Other (output 'a'), Other (output 'd')", "Missing (output 'b')", "my.own.Thing"):
        assert part in found


def test_deep_graphs_are_read_without_recursion() -> None:
    steps = " ".join(f"a{i + 1} = Neg(a{i})" for i in range(3000))
    text = f"(float[n, 4] x) => (float[] y) <int64[1] a0 = {{-1}}> {{ {steps}  y = Reshape(x, a3000) }}"
    (y,) = read(model(text, 13)).graph.outputs
    assert y.type == tensor("float32", "4*n")


def test_numbers_that_grow_without_end() -> None:
    steps = " ".join(f"a{i + 1} = Mul(a{i}, a{i})" for i in range(200))
    text = f"(float[n, 4] x) => (float[] y) {{ a0 = Shape(x)  {steps}  y = Expand(x, a200) }}"
    (y,) = read(model(text, 13)).graph.outputs
    assert all(dims.computed_symbols(y.shape) for d in y.shape)  # left to the running model


def external(tmp_path: Path, location: str, offset: int = 0, length: int = 48) -> Path:
    proto = small()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": location, "offset": str(offset), "length": str(length)}
    tensor.external_data.extend(StringStringEntryProto(key=k, value=v) for k, v in entries.items())
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(100))
    (folder / "weights.bin").write_bytes(np.arange(14, dtype=np.float32).tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def is_mapped(array: object) -> bool:
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap)


def test_external_data_is_mapped(tmp_path: Path) -> None:
    graph = read(external(tmp_path, "weights.bin", offset=8)).graph
    weights = next(c for c in graph.constants if c.name == "w")
    assert weights.data is not None
    assert is_mapped(weights.data)
    np.testing.assert_array_equal(weights.data, np.arange(2, 14, dtype=np.float32).reshape(4, 3))


@pytest.mark.parametrize("place", ["../secret.bin", "link.bin", "sub/../../secret.bin", "", "a\0b", os.devnull])
def test_external_data_outside_the_folder(tmp_path: Path, place: str) -> None:
    assert "folder" in message(external(tmp_path, place))


def test_external_data_that_is_missing_or_short(tmp_path: Path) -> None:
    path = external(tmp_path, "weights.bin", offset=16)
    assert "has only 56" in message(path)
    (path.parent / "weights.bin").unlink()
    assert "missing" in message(path)
    assert "folder" in message(path.read_bytes())


def flip(data: bytes, source: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(source.randint(1, 4)):
        changed[source.randrange(len(changed))] = source.randrange(256)
    return bytes(changed)


def cut(data: bytes, source: random.Random) -> bytes:
    return data[: source.randrange(len(data))]


def repeat(data: bytes, source: random.Random) -> bytes:
    start, end = sorted(source.randrange(len(data)) for _ in range(2))
    return data[:end] + data[start:]


@pytest.mark.parametrize("damage", [flip, cut, repeat])
def test_random_damage(damage: Callable[[bytes, random.Random], bytes]) -> None:
    data, source = small().SerializeToString(), random.Random(0)
    for _ in range(400):
        try:
            read(damage(data, source))
        except CompilerError as error:
            assert "\n" not in str(error)


def test_every_element_type() -> None:
    for code, dtype in ((TensorProto.INT4, "int4"), (TensorProto.UINT2, "uint2"), (TensorProto.BFLOAT16, "bfloat16")):
        tensor = helper.make_tensor("w", code, [3], [1, 2, 3])
        proto = model("(float[n] x) => (float[] y, float[] z) { y = Relu(x)  z = Identity(w) }", 21)
        proto.graph.initializer.append(tensor)
        value = read(proto).graph.outputs[1].data
        assert value is not None
        assert value.dtype == dtype
        np.testing.assert_array_equal(value.astype(np.float32), numpy_helper.to_array(tensor).astype(np.float32))
