# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Bulk translation under kills, and what a second process brings: `python training/benchmarks/bulk.py --model MODEL`.

Translates the same sentences undisturbed, with a worker killed, and with the whole command killed and run again, and
compares the folders byte for byte. Then one process and two take turns; the ratio is that of the medians of their
rates. The last lines say what the rates mean for ten million sentences.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dims_hf.phrasebook import phrasebook_corpus


MANY = 10_000_000


def main() -> None:
    args = parse_arguments()
    folder = Path(tempfile.mkdtemp(prefix="bulk_"))
    try:
        source = folder / "sentences.txt"
        write_sentences(source, args)
        results = measure(source, folder, args)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(results, indent=1))
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if not all(results["identical"].values()):
        sys.exit("The folders differ.")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="checkpoint or export")
    parser.add_argument("--input", type=Path, help="text, one sentence per line; default: the phrasebook's English")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--shard-size", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=7, help="runs of one process and of two")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which something is killed")
    parser.add_argument("--json", type=Path, help="where the results go, too")
    return parser.parse_args()


def write_sentences(path: Path, args: argparse.Namespace) -> None:
    if args.input is None:
        lines = [source for source, _ in phrasebook_corpus(train=args.rows, valid=1, test=1)["train"]]
    else:
        with args.input.open(encoding="utf-8") as file:
            lines = [line.rstrip("\n") for line, _ in zip(file, range(args.rows))]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def measure(source: Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    rates: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(args.repeats):
        for processes in rates:
            out = folder / f"undisturbed-{processes}"
            shutil.rmtree(out, ignore_errors=True)
            start(source, out, processes, args).wait()
            rates[processes].append(report_of(out)["rows_per_second"])
            print(f"{repeat + 1}/{args.repeats}: {processes} processes, {rates[processes][-1]:.0f} rows/s", flush=True)
    generator = random.Random(args.seed)
    replaced = kill_a_worker(source, folder / "worker", args, generator)
    found = kill_the_command(source, folder / "command", args, generator)
    wanted = contents(folder / "undisturbed-1")
    medians = {processes: statistics.median(values) for processes, values in rates.items()}
    return {
        "rows": report_of(folder / "undisturbed-1")["rows"],
        "identical": {name: contents(folder / name) == wanted for name in ("undisturbed-2", "worker", "command")},
        "processes_replaced": replaced,
        "shards_found_after_the_kill": found,
        "rows_per_second": medians,
        "two_against_one": medians[2] / medians[1],
        "hours_for_ten_million": {processes: MANY / rate / 3600 for processes, rate in medians.items()},
        "provenance": report_of(folder / "undisturbed-1")["provenance"],
    }


def kill_a_worker(source: Path, out: Path, args: argparse.Namespace, generator: random.Random) -> int:
    """One of two workers dies after a random number of shards; the command ends by itself. Workers replaced."""
    process = start(source, out, 2, args)
    wait_for_shards(process, out, generator.randrange(args.rows // args.shard_size // 2 + 1))
    victims = workers_of(process.pid)
    if victims:
        os.kill(generator.choice(victims), signal.SIGKILL)
    process.wait()
    return report_of(out)["processes_replaced"]


def kill_the_command(source: Path, out: Path, args: argparse.Namespace, generator: random.Random) -> int:
    """The command dies after a random number of shards, and is run again. Shards that it found."""
    process = start(source, out, 2, args)
    wait_for_shards(process, out, generator.randrange(1, args.rows // args.shard_size))
    process.kill()
    process.wait()
    start(source, out, 2, args).wait()
    return report_of(out)["shards_found"]


def start(source: Path, out: Path, processes: int, args: argparse.Namespace) -> subprocess.Popen:
    words = {
        "model": args.model, "input": source, "output-dir": out, "shard-size": args.shard_size,
        "processes": processes, "device": "cpu",
    }  # fmt: skip
    command = [sys.executable, "-m", "dims_hf.cli.main", "translate-corpus", "--quiet"]
    return subprocess.Popen(
        command + [word for name, value in words.items() for word in (f"--{name}", str(value))],
        stdout=subprocess.DEVNULL,
    )


def wait_for_shards(process: subprocess.Popen, out: Path, count: int) -> None:
    while process.poll() is None and len([*out.glob("shard-*")]) < count:
        time.sleep(0.001)


def workers_of(pid: int) -> list[int]:
    """Processes that a process has started to translate (Linux)."""
    found = []
    for task in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((task / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and "spawn_main" in (task / "cmdline").read_text():
                found.append(int(task.name))
        except OSError:
            continue  # it has ended meanwhile
    return found


def report_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def contents(out: Path) -> dict[str, bytes]:
    """Every file but the report, which says when and how the work was done."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "report.json")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


if __name__ == "__main__":
    main()
