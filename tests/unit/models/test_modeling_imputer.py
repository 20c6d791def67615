# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What an Imputer has that others have not: templates, the loss over alignments; and what it lacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby, product

import pytest
import torch
from torch.nn import functional as F

from dims_hf import MODELS, ImputerForConditionalGeneration


pytestmark = pytest.mark.parametrize("family", ["imputer"], indirect=True)

PAD, MASK, BLANK = 1, 4, 5
SOURCE = torch.tensor([[0, 7, 8, 9, 10, 2], [0, 7, 11, 2, 1, 1]])
LABELS = torch.tensor([[7, 13, 13], [6, -100, -100]])


# ---- templates ----


def test_template_has_twice_the_source_tokens(make_model: Callable):
    ids, mask = make_model().make_template(SOURCE.ne(PAD))
    assert ids.tolist() == [[MASK] * 12, [MASK] * 8 + [PAD] * 4]
    assert mask.dtype == torch.bool and mask.sum(dim=1).tolist() == [12, 8]
    assert torch.equal(mask, ids != PAD)


def test_template_of_left_padded_sources_is_padded_on_the_right(make_model: Callable):
    ids, _ = make_model(upsample_ratio=3).make_template(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]))
    assert ids.tolist() == [[MASK] * 6 + [PAD] * 6, [MASK] * 12]


def test_template_grows_to_what_a_target_needs(make_model: Callable):
    ids, mask = make_model().make_template(SOURCE.ne(PAD), torch.tensor([5, 17]))
    assert mask.sum(dim=1).tolist() == [12, 17] and ids.shape == (2, 17)


def test_template_longer_than_the_position_table_is_refused_with_the_fix(make_model: Callable):
    model = make_model(max_position_embeddings=12)
    assert model.config.max_source_length == 6
    assert model.make_template(SOURCE.ne(PAD))[0].shape == (2, 12)
    message = r"Row 1 has 7 source tokens and an alignment of 14 positions \(upsample_ratio=2\), .* of 12\. Split"
    long = torch.ones(2, 7)
    long[0, 3:] = 0
    with pytest.raises(ValueError, match=message):
        model.make_template(long)
    with pytest.raises(ValueError, match=message):
        model(torch.full((2, 7), 9), long)
    with pytest.raises(ValueError, match=message):
        model.generate(torch.full((2, 7), 9), long)
    with pytest.raises(ValueError, match="Row 0 has 4 source tokens and an alignment of 13 positions"):
        model.make_template(torch.ones(1, 4), torch.tensor([13]))


def test_missing_alignment_is_the_template(make_model: Callable):
    model = make_model()
    ids, mask = model.make_template(SOURCE.ne(PAD))
    with torch.no_grad():
        expected = model(SOURCE, SOURCE.ne(PAD), ids, mask).logits
        encoded = model.get_encoder()(SOURCE, SOURCE.ne(PAD))
        embeds = model.get_input_embeddings()(SOURCE)
        outputs = [
            model(SOURCE),
            model(SOURCE, SOURCE.ne(PAD)),
            model(attention_mask=SOURCE.ne(PAD), encoder_outputs=encoded),
            model(attention_mask=SOURCE.ne(PAD), inputs_embeds=embeds),
        ]
    assert all(torch.equal(output.logits, expected) for output in outputs)
    with torch.no_grad():
        unpadded = model.get_encoder()(SOURCE[:1])
        assert model(encoder_outputs=(unpadded.last_hidden_state,)).logits.shape == (1, 12, 20)
    with pytest.raises(ValueError, match=r"The source is missing\. Pass input_ids"):
        model()


# ---- parts ----


def test_weights_are_those_of_a_cmlm_without_a_length_predictor(make_model: Callable):
    model = make_model()
    cmlm = MODELS["cmlm"][2](MODELS["cmlm"][0](**{**model.config.to_dict(), "max_target_length": 16}))
    assert set(cmlm.state_dict()) - set(model.state_dict()) == {"length_head.weight"}
    assert set(model.state_dict()) < set(cmlm.state_dict())
    assert not hasattr(model, "predict_length") and not hasattr(model.config, "max_target_length")
    assert "length_logits" not in model(SOURCE, labels=LABELS)


# ---- loss ----


def enumerate_nll(log_probs: torch.Tensor, target: list[int], force_emits: list[int]) -> float:
    """−log of the summed probability of every alignment that collapses to the target and agrees with the forced."""
    total = 0.0
    for path in product([BLANK, *sorted(set(target))], repeat=len(log_probs)):
        states, collapsed = [], []
        for token, run in groupby(path):
            collapsed += [] if token == BLANK else [token]
            states += [2 * len(collapsed) - (token != BLANK)] * len(list(run))
        agrees = all(forced in (-1, state) for forced, state in zip(force_emits, states, strict=True))
        if collapsed == target and agrees:
            total += math.exp(sum(log_probs[frame, token].item() for frame, token in enumerate(path)))
    return -math.log(total)


