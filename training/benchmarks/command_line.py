# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What `dims-hf translate` takes on one core, start-up included.

    python training/benchmarks/command_line.py --models EXPORT… --input sentences.txt

Each run is a new process on one thread. The models take turns; the table has medians with the smallest and largest.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dims_hf.reports import write_json
from dims_hf.reports.provenance import provenance


def main() -> None:
    args = parse_arguments()
    num_lines = len(args.input.read_text(encoding="utf-8").splitlines())
    seconds: dict[str, list[float]] = {str(model): [] for model in args.models}
    for _ in range(args.rounds):
        for model, taken in seconds.items():
            taken.append(translate(model, args.input))
    print(f"{num_lines} lines, {args.rounds} rounds")
    for model, taken in seconds.items():
        print(f"{statistics.median(taken):7.2f} s [{min(taken):.2f}, {max(taken):.2f}]  {model}")
    if args.output is not None:
        named = {Path(model).name: taken for model, taken in seconds.items()}
        write_json({"lines": num_lines, "seconds": named, "provenance": provenance()}, args.output, indent=1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", type=Path, required=True, help="exports or checkpoints")
    parser.add_argument("--input", type=Path, required=True, help="text, one sentence per line")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each model")
    parser.add_argument("--output", type=Path, help="JSON file for the seconds of every run")
    return parser.parse_args()


def translate(model: str, source: Path) -> float:
    """Seconds that one run takes by the clock."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dims_hf.cli.main", "translate", "--model", model, "--threads", "1"]
        start = time.perf_counter()
        subprocess.run(
            [*command, "--input", str(source), "--output", str(Path(folder) / "translations.txt")],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.DEVNULL,
        )
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
