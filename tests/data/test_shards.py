"""Shards, their manifest, and the workers that make them."""

from __future__ import annotations

import errno
import functools
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from jaxbert.data import shards
from jaxbert.data.directory import ShardDirectory, open_directory
from jaxbert.data.shards import ShardInfo, read_manifest, verify_shard, write_shard
from jaxbert.data.workers import parallel
from jaxbert.errors import InputError, Interrupted, Stopped


def listing(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


# ----------------------------------------------------------------------------------------------------------------------
# One shard


def test_a_shard_is_written_whole(tmp_path: Path) -> None:
    records = [bytes([index]) * index for index in range(50)]
    info = write_shard(tmp_path / "a.array_record-00000", records)
    assert listing(tmp_path) == ["a.array_record-00000"]
    reader = ArrayRecordReader(str(tmp_path / info.file))
    assert reader.read_all() == records
    assert (info.count, info.bytes) == (50, (tmp_path / info.file).stat().st_size)
    again = write_shard(tmp_path / "b", records)
    assert again.sha256 == info.sha256
    assert write_shard(tmp_path / "none", []).count == 0
    verify_shard(tmp_path, info)


def test_a_failing_maker_leaves_nothing(tmp_path: Path) -> None:
    def records() -> Any:
        yield b"x" * 100_000
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        write_shard(tmp_path / "a", records())
    assert listing(tmp_path) == []


def test_a_full_disk_is_an_interruption() -> None:
    """The message of the real library about a real full device."""
    writer = ArrayRecordWriter("/dev/full", "group_size:1")
    with pytest.raises(RuntimeError) as caught:
        for _ in range(100):
            writer.write(os.urandom(100_000))
        writer.close()
    assert isinstance(shards.disk_error(caught.value, Path("x")), Interrupted)
    assert isinstance(shards.disk_error(OSError(28, "x"), Path("x")), Interrupted)
    other = RuntimeError("something else")
    assert shards.disk_error(other, Path("x")) is other


def test_a_full_disk_leaves_no_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Interrupted, match="E-DISK-FULL") as caught:
        write_shard(tmp_path / "a", [b"x"])
    assert listing(tmp_path) == [] and caught.value.exit_code == 3


@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_damage_is_found_and_named(tmp_path: Path, damage: str) -> None:
    info = write_shard(tmp_path / "a.array_record-00003", [os.urandom(100) for _ in range(100)])
    path = tmp_path / info.file
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        verify_shard(tmp_path, info, full=False)
    elif damage == "cut":
        path.write_bytes(data[:-1])
    else:
        path.unlink()
    with pytest.raises(Stopped, match=r"a\.array_record-00003.*E-SHARD-DAMAGED") as caught:
        verify_shard(tmp_path, info)
    assert caught.value.exit_code == 4


# ----------------------------------------------------------------------------------------------------------------------
# A directory


# The fields of a manifest of rows, beside those that `commit` adds.
FIELDS: dict[str, Any] = {
    **{"policy": "packed", "length": 128, "vocab_size": 30, "pad_id": 0, "tokenizer_hash": "t", "origins": 1},
    **{"counts": {"train": 1}, "statistics": {"train": {"rows": 1}}, "hash": "h"},
}


def make(path: Path, **arguments: Any) -> dict[str, Any]:
    directory = open_directory(path, "rows", arguments)
    info = write_shard(path / "rows-train.array_record-00000", [b"record"])
    directory.finish(ShardInfo(info.file, info.count, info.bytes, info.sha256, {"tokens": 7}))
    return directory.commit({"train": [info]}, FIELDS)


