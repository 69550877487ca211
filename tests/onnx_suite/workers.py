"""Processes that run the cases: one that crashes or hangs costs its case, never the suite."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait

from tests.onnx_suite.cases import Case
from tests.onnx_suite.record import Record, run, unfinished

SECONDS_A_CASE = 120.0
_NETWORK = 5
_SPAWN = multiprocessing.get_context("spawn")  # a process with threads must not fork


def run_all(cases: Iterable[Case], processes: int = 2, limit: float = SECONDS_A_CASE) -> Iterator[Record]:
    """A record for each case, as soon as it is there. A case that takes longer than `limit` seconds has hung."""
    waiting = deque(cases)
    with contextlib.ExitStack() as stack:
        workers = [_Worker() for _ in range(min(processes, len(waiting)))]
        for worker in workers:
            stack.callback(worker.end)
        while waiting or any(worker.case for worker in workers):
            for worker in workers:
                if worker.case is None and waiting:
                    worker.give(waiting.popleft())
            wait([worker.pipe for worker in workers if worker.case], timeout=1.0)
            for worker in workers:
                if worker.case is not None and (record := worker.record(limit_of(worker.case, limit))) is not None:
                    yield record


def limit_of(case: Case, limit: float) -> float:
    """A whole network builds a hundred kernels, any other case a few."""
    return _NETWORK * limit if case.kind == "real" else limit


class _Worker:
    """One process at a time; a new one after each that ended."""

    def __init__(self) -> None:
        self.case: Case | None = None
        self._started = 0.0
        self._start()

    def _start(self) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, case: Case) -> None:
        self.case, self._started = case, time.perf_counter()
        with contextlib.suppress(OSError):  # it has died; reading from it will say so
            self.pipe.send(case)

    def record(self, limit: float) -> Record | None:
        """What became of the case, if that is known."""
        assert self.case is not None
        case, seconds = self.case, time.perf_counter() - self._started
        if self.pipe.poll():
            try:
                record: Record = self.pipe.recv()
            except (EOFError, OSError):
                record = unfinished(case, "crashed", self._fate(), seconds)
                self._restart()
        elif seconds > limit:
            record = unfinished(case, "hung", f"it took longer than {limit:.0f} seconds", seconds)
            self._restart()
        else:
            return None
        self.case = None
        return record

    def _fate(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        return (
            f"its process crashed with {signal.Signals(-code).name}" if code < 0 else f"it ended its process ({code})"
        )

    def _restart(self) -> None:
        self.end()
        self._start()

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def serve(pipe: Connection) -> None:
    """The life of a worker: cases in, records out, until the other end closes."""
    with open(os.devnull, "w") as nothing:  # noqa: PTH123  # what native code says would tear the progress apart
        os.dup2(nothing.fileno(), 2)
    warnings.simplefilter("ignore")  # overflow and division by zero are in the cases on purpose
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(run(pipe.recv()))
