# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training recipes in real processes: killed and started again, and two processes instead of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file


NUMBERS = {
    "one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs", "seven": "sieben",
}  # fmt: skip

COMMON = """
data: {data}
source_lang: en
target_lang: de
gradient_accumulation_steps: 1
max_tokens_per_batch: 256
learning_rate: 2e-3
adam_epsilon: 1e-6
lr_scheduler_type: constant
max_steps: 12
logging_steps: 2
eval_strategy: steps
eval_steps: 3
eval_iterations: [1, 2]
metric_for_best_model: loss
num_best_checkpoints: 2
collapse_patience: 100
save_strategy: steps
save_steps: 3
dataloader_pin_memory: false
disable_tqdm: true
report_to: none
seed: 5
"""
TEACHER = """
vocab_size: 60
d_model: 16
encoder_layers: 1
decoder_layers: 1
attention_heads: 2
ffn_dim: 32
dropout: 0.0
max_position_embeddings: 24
"""


def write_corpus(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 120), ("valid", 19)):
        lengths = torch.randint(1, 7, (count,), generator=generator).tolist()
        rows = [torch.randint(len(NUMBERS), (length,), generator=generator).tolist() for length in lengths]
        for language, words in (("en", list(NUMBERS)), ("de", list(NUMBERS.values()))):
            text = "".join(" ".join(words[i] for i in row) + "\n" for row in rows)
            (folder / f"{split}.{language}").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Three recipes, and what one uninterrupted process makes of each: `teacher`, `student`, `cmlmc` (a teacher)."""
    from dims_hf.recipes.runs import distill, train_teacher

    folder = tmp_path_factory.mktemp("runs")
    data = folder / "data"
    data.mkdir()
    write_corpus(data)
    common = COMMON.format(data=data)
    teacher, student = folder / "teacher", folder / "student"
    recipes = {"train_teacher.py": folder / "teacher.yaml", "train_dims.py": folder / "dims.yaml"}
    recipes["train_teacher.py"].write_text(common + TEACHER + f"output_dir: {teacher}\n")
    dims = f"teacher: {teacher}\nema_decay: 0.98\noutput_dir: {student}\n"
    recipes["train_dims.py"].write_text(common + dims)
    train_teacher([str(recipes["train_teacher.py"])])
    distill([str(recipes["train_dims.py"])])
    cmlmc = folder / "cmlmc"
    recipes["cmlmc"] = folder / "cmlmc.yaml"
    recipes["cmlmc"].write_text(common + TEACHER + f"model_type: cmlmc\noutput_dir: {cmlmc}\n")
    train_teacher([str(recipes["cmlmc"])])
    return SimpleNamespace(teacher=teacher, student=student, cmlmc=cmlmc, recipes=recipes)


@pytest.fixture(scope="module")
def environment(repository: Path) -> dict[str, str]:
    """One thread per process, and the package from this checkout."""
    return {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "training_summary.json").read_text())


def log_of(folder: Path, *volatile: str) -> list[dict]:
    """The log without what depends on the clock."""
    clock = ("target_tokens_per_second", "data_wait_share", "padding_share", "eval_runtime", "final_runtime")
    entries = [entry for entry in summary_of(folder)["log"] if "train_runtime" not in entry]
    return [{name: value for name, value in entry.items() if name not in (*clock, *volatile)} for entry in entries]


def largest_difference(first: Path, second: Path, *, without: str = " ") -> float:
    left, right = (load_file(path / "model.safetensors") for path in (first, second))
    assert left.keys() == right.keys()
    return max((left[name] - right[name]).abs().max().item() for name in left if not name.endswith(without))


def distill_until_killed(words: list[str]) -> None:
    """Dies at the eighth update, after the checkpoints of the third and sixth."""
    from dims_hf import DiMSTrainer
    from dims_hf.recipes.runs import distill

    step = DiMSTrainer.training_step

    def training_step(trainer: DiMSTrainer, *arguments: object) -> torch.Tensor:
        if trainer.state.global_step == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(trainer, *arguments)

    DiMSTrainer.training_step = training_step
    distill(words)


def train(kind: str, words: list[str]) -> None:
    from dims_hf.recipes.runs import distill, train_teacher

    (distill if kind == "student" else train_teacher)(words)


def test_killed_run_started_again_equals_the_uninterrupted_one(
    runs: SimpleNamespace, start_processes: Callable, tmp_path: Path
) -> None:
    folder = tmp_path / "student"
    words = [str(runs.recipes["train_dims.py"]), "--output_dir", str(folder)]
    killed = start_processes(distill_until_killed, words)
    assert killed.wait() == [-signal.SIGKILL], killed.log.read_text()[-2000:]
    assert (folder / "checkpoint-6").is_dir() and not (folder / "checkpoint-9").exists()
    assert not (folder / "training_summary.json").exists()

    again = start_processes(train, "student", words)
    assert again.wait() == [0], again.log.read_text()[-2000:]
    assert f"Resuming from {folder / 'checkpoint-6'}" in again.log.read_text()
    assert log_of(folder) == log_of(runs.student)
    assert summary_of(folder)["averaged_checkpoints"] == summary_of(runs.student)["averaged_checkpoints"]
    for part in ("", "checkpoint-12", "checkpoint-12/ema_teacher"):
        assert largest_difference(folder / part, runs.student / part) == 0, part


@pytest.mark.parametrize("kind", [pytest.param("cmlmc", marks=pytest.mark.slow), "student"])
def test_two_processes_with_half_the_budget_each_equal_one(
    runs: SimpleNamespace, start_processes: Callable, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "two"
    recipe = runs.recipes["train_dims.py" if kind == "student" else kind]
    words = [str(recipe), "--output_dir", str(folder), "--max_tokens_per_batch", "128"]
    two = start_processes(train, kind, words, num_processes=2)
    assert two.wait() == [0, 0], two.log.read_text()[-3000:]
    assert_equal_up_to_rounding(folder, runs, kind)


@pytest.mark.slow
def test_launched_script_equals_one_process(
    runs: SimpleNamespace, environment: dict[str, str], repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "two"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        str(repository / "training" / "train_teacher.py"), str(runs.recipes["train_teacher.py"]),
        "--output_dir", str(folder), "--max_tokens_per_batch", "128",
    ]  # fmt: skip
    result = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    assert_equal_up_to_rounding(folder, runs, "teacher")


def assert_equal_up_to_rounding(folder: Path, runs: SimpleNamespace, kind: str) -> None:
    expected = getattr(runs, kind)
    assert (folder / "checkpoint-12" / "rng_state_1.pth").is_file()  # there really were two
    assert [entry.keys() for entry in log_of(folder)] == [entry.keys() for entry in log_of(expected)]
    for entry, one in zip(log_of(folder, "grad_norm"), log_of(expected, "grad_norm"), strict=True):
        assert entry == pytest.approx(one, abs=2e-6), entry
    assert summary_of(folder)["metrics"]["final_bleu_1"] == summary_of(expected)["metrics"]["final_bleu_1"]
    assert summary_of(folder)["corpus_fingerprint"] == summary_of(expected)["corpus_fingerprint"]
    # Attention does not depend on the keys' biases: their gradient is rounding noise, which Adam blows up.
    parts = ["", "checkpoint-3", "checkpoint-12"] + ["checkpoint-12/ema_teacher"] * (kind == "student")
    for part in parts:
        assert largest_difference(folder / part, expected / part, without="k_proj.bias") <= 1e-6, part


def test_a_finished_run_started_again_changes_nothing(runs: SimpleNamespace) -> None:
    from dims_hf.recipes.runs import distill

    before = load_file(runs.student / "model.safetensors")
    log, seconds = log_of(runs.student), summary_of(runs.student)["train_runtime"]
    distill([str(runs.recipes["train_dims.py"])])
    after = load_file(runs.student / "model.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before)
    found = {path.name for path in runs.student.glob("checkpoint-*")}
    assert found == {f"checkpoint-{step}" for step in (3, 6, 9, 12)}
    assert log_of(runs.student) == log
    assert 0.5 * seconds < summary_of(runs.student)["train_runtime"] < 2 * seconds  # of both starts together


def test_final_model_is_the_average_of_the_best_and_decodes_in_one_pass(runs: SimpleNamespace) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    import dims_hf  # noqa: F401

    steps = [record["step"] for record in summary_of(runs.student)["averaged_checkpoints"]]
    assert len(steps) == 2
    stored = [load_file(runs.student / "best" / f"step-{step}" / "model.safetensors") for step in steps]
    final = load_file(runs.student / "model.safetensors")
    for name, value in final.items():
        torch.testing.assert_close(value, (stored[0][name] + stored[1][name]) / 2)
    model = AutoModelForSeq2SeqLM.from_pretrained(runs.student)
    assert model.generation_config.num_iterations == 1
    tokenizer = AutoTokenizer.from_pretrained(runs.student)
    assert model.generate(**tokenizer(["one two"], return_tensors="pt")).shape[0] == 1
