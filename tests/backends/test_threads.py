from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from tilewright.backends.threads import cgroup_quota, checked_threads, default_threads
from tilewright.ir.errors import InputError


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_NUM_THREADS", "3")
    assert default_threads() == 3


def test_never_more_than_the_affinity_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TILEWRIGHT_NUM_THREADS", raising=False)
    assert 1 <= default_threads() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("value", ["0", "-1", "many", 1.5, True])
def test_other_numbers_are_refused(value: object) -> None:
    with pytest.raises(InputError, match="positive number of threads"):
        checked_threads(value)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_quota_of_version_2_is_the_tightest_on_the_way_up(tmp_path: Path) -> None:
    write(tmp_path / "self", "0::/pod/container\n")
    write(tmp_path / "fs/pod/container/cpu.max", "max 100000\n")
    write(tmp_path / "fs/pod/cpu.max", "150000 100000\n")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "self") == 1.5


def test_quota_of_version_1(tmp_path: Path) -> None:
    write(tmp_path / "self", "4:cpu,cpuacct:/docker/12\n3:memory:/docker/12\n")
    write(tmp_path / "fs/cpu/cpu.cfs_quota_us", "400000\n")
    write(tmp_path / "fs/cpu/cpu.cfs_period_us", "100000\n")
    assert cgroup_quota(tmp_path / "fs", tmp_path / "self") == 4.0


def test_no_quota(tmp_path: Path) -> None:
    write(tmp_path / "self", "1:cpu:/\n0::/\n")
    write(tmp_path / "fs/cpu/cpu.cfs_quota_us", "-1\n")
    write(tmp_path / "fs/cpu/cpu.cfs_period_us", "100000\n")
    assert math.isfinite(cgroup_quota(tmp_path / "fs", tmp_path / "self"))
    assert cgroup_quota(tmp_path / "fs", tmp_path / "self") > 1000
