"""ONNX files: reading them, and running them in onnxruntime as the original to compare with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, EncodeError
from onnx import GraphProto, ModelProto

from tilewright.frontend.onnx_embedded import without_arrays
from tilewright.frontend.onnx_nudge import nudge
from tilewright.frontend.onnx_storage import Storage, mapped
from tilewright.ir.errors import ImportModelError, InputError
from tilewright.ir.op import Array

_MAPPED = 16 << 20  # bytes: smaller files are read, so that it does no harm when they are written anew

_MOST_NUDGED = 1 << 30  # bytes
SEQUENCES = 8
"""So many sequences of a batch have states with scales of their own in quantized recurrent layers, when it is exact."""

_HINT = "The file may be truncated, or of another format; export or download it again"


@dataclass(frozen=True)
class OnnxFile:
    """A parsed model. `path` is the file, None when it came as bytes; long arrays are in `storage` only."""

    model: ModelProto
    name: str
    path: Path | None = None
    storage: Storage = field(default_factory=Storage)

    def serialized(self) -> bytes:
        """The whole model. Raises ImportModelError where a message of protobuf cannot hold it."""
        if self.storage.content is not None:
            return self.storage.content.tobytes()
        try:
            return bytes(self.model.SerializeToString())
        except (EncodeError, ValueError) as error:
            raise ImportModelError(
                f"onnxruntime cannot be given this ModelProto, which protobuf cannot serialize from 2 GB on: {error}",
                hint="Save it with its weights as external data and give the path, or compile it with check=False",
            ) from error


def open_onnx(source: str | os.PathLike[str] | bytes | ModelProto) -> OnnxFile:
    """Parse a path, the bytes of a file, or take a model as it is. Raises ImportModelError."""
    if isinstance(source, ModelProto):
        return OnnxFile(source, source.graph.name)
    if isinstance(source, bytes):
        content = np.frombuffer(source, np.uint8)
        model = parse(content, "the given bytes")
        return OnnxFile(model, model.graph.name, None, Storage(None, content))
    path = Path(source)
    try:
        content = read_bytes(path)
    except OSError as error:
        raise ImportModelError(f"cannot read '{path}': {error.strerror or error}") from error
    return OnnxFile(parse(content, f"'{path}'"), path.stem, path, Storage(path.parent, content))


def read_bytes(path: Path) -> Array:
    """The bytes of a file; those of a big one are mapped into memory. Raises OSError."""
    return np.frombuffer(path.read_bytes(), np.uint8) if path.stat().st_size < _MAPPED else mapped(path)


def parse(content: Array, what: str) -> ModelProto:
    """The model in the bytes `content`, all but its long arrays."""
    try:
        model = ModelProto()
        model.ParseFromString(without_arrays(content.data))
    except (DecodeError, RuntimeError, ValueError) as error:
        raise ImportModelError(f"{what} cannot be read as an ONNX model: {error}", hint=_HINT) from error
    if not model.HasField("graph"):
        raise ImportModelError(f"{what} holds no ONNX graph", hint=_HINT)
    if any(isinstance(name, bytes) for name in names(model.graph)):
        raise ImportModelError(f"{what} has names that are not UTF-8", hint=_HINT)
    return model


def names(graph: GraphProto) -> Iterator[str | bytes]:
    """Every name that the reader looks at; protobuf gives those that are not UTF-8 as bytes."""
    yield graph.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute))
    for info in (*graph.input, *graph.output):
        yield from (info.name, *(dim.dim_param for dim in info.type.tensor_type.shape.dim))
    for tensor in (*graph.initializer, *(part for s in graph.sparse_initializer for part in (s.values, s.indices))):
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))


@dataclass(frozen=True)
class OnnxRuntime:
    """The model in onnxruntime: call it with inputs by name. The session is made on the first call.

    On processors without VNNI, onnxruntime's fast kernels for 8-bit products cut sums of two of them off at 16 bits,
    and so get large ones wrong; and where weights are stored in 8 bits, it rounds what they are multiplied with to
    8 bits too, which the model does not say. `exact` does without either, and has a thread for each of several
    sequences where those that share one also share the scale of their states.
    """

    file: OnnxFile
    output_names: Sequence[str]
    threads: int | None = None  # by default as many as there are cores
    exact: bool = True

    def with_threads(self, threads: int) -> OnnxRuntime:
        """To compare times with: as it runs by default."""
        return replace(self, threads=threads, exact=False)

    def nudged(self, seed: int) -> OnnxRuntime | None:
        """The model with weights that differ in their last bits; None where it is too large, or holds none of floats.

        Weights in other files stay as they are.
        """
        content = self.file.serialized()
        if len(content) > _MOST_NUDGED:
            return None
        model = ModelProto.FromString(content)
        if not nudge(model, seed):
            return None
        return replace(self, file=OnnxFile(model, self.file.name, storage=Storage(self.file.storage.folder)))

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised; it is not ours to print
        options.intra_op_num_threads = self.threads or 0
        options.add_session_config_entry("session.x64quantprecision", str(int(self.exact)))
        if self.exact:
            options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # float32
        if self.exact and any(node.op_type == "DynamicQuantizeLSTM" for node in self.file.model.graph.node):
            options.intra_op_num_threads = SEQUENCES
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # more than there are cores
        if self.file.path is None and self.file.storage.folder is not None:
            folder = str(self.file.storage.folder)
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        source = self.file.serialized() if self.file.path is None else str(self.file.path)
        try:
            return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except refusals() as error:
            raise ImportModelError(
                f"onnxruntime, whose results the compiled model is compared with, cannot load it: {error}",
                hint="To compile it unchecked, use check=False",
            ) from error

    def __call__(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        session = self._session
        try:
            return tuple(session.run(list(self.output_names), dict(inputs)))
        except refusals() as error:
            shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in inputs.items())
            raise InputError(f"onnxruntime does not take the inputs {shapes or '(none)'}: {error}") from error


def refusals() -> tuple[type[Exception], ...]:
    """All that onnxruntime raises: its own exceptions have no base class in common."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception))
    return (*own, RuntimeError, ValueError)
