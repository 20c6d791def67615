# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""How commands end: exit statuses, one line for every error, and signals that say what is saved."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from dims_hf._commands import Terminated, ending_gently, run_command, saying_how_to_go_on


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("Set\n it."), 2, "error: Set it.\n"),
        (FloatingPointError("The loss is nan."), 2, "error: The loss is nan.\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/x"), 2,
            "error: The disk is full (out/x): no space left. Make room and run the command again.\n",
        ),
        (
            RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"), 2,
            "error: The disk is full: a file came out shorter than it should. Make room and run the command again.\n",
        ),
        (
            Exception("Error while serializing: I/O error: No space left on device (os error 28)"), 2,
            "error: The disk is full: no space left. Make room and run the command again.\n",
        ),
        (ImportError("Run `pip install galore_torch`."), 2, "error: Run `pip install galore_torch`.\n"),
        (RuntimeError("It requires wandb. Run `pip install wandb`."), 2,
            "error: It requires wandb. Run `pip install wandb`.\n"),
        (ImportError("the package for it is not installed"), 2, "error: the package for it is not installed\n"),
        (ImportError("cannot import name 'x'"), 1,
            "error: ImportError: cannot import name 'x' (`dims-hf --debug ...` shows where)\n"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/dev/null/x"), 2,
            "error: /dev/null/x: Not a directory. Correct the path, or its permissions.\n"),
        (FileNotFoundError(errno.ENOENT, "No such file", ""), 2,
            "error: A path without a name: No such file. Correct the path, or its permissions.\n"),
        (OSError(errno.EADDRINUSE, "Address in use"), 2, f"error: [Errno {errno.EADDRINUSE}] Address in use\n"),
        (KeyError("x"), 1, "error: KeyError: 'x' (`dims-hf --debug ...` shows where)\n"),
        (KeyboardInterrupt(), 130, ""),
        (KeyboardInterrupt("step 5 is\nsaved"), 130, "interrupted: step 5 is saved\n"),
        (Terminated("step 5 is saved"), 143, "interrupted: step 5 is saved\n"),
    ],
)  # fmt: skip
def test_every_end_is_a_status_and_a_line(capsys, monkeypatch, error, status, line):
    monkeypatch.setattr("dims_hf._commands._forget_output", lambda: None)
    assert run_command(raising(error)) == status
    assert capsys.readouterr().err == line


def test_status_is_the_commands_own_and_none_is_zero():
    assert run_command(lambda: None) == 0
    assert run_command(lambda: 3) == 3


def test_debug_lets_errors_through():
    with pytest.raises(KeyError):
        run_command(raising(KeyError("x")), debug=True)


def test_only_the_first_of_several_processes_speaks(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert run_command(raising(KeyboardInterrupt("saved"))) == 130
    assert capsys.readouterr().err == ""


def test_sigterm_is_an_exception_inside_the_block_only():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), ending_gently():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_handler_of_somebody_else_stays(monkeypatch):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    try:
        with ending_gently():
            os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [1]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_inner_block_knows_better_what_is_saved():
    with pytest.raises(Terminated, match="^inner$"), saying_how_to_go_on(lambda: "outer"):
        with saying_how_to_go_on(lambda: "inner"):
            raise Terminated
    with pytest.raises(ValueError), saying_how_to_go_on(lambda: pytest.fail("asked without need")):
        raise ValueError


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_worker_ends_with_the_launcher_that_was_killed(tmp_path, repository):
    """The launcher's name is in its command line; a shell, say, may end without its children."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        f"import sys, time; sys.path.insert(0, {str(repository)!r})\n"
        "from dims_hf._commands import follow_launcher\n"
        "follow_launcher(); print(__import__('os').getpid(), flush=True); time.sleep(600)"
    )
    parent = tmp_path / "parent.py"
    parent.write_text(f"import subprocess, sys; subprocess.run([sys.executable, {str(worker)!r}])")
    for words, ends in ((["torchrun"], True), ([], False)):
        launcher = subprocess.Popen([sys.executable, str(parent), *words], stdout=subprocess.PIPE, text=True)
        pid = int(launcher.stdout.readline())
        launcher.kill()
        launcher.wait()
        assert has_ended(pid, seconds=20 if ends else 0.5) is ends
        if not ends:
            os.kill(pid, signal.SIGKILL)


def has_ended(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False
