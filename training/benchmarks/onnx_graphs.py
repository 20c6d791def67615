# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Hand-built ONNX graphs beside traced ones: `python training/benchmarks/onnx_graphs.py --models cmlm cmlmc imputer`.

A model is a folder or a family of random weights. Whole translations from ids to ids (encoder, every pass, choice of
tokens and re-masking), both kinds in turns in one process; figures say how many times as long the traced graphs take.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedModel

from dims_hf.export import OnnxTranslator, write_graphs
from dims_hf.export.onnx_export import write_traced
from dims_hf.export.onnx_tracing import trace_graphs
from dims_hf.reports import write_json
from dims_hf.reports.markup import markdown_rows
from dims_hf.reports.provenance import provenance, public_name


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", required=True, help="checkpoint folders, or families of random weights")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="sentences per batch")
    parser.add_argument("--passes", type=int, nargs="+", default=[1, 4], help="decoder passes")
    parser.add_argument("--source-tokens", type=int, default=14, help="tokens of sources, <s> and </s> counted")
    parser.add_argument("--target-tokens", type=int, default=12, help="of targets, where lengths are predicted")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime")
    parser.add_argument("--rounds", type=int, default=9, help="times that each is timed; the median of ratios counts")
    parser.add_argument(
        "--d-model", type=int, default=256, help="width of random models, feed-forward 4 times as wide"
    )
    parser.add_argument("--layers", type=int, default=3, help="their layers on each side")
    parser.add_argument("--vocab-size", type=int, default=8000, help="their vocabulary")
    parser.add_argument("--output", type=Path, help="JSON file with all times")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    records = [record for name in args.models for record in measure_model(name, args)]
    columns = list(dict.fromkeys((each["passes"], each["batch"]) for each in records))
    header = [
        "model",
        "precision",
        *(f"{passes} pass{'es' * (passes > 1)}, batch {batch}" for passes, batch in columns),
    ]
    rows: dict[tuple[str, str], list[str]] = {}
    for each in records:
        rows.setdefault((each["model"], each["precision"]), []).append(f"{each['ratio']:.2f}")
    print(markdown_rows(header, [[*names, *cells] for names, cells in rows.items()]))
    if args.output is not None:
        write_json(
            {"records": records, "threads": args.threads, "provenance": provenance(seed=0)}, args.output, indent=1
        )


def measure_model(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """All precisions, passes and batches of one model."""
    model = load(name, args)
    traced = trace_graphs(model)
    records = []
    for is_int8 in (False, True):
        for passes in args.passes:
            with TemporaryDirectory() as scratch:
                built_folder, traced_folder = Path(scratch, "built"), Path(scratch, "traced")
                write_graphs(model, built_folder, num_iterations=passes, int8=is_int8)
                write_traced(model, traced_folder, traced, num_iterations=passes, int8=is_int8)
                translators = [OnnxTranslator(place, args.threads) for place in (built_folder, traced_folder)]
                for batch in args.batches:
                    times = time_in_turns(translators, inputs_of(model, batch, args), passes, args.rounds)
                    records.append(
                        {
                            "model": public_name(name), "precision": "int8" if is_int8 else "fp32", "passes": passes,
                            "batch": batch, "built_ms": times[0], "traced_ms": times[1],
                            "ratio": statistics.median(slow / fast for fast, slow in zip(*times, strict=True)),
                        }
                    )  # fmt: skip
    return records


def load(name: str, args: argparse.Namespace) -> PreTrainedModel:
    """A checkpoint, or a family with random weights, in evaluation mode."""
    if os.path.exists(name):
        return AutoModelForSeq2SeqLM.from_pretrained(name, dtype=torch.float32).eval()
    torch.manual_seed(0)
    sizes = {"encoder_ffn_dim": 4 * args.d_model, "decoder_ffn_dim": 4 * args.d_model}
    sizes |= {"encoder_layers": args.layers, "decoder_layers": args.layers}
    config = AutoConfig.for_model(name, vocab_size=args.vocab_size, d_model=args.d_model, **sizes)
    return AutoModelForSeq2SeqLM.from_config(config).eval()


def inputs_of(model: PreTrainedModel, batch: int, args: argparse.Namespace) -> dict[str, Any]:
    """Random sources without padding, and their targets' lengths where the family predicts them."""
    input_ids = np.random.default_rng(0).integers(5, model.config.vocab_size - 5, (batch, args.source_tokens))
    input_ids[:, 0], input_ids[:, -1] = model.config.bos_token_id, model.config.eos_token_id
    lengths = {"target_lengths": np.full(batch, args.target_tokens)} if model.config.predicts_length else {}
    return {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids), **lengths}


def time_in_turns(
    translators: list[OnnxTranslator], inputs: dict[str, Any], passes: int, rounds: int
) -> list[list[float]]:
    """Milliseconds of processor time of each in every round, after one that is not counted."""
    times: list[list[float]] = [[] for _ in translators]
    repeats = 1
    for number in range(-1, rounds):
        for translator, taken in zip(translators, times, strict=True):
            start = time.process_time()
            for _ in range(repeats):
                translator.generate(**inputs, num_iterations=passes, with_scores=False)
            seconds = (time.process_time() - start) / repeats
            if number >= 0:
                taken.append(1000 * seconds)
            else:
                # long enough for the clock
                repeats = max(repeats, round(0.1 / max(seconds, 1e-4)))
    return times


if __name__ == "__main__":
    main()