def test_loss_sums_all_alignments_over_the_free_positions(make_model: Callable):
    model, source = make_model(initializer_range=0.1), torch.tensor([[0, 9, 2], [0, 2, 1]])
    labels, targets = torch.tensor([[7, 7], [6, -100]]), [[7, 7], [6]]
    force_emits = torch.tensor([[-1, 1, -1, -1, 3, -1], [-1, -1, 1, -1, -1, -1]])
    alignment = torch.tensor([[MASK, 7, MASK, MASK, 7, MASK], [MASK, MASK, 6, MASK, PAD, PAD]])
    for given, forced in ((None, torch.full((2, 6), -1)), (force_emits, force_emits)):
        outputs = model(source, decoder_input_ids=alignment, labels=labels, force_emits=given)
        log_probs = outputs.logits.log_softmax(dim=-1)
        nll = sum(
            enumerate_nll(log_probs[row, :length], targets[row], forced[row, :length].tolist())
            for row, length in enumerate((6, 4))
        )
        num_free = 10 if given is None else 7
        assert outputs.loss.item() == pytest.approx(nll / num_free, rel=1e-4)
        divided = model(
            source, decoder_input_ids=alignment, labels=labels, force_emits=given, num_items_in_batch=torch.tensor(20)
        )
        assert divided.loss.item() == pytest.approx(nll / 20, rel=1e-4)
    assert outputs.decoder_last_hidden_state.shape == (2, 6, 16)


def test_loss_without_forced_positions_is_that_of_torch(make_model: Callable):
    model = make_model()
    outputs = model(SOURCE, labels=LABELS)
    expected = F.ctc_loss(
        outputs.logits.log_softmax(dim=-1).transpose(0, 1), LABELS.clamp(min=0), torch.tensor([12, 8]),
        torch.tensor([3, 1]), blank=BLANK, reduction="sum",
    )  # fmt: skip
    torch.testing.assert_close(outputs.loss, expected / 20)


def test_sentence_without_an_alignment_adds_nothing_and_no_nan(make_model: Callable):
    model = make_model().train()
    source, labels = torch.tensor([[0, 9, 2], [0, 2, 1]]), torch.tensor([[7, 8, -100, -100], [6, 6, 6, 6]])
    both = model(source, labels=labels)  # four equal tokens need seven positions, and there are four
    alone = model(source[:1], labels=labels[:1, :2], num_items_in_batch=10)
    torch.testing.assert_close(both.loss, alone.loss)
    both.loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    model.zero_grad()
    none = model(source[1:], labels=labels[1:])
    assert none.loss.item() == 0.0
    none.loss.backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in model.parameters())
    contradicting = torch.full((1, 4), 3)
    assert model(source[1:, :2], labels=labels[1:, :2], force_emits=contradicting).loss.item() == 0.0
    blanks = model(source[1:, :2], labels=torch.full((1, 2), -100), force_emits=torch.zeros(1, 4).long())
    assert blanks.loss.isfinite()  # nothing is free, and nothing is the target


def test_labels_in_the_wrong_place_are_refused(make_model: Callable):
    model = make_model()
    with pytest.raises(ValueError, match="labels need the logits of every position"):
        model(SOURCE, labels=LABELS, logits_positions=torch.ones(2, 12, dtype=torch.bool))
    with pytest.raises(ValueError, match="real positions after padding"):
        model(SOURCE, labels=torch.tensor([[-100, 7, 8], [6, -100, -100]]))
    with pytest.raises(ValueError, match="targets hold the blank 5"):
        model(SOURCE, labels=torch.tensor([[7, BLANK, 8], [6, -100, -100]]))


def test_packed_logits_equal_the_full_ones(make_model: Callable):
    model = make_model()
    positions = torch.rand(2, 12, generator=torch.Generator().manual_seed(0)) < 0.5
    full, packed = model(SOURCE), model(SOURCE, logits_positions=positions)
    torch.testing.assert_close(packed.logits, full.logits[positions])
    assert packed.decoder_last_hidden_state.shape == (2, 12, 16) and packed.loss is None


def test_training_on_one_batch_makes_single_pass_decoding_right(make_model: Callable):
    model = make_model(initializer_range=0.02, d_model=32, encoder_layers=1, decoder_layers=1).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model(SOURCE, labels=LABELS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert isinstance(model, ImputerForConditionalGeneration)
    assert model.eval().generate(SOURCE, num_iterations=1).tolist() == [[0, 7, 13, 13, 2], [0, 6, 2, 1, 1]]
