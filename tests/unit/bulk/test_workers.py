# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Processes: which shards they fill, what happens to one that dies or fails, and where they run."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest

from dims_hf.bulk.shards import Shards
from dims_hf.bulk.workers import Place, Pool, places
from tests.fixtures.bulk import open_shouting


def pool_of(tmp_path: Path, num_rows: int, processes: int, told: list[int] | None = None) -> Pool:
    shards = Shards(tmp_path / "out", "shard", 3, num_rows)
    on_rows = (lambda count: None) if told is None else told.append
    return Pool(shards, partial(open_shouting, tmp_path), [Place(threads=1)] * processes, on_rows)


def run(pool: Pool, texts: list[str]) -> list[int]:
    return [record.shard for record in pool.run(pool.shards.jobs(texts, range(len(pool.shards))))]


def test_one_process_works_in_order_and_tells_every_row(tmp_path: Path):
    texts, told = [f"row {row}" for row in range(8)], []
    pool = pool_of(tmp_path, 8, 1, told)
    assert run(pool, texts) == [0, 1, 2]
    assert [row["translation"] for row in pool.shards.read()] == [text.upper() for text in texts]
    assert sum(told) == 8


def test_process_that_dies_is_replaced_and_nothing_is_lost_or_done_twice(tmp_path: Path):
    texts, told = [f"row {row}" for row in range(12)], []
    texts[4], texts[11] = "kill once 1", "kill once 2"
    pool = pool_of(tmp_path, 12, 2, told)
    assert sorted(run(pool, texts)) == [0, 1, 2, 3]
    assert pool.replaced == 2 and (tmp_path / "kill-once-1").exists()
    assert [row["translation"] for row in pool.shards.read()] == [text.upper() for text in texts]
    assert sum(told) == 12


def test_shard_that_ends_one_process_after_the_other_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"Shard 1 \(from shard row 3\) ended 3 processes, the last with signal 9"):
        run(pool_of(tmp_path, 6, 2), ["a", "b", "c", "d", "kill", "f"])


def test_refusal_of_another_process_is_the_same_line_and_a_fault_comes_with_its_traceback(tmp_path: Path):
    for processes in (1, 2):
        with pytest.raises(ValueError, match="^shard row 4 is refused.$"):
            run(pool_of(tmp_path, 6, processes), ["a", "b", "c", "d", "refuse", "f"])
    with pytest.raises(RuntimeError, match=r"KeyError: 'a fault of ours'[\s\S]*in translate"):
        run(pool_of(tmp_path, 6, 2), ["a", "b", "c", "d", "break", "f"])


def test_processes_end_with_the_one_that_started_them(tmp_path: Path):
    """Killed, it can end nobody: they have to see it themselves."""
    import os
    import subprocess
    import sys
    import time

    script = (
        "import os, signal, sys\nfrom functools import partial\nfrom pathlib import Path\n"
        "from dims_hf.bulk.shards import Shards\nfrom dims_hf.bulk.workers import Place, Pool\n"
        "from tests.fixtures.bulk import open_shouting\n"
        "if __name__ == '__main__':\n"
        "    folder = Path(sys.argv[1])\n"
        "    shards = Shards(folder, 'shard', 1, 8)\n"
        "    pool = Pool(shards, partial(open_shouting, folder), [Place(threads=1)] * 2)\n"
        "    for _ in pool.run(shards.jobs([str(row) for row in range(8)], range(8))):\n"
        "        import multiprocessing\n"
        "        print(*[each.pid for each in multiprocessing.active_children()], flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path)], env=environment, capture_output=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 60
    while any(_is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(_is_running(pid) for pid in pids)


def _is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("processes", "device", "threads", "is_exported", "gpus", "expected"),
    [
        (None, None, None, False, 0, [("cpu", 1)] * 3),
        (2, None, 4, True, 8, [(None, 4)] * 2),
        (None, None, None, False, 2, [("cuda:0", 1), ("cuda:1", 1)]),
        (3, "cuda", None, False, 2, [("cuda:0", 1), ("cuda:1", 1), ("cuda:0", 1)]),
        (None, "cuda:1", None, False, 2, [("cuda:1", 1)]),
        (None, "cpu", None, False, 2, [("cpu", 1)] * 3),
    ],
)
def test_places_are_gpus_or_cores(
    monkeypatch: pytest.MonkeyPatch,
    processes: int | None,
    device: str | None,
    threads: int | None,
    is_exported: bool,
    gpus: int,
    expected: list,
):
    monkeypatch.setattr("dims_hf.bulk.workers._num_gpus", lambda: gpus)
    monkeypatch.setattr("dims_hf.bulk.workers.usable_cores", lambda: 3)
    found = places(processes, device, threads, is_exported=is_exported)
    assert [(place.device, place.threads) for place in found] == expected


@pytest.mark.parametrize(("processes", "threads", "name"), [(0, None, "processes"), (1, 0, "threads")])
def test_no_process_or_thread_is_refused(processes: int, threads: int | None, name: str):
    with pytest.raises(ValueError, match=f"{name} must be >= 1, got 0"):
        places(processes, "cpu", threads, is_exported=True)


@pytest.mark.parametrize("name", ["processes", "threads"])
def test_more_processes_or_threads_than_any_machine_has_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be <= 1024, got 1000000000"):
        places(**{"processes": None, "threads": None, name: 10**9}, device="cpu", is_exported=False)


@pytest.mark.parametrize(
    "words",
    [
        ["serve", "--model", "en-de=x", "--workers", "1000000000"],
        ["serve", "--model", "en-de=x", "--port", "99999999"],
        ["app", "--model", "x", "--port", "-1"],
    ],
    ids=" ".join,
)
def test_impossible_numbers_of_servers_are_refused(words, capsys):
    from dims_hf.cli.main import main

    assert main(words) == 2
    assert "must be between" in capsys.readouterr().err
