"""The ledger as a timeline, in the trace event format of Chrome and Perfetto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilewright.backends.ledger import Call, Report

_PROCESS, _THREAD = 1, 1


def trace(report: Report) -> dict[str, Any]:
    """A JSON object: a complete event for each call of a kernel, in microseconds, in the order in which they began."""
    names = [_name("process_name", "Tilewright"), _name("thread_name", f"kernels on {report.peaks.threads} threads")]
    return {
        "displayTimeUnit": "ms",
        "traceEvents": [*names, *(_event(report, call) for call in report.calls)],
        "otherData": {"summary": report.summary()},
    }


def _name(kind: str, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": _PROCESS, "tid": _THREAD, "name": kind, "args": {"name": name}}


def _event(report: Report, call: Call) -> dict[str, Any]:
    """Flops and bytes are those of this call; rates and shares are the medians of the ledger."""
    row = report.rows[call.row]
    calls = max(row.calls, 1)
    return {
        "ph": "X",
        "pid": _PROCESS,
        "tid": _THREAD,
        "name": row.kernel,
        "cat": row.origin,
        "ts": call.start * 1e6,
        "dur": call.seconds * 1e6,
        "args": {
            "rule": row.origin,
            "sources": list(row.sources),
            "dtype": row.dtype,
            "flops": row.flops / calls,
            "bytes": row.bytes / calls,
            "GFLOP/s": row.flops_per_second / 1e9,
            "GB/s": row.bytes_per_second / 1e9,
            "share of peak": report.share_of_peak(row),
            "share of bandwidth": report.share_of_bandwidth(row),
        },
    }
