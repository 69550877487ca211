from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
import warnings
from pathlib import Path

import pytest

from tilewright.backends import cache
from tilewright.backends.cache import Store, default_folder, default_limit, digest

KEY = digest("a key")


def only_entry(folder: Path) -> Path:
    (path,) = (p for p in folder.rglob("*") if p.is_file())
    return path


def test_get_what_was_put(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.get(KEY) is None
    store.put(KEY, b"some code")
    assert Store(tmp_path).get(KEY) == b"some code"


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:5], lambda d: d[:-1] + b"X", lambda d: b""])
def test_a_damaged_entry_is_dropped(tmp_path: Path, damage: object) -> None:
    store = Store(tmp_path)
    store.put(KEY, b"some code")
    path = only_entry(tmp_path)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert store.get(KEY) is None
    assert not path.exists()


def test_nothing_partial_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the process is killed before the rename."""

    def killed(self: Path, target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).put(KEY, b"some code")
    assert Store(tmp_path).get(KEY) is None


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    store = Store(tmp_path, limit=500)
    keys = [digest(str(i)) for i in range(4)]
    for age, key in enumerate(reversed(keys)):
        store.put(key, b"x" * 100)
        os.utime(store.folder / key[:2] / key, (1000 + age, 1000 + age))
    assert store.get(keys[3]) is not None  # the oldest, but now it was used
    store.prune()
    assert [store.get(key) is not None for key in keys] == [True, True, False, True]


def test_without_a_folder_to_write_it_forgets(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = Store(tmp_path / "file")
    with pytest.warns(UserWarning, match="Nothing is cached"):
        store.put(KEY, b"some code")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.put(KEY, b"some code")
    assert store.get(KEY) is None
    store.prune()


def key_of(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def put_many(folder: Path) -> None:
    store = Store(folder, limit=20_000)
    for i in range(200):
        store.put(key_of(i), b"%d" % i * 100)
        store.prune()


def test_two_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=put_many, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    kept = {i: Store(tmp_path).get(key_of(i)) for i in range(200)}
    assert any(kept.values())
    assert all(data is None or data == b"%d" % i * 100 for i, data in kept.items())


def test_leftovers_of_killed_processes_go_but_not_what_is_being_written(tmp_path: Path) -> None:
    store = Store(tmp_path, limit=0)
    folder = store.folder / "ab"
    folder.mkdir(parents=True)
    for name, age in (("old", 4000), ("young", 10)):
        part = folder / f".part-{name}"
        part.write_bytes(b"half an ent")
        os.utime(part, (time.time() - age,) * 2)
    store.prune()
    assert [path.name for path in folder.iterdir()] == [".part-young"]


def test_pruned_once_a_minute(tmp_path: Path) -> None:
    store = Store(tmp_path, limit=0)
    store.prune_at_times()  # there is no folder yet
    kept = []
    for age in (None, 10, 100):
        store.put(KEY, b"some code")
        if age is not None:
            os.utime(store.folder / ".pruned", (time.time() - age,) * 2)
        store.prune_at_times()
        kept.append(store.get(KEY) is not None)
    assert kept == [False, True, False]


def test_folder_and_limit_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path))
    monkeypatch.setenv("TILEWRIGHT_CACHE_LIMIT", "12345")
    assert default_folder() == tmp_path
    assert default_limit() == 12345


def test_parts_do_not_run_together() -> None:
    assert digest("ab", "c") != digest("a", "bc")


def test_every_source_decides_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool of threads, which is linked into every library, as well as the Python files; what Python makes not."""
    files = {suffix: tmp_path / "backends" / f"pool{suffix}" for suffix in (".py", ".ll", ".pyc")}
    (tmp_path / "backends").mkdir()
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "backends" / "cache.py"))
    digests = []
    for path in files.values():
        path.write_text("old")
    for path in files.values():
        cache.toolchain.cache_clear()
        digests.append(cache.toolchain(("backends",)))
        path.write_text("new")
    cache.toolchain.cache_clear()
    digests.append(cache.toolchain(("backends",)))
    cache.toolchain.cache_clear()
    assert digests[0] != digests[1] != digests[2] == digests[3]
