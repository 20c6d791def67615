# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Write a Hub-ready folder for a trained model, and upload it: `python training/publish.py MODEL OUT_DIR …`."""

import argparse
import json
import logging
import sys
from pathlib import Path

import dims_hf  # noqa: F401  (registers the models)
from dims_hf.export import write_hub_folder, write_leaderboard_folder
from dims_hf.recipes.runs import read_training_summary
from dims_hf.reports import load_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("model", help="output folder of a training run")
    parser.add_argument("output_dir", help="folder to write")
    measured = parser.add_mutually_exclusive_group(required=True)
    measured.add_argument("--results", help="results.json of an evaluation of this model")
    measured.add_argument("--leaderboard", help="leaderboard.json with this model in it, which may be autoregressive")
    parser.add_argument("--system", default="student", help="the model's name in the results")
    parser.add_argument("--model_id", required=True, help="name of the model, also on the Hub")
    parser.add_argument("--license", default="apache-2.0", help="licence identifier of the weights")
    parser.add_argument("--attribution", help="whom the corpus wants named, and its licence")
    parser.add_argument("--sample", help="source sentence whose translation the card shows")
    parser.add_argument("--examples", help="with --leaderboard: file of sources whose translations the card shows")
    parser.add_argument("--bad", type=int, nargs="+", default=[], help="numbers of the examples found wrong, from 1")
    parser.add_argument("--limit", action="append", default=[], help="a limit to state; may be repeated")
    parser.add_argument("--push_to_hub", action="store_true", help="upload the folder to the Hub as MODEL_ID")
    args = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if (args.examples is None) != (args.leaderboard is None):
        raise ValueError("--examples and --leaderboard belong together: the card of a leaderboard shows examples.")
    training = read_training_summary(args.model)
    model_id, usage_path = args.model_id, args.output_dir
    if args.push_to_hub:
        from huggingface_hub import HfApi

        # with the user's name in front of it, where MODEL_ID has none
        model_id = usage_path = HfApi().create_repo(args.model_id, exist_ok=True).repo_id
    common = {
        "model_id": model_id,
        "system": args.system,
        "training": training,
        "attribution": args.attribution,
        "license": args.license,
        "limits": args.limit,
        "usage_path": usage_path,
    }
    if args.leaderboard:
        folder = write_leaderboard_folder(
            args.model,
            args.output_dir,
            leaderboard=json.loads(Path(args.leaderboard).read_text(encoding="utf-8")),
            sources=Path(args.examples).read_text(encoding="utf-8").splitlines(),
            bad=args.bad,
            **common,
        )
    else:
        sample = (args.sample, "") if args.sample else None
        results = load_results(args.results)
        folder = write_hub_folder(args.model, args.output_dir, results=results, sample=sample, **common)
    if args.push_to_hub:
        HfApi().upload_folder(repo_id=model_id, folder_path=folder)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
