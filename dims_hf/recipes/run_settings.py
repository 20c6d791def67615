# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Whose run an output folder holds, so that no other goes on from its checkpoints, and whether it is finished."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from dims_hf._commands import follow_launcher, saying_how_to_go_on
from dims_hf._output import holding
from dims_hf.reports.files import write_text
from dims_hf.reports.provenance import public, weights_checksum
from dims_hf.trainers.checkpoints import finished_checkpoints, weights_fault
from dims_hf.trainers.config import DiMSConfig
from dims_hf.trainers.rounds import round_folder


logger = logging.getLogger(__name__)

RUN_SETTINGS = "run_settings.json"
TRAINING_SUMMARY = "training_summary.json"

# What a finished run may have more of to come: updates, rounds, or another choice of the final weights.
_GOALS = ("max_steps", "num_train_epochs", "rounds", "num_best_checkpoints", "early_stopping_patience")

# What may differ from start to start of one run: where and how it computes, how an update is split, how long it goes
# on, what it reports and saves.
_MAY_CHANGE = frozenset(
    (
        "output_dir", "resume_from_checkpoint", "max_steps", "num_train_epochs", "rounds",
        "max_tokens_per_batch", "per_device_train_batch_size", "per_device_eval_batch_size",
        "gradient_accumulation_steps", "local_rank", "use_cpu", "bf16", "fp16", "attn_implementation",
        "gradient_checkpointing",
        "gradient_checkpointing_kwargs", "activation_checkpointing", "activation_checkpointing_kwargs", "tf32",
        "torch_compile", "torch_compile_backend", "torch_compile_mode", "torch_empty_cache_steps", "debug",
        "eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "do_train", "do_eval", "do_predict",
        "enable_jit_checkpoint", "load_best_model_at_end", "num_best_checkpoints", "early_stopping_patience",
        "collapse_patience", "average_tokens_across_devices", "disable_tqdm", "report_to", "run_name", "project",
        "skip_memory_metrics",
        "accelerator_config", "parallelism_config", "deepspeed", "fsdp", "fsdp_config",
    )
)  # fmt: skip
_PREFIXES_THAT_MAY_CHANGE = ("dataloader_", "ddp_", "hub_", "log_", "logging_", "push_", "save_", "trackio_")


@dataclass(frozen=True)
class Fingerprints:
    """
    What a run was given by path, which may change under its path: twelve hexadecimal digits each.

    Args:
        corpus_fingerprint (`str`): of all sentences in training and validation.
        tokenizer_fingerprint (`str`): of the tokenizer.
        teacher_fingerprint, student_fingerprint (`str`, *optional*): of the weights a distillation starts from.
        init_fingerprint, encoder_fingerprint (`str`, *optional*): of the weights a training starts from.
        autoregressive_teacher_fingerprint (`str`, *optional*): of those it learns from.
    """

    corpus_fingerprint: str
    tokenizer_fingerprint: str
    teacher_fingerprint: str | None = None
    student_fingerprint: str | None = None
    init_fingerprint: str | None = None
    encoder_fingerprint: str | None = None
    autoregressive_teacher_fingerprint: str | None = None


def folder_fingerprint(place: str | None) -> str | None:
    """Of all weight files of a model folder; `None` of a Hub id, whose files are named by it."""
    if place is None or not Path(place).expanduser().is_dir():
        return None
    return hashlib.sha256(json.dumps(weights_checksum(place), sort_keys=True).encode()).hexdigest()[:12]


def run_settings(args: TrainingArguments, arguments: Sequence[Any]) -> dict[str, Any]:
    """
    What makes a run the run it is, as JSON has it. Of paths on this machine there is the last part: what they lead to
    is told by fingerprints.

    Args:
        args (`TrainingArguments`): settings of the training.
        arguments (`Sequence`): dataclasses of the corpus and the models, and [`Fingerprints`] where they are known.
    """
    settings = {"command": "distill" if isinstance(args, DiMSConfig) else "train"}
    values = args.to_dict()
    # Settings of the method stand among the others.
    for part in (*map(asdict, arguments), values, values.pop("options", {})):
        settings.update(part)
    kept = {name: value for name, value in settings.items() if name not in _MAY_CHANGE}
    kept = {name: value for name, value in kept.items() if not name.startswith(_PREFIXES_THAT_MAY_CHANGE)}
    return public(json.loads(json.dumps(kept, default=str)))


@contextmanager
def holding_run(args: TrainingArguments, arguments: list[Any]) -> Iterator[list[Any]]:
    """
    Keeps the output folder to one run while it trains, and says what a run that is interrupted has saved.

    Args:
        args (`TrainingArguments`): settings of the training, as they are compared.
        arguments (`list`): dataclasses of the corpus and the models; given back, for more to be added.

    Raises:
        ValueError: another process has the folder, or it holds a run of other settings.
    """
    follow_launcher()
    with saying_how_to_go_on(lambda: describe_progress(args)):
        # The folder is the main process's; the others wait for it, or are ended by their launcher.
        with holding(args.output_dir) if args.should_save else nullcontext():
            check_run_settings(args, arguments)
            yield arguments


