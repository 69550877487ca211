"""Models with much data: what importing takes of memory, and that their arrays are those of the file."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, StringStringEntryProto, TensorProto, helper, numpy_helper

from tests.frontend.onnx_text import model
from tests.frontend.test_onnx_hostile import cut, flip, message, repeat
from tilewright.frontend import read
from tilewright.frontend.onnx_embedded import without_arrays
from tilewright.frontend.onnx_storage import EMBEDDED
from tilewright.ir.errors import CompilerError, ImportModelError
from tilewright.ir.graph import Graph
from tilewright.ir.op import Array

MB = 1 << 20
IMPORT = """
import sys
import tilewright as tw
import onnx, tilewright.frontend.onnx_model

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))

path, kind = sys.argv[1:]
source = open(path, "rb").read() if kind == "bytes" else path
before = peak()
graph = tw.read(source)
print(peak() - before)
for output in graph.outputs[:-1]:
    print(output.data.reshape(-1)[-4:].tobytes().hex(), output.data.size)
"""


def weights_only(tensors: Sequence[TensorProto]) -> ModelProto:
    """A model whose outputs are its weights, and the last one its input."""
    outputs = "".join(f"float[] y{i}, " for i in range(len(tensors)))
    nodes = " ".join(f"y{i} = Identity({tensor.name})" for i, tensor in enumerate(tensors))
    proto = model(f"(float[n] x) => ({outputs}float[] y) {{ {nodes} y = Relu(x) }}")
    proto.graph.initializer.extend(tensors)
    return proto


def external_tensor(name: str, dims: Sequence[int], **entries: str | int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    tensor.external_data.extend(StringStringEntryProto(key=k, value=str(v)) for k, v in entries.items())
    return tensor


def imported_elsewhere(path: Path, kind: str = "path") -> tuple[int, list[tuple[bytes, int]]]:
    """What importing in a process of its own adds to its peak, in MB; the last 4 elements and the size of outputs."""
    done = subprocess.run([sys.executable, "-c", IMPORT, path, kind], capture_output=True, text=True, check=True)
    first, *rest = done.stdout.splitlines()
    return int(first), [(bytes.fromhex(last), int(size)) for last, size in map(str.split, rest)]


def encoded(number: int) -> bytes:
    parts = []
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def raw(name: str, data: Array) -> TensorProto:
    return numpy_helper.from_array(data, name)


def typed(name: str, data: Array) -> TensorProto:
    """The same in `float_data`, which holds it as one run of bytes."""
    tensor = TensorProto.FromString(bytes([4 << 3 | 2]) + encoded(data.nbytes) + data.tobytes())
    tensor.MergeFrom(TensorProto(name=name, data_type=TensorProto.FLOAT, dims=data.shape))
    return tensor


def random_arrays(count: int, size: int) -> list[Array]:
    source = np.random.default_rng(0)
    return [source.random((size // 1024, 1024), np.float32) for _ in range(count)]


@pytest.mark.parametrize(("kind", "stored"), [("path", raw), ("bytes", raw), ("path", typed), ("external", raw)])
def test_memory_of_an_import(tmp_path: Path, kind: str, stored: Callable[[str, Array], TensorProto]) -> None:
    arrays = random_arrays(4, 16 * MB)  # 256 MB
    proto, path = weights_only([stored(f"w{i}", a) for i, a in enumerate(arrays)]), tmp_path / "model.onnx"
    if kind == "external":
        onnx.save(proto, path, save_as_external_data=True, location="weights.bin")
    else:
        path.write_bytes(proto.SerializeToString())
    added, outputs = imported_elsewhere(path, kind)
    assert outputs == [(a[-1, -4:].tobytes(), a.size) for a in arrays]
    assert added < 0.25 * 256  # with the bytes themselves, where they are in memory, 1.25 times the weights


def test_more_than_two_gigabytes(tmp_path: Path) -> None:
    size = 3 << 30
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(size)
        file.seek(size - 16)
        file.write(np.arange(4, dtype=np.float32).tobytes())
    path = tmp_path / "model.onnx"
    half = {"location": "weights.bin", "length": size // 2}
    tensors = [external_tensor(f"w{i}", [size // 2048, 256], offset=i * size // 2, **half) for i in range(2)]
    path.write_bytes(weights_only(tensors).SerializeToString())
    added, outputs = imported_elsewhere(path)
    assert added < 64
    assert outputs == [(bytes(16), size // 8), (np.arange(4, dtype=np.float32).tobytes(), size // 8)]


@pytest.mark.slow
def test_a_model_in_memory_that_protobuf_cannot_serialize() -> None:
    proto = weights_only([TensorProto(name=n, data_type=1, dims=[280 * MB], raw_data=bytes(1120 * MB)) for n in "ab"])
    with pytest.raises(ImportModelError, match=r"2 GB on.*external data"):
        read(proto).original({"x": np.zeros(1, np.float32)})


def outputs(graph: Graph) -> list[Array | None]:
    return [value.data for value in graph.outputs[:-1]]


def test_several_tensors_in_one_file(tmp_path: Path) -> None:
    data = np.arange(100, dtype=np.float32)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(data.tobytes())
    tensors = [
        external_tensor("a", [100], location="sub/w.bin"),
        external_tensor("b", [5, 2], location="sub/w.bin", offset=40, length=40),
        external_tensor("c", [3], location="sub/w.bin", offset=388),
        external_tensor("d", [0, 7], location="sub/w.bin", offset=400, length=0),
        external_tensor("e", [], location="sub/w.bin", offset=4),
        external_tensor("f", [2], location="sub/w.bin", offset=394 - 5),  # not at a multiple of four
    ]
    path = tmp_path / "model.onnx"
    path.write_bytes(weights_only(tensors).SerializeToString())
    unaligned = np.frombuffer(data.tobytes()[389:397], np.float32)
    wanted = [data, data[10:20].reshape(5, 2), data[97:], np.zeros((0, 7)), data[1], unaligned]
    for ours, theirs in zip(outputs(read(path).graph), wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_initializers_among_the_inputs(tmp_path: Path) -> None:
    proto = weights_only([raw("w", np.arange(6000, dtype=np.float32))])
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [6000]))
    onnx.save(proto, tmp_path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    graph = read(tmp_path / "model.onnx").graph
    assert [value.name for value in graph.inputs] == ["x"]
    np.testing.assert_array_equal(outputs(graph), [np.arange(6000)])


def test_attributes_may_be_external(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.arange(3, dtype=np.float32).tobytes())
    proto = weights_only([])
    proto.graph.node.append(helper.make_node("Constant", [], ["c"], value=external_tensor("", [3], location="w.bin")))
    proto.graph.output.insert(0, helper.make_tensor_value_info("c", TensorProto.FLOAT, [3]))
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    np.testing.assert_array_equal(outputs(read(tmp_path / "model.onnx").graph), [np.arange(3)])


def everywhere() -> ModelProto:
    """A model with long arrays in all places: initializers, Constants, branches, functions, sparse values."""
    text = (
        "(float[n, 1600] x, bool b) => (float[] p, float[] q, float[] r, float[] y) { p = Add(x, w) q = Add(x, c) "
        "r = my.own.f(x) y = If (b) <then_branch = t () => (float[] z) <float u = {0}> { z = Add(x, u) }, "
        "else_branch = e () => (float[] z) { d = Constant <value = float {0}> ()  z = Add(x, d) }> }"
    )
    function = (
        '<domain: "my.own", opset_import: ["" : 17]> f (x) => (y) { c = Constant <value = float {0}> () y = Mul(x, c) }'
    )
    proto = model(text, domains={"my.own": 1})
    proto.functions.append(onnx.parser.parse_function(function))
    rows = iter(np.random.default_rng(0).normal(size=(6, 1, 1600)).astype(np.float32))
    branches = {a.name: a.g for a in proto.graph.node[3].attribute}
    branches["then_branch"].initializer[0].CopyFrom(raw("u", next(rows)))
    branches["else_branch"].node[0].attribute[0].t.CopyFrom(typed("", next(rows)))
    proto.functions[0].node[0].attribute[0].t.CopyFrom(raw("", next(rows)))
    proto.graph.initializer.append(typed("w", next(rows)))
    places = raw("", np.arange(1600, dtype=np.int64))
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(raw("c", next(rows)[0]), places, [1, 1600]))
    return proto


def constants(graph: Graph) -> list[bytes]:
    """All of a graph's constants, in branches too."""
    inner = [c for node in graph.nodes for g in node.attrs.values() if isinstance(g, Graph) for c in constants(g)]
    return sorted([*inner, *(c.data.tobytes() for c in graph.constants if c.data is not None)])


