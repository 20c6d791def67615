# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The stages of a project, each of a second or two on a slice of the phrasebook."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.kills.harness import Stage, run


MODEL_FILES = ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "training_summary.json")

TRAINING = {
    "source_lang": "en", "target_lang": "de", "max_tokens_per_batch": 256, "learning_rate": 2e-3,
    "lr_scheduler_type": "constant", "warmup_steps": 0, "max_steps": 6, "eval_strategy": "steps", "eval_steps": 2,
    "save_strategy": "steps", "save_steps": 2, "save_total_limit": 2, "logging_steps": 1, "num_best_checkpoints": 2,
    "collapse_patience": 100, "disable_tqdm": True, "report_to": "none", "dataloader_pin_memory": False, "seed": 5,
}  # fmt: skip

SIZES = {
    "vocab_size": 200, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "attention_heads": 2, "ffn_dim": 16,
    "dropout": 0.1, "max_position_embeddings": 48,
}  # fmt: skip

REPRODUCTION = (
    "--only fig3 --seeds 1 --max_train_examples 120 --max_valid_examples 8 --max_test_examples 8 "
    "--max_teacher_steps 6 --max_student_steps 4 --iterations 1 2 --tokens_per_update 256"
).split() + [
    "--teacher_settings",
    "{d_model: 16, encoder_layers: 1, decoder_layers: 1, attention_heads: 2, ffn_dim: 16, vocab_size: 150, "
    "eval_steps: 2250}",
    "--student_settings",
    "{eval_steps: 250, save_steps: 250}",
]


def make_teacher(folder: Path) -> Stage:
    """The first stage, and its corpus in a folder."""
    _write_corpus(folder / "data", folder / "mono.txt")
    return Stage(
        "teacher", _training("train_teacher", {"data": folder / "data", **TRAINING, **SIZES}), (*MODEL_FILES, "best")
    )


def make_stages(folder: Path) -> Iterator[Stage]:
    """
    The stages in an order in which each finds what it needs of the earlier ones.

    Args:
        folder (`Path`): for corpora and models; undisturbed runs of some stages are made on the way.
    """
    data, mono = folder / "data", folder / "mono.txt"
    common = {"data": data, **TRAINING}
    teacher, autoregressive = folder / "teacher" / "out", folder / "autoregressive" / "out"

    yield _kept(make_teacher(folder), teacher)
    distils = {**common, "teacher": teacher, "ema_decay": 0.98}
    yield Stage("distil", _training("distill", distils), (*MODEL_FILES, "best"))
    yield Stage("reproduce", _reproduce, ("results/fig3.json", "report.md"))
    rounds = {**distils, "rounds": 2, "ema_decay": "none", "max_steps": 4}
    yield Stage("rounds", _training("distill", rounds), (*MODEL_FILES, "round-2/model.safetensors"))
    yield Stage("U-DiMS", _training("distill", {**distils, "unsupervised": True, "monolingual": mono}), MODEL_FILES)
    writes = {name: value for name, value in {**common, **SIZES}.items() if name != "collapse_patience"}
    stage = Stage("autoregressive", _training("train_autoregressive", writes), (*MODEL_FILES, "best"))
    yield stage
    longer = {**writes, "d_model": 32, "learning_rate": 5e-3, "max_steps": 250, "eval_steps": 250, "save_steps": 250}
    _kept(Stage("a teacher that ends its sentences", _training("train_autoregressive", longer), ()), autoregressive)
    yield Stage("make-data", _make_data(data, autoregressive), ("train.jsonl", "distillation.json", "README.md"))
    yield Stage("evaluate", _evaluate(data, teacher), ("results.json", "translations"), ("results.md",))
    yield Stage("export", _export(teacher), ("model.onnx", "export.json", "tokenizer.json"))
    yield Stage("benchmark", _benchmark, ("benchmark.json",))
    yield Stage("import", _import(folder), ("model.safetensors", "config.json", "tokenizer.json"))


def _kept(stage: Stage, place: Path) -> Stage:
    """The stage, run once where later ones look for its result."""
    place.parent.mkdir(parents=True)
    ended = run(stage, place.parent)
    if ended.status:
        raise RuntimeError(f"{stage.name} does not work undisturbed: {ended.last_line}")
    return stage


