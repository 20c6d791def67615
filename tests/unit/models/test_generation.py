# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""generate() with a length predictor: slow implementation, invariance, ranking, history, settings, refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, GenerationConfig

from dims_hf import MODELS, CMLMForConditionalGeneration, NATGenerateOutput
from dims_hf.models.decoding_mask_predict import KEPT, REMASKED, REVEALED, MaskPredict


PAD, MASK = 1, 4

LENGTH_FAMILIES = sorted(name for name, (config, *_) in MODELS.items() if config.decoding_strategy == "mask_predict")
for_every_length_family = pytest.mark.parametrize("family", LENGTH_FAMILIES, indirect=True)


# ---- a second implementation: one sentence, one length, plain Python ----


@torch.no_grad()
def decode_slowly(
    model: CMLMForConditionalGeneration, source: torch.Tensor, length: int, num_iterations: int
) -> tuple[list[int], list[float], int]:
    """
    Mask-predict of one unpadded sentence at one length (specials counted), through `forward` alone.

    Returns tokens `<s> … </s>`, the log-probability of each (0 for specials), and the passes that had a mask to fill.
    """
    config = model.config
    num_content = length - 2
    suppressed = [config.mask_token_id]
    if config.suppress_special_tokens:
        suppressed += [config.bos_token_id, config.pad_token_id, config.eos_token_id]
    inputs = [config.bos_token_id] + [config.mask_token_id] * num_content + [config.eos_token_id]
    tokens, scores, masked, num_passes = list(inputs), [0.0] * length, set(range(1, length - 1)), 0
    for t in range(num_iterations):
        updated = masked
        if config.update_all_positions:
            specials = (config.bos_token_id, config.pad_token_id, config.eos_token_id)
            updated = {position for position in range(1, length - 1) if inputs[position] not in specials}
        if not updated:
            break
        num_passes += 1
        all_tokens = torch.ones(1, length, dtype=torch.long)  # a predicted <pad> is a token like any other
        logits = model(
            source[None], decoder_input_ids=torch.tensor([inputs]), decoder_attention_mask=all_tokens
        ).logits
        for position in updated:
            row = logits[0, position].clone()
            row[suppressed] = -float("inf")
            row = row.log_softmax(dim=0)
            tokens[position] = int(row.argmax())
            scores[position] = row[tokens[position]].item()
        num_left = num_content * (num_iterations - t - 1) // num_iterations
        masked = set(sorted(range(1, length - 1), key=lambda position: (scores[position], position))[:num_left])
        inputs = [config.mask_token_id if position in masked else tokens[position] for position in range(length)]
    return tokens, scores, num_passes


