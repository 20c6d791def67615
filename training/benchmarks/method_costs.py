# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What an update costs with each training method, beside CMLM: CPU time, so that other programs matter less.

    python training/benchmarks/method_costs.py --rounds 7

Every round makes one update with each method in turn, on the same sentences; a method's cost is the median over rounds
of its CPU time divided by CMLM's. The first round, which pays for memory and caches, is left out.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from transformers import MarianConfig, MarianMTModel

from dims_hf import MODELS
from dims_hf.methods.base import Distillation, Run
from dims_hf.methods.masks import mix_keys
from dims_hf.methods.registry import find_method


# name in the table -> method, family, options
SYSTEMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "cmlm": ("cmlm", "cmlm", {}),
    "glat": ("glat", "cmlm", {}),
    "smart": ("smart", "cmlm", {}),
    "axe": ("axe", "cmlm", {}),
    "oaxe": ("oaxe", "cmlm", {}),
    "bag_of_ngrams": ("bag_of_ngrams", "cmlm", {}),
    "bag_of_ngrams, cross_entropy_weight: 0.1": ("bag_of_ngrams", "cmlm", {"cross_entropy_weight": 0.1}),
    "similarity": ("similarity", "cmlm", {}),
    "hints": ("hints", "cmlm", {}),
    "engine": ("engine", "cmlm", {}),
    "ctc": ("ctc", "imputer", {}),
    "ctc_glancing": ("ctc_glancing", "imputer", {}),
    "ctc_ngrams": ("ctc_ngrams", "imputer", {}),
    "minimum_risk, eight draws": ("minimum_risk", "imputer", {}),
    "multi_reference, three targets": ("multi_reference", "imputer", {}),
    "dims, two teacher passes": ("dims", "cmlm", {}),
    "dims, mask_policy: glance": ("dims", "cmlm", {"mask_policy": "glance"}),
    "dims, divergence: reverse_kl": ("dims", "cmlm", {"divergence": "reverse_kl"}),
    "dims, four teacher passes": ("dims", "cmlm", {"teacher_iterations": 4}),
    "cmlmc": ("cmlmc", "cmlmc", {}),
    "dims of cmlmc": ("dims", "cmlmc", {"teacher_iterations": 4}),
    "imputer": ("imputer", "imputer", {"ctc_steps": 0}),
    "dims_imputer": ("dims_imputer", "imputer", {"teacher_iterations": 4}),
    "crf": ("crf", "cmlm_crf", {}),
    "dims_crf": ("dims_crf", "cmlm_crf", {"teacher_iterations": 4}),
    "disco": ("disco", "disco", {}),
    "dims of disco": ("dims", "disco", {"teacher_iterations": 4}),
    "refine": ("refine", "refine", {}),
    "dims of refine": ("dims", "refine", {"teacher_iterations": 4, "mask_policy": "full"}),
    "dat": ("dat", "dat", {}),
    "fadat": ("fadat", "dat", {}),
    "dims_dat": ("dims_dat", "dat", {}),
    "alignart": ("alignart", "alignart", {}),
    "levenshtein": ("levenshtein", "levenshtein", {}),
    "insertion": ("insertion", "insertion", {}),
    "cmlm, 12-2": ("cmlm", "cmlm", {}),
    "ctc_glancing, 12-2": ("ctc_glancing", "imputer", {}),
    "dat, 12-2": ("dat", "dat", {}),
}
SIZES = {"d_model": 256, "encoder_layers": 3, "decoder_layers": 3, "encoder_ffn_dim": 512, "decoder_ffn_dim": 512}
# Deep encoder, shallow decoder: names that end so.
DEEP, DEEP_LAYERS = ", 12-2", {"encoder_layers": 12, "decoder_layers": 2}
HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
NUM_REFERENCES = 3
STEP = 100


def make_model(family: str, vocab_size: int, layers: dict[str, int]) -> torch.nn.Module:
    """A model of random weights whose third special token, which no target has, may be an empty one."""
    config_class, _, model_class = MODELS[family]
    fields = {"cmlm": {"empty_token_id": 3}, "dat": {"upsample_ratio": 4}}.get(family, {})  # as the recipes have it
    sizes = {**SIZES, **HEADS, **layers, **fields}
    config = config_class(vocab_size=vocab_size, max_position_embeddings=128, **sizes)
    model = model_class(config)
    model.set_attn_implementation("eager")
    return model


