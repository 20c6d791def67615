# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training of graphs: what is shown and forced, FA-DAT, and distillation of a teacher's passes."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dims_hf import DiMSConfig, DiMSTrainer, NATTrainer, NATTrainingArguments, roll_out_graphs
from dims_hf.methods.base import Run
from dims_hf.models.graph import graph_best_path, pick_words
from tests.fixtures.training import make_arguments


@pytest.fixture(scope="module")
def trained_dat(toy: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    """The toy DA-Transformer after 150 updates (copy it)."""
    args = make_arguments(
        NATTrainingArguments, tmp_path_factory.mktemp("dat"), max_steps=150, learning_rate=5e-3, logging_steps=50
    )
    model = copy.deepcopy(toy.models["dat"])
    NATTrainer(model, args, train_dataset=toy.train, processing_class=toy.tokenizer).train()
    return model.eval()


@pytest.fixture
def make_trainer(toy: SimpleNamespace, trained_dat: torch.nn.Module, tmp_path: Path):
    def make(method: str, distils: bool = False, **settings) -> NATTrainer:
        kind = DiMSConfig if distils else NATTrainingArguments
        args = make_arguments(kind, tmp_path / method, method=method, **settings)
        trainer = DiMSTrainer if distils else NATTrainer
        return trainer(copy.deepcopy(trained_dat), args=args, train_dataset=toy.train, processing_class=toy.tokenizer)

    return make


def make_batch(trainer: NATTrainer, count: int = 12) -> dict[str, torch.Tensor]:
    return trainer.data_collator([trainer.train_dataset[row] for row in range(count)])


def losses(trainer: NATTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_words_are_shown_on_the_best_path_and_forced_there(make_trainer):
    trainer = make_trainer("dat", glancing_ratio=1.0, glancing_final_ratio=1.0)
    with torch.no_grad():  # an untrained projection predicts much of the target wrongly
        trainer.model.lm_head.weight.mul_(0.2)
    batch = trainer.mask(make_batch(trainer), 0)
    method, run = trainer.method, Run.of(trainer.model)
    tokens, forced = method.reveal(run, batch)
    targets, vertex_lengths, lengths = method.targets_of(batch)
    with torch.no_grad():
        outputs = trainer.model.eval()(
            batch["input_ids"], batch["attention_mask"], decoder_input_ids=batch["decoder_input_ids"],
            decoder_attention_mask=batch["decoder_attention_mask"], return_transitions=True,
        )  # fmt: skip
    words = pick_words(outputs.logits, targets, lengths)
    path = graph_best_path(words, outputs.transition_log_probs, vertex_lengths, lengths)
    is_shown = forced >= 0
    assert is_shown.any() and torch.equal(tokens != batch["decoder_input_ids"], is_shown)
    for row, vertex in is_shown.nonzero().tolist():
        index = int(forced[row, vertex])
        assert path[row, index] == vertex and tokens[row, vertex] == targets[row, index]
    predictions = outputs.logits.argmax(-1).gather(1, path.clamp(min=0))
    is_content = (targets > 4) & (path >= 0)
    assert is_shown.sum(1).tolist() == (is_content & (predictions != targets)).sum(1).tolist()
    assert make_trainer("fadat", glancing_ratio=1.0).method.reveal(run, batch)[1] is None


def test_fine_tuning_by_ngrams_raises_their_precision(make_trainer):
    trainer = make_trainer("fadat", max_steps=30, learning_rate=2e-3, glancing_ratio=0.0, glancing_final_ratio=0.0)
    trainer.train()
    first, last = losses(trainer)[:5], losses(trainer)[-5:]
    assert 0 < sum(last) < 0.9 * sum(first)
    entry = trainer.state.log_history[-2]
    assert 0 < entry["precision"] <= 1 and 0 < entry["brevity"] <= 1 and entry["expected_length"] > 2


@pytest.mark.parametrize("search", ["lookahead", "joint_viterbi"])
def test_first_pass_of_a_rollout_is_decoding_and_later_ones_see_the_surest_words(trained_dat, toy, search: str):
    rows = [toy.train[index]["input_ids"] for index in range(6)]
    width = max(map(len, rows))
    source = torch.tensor([row + [1] * (width - len(row)) for row in rows])
    mask = source.ne(1)
    first = roll_out_graphs(trained_dat, source, mask, num_iterations=1, graph_search=search)
    decoded = trained_dat.generate(
        source, mask, graph_search=search, path_length_penalty=1.0, min_passing_probability=0.0
    )
    width = decoded.shape[1]
    assert torch.equal(first.tokens[:, :width], decoded) and (first.tokens[:, width:] == 1).all()
    more = roll_out_graphs(trained_dat, source, mask, num_iterations=3, graph_search=search)
    shown = [(tokens != more.history[0]).sum(1) for tokens in more.history]
    assert len(shown) == 3 and not shown[0].any()
    assert shown[1].any() and int(shown[1].sum()) < int(shown[2].sum())
    ends = more.tokens.ne(1).sum(1) - 1
    assert (more.tokens[:, 0] == 0).all() and (more.tokens.gather(1, ends[:, None]) == 2).all()


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_student_of_a_graph_comes_closer_to_its_teacher(make_trainer, labels: str):
    settings = {"max_steps": 20, "learning_rate": 1e-3, "ema_decay": None, "teacher_iterations": 2}
    settings |= {"hidden_weight": 0.1} if labels == "soft" else {}
    trainer = make_trainer("dims_dat", True, graph_labels=labels, **settings)
    with torch.no_grad():  # away from the teacher
        for weight in trainer.model.model.decoder.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    trainer.train()
    first, last = losses(trainer)[:4], losses(trainer)[-4:]
    assert sum(last) < 0.8 * sum(first)
    parts = {"graph"} if labels == "hard" else {"kl", "transition", "hidden"}
    assert parts <= set(trainer.state.log_history[-2])


def test_settings_of_soft_labels_are_refused_with_hard_ones(make_trainer):
    with pytest.raises(ValueError, match="temperature has no effect on hard labels. Set graph_labels: soft"):
        make_trainer("dims_dat", True, temperature=0.7)
    with pytest.raises(ValueError, match="label_mode must be one of auto, last, got 'frozen'"):
        make_trainer("dims_dat", True, label_mode="frozen")
