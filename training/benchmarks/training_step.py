# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""One optimiser update of ours beside the naive path: `python training/benchmarks/training_step.py`.

Paths, all with the same weights, batches, labels and optimiser, run in turn in one process (random weights and ids):
- naive: what the reference implementation does. All positions are projected to the vocabulary, softmaxes are taken in
  fp32 over the whole grid, once by the model and once by the loss, and the teacher encodes the source in every pass;
- packed: the projection at masked positions only, one encoding, plain losses;
- ours: what the trainers run;
- compiled: the same with `compile_losses`.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import torch
from transformers import PreTrainedModel

from dims_hf import CMLMConfig, CMLMForConditionalGeneration, EMATeacher, cmlm_loss, dims_loss, length_loss
from dims_hf.benchmark.memory import peak_beyond, reset_peak, used_memory
from dims_hf.distillation import roll_out_teacher
from dims_hf.methods.base import Run
from dims_hf.methods.cmlm import CMLM
from dims_hf.methods.dims import DiMS
from dims_hf.methods.masked_targets import GlancedBatch
from dims_hf.methods.masks import MaskedBatch, mask_batch, mix_keys
from dims_hf.models.generation_nat import choose_tokens
from dims_hf.models.masking import remaining_teacher_masks, select_lowest
from dims_hf.objectives import Loss, length_classes
from dims_hf.objectives.fusion import fusing
from dims_hf.objectives.multiplication import multiplying_with_onednn
from dims_hf.reports.files import write_text
from dims_hf.reports.provenance import provenance
from dims_hf.trainers.batching import TokenBudgetBatchSampler
from dims_hf.trainers.precision import is_faster_with_onednn


PATHS = ("naive", "packed", "ours", "compiled")

# d_model, layers of each stack, feed-forward width, heads
SIZES = {"small": (256, 3, 1024, 4), "base": (512, 6, 2048, 8), "tiny": (16, 1, 32, 2)}

SETTINGS = SimpleNamespace(
    teacher_iterations=2, label_mode="auto", label_smoothing=0.1, temperature=0.5, student_temperature=1.0,
    hidden_weight=0.7, hidden_squared=False,
)  # fmt: skip


class Precision:
    """Stands in for accelerate: knows the precision, and that nothing is wrapped."""

    def __init__(self, name: str):
        self.name = name

    def autocast(self) -> contextlib.AbstractContextManager:
        """The context of every forward pass."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.name == "bf16")

    def unwrap_model(self, model: PreTrainedModel) -> PreTrainedModel:
        """The model itself."""
        return model


def make_model(size: str, vocab_size: int, dropout: float = 0.0) -> CMLMForConditionalGeneration:
    """A model with random weights, the same for the same arguments."""
    d_model, layers, ffn_dim, heads = SIZES[size]
    config = CMLMConfig(
        vocab_size=vocab_size, d_model=d_model, encoder_layers=layers, decoder_layers=layers, dropout=dropout,
        encoder_ffn_dim=ffn_dim, decoder_ffn_dim=ffn_dim, encoder_attention_heads=heads, decoder_attention_heads=heads,
        attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    return CMLMForConditionalGeneration(config).train()


def draw_lengths(num_pairs: int, mean_length: float, generator: torch.Generator) -> torch.LongTensor:
    """Source and target lengths (num_pairs, 2), log-normal around the mean, target ≈ source, `<s>` and `</s>` in."""
    spread = torch.randn(num_pairs, 1, generator=generator) * 0.35
    sides = spread + torch.randn(num_pairs, 2, generator=generator) * 0.12
    return (mean_length * 0.94 * sides.exp()).round().clamp(min=3, max=250).long() + 2


def make_batches(
    vocab_size: int, max_tokens: int, *, count: int = 4, mean_length: float = 14.0, config: CMLMConfig
) -> list[MaskedBatch]:
    """Masked batches under the token budget, evenly spread over the lengths of a corpus of random pairs."""
    generator = torch.Generator().manual_seed(1)
    lengths = draw_lengths(max(4000, 8 * max_tokens // int(mean_length)), mean_length, generator)
    order = lengths.amax(dim=1).tolist()
    batches = list(TokenBudgetBatchSampler(order, max_tokens=max_tokens))
    batches.sort(key=lambda rows: order[rows[0]])
    chosen = [batches[(2 * number + 1) * len(batches) // (2 * count)] for number in range(count)]
    return [_make_batch(lengths[rows], torch.tensor(rows), vocab_size, config, generator) for rows in chosen]


def _make_batch(
    lengths: torch.LongTensor, index: torch.Tensor, vocab_size: int, config: CMLMConfig, generator: torch.Generator
) -> MaskedBatch:
    sides = []
    for length in lengths.T:
        ids = torch.randint(5, vocab_size, (len(length), int(length.max())), generator=generator)
        column = torch.arange(ids.shape[1])
        ids[:, 0] = config.bos_token_id
        ids[torch.arange(len(ids)), length - 1] = config.eos_token_id
        sides.append((ids, column < length.unsqueeze(1)))
    (source, is_source), (target, is_target) = sides
    batch = {
        "input_ids": source.masked_fill(~is_source, config.pad_token_id),
        "attention_mask": is_source,
        "labels": target.masked_fill(~is_target, -100),
        "index": index,
    }
    return mask_batch(batch, config, policy="uniform", keys=mix_keys(0, 0, index))


def count_items(batch: MaskedBatch) -> dict[str, int]:
    """Masked tokens and sentences."""
    return {"tokens": int((batch["labels"] != -100).sum()), "sentences": len(batch["labels"])}


def inputs_of(batch: MaskedBatch) -> dict[str, torch.Tensor]:
    """What the model's forward takes."""
    names = ("input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask")
    return {name: batch[name] for name in names}