def test_long_arrays_are_left_out_everywhere() -> None:
    proto = everywhere()
    data = proto.SerializeToString()
    short = ModelProto()
    short.ParseFromString(without_arrays(memoryview(data)))
    assert len(data) > 6 * 6400
    assert short.ByteSize() < 3000
    from_bytes, from_proto = read(data).graph, read(proto).graph
    assert constants(from_bytes) == constants(from_proto)
    assert len([c for c in constants(from_bytes) if len(c) == 6400]) >= 4
    assert proto.SerializeToString() == data  # what is given is left alone


def test_short_arrays_and_other_nodes_stay() -> None:
    kept = weights_only([raw("w", np.zeros(200, np.float32))])
    node = kept.graph.node.add(op_type="ConstantOfShape", input=["s"], output=["z"])
    node.attribute.append(helper.make_attribute("value", raw("", np.zeros(2000, np.float32))))
    data = kept.SerializeToString()
    assert without_arrays(memoryview(data)) == data


def test_references_that_lead_out_of_the_model() -> None:
    forged = external_tensor("w", [600], **{EMBEDDED: 1000})
    assert "has only" in message(weights_only([forged]).SerializeToString())
    assert "no folder" in message(weights_only([forged]))


def test_branches_within_each_other() -> None:
    """More than protobuf itself reads: as many levels as it takes are scanned, the rest is left to it."""
    data = everywhere().graph.SerializeToString()
    for _ in range(200):
        for field in (6, 5, 1):  # a graph in an attribute of a node of a graph
            data = bytes([field << 3 | 2]) + encoded(len(data)) + data
    assert "cannot be read" in message(bytes([7 << 3 | 2]) + encoded(len(data)) + data)


@pytest.mark.parametrize("start", [b"\0\0", b"\x08\x01"])
def test_big_files_of_something_else(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(start * MB)
    with path.open("r+b") as file:
        file.truncate(5 << 30)
    assert "bytes of it are no arrays" in message(path)


def test_more_fields_than_are_looked_at() -> None:
    w = np.arange(2000, dtype=np.float32)
    data = b"\x08\x08" * 2 * MB + weights_only([raw("w", w)]).SerializeToString()
    assert without_arrays(memoryview(data)) == data
    np.testing.assert_array_equal(outputs(read(data).graph), [w])


@pytest.mark.parametrize("damage", [flip, cut, repeat])
def test_random_damage(damage: Callable[[bytes, random.Random], bytes]) -> None:
    data, source = everywhere().SerializeToString(), random.Random(0)
    for _ in range(200):
        try:
            read(damage(data, source))
        except CompilerError as error:
            assert "\n" not in str(error)


def test_damaged_lengths() -> None:
    proto = weights_only([raw("w", np.zeros(2000, np.float32))])
    proto.graph.initializer[0].dims[0] = 1999
    assert "stores 8000 bytes, but its shape asks for 7996" in message(proto.SerializeToString())
