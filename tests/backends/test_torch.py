"""Torch tensors in, torch tensors out; torch is never imported for those who do not use it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.backends.hand_written import expected
from tilewright.backends.compiled import CompiledModel

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is an extra")

FRESH = """
import sys
from tilewright.backends import artifact
model = artifact.load(sys.argv[1])
print("torch" in sys.modules)
import torch
result = model(torch.ones(3, 32))[0]
print(type(result).__name__, tuple(result.shape))
"""


def test_tensors(model: CompiledModel) -> None:
    import torch

    x = torch.randn(6, 32, requires_grad=True)
    for variant in (x, x.detach(), x[::2], x.detach().t().contiguous().t()):
        results = model(variant)
        assert all(isinstance(result, torch.Tensor) for result in results)
        np.testing.assert_allclose(results[0].numpy(), expected(variant.detach().numpy())["result"], rtol=1e-6)


def test_by_name(model: CompiledModel) -> None:
    import torch

    results = model.run({"x": torch.zeros(2, 32)})
    assert results["halves"].shape == (4, 16)
    results["weight"] += 1  # the caller's own
    np.testing.assert_array_equal(model(np.zeros((2, 32), np.float32))[3], expected(np.zeros((2, 32)))["weight"])


def test_torch_is_not_imported_for_a_saved_model(saved: Path) -> None:
    command = [sys.executable, "-c", FRESH, str(saved)]
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env={"PYTHONPATH": path})
    assert done.stdout == "False\nTensor (3, 32)\n"
