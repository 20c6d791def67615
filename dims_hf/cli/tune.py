# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf tune MODEL --data DATA`: chooses the decoding rules on a validation set and stores them with the model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dims_hf.cli.parsing import CommandParser


def main(argv: Sequence[str]) -> None:
    """Try the decoding rules that need no training on a validation set; write the best to generation_config.json."""
    arguments = _make_parser().parse_words(argv)
    if not Path(arguments.model).is_dir():
        raise ValueError(f"{arguments.model} is no folder. Give a checkpoint of your own, whose settings to change.")

    if arguments.language_model_unit is not None and arguments.language_model is None:
        raise ValueError(
            "--language-model-unit has no effect without --language-model FILE. Give it, or leave it out."
        )

    from dims_hf.evaluation.tuning import store_decoding, tune_decoding
    from dims_hf.reports.evaluation import load_evaluated, references_of
    from dims_hf.translation import NgramLanguageModel, load_model
    from dims_hf.translation.torch_runtime import TorchRuntime

    corpus = load_evaluated(
        arguments.data, arguments.source_lang, arguments.target_lang, arguments.split, arguments.max_examples
    )
    model, tokenizer = load_model(arguments.model)
    language_model = None
    if arguments.language_model is not None:
        unit, runtime = arguments.language_model_unit or "tokens", TorchRuntime(model, tokenizer)
        language_model = NgramLanguageModel.of_runtime(arguments.language_model, runtime, unit=unit)
    trials = tune_decoding(
        model,
        tokenizer,
        list(corpus["source"]),
        references_of(corpus),
        metric=arguments.metric,
        margin=arguments.margin,
        length_beam_size=arguments.length_beam_size,
        language_model=language_model,
    )
    for trial in trials:
        shown = "  ".join(f"{name}={value}" for name, value in trial.settings.items())
        beside = f"BP {trial.brevity_penalty:.3f}  BLEU raw {trial.bleu_before_collapse:6.2f}"
        sys.stdout.write(f"BLEU {trial.bleu:6.2f}  chrF {trial.chrf:6.2f}  {beside}  {shown}\n")
    if arguments.dry_run:
        return
    store_decoding(model, trials[0].settings, arguments.model)
    sys.stdout.write(f"stored the first line in {Path(arguments.model) / 'generation_config.json'}\n")
    if language_model is not None:
        unit = " --language-model-unit words" if arguments.language_model_unit == "words" else ""
        sys.stdout.write(
            "the weights are those beside this language model: dims-hf translate --model "
            f"{arguments.model} --language-model {arguments.language_model}{unit}\n"
        )


def _make_parser() -> CommandParser:
    parser = CommandParser(
        "tune",
        "Choose the decoding rules of a model on a validation set, and store them: repeat penalty and length weight, "
        "prefix beam, search in a graph, or the weights of a language model.",
    )
    parser.add_argument("model", metavar="MODEL", help="checkpoint folder; its generation_config.json is rewritten")
    parser.add_argument("--data", required=True, help="phrasebook, a folder, a JSONL file or the id of a Hub data set")
    parser.add_argument("--source-lang", required=True, help="language code, for example en")
    parser.add_argument("--target-lang", required=True, help="language code, for example de")
    parser.add_argument("--split", default="valid", help="split of the corpus; not the one that is reported on")
    parser.add_argument("--metric", choices=("bleu", "chrf"), default="bleu", help="score that decides")
    parser.add_argument(
        "--margin",
        type=float,
        default=0.1,
        help="points that two scores must lie apart to count as different; the other score decides among equals",
    )
    parser.add_argument(
        "--length-beam-size", type=int, help="length candidates; as many as the model has when not given"
    )
    parser.add_argument(
        "--language-model",
        metavar="FILE",
        help="n-gram model (ARPA or KenLM's binary) that steers the beam: its weight is tried, with the bonus of a "
        "token (alignments) or the power of the length (graphs)",
    )
    parser.add_argument(
        "--language-model-unit",
        choices=("tokens", "words"),
        help="what its n-grams are made of; tokens when not given",
    )
    parser.add_argument("--max-examples", type=int, help="first sentences only")
    parser.add_argument("--dry-run", action="store_true", help="show the table and store nothing")
    return parser
