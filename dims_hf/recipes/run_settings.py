# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The settings of the run in an output folder, so that no other run goes on from its checkpoints unnoticed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from dims_hf.reports.files import write_text
from dims_hf.trainers.config import DiMSConfig, NATTrainingArguments


RUN_SETTINGS = "run_settings.json"

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


def run_settings(args: NATTrainingArguments, arguments: list) -> dict[str, object]:
    """
    What makes a run the run it is, as JSON has it.

    Args:
        args ([`NATTrainingArguments`]): settings of the training.
        arguments (`list`): dataclasses of the corpus and the models.
    """
    settings = {"command": "distill" if isinstance(args, DiMSConfig) else "train"}
    values = args.to_dict()
    # Settings of the method stand among the others.
    for part in (*map(asdict, arguments), values, values.pop("options", {})):
        settings.update(part)
    kept = {name: value for name, value in settings.items() if name not in _MAY_CHANGE}
    kept = {name: value for name, value in kept.items() if not name.startswith(_PREFIXES_THAT_MAY_CHANGE)}
    return json.loads(json.dumps(kept, default=str))


def check_run_settings(args: NATTrainingArguments, arguments: list) -> None:
    """
    Refuses an output folder with a run of other settings; every process comes to the same answer.

    Raises:
        ValueError: naming what differs.
    """
    path = Path(args.output_dir) / RUN_SETTINGS
    if not path.is_file():
        return
    theirs, ours = json.loads(path.read_text()), run_settings(args, arguments)
    # A setting that only one of them knows came with another release.
    differing = [name for name in ours if name in theirs and theirs[name] != ours[name]]
    if differing:
        had, says = (", ".join(f"{name}={each[name]}" for name in differing) for each in (theirs, ours))
        raise ValueError(
            f"{args.output_dir} holds a run with {had}, this recipe says {says}. Choose another output_dir, or delete "
            "it."
        )


def save_run_settings(args: NATTrainingArguments, arguments: list) -> None:
    """Writes the settings into the output folder; for the main process, once all have checked them."""
    write_text(json.dumps(run_settings(args, arguments), indent=1), Path(args.output_dir) / RUN_SETTINGS)
