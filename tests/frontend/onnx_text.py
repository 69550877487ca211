"""Small ONNX models written as text, and random inputs for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
from onnx import ModelProto

from tilewright.ir import dims
from tilewright.ir.graph import Graph, Value
from tilewright.ir.op import Array
from tilewright.ir.types import FLOATS, numpy_dtype

SIZES: tuple[Mapping[str, int], ...] = ({"n": 2, "s": 5, "h": 12, "w": 9}, {"n": 1, "s": 8, "h": 7, "w": 16})


def model(text: str, opset: int = 17, *, domains: Mapping[str, int] | None = None) -> ModelProto:
    """`(inputs) => (outputs) <initializers> { nodes }` as a model."""
    imports = ", ".join(f'"{name}" : {version}' for name, version in {"": opset, **(domains or {})}.items())
    return onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{imports}]> test {text}")


def draw(value: Value, sizes: Mapping[str, int], random: np.random.Generator) -> Array:
    """Random elements: floats around zero, integers from 0 to 3, either boolean."""
    shape = [dims.evaluate(d, sizes) for d in value.shape]
    if value.dtype in FLOATS:
        return random.normal(size=shape).astype(numpy_dtype(value.dtype))
    return random.integers(0, 2 if value.dtype == "bool" else 4, size=shape).astype(numpy_dtype(value.dtype))


def inputs_for(graph: Graph, sizes: Mapping[str, int]) -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {value.name: draw(value, sizes, random) for value in graph.inputs}


def written(path: Path) -> list[tuple[str, int]]:
    """The cases of a text file: paragraphs `opset: model`, comments left out."""
    paragraphs = re.sub(r"^#.*$", "", path.read_text(), flags=re.MULTILINE).split("\n\n")
    split = (" ".join(p.split()).split(": ", 1) for p in paragraphs if p.strip())
    return [(text, int(opset)) for opset, text in split]


def name_of(case: tuple[str, int]) -> str:
    """What a case is called: its opset and its nodes."""
    text, opset = case
    return f"{opset} " + text[text.index("{ ") :]
