# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What the passes of generate() compute and what they leave out, beside a loop that leaves nothing out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dims_hf import MODELS, STRATEGIES, CMLMForConditionalGeneration
from dims_hf.models import DecodingRequest
from dims_hf.models.decoding_mask_predict import DecodingState
from dims_hf.models.generation_nat import choose_tokens, rank_candidates


# Those that fill masks, each position by itself.
FAMILIES = sorted(
    name for name, (config, *_) in MODELS.items() if config.decoding_strategy in ("mask_predict", "imputer")
)
LENGTH_FAMILIES = sorted(name for name, (config, *_) in MODELS.items() if config.decoding_strategy == "mask_predict")
for_every_length_family = pytest.mark.parametrize("family", LENGTH_FAMILIES, indirect=True)
for_cmlm = pytest.mark.parametrize("family", ["cmlm"], indirect=True)

PAD = 1


def predict_source_lengths(model: CMLMForConditionalGeneration) -> None:
    """Makes the model predict as many target tokens as there are source tokens, so that lengths differ widely."""
    classes = torch.arange(model.config.max_target_length)
    model.predict_length = lambda _, mask: (classes == mask.ne(0).sum(dim=1, keepdim=True)).float()


@pytest.fixture
def make_precise_translator(make_translator: Callable) -> Callable[..., CMLMForConditionalGeneration]:
    """`make_translator` in double precision, where no order of additions decides between two tokens."""

    def make(seed: int = 0, **fields: object) -> CMLMForConditionalGeneration:
        model = make_translator(seed, **fields).double()
        if model.config.predicts_length:
            predict_source_lengths(model)
        return model

    return make


@pytest.fixture
def mixed_sources(make_sources: Callable, pad: Callable) -> torch.LongTensor:
    """Six sources of 3 to 11 tokens, none the length of its neighbour."""
    sources = {len(source): source for source in make_sources(0, 200)}
    return pad([sources[length] for length in (4, 11, 3, 7, 5, 9)])


@torch.no_grad()
def decode_plainly(
    model: CMLMForConditionalGeneration,
    sources: torch.LongTensor,
    generator: torch.Generator | None = None,
    **arguments: object,
) -> tuple[list[DecodingState], torch.LongTensor]:
    """States after each pass, all candidates with a source of their own in every one; and the best row of each."""
    settings = model.decoding_settings(**arguments)
    strategy = STRATEGIES[model.config.decoding_strategy](model, settings)
    is_source = sources.ne(PAD)
    encoded = model.get_encoder()(sources, is_source).last_hidden_state
    state = strategy.init(model.encode_sources(sources, is_source), DecodingRequest())
    lengths = state.grid.lengths
    is_target = torch.arange(state.tokens.shape[1]) < lengths.view(-1, 1)
    states = []
    for _ in range(settings.num_iterations):
        is_updated = strategy.positions_to_update(state)
        logits = model(
            encoder_outputs=(encoded.repeat_interleave(lengths.shape[1], dim=0),),
            attention_mask=is_source.repeat_interleave(lengths.shape[1], dim=0),
            decoder_input_ids=state.tokens,
            decoder_attention_mask=is_target,
        ).logits[is_updated]
        tokens, log_probs = choose_tokens(
            logits, model.suppressed_token_ids(), do_sample=settings.do_sample, generator=generator
        )
        state = strategy.reveal(state, is_updated, tokens, log_probs)
        states.append(state)
    return states, rank_candidates(state.scores.sum(dim=1) / lengths.flatten(), lengths.shape[1])[:, 0]


def watch_decoder(model: CMLMForConditionalGeneration) -> list[tuple[int, int, int]]:
    """Rows of the targets, of the encoder states and of the cross-attention keys in every pass from now on."""
    seen = []

    def note(_: torch.nn.Module, arguments: tuple, keywords: dict) -> None:
        if "cross_key_values" not in keywords:
            return  # not a pass of `generate`
        (keys, values), states = keywords["cross_key_values"][-1], keywords["encoder_hidden_states"]
        assert len(keys) == len(values) and len(keywords["encoder_attention_mask"]) == len(states)
        seen.append((len(arguments[0]), len(states), len(keys)))

    model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    return seen


