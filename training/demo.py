# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Train a small teacher, distil it, compare the two, write figure and card, translate: `make demo`."""

import argparse
import sys
from pathlib import Path

from transformers import pipeline

import dims_hf  # noqa: F401  (registers the models and the translation pipeline)
from dims_hf._commands import run_command, saying_how_to_go_on
from dims_hf.data import load_corpus
from dims_hf.recipes import LIBRARY
from dims_hf.recipes.launching import cpu_processes, launch
from dims_hf.recipes.runs import read_training_summary
from dims_hf.reports import create_model_card, run_evaluation, save_model_card, write_table


HERE = Path(__file__).parent
TOKENS_PER_UPDATE = 2048
NUM_SAMPLES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--output_dir", type=Path, default=Path("demo_output"), help="folder for everything written")
    parser.add_argument("--seed", type=int, default=1, help="seed of both trainings")
    args = parser.parse_args()
    with saying_how_to_go_on(lambda: "The same command goes on with the stage it was in."):
        demonstrate(args.output_dir, args.seed)


def demonstrate(folder: Path, seed: int) -> None:
    teacher, student = folder / "teacher", folder / "student"

    say("1/4 training a teacher on the phrasebook (about 5 minutes on 2 CPU cores)")
    train("train_teacher.py", "phrasebook_teacher.yaml", output_dir=teacher, seed=seed)
    say("2/4 distilling it into a single-step student (about 3 minutes)")
    train("train_dims.py", "phrasebook_dims.yaml", teacher=teacher, output_dir=student, seed=seed)
    say("3/4 translating the test set with both")
    results = run_evaluation(
        {"teacher": teacher, "student": student}, "phrasebook", "en", "de", iterations=(1, 2, 4, 8), output_dir=folder
    )
    say("4/4 translating with the pipeline")
    translator = pipeline("translation", model=str(student))
    sources = list(load_corpus("phrasebook", "en", "de", splits=("test",))["test"]["source"][:NUM_SAMPLES])
    translations = [output["translation_text"] for output in translator(sources)]
    card = create_model_card(
        results,
        model_id="phrasebook-en-de-dims",
        usage_path=str(student),
        training=read_training_summary(student),
        sample=(sources[0], translations[0]),
        figure="quality_vs_iterations.png",
    )
    save_model_card(card, folder / "model_card.md")

    write_table(results)
    for source, translation in zip(sources, translations, strict=True):
        say(f"{source}\n    {translation}")
    say(f"Written to {folder}: results.json, results.md, quality_vs_iterations.png, model_card.md")


def train(script: str, recipe: str, **overrides: object) -> None:
    """Runs a training script on the CPU, in as many processes of one thread as there are cores, but two at most."""
    processes = cpu_processes()
    overrides["max_tokens_per_batch"] = TOKENS_PER_UPDATE // processes.count
    words = [word for name, value in overrides.items() for word in (f"--{name}", str(value))]
    if launch([HERE / script, LIBRARY / recipe, *words, "--use_cpu"], processes):
        raise ValueError(f"{script} failed; its message is above.")


def say(text: str) -> None:
    """A line of progress on standard output."""
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run_command(main))
