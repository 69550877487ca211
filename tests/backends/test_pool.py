"""The threads of a model: each task runs once, whoever takes it, and no thread outlives its model."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilewright as tw
from tests.kernels.built import TARGET
from tests.kernels.built import pool as pool_code
from tilewright.backends.kernels.loops import Loops
from tilewright.backends.link import link
from tilewright.backends.pool import Pool
from tilewright.backends.tvm_adapter import compile_function
from tilewright.backends.values import ffi, to_tensor
from tilewright.ir.parse import parse

GRAPH = """graph(x: float32[n, 4096]) {
  %0 = exp(x)
  %1 = tanh(%0)
  return y=%1
}"""


@pytest.fixture(scope="module")
def image() -> Any:
    return np.random.default_rng(0).standard_normal((301, 4096)).astype(np.float32)


def compiled(threads: int) -> Any:
    return tw.compile(parse(GRAPH), check=False, threads=threads)


def pool_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tilewright"]


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_any_number_of_threads_gives_the_same(image: Any, threads: int) -> None:
    expected = compiled(1)(image)
    model = compiled(threads)
    for _ in range(50):
        np.testing.assert_array_equal(model(image), expected)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_all_of_any_number_of_tasks_run_once(threads: int, tmp_path: Path) -> None:
    """Whatever the sizes of their shares, by threads that stay awake from one call to the next."""
    k, each = Loops("count"), 1 << 13
    counts = k.buffer("counts", (k.dim("tasks"), each), "int32")
    with k.parallel(counts.shape[0]) as task, k.serial(each) as i:
        k.store(counts, (task, i), counts[task, i] + 1)
    code = link({k.name: compile_function(k.func(), k.name, TARGET), "tilewright_pool": pool_code()})
    path = tmp_path / "count.so"
    path.write_bytes(code)
    module = ffi().load_module(str(path), keep_module_alive=False)
    pool, count = Pool(str(path)), module[k.name]
    for size in (*range(80), 1001):
        counted = np.zeros((size, each), np.int32)
        tensor = to_tensor(counted)
        for _ in range(20):
            pool.use(threads)
            count(tensor)
        assert (counted == 20).all(), size


def test_callers_take_turns(image: Any) -> None:
    expected, model = compiled(1)(image), compiled(3)
    with ThreadPoolExecutor(4) as callers:
        for result in callers.map(model, [image] * 40):
            np.testing.assert_array_equal(result, expected)


def test_threads_end_with_their_model(image: Any) -> None:
    gc.collect()
    before = len(pool_threads())
    model = compiled(4)
    model(image)
    assert len(pool_threads()) == before + 3
    del model
    gc.collect()
    assert len(pool_threads()) == before


def wakes(model: Any, x: Any) -> int:
    """How often the model's one other thread went to sleep during 40 calls that lie apart."""
    model(x)
    (thread,) = pool_threads()
    status = Path(f"/proc/self/task/{thread.native_id}/status")

    def sleeps() -> int:
        return int(status.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    time.sleep(0.1)
    before = sleeps()
    for _ in range(40):
        model(x)
        time.sleep(0.005)
    return sleeps() - before


def test_threads_are_woken_for_long_calls_only(image: Any) -> None:
    gc.collect()
    model = compiled(2)
    assert wakes(model, image) >= 20
    assert wakes(model, image[:2]) < 20  # a few where another program interrupts a call, which then seems long


def shared_part(before: Callable[[], None], run: Callable[[], None]) -> float:
    """Seconds of the model's one other thread in `run`, to one of the caller's; `before` is not counted."""
    (thread,) = pool_threads()
    assert thread.ident is not None
    clock, shared, alone = time.pthread_getcpuclockid(thread.ident), 0.0, 0.0
    for _ in range(10):
        before()
        start = time.clock_gettime(clock), time.thread_time()
        run()
        shared, alone = shared + time.clock_gettime(clock) - start[0], alone + time.thread_time() - start[1]
    return shared / alone


TWO_PROCESSORS = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="there is one processor, which the caller has"
)


@TWO_PROCESSORS
def test_short_calls_in_a_row_are_shared(image: Any) -> None:
    gc.collect()
    model = compiled(2)
    model(image)

    def short_calls() -> None:
        for _ in range(60):
            model(image[:8])

    assert shared_part(lambda: time.sleep(0.005), short_calls) > 0.1


@TWO_PROCESSORS
def test_a_long_call_after_short_ones_is_shared(image: Any) -> None:
    gc.collect()
    model = compiled(2)
    model(image)

    def short_calls() -> None:
        for _ in range(3):
            model(image[:1])
            time.sleep(0.002)

    assert shared_part(short_calls, lambda: model(image)) > 0.1


def test_a_forked_process_works_without_the_threads(image: Any) -> None:
    model = compiled(3)
    expected = model(image)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(model(image), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
