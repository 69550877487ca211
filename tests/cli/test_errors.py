"""What is asked wrongly gives one paragraph on standard error, without a traceback, and the exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tilewright import commands
from tilewright.cli import main


@pytest.fixture
def files(tmp_path: Path, model: Path, saved: Path) -> Path:
    """A folder with good and bad files."""
    np.save(tmp_path / "halves.npy", np.zeros((2, 4), np.float16))
    np.save(tmp_path / "x.npy", np.zeros((2, 4), np.float32))
    np.save(tmp_path / "ids.npy", np.full(2, 9, np.int64))
    np.savez(tmp_path / "many.npz", a=np.zeros(2))
    (tmp_path / "text.npy").write_text("not an array")
    (tmp_path / "text.tw").write_text("not a model")
    (tmp_path / "folder").mkdir()
    (tmp_path / "m.onnx").symlink_to(model)
    (tmp_path / "m.tw").symlink_to(saved)
    return tmp_path


WRONG = {
    "run none.onnx": "cannot read 'none.onnx': No such file",
    "run none.tw": "none.tw cannot be read",
    "run text.tw": "not a saved Tilewright model",
    "run folder": "cannot read 'folder': Is a directory",
    "run m.onnx --target z80": "The target 'z80' is not understood",
    "bench m.tw --trace none/trace.json": "'none/trace.json' cannot be written: there is no folder 'none'",
    "bench m.tw --html folder": "'folder' cannot be written: it is a folder",
    "run m.onnx --threads 0": "threads=0 is not a positive number",
    "run m.onnx --shape k=3": "Its symbolic sizes are: n",
    "run m.tw --size k=3": "Its symbolic sizes are: n",
    "run m.tw --input x=x.npy --size n=3": "n=3 is not that of the given arrays, 2",
    "run m.tw --input z=x.npy": "unknown: z",
    "run m.tw --input x=none.npy": "'x' cannot be read from 'none.npy'",
    "run m.tw --input x=text.npy": "'x' cannot be read from 'text.npy'",
    "run m.tw --input x=many.npz": "'many.npz' does not hold one array",
    "run m.tw --input x=halves.npy": "dtype float16; the model takes x: float32[n, 4]",
    "run m.tw --input x=ids.npy": "'x' has dtype int64",
    "run m.tw --input ids=ids.npy": "an index is out of range",
    "run m.tw --save folder": "'folder' cannot be written: it is a folder",
    "run m.tw --save none/out.npz": "there is no folder 'none'",
    "compile m.onnx -o none/out.tw": "there is no folder 'none'",
    "compile m.onnx -o folder": "it is a folder",
    "compile m.tw": "m.tw is compiled already",
    "check m.tw": "tilewright check MODEL.onnx --compiled m.tw",
    "check m.onnx --compiled m.tw --tolerance 0.5": "a tolerance of 0.5 proves nothing",
    "check m.onnx --compiled m.tw --input x=halves.npy": "onnxruntime does not take the inputs",
    "inspect none.onnx": "cannot read 'none.onnx'",
}


@pytest.mark.parametrize(("command", "expected"), WRONG.items(), ids=WRONG)
def test_errors(
    command: str, expected: str, files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    assert main(command.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert expected in said.err
    assert said.err.count("\n") == 1


def test_errors_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "none.onnx", "--json"]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["kind"] == "ImportModelError"
    assert said.err == ""


def test_debug_shows_the_traceback() -> None:
    done = tilewright("run", "none.onnx", "--debug")
    assert "Traceback" in done.stderr
    assert "ImportModelError" in done.stderr


@pytest.mark.parametrize(
    "options", ["--size n", "--size =3", "--size n=0", "--input x", "--threads many", "--nonsense"]
)
def test_options_that_make_no_sense(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["run", "m.tw", *options.split()])
    assert exit.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code", "expected"),
    [
        (ZeroDivisionError("of\nnothing"), 2, "ZeroDivisionError: of nothing. This is a bug"),
        (MemoryError(), 2, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_no_one_foresaw(
    raised: BaseException, code: int, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: object) -> bool:
        raise raised

    monkeypatch.setattr(commands, "COMMANDS", {"inspect": fail})
    assert main(["inspect", "m.onnx"]) == code
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1


def test_output_that_nobody_reads(model: Path) -> None:
    inspect = subprocess.Popen(
        [sys.executable, "-m", "tilewright", "inspect", str(model)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert inspect.stdout is not None
    inspect.stdout.close()
    _, errors = inspect.communicate(timeout=60)
    assert inspect.returncode == 141
    assert errors == b""


def tilewright(*argv: str) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = [sys.executable, "-m", "tilewright", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_module_is_the_command() -> None:
    assert "compile" in tilewright("--help").stdout
    assert tilewright("--version").stdout.startswith("tilewright ")
    assert tilewright().returncode == 2


def test_help_is_fast() -> None:
    run = "import sys, tilewright.cli\ntry: tilewright.cli.main(['run', '--help'])"
    code = f"{run}\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    heavy = {"numpy", "rich", "sympy", "tilewright.api", "tilewright.commands"}
    assert heavy.isdisjoint(done.stdout.splitlines()[-1].split())