def is_finished(args: TrainingArguments, arguments: list[Any], fingerprints: Fingerprints) -> bool:
    """
    Whether the run is there already, as these settings ask for it; adds the fingerprints to the arguments.

    Raises:
        ValueError: the folder holds a run on another corpus, or with another teacher.
    """
    arguments.append(fingerprints)
    check_run_settings(args, arguments)
    summary = finished_summary(args)
    if summary is not None:
        logger.info("%s holds this run, finished after %d updates.", args.output_dir, summary["steps"])
    return summary is not None


def describe_progress(args: TrainingArguments) -> str:
    """What an interrupted run has saved, and how to go on."""
    folder = Path(args.output_dir)
    folders = (folder, *(round_folder(folder, number) for number in range(1, getattr(args, "rounds", 1) + 1)))
    saved = [path for each in folders for path in finished_checkpoints(each)]
    if not saved:
        return "There is no checkpoint yet: the same command starts anew. A smaller save_steps saves earlier."
    return f"{saved[-1]} is saved: the same command goes on from there."


def check_run_settings(args: TrainingArguments, arguments: Sequence[Any]) -> None:
    """
    Refuses an output folder with a run of other settings, or on another corpus or teacher under the same path.

    A run that never got as far as a checkpoint left nothing to go on from: its settings may be corrected. Every
    process comes to the same answer.

    Raises:
        ValueError: naming what differs.
    """
    folder = Path(args.output_dir)
    if not (folder / RUN_SETTINGS).is_file() or not has_work(folder):
        return
    theirs, ours = read_run_settings(folder), run_settings(args, arguments)
    # A setting that only one of them knows came with another release.
    differing = [name for name in ours if name in theirs and theirs[name] != ours[name]]
    if not differing:
        return
    changed = [name for name in differing if name.endswith("_fingerprint")]
    if changed == differing:
        what = " and ".join(name.removesuffix("_fingerprint") for name in changed)
        prints = ", ".join(f"{name} {theirs[name]}, now {ours[name]}" for name in changed)
        raise ValueError(
            f"{folder} holds a run on another {what} than its path leads to now ({prints}). Put back what was there, "
            "choose another output_dir, or delete it."
        )
    had, says = (", ".join(f"{name}={each[name]}" for name in differing) for each in (theirs, ours))
    raise ValueError(
        f"{folder} holds a run with {had}, this recipe says {says}. Choose another output_dir, or delete it."
    )


def read_run_settings(folder: Path) -> dict[str, Any]:
    """
    What [`save_run_settings`] wrote into a folder.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        return dict(public(json.loads((folder / RUN_SETTINGS).read_text(encoding="utf-8"))).items())
    except (ValueError, AttributeError, RecursionError):
        raise ValueError(
            f"{folder / RUN_SETTINGS} is damaged, so whose run this is cannot be told. Delete it to go on all the "
            "same, or choose another output_dir."
        ) from None


def has_work(folder: Path) -> bool:
    """Whether a run in a folder has left anything to go on from: a checkpoint, a round's too, or its end."""
    folders = (folder, round_folder(folder, 1))
    return (folder / TRAINING_SUMMARY).is_file() or any(map(finished_checkpoints, folders))


def finished_summary(args: TrainingArguments) -> dict[str, Any] | None:
    """
    Summary of the run in the output folder if it has come to the end that these settings ask for, else `None`.

    Whose run it is, [`check_run_settings`] has told.

    Raises:
        ValueError: it has gone further than that.
    """
    folder = Path(args.output_dir)
    if args.resume_from_checkpoint:  # whoever names a checkpoint wants it to be gone on from
        return None
    try:
        summary = json.loads((folder / TRAINING_SUMMARY).read_text(encoding="utf-8"))
        theirs = summary["training_arguments"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    ours = args.to_sanitized_dict()
    is_reached = all(theirs.get(name) == ours.get(name) for name in _GOALS)
    if 0 < args.max_steps < summary.get("steps", 0) and not ours.get("rounds"):
        raise ValueError(
            f"The run in {folder} has done {summary['steps']} updates, and max_steps={args.max_steps} asks for fewer. "
            "Updates cannot be taken back: name another output_dir, or one of its checkpoints as init of a new run."
        )
    weights = [*folder.glob("model*.safetensors")]
    return summary if is_reached and weights and not any(map(weights_fault, weights)) else None


def save_run_settings(args: TrainingArguments, arguments: Sequence[Any]) -> None:
    """Writes the settings into the output folder; for the main process, once all have checked them."""
    write_text(json.dumps(run_settings(args, arguments), indent=1), Path(args.output_dir) / RUN_SETTINGS)
