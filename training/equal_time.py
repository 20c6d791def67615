# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Trains several systems for the same processor time each, one after the other, and tables their validation scores:

    python training/equal_time.py training/studies/en_de_candidates.yaml --output runs/equal_time

A study says which systems there are: of each the recipes of its stages, which begin with the model of the stage before
and share the time. How many updates fit is measured before each stage, on two short runs. The schedule of a stage is
a tenth of warm-up and three tenths of decay. Words that are not known here are settings of all stages
(`--data data/tatoeba-de-en`). The same command goes on where it was interrupted.
"""

import argparse
import json
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dims_hf._commands import run_command
from dims_hf.data.corpora import load_corpus
from dims_hf.evaluation import evaluate_model
from dims_hf.recipes.parsing import find_recipe
from dims_hf.recipes.runs import distill, train_teacher
from dims_hf.reports import provenance, read_yaml, write_json, write_text
from dims_hf.reports.markup import markdown_rows
from dims_hf.translation.loading import load_checkpoint, load_tokenizer


# Updates of the two short runs; what both have (reading, encoding, the last evaluation) cancels out. As the updates
# are, the sentences are a sample.
_SHORT, _LONG, _MEASURED_PAIRS = 5, 25, 20_000

_FIELDS = {"minutes", "last_stage_share", "settings", "first_stage", "evaluation", "systems"}
_SCORES = {
    "bleu": "BLEU",
    "brevity_penalty": "brevity penalty",
    "chrf": "chrF",
    "bleu_before_collapse": "BLEU uncollapsed",
}


@dataclass(frozen=True)
class Stage:
    """One training: a recipe and what differs from it."""

    recipe: str
    settings: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class System:
    """Stages, and what of the settings differs where the last one's model is scored."""

    stages: Sequence[Stage]
    evaluation: Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="YAML of systems")
    parser.add_argument("--minutes", type=float, help="processor time of each system's updates, if not the study's")
    parser.add_argument("--output", type=Path, default=Path("runs/equal_time"), help="folder of runs and table")
    parser.add_argument("--systems", nargs="+", help="some of them")
    args, words = parser.parse_known_args(argv)
    systems = read_study(args.study, args.minutes, _settings_of(words))
    unknown = [name for name in args.systems or () if name not in systems]
    if unknown:
        raise ValueError(f"{args.study} has no system {unknown[0]!r}. It has {', '.join(systems)}.")
    chosen = args.systems or list(systems)
    records = []
    for name in chosen:
        records.append(run_system(name, systems[name], args.output))
        write_json({"systems": records, "provenance": provenance()}, args.output / "equal_time.json", indent=2)
        write_text(table(records), args.output / "equal_time.md")
    print(table(records))


def read_study(path: Path, minutes: float | None, overrides: Mapping[str, Any]) -> dict[str, System]:
    """
    The systems by name.

    Raises:
        ValueError: an unknown or missing name, or no time.
    """
    study = read_yaml(path)
    needed = {"systems", "settings"} | ({"minutes"} if minutes is None else set())
    if not isinstance(study, dict) or not needed <= set(study) <= _FIELDS:
        raise ValueError(f"{path} needs {', '.join(sorted(needed))}, and may have {', '.join(sorted(_FIELDS))}.")
    seconds, share = (
        60 * float(study["minutes"] if minutes is None else minutes),
        float(study.get("last_stage_share", 0.25)),
    )
    if not (seconds > 0 and 0 < share < 1):
        raise ValueError(f"{path}: minutes must be above 0 and last_stage_share between 0 and 1.")
    shared = {**study["settings"], **overrides}
    found: dict[str, System] = {}
    for name, recipes in study["systems"].items():
        shares = [1.0] if len(recipes) == 1 else [(1 - share) / (len(recipes) - 1)] * (len(recipes) - 1) + [share]
        stages: list[Stage] = []
        for recipe, part in zip(recipes, shares, strict=True):
            own = {"recipe": recipe} if isinstance(recipe, str) else dict(recipe)
            begin = {} if stages else study.get("first_stage", {})
            place = own.pop("recipe")
            find_recipe(place)  # an unknown one is an error before anything is trained
            stages.append(Stage(place, {**shared, **begin, **own}, part * seconds))
        found[name] = System(stages, {**shared, **study.get("evaluation", {})})
    return found


