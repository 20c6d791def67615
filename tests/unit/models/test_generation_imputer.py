# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""generate() of the Imputer: against a slow implementation, invariance, history, collapse, settings, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from dims_hf import ImputerForConditionalGeneration
from dims_hf.models.decoding_mask_predict import KEPT, REMASKED, REVEALED


pytestmark = pytest.mark.parametrize("family", ["imputer"], indirect=True)

PAD, MASK, BLANK = 1, 4, 5
IMPORTED = {"mask_token_id": 3, "legacy_mask_logit": -1000, "suppress_special_tokens": False, "blank_token_id": 19}


# ---- a second implementation: one sentence, plain Python ----


@torch.no_grad()
def decode_slowly(
    model: ImputerForConditionalGeneration, source: torch.Tensor, num_iterations: int, *, legacy: bool = False
) -> tuple[list[int], list[float]]:
    """Alignment of one unpadded sentence and the log-probability of each position, through `forward` alone."""
    config, length = model.config, model.config.upsample_ratio * len(source)
    suppressed = [config.mask_token_id] + ([0, 1, 2] if config.suppress_special_tokens else [])
    tokens, scores, masked = [config.mask_token_id] * length, [0.0] * length, set(range(length))
    for done in range(1, num_iterations + 1):
        inputs = [config.mask_token_id if position in masked else tokens[position] for position in range(length)]
        is_position = torch.ones(1, length, dtype=torch.long)  # a predicted <pad> is a token like any other
        logits = model(source[None], None, torch.tensor([inputs]), is_position).logits[0]
        logits[:, suppressed] = -torch.inf
        log_probs = logits.log_softmax(dim=1)
        for position in range(length):
            if position in masked or (config.update_all_positions and inputs[position] > 2):
                tokens[position] = int(log_probs[position].argmax())
                scores[position] = log_probs[position, tokens[position]].item()
        left: set[int] = set()
        for start in range(0, length, num_iterations):
            block = range(start, min(start + num_iterations, length))
            num_left = len(block) * (num_iterations - done) // num_iterations
            eligible = [p for p in block if p != start + num_iterations - 1] if legacy else sorted(masked & set(block))
            if not legacy and done == 1:
                waits = len(block) == 1 and start > 0 and num_iterations > 1
                num_left, eligible = (1, eligible) if waits else (num_left, eligible[:-1])
            left |= set(sorted(eligible, key=lambda position: (scores[position], position))[:num_left])
        masked = left
    return tokens, scores


def collapse_slowly(alignment: list[int], blank: int = BLANK) -> list[int]:
    return [0, *(token for token, _ in groupby(alignment) if token != blank), 2]


