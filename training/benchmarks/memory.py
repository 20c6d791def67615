# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Resident memory of long work: it may rise while libraries warm up, and is flat then.

A translation is watched over time, a training by its updates: how far it comes in a minute depends on the machine.

    python training/benchmarks/memory.py translate --sentences 20000
    python training/benchmarks/memory.py translate --sentences 20000 --onnx
    python training/benchmarks/memory.py train --updates 600 --bf16
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, linear_regression

from dims_hf.reports.provenance import git_commit, hardware


ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "model_cards" / "tatoeba-en-de-dims"
SENTENCES = ROOT / "training" / "tatoeba_en_de.tsv"
PROGRESS = re.compile(r"^update (\d+)/", re.MULTILINE)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

# Seconds between two looks; updates between two lines of a training's log; rows of the table.
EVERY, UPDATES_BETWEEN, NUM_ROWS = 0.2, 5, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("translate", "train"), help="what to watch")
    parser.add_argument("--sentences", type=int, default=20_000, help="lines of the input of `translate`")
    parser.add_argument("--onnx", action="store_true", help="translate with an ONNX export")
    parser.add_argument("--updates", type=int, default=600, help="length of `train`")
    parser.add_argument("--bf16", action="store_true", help="train in bf16")
    parser.add_argument("--output", type=Path, help="JSON file of what was seen")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_words, position, unit = {
            "translate": (translation, seconds_since(time.monotonic()), "seconds"),
            "train": (training, last_update, "updates"),
        }[args.work]
        seen = watch(make_words(args, Path(folder)), Path(folder, "log.txt"), position)
    show(seen, unit)
    if args.output:
        record = {"command": sys.argv[1:], "git_commit": git_commit(), "hardware": hardware()}
        args.output.write_text(json.dumps({**record, f"{unit}_and_megabytes": seen}) + "\n")


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "dims_hf.cli.main", *map(str, words)]


def translation(args: argparse.Namespace, folder: Path) -> list[str]:
    sources = [line.split("\t")[0] for line in SENTENCES.read_text(encoding="utf-8").splitlines()]
    lines = [sources[number % len(sources)] for number in range(args.sentences)]
    (folder / "in.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    model = MODEL
    if args.onnx:
        model = folder / "onnx"
        subprocess.run(command("export", MODEL, "--output-dir", model), env=ENVIRONMENT, check=True)
    return command(
        "translate", "--model", model, "--input", folder / "in.txt", "--output", folder / "out.txt", "--threads", 1
    )


def training(args: argparse.Namespace, folder: Path) -> list[str]:
    """The phrasebook's teacher in small batches of ever other shapes, with validations and checkpoints."""
    return command(
        "train", "phrasebook_teacher", "--output_dir", folder / "run", "--max_steps", args.updates,
        "--lr_scheduler_type", "constant", "--lr_scheduler_kwargs", "{}", "--warmup_steps", 0, "--learning_rate", 1e-3,
        "--eval_steps", 100, "--save_steps", 100, "--logging_steps", UPDATES_BETWEEN, "--max_train_examples", 20000,
        "--max_valid_examples", 50, "--max_tokens_per_batch", 512, "--bf16" if args.bf16 else "--no_bf16", "--use_cpu",
    )  # fmt: skip


def seconds_since(start: float) -> Callable[[str], float]:
    return lambda _: round(time.monotonic() - start, 1)


def last_update(log: str) -> float:
    """The last update that a log tells of; 0 before the first."""
    return max(map(int, PROGRESS.findall(log)), default=0)


def watch(words: list[str], log: Path, position: Callable[[str], float]) -> list[tuple[float, float]]:
    """Megabytes of a process at each new position (seconds, updates) until it ends."""
    seen: list[tuple[float, float]] = []
    with log.open("w") as stream:
        process = subprocess.Popen(words, env=ENVIRONMENT, stdout=stream, stderr=subprocess.STDOUT)
    while process.poll() is None:
        place, megabytes = position(log.read_text()), resident(process.pid)
        if megabytes and place > (seen[-1][0] if seen else 0):
            seen.append((place, megabytes))
        time.sleep(EVERY)
    if process.returncode:
        sys.exit(log.read_text()[-2000:])
    return seen


def resident(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def show(seen: list[tuple[float, float]], unit: str) -> None:
    print(f"| {unit} | MB |\n|---:|---:|")
    for number in range(1, NUM_ROWS + 1):
        place, megabytes = seen[number * len(seen) // NUM_ROWS - 1]
        print(f"| {place:.0f} | {megabytes:.0f} |")
    half = seen[len(seen) // 2 :]
    early, late = half[: len(half) // 2], half[len(half) // 2 :]
    growth = fmean(megabytes for _, megabytes in late) - fmean(megabytes for _, megabytes in early)
    slope = linear_regression(*zip(*half)).slope
    print(
        f"\nhighest {max(megabytes for _, megabytes in seen):.0f} MB; last quarter against the one before: "
        f"{growth:+.1f} MB; slope of the second half {100 * slope:+.2f} MB per 100 {unit}"
    )


if __name__ == "__main__":
    main()
