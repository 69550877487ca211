"""How many threads to run on, and TVM's thread pool, which has one instance per calling thread."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tilewright.ir.errors import InputError

_VARIABLE = "TILEWRIGHT_NUM_THREADS"
_CGROUP = Path("/sys/fs/cgroup")
_SPINS = "20000"
_SPREAD_OVER_CORES = 1  # TVM's ThreadGroup::kBig


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


class PoolSize(threading.local):
    """Gives the calling thread a TVM pool of the wanted number of threads.

    TVM makes a pool for each thread that runs a parallel kernel. A pool cannot grow, but may use fewer threads than it
    has. It also pins them, and the caller, to the first cores of the machine, even outside the process's affinity
    mask, unless TVM_BIND_THREADS is 0. Its idle threads spin for 0.1 s, which a process that ends has to wait for: a
    fifth of that bridges the gaps between kernels as well. With a concurrency limit of 1, kernels run without any pool.
    """

    def __init__(
        self,
        set_limit: Callable[[int], object],
        make_pool: Callable[[], object],
        configure: Callable[[int, int], object],
    ) -> None:
        """TVM's `SetMaxConcurrency`, `runtime.NumThreads` and `runtime.config_threadpool`."""
        self._set_limit, self._make_pool, self._configure = set_limit, make_pool, configure
        self._capacity = 0
        self._current = 0

    def use(self, wanted: int) -> None:
        """Make kernels that this thread calls next run on `wanted` threads."""
        if wanted == self._current:
            return
        if wanted > 1:
            with _environment("TVM_BIND_THREADS", "0"):
                if not self._capacity:
                    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", _SPINS)  # threads read it when they start
                    self._capacity = max(wanted, default_threads())
                    self._set_limit(self._capacity)
                    self._make_pool()
                self._configure(_SPREAD_OVER_CORES, wanted)
        # After `configure`, which clears the limit: without one, each parallel loop asks the system (6 us).
        self._set_limit(wanted)
        self._current = wanted


_ENVIRONMENT_LOCK = threading.Lock()


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """An environment variable for the time in which TVM reads it."""
    with _ENVIRONMENT_LOCK:
        before = os.environ.get(name)
        os.environ[name] = value
        try:
            yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
