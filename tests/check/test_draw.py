"""Random inputs suit the model."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.backends.signature import TensorInfo
from tilewright.draw import index_limits, random_inputs, size_choices
from tilewright.ir.op import Array
from tilewright.ir.parse import parse


def drawn(dtype: str, *shape: int | str, name: str = "x", limit: int | None = None) -> Array:
    port = TensorInfo(name, dtype, shape)
    sizes = next(size_choices([port]))
    return random_inputs([port], sizes, np.random.default_rng(0), {name: limit} if limit else None)[name]


def test_ids_stay_below_the_smallest_table() -> None:
    graph = parse("""graph(ids: int64[n], types: int32[n], x: float32[n], free: int64[n]) {
      large = constant float32[100, 4] zeros
      small = constant float32[7, 4] zeros
      %0 = reshape(ids) {shape=(n, 1)}
      %1 = gather(large, %0) {axis=0}
      %2 = cast(types) {to="int64"}
      %3 = gather(small, %2) {axis=0}
      %4 = gather(large, %2) {axis=0}
      %5 = add(x, x)
      %6 = mul(free, free)
      return %1, %3, %4, %5, %6
    }""")
    assert index_limits(graph) == {"ids": 100, "types": 7}


def test_one_hot_vectors_have_a_class_for_each_number() -> None:
    graph = parse("""graph(bytes: int32[n, 8]) {
      classes = constant int32[1, 1, 257] arange
      flag = constant int32[] 1
      %0 = reshape(bytes) {shape=(n, 8, 1)}
      %1 = equal(%0, classes)
      %2 = equal(%0, flag)
      return %1, %2
    }""")
    assert index_limits(graph) == {"bytes": 257}
    ids = drawn("int32", 4, 2048, limit=257)
    assert (ids.dtype, ids.min(), ids.max()) == (np.int32, 0, 256)


@pytest.mark.parametrize("dtype", ["int64", "bool", "float32"])
def test_masks_are_ones(dtype: str) -> None:
    assert np.all(drawn(dtype, "n", "s", name="attention_mask") == 1)


@pytest.mark.parametrize("shape", [(2, 3, 64, 96), (2, 64, 96, 1)])
def test_pictures_have_strokes_on_light_paper(shape: tuple[int, ...]) -> None:
    picture = drawn("float32", *shape)
    assert picture.dtype == np.float32
    assert -1 <= picture.min() < -0.4
    assert 0.6 < picture.max() <= 1
    assert np.median(picture) > 0.1
    assert not np.array_equal(picture[0], picture[1])


def test_pictures_of_bytes_and_of_nothing() -> None:
    picture = drawn("uint8", 1, 3, 32, 32)
    assert picture.dtype == np.uint8
    assert np.ptp(picture) > 150
    assert drawn("float32", 0, 3, 8, 8).shape == (0, 3, 8, 8)
    assert drawn("float32", 1, 3, 1, 1).shape == (1, 3, 1, 1)


def test_other_arrays() -> None:
    assert abs(drawn("float32", 100, 100).std() - 1) < 0.1
    assert set(np.unique(drawn("int64", 100))) == {0, 1}
    assert np.ptp(drawn("uint8", 1000)) > 200
    assert drawn("string", 2).tolist() == ["text", "text"]
    assert drawn("bfloat16", 2).dtype.name == "bfloat16"
    assert drawn("float32").shape == ()


def test_sizes_by_where_they_stand() -> None:
    image = TensorInfo("image", "float32", ("n", 3, "h", "w"))
    text = TensorInfo("ids", "int64", ("n", "s"))
    first, second, *_ = size_choices([image, text])
    assert first == {"n": 1, "h": 64, "w": 96, "s": 16}
    assert all(first[name] != second[name] for name in first)
    assert list(size_choices([TensorInfo("x", "float32", (1, 2))])) == [{}]


def test_quantized_recurrent_layers_have_few_sequences_wherever_their_batch_is() -> None:
    ports = [TensorInfo("x", "float32", ("s", "n", 80))]
    assert all(sizes["n"] <= 5 for sizes in size_choices(ports, few={"n"}))
    assert any(sizes["n"] > 5 for sizes in size_choices(ports))


def test_volumes_are_small() -> None:
    """Three axes of a picture's length would not fit into memory."""
    volume = TensorInfo("x", "float32", ("n", "c", "d", "h", "w"))
    for sizes in size_choices([volume]):
        assert sizes["c"] == 3
        assert max(sizes["d"], sizes["h"], sizes["w"]) <= 64


def test_sizes_that_are_computed() -> None:
    ports = [TensorInfo("x", "float32", ("n", 4)), TensorInfo("y", "float32", ("2*n + 1",))]
    feed = random_inputs(ports, {"n": 3}, np.random.default_rng(0))
    assert [a.shape for a in feed.values()] == [(3, 4), (7,)]


def test_sizes_that_would_fill_the_memory_are_not_tried() -> None:
    volume = TensorInfo("x", "int32", ("a", "b", "b"))
    largest = max(sizes["a"] * sizes["b"] ** 2 for sizes in size_choices([volume]))
    assert 1 << 20 < largest <= 1 << 26
    vast = TensorInfo("x", "int32", (1 << 24, "a", "b"))
    assert len(list(size_choices([vast]))) == 1  # the first, whatever it takes: the model has no smaller ones