def save_autoregressive(folder: str, vocab_size: int) -> str:
    """A frozen autoregressive model of the same size, for hints and ENGINE."""
    config = MarianConfig(
        vocab_size=vocab_size, max_position_embeddings=128, scale_embedding=True, bos_token_id=0, pad_token_id=1,
        eos_token_id=2, decoder_start_token_id=0, forced_eos_token_id=None, **SIZES, **HEADS,
    )  # fmt: skip
    MarianMTModel(config).save_pretrained(folder)
    return folder


def make_batch(num_sentences: int, vocab_size: int) -> dict[str, torch.Tensor]:
    """Sources of 12 to 16 ids and targets of 14 to 18, with three targets each."""
    generator = torch.Generator().manual_seed(0)

    def rows(count: int, fewest: int, fill: int) -> torch.Tensor:
        ids = torch.randint(6, vocab_size, (count, fewest + 4), generator=generator)
        lengths = torch.randint(fewest, fewest + 5, (count, 1), generator=generator)
        column = torch.arange(fewest + 4)
        ids = ids.masked_fill(column == lengths - 1, 2).masked_fill(column >= lengths, fill)
        ids[:, 0] = 0
        return ids

    sources, references = rows(num_sentences, 12, 1), rows(num_sentences * NUM_REFERENCES, 14, -100)
    references = references.view(num_sentences, NUM_REFERENCES, -1)
    return {
        "input_ids": sources, "attention_mask": (sources != 1).long(), "index": torch.arange(num_sentences),
        "labels": references[:, 0], "references": references,
    }  # fmt: skip


def make_update(name: str, batch: dict[str, torch.Tensor], vocab_size: int, autoregressive: str) -> Callable[[], None]:
    """One update of a system as a function: masks, loss, gradients and Adam."""
    method_name, family, options = SYSTEMS[name]
    kind = find_method(method_name)
    if "autoregressive_teacher" in kind.Options.__dataclass_fields__:
        options = {**options, "autoregressive_teacher": autoregressive}
    torch.manual_seed(0)
    model = make_model(family, vocab_size, DEEP_LAYERS if name.endswith(DEEP) else {})
    teacher = (copy.deepcopy(model).eval(),) if issubclass(kind, Distillation) else ()
    method = kind(kind.Options(**options), model.config, num_updates=1000)
    if method_name == "alignart":
        method.check(as_dataset(batch))  # its word aligner learns from the sentences
    method.configure(model)
    model.train()
    if teacher:
        model.eval()  # students have no dropout
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def update() -> None:
        prepared = method.prepare(batch, mix_keys(1, STEP, batch["index"]), STEP)
        loss = method.loss(Run.of(model), prepared, method.count(prepared), *teacher)
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return update


def as_dataset(batch: dict[str, torch.Tensor]) -> Dataset:
    """The sentences of a batch as a corpus."""
    sources = [row[row != 1].tolist() for row in batch["input_ids"]]
    targets = [row[row != -100].tolist() for row in batch["labels"]]
    return Dataset.from_dict({"input_ids": sources, "labels": targets})


def make_autoregressive_update(folder: str, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """One update of an autoregressive model by cross-entropy."""
    model = MarianMTModel.from_pretrained(folder)
    model.set_attn_implementation("eager")
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    inputs = {name: batch[name].contiguous() for name in ("input_ids", "attention_mask", "labels")}

    def update() -> None:
        model(**inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return update


def cpu_seconds(action: Callable[[], None]) -> float:
    """User CPU time of this process."""
    before = os.times().user
    action()
    return os.times().user - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sentences", type=int, default=32)
    parser.add_argument("--vocab_size", type=int, default=8000)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), help="beside cmlm")
    args = parser.parse_args()
    torch.set_num_threads(1)
    batch = make_batch(args.sentences, args.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        autoregressive = save_autoregressive(folder, args.vocab_size)
        updates = {
            name: make_update(name, batch, args.vocab_size, autoregressive)
            for name in dict.fromkeys(("cmlm", *args.systems))
        }
        updates["autoregressive"] = make_autoregressive_update(autoregressive, batch)
    ratios: dict[str, list[float]] = {name: [] for name in updates}
    for number in range(args.rounds + 1):
        seconds = {name: cpu_seconds(update) for name, update in updates.items()}
        if number:
            for name, value in seconds.items():
                ratios[name].append(value / seconds["cmlm"])
    print("| method | CPU time of an update, CMLM = 1 | lowest to highest round |\n|---|---:|---:|")
    for name, values in ratios.items():
        print(f"| `{name}` | {statistics.median(values):.2f} | {min(values):.2f} – {max(values):.2f} |")


if __name__ == "__main__":
    main()