def test_a_directory_is_made_resumed_and_found(tmp_path: Path) -> None:
    out = tmp_path / "new" / "rows"
    directory = open_directory(out, "rows", {"length": 128})
    assert directory.finished("rows-train.array_record-00000") is None and not directory.done
    info = write_shard(out / "rows-train.array_record-00000", [b"record"])
    assert directory.finished(info.file) is None, "written, but not noted as finished"
    directory.finish(ShardInfo(info.file, info.count, info.bytes, info.sha256, {"tokens": 7}))
    (out / ".rows-train.array_record-00001.99.partial").write_bytes(b"left by a kill")
    (out / "rows-train.array_record-00009").write_bytes(b"of nobody")

    with pytest.raises(InputError, match="E-SHARD-UNFINISHED"):
        read_manifest(out, "rows")
    again = pickle.loads(pickle.dumps(open_directory(out, "rows", {"length": 128})))
    found = again.finished(info.file)
    assert found is not None and found.statistics == {"tokens": 7} and found.sha256 == info.sha256
    (out / info.file).write_bytes(b"damaged since")
    assert again.finished(info.file) is None
    write_shard(out / info.file, [b"record"])

    manifest = again.commit({"train": [info], "validation": []}, FIELDS)
    assert listing(out) == ["manifest.json", "rows-train.array_record-00000"]
    assert manifest == read_manifest(out, "rows") and manifest["length"] == 128
    assert manifest["splits"]["train"] == [info.to_json()] and "statistics" not in info.to_json()
    done = open_directory(out, "rows", {"length": 128})
    assert done.done and done.damaged() == []
    (out / info.file).write_bytes(b"damaged since")
    assert [entry.file for entry in done.damaged()] == [info.file]


def test_a_directory_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    """A run in whose workdir it is has no other place to give: removing the directory must help."""
    out = tmp_path / "rows"
    make(out, format=1, seed=1)
    with pytest.raises(InputError, match=r"another version of jaxbert.*remove this directory.*E-SHARD-VERSION"):
        open_directory(out, "rows", {"format": 2, "seed": 1})


def test_other_arguments_overwrite_only_when_told(tmp_path: Path) -> None:
    out = tmp_path / "rows"
    make(out, length=128, seed=1)
    before = {name: (out / name).read_bytes() for name in listing(out)}
    for finished in (True, False):
        with pytest.raises(InputError, match=r"different: length.*E-SHARD-ARGUMENTS"):
            open_directory(out, "rows", {"length": 256, "seed": 1})
        with pytest.raises(InputError, match="E-SHARD-FOREIGN"):
            open_directory(out, "records", {"length": 256}, overwrite=True)
        if finished:
            assert {name: (out / name).read_bytes() for name in listing(out)} == before
        directory = open_directory(out, "rows", {"length": 128, "seed": 2 + finished}, overwrite=True)
        assert not directory.done and not list(out.glob("rows-*"))
        assert {name: (out / ".previous" / name).read_bytes() for name in before} == before
        with pytest.raises(InputError, match="E-SHARD-UNFINISHED"):
            read_manifest(out, "rows")
    info = write_shard(out / "rows-train.array_record-00000", [b"other"])
    directory.commit({"train": [info]}, FIELDS)
    assert listing(out) == ["manifest.json", info.file] and directory.damaged() == []