def _write_corpus(data: Path, mono: Path) -> None:
    from dims_hf.phrasebook import phrasebook_corpus

    data.mkdir()
    for split, pairs in phrasebook_corpus(train=120, valid=8, test=8).items():
        for language, texts in zip(("en", "de"), zip(*pairs)):
            (data / f"{split}.{language}").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    mono.write_text((data / "train.en").read_text(encoding="utf-8"), encoding="utf-8")


def words_of(settings: dict[str, Any]) -> list[str]:
    """Settings as words of a command line."""
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def _training(command: str, settings: dict[str, Any]) -> Callable[[Path], Any]:
    def train(output_dir: Path) -> None:
        from dims_hf.recipes import autoregressive, runs

        module = autoregressive if command == "train_autoregressive" else runs
        getattr(module, command)([*words_of(settings), "--output_dir", str(output_dir)])

    return train


def _make_data(data: Path, teacher: Path) -> Callable[[Path], Any]:
    settings = {
        "data": data, "source_lang": "en", "target_lang": "de", "teacher": teacher, "num_beams": 2, "shard_size": 24,
        "max_tokens_per_batch": 2048, "disable_tqdm": True, "max_length_ratio": "none",
    }  # fmt: skip

    def make(output_dir: Path) -> None:
        from dims_hf.recipes.distilled_data import make_distilled_data

        make_distilled_data([*words_of(settings), "--output_dir", str(output_dir)])

    return make


def command(*words: str | Path) -> Callable[[Path], Any]:
    """A command of the command line; `OUT` stands for its output folder."""

    def call(output_dir: Path) -> Any:
        from dims_hf.cli.main import _find_command

        name, *rest = (str(output_dir) if word == "OUT" else str(word) for word in words)
        return _find_command(name)(rest)

    return call


def _evaluate(data: Path, model: Path) -> Callable[[Path], Any]:
    return command(
        "evaluate", "--teacher", model, "--student", model, "--data", data, "--source-lang", "en", "--target-lang",
        "de", "--iterations", "1", "2", "--output-dir", "OUT",
    )  # fmt: skip


def _export(model: Path) -> Callable[[Path], Any]:
    return command("export", model, "--to", "onnx", "--num-iterations", "1", "--overwrite", "--output-dir", "OUT")


_benchmark = command(
    "benchmark", "--quick", "--size", "tiny", "--systems", "torch-fp32", "--batches", "1", "2", "--lengths", "10",
    "--iterations", "1", "--length-beams", "1", "--threads", "1", "--device", "cpu", "--no-memory", "--output-dir",
    "OUT",
)  # fmt: skip


def _import(folder: Path) -> Callable[[Path], Any]:
    import torch

    from tests.fuzz.exports import DICTIONARY, fairseq_weights

    arguments = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    torch.save({"model": fairseq_weights("cmlm"), "args": arguments}, folder / "c.pt")
    (folder / "dict.txt").write_text(DICTIONARY, encoding="utf-8")
    return command("import-fairseq", folder / "c.pt", folder / "dict.txt", "OUT")


def _reproduce(output_dir: Path) -> Any:
    """Its runs are forks as well: they count as operations of one process, and die with it."""
    from dims_hf.reproduction import running
    from dims_hf.reproduction.command import reproduce

    running.launch_run = _fork_run
    return reproduce([*REPRODUCTION, "--output_dir", str(output_dir)])


def _fork_run(run: Any, folder: Path, needs: dict[str, Path], processes: Any = None) -> int:
    import json

    from dims_hf.recipes.launching import Processes
    from dims_hf.reports.files import write_text
    from dims_hf.reproduction import running, worker

    recipe = running.recipe_of(run, folder, needs, Processes(1))
    write_text(json.dumps(recipe, indent=1) + "\n", folder / running.RECIPE)
    process = os.fork()
    if process == 0:
        status = 70
        try:
            log = os.open(folder / running.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(log, stream)
            status = worker.main([run.kind, str(folder.resolve() / running.RECIPE)])
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