def unpad(row: torch.Tensor) -> list[int]:
    """Ids up to the final `</s>`; padding must be all that follows."""
    ids = row.tolist()
    while ids[-1] == PAD:
        ids.pop()
    return ids


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("update_all_positions", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_batches_equal_the_slow_implementation(
    make_translator, make_sources, pad, seed: int, update_all_positions: bool, legacy: bool
):
    model = make_translator(seed, update_all_positions=update_all_positions)
    sources = make_sources(seed, 4)
    for num_iterations in (1, 3, 4, 12):
        output = model.generate(
            pad(sources), num_iterations=num_iterations, legacy_adjacency=legacy, return_dict_in_generate=True
        )
        slow = [decode_slowly(model, source, num_iterations, legacy=legacy) for source in sources]
        assert [unpad(row) for row in output.sequences] == [collapse_slowly(tokens) for tokens, _ in slow]
        scores = torch.tensor([sum(scores) / len(scores) for _, scores in slow])
        torch.testing.assert_close(output.sequences_scores, scores, atol=1e-5, rtol=0)


def test_the_random_models_of_these_tests_are_not_degenerate(make_translator, make_sources, pad):
    changed, legacy_changed, distinct, blanks = 0, 0, 0, 0
    for seed in range(6):
        model, sources = make_translator(seed), pad(make_sources(seed, 5))
        settings = {"return_dict_in_generate": True, "output_history": True}
        once, often, legacy = (
            model.generate(sources, num_iterations=n, legacy_adjacency=legacy, **settings).history[-1].token_ids
            for n, legacy in ((1, False), (4, False), (4, True))
        )
        changed += (once != often).any(dim=1).sum().item()
        legacy_changed += (legacy != often).any(dim=1).sum().item()
        distinct += sum(len(set(unpad(row))) > 2 for row in often)
        blanks += (often == BLANK).any(dim=1).sum().item()
    assert changed >= 15 and legacy_changed >= 5 and distinct >= 15 and blanks >= 5


def test_one_pass_is_greedy_ctc(make_translator, make_sources, pad):
    model, sources = make_translator(), make_sources(0, 6)
    with torch.no_grad():
        logits = model(pad(sources)).logits
    logits[..., [0, 1, 2, MASK]] = -torch.inf
    expected = [collapse_slowly(row[: 2 * len(source)]) for row, source in zip(logits.argmax(-1).tolist(), sources)]
    assert [unpad(row) for row in model.generate(pad(sources), num_iterations=1)] == expected


# ---- invariance ----


@pytest.mark.parametrize("seed", range(4))
def test_translation_depends_on_neither_batch_nor_padding_nor_order(make_translator, make_sources, pad, seed: int):
    model, sources = make_translator(seed, dropout=0.3), make_sources(100 + seed, 7)
    settings = {"num_iterations": 4, "return_dict_in_generate": True}
    alone = [model.generate(source[None], **settings) for source in sources]
    expected = [unpad(output.sequences[0]) for output in alone]
    scores = torch.cat([output.sequences_scores for output in alone])
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed)).tolist()
    batches = [
        (pad(sources), range(7)),
        (pad(sources, side="left"), range(7)),
        (pad(sources, side="left", width=40), range(7)),  # wider than the position table, with fewer tokens
        (pad([sources[i] for i in order]), order),
        (pad([sources[i] for i in order[:3]] * 2), order[:3] * 2),
    ]
    for input_ids, rows in batches:
        for attention_mask in (None, input_ids.ne(PAD).float()):
            output = model.generate(input_ids, attention_mask, **settings)
            assert [unpad(row) for row in output.sequences] == [expected[i] for i in rows]
            torch.testing.assert_close(output.sequences_scores, scores[list(rows)], atol=1e-5, rtol=0)


@pytest.mark.parametrize("update_all_positions", [False, True])
def test_history_is_the_alignment_and_does_not_depend_on_the_batch(
    make_translator, make_sources, pad, update_all_positions: bool
):
    model, sources = make_translator(3, update_all_positions=update_all_positions), make_sources(3, 4)
    settings = {"num_iterations": 4, "output_history": True, "output_scores": True, "return_dict_in_generate": True}
    output = model.generate(pad(sources), **settings)
    width = 2 * max(map(len, sources))
    assert len(output.history) == 4
    assert all(part.shape == (4, width) for step in output.history for part in step)
    assert torch.equal(output.token_scores, output.history[-1].log_probs)
    for row, source in enumerate(sources):
        length = 2 * len(source)
        assert collapse_slowly(output.history[-1].token_ids[row, :length].tolist()) == unpad(output.sequences[row])
        torch.testing.assert_close(output.token_scores[row].sum() / length, output.sequences_scores[row])
        alone = model.generate(source[None], **settings).history
        for ours, theirs in zip(alone, output.history, strict=True):
            assert torch.equal(ours.token_ids[0], theirs.token_ids[row, :length])
            assert (theirs.token_ids[row, length:] == PAD).all() and (theirs.state[row, length:] == KEPT).all()
            assert torch.equal(ours.state[0], theirs.state[row, :length])
            torch.testing.assert_close(ours.log_probs[0], theirs.log_probs[row, :length], atol=1e-5, rtol=0)


def test_every_position_is_revealed_once_and_never_beside_another(make_translator, make_sources, pad):
    for seed in range(4):
        model, sources = make_translator(seed), make_sources(seed, 5)
        output = model.generate(pad(sources), num_iterations=4, output_history=True, return_dict_in_generate=True)
        revealed = torch.stack([step.state == REVEALED for step in output.history])
        lengths = torch.tensor([2 * len(source) for source in sources])
        assert torch.equal(revealed.sum(dim=(0, 2)), lengths) and revealed.sum(dim=0).max() == 1
        assert not (revealed[:, :, 1:] & revealed[:, :, :-1]).any()
        assert not (output.history[-1].state == REMASKED).any()