@pytest.mark.parametrize("unfinished", [False, True])
def test_what_is_overwritten_comes_back_unless_the_new_is_finished(tmp_path: Path, unfinished: bool) -> None:
    out = tmp_path / "rows"
    if unfinished:
        old = open_directory(out, "rows", {"seed": 1})
        old.finish(write_shard(out / "rows-train.array_record-00000", [b"record"]))
    else:
        make(out, seed=1)

    def everything() -> dict[str, bytes]:
        return {name: (out / name).read_bytes() for name in listing(out) if (out / name).is_file()}

    def begin() -> ShardDirectory:
        directory = open_directory(out, "rows", {"seed": 2}, overwrite=True)
        directory.finish(write_shard(out / "rows-train.array_record-00000", [b"new"]))
        return directory

    before = everything()
    begin().discard()
    assert everything() == before
    # Begun by an earlier call: its finished shards are not this call's to throw away.
    begin()
    again = open_directory(out, "rows", {"seed": 2}, overwrite=True)
    again.discard()
    assert again.finished("rows-train.array_record-00000") is not None
    # But who asks for the old again gets it.
    assert open_directory(out, "rows", {"seed": 1}, overwrite=True).done is not unfinished
    assert everything() == before


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_kill_while_the_old_is_moved_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unfinished: bool
) -> None:
    class Killed(BaseException):
        pass

    real = os.replace
    for kill_at in range(1, 12):
        out = tmp_path / str(kill_at)
        if unfinished:
            old = open_directory(out, "rows", {"seed": 1})
            for number in (0, 1):
                old.finish(write_shard(out / f"rows-train.array_record-0000{number}", [b"record"]))
        else:
            make(out, seed=1)
        before = {name: (out / name).read_bytes() for name in listing(out) if (out / name).is_file()}
        calls = 0

        def replace(source: Any, target: Any, at: int = kill_at) -> None:
            nonlocal calls
            calls += 1
            if calls >= at:
                raise Killed
            real(source, target)

        monkeypatch.setattr(os, "replace", replace)
        try:
            open_directory(out, "rows", {"seed": 2}, overwrite=True).discard()
        except Killed:
            killed = True
        else:
            killed = False
        monkeypatch.undo()
        open_directory(out, "rows", {"seed": 1}, overwrite=True)
        assert {name: (out / name).read_bytes() for name in listing(out) if (out / name).is_file()} == before
        if not killed:
            break
    assert not killed and kill_at > 4


def test_files_of_others_are_refused_never_deleted(tmp_path: Path) -> None:
    for name in ("notes.txt", "tokenizer/mine.json", "rows.array_record-backup", "own/file"):
        out = tmp_path / name.replace("/", "-")
        make(out, seed=1)
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("precious")
        before = {name: (out / name).read_bytes() for name in listing(out) if (out / name).is_file()}
        with pytest.raises(InputError, match="E-SHARD-FOREIGN") as caught:
            open_directory(out, "rows", {"seed": 2}, overwrite=True)
        assert Path(caught.value.where) in (out / name, (out / name).parent)
        assert {name: (out / name).read_bytes() for name in listing(out) if (out / name).is_file()} == before
    # Nor what came while the directory was in the making.
    directory = open_directory(tmp_path / "new", "rows", {})
    (directory.path / "notes.txt").write_text("precious")
    directory.discard()
    assert listing(tmp_path / "new") == ["notes.txt"]


def test_directories_of_others_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="E-SHARD-FOREIGN"):
            open_directory(tmp_path / "mine", "rows", {}, overwrite=overwrite)
    with pytest.raises(InputError, match="E-SHARD-PLACE"):
        open_directory(tmp_path / "mine" / "thesis.tex" / "rows", "rows", {})
    assert listing(tmp_path) == ["mine", "mine/thesis.tex"]
    # A kill right after making the directory leaves this; it is ours.
    (tmp_path / "begun" / ".progress").mkdir(parents=True)
    assert not open_directory(tmp_path / "begun", "rows", {}).done


def test_what_was_begun_in_vain_goes(tmp_path: Path) -> None:
    directory = open_directory(tmp_path / "a" / "b" / "rows", "rows", {})
    write_shard(directory.path / "rows-train.array_record-00000", [b""])
    directory.discard()
    assert listing(tmp_path) == []
    (tmp_path / "there").mkdir()
    open_directory(tmp_path / "there", "rows", {}).discard()
    assert listing(tmp_path) == ["there"]


def test_files_that_one_may_not_touch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    make(tmp_path / "rows")
    shard = "rows-train.array_record-00000"
    info = write_shard(tmp_path / shard, [b"x"])
    with monkeypatch.context() as patch:
        patch.setattr("jaxbert.data.shards.sha256_file", forbidden)
        with pytest.raises(InputError, match=f"{shard}.*E-SHARD-PERMISSION"):
            verify_shard(tmp_path, info)
        patch.setattr("jaxbert.inputs.files.os.open", forbidden)
        with pytest.raises(InputError, match=r"manifest\.json.*E-DISK-PERMISSION"):
            read_manifest(tmp_path / "rows", "rows")
        patch.setattr("os.access", lambda *_, **__: False)
        with pytest.raises(InputError, match="E-SHARD-PERMISSION"):
            open_directory(tmp_path / "new", "rows", {})