# ---- the naive path ----


def naive_cmlm(model: PreTrainedModel, batch: MaskedBatch, precision: Precision) -> tuple[Loss, torch.Tensor]:
    """CMLM loss from softmaxes over all positions."""
    outputs = model(**inputs_of(batch), return_length_logits=True)
    normalized = outputs.logits.float().log_softmax(dim=-1)
    again = normalized.log_softmax(dim=-1)
    return cmlm_loss(again, batch["labels"], label_smoothing=SETTINGS.label_smoothing), outputs.length_logits


@torch.no_grad()
def naive_rollout(
    teacher: PreTrainedModel, batch: MaskedBatch, num_iterations: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (log-probabilities) and hidden states over the whole grid; source encoded and all projected per pass."""
    tokens, mask_id = batch["decoder_input_ids"], teacher.config.mask_token_id
    is_masked = is_open = tokens == mask_id
    scores = torch.zeros(tokens.shape)
    hypotheses, labels, hidden = tokens, None, None
    for num_passes in range(1, num_iterations + 1):
        outputs = teacher(**{**inputs_of(batch), "decoder_input_ids": tokens}, output_hidden_states=True)
        log_probs, states = outputs.logits.float().log_softmax(dim=-1), outputs.decoder_last_hidden_state
        predictions, confidence = choose_tokens(log_probs.flatten(0, 1), teacher.suppressed_token_ids())
        hypotheses = torch.where(is_open, predictions.view_as(tokens), hypotheses)
        scores = torch.where(is_open, confidence.view_as(scores), scores)
        keep = is_open.unsqueeze(-1)
        labels = log_probs if labels is None else torch.where(keep, log_probs, labels)
        hidden = states if hidden is None else torch.where(keep, states, hidden)
        num_left = remaining_teacher_masks(is_masked.sum(dim=1), num_passes, num_iterations)
        is_open = select_lowest(scores, is_open, num_left)
        tokens = hypotheses.masked_fill(is_open, mask_id)
    return labels, hidden


def naive_dims(
    model: PreTrainedModel, teacher: PreTrainedModel, batch: MaskedBatch, precision: Precision
) -> tuple[Loss, torch.Tensor]:
    """DiMS loss with everything over all positions until the loss selects."""
    labels, teacher_hidden = naive_rollout(teacher, batch, SETTINGS.teacher_iterations)
    outputs = model(**inputs_of(batch), return_length_logits=True, output_hidden_states=True)
    normalized = outputs.logits.float().log_softmax(dim=-1)
    soft_labels = (labels / SETTINGS.temperature).log_softmax(dim=-1)
    log_probs = normalized.log_softmax(dim=-1)
    is_masked = batch["labels"] != -100
    loss = dims_loss(
        log_probs, soft_labels, outputs.decoder_last_hidden_state, teacher_hidden, is_masked, temperature=1.0
    )
    return loss, outputs.length_logits


# ---- masked positions only, plain losses ----


def packed_cmlm(model: PreTrainedModel, batch: MaskedBatch, precision: Precision) -> tuple[Loss, torch.Tensor]:
    """CMLM loss from the logits of masked positions."""
    is_masked = batch["labels"] != -100
    outputs = model(**inputs_of(batch), logits_positions=is_masked, return_length_logits=True)
    loss = cmlm_loss(outputs.logits, batch["labels"][is_masked], label_smoothing=SETTINGS.label_smoothing)
    return loss, outputs.length_logits


def packed_dims(
    model: PreTrainedModel, teacher: PreTrainedModel, batch: MaskedBatch, precision: Precision
) -> tuple[Loss, torch.Tensor]:
    """DiMS loss from the logits of masked positions."""
    labels = roll_out_teacher(
        teacher, batch["input_ids"], batch["attention_mask"], batch["decoder_input_ids"],
        num_iterations=SETTINGS.teacher_iterations,
    )  # fmt: skip
    is_masked = batch["labels"] != -100
    outputs = model(**inputs_of(batch), logits_positions=is_masked, return_length_logits=True)
    hidden = outputs.decoder_last_hidden_state[is_masked]
    loss = dims_loss(outputs.logits, labels.logits, hidden, labels.hidden_states, is_masked)
    return loss, outputs.length_logits


# ---- ours ----


def our_cmlm(model: PreTrainedModel, batch: MaskedBatch, precision: Precision) -> tuple[Loss, None]:
    """The teachers' loss of `NATTrainer`, length loss included."""
    return CMLM(CMLM.Options(), model.config).loss(Run.of(model, precision), batch, count_items(batch)), None


def our_dims(
    model: PreTrainedModel, teacher: PreTrainedModel, batch: MaskedBatch, precision: Precision
) -> tuple[Loss, None]:
    """The students' loss of `DiMSTrainer`, length loss included."""
    method = DiMS(DiMS.Options(teacher_iterations=SETTINGS.teacher_iterations), model.config)
    nothing_shown = torch.zeros(len(batch["labels"]))
    glanced = GlancedBatch(**batch, keys=nothing_shown.long(), glancing_ratio=nothing_shown)
    return method.loss(Run.of(model, precision), glanced, count_items(batch), teacher), None


LOSSES: dict[str, dict[str, Callable]] = {
    "cmlm": {"naive": naive_cmlm, "packed": packed_cmlm, "ours": our_cmlm, "compiled": our_cmlm},
    "dims": {"naive": naive_dims, "packed": packed_dims, "ours": our_dims, "compiled": our_dims},
}


class Trainee:
    """
    A model with its optimiser, and teacher, trained by one of the paths.

    Args:
        task (`str`): `cmlm` or `dims`.
        path (`str`): one of `PATHS`.
        model: copied.
        precision (`str`): `fp32` or `bf16`.
    """

    def __init__(self, task: str, path: str, model: PreTrainedModel, precision: str):
        self.model, self.precision, self.loss = copy.deepcopy(model), Precision(precision), LOSSES[task][path]
        self.is_compiled = path == "compiled"
        self.uses_onednn = path in ("ours", "compiled") and is_faster_with_onednn()
        self.ema = EMATeacher(model) if task == "dims" else None
        # A rate that leaves the paths comparable over many updates.
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6, fused=True)

    def total(self, batch: MaskedBatch) -> torch.Tensor:
        """The loss of a batch."""
        with self.precision.autocast():
            models = (self.model,) if self.ema is None else (self.model, self.ema.model)
            token, length_logits = self.loss(*models, batch, self.precision)
        if length_logits is None:
            return token.total
        classes = length_classes(batch["decoder_attention_mask"], self.model.config.max_target_length)
        return token.total + 0.1 * length_loss(length_logits, classes).total

    def update(self, batch: MaskedBatch) -> None:
        """One optimiser update."""
        models = [self.model] + ([] if self.ema is None else [self.ema.model])
        with fusing(self.is_compiled), multiplying_with_onednn(*models, is_on=self.uses_onednn):
            self.total(batch).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.model)


