"""How many threads to run on: what the container grants, unless told otherwise."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from tilewright.ir.errors import InputError

_VARIABLE = "TILEWRIGHT_NUM_THREADS"
_CGROUP = Path("/sys/fs/cgroup")


def default_threads() -> int:
    """TILEWRIGHT_NUM_THREADS, else the processors that this process may use: the lesser of affinity and quota."""
    asked = os.environ.get(_VARIABLE)
    if asked:
        return checked_threads(asked, _VARIABLE)
    return max(1, min(_affinity(), math.floor(cgroup_quota(_CGROUP, Path("/proc/self/cgroup")) + 0.5)))


def checked_threads(value: object, name: str = "threads") -> int:
    """`value` as a number of threads. Raises InputError if it is none."""
    text = str(value)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{name}={text} is not a positive number of threads.")
    return int(text)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cgroup_quota(root: Path, membership: Path) -> float:
    """Processors that the control group (v2 or v1) grants, as a fraction; a large number where there is no limit."""
    quotas = [float(1 << 20)]
    for line in _lines(membership):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            quotas += [_quota_v2(folder) for folder in _upwards(root, path)]
        elif "cpu" in controllers.split(","):
            mounts = (root / "cpu", root / controllers)
            quotas += [_quota_v1(folder) for mount in mounts for folder in _upwards(mount, path)]
    return min(quotas)


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """The group's folder and all above it: the tightest limit counts. Inside a container only the root may be there."""
    folder = root / path.lstrip("/")
    yield folder
    while folder != root and folder != folder.parent:
        folder = folder.parent
        yield folder


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _quota_v2(folder: Path) -> float:
    quota, _, period = ((_lines(folder / "cpu.max") or ["max 100000"])[0]).partition(" ")
    return math.inf if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float:
    quota, period = _lines(folder / "cpu.cfs_quota_us"), _lines(folder / "cpu.cfs_period_us")
    return int(quota[0]) / int(period[0]) if quota and period and int(quota[0]) > 0 else math.inf
