"""Damaged, unsafe and unsupported models: `python -m examples.hostile` shows what each gives.

Each has to give one clear error, exit code 2, within a gibibyte of memory: no traceback, no crash, no hang.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx.parser
from onnx import ModelProto, StringStringEntryProto, TensorProto

MEMORY_BYTES = 2**30
SECONDS = 30
SMALL = (
    "(float[n, 4] x) => (float[n, 3] y) <float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}> { y = MatMul(x, w) }"
)
UNKNOWN = "(float[n, 4] x) => (float[n, 4] y) { a = Frobnicate(x)  y = my.own.Frobnicate(a) }"
CYCLE = "(float[n] x) => (float[n] y) { a = Add(x, b)  b = Relu(a)  y = Add(a, b) }"
HUGE = "(float[n] x) => (float[m] y) <int64[1] size = {1099511627776}> { y = ConstantOfShape(size) }"


def model(text: str) -> ModelProto:
    imports = 'opset_import: ["" : 17, "my.own" : 1]'
    return onnx.parser.parse_model(f"<ir_version: 8, {imports}> hostile {text}")


def truncated() -> bytes:
    data: bytes = model(SMALL).SerializeToString()
    return data[: len(data) // 2]


def huge_weights() -> bytes:
    """A few bytes that claim to be 4 TiB of weights."""
    proto = model(SMALL)
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**20, 2**20], raw_data=b"abcd")
    proto.graph.initializer[0].CopyFrom(tensor)
    return bytes(proto.SerializeToString())


def external(location: str) -> bytes:
    """A model whose weights are in another file."""
    proto = model(SMALL)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": location, "length": "48"}
    tensor.external_data.extend(StringStringEntryProto(key=key, value=value) for key, value in entries.items())
    return bytes(proto.SerializeToString())


MODELS: Mapping[str, Callable[[], bytes]] = {
    "an unknown operator": lambda: bytes(model(UNKNOWN).SerializeToString()),
    "a truncated file": truncated,
    "a cycle": lambda: bytes(model(CYCLE).SerializeToString()),
    "a shape of 2^40 elements": lambda: bytes(model(HUGE).SerializeToString()),
    "weights that claim 2^40 elements": huge_weights,
    "a missing external file": lambda: external("weights.bin"),
    "an external path that leaves the folder": lambda: external("../secret.bin"),
    "an external path from the root": lambda: external("/etc/hostname"),
}


def write(name: str, folder: Path) -> Path:
    """Put the model called `name` into a folder of its own below `folder`, beside a file that it must not read."""
    (folder / "secret.bin").write_bytes(bytes(48))
    path = folder / "model" / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(MODELS[name]())
    return path


def compile_limited(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`tilewright compile` in a process that may take so much memory and time, and no more."""
    command = [sys.executable, "-m", "tilewright", "compile", str(path), *options]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each of its threads reserves memory
        preexec_fn=limit_memory,
    )


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def main() -> int:
    refused = 0
    for name in MODELS:
        with tempfile.TemporaryDirectory(prefix="tilewright-") as folder:
            done = compile_limited(write(name, Path(folder)))
        refused += done.returncode == 2
        print(f"{name}: exit code {done.returncode}\n    {done.stderr.strip()}\n")
    print(f"{refused} of {len(MODELS)} hostile models gave a clear error.")
    return 0 if refused == len(MODELS) else 1


if __name__ == "__main__":
    sys.exit(main())
