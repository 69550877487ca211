"""Running one case, and what is written down about it."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import Any

from tests.onnx_suite.cases import Case
from tests.onnx_suite.chance import assert_likely, is_random
from tests.onnx_suite.compare import assert_all_same
from tests.onnx_suite.plain import why_not_plain
from tilewright.backends.compiled import CompiledModel
from tilewright.ir.errors import CompilerError

PASSED, FAILED = "passed", "failed"
_LONGEST_REASON = 400


@dataclass(frozen=True)
class Record:
    """What became of one case.

    `outcome`: "passed", "failed", or "crashed" or "hung", which cost the process that ran it. `reason`: why it did not
    pass. `host`: the operators that ran on the host. `not_plain`: why the case may run there; "" if it may not.
    """

    name: str
    kind: str
    operator: str
    version: int
    outcome: str
    reason: str = ""
    host: tuple[str, ...] = ()
    not_plain: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.outcome == PASSED

    @property
    def compiled(self) -> bool:
        return self.passed and not self.host


def unfinished(case: Case, outcome: str, reason: str, seconds: float) -> Record:
    """For a case that ended its process."""
    return Record(case.name, case.kind, case.operator, case.version, outcome, reason, (), why_not_plain(case), seconds)


def run(case: Case) -> Record:
    """Compile and run the case; whatever goes wrong is the record's reason."""
    start = time.perf_counter()
    host: tuple[str, ...] = ()
    reason = ""
    try:
        host = _compiled_and_compared(case)
    except AssertionError as error:
        reason = f"wrong: {error}"
    except CompilerError as error:
        reason = f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001  # a bug, which must not end the suite
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"bug: {type(error).__name__}: {error} ({where.name}, line {where.lineno})"
    return Record(
        case.name,
        case.kind,
        case.operator,
        case.version,
        FAILED if reason else PASSED,
        " ".join(reason.split())[:_LONGEST_REASON],
        host,
        why_not_plain(case),
        time.perf_counter() - start,
    )


def _compiled_and_compared(case: Case) -> tuple[str, ...]:
    """What ran on the host. Raises AssertionError where an output is wrong."""
    from tilewright.onnx_backend import prepare

    prepared = prepare(case.model)
    for given, wanted in case.data_sets:
        got: Any = prepared.run(given)
        if is_random(case):
            assert_likely(case, given, got, wanted)
        else:
            assert_all_same(got, wanted, case.rtol, case.atol)
    return _on_the_host(prepared.model)


def _on_the_host(model: CompiledModel) -> tuple[str, ...]:
    calls = model.program.host_calls()
    return tuple(sorted({source.split()[0] for call in calls for source in call.note.sources}))
