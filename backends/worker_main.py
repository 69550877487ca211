"""The build server: reads batches of jobs from standard input, has forked children run them, writes the outcomes.

A child runs one job after the other, since LLVM is slow at first. Where one crashes, its job is tried again as the
first of another child, since what went before may be why; where it was the first already, or hangs, the job has failed,
and another child goes on with the rest.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import select
import selectors
import signal
import struct
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from tilewright.backends.workers import Batch, Outcome
from tilewright.ir.errors import CompilerError

_IDLE_SECONDS = 120
_PRELOAD = ("tilewright.backends.tvm_adapter", "tilewright.backends.rules")  # what nearly all jobs need
_NUMBER = struct.Struct("<Q")


def main() -> None:
    """Serve until the parent closes its end, or nothing has come for a while."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints may get among the replies
    for module in _PRELOAD:
        importlib.import_module(module)
    while select.select([requests], [], [], _IDLE_SECONDS)[0]:
        try:
            batch: Batch = pickle.load(requests)
        except EOFError:
            return
        _serve(batch, replies)


def _serve(batch: Batch, replies: BinaryIO) -> None:
    for module in sorted({job.function.partition(":")[0] for job in batch.jobs}.union(batch.preload)):
        importlib.import_module(module)
    gc.freeze()  # keeps the children from copying the pages of what is loaded
    waiting = deque(range(len(batch.jobs)))
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            while waiting and len(selector.get_map()) < batch.processes:
                child = _fork(batch, [key.data for key in selector.get_map().values()])
                selector.register(child.outcomes, selectors.EVENT_READ, child)
                child.start(waiting.popleft())
            for key, _ in selector.select():
                _receive(selector, key.data, waiting, replies)


@dataclass(slots=True)
class _Child:
    """A forked process, the pipes of its jobs and outcomes, the file that holds what it said, and its present job."""

    process: int
    jobs: int
    outcomes: int
    messages: int
    timeout: int
    index: int = -1
    received: bytes = b""
    started: int = 0

    def start(self, index: int) -> None:
        self.index, self.received, self.started = index, b"", self.started + 1
        with contextlib.suppress(BrokenPipeError):  # it is gone, as the other pipe tells
            os.write(self.jobs, _NUMBER.pack(index))

    def outcome(self) -> bytes | None:
        """The pickled outcome of its job, if all of it has come."""
        size = _NUMBER.unpack_from(self.received)[0] if len(self.received) >= _NUMBER.size else None
        whole = size is not None and len(self.received) == _NUMBER.size + size
        return self.received[_NUMBER.size :] if whole else None


def _fork(batch: Batch, others: Sequence[_Child]) -> _Child:
    jobs, give = os.pipe()
    take, outcomes = os.pipe()
    messages, name = tempfile.mkstemp()
    Path(name).unlink()
    process = os.fork()
    if process == 0:
        for pipe in (give, take, *(pipe for child in others for pipe in (child.jobs, child.outcomes))):
            os.close(pipe)  # a pipe ends when every process has closed it
        _run_all(batch, jobs, outcomes, messages)
    os.close(jobs)
    os.close(outcomes)
    return _Child(process, give, take, messages, batch.timeout)


def _run_all(batch: Batch, jobs: int, outcomes: int, messages: int) -> NoReturn:
    """Run the jobs whose numbers come, until no more do, and end this process."""
    try:
        with os.fdopen(outcomes, "wb") as pipe:
            while number := os.read(jobs, _NUMBER.size):
                os.dup2(messages, 2)  # a job may have closed it
                os.ftruncate(2, 0)
                os.lseek(2, 0, os.SEEK_SET)
                signal.alarm(batch.timeout)  # ends this process wherever it hangs, even in native code
                data = _run(_NUMBER.unpack(number)[0], batch)
                signal.alarm(0)
                pipe.write(_NUMBER.pack(len(data)) + data)
                pipe.flush()
    finally:
        os._exit(0)


def _run(index: int, batch: Batch) -> bytes:
    """The job's pickled outcome. Whatever a job raises is an outcome, which the parent reports."""
    job, data = batch.jobs[index], pickle.dumps(Outcome(index, error="it failed, and so did telling how"))
    module, _, name = job.function.partition(":")
    with contextlib.suppress(BaseException):
        try:
            data = pickle.dumps(Outcome(index, getattr(sys.modules[module], name)(*job.arguments)))
        except BaseException as error:
            data = pickle.dumps(Outcome(index, error=_described(error)))
            raise
    return data


def _described(error: BaseException) -> str:
    if isinstance(error, CompilerError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"


def _receive(selector: selectors.BaseSelector, child: _Child, waiting: deque[int], replies: BinaryIO) -> None:
    data = os.read(child.outcomes, 1 << 20)
    child.received += data
    outcome = child.outcome()
    if data and outcome is None:
        return
    if outcome is not None and waiting:
        child.start(waiting.popleft())
    else:
        selector.unregister(child.outcomes)
        outcome = _ended(child, outcome)
        if outcome is None:
            waiting.appendleft(child.index)
            return
    replies.write(outcome)
    replies.flush()


def _ended(child: _Child, outcome: bytes | None) -> bytes | None:
    """The last outcome of a child without further jobs, or how it came to an end without one; None to try again."""
    os.close(child.jobs)
    os.close(child.outcomes)
    _, status = os.waitpid(child.process, 0)
    crashed = os.waitstatus_to_exitcode(status) != -signal.SIGALRM
    if outcome is None and not (crashed and child.started > 1):
        outcome = pickle.dumps(Outcome(child.index, error=_fate(child, status)))
    os.close(child.messages)
    return outcome


def _fate(child: _Child, status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGALRM:
        return f"it took longer than {child.timeout} seconds"
    said = os.pread(child.messages, 4096, 0).decode(errors="replace").strip().splitlines()[:1]
    how = f"crashed with {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    return " ".join([f"its process {how}.", *said])