def run_system(name: str, system: System, folder: Path) -> dict[str, Any]:
    """Trains the stages of one system and scores the last; what is finished is read."""
    stages = system.stages
    place = folder / re.sub(r"\W+", "-", name).strip("-").lower()
    task = {"system": name, "stages": [{**vars(stage), "settings": dict(stage.settings)} for stage in stages]}
    record = _read(place.with_suffix(".json")) or {"task": task, "stages": []}
    if record["task"] != task:
        raise ValueError(f"{place} was trained for {record['task']}. Choose another --output for {task}.")
    before = None
    for index, stage in enumerate(stages):
        out = place / f"{index + 1}-{Path(stage.recipe).stem}"
        if len(record["stages"]) == index:
            record["stages"].append(_measure(stage, before, out))
            write_json(record, place.with_suffix(".json"), indent=2)
        done = record["stages"][index]
        if "processor_seconds" not in done:
            was_begun = any(out.glob("checkpoint-*"))
            taken, summary = train(stage, before, done["updates"], out)
            # of a run that was interrupted, the time before is not known
            done["processor_seconds"] = None if was_begun else taken - done["seconds_of_reading"]
            done["training_loss"] = summary["training_loss"]
            write_json(record, place.with_suffix(".json"), indent=2)
        before = out
    if "scores" not in record:
        record["scores"] = evaluate(before, system.evaluation)
        write_json(record, place.with_suffix(".json"), indent=2)
    return record


def evaluate(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of one decoder pass on the validation set."""
    limit = settings.get("max_valid_examples")
    corpus = load_corpus(
        settings["data"],
        settings["source_lang"],
        settings["target_lang"],
        splits=["valid"],
        max_examples={} if limit is None else {"valid": int(limit)},
    )["valid"]
    model, tokenizer = load_checkpoint(folder), load_tokenizer(folder)
    result = evaluate_model(model, tokenizer, list(corpus["source"]), list(corpus["target"]), iterations=(1,))
    record = result["records"][0]
    return {
        "num_parameters": result["num_parameters"],
        "num_sentences": record["num_sentences"],
        **{name: record[name] for name in (*_SCORES, "bleu_signature", "chrf_signature") if name in record},
    }


def _measure(stage: Stage, before: Path | None, out: Path) -> dict[str, Any]:
    """Updates that fit, seconds of processor time for each, and those of reading and the last evaluation."""
    sample = Stage(stage.recipe, {"max_train_examples": _MEASURED_PAIRS, **stage.settings}, stage.seconds)
    times = {}
    for updates in (_SHORT, _LONG):
        scratch = out.with_name(f"{out.name}-{updates}")
        shutil.rmtree(scratch, ignore_errors=True)
        times[updates], _ = train(sample, before, updates, scratch)
        shutil.rmtree(scratch)
    per_update = (times[_LONG] - times[_SHORT]) / (_LONG - _SHORT)
    return {
        "recipe": stage.recipe,
        "updates": max(10, round(stage.seconds / per_update)),
        "seconds_per_update": per_update,
        "seconds_of_reading": times[_SHORT] - _SHORT * per_update,
    }


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def train(stage: Stage, before: Path | None, updates: int, folder: Path) -> tuple[float, dict[str, Any]]:
    """Processor time of a run of so many updates, all threads together, and its summary."""
    distils = "teacher" in read_yaml(find_recipe(stage.recipe))
    begin = {} if before is None else {"teacher" if distils else "init": str(before)}
    schedule = {
        "max_steps": updates,
        "warmup_steps": max(1, updates // 10),
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs": {"num_decay_steps": max(1, 3 * updates // 10), "min_lr_ratio": 0.02},
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": max(50, updates // 20),
        "save_total_limit": 1,
        "num_best_checkpoints": 0,
        "output_dir": str(folder),
    }
    # models are scored by `evaluate`; what a run translates at its end is no part of the time
    settings = {**stage.settings, **begin, **schedule, "max_valid_examples": 10}
    words = [word for field, value in settings.items() for word in (f"--{field}", _word(value))]
    started = time.process_time()
    (distill if distils else train_teacher)([stage.recipe, *words])
    taken = time.process_time() - started
    return taken, json.loads((folder / "training_summary.json").read_text(encoding="utf-8"))


def _word(value: Any) -> str:
    if value is None:
        return "null"
    return value if isinstance(value, str) else json.dumps(value)


def _settings_of(words: Sequence[str]) -> dict[str, str]:
    """Field to value of `--field value …`."""
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        raise ValueError(f"Settings are pairs of --name and a value, got {' '.join(words)}.")
    return {name[2:]: value for name, value in zip(words[::2], words[1::2], strict=True)}


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """One row for each system."""
    columns = ["system", "updates", "processor minutes", "million parameters", *_SCORES.values()]
    rows = []
    for record in records:
        stages, scores = record["stages"], record["scores"]
        times = [stage["processor_seconds"] for stage in stages]
        rows.append(
            [
                record["task"]["system"],
                " + ".join(f"{stage['updates']:,}" for stage in stages),
                "–" if None in times else f"{sum(times) / 60:.1f}",
                f"{scores['num_parameters'] / 1e6:.1f}",
                *(f"{scores[name]:.{3 if name == 'brevity_penalty' else 2}f}" for name in _SCORES),
            ]
        )
    return markdown_rows(columns, rows)


if __name__ == "__main__":
    sys.exit(run_command(main))