def beams_of(model: CMLMForConditionalGeneration) -> tuple[int, ...]:
    return (1, 3) if model.config.predicts_length else (1,)


# ---- against the loop that leaves nothing out ----


@pytest.mark.parametrize("update_all_positions", [False, True])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_every_pass_equals_the_plain_loop(
    make_precise_translator, mixed_sources, implementation: str, update_all_positions: bool
):
    model = make_precise_translator(1, attn_implementation=implementation, update_all_positions=update_all_positions)
    for beam in beams_of(model):
        for num_iterations in (1, 4, 12):
            arguments = {"num_iterations": num_iterations, "length_beam_size": beam}
            expected, best = decode_plainly(model, mixed_sources, **arguments)
            seen = []
            output = model.generate(
                mixed_sources, callback=seen.append, output_history=True, return_dict_in_generate=True, **arguments
            )
            for ours, plain in zip(seen, expected, strict=False):
                for name in ("tokens", "hypotheses", "is_masked", "state"):
                    assert torch.equal(getattr(ours, name), getattr(plain, name))
                torch.testing.assert_close(ours.scores, plain.scores, atol=1e-6, rtol=0)
            assert len(output.history) == num_iterations
            for step, plain in zip(output.history, expected, strict=True):
                width = step.token_ids.shape[1]
                assert torch.equal(step.token_ids, plain.hypotheses[best, :width])
                assert torch.equal(step.state, plain.state[best, :width])
                torch.testing.assert_close(step.log_probs, plain.scores[best, :width], atol=1e-6, rtol=0)


@pytest.mark.parametrize("update_all_positions", [False, True])
def test_samples_are_those_of_the_plain_loop(make_precise_translator, mixed_sources, update_all_positions: bool):
    model = make_precise_translator(update_all_positions=update_all_positions, initializer_range=0.05)
    for beam in beams_of(model):
        arguments = {"num_iterations": 6, "length_beam_size": beam, "do_sample": True}
        expected, best = decode_plainly(model, mixed_sources, torch.Generator().manual_seed(7), **arguments)
        output = model.generate(
            mixed_sources, generator=torch.Generator().manual_seed(7), output_history=True,
            return_dict_in_generate=True, **arguments,
        )  # fmt: skip
        for step, plain in zip(output.history, expected, strict=True):
            assert torch.equal(step.token_ids, plain.hypotheses[best, : step.token_ids.shape[1]])


@pytest.mark.parametrize("family", ["cmlmc"], indirect=True)
def test_imported_cmlmc_sees_the_same_padding_when_sentences_leave(make_precise_translator, mixed_sources):
    model = make_precise_translator(legacy_unmasked_attn_no_pad_mask=True)
    rows = watch_decoder(model)
    for beam in (1, 3):
        arguments = {"num_iterations": 20, "length_beam_size": beam}
        expected, best = decode_plainly(model, mixed_sources, **arguments)
        rows.clear()
        output = model.generate(mixed_sources, output_history=True, return_dict_in_generate=True, **arguments)
        assert rows[-1] < rows[0]
        final = output.history[-1]
        assert torch.equal(final.token_ids, expected[-1].hypotheses[best, : final.token_ids.shape[1]])


@pytest.mark.parametrize("update_all_positions", [False, True])
def test_sentences_do_not_depend_on_those_that_leave_before_or_after_them(
    make_precise_translator, mixed_sources, update_all_positions: bool
):
    model = make_precise_translator(2, update_all_positions=update_all_positions)
    for beam in beams_of(model):
        for num_iterations in (2, 7, 15):
            settings = {"num_iterations": num_iterations, "length_beam_size": beam, "output_history": True}
            settings.update(return_dict_in_generate=True, output_scores=True, collapse_repeats=False)
            batch = model.generate(mixed_sources, **settings)
            for row, source in enumerate(mixed_sources):
                alone = model.generate(source[source != PAD][None], **settings)
                width = alone.sequences.shape[1]
                assert torch.equal(batch.sequences[row, :width], alone.sequences[0])
                assert (batch.sequences[row, width:] == PAD).all()
                torch.testing.assert_close(batch.sequences_scores[row], alone.sequences_scores[0], atol=1e-6, rtol=0)
                for ours, theirs in zip(batch.history, alone.history, strict=True):
                    width = theirs.token_ids.shape[1]
                    assert torch.equal(ours.token_ids[row, :width], theirs.token_ids[0])
                    assert torch.equal(ours.state[row, :width], theirs.state[0])


