"""The threads of one loaded model.

TVM's own pool splits each parallel loop into equal shares and waits for every thread. Where threads do not run at equal
speed, because other programs or another runtime's spinning threads use the same processors, each loop is as slow as the
slowest. This pool (`pool.ll`, linked into every library) hands out small tasks, and never waits for a thread that has
not started.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

_C_LIBRARY = ctypes.CDLL(None)
_SCHED_SETATTR = 314  # the system call's number on x86-64
_SLICE = 100_000
_LAUNCHER = "__TVMBackendParallelLaunch"  # a variable of every TVM library: the function that parallel loops call


def source() -> str:
    """The pool in LLVM's intermediate language."""
    return Path(__file__).with_name("pool.ll").read_text()


class Pool:
    """Replaces TVM's pool in the library at `path`, which TVM has loaded already. Threads start when needed."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        launch = ctypes.cast(self._library.tilewright_pool_launch, ctypes.c_void_p)
        ctypes.c_void_p.in_dll(self._library, _LAUNCHER).value = launch.value
        self._threads: list[threading.Thread] = []
        self._wanted = 1
        self._callers = -1
        weakref.finalize(self, _stop, self._library, self._threads)

    def use(self, wanted: int) -> None:
        """A call begins, whose parallel loops run on `wanted` threads, the caller's among them."""
        if wanted != self._wanted:
            self._callers = -1
            self._threads.extend(self._started(wanted - 1 - len(self._threads)))
            self._wanted = wanted
        elif wanted == 1:
            return
        self._library.tilewright_pool_use(wanted)
        processor = _C_LIBRARY.sched_getcpu()
        if processor != self._callers:
            self._leave_to_caller(processor)

    def _leave_to_caller(self, processor: int) -> None:
        """Keep the threads off the caller's processor.

        Where another runtime's idle threads spin, Linux often puts a woken thread beside the caller, and both get half.
        """
        self._callers = processor
        others = os.sched_getaffinity(0) - {processor}
        if others:
            for thread in self._threads:
                os.sched_setaffinity(thread.native_id or 0, others)

    def _started(self, count: int) -> Iterator[threading.Thread]:
        for _ in range(count):
            thread = threading.Thread(target=_work, args=(self._library,), name="tilewright", daemon=True)
            thread.start()
            yield thread


def _work(library: ctypes.CDLL) -> None:
    """The life of one thread."""
    _prefer_short_slices()
    library.tilewright_pool_work()


class _SchedulingAttributes(ctypes.Structure):
    """Linux's `struct sched_attr`; `runtime` is the slice of an ordinary thread, in nanoseconds."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def _prefer_short_slices() -> None:
    """Ask for the calling thread's fair share in slices of 0.1 ms instead of 3: a loop's last task is waited for.

    Linux grants this from 6.12 on; where it does not, nothing changes.
    """
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    attributes = _SchedulingAttributes(ctypes.sizeof(_SchedulingAttributes), nice=nice, runtime=_SLICE)
    _C_LIBRARY.syscall(_SCHED_SETATTR, 0, ctypes.byref(attributes), 0)


def _stop(library: ctypes.CDLL, threads: list[threading.Thread]) -> None:
    """End the threads of a pool that is no longer used."""
    library.tilewright_pool_stop()
    for thread in threads:
        thread.join()
