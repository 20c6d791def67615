# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Launched processes end with whoever launched them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil
import pytest

from dims_hf._commands import Terminated, ending_gently
from dims_hf.recipes import launching
from dims_hf.recipes.launching import Processes, end_launched, launch


PROGRAM = """
import os, sys, time
folder = sys.argv[1]
with open(f"{folder}/{os.environ.get('RANK', '0')}", "w") as file:
    file.write(str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program that writes its process id into `pids/RANK` and sleeps; launched without torch's launcher."""
    (tmp_path / "pids").mkdir()
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    monkeypatch.setattr(launching, "_launcher", lambda *_: [])
    return [path, tmp_path / "pids"]


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:  # no Linux
        return False


def read_pids(folder, count):
    assert wait_for(lambda: len([path for path in folder.iterdir() if path.read_text()]) == count, 120)
    return [int(path.read_text()) for path in folder.iterdir()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_the_launching_process_alone_ends_the_launched(program, monkeypatch, number, request):
    monkeypatch.setattr(launching, "_TIME_OF_ITS_OWN", 0.2)
    # what a shell starts in the background ignores an interrupt
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupt():
        read_pids(program[1], 1)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Terminated if number == signal.SIGTERM else KeyboardInterrupt), ending_gently():
        launch(program, Processes(1))
    assert is_gone(*read_pids(program[1], 1))
    assert not launching._running


def test_what_other_threads_launched_can_be_ended(program):
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(launch(program, Processes(1))))
    thread.start()
    (pid,) = read_pids(program[1], 1)
    end_launched()
    thread.join(30)
    assert statuses == [-signal.SIGTERM] and is_gone(pid)


def test_what_does_not_end_when_asked_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(launching, "_TIME_TO_END", 0.3)
    process = subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True);"
         "time.sleep(600)"], stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"1\n"
    launching._end(process)
    assert process.returncode == -signal.SIGKILL


def test_output_goes_to_the_log_and_the_status_is_returned(tmp_path, monkeypatch):
    monkeypatch.setattr(launching, "_launcher", lambda *_: [])
    for _ in range(2):
        words = ["-c", "import sys; print('out'); sys.stdout.flush(); sys.stderr.write('err\\n'); sys.exit(3)"]
        assert launch(words, Processes(1), log=tmp_path / "log.txt") == 3
    assert (tmp_path / "log.txt").read_text() == "out\nerr\n" * 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_of_torchs_launcher_end_with_the_process_above_it(tmp_path, repository, number):
    """SIGTERM is passed on. After SIGKILL of torch's launcher, workers notice by themselves."""
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent has ended")
    (tmp_path / "pids").mkdir()
    worker, parent = tmp_path / "worker.py", tmp_path / "parent.py"
    preamble = f"import sys; sys.path.insert(0, {str(repository)!r})\n"
    worker.write_text(f"{preamble}from dims_hf._commands import follow_launcher\nfollow_launcher()\n{PROGRAM}")
    parent.write_text(
        f"{preamble}from dims_hf._commands import run_command\n"
        "from dims_hf.recipes.launching import Processes, launch\n"
        f"sys.exit(run_command(lambda: launch([{str(worker)!r}, {str(tmp_path / 'pids')!r}], Processes(2))))\n"
    )
    process = subprocess.Popen([sys.executable, str(parent)], stderr=subprocess.DEVNULL)
    pids = read_pids(tmp_path / "pids", 2)
    if number == signal.SIGTERM:
        process.send_signal(number)
        assert process.wait(90) == 143
    else:
        with open(f"/proc/{pids[0]}/stat", encoding="utf-8") as file:
            launcher = int(file.read().rpartition(")")[2].split()[1])
        os.kill(launcher, number)
        process.wait(90)
    assert wait_for(lambda: all(map(is_gone, pids)), 60)


TRAINING = (
    "phrasebook_teacher --use_cpu --no_bf16 --d_model 16 --attention_heads 2 --ffn_dim 16 --vocab_size 200 "
    "--max_train_examples 200 --max_valid_examples 8"
).split()


@pytest.mark.slow
@pytest.mark.parametrize("program", ["demo", "accelerate launch"])
def test_sigterm_to_a_command_that_trains_in_others_leaves_none_behind(tmp_path, repository, program):
    """accelerate's launcher of a single process passes nothing on: the worker notices by itself."""
    if program != "demo" and sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent has ended")
    scripts, run = repository / "training", tmp_path / "teacher"
    words = {
        "demo": [scripts / "demo.py", "--output_dir", tmp_path],
        "accelerate launch": [
            "-m", "accelerate.commands.launch", "--cpu", scripts / "train_teacher.py", *TRAINING, "--output_dir", run
        ],
    }[program]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(repository), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (tmp_path / "log.txt").open("w") as log:
        command = [sys.executable, *map(str, words)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    launched: list[psutil.Process] = []
    try:
        assert wait_for(run.is_dir, 240), (tmp_path / "log.txt").read_text()
        launched = psutil.Process(process.pid).children(recursive=True)
        assert any("train_teacher.py" in " ".join(each.cmdline()) for each in launched)
        process.terminate()
        assert process.wait(120) in (143, -signal.SIGTERM)
        assert wait_for(lambda: all(is_gone(each.pid) for each in launched), 120)
    finally:
        for each in (process, *launched):
            with suppress(psutil.NoSuchProcess):
                each.kill()
