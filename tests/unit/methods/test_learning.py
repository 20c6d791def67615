# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Every family learns a small language by its own method: after seconds of training it knows much of it."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dims_hf import MODELS, NATTrainer, NATTrainingArguments, translate
from tests.fixtures.training import make_arguments


# family -> settings beside those of all
SETTINGS: dict[str, dict[str, object]] = {
    "alignart": {"max_steps": 120},
    "imputer": {"max_steps": 800, "ctc_steps": 800},
    "insertion": {"max_steps": 1500},
}


@pytest.mark.slow
@pytest.mark.parametrize("family", MODELS)
def test_family_learns_to_translate(family: str, toy: SimpleNamespace, tmp_path: Path):
    settings = {"max_steps": 300, "learning_rate": 5e-3, "logging_steps": 20, **SETTINGS.get(family, {})}
    args = make_arguments(NATTrainingArguments, tmp_path, **settings)
    torch.manual_seed(0)
    model = copy.deepcopy(toy.models[family])
    trainer = NATTrainer(model, args, train_dataset=toy.train, processing_class=toy.tokenizer)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.7 * losses[0], losses
    sources, targets = list(toy.valid_text["source"]), list(toy.valid_text["target"])
    texts = [each.text for each in translate(model.eval(), toy.tokenizer, sources)]
    found = sum(len(set(text.split()) & set(target.split())) for text, target in zip(texts, targets))
    assert found > 0.2 * sum(len(set(target.split())) for target in targets), texts[:5]
