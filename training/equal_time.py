# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Trains several recipes for the same processor time each, one after the other, and tables their validation scores:

    python training/equal_time.py tatoeba_en_de_ctc_teacher tatoeba_en_de_warm_ctc_teacher --minutes 60

How many updates fit is measured first, on two short runs. The schedule is a tenth of warm-up and three tenths of
decay. Words that are not known here are settings of all runs (`--data data/tatoeba-de-en`). The same command goes on
where it was interrupted.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dims_hf._commands import run_command
from dims_hf.recipes.runs import train_teacher
from dims_hf.reports import provenance, write_json, write_text
from dims_hf.reports.markup import markdown_rows


# Updates of the two short runs; what both have (reading, encoding, the last evaluation) cancels out.
_SHORT, _LONG = 5, 25


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="+", help="recipes of train_teacher.py")
    parser.add_argument("--minutes", type=float, required=True, help="processor time of each run's updates")
    parser.add_argument("--output", type=Path, default=Path("runs/equal_time"), help="folder of runs and table")
    args, settings = parser.parse_known_args(argv)
    names = [Path(recipe).stem for recipe in args.recipes]
    if len(set(names)) < len(names):
        raise ValueError(f"Recipes need different file names, got {', '.join(names)}: a run's folder has its name.")
    runs = []
    for recipe in args.recipes:
        runs.append(run_for(recipe, 60 * args.minutes, args.output, settings))
        # after every run: the others may take hours
        write_json({"runs": runs, "provenance": provenance()}, args.output / "equal_time.json", indent=2)
        write_text(table(runs), args.output / "equal_time.md")
    print(table(runs))


def run_for(recipe: str, seconds: float, folder: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Trains one recipe for so many seconds of processor time, and says how it ended; a finished run is read."""
    name = Path(recipe).stem
    task = {"recipe": name, "seconds": seconds, "settings": list(settings)}
    record = _read(folder / f"{name}.json") or {"task": task}
    if record["task"] != task:
        raise ValueError(f"{folder / name} was trained for {record['task']}. Choose another --output for {task}.")
    if "updates" not in record:
        record.update(_measure(recipe, seconds, folder, settings))
        write_json(record, folder / f"{name}.json", indent=2)
    if "metrics" not in record:
        was_begun = any((folder / name).glob("checkpoint-*"))
        taken, summary = train(recipe, record["updates"], folder / name, settings)
        record.update(
            # of a run that was interrupted, the time before is not known
            processor_seconds=None if was_begun else taken - record["seconds_of_reading"],
            metrics=summary["metrics"],
            training_loss=summary["training_loss"],
        )
        write_json(record, folder / f"{name}.json", indent=2)
    return record


def _measure(recipe: str, seconds: float, folder: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Updates that fit, seconds of processor time for each, and those of reading and the last evaluation."""
    times = {}
    for updates in (_SHORT, _LONG):
        scratch = folder / f"{Path(recipe).stem}-{updates}"
        shutil.rmtree(scratch, ignore_errors=True)
        times[updates], _ = train(recipe, updates, scratch, settings)
    per_update = (times[_LONG] - times[_SHORT]) / (_LONG - _SHORT)
    return {
        "updates": max(10, round(seconds / per_update)),
        "seconds_per_update": per_update,
        "seconds_of_reading": times[_SHORT] - _SHORT * per_update,
    }


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def train(recipe: str, updates: int, folder: Path, settings: Sequence[str]) -> tuple[float, dict[str, Any]]:
    """Processor time of a run of so many updates, all threads together, and its summary."""
    schedule = {
        "max_steps": updates,
        "warmup_steps": max(1, updates // 10),
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs": json.dumps({"num_decay_steps": max(1, 3 * updates // 10), "min_lr_ratio": 0.02}),
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": max(50, updates // 20),
        "save_total_limit": 1,
        "num_best_checkpoints": 0,
        "output_dir": folder,
    }
    words = [word for field, value in schedule.items() for word in (f"--{field}", str(value))]
    before = time.process_time()
    train_teacher([recipe, *settings, *words])
    taken = time.process_time() - before
    return taken, json.loads((folder / "training_summary.json").read_text(encoding="utf-8"))


def table(records: Sequence[dict[str, Any]]) -> str:
    """One row for each recipe."""
    scores = sorted(
        {name for record in records for name, value in record["metrics"].items() if _is_score(name, value)}
    )
    columns = ["recipe", "updates", "s per update", "processor minutes", *(name[len("final_") :] for name in scores)]
    rows = [
        [
            record["task"]["recipe"],
            str(record["updates"]),
            f"{record['seconds_per_update']:.2f}",
            "–" if record["processor_seconds"] is None else f"{record['processor_seconds'] / 60:.1f}",
            *(f"{record['metrics'][name]:.2f}" if name in record["metrics"] else "–" for name in scores),
        ]
        for record in records
    ]
    return markdown_rows(columns, rows)


def _is_score(name: str, value: object) -> bool:
    timing = ("runtime", "per_second", "epoch")
    return name.startswith("final_") and isinstance(value, (int, float)) and not any(word in name for word in timing)


if __name__ == "__main__":
    sys.exit(run_command(main))