def test_manifests_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name, text in {"broken": "{", "list": "[]", "kindless": "{}"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(text)
    (tmp_path / "empty").mkdir()
    make(tmp_path / "rows")
    table = [
        ("absent", "rows", "E-SHARD-MISSING"),
        ("file", "rows", "E-SHARD-MISSING"),
        ("empty", "rows", "E-SHARD-MANIFEST"),
        ("broken", "rows", "E-SHARD-MANIFEST"),
        ("list", "rows", "E-SHARD-MANIFEST"),
        ("kindless", "rows", "E-SHARD-MANIFEST"),
        ("rows", "records", "E-SHARD-KIND"),
    ]
    for name, kind, what in table:
        with pytest.raises(InputError, match=what) as caught:
            read_manifest(tmp_path / name, kind)
        assert name in caught.value.where and "`jaxbert" in caught.value.fix


def test_every_flip_of_a_manifest_is_found(tmp_path: Path) -> None:
    """New manifests, and those of earlier versions, without a sha256 of themselves."""
    for kind in ("rows", "records"):
        out = tmp_path / kind
        directory = open_directory(out, kind, {"seed": 1, "source": {"spec": "text:a"}})
        info = write_shard(out / f"{kind}-train.array_record-00000", [b"record"])
        fields = {name: value for name, value in FIELDS.items() if name != "hash"}
        if kind == "records":
            fields = {name: fields[name] for name in ("tokenizer_hash", "vocab_size", "counts")}
            fields["summary"] = {"splits": {}, "findings": []}
        made = {"kind": kind, "arguments": directory.arguments, "splits": {"train": [info.to_json()]}, **fields}
        fields["hash"] = (
            shards.canonical_hash(made) if kind == "rows" else shards.records_hash("t", {"train": [info.sha256]})
        )
        manifest = directory.commit({"train": [info]}, fields)
        file = out / "manifest.json"
        old = {key: value for key, value in manifest.items() if key != "sha256"}
        for saved in (manifest, old):
            shards.write_json(file, saved)
            content = file.read_bytes()
            assert read_manifest(out, kind) == saved
            for place in range(len(content)):
                file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
                try:
                    found = read_manifest(out, kind)
                except InputError as error:
                    assert error.code in ("E-SHARD-MANIFEST", "E-SHARD-KIND")
                    continue
                line = content[content.rfind(b"\n", 0, place) :].split(b"\n")[1].decode()
                # The hash of old records covers only the bytes of the shards and the tokenizer.
                covered = saved is manifest or kind == "rows" or '"sha256": "' in line or '"hash": "' in line
                assert found == saved or not covered, line


def test_a_damaged_manifest_has_a_way_out(tmp_path: Path) -> None:
    """The advice of each error is followed: --overwrite makes again what has no usable manifest, and only that."""
    out = tmp_path / "rows"
    make(out, seed=1)
    good = (out / "manifest.json").read_bytes()
    for content in (b"{", b"", good.replace(b"128", b"129"), None):
        (out / "manifest.json").unlink() if content is None else (out / "manifest.json").write_bytes(content)
        with pytest.raises(InputError, match=r"E-SHARD-MANIFEST"):
            read_manifest(out, "rows")
        with pytest.raises(InputError, match=r"--overwrite.*E-SHARD-MANIFEST"):
            open_directory(out, "rows", {"seed": 1})
        directory = open_directory(out, "rows", {"seed": 1}, overwrite=True)
        assert not directory.done
        directory.discard()
        directory = open_directory(out, "rows", {"seed": 1}, overwrite=True)
        info = write_shard(out / "rows-train.array_record-00000", [b"record"])
        directory.commit({"train": [info]}, FIELDS)
        assert read_manifest(out, "rows")["length"] == 128
        (out / "notes.txt").write_text("precious")
        (out / "manifest.json").write_bytes(b"{")
        with pytest.raises(InputError, match="E-SHARD-FOREIGN"):
            open_directory(out, "rows", {"seed": 1}, overwrite=True)
        (out / "notes.txt").unlink()


# ----------------------------------------------------------------------------------------------------------------------
# Workers: functions here come from the standard library, because workers import modules and not tests.


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_order(workers: int) -> None:
    jobs = [f"(__import__('time').sleep({0.03 if index % 3 == 0 else 0}), {index})[1]" for index in range(20)]
    assert list(parallel(eval, jobs, workers)) == list(range(20))
    assert list(parallel(eval, [], workers)) == []


def test_work_is_spread_over_processes_that_import_little() -> None:
    jobs = ["(__import__('time').sleep(0.2), __import__('os').getpid())[1]"] * 4
    pids = set(parallel(eval, jobs, 2))
    assert len(pids) == 2 and os.getpid() not in pids
    (modules,) = parallel(eval, ["set(__import__('sys').modules)"], 2)
    assert not {"jax", "jaxlib", "tensorflow"} & modules
    (threads,) = parallel(eval, ["__import__('os').environ['RAYON_NUM_THREADS']"], 2)
    assert threads == "1"


def test_jobs_are_read_only_as_fast_as_they_are_worked_off(tmp_path: Path) -> None:
    read, gate = 0, tmp_path / "gate"
    wait = f"[__import__('time').sleep(0.01) for _ in iter(lambda: __import__('os').path.exists({str(gate)!r}), True)]"

    def jobs() -> Any:
        nonlocal read
        for _ in range(20):
            read += 1
            yield wait

    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.extend(parallel(eval, jobs(), 2)))
    thread.start()
    deadline = time.monotonic() + 30
    while read < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    assert read == 3, "one job for each of two workers, and one that waits"
    gate.touch()
    thread.join(60)
    assert len(results) == 20 and read == 20


