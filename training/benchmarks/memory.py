# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Resident memory of long work, over time: it may rise while libraries warm up, and is flat then.

    python training/benchmarks/memory.py translate --sentences 20000
    python training/benchmarks/memory.py translate --sentences 20000 --onnx
    python training/benchmarks/memory.py train --minutes 10 --bf16
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "model_cards" / "tatoeba-en-de-dims"
SENTENCES = ROOT / "training" / "tatoeba_en_de.tsv"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

# Seconds between two looks, and rows of the table.
EVERY, NUM_ROWS = 1.0, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("translate", "train"), help="what to watch")
    parser.add_argument("--sentences", type=int, default=20_000, help="lines of the input of `translate`")
    parser.add_argument("--onnx", action="store_true", help="translate with an ONNX export")
    parser.add_argument("--minutes", type=float, default=10, help="length of `train`")
    parser.add_argument("--bf16", action="store_true", help="train in bf16")
    parser.add_argument("--output", type=Path, help="JSON file of what was seen")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words = translation(args, Path(folder)) if args.work == "translate" else training(args, Path(folder))
        seen = watch(words, Path(folder), 60 * args.minutes if args.work == "train" else None)
    show(seen)
    if args.output:
        args.output.write_text(json.dumps({"command": sys.argv[1:], "seconds_and_megabytes": seen}) + "\n")


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
    """The phrasebook's teacher with validations and checkpoints, and no end."""
    return command(
        "train", "phrasebook_teacher", "--output_dir", folder / "run", "--max_steps", 10**6, "--lr_scheduler_type",
        "constant", "--lr_scheduler_kwargs", "{}", "--eval_steps", 100, "--save_steps", 100, "--max_train_examples",
        20000, "--max_valid_examples", 50, "--bf16" if args.bf16 else "--no_bf16", "--use_cpu",
    )  # fmt: skip


def watch(words: list[str], folder: Path, seconds: float | None) -> list[tuple[float, float]]:
    """Seconds since the start and megabytes of a process, until it ends or its time is over."""
    seen, start = [], time.monotonic()
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(words, env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT)
    while process.poll() is None:
        passed = time.monotonic() - start
        if seconds is not None and passed > seconds:
            process.send_signal(signal.SIGTERM)
            process.wait()
            break
        seen.append((round(passed, 1), resident(process.pid)))
        time.sleep(EVERY)
    if process.returncode not in (0, 128 + signal.SIGTERM, -signal.SIGTERM):
        sys.exit((folder / "log.txt").read_text()[-2000:])
    return seen


def resident(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def show(seen: list[tuple[float, float]]) -> None:
    print("| seconds | MB |\n|---:|---:|")
    for number in range(1, NUM_ROWS + 1):
        seconds, megabytes = seen[number * len(seen) // NUM_ROWS - 1]
        print(f"| {seconds:.0f} | {megabytes:.0f} |")
    half = [megabytes for _, megabytes in seen[len(seen) // 2 :]]
    early, late = half[: len(half) // 2], half[len(half) // 2 :]
    growth = sum(late) / len(late) - sum(early) / len(early)
    print(
        f"\nhighest {max(megabytes for _, megabytes in seen):.0f} MB; "
        f"last quarter against the one before: {growth:+.1f} MB"
    )


if __name__ == "__main__":
    main()