# ---- output ----


def test_sequences_are_framed_and_free_of_masks_blanks_and_specials(make_translator, make_sources, pad):
    for seed in range(4):
        for num_iterations in (1, 4):
            sequences = make_translator(seed).generate(pad(make_sources(seed, 6)), num_iterations=num_iterations)
            rows = [unpad(row) for row in sequences]
            for row in rows:
                assert row[0] == 0 and row[-1] == 2
                assert not set(row[1:-1]) & {0, 1, 2, MASK, BLANK}
            assert max(map(len, rows)) == sequences.shape[1]


def predict(model: ImputerForConditionalGeneration, alignment: list[int]) -> None:
    """Makes a single pass over one source of the right length predict this alignment."""
    logits = torch.nn.functional.one_hot(torch.tensor(alignment), model.config.vocab_size) * 9.0
    model.project_vocabulary = lambda hidden: logits


def test_repeats_that_a_blank_keeps_apart_are_meant(make_translator):
    model, source = make_translator(), torch.tensor([[0, 9, 8, 2]])
    predict(model, [7, 7, BLANK, 7, 8, BLANK, BLANK, 8])
    settings = {"num_iterations": 1}
    assert model.generate(source, **settings).tolist() == [[0, 7, 7, 8, 8, 2]]
    assert model.generate(source, collapse_repeats=False, **settings).tolist() == [[0, 7, 7, 8, 8, 2]]
    assert model.generate(source, collapse_repeats=True, **settings).tolist() == [[0, 7, 8, 2]]


def test_nothing_but_blanks_is_the_empty_sentence(make_translator, make_sources, pad):
    model = make_translator()
    model.suppressed_token_ids = lambda: [token for token in range(20) if token != BLANK]
    for collapse_repeats in (False, True):
        for num_iterations in (1, 4):
            output = model.generate(
                pad(make_sources(0, 3)), num_iterations=num_iterations, collapse_repeats=collapse_repeats,
                return_dict_in_generate=True,
            )  # fmt: skip
            assert output.sequences.tolist() == [[0, 2]] * 3
            assert output.sequences_scores.tolist() == [0.0] * 3


def test_imported_models_keep_the_freedom_of_the_reference_and_write_no_mask(make_translator, make_sources, pad):
    found = set()
    for seed in range(4):
        model, sources = make_translator(seed, **IMPORTED), make_sources(seed, 6)
        assert model.suppressed_token_ids() == [3]
        with torch.no_grad():
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
            model.lm_head.weight[[0, 2]] *= 3
            model.lm_head.weight[3] *= 1e4
        sequences = model.generate(pad(sources), num_iterations=4, legacy_adjacency=True)
        assert not (sequences == 3).any() and not (sequences == 19).any()
        for row, source in zip(sequences, sources, strict=True):
            expected = collapse_slowly(decode_slowly(model, source, 4, legacy=True)[0], blank=19)
            assert row[: len(expected)].tolist() == expected and (row[len(expected) :] == PAD).all()
            found |= set(expected[1:-1])
    assert {0, 2} & found


