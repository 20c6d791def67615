# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Likelihoods by which a one-pass model chooses targets: by hand from its logits, alone and in batches."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dims_hf import MODELS
from dims_hf.distillation import score_targets
from dims_hf.models.alignment import collapse_alignment


SOURCES = [[0, 7, 8, 2], [0, 9, 2], [0, 7, 8, 9, 10, 2]]
TARGETS = [[0, 11, 12, 2], [0, 12, 2], [0, 2]]


def make(family, **fields):
    config_class, _, model_class = MODELS[family]
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 16}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = model_class(config_class(vocab_size=14, **sizes, **heads, **fields)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return model


def test_masked_targets_by_hand_whatever_the_batch():
    model = make("cmlm", max_target_length=16)
    expected = []
    for source, target in zip(SOURCES, TARGETS, strict=True):
        masked = torch.tensor([[0, *[4] * (len(target) - 2), 2]])
        output = model(torch.tensor([source]), decoder_input_ids=masked, return_length_logits=True)
        log_probs = output.logits[0].log_softmax(dim=-1)
        tokens = sum(log_probs[place, token].item() for place, token in enumerate(target) if token > 2)
        expected.append(tokens + output.length_logits[0].log_softmax(dim=-1)[len(target)].item())
    assert score_targets(model, SOURCES, TARGETS) == pytest.approx(expected, rel=1e-4)
    alone = [score_targets(model, [source], [target])[0] for source, target in zip(SOURCES, TARGETS, strict=True)]
    assert alone == pytest.approx(expected, rel=1e-4)


def test_alignments_are_summed_over():
    model = make("imputer", blank_token_id=13)
    (found,) = score_targets(model, [[0, 9, 2]], [[0, 11, 12, 2]])
    log_probs = model(torch.tensor([[0, 9, 2]]), decoder_input_ids=torch.full((1, 6), 4)).logits[0].log_softmax(dim=-1)
    total = 0.0
    for path in itertools.product((11, 12, 13), repeat=6):
        tokens, lengths = collapse_alignment(
            torch.tensor([path]), torch.tensor([6]), blank_token_id=13, pad_token_id=1
        )
        if tokens[0, : int(lengths)].tolist() == [11, 12]:
            total += math.exp(sum(log_probs[frame, token].item() for frame, token in enumerate(path)))
    assert found == pytest.approx(math.log(total), rel=1e-4)
    # seven tokens have no alignment of six frames
    assert score_targets(model, [[0, 9, 2]], [[0, *range(5, 12), 2]]) == [-math.inf]


@pytest.mark.parametrize(
    ("family", "fields"), [("imputer", {"blank_token_id": 13}), ("cmlm", {"max_target_length": 16})]
)
def test_targets_of_one_source_score_as_they_do_alone(family, fields):
    model = make(family, **fields)
    targets = [[0, 11, 12, 2], [0, 12, 2], [0, 5, 5, 2], [0, 2]]
    pairs = [(source, target) for target in targets for source in SOURCES]  # not side by side
    pairs.append(([0, 8, 7, 2], [0, 6, 11, 5, 2]))
    found = score_targets(model, *map(list, zip(*pairs, strict=True)))
    alone = [score_targets(model, [source], [target])[0] for source, target in pairs]
    assert found == pytest.approx(alone, rel=1e-5)
    assert len({round(score, 4) for score in found}) > 9


def test_what_is_too_long_is_never_chosen_and_other_families_are_refused():
    model = make("cmlm", max_target_length=16)
    long = [0, *[7] * 20, 2]
    assert score_targets(model, [SOURCES[0], long], [long, TARGETS[0]]) == [-math.inf, -math.inf]
    with pytest.raises(ValueError, match="Models of type dat choose no targets"):
        score_targets(make("dat"), SOURCES, TARGETS)