@torch.no_grad()
def translate_slowly(
    model: CMLMForConditionalGeneration, source: torch.Tensor, num_iterations: int, beam: int
) -> list[tuple[list[int], float]]:
    """All length candidates of one sentence, best first: (tokens, score)."""
    encoded = model.get_encoder()(source[None]).last_hidden_state
    predicted = int(model.predict_length(encoded, torch.ones(1, len(source))).argmax())
    longest = min(model.config.max_position_embeddings, model.config.max_target_length - 1)
    shortest = 3 if model.config.suppress_special_tokens else 2
    lengths = [min(max(predicted - beam // 2 + i, shortest), longest) for i in range(beam)]
    candidates = []
    for length in lengths:
        tokens, scores, _ = decode_slowly(model, source, length, num_iterations)
        candidates.append((tokens, sum(scores) / length))
    # `sorted` is stable, so that equal scores leave the shorter candidate first.
    return sorted(candidates, key=lambda candidate: -candidate[1])


def unpad(row: torch.Tensor) -> list[int]:
    """Ids up to the final `</s>`; padding must be all that follows."""
    ids = row.tolist()
    while ids[-1] == PAD:
        ids.pop()
    return ids


@for_every_length_family
@pytest.mark.parametrize("update_all_positions", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_batches_equal_the_slow_implementation(
    make_translator, make_sources, pad, seed: int, update_all_positions: bool
):
    model = make_translator(seed, update_all_positions=update_all_positions)
    sources = make_sources(seed, 5)
    for num_iterations, beam in [(1, 1), (2, 3), (4, 2), (7, 5), (12, 1)]:
        output = model.generate(
            pad(sources),
            num_iterations=num_iterations,
            length_beam_size=beam,
            num_return_sequences=beam,
            collapse_repeats=False,
            return_dict_in_generate=True,
        )
        slow = [candidate for source in sources for candidate in translate_slowly(model, source, num_iterations, beam)]
        assert [unpad(row) for row in output.sequences] == [tokens for tokens, _ in slow]
        scores = [score for _, score in slow]
        torch.testing.assert_close(output.sequences_scores, torch.tensor(scores), atol=1e-5, rtol=0)


@for_every_length_family
def test_the_random_models_of_these_tests_are_not_degenerate(make_translator, make_sources, pad):
    # Otherwise agreement would prove little: iterations must matter, and tokens must differ within a sentence.
    changed, distinct = 0, 0
    for seed in range(6):
        model, sources = make_translator(seed), pad(make_sources(seed, 5))
        once, often = (model.generate(sources, num_iterations=n, collapse_repeats=False) for n in (1, 4))
        changed += (once != often).any(dim=1).sum().item()
        distinct += sum(len(set(unpad(row)[1:-1])) > 2 for row in often)
    assert changed >= 15 and distinct >= 15


# ---- invariance ----


@for_every_length_family
@pytest.mark.parametrize("seed", range(8))
def test_translation_depends_on_neither_batch_nor_padding_nor_order(make_translator, make_sources, pad, seed: int):
    model, sources = make_translator(seed, dropout=0.3), make_sources(100 + seed, 7)
    settings = {"num_iterations": 3, "length_beam_size": 3, "return_dict_in_generate": True}
    alone = [model.generate(source[None], **settings) for source in sources]
    expected = [unpad(output.sequences[0]) for output in alone]
    scores = torch.cat([output.sequences_scores for output in alone])
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed)).tolist()
    batches = [
        (pad(sources), range(7)),
        (pad(sources, side="left"), range(7)),
        (pad(sources, width=25), range(7)),
        (pad(sources, side="left", width=40), range(7)),  # wider than the position table, with fewer tokens
        (pad([sources[i] for i in order]), order),
        (pad([sources[i] for i in order[:3]] * 2), order[:3] * 2),
    ]
    for input_ids, rows in batches:
        for attention_mask in (None, input_ids.ne(PAD).long(), input_ids.ne(PAD).float()):
            output = model.generate(input_ids, attention_mask, **settings)
            assert [unpad(row) for row in output.sequences] == [expected[i] for i in rows]
            torch.testing.assert_close(output.sequences_scores, scores[list(rows)], atol=1e-5, rtol=0)


@for_every_length_family
def test_history_does_not_depend_on_the_batch(make_translator, make_sources, pad):
    model, sources = make_translator(3), make_sources(3, 4)
    settings = {"num_iterations": 6, "output_history": True, "return_dict_in_generate": True}
    lengths = torch.tensor([1, 3, 9, 6])
    batch = model.generate(pad(sources), target_lengths=lengths, **settings).history
    for row, source in enumerate(sources):
        alone = model.generate(source[None], target_lengths=lengths[row : row + 1], **settings).history
        width = int(lengths[row]) + 2
        assert len(alone) == len(batch) == 6
        for ours, theirs in zip(alone, batch, strict=True):
            assert torch.equal(ours.token_ids[0], theirs.token_ids[row, :width])
            assert torch.equal(ours.state[0], theirs.state[row, :width])
            torch.testing.assert_close(ours.log_probs[0], theirs.log_probs[row, :width], atol=1e-5, rtol=0)


@for_every_length_family
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_backend_does_not_change_translations(make_translator, make_sources, pad, implementation: str):
    sources = pad(make_sources(0, 6))
    expected = make_translator(0).generate(sources, num_iterations=4)
    assert torch.equal(
        make_translator(0, attn_implementation=implementation).generate(sources, num_iterations=4), expected
    )


# ---- shape of the output ----


@for_every_length_family
def test_sequences_are_framed_right_padded_and_free_of_masks_and_specials(make_translator, make_sources, pad):
    for seed in range(10):
        model = make_translator(seed)
        for num_iterations in (1, 3, 10):
            sequences = model.generate(pad(make_sources(seed, 6)), num_iterations=num_iterations, length_beam_size=3)
            for row in map(unpad, sequences):
                assert row[0] == 0 and row[-1] == 2
                assert not set(row[1:-1]) & {0, 1, 2, MASK}
            assert max(len(unpad(row)) for row in sequences) == sequences.shape[1]


@for_every_length_family
@pytest.mark.parametrize("legacy", [False, True])
def test_three_tokens_in_ten_passes_leave_no_mask(make_translator, make_sources, pad, legacy: bool):
    # A sentence may look unchanged after a pass while masks remain; stopping there would leave them in the output.
    fields = {"mask_token_id": 3, "legacy_mask_logit": -1000, "suppress_special_tokens": False} if legacy else {}
    for seed in range(8):
        model = make_translator(seed, **fields)
        sources = pad(make_sources(seed, 8))
        lengths = torch.full((8,), 3)
        sequences = model.generate(sources, target_lengths=lengths, num_iterations=10, collapse_repeats=False)
        assert sequences.shape == (8, 5)
        assert not (sequences == model.config.mask_token_id).any()


def test_target_lengths_are_content_tokens(make_translator, make_sources, pad):
    model, sources = make_translator(), make_sources(0, 4)
    lengths = [5, 1, 12, 28]  # 28 is beyond the 16 length classes, but fits the 30 positions
    for given in (lengths, torch.tensor(lengths), torch.tensor(lengths, dtype=torch.int32)):
        sequences = model.generate(pad(sources), target_lengths=given, num_iterations=2, collapse_repeats=False)
        assert [len(unpad(row)) - 2 for row in sequences] == lengths
    for source, length, row in zip(sources, lengths, sequences, strict=True):
        assert unpad(row) == decode_slowly(model, source, length + 2, 2)[0]


def test_one_token_in_one_pass(make_translator):
    model = make_translator()
    source = torch.tensor([[0, 9, 2]])
    output = model.generate(source, target_lengths=[1], num_iterations=1, return_dict_in_generate=True)
    logits = model(source, decoder_input_ids=torch.tensor([[0, MASK, 2]])).logits[0, 1].detach()
    logits[[0, 1, 2, MASK]] = -float("inf")
    assert output.sequences.tolist() == [[0, logits.argmax().item(), 2]]
    assert output.sequences_scores.item() == pytest.approx(logits.log_softmax(0).max().item() / 3, abs=1e-6)


def predict_always(model: CMLMForConditionalGeneration, length: int) -> None:
    """Makes the model predict `length` target tokens (specials counted) for every source."""
    classes = torch.arange(model.config.max_target_length)
    model.predict_length = lambda states, _: (classes == length).float().expand(len(states), -1)


@pytest.mark.parametrize("length", [0, 1, 2])
def test_empty_sentence_is_never_predicted(make_translator, length: int):
    # Its score, 0, is the best there is: it would win whenever a beam reaches it.
    model, source = make_translator(), torch.tensor([[0, 9, 2]])
    predict_always(model, length)
    for beam in (1, 3, 5):
        output = model.generate(source, num_iterations=2, length_beam_size=beam, return_dict_in_generate=True)
        assert output.sequences.shape[1] >= 3 and output.sequences_scores[0] < 0
    shortest = model.generate(source, num_iterations=2, length_beam_size=3, num_return_sequences=3)
    assert [len(unpad(row)) for row in shortest] == [3, 3, 3]  # lengths below 3 are raised to it


def test_imported_model_may_predict_the_empty_sentence_as_the_reference(make_translator):
    model = make_translator(mask_token_id=3, legacy_mask_logit=-1000, suppress_special_tokens=False)
    predict_always(model, 2)
    output = model.generate(
        torch.tensor([[0, 9, 2]]), num_iterations=3, length_beam_size=3, num_return_sequences=3, output_history=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    assert [len(unpad(row)) for row in output.sequences] == [2, 2, 3]
    assert output.sequences_scores[:2].tolist() == [0.0, 0.0] and output.sequences_scores[2] < 0
    assert [step.token_ids[:, :2].tolist() for step in output.history] == [[[0, 2]]] * 3


def test_collapse_repeats_drops_neighbours_and_leaves_scores(make_translator, make_sources, pad):
    repeats = 0
    for seed in range(6):
        model, sources = make_translator(seed), pad(make_sources(seed, 6))
        settings = {"num_iterations": 1, "length_beam_size": 2, "return_dict_in_generate": True}
        raw = model.generate(sources, collapse_repeats=False, **settings)
        collapsed = model.generate(sources, collapse_repeats=True, **settings)
        assert torch.equal(raw.sequences_scores, collapsed.sequences_scores)
        for before, after in zip(map(unpad, raw.sequences), map(unpad, collapsed.sequences), strict=True):
            assert after == [token for token, _ in groupby(before)]
            repeats += len(before) - len(after)
        default = model.generate(sources, **settings)
        assert torch.equal(default.sequences, collapsed.sequences)
    assert repeats > 20


def test_plain_tensor_is_returned_unless_asked_otherwise(make_translator, make_sources, pad):
    model, sources = make_translator(), pad(make_sources(0, 2))
    plain = model.generate(sources, num_iterations=2)
    output = model.generate(sources, num_iterations=2, return_dict_in_generate=True)
    assert isinstance(plain, torch.Tensor) and isinstance(output, NATGenerateOutput)
    assert torch.equal(plain, output.sequences)
    assert list(output.keys()) == ["sequences", "sequences_scores"]
    assert not output.sequences_scores.requires_grad


# ---- ranking ----


def test_length_beam_keeps_the_best_of_contiguous_lengths(make_translator, make_sources, pad):
    won_by_other_length = 0
    for seed in range(6):
        model, sources = make_translator(seed), make_sources(seed, 4)
        one = model.generate(pad(sources), num_iterations=2, return_dict_in_generate=True)
        five = model.generate(pad(sources), num_iterations=2, length_beam_size=5, return_dict_in_generate=True)
        for row, source in enumerate(sources):
            best = max(score for _, score in translate_slowly(model, source, 2, 5))
            assert five.sequences_scores[row].item() == pytest.approx(best, abs=1e-5)
            won_by_other_length += five.sequences_scores[row] > one.sequences_scores[row] + 1e-6
    assert won_by_other_length > 5


def test_equal_scores_go_to_the_shortest(make_translator, make_sources, pad):
    model = make_translator()
    model.model.shared.weight.data.zero_()  # every content token has the same log-probability
    predict_always(model, 9)
    sources = pad(make_sources(0, 3))
    # With N content tokens the score is −log(16)·N / (N + 2): the shortest wins for its score here.
    settings = {"num_iterations": 1, "collapse_repeats": False, "return_dict_in_generate": True}
    output = model.generate(sources, length_beam_size=5, num_return_sequences=5, **settings)
    lengths = torch.tensor([7, 8, 9, 10, 11] * 3)
    assert [len(unpad(row)) for row in output.sequences] == lengths.tolist()
    torch.testing.assert_close(output.sequences_scores, -torch.tensor(16.0).log() * (lengths - 2) / lengths)
    # All scores equal, 0, once a single token is allowed.
    model.suppressed_token_ids = lambda: [token for token in range(20) if token != 7]
    output = model.generate(sources, length_beam_size=5, num_return_sequences=5, **settings)
    assert output.sequences_scores.tolist() == [0.0] * 15
    assert [len(unpad(row)) for row in output.sequences] == lengths.tolist()


def test_n_best_is_ordered_and_grouped_by_sentence(make_translator, make_sources, pad):
    model, sources = make_translator(2), make_sources(2, 4)
    settings = {"num_iterations": 3, "length_beam_size": 4, "return_dict_in_generate": True, "collapse_repeats": False}
    three = model.generate(pad(sources), num_return_sequences=3, **settings)
    assert three.sequences.shape[0] == three.sequences_scores.shape[0] == 12
    scores = three.sequences_scores.view(4, 3)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    best = model.generate(pad(sources), **settings)
    assert [unpad(row) for row in three.sequences[::3]] == [unpad(row) for row in best.sequences]
    assert torch.equal(scores[:, 0], best.sequences_scores)
    for row in range(4):
        assert len({tuple(ids) for ids in three.sequences[3 * row : 3 * row + 3].tolist()}) == 3


@for_every_length_family
def test_score_is_the_sum_of_token_scores_over_length(make_translator, make_sources, pad):
    model, sources = make_translator(1), pad(make_sources(1, 5))
    output = model.generate(
        sources, num_iterations=3, length_beam_size=3, num_return_sequences=2, collapse_repeats=False,
        output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    assert output.token_scores.shape == output.sequences.shape
    lengths = (output.sequences != PAD).sum(dim=1)
    torch.testing.assert_close(output.token_scores.sum(dim=1) / lengths, output.sequences_scores)
    assert (output.token_scores <= 0).all()
    is_special = (output.sequences == 0) | (output.sequences == 2) | (output.sequences == PAD)
    assert output.token_scores[is_special].abs().max() == 0


# ---- passes, history, callback ----


def count_decoder_calls(model: CMLMForConditionalGeneration) -> list[int]:
    calls = []
    model.get_decoder().register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("num_iterations", [1, 2, 5, 10])
def test_num_iterations_counts_decoder_passes_over_one_encoding(
    make_translator, make_sources, pad, num_iterations: int
):
    model, seen = make_translator(), []
    calls, encodings = count_decoder_calls(model), []
    model.get_encoder().register_forward_hook(lambda *_: encodings.append(1))
    model.generate(
        pad(make_sources(0, 3)), target_lengths=[10, 12, 14], num_iterations=num_iterations, callback=seen.append
    )
    assert len(calls) == len(seen) == num_iterations
    assert len(encodings) == 1
    assert [state.num_passes for state in seen] == list(range(1, num_iterations + 1))


def test_passes_without_a_mask_to_fill_are_not_run(make_translator, make_sources, pad):
    model = make_translator()
    calls = count_decoder_calls(model)
    output = model.generate(
        pad(make_sources(0, 2)), target_lengths=[3, 1], num_iterations=10, output_history=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    assert len(calls) == 7  # three tokens in ten passes: 2, 2, 2, 1, 1, 1, 0 masks left
    assert len(output.history) == 10
    for step in output.history[7:]:
        assert torch.equal(step.token_ids, output.history[6].token_ids)
        assert torch.equal(step.log_probs, output.history[6].log_probs)
        assert (step.state == KEPT).all()


@for_every_length_family
@pytest.mark.parametrize("seed", range(4))
def test_models_that_update_everything_stop_at_a_fixed_point_and_not_before(
    make_translator, make_sources, pad, seed: int
):
    model, seen = make_translator(seed, update_all_positions=True), []
    output = model.generate(
        pad(make_sources(0, 2)), target_lengths=[3, 1], num_iterations=20, output_history=True,
        return_dict_in_generate=True, collapse_repeats=False, callback=seen.append,
    )  # fmt: skip
    for before, after in zip(seen, seen[1:], strict=False):
        is_same = torch.equal(before.tokens, after.tokens) and not before.is_masked.any()
        assert is_same == (after is seen[-1] and len(seen) < 20)
    assert len(seen) >= 15  # three tokens in twenty passes: after 14, the last mask is filled
    assert len(output.history) == 20
    for step in output.history[len(seen) :]:
        assert all(torch.equal(*pair) for pair in zip(step, output.history[len(seen) - 1], strict=True))
    assert torch.equal(output.history[-1].token_ids, output.sequences)


def scripted(model: CMLMForConditionalGeneration, predictions: list[list[int]]) -> CMLMForConditionalGeneration:
    """The model, with the likeliest content tokens of each pass given (row by row, repeated at the end)."""
    calls = iter(predictions)
    last = predictions[-1]

    def project(hidden: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(next(calls, last)), model.config.vocab_size) * 9.0

    model.project_vocabulary = project
    return model


@pytest.mark.parametrize(
    ("passes", "num_calls"),
    [
        ([[5, 6], [5, 6], [5, 6]], 3),  # two tokens in four passes: masks 1, 1, 0; the third pass fills the last
        ([[5, 6], [7, 6], [8, 6], [9, 6], [9, 6]], 4),  # changes to the end
    ],
)
def test_unchanged_tokens_with_masks_left_are_no_fixed_point(make_translator, passes: list, num_calls: int):
    model = scripted(make_translator(update_all_positions=True), passes)
    calls = count_decoder_calls(model)
    sequences = model.generate(torch.tensor([[0, 9, 2]]), target_lengths=[2], num_iterations=4)
    assert sequences.tolist() == [[0, *passes[-1], 2]]
    assert len(calls) == num_calls + (num_calls == 3)  # the fourth pass is the first whose input has no mask


@for_every_length_family
def test_sampling_never_stops_at_a_fixed_point(make_translator, make_sources, pad):
    model = make_translator(update_all_positions=True)
    calls = count_decoder_calls(model)
    model.generate(pad(make_sources(0, 2)), target_lengths=[3, 1], num_iterations=20, do_sample=True, temperature=1e-6)
    assert len(calls) == 20


@pytest.mark.parametrize("family", ["cmlmc"], indirect=True)
def test_imported_cmlmc_leaves_special_tokens_inside_a_sentence_until_masked_again(make_translator):
    # The reference updates every position whose token is not special.
    model = make_translator(mask_token_id=3, legacy_mask_logit=-1000, suppress_special_tokens=False)
    states = []
    scripted(model, [[2, 6, 7], [8, 9], [8, 9]])
    model.generate(torch.tensor([[0, 9, 2]]), target_lengths=[3], num_iterations=1, callback=states.append)
    assert states[-1].hypotheses.tolist() == [[0, 2, 6, 7, 2]]
    strategy = MaskPredict(model, model.decoding_settings())
    assert strategy.positions_to_update(states[-1]).tolist() == [[False, False, True, True, False]]


@pytest.mark.parametrize("family", ["cmlmc"], indirect=True)
def test_legacy_cmlmc_decodes_one_right_padded_grid(make_translator, make_sources, pad):
    model, source = make_translator(legacy_unmasked_attn_no_pad_mask=True), make_sources(0, 2)
    settings = {"num_iterations": 2, "collapse_repeats": False, "return_dict_in_generate": True}
    widths, scores = [], []
    model.get_decoder().register_forward_pre_hook(lambda _, arguments: widths.append(arguments[0].shape))
    for lengths in ([4, 4], [4, 12]):
        output = model.generate(pad(source), target_lengths=lengths, **settings)
        scores.append(output.sequences_scores[0].item())
    assert widths == [(2, 6)] * 2 + [(2, 14)] * 2
    assert abs(scores[0] - scores[1]) > 1e-4  # padding is seen


@pytest.mark.parametrize("seed", range(4))
def test_history_tells_what_each_pass_did_to_the_winner(make_translator, make_sources, pad, seed: int):
    model, sources, num_iterations = make_translator(seed), make_sources(seed, 4), 5
    output = model.generate(
        pad(sources), num_iterations=num_iterations, length_beam_size=3, output_history=True, collapse_repeats=False,
        return_dict_in_generate=True,
    )  # fmt: skip
    assert len(output.history) == num_iterations
    assert torch.equal(output.history[-1].token_ids, output.sequences)
    lengths = (output.sequences != PAD).sum(dim=1)
    final = output.history[-1].log_probs.sum(dim=1) / lengths
    torch.testing.assert_close(final, output.sequences_scores)
    num_content = lengths - 2
    column = torch.arange(output.sequences.shape[1])
    is_content = (column > 0) & (column < (lengths - 1).unsqueeze(1))
    previous_tokens, previous_scores = None, None
    was_masked = is_content
    for number, (token_ids, log_probs, state) in enumerate(output.history, start=1):
        assert token_ids.shape == log_probs.shape == state.shape == output.sequences.shape
        assert not (token_ids == MASK).any()
        assert torch.equal((state == REMASKED).sum(dim=1), num_content * (num_iterations - number) // num_iterations)
        assert (state[~is_content] == KEPT).all() and (log_probs[~is_content] == 0).all()
        assert (log_probs[is_content] < 0).all()
        # What was a mask is predicted now: revealed, or masked again. What was not keeps its token and its score.
        assert (state[was_masked] != KEPT).all()
        assert (state[~was_masked] != REVEALED).all()
        if previous_tokens is not None:
            assert torch.equal(token_ids[~was_masked], previous_tokens[~was_masked])
            assert torch.equal(log_probs[~was_masked], previous_scores[~was_masked])
        # The masked ones are the least confident.
        for row in range(len(sources)):
            masked = log_probs[row][state[row] == REMASKED]
            shown = log_probs[row][is_content[row] & (state[row] != REMASKED)]
            assert masked.numel() == 0 or shown.numel() == 0 or masked.max() <= shown.min()
        previous_tokens, previous_scores, was_masked = token_ids, log_probs, state == REMASKED


def test_callback_sees_every_candidate_after_each_pass(make_translator, make_sources, pad):
    model, seen = make_translator(), []
    settings = {"num_iterations": 4, "length_beam_size": 3}
    sequences = model.generate(pad(make_sources(0, 2)), callback=seen.append, **settings)
    assert torch.equal(sequences, model.generate(pad(make_sources(0, 2)), **settings))
    assert 1 <= len(seen) <= 4
    for state in seen:
        assert state.tokens.shape[0] == 6
        assert torch.equal(state.tokens == MASK, state.is_masked)
        assert torch.equal(state.tokens[~state.is_masked], state.hypotheses[~state.is_masked])
    assert not seen[-1].is_masked.any()


# ---- sampling, suppression, precision ----


def test_sampling_repeats_with_a_generator_and_varies_without_the_seed(make_translator, make_sources, pad):
    model, sources = make_translator(initializer_range=0.05), pad(make_sources(0, 4))

    def sample(seed: int, **settings) -> list:
        generator = torch.Generator().manual_seed(seed)
        arguments = {"num_iterations": 3, "do_sample": True, "generator": generator, **settings}
        return model.generate(sources, target_lengths=[8] * 4, collapse_repeats=False, **arguments).tolist()

    assert sample(0) == sample(0) != sample(1)
    greedy = model.generate(sources, target_lengths=[8] * 4, num_iterations=3, collapse_repeats=False).tolist()
    assert sample(0, temperature=1e-4) == greedy != sample(0)
    assert not any({0, 1, 2, MASK} & set(row[1:-1]) for row in sample(3, temperature=50.0))


def test_suppressed_tokens_are_never_predicted_even_where_they_are_likeliest(make_translator, make_sources, pad):
    model, sources = make_translator(), pad(make_sources(0, 6))
    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
        model.lm_head.weight[[0, 1, 2, MASK]] *= 100  # untied, so that only the projection prefers them
    assert model.suppressed_token_ids() == [0, 1, 2, MASK]
    sequences = model.generate(sources, num_iterations=3)
    assert not {0, 1, 2, MASK} & {token for row in map(unpad, sequences) for token in row[1:-1]}


def test_imported_models_keep_the_freedom_of_the_reference(make_translator, make_sources, pad):
    model = make_translator(mask_token_id=3, legacy_mask_logit=-1000, suppress_special_tokens=False)
    assert model.suppressed_token_ids() == [3]
    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
        model.lm_head.weight[[0, 2]] *= 3
        model.lm_head.weight[3] *= 1e4
    sources = make_sources(0, 6)
    sequences = model.generate(pad(sources), target_lengths=[6] * 6, num_iterations=3, collapse_repeats=False)
    assert {0, 2} & set(sequences[:, 1:-1].flatten().tolist())
    assert not (sequences == 3).any()
    for row, source in zip(sequences.tolist(), sources, strict=True):
        assert row == decode_slowly(model, source, 8, 3)[0]


def test_padding_predicted_by_an_imported_model_stays_inside_the_sentence(make_translator, make_sources, pad):
    model = make_translator(mask_token_id=3, legacy_mask_logit=-1000, suppress_special_tokens=False)
    model.model.shared.weight.data[5:] -= 10 * model.model.shared.weight.data[5:]
    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
        model.lm_head.weight[1] = 1e-3  # ties and signs decide between <pad> and the rest
    sequences = model.generate(pad(make_sources(0, 4)), target_lengths=[4] * 4, num_iterations=2)
    assert (sequences != 3).all()
    assert all(unpad(row)[-1] == 2 for row in sequences)


@for_every_length_family
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_score_in_fp32(make_translator, make_sources, pad, dtype: torch.dtype):
    model = make_translator().to(dtype)
    output = model.generate(
        pad(make_sources(0, 4)), num_iterations=4, length_beam_size=2, return_dict_in_generate=True
    )
    assert output.sequences_scores.dtype == torch.float32 and output.sequences_scores.isfinite().all()
    assert not (output.sequences == MASK).any()


# ---- settings ----


@for_every_length_family
def test_generation_settings_persist_and_the_call_overrides_them(tmp_path: Path, make_translator, make_sources, pad):
    model, sources = make_translator(5), pad(make_sources(5, 6))
    model.generation_config.num_iterations = 2
    model.generation_config.length_beam_size = 3
    model.generation_config.collapse_repeats = False
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "generation_config.json").read_text())
    assert (written["num_iterations"], written["length_beam_size"], written["collapse_repeats"]) == (2, 3, False)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    expected = model.generate(sources, num_iterations=2, length_beam_size=3, collapse_repeats=False)
    assert torch.equal(again.generate(sources), expected)
    # `None` is "not given", as everywhere in transformers.
    assert torch.equal(again.generate(sources, num_iterations=None, collapse_repeats=None), expected)
    calls = count_decoder_calls(again)
    again.generate(sources, num_iterations=4, target_lengths=[9] * 6, length_beam_size=1)
    assert len(calls) == 4
    again.save_pretrained(tmp_path / "second")
    third = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "second")
    assert third.generation_config.num_iterations == 2 and third.generation_config.collapse_repeats is False


def test_new_models_decode_in_ten_passes_with_one_length(make_translator):
    config = make_translator().generation_config
    assert (config.num_iterations, config.length_beam_size, config.collapse_repeats) == (10, 1, True)
    assert (config.bos_token_id, config.pad_token_id, config.eos_token_id) == (0, 1, 2)


def test_checkpoint_without_generation_config_still_decodes(tmp_path: Path, make_translator, make_sources, pad):
    model, sources = make_translator(), pad(make_sources(0, 2))
    model.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    again = CMLMForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(again.generate(sources), model.generate(sources))


def test_given_generation_config_comes_before_the_models_own_which_fills_its_gaps(make_translator, make_sources, pad):
    model, sources = make_translator(), pad(make_sources(0, 3))
    model.generation_config.num_iterations = 1
    once = model.generate(sources, num_iterations=1)
    with pytest.raises(ValueError, match="does not know num_beams=4.*length_beam_size"):
        model.generate(sources, generation_config=GenerationConfig(num_beams=4))
    assert torch.equal(model.generate(sources, generation_config=GenerationConfig(num_beams=1)), once)
    given = GenerationConfig(num_iterations=3)
    assert torch.equal(model.generate(sources, generation_config=given), model.generate(sources, num_iterations=3))
    assert torch.equal(model.generate(sources, generation_config=given, num_iterations=1), once)


def test_what_the_library_trainer_passes_along_is_ignored(make_translator, make_sources, pad):
    model, sources = make_translator(), pad(make_sources(0, 2))
    expected = model.generate(sources, num_iterations=2)
    extra = {"labels": torch.zeros(2, 3), "decoder_input_ids": torch.zeros(2, 3), "synced_gpus": False}
    assert torch.equal(model.generate(sources, num_iterations=2, **extra), expected)


def test_generation_is_available_to_the_library(make_translator):
    model = make_translator()
    assert model.can_generate()
    assert model.main_input_name == "input_ids"


# ---- refusals ----


SOURCE = torch.tensor([[0, 7, 8, 2], [0, 9, 2, 1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": None}, r"empty input_ids\. Pass token ids"),
        ({"input_ids": torch.zeros(0, 4, dtype=torch.long)}, r"empty input_ids\. Pass token ids"),
        ({"input_ids": torch.zeros(2, 0, dtype=torch.long)}, r"empty input_ids\. Pass token ids"),
        ({"input_ids": torch.tensor([0, 7, 2])}, r"must have shape \(batch, length\), got \(3,\)"),
        ({"input_ids": torch.tensor([[0, 7, 2], [1, 1, 1]])}, r"Row 1 of input_ids is all padding\. Remove"),
        ({"input_ids": torch.tensor([[0.0, 7.0, 2.0]])}, r"input_ids must hold integers, got torch.float32"),
        ({"input_ids": [[0, 7, 2]]}, r"input_ids must be a tensor, got list"),
        ({"attention_mask": torch.tensor([[1, 7, 1, 1], [1, 1, 1, 0]])}, r"attention_mask must hold 0 and 1 only"),
        ({"attention_mask": torch.full((2, 4), torch.nan)}, r"attention_mask must hold 0 and 1 only"),
        ({"generation_config": {"num_beams": 5}}, r"generation_config must be a GenerationConfig, got dict"),
        ({"num_iterations": 10**9}, r"num_iterations must be <= 1000"),
        ({"length_beam_size": 10**9}, r"length_beam_size must be <= 1000"),
        ({"attention_mask": torch.tensor([[0, 0, 0, 0], [1, 1, 1, 0]])}, r"Row 0 .*all padding\. Remove"),
        ({"attention_mask": torch.ones(2, 3)}, r"attention_mask has shape \(2, 3\), input_ids \(2, 4\)\. Pass"),
        ({"input_ids": torch.full((1, 31), 7)}, r"Row 0 has 31 tokens, more than the position table of 30\. Split"),
        (
            {"input_ids": torch.tensor([[0, 20, 2]])},
            r"id 20, outside the model's vocabulary of 20\. Use the tokenizer",
        ),
        ({"input_ids": torch.tensor([[0, -1, 2]])}, r"id -1, outside .*Use the tokenizer"),
        ({"num_iterations": 0}, r"num_iterations must be an integer >= 1, got 0\. Use 1"),
        ({"num_iterations": -3}, r"num_iterations must be an integer >= 1, got -3\. Use 1"),
        ({"num_iterations": 2.5}, r"num_iterations must be an integer >= 1, got 2\.5"),
        ({"num_iterations": True}, r"num_iterations must be an integer >= 1, got True"),
        ({"length_beam_size": 0}, r"length_beam_size must be an integer >= 1, got 0\. Use"),
        ({"num_return_sequences": 0}, r"num_return_sequences must be an integer >= 1, got 0\. Use"),
        ({"num_return_sequences": 2}, r"num_return_sequences=2 exceeds length_beam_size=1.*Raise length_beam_size"),
        ({"num_return_sequences": 4, "length_beam_size": 3}, r"num_return_sequences=4 exceeds length_beam_size=3"),
        ({"target_lengths": torch.tensor([3, 0])}, r"target_lengths must be between 1 and 28 .*got 0 to 3"),
        ({"target_lengths": torch.tensor([3, -1])}, r"target_lengths must be between 1 and 28"),
        ({"target_lengths": torch.tensor([3, 29])}, r"target_lengths must be between 1 and 28 .*got 3 to 29"),
        ({"target_lengths": torch.tensor([3])}, r"one integer per sentence \(2\), got shape \(1,\)"),
        ({"target_lengths": torch.tensor([3.0, 4.0])}, r"one integer per sentence \(2\), got .*float32"),
        ({"target_lengths": [3, 4], "length_beam_size": 2}, r"fix the length\. Use length_beam_size=1"),
        ({"do_sample": True, "temperature": 0.0}, r"temperature must be > 0 .*got 0\.0\. Try"),
        ({"do_sample": True, "temperature": math.inf}, r"temperature must be a finite number, got inf\. Try 1\.0"),
        ({"do_sample": True, "temperature": "hot"}, r"temperature must be a finite number, got 'hot'"),
        ({"collapse_repeats": "no"}, r"collapse_repeats must be True or False, got 'no'"),
        ({"do_sample": 1}, r"do_sample must be True or False, got 1"),
        ({"num_beams": 4}, r"does not know num_beams=4: .*left to right\. Leave it out; length_beam_size"),
        ({"num_iteration": 4, "wide": 9}, r"does not know num_iteration, wide\. It takes .*num_iterations"),
        ({"max_length": 2}, r"does not know max_length=2 as a limit .* Leave it out, or give target_lengths"),
        ({"min_new_tokens": 90}, r"does not know min_new_tokens=90 as a limit"),
    ],
)
def test_impossible_request_is_refused_with_the_fix(make_translator, arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_translator().generate(**{"input_ids": SOURCE, **arguments})


def test_impossible_setting_of_the_generation_config_is_refused_too(make_translator):
    model = make_translator()
    model.generation_config.num_iterations = 0
    with pytest.raises(ValueError, match="num_iterations must be an integer >= 1, got 0"):
        model.generate(SOURCE)
    assert model.generate(SOURCE, num_iterations=1).shape[0] == 2


def test_sources_up_to_the_position_table_are_translated(make_translator: Callable):
    assert make_translator().generate(torch.full((1, 30), 7), num_iterations=1).shape[0] == 1


def test_longest_predicted_length_fits_the_position_table(make_model):
    model = make_model(max_position_embeddings=10, max_target_length=40)
    predict_always(model, 39)
    sequences = model.generate(SOURCE[:1], num_iterations=1, length_beam_size=3, collapse_repeats=False)
    assert sequences.shape[1] == 10
