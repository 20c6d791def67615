# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Whole files, one writer for a folder, debris of killed ones, and full disks in every library's words."""

from __future__ import annotations

import errno
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dims_hf import _output
from dims_hf._output import (
    filling,
    holder_of,
    holding,
    move,
    remove_debris,
    remove_folder,
    replacing,
    why_disk_is_full,
)


HOLD = """
import sys, time
sys.path.insert(0, {repository!r})
from dims_hf._output import holding
with holding({folder!r}, beside={beside}):
    open({folder!r} + "/.tokenizer.abcdefgh.json", "w").close() if not {beside} else None
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def hold_elsewhere(repository):
    """Starts a process that holds a folder; ended with the test."""
    processes = []

    def start(folder: Path, *, beside: bool = False) -> subprocess.Popen:
        program = HOLD.format(repository=str(repository), folder=str(folder), beside=beside)
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("beside", [False, True])
def test_folder_of_another_process_is_refused_by_who_has_it(tmp_path, hold_elsewhere, beside):
    folder = tmp_path / "run"
    process = hold_elsewhere(folder, beside=beside)
    with pytest.raises(ValueError) as refusal, holding(folder, beside=beside):
        pytest.fail("two have it")
    message = str(refusal.value)
    assert message.startswith(f"{folder} is in use by process {process.pid} on {platform.node()} (-c, since 20")
    assert message.endswith("Wait for it to end, or name another folder.")
    assert process.poll() is None


def test_folder_of_a_killed_process_is_taken_over_and_cleared(tmp_path, hold_elsewhere, caplog):
    process = hold_elsewhere(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert holder_of(tmp_path)["pid"] == process.pid
    with caplog.at_level("INFO"), holding(tmp_path):
        assert holder_of(tmp_path)["pid"] == os.getpid()
        assert not (tmp_path / ".tokenizer.abcdefgh.json").exists()
    assert f"its last writer, process {process.pid} on {platform.node()}" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_folder_may_be_held_again_by_its_holder_and_is_left_as_it_was(tmp_path, hold_elsewhere):
    folder = tmp_path / "new" / "run"
    with holding(folder):
        with holding(folder):
            (folder / ".tmp-of-the-outer-block").touch()
        assert holder_of(folder)["pid"] == os.getpid()
        with holding(folder):
            assert (folder / ".tmp-of-the-outer-block").exists()
        (folder / ".tmp-of-the-outer-block").unlink()
    assert list(tmp_path.iterdir()) == []  # nothing was written, so nothing stays
    with pytest.raises(RuntimeError), holding(folder):
        (folder / "result").touch()
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["result"]
    hold_elsewhere(folder)  # free for others


def test_export_is_held_beside_and_cleared_of_its_own_debris_only(tmp_path):
    debris, others = tmp_path / ".model.a1b2c3d4", tmp_path / ".other.a1b2c3d4"
    for path in (debris, others):
        path.mkdir()
    with holding(tmp_path / "model", beside=True):
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            ".model.lock", ".model.lock.json", ".other.a1b2c3d4",
        ]  # fmt: skip


def test_debris_of_every_writer_is_known_and_nothing_else(tmp_path):
    debris = [
        ".tokenizer.x1y2z3a4", ".tmpabc", ".out.k3j4h5g6.json", ".training_summary.ab12_d34.json", ".checkpoint-40",
        ".checkpoint-30.removed.tmp", ".export.abcdefgh", ".pairs.partial", ".models-abcdefgh", ".step-20",
    ]  # fmt: skip
    kept = [
        ".gitattributes", ".gitignore", "_lock", "_lock.json", ".pre-commit-config.yaml", "checkpoint-40",
        "out.txt.partial", "train.en", "model.safetensors", ".git",
        ".model.lock", ".model.lock.json",
    ]  # fmt: skip
    for name in debris[::2] + kept:
        (tmp_path / name).touch()
    for name in debris[1::2]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    assert sorted(remove_debris(tmp_path)) == sorted(debris)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


# ---- whole files ----


@pytest.fixture
def calls(monkeypatch):
    """What reaches the disk, and when names change."""
    found = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(handle):
        found.append(("fsync", Path(os.readlink(f"/proc/self/fd/{handle}")).name))
        fsync(handle)

    def watched_replace(source, target):
        found.append(("rename", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names of open files are in /proc")


@needs_proc
def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_end(tmp_path, calls):
    with replacing(tmp_path / "result.json") as temporary:
        temporary.write_text("{}")
    assert calls == [("fsync", temporary.name), ("rename", "result.json"), ("fsync", tmp_path.name)]
    calls.clear()
    (tmp_path / "staging" / "part").mkdir(parents=True)
    (tmp_path / "staging" / "part" / "weights").touch()
    move(tmp_path / "staging", tmp_path / "checkpoint-5")
    assert calls == [
        ("fsync", "weights"), ("fsync", "part"), ("fsync", "staging"), ("rename", "checkpoint-5"),
        ("fsync", tmp_path.name),
    ]  # fmt: skip
    calls.clear()
    with filling(tmp_path / "model", ".model.", last="a_last") as partial:
        for name in ("a_last", "config.json"):
            (partial / name).touch()
    assert calls == [
        ("fsync", "config.json"), ("fsync", "a_last"), ("rename", "config.json"), ("rename", "a_last"),
        ("fsync", "model"),
    ]  # fmt: skip


def test_files_of_a_failed_block_stay_as_they_were(tmp_path):
    (tmp_path / "config.json").write_text("old")
    with pytest.raises(OSError), filling(tmp_path, ".model.") as partial:
        (partial / "config.json").write_text("new")
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError), replacing(tmp_path / "config.json") as temporary:
        temporary.write_text("new")
        raise OSError(errno.ENOSPC, "full")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("config.json", "old")]


def test_folder_killed_while_it_is_removed_is_debris(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint-10"
    folder.mkdir()
    (folder / "weights").touch()

    def stop(path, **_):
        if Path(path).exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_output.shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            remove_folder(folder)
    assert not folder.exists()
    assert remove_debris(tmp_path) == [".checkpoint-10.removed.tmp"]


def test_link_to_a_folder_is_removed_without_what_it_points_to(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").touch()
    (tmp_path / "checkpoint-10").symlink_to(tmp_path / "theirs")
    remove_folder(tmp_path / "checkpoint-10")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]
    assert (tmp_path / "theirs" / "file").exists()


# ---- full disks ----


def test_full_disk_is_known_from_what_it_came_from():
    try:
        try:
            raise OSError(errno.ENOSPC, "no room")
        except OSError as error:
            raise RuntimeError("could not save") from error
    except RuntimeError as error:
        assert why_disk_is_full(error) == "no space left"
    assert why_disk_is_full(OSError(errno.EDQUOT, "x")) == "the quota is used up"
    assert why_disk_is_full(OSError(errno.EFBIG, "x")) == "the limit of a file's size is reached"
    for other in (ValueError("vocab_size is too large"), OSError(errno.EACCES, "no"), RuntimeError("shape mismatch")):
        assert why_disk_is_full(other) is None


WRITERS = {
    "torch": lambda path: torch.save({"x": torch.zeros(100_000)}, path),
    "safetensors": lambda path: save_file({"x": torch.zeros(100_000)}, path),
    "text": lambda path: path.write_text("x" * 400_000),
}


@pytest.mark.parametrize("library", WRITERS)
def test_library_that_fills_the_disk_is_understood(tmp_path, library):
    """The system refuses a file beyond a limit as it does one on a full disk: what libraries make of it counts."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(Exception) as caught:
            WRITERS[library](tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert why_disk_is_full(caught.value) is not None, repr(caught.value)


def test_link_that_leads_to_itself_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ValueError, match="leads to itself"), holding(tmp_path / "loop"):
        pass
