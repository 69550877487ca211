"""Where and with what the numbers were measured."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from benchmarks.process import ROOT
from tilewright.backends.target import parse_target
from tilewright.backends.threads import default_threads

PACKAGES = ("apache-tvm", "onnxruntime", "openvino", "numpy")
TELLING = ("avx", "avx2", "fma", "f16c", "gfni", "avxvnni", "amx", "avx512")


def machine() -> dict[str, str]:
    """Processor, cores, instruction sets, memory and kernel."""
    facts = proc("/proc/cpuinfo")
    model, family, number = (facts.get(key, "unknown") for key in ("model name", "cpu family", "model"))
    return {
        "processor": f"{model} (family {family}, model {number})",
        "cores": f"{os.cpu_count()}, of which the quota and the affinity allow {default_threads()}",
        "instruction sets": ", ".join(telling(parse_target("llvm -mcpu=native").features)),
        "memory": f"{int(proc('/proc/meminfo')['MemTotal'].split()[0]) / 2**20:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
    }


def telling(features: frozenset[str]) -> list[str]:
    """The vector extensions among a target's features."""
    return sorted(f for f in features if f in TELLING or f.startswith(("avx512", "amx")))


def versions() -> dict[str, str]:
    """Of Tilewright, of what it is compared with, and of what matters beneath."""
    found = {"tilewright": f"{metadata.version('tilewright')}{commit()}", "python": platform.python_version()}
    return {**found, **{name: version(name) for name in PACKAGES}}


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """The commit of the sources, where git knows it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" ({done.stdout.strip()})"


def proc(path: str) -> Mapping[str, str]:
    """The first value of each key in a file of `key: value` lines."""
    facts: dict[str, str] = {}
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    return facts
