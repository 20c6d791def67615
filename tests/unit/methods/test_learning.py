# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The loss of every family falls by its own method, within seconds, on a small language."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dims_hf import MODELS, NATTrainer, NATTrainingArguments
from tests.fixtures.training import make_arguments


# family -> settings beside those of all
SETTINGS: dict[str, dict[str, object]] = {"imputer": {"ctc_steps": 120}}


@pytest.mark.slow
@pytest.mark.parametrize("family", list(MODELS))
def test_loss_of_a_family_falls(family: str, toy: SimpleNamespace, tmp_path: Path):
    args = make_arguments(
        NATTrainingArguments, tmp_path, max_steps=120, learning_rate=5e-3, logging_steps=20,
        **SETTINGS.get(family, {}),
    )  # fmt: skip
    torch.manual_seed(0)
    model = copy.deepcopy(toy.models[family])
    trainer = NATTrainer(model, args, train_dataset=toy.train, processing_class=toy.tokenizer)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.8 * losses[0], losses
