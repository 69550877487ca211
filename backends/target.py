"""Target strings, and what the processors they name can do. Nothing here needs TVM."""

from __future__ import annotations

import functools
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from tilewright.backends import amx, threads
from tilewright.ir.errors import TargetError

ACCEPTED = (
    "llvm -mcpu=native",
    "llvm -mcpu=haswell",
    "llvm -mcpu=x86-64-v4 -mattr=+avx512vnni,-avx512bw -num-cores=4",
    "cuda -arch=sm_90",
)

# Instruction sets that make a difference to kernels, in LLVM's names, one level on top of the other.
_V2 = frozenset({"sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cx16"})
_V3 = _V2 | {"avx", "avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_ICELAKE = _V4 | {"avx512vnni", "avx512vbmi", "avx512vbmi2", "avx512ifma", "avx512bitalg", "avx512vpopcntdq", "gfni"}
_SAPPHIRE_RAPIDS = _ICELAKE | {"avx512bf16", "avx512fp16", "avxvnni", "amx-tile", "amx-int8", "amx-bf16"}
_ZEN4 = _ICELAKE | {"avx512bf16"}

_CPUS: dict[str, frozenset[str]] = {
    "x86-64": frozenset(),
    "x86-64-v2": _V2,
    "x86-64-v3": _V3,
    "x86-64-v4": _V4,
    "nehalem": _V2 - {"movbe"},
    "haswell": _V3,
    "core-avx2": _V3,
    "broadwell": _V3,
    "skylake": _V3,
    "skylake-avx512": _V4,
    "cascadelake": _V4 | {"avx512vnni"},
    "cooperlake": _V4 | {"avx512vnni", "avx512bf16"},
    "icelake-client": _ICELAKE,
    "icelake-server": _ICELAKE,
    "alderlake": _V3 | {"avxvnni", "gfni"},
    "sapphirerapids": _SAPPHIRE_RAPIDS,
    "znver1": _V3,
    "znver2": _V3,
    "znver3": _V3,
    "znver4": _ZEN4,
    "znver5": _ZEN4 | {"avxvnni"},
}
# As /proc/cpuinfo has them; Zen 3, of the same family, has no vectors of 512 bits.
_AMD, _ZEN4_FAMILY = "AuthenticAMD", "25"

KNOWN_FEATURES = frozenset().union(*_CPUS.values())

# What each stands on, as LLVM has it: to name one brings these, and to drop one of these drops it.
_STANDS_ON: dict[str, tuple[str, ...]] = {
    "ssse3": ("sse3",),
    "sse4.1": ("ssse3",),
    "sse4.2": ("sse4.1",),
    "avx": ("sse4.2",),
    "avx2": ("avx",),
    "fma": ("avx",),
    "f16c": ("avx",),
    "avxvnni": ("avx2",),
    "avx512f": ("avx2", "fma", "f16c"),
    **dict.fromkeys(("avx512cd", "avx512dq", "avx512bw", "avx512vl"), ("avx512f",)),
    **dict.fromkeys(("avx512vnni", "avx512ifma", "avx512vpopcntdq"), ("avx512f",)),
    **dict.fromkeys(("avx512vbmi", "avx512vbmi2", "avx512bitalg", "avx512bf16"), ("avx512bw",)),
    "avx512fp16": ("avx512bw", "avx512dq", "avx512vl"),
    "amx-int8": ("amx-tile",),
    "amx-bf16": ("amx-tile",),
}

# Where the kernel's name of a feature, in /proc/cpuinfo, is not LLVM's with "_" for "-" or ".".
_KERNEL_NAMES = {"pni": "sse3", "bmi1": "bmi", "abm": "lzcnt", "avx_vnni": "avxvnni"}


@dataclass(frozen=True, slots=True)
class Target:
    """A machine to build for.

    `cpu` is LLVM's name of the processor ("native": this one), `features` the instruction sets in LLVM's names that
    kernels may use, `cores` the number of cores to schedule for, `arch` the CUDA architecture.
    """

    kind: str
    cpu: str = ""
    features: frozenset[str] = frozenset()
    cores: int = 1
    arch: str = ""

    def has(self, feature: str) -> bool:
        return feature in self.features

    @property
    def vector_bits(self) -> int:
        """Width of the widest vector register."""
        if self.has("avx512f"):
            return 512
        return 256 if self.has("avx") else 128

    @property
    def vector_registers(self) -> int:
        return 32 if self.has("avx512f") else 16

    @property
    def multiplies_tiles(self) -> bool:
        """Whether it multiplies tiles of bfloat16 (AMX), for which float32 is split into pieces."""
        return self.has("amx-bf16") and self.has("avx512f")

    @property
    def sums_neighbours(self) -> bool:
        """Whether one instruction multiplies neighbours of 8 or 16 bits and adds them up in 32 (VNNI)."""
        return self.has("avx512vnni") or (self.vector_bits == 256 and self.has("avxvnni"))

    @property
    def converts_beside(self) -> bool:
        """Whether integers become floats on units that multiply-adds leave free, as on AMD's Zen."""
        return _cpuinfo().get("vendor_id") == _AMD if self.cpu == "native" else self.cpu.startswith("znver")

    @property
    def halves_vectors(self) -> bool:
        """Whether vectors of 512 bits pass its units in halves, so that two of 256 bits take no longer: AMD's Zen 4."""
        info = _cpuinfo() if self.cpu == "native" else {}
        zen4 = (info.get("vendor_id"), info.get("cpu family")) == (_AMD, _ZEN4_FAMILY)
        return self.has("avx512vl") and (zen4 or self.cpu == "znver4")

    def lanes(self, bits: int = 32) -> int:
        """Elements of `bits` bits in one vector register."""
        return self.vector_bits // bits

    def __str__(self) -> str:
        """One line that is equal for equal machines: what caches are keyed by."""
        if self.kind == "cuda":
            return f"cuda -arch={self.arch}"
        cpu = f"native({cpu_model()})" if self.cpu == "native" else self.cpu
        return f"llvm -mcpu={cpu} -mattr={','.join(f'+{f}' for f in sorted(self.features))} -num-cores={self.cores}"


def parse_target(text: str) -> Target:
    """Read a target string. Raises TargetError, which shows the accepted forms, for anything else."""
    words = text.split()
    if not words or words[0] not in ("llvm", "cuda"):
        raise _error(text, "it must start with 'llvm' or 'cuda'")
    options = _options(text, words[1:], ("mcpu", "mattr", "num-cores") if words[0] == "llvm" else ("arch",))
    return _cuda(text, options) if words[0] == "cuda" else _llvm(text, options)


def _error(text: str, reason: str) -> TargetError:
    forms = ", ".join(f"'{form}'" for form in ACCEPTED)
    hint = f"Accepted forms are, for example: {forms}"
    return TargetError(f"The target '{text}' is not understood: {reason}.", hint=hint)


def _options(text: str, words: list[str], allowed: tuple[str, ...]) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in words:
        match = re.fullmatch(r"-([a-z-]+)=(\S+)", word)
        if match is None or match[1] not in allowed:
            raise _error(text, f"'{word}' is not one of {', '.join(f'-{name}=...' for name in allowed)}")
        if match[1] in options:
            raise _error(text, f"-{match[1]} is given twice")
        options[match[1]] = match[2]
    return options


def _llvm(text: str, options: dict[str, str]) -> Target:
    cpu = options.get("mcpu", "native")
    if cpu != "native" and cpu not in _CPUS:
        raise _error(text, f"the processor '{cpu}' is unknown; known are native, {', '.join(sorted(_CPUS))}")
    features = cpu_features() & KNOWN_FEATURES if cpu == "native" else _CPUS[cpu]
    cores = options.get("num-cores", str(threads.default_threads()))
    if not cores.isdecimal() or int(cores) < 1:
        raise _error(text, f"-num-cores={cores} is not a positive number")
    return Target("llvm", cpu, _changed(text, features, options.get("mattr", "")), int(cores))


def _changed(text: str, features: frozenset[str], changes: str) -> frozenset[str]:
    for change in filter(None, changes.split(",")):
        sign, name = change[0], change[1:]
        if sign not in "+-" or name not in KNOWN_FEATURES:
            raise _error(text, f"'{change}' is not + or - and one of {', '.join(sorted(KNOWN_FEATURES))}")
        features = features | _below(name) if sign == "+" else features - _above(name)
    return features


def _below(name: str) -> frozenset[str]:
    """A feature and all that it stands on."""
    return frozenset({name}).union(*map(_below, _STANDS_ON.get(name, ())))


def _above(name: str) -> frozenset[str]:
    """A feature and all that stand on it."""
    return frozenset(feature for feature in KNOWN_FEATURES if name in _below(feature))


def _cuda(text: str, options: dict[str, str]) -> Target:
    arch = options.get("arch", "")
    if not re.fullmatch(r"sm_\d{2,3}[a-z]?", arch):
        raise _error(text, "a CUDA target needs -arch=sm_ and a number")
    return Target("cuda", arch=arch)


@functools.cache
def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().split("\n\n", 1)[0].splitlines() if path.exists() else []
    fields = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, value in fields}


def cpu_model() -> str:
    """The processor's name, for caches and error messages."""
    info = _cpuinfo()
    parts = (info.get("model name", platform.processor()), info.get("cpu family"), info.get("model"))
    return " ".join(part for part in parts if part)


def cpu_features() -> frozenset[str]:
    """Instruction sets that this process may use, in LLVM's names; empty where the system does not tell."""
    features = frozenset(_llvm_name(flag) for flag in _cpuinfo().get("flags", "").split())
    return features if "amx-tile" not in features or amx.is_granted() else features - _above("amx-tile")


def _llvm_name(flag: str) -> str:
    if flag in _KERNEL_NAMES:
        return _KERNEL_NAMES[flag]
    if flag.startswith("avx512_"):
        return flag.replace("_", "")
    return flag.replace("sse4_", "sse4.").replace("amx_", "amx-")
