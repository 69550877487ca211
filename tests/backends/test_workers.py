from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends import hand_written
from tilewright.backends.build import KernelSpec, build_kernels
from tilewright.backends.cache import Store
from tilewright.backends.target import Target
from tilewright.backends.workers import Job, run_jobs
from tilewright.ir.errors import BuildError

HERE = "tests.backends.hand_written"


def double(value: int) -> Job:
    return Job(f"double {value}", f"{HERE}:double", (value,))


def test_values_come_in_order() -> None:
    assert run_jobs([double(i) for i in range(20)]) == [2 * i for i in range(20)]


@pytest.mark.parametrize(
    ("function", "reason"),
    [("crash", "SIGSEGV"), ("hang", "longer than 1 seconds"), ("fail", "ZeroDivisionError: no such")],
)
def test_what_goes_wrong_is_an_error_that_names_the_job(function: str, reason: str) -> None:
    with pytest.raises(BuildError, match=f"1 of 3 .* bad one: .*{reason}"):
        run_jobs([double(1), Job("bad one", f"{HERE}:{function}", ()), double(2)], timeout=1)
    assert run_jobs([double(4)]) == [8]


def test_a_child_runs_several_jobs() -> None:
    assert len(set(run_jobs([Job("id", f"{HERE}:child_id", ())] * 6, processes=2))) == 2


def test_what_crashes_later_in_a_child_is_tried_again_and_told_apart() -> None:
    """With its own last words, not those of the jobs before it."""
    jobs = [Job("first", f"{HERE}:say", ("x" * 5000,)), Job("once", f"{HERE}:crash_unless_first", ())]
    with pytest.raises(
        BuildError, match=r"1 of 3 build jobs failed: bad one: its process crashed with SIGSEGV\. dying"
    ):
        run_jobs([*jobs, Job("bad one", f"{HERE}:say_and_crash", ("dying",))], processes=1)
    assert run_jobs(jobs, processes=1)[1] == "first"


def test_the_server_is_used_again() -> None:
    jobs = [Job("id", f"{HERE}:process_id", ())]
    assert run_jobs(jobs) == run_jobs(jobs)


def test_many_failures_make_a_short_message() -> None:
    with pytest.raises(BuildError, match="job 0, job 1, job 2, job 3, job 4, and 15 more: ZeroDivisionError") as caught:
        run_jobs([Job(f"job {i}", f"{HERE}:fail", ()) for i in range(20)])
    assert len(str(caught.value)) < 400


def test_no_jobs() -> None:
    assert run_jobs([]) == []


def test_other_kernels_are_not_lost_with_one_that_crashes(native: Target, tmp_path: Path) -> None:
    specs = [KernelSpec(name, name) for name in ("plus_one", "crash", "fail")]
    with pytest.raises(BuildError, match="2 of 3") as caught:
        build_kernels(specs, native, emitter=hand_written.EMITTER, store=Store(tmp_path))
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    assert "kernel crash" in str(caught.value)
    assert "kernel fail" in str(caught.value)


SCRIPT = """
from tilewright.backends.workers import Job, run_jobs
print(run_jobs([Job("one", "operator:neg", (1,)), Job("two", "operator:neg", (2,))]))
"""


@pytest.mark.parametrize("how", ["-c", "script"])
def test_works_without_a_main_guard(how: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments = ["-c", SCRIPT] if how == "-c" else [str(script)]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=True, env={"PYTHONPATH": root}
    )
    assert done.stdout == "[-1, -2]\n"
