"""Models in, whatever their format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tilewright.frontend.graph_model import read_graph
from tilewright.frontend.imported import Imported
from tilewright.ir.errors import ImportModelError
from tilewright.ir.graph import Graph


def read(source: Any, shapes: Mapping[str, int] | None = None) -> Imported:
    """Read a model: the path of an .onnx file, its bytes, an `onnx.ModelProto`, or a graph, which passes through.

    `shapes` fixes symbolic sizes, as in {"batch": 1}. Raises ImportModelError, UnsupportedError and TypeInferenceError.
    """
    if isinstance(source, Graph):
        return read_graph(source, shapes)
    from onnx import ModelProto

    from tilewright.frontend.onnx_model import read_onnx

    if isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview, ModelProto)):
        return read_onnx(bytes(source) if isinstance(source, (bytearray, memoryview)) else source, shapes)
    raise ImportModelError(
        f"cannot read a model from {type(source).__name__}",
        hint="Give the path of an .onnx file, its bytes, an onnx.ModelProto or a tilewright Graph",
    )
