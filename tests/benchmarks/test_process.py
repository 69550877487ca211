"""Processes that end without a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.process import DiedError, brief, python


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module called `scripted` that a new process finds."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "scripted.py"


def test_the_last_line_is_the_result(script: Path) -> None:
    script.write_text(
        'import os, sys\nprint("noise")\nprint(\'{"x": "\' + os.environ["GREETING"] + sys.argv[1] + \'"}\')'
    )
    assert python("scripted", "!", GREETING="hello") == {"x": "hello!"}


def test_bytecode_is_kept_whatever_the_environment_says(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    script.write_text("import json, sys\nprint(json.dumps({'kept': not sys.dont_write_bytecode}))")
    assert python("scripted") == {"kept": True}


def test_an_exception_is_the_reason(script: Path) -> None:
    script.write_text("print('at work')\nraise ValueError('the first line\\nand the second')")
    with pytest.raises(DiedError, match=r"^ValueError: the first line and the second$") as caught:
        python("scripted")
    assert caught.value.said == "at work\n"


def test_a_crash_is_the_reason(script: Path) -> None:
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(DiedError, match="killed by SIGKILL"):
        python("scripted")


def test_reasons_are_brief_and_name_no_folders() -> None:
    assert brief("cannot\n read '/some/where/model.onnx': no") == "cannot read 'model.onnx': no"
    assert brief("a/b of https://x.org/y is 1/2") == "a/b of https://x.org/y is 1/2"
    assert len(brief("word " * 200)) < 300
