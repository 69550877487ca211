"""Runs build jobs in processes of their own: one that crashes or hangs costs its job, never the user's process.

One server process imports TVM once and forks children that run the jobs (`worker_main`). It starts at first use, is
shared by all compiles of this process, and goes away with it, or when it had nothing to do for a while. It is started
as a plain program, so that it works from scripts without a main guard, notebooks and tests alike.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tilewright.backends.threads import default_threads
from tilewright.ir.errors import BuildError

TIMEOUT_SECONDS = 120
_SHOWN = 5
_START = "from tilewright.backends.worker_main import main; main()"


@dataclass(frozen=True, slots=True)
class Job:
    """Call `function` ("package.module:name") on `arguments`; `label` names it in errors. All of it is picklable."""

    label: str
    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs to run, at most `processes` at a time, each for `timeout` seconds at most.

    The server imports the modules of the jobs' functions, and those in `preload`, before it forks: once for all jobs.
    """

    jobs: tuple[Job, ...]
    preload: tuple[str, ...]
    processes: int
    timeout: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the job at `index` of its batch: its value, or in `error` why there is none."""

    index: int
    value: Any = None
    error: str = ""


def run_jobs(
    jobs: Sequence[Job],
    *,
    preload: Sequence[str] = (),
    processes: int | None = None,
    timeout: int = TIMEOUT_SECONDS,
    keep: Callable[[int, Any], None] | None = None,
) -> list[Any]:
    """The value of each job, in order.

    All jobs run, even when some fail; `keep` gets the index and value of each that does not, as soon as it is there.
    Raises BuildError that names the jobs that failed and says why.
    """
    if not jobs:
        return []
    batch = Batch(tuple(jobs), tuple(preload), processes or default_threads(), timeout)
    outcomes = []
    with contextlib.closing(_server().run(batch)) as arriving:
        for outcome in arriving:
            outcomes.append(outcome)
            if keep is not None and not outcome.error:
                keep(outcome.index, outcome.value)
    outcomes.sort(key=lambda outcome: outcome.index)
    _raise_failures(jobs, [outcome for outcome in outcomes if outcome.error])
    return [outcome.value for outcome in outcomes]


def _raise_failures(jobs: Sequence[Job], failures: Sequence[Outcome]) -> None:
    """Raise BuildError if there are failures: jobs that failed for the same reason are told together."""
    if not failures:
        return
    labels: dict[str, list[str]] = {}
    for failure in failures:
        labels.setdefault(failure.error, []).append(jobs[failure.index].label)
    reasons = [f"{_shortened(names)}: {reason}" for reason, names in labels.items()]
    raise BuildError(f"{len(failures)} of {len(jobs)} build jobs failed: {_shortened(reasons, '; ')}.")


def _shortened(items: Sequence[str], separator: str = ", ") -> str:
    more = [f"and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return separator.join([*items[:_SHOWN], *more])


def prestart() -> None:
    """Start the server now, in the background, so that it is ready when the first job comes."""
    _server().start()


@functools.cache
def _server() -> _Server:
    server = _Server()
    atexit.register(server.stop)
    return server


class _Server:
    """The parent's end of the server process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    def start(self) -> None:
        """Start the process unless it runs, or somebody is about to."""
        if self._lock.acquire(blocking=False):
            try:
                self._running()
            finally:
                self._lock.release()

    def stop(self) -> None:
        """End the server and its children at once."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    def run(self, batch: Batch) -> Generator[Outcome]:
        """All outcomes, in the order in which they come."""
        with self._lock:
            try:
                yield from self._exchange(self._running(), batch)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                self.stop()
                labels = ", ".join(job.label for job in batch.jobs)
                hint = "It may have run out of memory; TILEWRIGHT_NUM_THREADS=1 needs the least"
                raise BuildError(f"The build server ended while it built {labels}.", hint=hint) from error
            except BaseException:
                self.stop()  # interrupted: what it still sends belongs to no one
                raise

    def _exchange(self, process: subprocess.Popen[bytes], batch: Batch) -> Iterator[Outcome]:
        assert process.stdin is not None and process.stdout is not None
        pickle.dump(batch, process.stdin)
        process.stdin.flush()
        for _ in batch.jobs:
            yield pickle.load(process.stdout)

    def _running(self) -> subprocess.Popen[bytes]:
        """The server process; a new one if there is none, or it has gone idle, or this process is a fork."""
        if self._owner != os.getpid():
            self._process, self._owner = None, os.getpid()
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p or os.curdir for p in sys.path), **_ONE_THREAD},
                start_new_session=True,  # Ctrl-C is for the parent, which then ends the server
            )
        return self._process


# A process with threads must not fork.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TVM_NUM_THREADS": "1"}