# ---- what is computed ----


@for_cmlm
@pytest.mark.parametrize("do_sample", [False, True])
def test_sentences_without_masks_leave(make_translator, mixed_sources, do_sample: bool):
    model = make_translator()
    rows = watch_decoder(model)
    # ⌊N (10 − s) / 10⌋ masks after pass s: none after 1 pass for N = 1, after 7 for 3, 9 for 6, 10 for 12.
    model.generate(mixed_sources[:4], target_lengths=[3, 12, 1, 6], num_iterations=10, do_sample=do_sample)
    assert rows == [(n, n, n) for n in (4, 3, 3, 3, 3, 3, 3, 2, 2, 1)]


@for_cmlm
def test_sentences_leave_with_all_their_candidates(make_precise_translator, mixed_sources):
    model = make_precise_translator()
    rows = watch_decoder(model)
    # Candidates of 1, 2, 3 and of 8, 9, 10 content tokens; those of 3 and 10 have masks for 7 and 10 passes.
    model.generate(mixed_sources[:2], num_iterations=10, length_beam_size=3)
    assert rows == [(6, 2, 2)] * 7 + [(3, 1, 1)] * 3


@pytest.mark.parametrize("update_all_positions", [False, True])
def test_sentences_are_computed_until_a_pass_can_change_nothing(
    make_precise_translator, mixed_sources, update_all_positions: bool
):
    model = make_precise_translator(update_all_positions=update_all_positions)
    rows = watch_decoder(model)
    for beam in beams_of(model):
        arguments = {"num_iterations": 24, "length_beam_size": beam}
        states, _ = decode_plainly(model, mixed_sources, **arguments)
        expected = [6]
        for index, after in enumerate(states[:-1]):
            is_open = after.is_masked
            if update_all_positions and index == 0:
                is_open = after.is_content
            elif update_all_positions:
                is_open = states[index - 1].is_masked | (states[index - 1].tokens != after.tokens)
            expected.append(int(is_open.view(6, -1).any(dim=1).sum()))
        rows.clear()
        model.generate(mixed_sources, **arguments)
        assert rows == [(count * beam, count, count) for count in expected if count]
        assert len(set(expected)) > 2


def test_sampled_sentences_with_positions_to_update_never_leave(make_precise_translator, mixed_sources):
    model = make_precise_translator(update_all_positions=True)
    rows = watch_decoder(model)
    model.generate(mixed_sources, num_iterations=24, do_sample=True, temperature=1e-6)
    assert rows == [(6, 6, 6)] * 24


@for_every_length_family
def test_candidates_share_the_encoder_states_themselves(make_translator, mixed_sources):
    model, encoded, seen = make_translator(), [], []
    model.get_encoder().register_forward_hook(lambda *call: encoded.append(call[-1].last_hidden_state))
    model.get_decoder().register_forward_pre_hook(
        lambda _, __, keywords: seen.append(keywords["encoder_hidden_states"]), with_kwargs=True
    )
    rows = watch_decoder(model)
    model.generate(mixed_sources, num_iterations=1, length_beam_size=3)
    assert rows == [(18, 6, 6)]
    assert seen[0] is encoded[0]


@for_cmlm
def test_last_feed_forward_computes_updated_positions_alone(make_translator, mixed_sources):
    model, shapes = make_translator(), []
    for layer in model.get_decoder().layers:
        layer.fc1.register_forward_pre_hook(lambda _, arguments: shapes.append(tuple(arguments[0].shape)))
    model.generate(mixed_sources[:2], target_lengths=[4, 6], num_iterations=2)
    # Masks of the passes: 4 + 6, then 2 + 3; two other layers, 8 columns, 16 dimensions.
    assert shapes == [(2, 8, 16), (2, 8, 16), (10, 16), (2, 8, 16), (2, 8, 16), (5, 16)]