# ---- measuring ----


def time_paths(
    task: str,
    precision: str,
    batches: list[MaskedBatch],
    model: PreTrainedModel,
    *,
    paths: Sequence[str],
    repeats: int,
) -> dict[str, object]:
    """Seconds of a round over all batches by each path in turn, and the ratios naive / path of each round."""
    trainees = {path: Trainee(task, path, model, precision) for path in paths}
    seconds: dict[str, list[float]] = {path: [] for path in paths}
    for _ in range(repeats + 1):
        for path, trainee in trainees.items():
            start = time.perf_counter()
            for batch in batches:
                trainee.update(batch)
            seconds[path].append(time.perf_counter() - start)
    seconds = {path: times[1:] for path, times in seconds.items()}  # the first round sets things up
    pairs = {path: zip(seconds["naive"], times, strict=True) for path, times in seconds.items()}
    ratios = {path: [naive / own for naive, own in rounds] for path, rounds in pairs.items()}
    medians = {path: statistics.median(rounds) for path, rounds in ratios.items()}
    return {"seconds": seconds, "ratios": ratios, "medians": medians}


def peak_memory(task: str, path: str, args: argparse.Namespace) -> dict[str, float]:
    """MiB at the peak of updates in a process of its own: beyond imports, and beyond model and optimiser as well."""
    command = [sys.executable, __file__, "--peak-of", task, path, "--vocab", str(args.memory_vocab)]
    for name in ("size", "dropout", "tokens", "length"):
        command += [f"--{name}", str(getattr(args, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_own_peak(task: str, path: str, args: argparse.Namespace) -> dict[str, float]:
    """The other side of [`peak_memory`]."""
    imported = used_memory("cpu")
    model = make_model(args.size, args.vocab, args.dropout)
    batches = make_batches(args.vocab, args.tokens, config=model.config, mean_length=args.length)
    trainee = Trainee(task, path, model, "fp32")
    del model
    ready = used_memory("cpu")
    reset_peak("cpu")
    for batch in batches:
        trainee.update(batch)
    beyond = {"peak": peak_beyond(imported, "cpu"), "step": peak_beyond(ready, "cpu")}
    return {name: size / 2**20 for name, size in beyond.items()}


def describe(batches: list[MaskedBatch]) -> str:
    """Sizes of the batches."""
    masks = [batch[name] for batch in batches for name in ("attention_mask", "decoder_attention_mask")]
    padding = 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
    targets = sum(int(batch["decoder_attention_mask"].sum()) for batch in batches)
    masked = sum(int((batch["labels"] != -100).sum()) for batch in batches)
    grids = ", ".join(f"{len(batch['labels'])}×{batch['labels'].shape[1]}" for batch in batches)
    return f"{len(batches)} batches ({grids}): {targets} target tokens, {masked} masked, padding {100 * padding:.1f} %"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small", help="small: 256d 3+3; base: 512d 6+6")
    parser.add_argument("--vocab", type=int, default=8000, help="vocabulary size")
    parser.add_argument("--tokens", type=int, default=2048, help="token budget of a batch")
    parser.add_argument("--length", type=float, default=14.0, help="mean content tokens of a sentence")
    parser.add_argument("--dropout", type=float, default=0.0, help="of the models; students have none by default")
    parser.add_argument(
        "--paths", nargs="+", default=list(PATHS), choices=PATHS, help="in which order; naive is needed"
    )
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count, each over four batches")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--tasks", nargs="+", default=["cmlm", "dims"], choices=LOSSES, help="what is trained")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--memory-vocab", type=int, default=32_000, help="vocabulary for peak memory; 0: none")
    parser.add_argument("--json", type=Path, help="file for all results")
    parser.add_argument("--peak-of", nargs=2, metavar=("TASK", "PATH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not {"naive", "ours"} <= set(args.paths):
        parser.error("--paths needs naive, which the others are compared with, and ours")
    return args


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    if args.peak_of:
        print(json.dumps(measure_own_peak(*args.peak_of, args)))
        return
    load = os.getloadavg()[0]
    model = make_model(args.size, args.vocab, args.dropout)
    batches = make_batches(args.vocab, args.tokens, config=model.config, mean_length=args.length)
    setting = f"{args.size}, vocabulary {args.vocab}, {args.threads} thread, torch {torch.__version__}"
    print(f"{setting}: {describe(batches)}")
    settings = {name: value for name, value in vars(args).items() if name not in ("json", "peak_of")}
    results = {"settings": settings, "batches": describe(batches), "load": load, "times": {}}
    results["provenance"] = provenance(seed=0)
    others = [path for path in args.paths if path != "naive"]
    print(f"\n| task | precision | naive, s | {' | '.join(others)} |\n|---|---|--:|{'--:|' * len(others)}")
    for task in args.tasks:
        for precision in args.precisions:
            result = time_paths(task, precision, batches, model, paths=args.paths, repeats=args.repeats)
            results["times"][f"{task} {precision}"] = result
            cells = [
                f"{result['medians'][path]:.2f}× ({min(result['ratios'][path]):.2f}–{max(result['ratios'][path]):.2f})"
                for path in others
            ]
            naive = statistics.median(result["seconds"]["naive"])
            print(f"| {task} | {precision} | {naive:.2f} | {' | '.join(cells)} |", flush=True)
    if args.memory_vocab:
        results["memory"] = print_memory(args)
    print(f"\nRatios are naive / path within a round; load average before {load:.1f}.")
    if args.json:
        write_text(json.dumps(results, indent=1), args.json)


def print_memory(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Table of peaks at the larger vocabulary."""
    print(f"\nPeak memory in fp32 at vocabulary {args.memory_vocab}, MiB: all / what the updates add to model and EMA")
    print(f"\n| task | {' | '.join(args.paths)} | ours / naive |\n|---|{'--:|' * (len(args.paths) + 1)}")
    memory = {}
    for task in args.tasks:
        peaks = {path: peak_memory(task, path, args) for path in args.paths}
        memory.update({f"{task} {path}": peak for path, peak in peaks.items()})
        cells = [f"{peaks[path]['peak']:.0f} / {peaks[path]['step']:.0f}" for path in args.paths]
        shares = (peaks["ours"][name] / peaks["naive"][name] for name in ("peak", "step"))
        print(f"| {task} | {' | '.join(cells)} | {' / '.join(f'{share:.2f}' for share in shares)} |", flush=True)
    return memory


if __name__ == "__main__":
    main()
