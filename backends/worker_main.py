"""The build server: reads batches of jobs from standard input, runs each job in a forked child, writes the outcomes."""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import select
import selectors
import signal
import sys
import tempfile
import traceback
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from tilewright.backends.workers import Batch, Job, Outcome
from tilewright.ir.errors import CompilerError

_IDLE_SECONDS = 120
_PRELOAD = "tilewright.backends.tvm_adapter"


def main() -> None:
    """Serve until the parent closes its end, or nothing has come for a while."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints may get among the replies
    importlib.import_module(_PRELOAD)
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
    waiting = deque(enumerate(batch.jobs))
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            while waiting and len(selector.get_map()) < batch.processes:
                index, job = waiting.popleft()
                child = _fork(index, job, batch.timeout)
                selector.register(child.pipe, selectors.EVENT_READ, child)
            for key, _ in selector.select():
                _receive(selector, key.data, replies)


@dataclass(slots=True)
class _Child:
    """A forked process, the pipe through which its pickled outcome comes, and the file that holds what it said."""

    index: int
    process: int
    pipe: int
    messages: int
    timeout: int
    received: bytes = b""


def _fork(index: int, job: Job, timeout: int) -> _Child:
    read, write = os.pipe()
    messages, name = tempfile.mkstemp()
    Path(name).unlink()
    process = os.fork()
    if process == 0:
        os.close(read)
        os.dup2(messages, 2)
        signal.alarm(timeout)  # ends this process wherever it hangs, even in native code
        _run_and_exit(index, job, write)
    os.close(write)
    return _Child(index, process, read, messages, timeout)


def _run_and_exit(index: int, job: Job, pipe: int) -> NoReturn:
    """Send the job's outcome and end this process. Whatever a job raises is an outcome, which the parent reports."""
    try:
        module, _, name = job.function.partition(":")
        data = pickle.dumps(Outcome(index, getattr(sys.modules[module], name)(*job.arguments)))
    except BaseException as error:
        data = pickle.dumps(Outcome(index, error=_described(error)))
        raise
    finally:
        with os.fdopen(pipe, "wb") as file:
            file.write(data)
        os._exit(0)


def _described(error: BaseException) -> str:
    if isinstance(error, CompilerError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"


def _receive(selector: selectors.BaseSelector, child: _Child, replies: BinaryIO) -> None:
    data = os.read(child.pipe, 1 << 20)
    if data:
        child.received += data
        return
    selector.unregister(child.pipe)
    os.close(child.pipe)
    _, status = os.waitpid(child.process, 0)
    complete = os.waitstatus_to_exitcode(status) == 0
    replies.write(child.received if complete else pickle.dumps(Outcome(child.index, error=_fate(child, status))))
    replies.flush()
    os.close(child.messages)


def _fate(child: _Child, status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGALRM:
        return f"it took longer than {child.timeout} seconds"
    said = os.pread(child.messages, 4096, 0).decode(errors="replace").strip().splitlines()[:1]
    how = f"crashed with {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    return " ".join([f"its process {how}.", *said])