def test_errors_of_workers_arrive() -> None:
    # A CommandError keeps its kind and its parts; everything else comes with its traceback.
    parts = "'bad', where='shard 3', fix='Mend it.', code='E-TEST-BAD'"
    code = f"(_ for _ in ()).throw(__import__('jaxbert.errors').errors.Stopped({parts}))"
    for workers in (1, 2):
        with pytest.raises(Stopped, match="E-TEST-BAD") as caught:
            list(parallel(eval, ["1", code, "2"], workers))
        assert (caught.value.what, caught.value.where, caught.value.fix) == ("bad", "shard 3", "Mend it.")
        assert caught.value.code == "E-TEST-BAD"
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(parallel(eval, ["1", "1/0", "2", "3", "4", "5"], 2))


def test_results_before_an_error_are_not_lost() -> None:
    got = []
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        for result in parallel(eval, ["1", "2", "3", "1/0", "5"], 2):
            got.append(result)
    assert got == [1, 2, 3]


def test_a_dead_worker_is_an_interruption() -> None:
    kill = "__import__('os').kill(__import__('os').getpid(), 9)"
    with pytest.raises(Interrupted, match=r"SIGKILL.*E-PROCESS-WORKER"):
        list(parallel(eval, ["1", kill, "2"], 2))


def test_abandoned_workers_end() -> None:
    results = parallel(eval, ["__import__('os').getpid()"] + ["__import__('time').sleep(60)"] * 5, 2)
    pid = next(results)
    start = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 20
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_functions_of_the_main_module_are_refused() -> None:
    function = functools.partial(eval)
    assert list(parallel(function, ["1"], 2)) == [1]

    def main_function(job: int) -> int:
        return job

    main_function.__module__ = "__main__"
    with pytest.raises(TypeError, match="main module"):
        list(parallel(main_function, [1], 2))


SCRIPT = """
# No `if __name__ == "__main__"` guard, as people write scripts; and it must run once only.
print("once")
from jaxbert.data.workers import parallel
print(sum(parallel(abs, range(-3, 0), 2, label="counting")))
"""


def test_a_plain_script_without_a_guard(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "once\n6\n"), done.stderr
    assert "counting: 3 shards" in done.stderr, "a plain line where there is no terminal"
