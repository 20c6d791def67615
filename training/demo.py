# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Train a small teacher, distil it, compare the two, write figure and card, translate: `make demo`."""

import argparse
import json
import sys
from pathlib import Path

from transformers import pipeline

import dims_hf  # noqa: F401  (registers the models and the translation pipeline)
from dims_hf.data import load_corpus
from dims_hf.evaluation import create_model_card, run_evaluation, save_model_card, write_table
from dims_hf.trainers.runs import distill, read_training_summary, train_teacher


RECIPES = Path(__file__).parent / "recipes"
NUM_SAMPLES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", type=Path, default=Path("demo_output"), help="folder for everything written")
    parser.add_argument("--seed", type=int, default=1, help="seed of both trainings")
    folder, seed = vars(parser.parse_args()).values()

    common = ["--seed", str(seed)]
    teacher = train_teacher([f"{RECIPES}/phrasebook_teacher.yaml", "--output_dir", f"{folder}/teacher", *common])
    student = distill(
        [f"{RECIPES}/phrasebook_dims.yaml", "--teacher", str(teacher), "--output_dir", f"{folder}/student", *common]
    )
    results = run_evaluation(
        {"teacher": teacher, "student": student}, "phrasebook", "en", "de", iterations=(1, 2, 4, 8), output_dir=folder
    )

    translator = pipeline("translation", model=str(student))
    sources = load_corpus("phrasebook", "en", "de", splits=("test",))["test"]["source"][:NUM_SAMPLES]
    translations = [output["translation_text"] for output in translator(list(sources))]
    card = create_model_card(
        results,
        model_id="phrasebook-en-de-dims",
        training=read_training_summary(student),
        sample=(sources[0], translations[0]),
        figure="quality_vs_iterations.png",
    )
    save_model_card(card, folder / "model_card.md")

    write_table(results)
    sys.stdout.write("\n".join(f"{pair[0]}\n  -> {pair[1]}" for pair in zip(sources, translations, strict=True)))
    written = {"table": "results.md", "numbers": "results.json", "figure": "quality_vs_iterations.png"}
    written = {name: str(folder / file) for name, file in {**written, "card": "model_card.md"}.items()}
    sys.stdout.write(f"\n\nWritten: {json.dumps(written, indent=2)}\n")


if __name__ == "__main__":
    main()
