# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A toy parallel corpus of numbers in words, a teacher that has learnt some of it, and trainers over both."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dims_hf import MODELS, CMLMForConditionalGeneration, DiMSConfig, DiMSTrainer, NATTrainer, NATTrainingArguments
from dims_hf.data import encode_corpus, train_tokenizer


NUMBERS = {
    "one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs", "seven": "sieben",
}  # fmt: skip


def make_pairs(count: int, seed: int) -> dict[str, list[str]]:
    """Sentences of one to six numbers."""
    generator = torch.Generator().manual_seed(seed)
    words = list(NUMBERS)
    lengths = torch.randint(1, 7, (count,), generator=generator).tolist()
    sources = [[words[i] for i in torch.randint(len(words), (length,), generator=generator)] for length in lengths]
    return {
        "source": [" ".join(row) for row in sources],
        "target": [" ".join(NUMBERS[word] for word in row) for row in sources],
    }


@pytest.fixture(scope="session")
def toy() -> SimpleNamespace:
    """`tokenizer`, encoded `train` and `valid`, the text of `valid`, and an untrained model of each family: the CMLM
    `model`, and all in `models` (copy them)."""
    from datasets import Dataset

    train, valid = make_pairs(90, seed=0), make_pairs(20, seed=1)
    tokenizer = train_tokenizer([*train["source"], *train["target"]], vocab_size=60, max_length=24)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    fields = {
        "vocab_size": len(tokenizer), "encoder_attention_heads": 2, "decoder_attention_heads": 2, "dropout": 0.1,
        "max_position_embeddings": 24, "max_target_length": 25, **sizes,
    }  # fmt: skip
    # The blank is not in the tokenizer, since it is never written; alignments are twice as long as their sources.
    alignments = {"vocab_size": len(tokenizer) + 1, "blank_token_id": len(tokenizer), "max_position_embeddings": 48}
    limits = {"max_source_length": 24, "max_target_length": 24, "vocab_size": len(tokenizer)}
    corpus = {"train": Dataset.from_dict(train), "valid": Dataset.from_dict(valid)}
    models = {}
    for family, (config_class, _, model_class) in MODELS.items():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            models[family] = model_class(config_class(**fields | (alignments if family == "imputer" else {})))
    return SimpleNamespace(
        tokenizer=tokenizer,
        valid_text=corpus["valid"],
        model=models["cmlm"],
        models=models,
        **{split: encode_corpus(rows, tokenizer, **limits) for split, rows in corpus.items()},
    )


def make_arguments(kind: type, output_dir: Path, **settings: Any) -> NATTrainingArguments:
    """Settings for a few seconds of training on the toy corpus."""
    defaults = {
        "max_steps": 6,
        "max_tokens_per_batch": 256,
        "learning_rate": 2e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "eval_strategy": "no",
        "disable_tqdm": True,
        "report_to": "none",
        "dataloader_pin_memory": False,
        "seed": 3,
    }
    return kind(output_dir=output_dir, **{**defaults, **settings})


def set_dropout(model: torch.nn.Module, dropout: float) -> None:
    model.config.dropout = dropout
    for module in model.modules():
        if hasattr(module, "self_attn"):
            module.dropout = dropout


@pytest.fixture
def make_teacher_trainer(toy: SimpleNamespace, tmp_path: Path) -> Callable[..., NATTrainer]:
    """A `NATTrainer` from the same weights every time; keyword arguments are settings."""

    def make(
        folder: str = "run", dropout: float = 0.0, evaluates: bool = False, family: str = "cmlm", **settings: Any
    ) -> NATTrainer:
        args = make_arguments(NATTrainingArguments, tmp_path / folder, **settings)
        model = copy.deepcopy(toy.models[family])
        set_dropout(model, dropout)
        data = {"eval_dataset": toy.valid, "eval_corpus": toy.valid_text} if evaluates else {}
        return NATTrainer(model, args, train_dataset=toy.train, processing_class=toy.tokenizer, **data)

    return make


@pytest.fixture
def make_cmlmc_trainer(make_teacher_trainer: Callable[..., NATTrainer]) -> Callable[..., NATTrainer]:
    """`make_teacher_trainer` with a CMLMC."""
    return partial(make_teacher_trainer, family="cmlmc")


