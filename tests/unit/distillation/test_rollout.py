# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Teacher rollout: counts by hand, and both label modes against a loop over single sentences."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from dims_hf import roll_out_teacher
from dims_hf.distillation.rollout import resolve_label_mode


BOS, PAD, EOS, MASK = 0, 1, 2, 4
SPECIAL = [BOS, PAD, EOS, MASK]


def make_sentence(num_content, num_masked, seed=0, source_length=6):
    """A source (S,) and a target (T,) whose first content tokens, after a shuffle, are masked."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.cat([torch.tensor([BOS]), torch.randint(5, 20, (source_length,), generator=generator)])
    target = torch.randint(5, 20, (num_content,), generator=generator)
    target[torch.randperm(num_content, generator=generator)[:num_masked]] = MASK
    return torch.cat([source, torch.tensor([EOS])]), torch.cat([torch.tensor([BOS]), target, torch.tensor([EOS])])


def pad_rows(rows, width=None):
    width = width or max(map(len, rows))
    return torch.stack([torch.cat([row, torch.full((width - len(row),), PAD)]) for row in rows])


def make_batch(sizes, extra=0):
    pairs = [make_sentence(*size, seed=number, source_length=3 + number) for number, size in enumerate(sizes)]
    sources, targets = (pad_rows([pair[side] for pair in pairs]) for side in (0, 1))
    if extra:
        sources, targets = (pad_rows(list(rows), rows.shape[1] + extra) for rows in (sources, targets))
    return pairs, sources, sources.ne(PAD).long(), targets


def roll_out_slowly(model, source, target, num_iterations, mode):
    """One sentence, position by position: what the paper's (frozen) and the reference's (last) description say."""
    tokens, masked = target.tolist(), [i for i, token in enumerate(target.tolist()) if token == MASK]
    is_open, labels, states, scores, history = set(masked), {}, {}, {}, []
    for step in range(1, num_iterations + 1):
        with torch.no_grad():
            output = model(source[None], decoder_input_ids=torch.tensor([tokens]), output_hidden_states=True)
        for i in sorted(is_open):
            logits = output.logits[0, i]
            allowed = [token for token in range(len(logits)) if token not in SPECIAL]
            tokens[i] = max(allowed, key=lambda token: logits[token].item())
            allowed_sum = math.log(sum(math.exp(logits[token].item()) for token in allowed))
            scores[i] = logits[tokens[i]].item() - allowed_sum
            labels[i], states[i] = logits, output.decoder_last_hidden_state[0, i]
        num_left = len(masked) - math.floor(step * len(masked) / num_iterations)
        left = sorted(is_open, key=lambda i: (scores[i], i))[:num_left]
        for i in left:
            tokens[i] = MASK
        is_open = set(left) if mode == "frozen" else set(masked)
        history.append(list(tokens))
    stacked = [torch.stack([rows[i] for i in masked]) for rows in (labels, states)]
    return SimpleNamespace(logits=stacked[0], hidden_states=stacked[1], tokens=tokens, history=history)


@pytest.mark.parametrize("label_mode", ["frozen", "last"])
@pytest.mark.parametrize(
    ("num_content", "num_masked", "num_iterations", "left"),
    [
        (7, 7, 3, [5, 3, 0]),
        (7, 5, 2, [3, 0]),
        (10, 7, 2, [4, 0]),
        (10, 7, 4, [6, 4, 2, 0]),
        (4, 1, 2, [1, 0]),
        (12, 3, 8, [3, 3, 2, 2, 2, 1, 1, 0]),
        (20, 13, 4, [10, 7, 4, 0]),
        (1, 1, 2, [1, 0]),
        (3, 1, 2, [1, 0]),
        (6, 4, 1, [0]),
    ],
)
def test_rollout_masks_left_after_each_pass_are_the_table(
    model, num_content, num_masked, num_iterations, left, label_mode
):
    source, target = make_sentence(num_content, num_masked)
    labels = roll_out_teacher(
        model, source[None], torch.ones(1, len(source)), target[None], num_iterations=num_iterations,
        label_mode=label_mode,
    )  # fmt: skip
    assert [int((tokens == MASK).sum()) for tokens in labels.history] == left
    assert labels.logits.shape == (num_masked, 20) and labels.hidden_states.shape == (num_masked, 16)


SIZES = [(7, 7), (10, 4), (3, 1), (5, 3), (9, 8)]


@pytest.mark.parametrize("num_iterations", [1, 2, 3, 5])
@pytest.mark.parametrize("label_mode", ["frozen", "last"])
def test_rollout_of_a_batch_equals_the_loop_over_sentences(model, label_mode, num_iterations):
    pairs, sources, attention_mask, targets = make_batch(SIZES)
    labels = roll_out_teacher(
        model, sources, attention_mask, targets, num_iterations=num_iterations, label_mode=label_mode
    )
    expected = [roll_out_slowly(model, *pair, num_iterations, label_mode) for pair in pairs]
    torch.testing.assert_close(labels.logits, torch.cat([each.logits for each in expected]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        labels.hidden_states, torch.cat([each.hidden_states for each in expected]), atol=1e-5, rtol=1e-5
    )
    for row, each in enumerate(expected):
        length = len(each.tokens)
        assert labels.tokens[row, :length].tolist() == each.tokens
        assert [tokens[row, :length].tolist() for tokens in labels.history] == each.history


def test_rollout_modes_differ_in_labels_but_not_in_the_first_selection(model):
    _, sources, attention_mask, targets = make_batch(SIZES)
    frozen, last = (
        roll_out_teacher(model, sources, attention_mask, targets, num_iterations=2, label_mode=mode)
        for mode in ("frozen", "last")
    )
    assert torch.equal(frozen.history[0], last.history[0])
    first = roll_out_teacher(model, sources, attention_mask, targets, num_iterations=1)
    is_masked = targets == MASK
    revealed = frozen.history[0][is_masked] != MASK
    # Frozen: revealed tokens keep the labels of pass one, all others have those of pass two, as all have with "last".
    assert torch.equal(frozen.logits[revealed], first.logits[revealed])
    assert torch.equal(frozen.hidden_states[revealed], first.hidden_states[revealed])
    torch.testing.assert_close(frozen.logits[~revealed], last.logits[~revealed])
    assert (frozen.logits[revealed] - last.logits[revealed]).abs().max() > 0.01
    # Last: the labels are those of one pass over what the first pass left.
    second = model(sources, attention_mask, frozen.history[0], targets.ne(PAD), logits_positions=is_masked)
    torch.testing.assert_close(last.logits, second.logits)
    torch.testing.assert_close(last.hidden_states, second.decoder_last_hidden_state[is_masked])


def test_rollout_auto_is_frozen_for_cmlm_and_last_for_self_correcting_models(make_model):
    _, sources, attention_mask, targets = make_batch(SIZES)
    model = make_model()
    for update_all_positions, mode in ((False, "frozen"), (True, "last")):
        model.config.update_all_positions = update_all_positions
        auto, forced = (
            roll_out_teacher(model, sources, attention_mask, targets, label_mode=name) for name in ("auto", mode)
        )
        assert torch.equal(auto.logits, forced.logits)
        assert resolve_label_mode("auto", update_all_positions) == mode


@pytest.mark.parametrize("label_mode", ["frozen", "last"])
def test_rollout_encodes_once_and_decodes_once_per_pass(model, label_mode):
    _, sources, attention_mask, targets = make_batch(SIZES)
    calls = {"encoder": 0, "decoder": 0}

    def count(name):
        return lambda *_: calls.update({name: calls[name] + 1})

    hooks = [getattr(model.model, name).register_forward_hook(count(name)) for name in calls]
    roll_out_teacher(model, sources, attention_mask, targets, num_iterations=3, label_mode=label_mode)
    for hook in hooks:
        hook.remove()
    assert calls == {"encoder": 1, "decoder": 3}


@pytest.mark.parametrize("label_mode", ["frozen", "last"])
def test_rollout_fills_every_mask_and_leaves_the_reference_alone(model, label_mode):
    _, sources, attention_mask, targets = make_batch(SIZES)
    before = targets.clone()
    labels = roll_out_teacher(model, sources, attention_mask, targets, num_iterations=3, label_mode=label_mode)
    assert torch.equal(targets, before)
    is_masked = targets == MASK
    for tokens in (labels.tokens, *labels.history):
        assert torch.equal(tokens[~is_masked], targets[~is_masked])
    assert not any((labels.tokens[is_masked] == token).any() for token in SPECIAL)
    assert torch.equal(labels.tokens, labels.history[-1])
    assert not labels.logits.requires_grad and not labels.hidden_states.requires_grad


@pytest.mark.parametrize("label_mode", ["frozen", "last"])
def test_rollout_depends_neither_on_padding_nor_on_the_batch(model, label_mode):
    _, sources, attention_mask, targets = make_batch(SIZES)
    _, wide_sources, wide_mask, wide_targets = make_batch(SIZES, extra=4)
    options = {"num_iterations": 3, "label_mode": label_mode}
    labels = roll_out_teacher(model, sources, attention_mask, targets, **options)
    wide = roll_out_teacher(model, wide_sources, wide_mask, wide_targets, **options)
    assert torch.equal(labels.tokens, wide.tokens[:, : targets.shape[1]])
    torch.testing.assert_close(labels.logits, wide.logits, atol=1e-5, rtol=1e-5)
    start = 0
    for row in range(len(SIZES)):
        rows = slice(row, row + 1)
        alone = roll_out_teacher(model, sources[rows], attention_mask[rows], targets[rows], **options)
        stop = start + alone.logits.shape[0]
        torch.testing.assert_close(labels.logits[start:stop], alone.logits, atol=1e-5, rtol=1e-5)
        assert torch.equal(labels.tokens[rows], alone.tokens)
        start = stop
    assert start == labels.logits.shape[0]


BLOCK_COUNTS = {
    (4, 3, 2): [2, 0],
    (8, 5, 2): [3, 0],
    (8, 7, 4): [6, 4, 2, 0],
    (16, 11, 2): [6, 0],
}


@pytest.mark.parametrize("label_mode", ["frozen", "last"])
@pytest.mark.parametrize(("size", "count", "num_iterations"), BLOCK_COUNTS)
def test_rollout_in_blocks_leaves_the_masks_of_the_table_in_each(model, size, count, num_iterations, label_mode):
    width = size + size // 2 if size == 16 else 2 * size + size // 2
    alignment = torch.randint(5, 20, (2, width), generator=torch.Generator().manual_seed(0))
    is_masked = torch.zeros_like(alignment, dtype=torch.bool)
    for start in range(0, width, size):
        is_masked[:, start : start + size][:, -count:] = True  # the last position of a block among them
    source = torch.tensor([[BOS, 6, 7, 8, EOS]] * 2)
    labels = roll_out_teacher(
        model, source, source.ne(PAD), alignment.masked_fill(is_masked, MASK), num_iterations=num_iterations,
        label_mode=label_mode, block_sizes=torch.full((2,), size),
    )  # fmt: skip
    for expected, tokens in zip(BLOCK_COUNTS[size, count, num_iterations], labels.history, strict=True):
        for start in range(0, width - size + 1, size):
            assert (tokens[:, start : start + size] == MASK).sum(dim=1).tolist() == [expected] * 2
    first = labels.history[0]
    assert not (first[:, size - 1 :: size] == MASK).any()  # revealed by the first pass
    assert torch.equal(first[~is_masked], alignment[~is_masked])


def test_rollout_in_blocks_of_n_reveals_no_neighbours_together(model):
    source = torch.tensor([[BOS, 6, 7, 8, EOS]])
    alignment = torch.full((1, 12), MASK)
    labels = roll_out_teacher(
        model, source, source.ne(PAD), alignment, num_iterations=4, block_sizes=torch.tensor([4])
    )
    before = alignment
    for tokens in labels.history:
        revealed = ((before == MASK) & (tokens != MASK))[0].nonzero().flatten()
        assert len(revealed) == 3 and (revealed.diff() > 1).all()
        before = tokens
    assert (labels.history[0] != MASK)[0].nonzero().flatten().tolist() == [3, 7, 11]


def test_rollout_in_blocks_depends_neither_on_padding_nor_on_the_batch(model):
    _, sources, attention_mask, targets = make_batch(SIZES)
    sizes = torch.tensor([2, 4, 8, 4, 16])
    labels = roll_out_teacher(model, sources, attention_mask, targets, block_sizes=sizes)
    for row in range(len(SIZES)):
        rows = slice(row, row + 1)
        alone = roll_out_teacher(model, sources[rows], attention_mask[rows], targets[rows], block_sizes=sizes[rows])
        assert torch.equal(labels.tokens[rows], alone.tokens)
        assert [tokens[rows].tolist() for tokens in labels.history] == [tokens.tolist() for tokens in alone.history]


def test_rollout_of_targets_without_masks_has_no_labels(model):
    _, sources, attention_mask, targets = make_batch([(4, 0), (6, 0)])
    labels = roll_out_teacher(model, sources, attention_mask, targets)
    assert labels.logits.shape == (0, 20) and labels.hidden_states.shape == (0, 16)
    assert torch.equal(labels.tokens, targets)


def test_rollout_of_a_batch_where_one_sentence_has_no_mask(model):
    pairs, sources, attention_mask, targets = make_batch([(4, 0), (6, 3)])
    labels = roll_out_teacher(model, sources, attention_mask, targets)
    expected = roll_out_slowly(model, *pairs[1], 2, "frozen")
    torch.testing.assert_close(labels.logits, expected.logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(labels.tokens[0], targets[0])


def test_rollout_of_an_imported_model_may_predict_specials_but_never_the_mask(make_model):
    # Imported checkpoints: <unk> is the mask, and nothing else is excluded.
    model = make_model(mask_token_id=3, suppress_special_tokens=False, legacy_mask_logit=-1000.0)
    source, target = make_sentence(8, 0)
    target[2:7] = 3
    labels = roll_out_teacher(model, source[None], torch.ones(1, len(source)), target[None], num_iterations=3)
    assert not (labels.tokens == 3).any()
    assert torch.equal(labels.logits[:, 3], torch.full((5,), -1000.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_iterations": 0}, "teacher_iterations must be >= 1, got 0. The paper uses 2"),
        ({"label_mode": "first"}, "label_mode must be one of auto, frozen, last, got 'first'"),
    ],
)
def test_rollout_refuses_impossible_settings_by_name(model, options, message):
    _, sources, attention_mask, targets = make_batch(SIZES)
    with pytest.raises(ValueError, match=message):
        roll_out_teacher(model, sources, attention_mask, targets, **options)


@pytest.mark.parametrize("label_mode", ["frozen", "last"])
def test_given_scores_take_the_place_of_confidence(model, label_mode):
    _, sources, attention_mask, targets = make_batch(SIZES)
    # the further to the left, the earlier
    scores = -torch.arange(1.0, targets.shape[1] + 1).expand(targets.shape)
    labels = roll_out_teacher(
        model, sources, attention_mask, targets, num_iterations=3, label_mode=label_mode, reveal_scores=scores
    )
    for row in range(len(targets)):
        masked = (targets[row] == MASK).nonzero().flatten().tolist()
        for number, tokens in enumerate(labels.history, start=1):
            num_left = len(masked) - number * len(masked) // 3
            assert (tokens[row] == MASK).nonzero().flatten().tolist() == masked[len(masked) - num_left :]


@pytest.mark.parametrize("label_mode", ["frozen", "last"])
def test_fewer_steps_label_what_they_reveal_like_all_of_them_and_the_rest_by_their_last(model, label_mode):
    _, sources, attention_mask, targets = make_batch(SIZES)
    inputs = model, sources, attention_mask, targets
    whole = roll_out_teacher(*inputs, num_iterations=4, label_mode=label_mode)
    part = roll_out_teacher(*inputs, num_iterations=4, label_mode=label_mode, steps_ahead=2)
    assert len(part.partial_tokens) == 1 and torch.equal(part.partial_tokens[0], whole.partial_tokens[0])
    is_masked = targets == MASK
    is_early = whole.partial_tokens[0][is_masked] != MASK
    is_new = (whole.partial_tokens[1][is_masked] != MASK) & ~is_early
    second = model(sources, attention_mask, whole.partial_tokens[0], targets.ne(PAD), logits_positions=is_masked)
    torch.testing.assert_close(part.logits[~is_early], second.logits[~is_early])
    if label_mode == "frozen":
        assert torch.equal(part.logits[is_early], whole.logits[is_early])
        torch.testing.assert_close(part.logits[is_new], whole.logits[is_new])
    else:
        torch.testing.assert_close(part.logits, second.logits)
    for number in (0, 5):
        with pytest.raises(ValueError, match=rf"steps_ahead must be in 1 … 4 \(teacher_iterations\), got {number}"):
            roll_out_teacher(*inputs, num_iterations=4, steps_ahead=number)
