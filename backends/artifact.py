"""The file of a saved model.

    header      64 bytes: magic, format version, lengths and checksums
    manifest    JSON, padded with spaces to a whole number of pages (header included)
    body        the kernel library, the bytecode, then the weights, each array at a multiple of 64 bytes; whole pages

Weights are used where they lie in the file, mapped into memory. A CRC-32 covers the manifest. One over the sums of its
pages' 64-bit words covers the body: it takes 0.05 ms a megabyte, so every load checks it all.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from tilewright.backends.program import Program, Result
from tilewright.backends.runtime import Executable
from tilewright.backends.target import Target, cpu_features, cpu_model
from tilewright.backends.values import ALIGNMENT, Array
from tilewright.backends.versions import tvm_version
from tilewright.ir.errors import ArtifactError
from tilewright.ir.types import numpy_dtype

if TYPE_CHECKING:
    from tilewright.backends.compiled import CompiledModel
    from tilewright.ir.graph import Graph

FORMAT = 2
MAGIC = b"\x89TWM\r\n\x1a\n"  # as PNG's: a transfer that changes line ends or drops the eighth bit shows at once
PAGE = 4096
_HEADER = struct.Struct("<8sIIIQQ")  # magic, format, checksums of manifest and body, lengths of manifest and body
_HEADER_SIZE = 64
_PART = 4096 * PAGE  # bytes that are read at once


def save(model: CompiledModel, path: str | Path) -> None:
    """Write `model` to `path`, whole or not at all. Raises ArtifactError if that is not possible."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}-{os.urandom(8).hex()}")
    try:
        write(model, temporary)
        temporary.replace(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def write(model: CompiledModel, path: Path) -> None:
    """Write `model` to a new or empty file. Raises OSError."""
    sections = _sections(model)
    offsets, body_size = _layout(sections)
    manifest = _padded(json.dumps(_manifest(model, offsets)).encode())
    with path.open("w+b") as file:
        file.seek(_HEADER_SIZE + len(manifest) + body_size - 1)
        file.write(b"\0")
        file.seek(_HEADER_SIZE)
        file.write(manifest)
        for name, data in sections.items():
            file.seek(_HEADER_SIZE + len(manifest) + offsets[name])
            file.write(data if isinstance(data, bytes) else data.data)
        file.seek(_HEADER_SIZE + len(manifest))
        body = checksum(_parts_of(file, body_size))
        header = _HEADER.pack(MAGIC, FORMAT, zlib.crc32(manifest), body, len(manifest), body_size)
        file.seek(0)
        file.write(header + zlib.crc32(header).to_bytes(4, "little"))


def _sections(model: CompiledModel) -> dict[str, bytes | Array]:
    code = {"library": model.executable.library, "bytecode": model.executable.bytecode}
    weights = {c.value: np.ascontiguousarray(model.weights[c.value]) for c in model.program.constants}
    return {**code, **weights}


def _layout(sections: Mapping[str, bytes | Array]) -> tuple[dict[str, int], int]:
    """Where in the body each section starts, and the body's size."""
    offsets, end = {}, 0
    for name, data in sections.items():
        offsets[name] = -(-end // ALIGNMENT) * ALIGNMENT
        end = offsets[name] + (len(data) if isinstance(data, bytes) else data.nbytes)
    return offsets, -(-end // PAGE) * PAGE


def _padded(manifest: bytes) -> bytes:
    return manifest + b" " * (-(len(manifest) + _HEADER_SIZE) % PAGE)


def _manifest(model: CompiledModel, offsets: Mapping[str, int]) -> dict[str, Any]:
    target = model.target
    return {
        "tvm": tvm_version(),
        "target": {**asdict(target), "features": sorted(target.features)},
        "program": model.program.to_json(),
        "library": [offsets["library"], len(model.executable.library)],
        "bytecode": [offsets["bytecode"], len(model.executable.bytecode)],
        "weights": {c.value: offsets[c.value] for c in model.program.constants},
    }


def load(path: str | Path, threads: int | None = None, graph: Callable[[], Graph] | None = None) -> CompiledModel:
    """Read a saved model; its weights stay in the file, mapped into memory. `graph` gives that of the original.

    Raises ArtifactError for a file that is missing, damaged, of a newer format or another TVM, or was built for a
    processor with features that this one lacks.
    """
    from tilewright.backends.compiled import CompiledModel

    path = Path(path)
    try:
        manifest, body = _read(path)
    except (OSError, ValueError) as error:  # ValueError: another file was put in its place meanwhile
        raise ArtifactError(f"{path} cannot be read: {error}.") from error
    target = _target(path, manifest)
    program = Program.from_json(manifest["program"])
    weights = {c.value: _array(body, manifest["weights"][c.value], c) for c in program.constants}
    executable = Executable(_section(body, *manifest["library"]), _section(body, *manifest["bytecode"]))
    return CompiledModel(program, executable, weights, target, threads=threads, graph=graph)


def _read(path: Path) -> tuple[dict[str, Any], Array]:
    with path.open("rb") as file:
        header = file.read(_HEADER_SIZE)
        manifest_checksum, body_checksum, manifest_size, body_size = _unpack(path, header)
        if os.fstat(file.fileno()).st_size != _HEADER_SIZE + manifest_size + body_size:
            raise _damaged(path, "it is not as long as it says")
        manifest = file.read(manifest_size)
    if zlib.crc32(manifest) != manifest_checksum:
        raise _damaged(path, "the checksum of its manifest is wrong")
    body = _mapped(path, _HEADER_SIZE + manifest_size, body_size)
    if checksum(_parts(body)) != body_checksum:
        raise _damaged(path, "the checksum of its code and weights is wrong")
    data: dict[str, Any] = json.loads(manifest)
    return data, body


def _unpack(path: Path, header: bytes) -> tuple[int, int, int, int]:
    """Checksums of manifest and body, and their sizes."""
    if not header.startswith(MAGIC):
        raise ArtifactError(f"{path} is not a saved Tilewright model, or its first bytes are damaged.")
    packed, own, rest = header[: _HEADER.size], header[_HEADER.size : _HEADER.size + 4], header[_HEADER.size + 4 :]
    if len(header) != _HEADER_SIZE or zlib.crc32(packed) != int.from_bytes(own, "little") or any(rest):
        raise _damaged(path, "the checksum of its header is wrong")
    _, version, manifest_checksum, body_checksum, manifest_size, body_size = _HEADER.unpack(packed)
    if version != FORMAT:
        raise ArtifactError(
            f"{path} has format {version}; this version of Tilewright reads format {FORMAT}.",
            hint="Load it with the version that saved it, or compile the model again",
        )
    return manifest_checksum, body_checksum, manifest_size, body_size


def _damaged(path: Path, reason: str) -> ArtifactError:
    hint = "Copy it again from its source, or compile the model again"
    return ArtifactError(f"{path} is damaged: {reason}.", hint=hint)


def _target(path: Path, manifest: Mapping[str, Any]) -> Target:
    """The target it was built for. Raises ArtifactError if that is not what we run on."""
    version = tvm_version()
    if manifest["tvm"] != version:
        raise ArtifactError(
            f"{path} was built with TVM {manifest['tvm']}, but {version} is installed.",
            hint=f"Install apache-tvm=={manifest['tvm']}, or compile the model again",
        )
    data = manifest["target"]
    target = Target(**{**data, "features": frozenset(data["features"])})
    missing = sorted(target.features - cpu_features())
    if missing:
        raise ArtifactError(
            f"{path} was built for a processor with {', '.join(missing)}, which this one ({cpu_model()}) lacks, "
            "or the system does not grant.",
            hint="Compile the model again with a target that this processor can run",
        )
    return target


def _mapped(path: Path, offset: int, size: int) -> Array:
    """Part of the file in memory. Writes, which kernels never make, would not reach the file."""
    return np.memmap(path, np.uint8, "c", offset, (size,))


def _section(body: Array, offset: int, size: int) -> bytes:
    return body[offset : offset + size].tobytes()


def _array(body: Array, offset: int, constant: Result) -> Array:
    dtype, shape = numpy_dtype(constant.spec.dtype), tuple(int(d) for d in constant.spec.dims)
    size = math.prod(shape) * dtype.itemsize
    return np.asarray(body[offset : offset + size]).view(dtype).reshape(shape)


def checksum(parts: Iterable[Array]) -> int:
    """CRC-32 over the sums of each page's 64-bit words, modulo 2**64; each of the body's parts is whole pages."""
    value = 0
    for part in parts:
        pages = part.view(np.uint64).reshape(-1, PAGE // 8)
        value = zlib.crc32(pages.sum(axis=1, dtype=np.uint64).tobytes(), value)
    return value


def _parts(body: Array) -> Iterator[Array]:
    return (body[start : start + _PART] for start in range(0, len(body), _PART))


def _parts_of(file: BinaryIO, size: int) -> Iterator[Array]:
    """The same for what follows in a file, which is not mapped, as all of it would count as the process's memory."""
    return (np.frombuffer(file.read(_PART), np.uint8) for _ in range(0, size, _PART))