@pytest.fixture
def make_imputer_trainer(make_teacher_trainer: Callable[..., NATTrainer]) -> Callable[..., NATTrainer]:
    """`make_teacher_trainer` with an Imputer."""
    return partial(make_teacher_trainer, family="imputer")


@pytest.fixture
def make_glancing_trainer(make_imputer_trainer: Callable[..., NATTrainer]) -> Callable[..., NATTrainer]:
    """`make_imputer_trainer` with glancing."""
    return partial(make_imputer_trainer, objective="ctc_glancing")


@pytest.fixture(scope="session")
def trained(toy: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> CMLMForConditionalGeneration:
    """The toy model after 150 updates (copy it)."""
    args = make_arguments(
        NATTrainingArguments, tmp_path_factory.mktemp("trained"), max_steps=150, learning_rate=5e-3, logging_steps=50
    )
    trainer = NATTrainer(copy.deepcopy(toy.model), args, train_dataset=toy.train, processing_class=toy.tokenizer)
    trainer.train()
    return trainer.model.eval()


@pytest.fixture
def make_dims_trainer(
    toy: SimpleNamespace, trained: CMLMForConditionalGeneration, tmp_path: Path
) -> Callable[..., DiMSTrainer]:
    """A `DiMSTrainer` whose student and teacher start as the trained toy model; keyword arguments are settings."""

    def make(
        folder: str = "run",
        teacher: Any = None,
        dropout: float = 0.0,
        evaluates: bool = False,
        start: torch.nn.Module = trained,
        **settings: Any,
    ) -> DiMSTrainer:
        args = make_arguments(DiMSConfig, tmp_path / folder, **settings)
        student = copy.deepcopy(start)
        set_dropout(student, dropout)
        data = {"eval_dataset": toy.valid, "eval_corpus": toy.valid_text} if evaluates else {}
        return DiMSTrainer(
            student, teacher, args, train_dataset=toy.train, processing_class=toy.tokenizer, **data
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def trained_imputer(toy: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    """The toy Imputer after 150 updates (copy it)."""
    args = make_arguments(
        NATTrainingArguments, tmp_path_factory.mktemp("imputer"), max_steps=150, learning_rate=5e-3, ctc_steps=60
    )
    model = copy.deepcopy(toy.models["imputer"])
    NATTrainer(model, args, train_dataset=toy.train, processing_class=toy.tokenizer).train()
    return model.eval()


@pytest.fixture
def make_imputer_dims_trainer(
    make_dims_trainer: Callable[..., DiMSTrainer], trained_imputer: torch.nn.Module
) -> Callable[..., DiMSTrainer]:
    """`make_dims_trainer` with the trained toy Imputer."""
    return partial(make_dims_trainer, start=trained_imputer)


@pytest.fixture(params=["teacher", "cmlmc", "dims", "imputer", "imputer_dims"])
def make_trainer(request: pytest.FixtureRequest) -> Callable[..., NATTrainer]:
    """Each of the two trainers in turn, and each kind of teacher."""
    return request.getfixturevalue(f"make_{request.param}_trainer")


@pytest.fixture(scope="session")
def training_log() -> Callable[[NATTrainer], list[dict[str, float]]]:
    """The training entries of a trainer's log without what depends on the clock or on the cut into micro-batches."""
    volatile = ("target_tokens_per_second", "data_wait_share", "padding_share")

    def read(trainer: NATTrainer) -> list[dict[str, float]]:
        entries = [entry for entry in trainer.state.log_history if "loss" in entry]
        return [{key: value for key, value in entry.items() if key not in volatile} for entry in entries]

    return read


@pytest.fixture(scope="session")
def largest_difference() -> Callable[[torch.nn.Module, torch.nn.Module], float]:
    """
    Largest difference between the parameters of two models.

    `up_to_rounding=True` leaves out the keys' biases: attention does not depend on them, so that their gradient is
    rounding noise alone, which Adam blows up to full steps.
    """

    def compare(first: torch.nn.Module, second: torch.nn.Module, *, up_to_rounding: bool = False) -> float:
        pairs = zip(first.named_parameters(), second.parameters(), strict=True)
        return max(
            (left - right).abs().max().item()
            for (name, left), right in pairs
            if not (up_to_rounding and name.endswith("k_proj.bias"))
        )

    return compare
