"""Random numbers: their shapes and types, their distributions, and that seeds repeat them."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.onnx_text import model
from tilewright.ir.op import Array

DRAWS = {
    "RandomUniform": "{ y = RandomUniform <shape = [4000], low = 2.0, high = 6.0> () }",
    "RandomUniformLike": "{ y = RandomUniformLike <low = 2.0, high = 6.0> (x) }",
    "RandomNormal": "{ y = RandomNormal <shape = [4000], mean = 4.0> () }",
    "RandomNormalLike": "{ y = RandomNormalLike <mean = 4.0> (x) }",
}


def run(body: str, x: Array) -> Array:
    found = tw.compile(model(f"(float[n] x) => (float[] y) {body}"), check=False).run({"x": x})["y"]
    return np.asarray(found)


@pytest.mark.parametrize("name", DRAWS)
def test_distribution(name: str) -> None:
    y = run(DRAWS[name], np.zeros(4000, np.float32))
    assert (y.shape, y.dtype) == ((4000,), np.dtype(np.float32))
    assert abs(y.mean() - 4) < 0.15
    assert abs(y.std() - (1 if "Normal" in name else 4 / np.sqrt(12))) < 0.1


def test_a_seed_repeats_the_numbers_and_nodes_have_their_own() -> None:
    x = np.zeros(10, np.float32)
    seeded = "{ y = RandomNormalLike <seed = 3.5> (x) }"
    np.testing.assert_array_equal(run(seeded, x), run(seeded, x))
    assert (run("{ y = RandomNormalLike(x) }", x) != run("{ y = RandomNormalLike(x) }", x)).any()
    assert (run("{ a = RandomNormalLike(x) b = RandomNormalLike(x) y = Sub(a, b) }", x) != 0).all()


def test_bernoulli() -> None:
    y = run("{ y = Bernoulli(x) }", np.full(4000, 0.25, np.float32))
    assert set(np.unique(y)) == {0, 1}
    assert abs(y.mean() - 0.25) < 0.05


def test_multinomial() -> None:
    text = "(float[n, 3] x) => (int64[] y) { y = Multinomial <dtype = 7, sample_size = 4000> (x) }"
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.9, 1e-30]], np.float32))
    y = tw.compile(model(text), check=False).run({"x": logits})["y"]
    assert (y.shape, y.dtype) == ((2, 4000), np.dtype(np.int64))
    counts = [np.bincount(row, minlength=3) / 4000 for row in y]
    np.testing.assert_allclose(counts, np.exp(logits), atol=0.05)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_as_an_input_says(training: bool) -> None:
    text = "(float[n] x, float r, bool t) => (float[] y, bool[] m) { y, m = Dropout <seed = 1> (x, r, t) }"
    x = np.arange(1, 2001, dtype=np.float32)
    feed = {"x": x, "r": np.array(0.25, np.float32), "t": np.array(training)}
    y, mask = tw.compile(model(text), check=False).run(feed).values()
    if not training:
        np.testing.assert_array_equal(y, x)
        assert mask.all()
    else:
        assert abs(mask.mean() - 0.75) < 0.05
        np.testing.assert_allclose(y, np.where(mask, x / 0.75, 0), rtol=1e-6)
