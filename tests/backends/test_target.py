from __future__ import annotations

import pickle

import pytest

from tilewright.backends import target as target_module
from tilewright.backends.target import KNOWN_FEATURES, cpu_features, parse_target
from tilewright.ir.errors import TargetError


def test_native_has_what_the_processor_has() -> None:
    target = parse_target("llvm -mcpu=native")
    assert target.features == cpu_features() & KNOWN_FEATURES
    assert target.cores >= 1


@pytest.mark.parametrize("granted", [False, True])
def test_amx_is_there_where_the_system_grants_it(granted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_module, "_cpuinfo", lambda: {"flags": "sse2 avx2 amx_tile amx_bf16 amx_int8"})
    monkeypatch.setattr(target_module.amx, "is_granted", lambda: granted)
    assert cpu_features() == {"sse2", "avx2"} | ({"amx-tile", "amx-bf16", "amx-int8"} if granted else set())


def test_default_is_native() -> None:
    assert parse_target("llvm") == parse_target("llvm -mcpu=native")


@pytest.mark.parametrize(
    ("text", "bits", "registers"),
    [
        ("llvm -mcpu=x86-64", 128, 16),
        ("llvm -mcpu=haswell", 256, 16),
        ("llvm -mcpu=znver4", 512, 32),
        ("llvm -mcpu=znver4 -mattr=-avx512f", 256, 16),
        ("llvm -mcpu=haswell -mattr=-avx", 128, 16),
        ("llvm -mcpu=haswell -mattr=+avx512f", 512, 32),
    ],
)
def test_vectors(text: str, bits: int, registers: int) -> None:
    target = parse_target(text)
    assert (target.vector_bits, target.vector_registers, target.lanes(16)) == (bits, registers, bits // 16)


@pytest.mark.parametrize(
    ("cpu", "vendor", "beside"),
    [
        ("znver4", "GenuineIntel", True),
        ("sapphirerapids", "AuthenticAMD", False),
        ("native", "AuthenticAMD", True),
        ("native", "GenuineIntel", False),
    ],
)
def test_converting_beside_multiply_adds(
    cpu: str, vendor: str, monkeypatch: pytest.MonkeyPatch, *, beside: bool
) -> None:
    monkeypatch.setattr(target_module, "_cpuinfo", lambda: {"vendor_id": vendor, "flags": "avx2 fma"})
    assert parse_target(f"llvm -mcpu={cpu}").converts_beside == beside


@pytest.mark.parametrize(
    ("options", "family", "flags", "halves"),
    [
        ("-mcpu=znver4", "6", "", True),
        ("-mcpu=znver4 -mattr=-avx512vl", "6", "", False),
        ("-mcpu=znver5", "25", "", False),
        ("-mcpu=native", "25", "avx512f avx512vl", True),
        ("-mcpu=native", "25", "avx2", False),  # Zen 3
        ("-mcpu=native", "26", "avx512f avx512vl", False),
    ],
)
def test_vectors_that_pass_in_halves(
    options: str, family: str, flags: str, monkeypatch: pytest.MonkeyPatch, *, halves: bool
) -> None:
    info = {"vendor_id": "AuthenticAMD", "cpu family": family, "flags": flags}
    monkeypatch.setattr(target_module, "_cpuinfo", lambda: info)
    assert parse_target(f"llvm {options}").halves_vectors == halves


def test_dropping_a_feature_drops_what_stands_on_it() -> None:
    assert not any(f.startswith("avx512") for f in parse_target("llvm -mcpu=znver5 -mattr=-avx512f").features)
    assert not parse_target("llvm -mcpu=haswell -mattr=-avx").has("fma")
    assert parse_target("llvm -mcpu=x86-64-v4 -mattr=-f16c").vector_bits == 256
    assert parse_target("llvm -mcpu=haswell -mattr=-sse4.2").vector_bits == 128


def test_naming_a_feature_brings_what_it_stands_on() -> None:
    assert {"sse3", "sse4.2", "avx", "avx2"} <= parse_target("llvm -mcpu=x86-64 -mattr=+fma,+avx2").features
    assert parse_target("llvm -mcpu=x86-64 -mattr=+avx512vbmi").features >= {"avx512bw", "avx512f", "fma", "f16c"}


def test_cores_and_cuda() -> None:
    assert parse_target("llvm -num-cores=7").cores == 7
    assert parse_target("cuda -arch=sm_90").arch == "sm_90"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gpu",
        "llvm -mcpu=8086",
        "llvm -mattr=avx2",
        "llvm -mattr=+mmx3",
        "llvm -num-cores=0",
        "llvm -num-cores=two",
        "llvm -opt=3",
        "llvm haswell",
        "llvm -mcpu=haswell -mcpu=znver4",
        "cuda",
        "cuda -arch=90",
        "cuda -mcpu=native",
    ],
)
def test_other_strings_are_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(TargetError, match="llvm -mcpu=native"):
        parse_target(text)


def test_text_identifies_the_target() -> None:
    texts = {
        str(parse_target(t))
        for t in ("llvm", "llvm -mcpu=haswell", "llvm -mcpu=skylake -mattr=-fma", "cuda -arch=sm_90")
    }
    assert len(texts) == 4


def test_picklable() -> None:
    target = parse_target("llvm -mcpu=haswell")
    assert pickle.loads(pickle.dumps(target)) == target