def test_short_templates_and_more_passes_than_positions(make_translator):
    model, source = make_translator(upsample_ratio=1), torch.tensor([[9]])
    for num_iterations in (1, 2, 10):
        seen = []
        output = model.generate(
            source, num_iterations=num_iterations, callback=seen.append, output_history=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        assert len(seen) == 1 and len(output.history) == num_iterations  # one position, filled by the first pass
        tokens, scores = decode_slowly(model, source[0], num_iterations)
        assert output.sequences.tolist() == [collapse_slowly(tokens)]
        assert output.sequences_scores.item() == pytest.approx(scores[0], abs=1e-6)


@pytest.mark.parametrize("num_iterations", [1, 2, 5, 8])
def test_num_iterations_counts_decoder_passes_over_one_encoding(
    make_translator, make_sources, pad, num_iterations: int
):
    model, calls, encodings = make_translator(), [], []
    model.get_decoder().register_forward_hook(lambda *_: calls.append(1))
    model.get_encoder().register_forward_hook(lambda *_: encodings.append(1))
    sources = [source for source in make_sources(0, 9) if len(source) > 3]
    model.generate(pad(sources), num_iterations=num_iterations)
    assert (len(calls), len(encodings)) == (num_iterations, 1)


def test_models_that_update_everything_stop_at_a_fixed_point(make_translator, make_sources, pad):
    model, seen = make_translator(update_all_positions=True), []
    output = model.generate(
        pad(make_sources(0, 2)), num_iterations=60, output_history=True, callback=seen.append,
        return_dict_in_generate=True,
    )  # fmt: skip
    assert not seen[-2].is_masked.any() and torch.equal(seen[-1].tokens, seen[-2].tokens) and len(seen) < 60
    assert len(output.history) == 60


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_score_in_fp32(make_translator, make_sources, pad, dtype: torch.dtype):
    output = make_translator().to(dtype).generate(pad(make_sources(0, 4)), return_dict_in_generate=True)
    assert output.sequences_scores.dtype == torch.float32 and output.sequences_scores.isfinite().all()
    assert not (output.sequences == MASK).any()


def test_sampling_repeats_with_a_generator(make_translator, make_sources, pad):
    model, sources = make_translator(initializer_range=0.05), pad(make_sources(0, 4))

    def sample(seed: int, **settings) -> list:
        generator = torch.Generator().manual_seed(seed)
        return model.generate(sources, num_iterations=3, do_sample=True, generator=generator, **settings).tolist()

    assert sample(0) == sample(0) != sample(1)
    assert sample(0, temperature=1e-4) == model.generate(sources, num_iterations=3).tolist()


# ---- settings and refusals ----


def test_generation_settings_persist_and_the_call_overrides_them(tmp_path: Path, make_translator, make_sources, pad):
    model, sources = make_translator(5), pad(make_sources(5, 6))
    config = model.generation_config
    assert (config.num_iterations, config.length_beam_size, config.collapse_repeats) == (8, 1, False)
    model.generation_config.num_iterations = 4
    model.generation_config.legacy_adjacency = True
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "generation_config.json").read_text())["legacy_adjacency"] is True
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    legacy, modern = (model.generate(sources, num_iterations=4, legacy_adjacency=flag) for flag in (True, False))
    assert torch.equal(again.generate(sources), legacy) and not torch.equal(legacy, modern)
    assert torch.equal(again.generate(sources, legacy_adjacency=False), modern)
    assert again.decoding_settings(num_iterations=2).num_iterations == 2
    (tmp_path / "generation_config.json").unlink()
    plain = ImputerForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(plain.generate(sources), model.generate(sources, num_iterations=8, legacy_adjacency=False))


SOURCE = torch.tensor([[0, 7, 8, 2], [0, 9, 2, 1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_lengths": [3, 4]}, r"does not fix the length of a translation.*Leave out target_lengths"),
        ({"length_beam_size": 3}, r"predicts no length.*got length_beam_size=3\. Leave length_beam_size out"),
        ({"num_return_sequences": 2}, r"one candidate per sentence, got num_return_sequences=2 .*Leave"),
        ({"num_iterations": 0}, r"num_iterations must be an integer >= 1, got 0\. Use 1"),
        ({"input_ids": torch.full((1, 16), 7)}, r"Row 0 has 16 source tokens and an alignment of 32 positions"),
        ({"input_ids": torch.full((1, 31), 7)}, r"Row 0 has 31 tokens, more than the position table of 30\. Split"),
        ({"input_ids": None}, r"empty input_ids\. Pass token ids"),
        ({"input_ids": torch.tensor([[0, 7, 2], [1, 1, 1]])}, r"Row 1 of input_ids is all padding\. Remove"),
        ({"input_ids": torch.tensor([[0, 20, 2]])}, r"id 20, outside the model's vocabulary of 20"),
        ({"num_beams": 4}, r"does not know num_beams=4: .*prefix_beam_size"),
        ({"wide": 4}, r"does not know wide\. It takes .*legacy_adjacency"),
    ],
)
def test_impossible_request_is_refused_with_the_fix(make_translator: Callable, arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_translator().generate(**{"input_ids": SOURCE, **arguments})


def test_longest_source_is_translated(make_translator):
    assert make_translator().generate(torch.full((1, 15), 7), num_iterations=2, length_beam_size=1).shape[0] == 1
