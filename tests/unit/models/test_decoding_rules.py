# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Decoding rules that need no training: repeats, weighted lengths, forced tokens and phrases, prefix beams."""

from __future__ import annotations

import math
from itertools import groupby, permutations, product

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, GenerationConfig

from dims_hf.models.alignment import prefix_beam_search
from dims_hf.models.decoding_constraints import best_places
from dims_hf.models.decoding_ctc import search_row
from dims_hf.models.decoding_rules import penalize_repeats


PAD = 1
for_imputers = pytest.mark.parametrize("family", ["imputer"], indirect=True)


def unpad(row: torch.Tensor) -> list[int]:
    return [token for token in row.tolist() if token != PAD]


def penalize(probabilities: list[list[float]], penalty: float) -> tuple[list[int], float]:
    log_probs, tokens = torch.tensor(probabilities).log().topk(3, dim=1)
    is_content = torch.ones(1, len(probabilities), dtype=torch.bool)
    chosen, scores = penalize_repeats(tokens[None], log_probs[None], is_content, penalty)
    return chosen[0].tolist(), scores.sum().item()


# ---- repeats ----


@pytest.mark.parametrize(
    ("probabilities", "penalty", "path", "score"),
    [
        ([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.5, 0.1, 0.4]], math.inf, [0, 1, 0], -2.253795),
        ([[0.6, 0.3, 0.1], [0.5, 0.45, 0.05], [0.55, 0.4, 0.05]], math.inf, [0, 1, 0], -1.907170),
        ([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.5, 0.1, 0.4]], 0.0, [0, 0, 0], math.log(0.7 * 0.6 * 0.5)),
        # A penalty of .2 costs less than the change from .6 to .3, more than that from .5 to .4.
        ([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.45, 0.1, 0.44]], 0.2, [0, 0, 2], math.log(0.7 * 0.6 * 0.44)),
        ([[0.2, 0.5, 0.3]], math.inf, [1], math.log(0.5)),
    ],
)
def test_penalised_path_follows_the_table(probabilities: list, penalty: float, path: list[int], score: float):
    chosen, found = penalize(probabilities, penalty)
    assert chosen == path and found == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("steps", [(2, 3), (3, 2)])
def test_long_targets_are_told_apart_by_their_last_digits(steps: tuple[int, int]):
    """The sum of 60 log-probabilities is -180, with gaps 64 times as wide as those at -3."""
    tokens = torch.arange(180).view(1, 60, 3)
    log_probs = torch.tensor([-3.0, -9.0, -9.0]).repeat(1, 60, 1)
    tokens[0, 58], tokens[0, 59] = torch.tensor([7, 8, 9]), torch.tensor([7, 5, 6])
    log_probs[0, 58:, 1] = torch.tensor([-3.0 - step * 2.0**-22 for step in steps])
    chosen, _ = penalize_repeats(tokens, log_probs, torch.ones(1, 60, dtype=torch.bool), math.inf)
    assert chosen[0, 58:].tolist() == ([8, 7] if steps[0] < steps[1] else [7, 5])


@pytest.mark.parametrize("penalty", [0.0, 0.3, 1.0, 5.0, math.inf])
def test_three_tokens_of_each_position_give_the_best_of_all_paths(penalty: float):
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        log_probs = (torch.randn(4, 5, generator=generator, dtype=torch.double) * 2).log_softmax(dim=1)

        def value(path: tuple[int, ...], log_probs: torch.Tensor = log_probs) -> float:
            repeats = sum(left == right for left, right in zip(path, path[1:], strict=False))
            cost = repeats * penalty if repeats else 0.0
            return sum(log_probs[t, token].item() for t, token in enumerate(path)) - cost

        best = max(product(range(5), repeat=4), key=value)
        top = log_probs.topk(3, dim=1)
        is_content = torch.ones(1, 4, dtype=torch.bool)
        chosen, _ = penalize_repeats(top.indices[None], top.values[None], is_content, penalty)
        assert tuple(chosen[0].tolist()) == best


def test_positions_outside_of_the_content_are_no_neighbours_and_forced_ones_are():
    tokens = torch.tensor([[[0, 0, 0], [7, 8, 9], [7, 8, 9], [7, 8, 9], [7, 7, 7]]])
    log_probs = torch.tensor([0.5, 0.3, 0.2]).log().expand(1, 5, 3)
    is_content = torch.tensor([[False, True, False, True, False]])
    chosen, scores = penalize_repeats(tokens, log_probs, is_content, math.inf)
    assert chosen.tolist() == [[0, 7, 7, 7, 7]]
    assert scores[0].tolist() == pytest.approx([0, math.log(0.5), 0, math.log(0.5), 0])
    is_forced = torch.tensor([[False, False, True, False, False]])
    chosen, _ = penalize_repeats(tokens, log_probs, is_content, math.inf, is_forced=is_forced)
    assert chosen.tolist() == [[0, 8, 7, 8, 7]]
    is_forced = torch.tensor([[False, True, True, False, False]])  # a repeat that the caller gave is meant
    chosen, _ = penalize_repeats(tokens, log_probs, is_content & ~is_forced, 1.0, is_forced=is_forced)
    assert chosen.tolist() == [[0, 7, 7, 8, 7]]


def test_repeat_penalty_in_generate(make_translator, make_sources, pad):
    repeats = {0.0: 0, 0.05: 0, math.inf: 0}
    for seed in range(4):
        model, sources = make_translator(seed), make_sources(seed, 6)
        settings = {"num_iterations": 2, "length_beam_size": 2}
        for penalty in repeats:
            raw = model.generate(pad(sources), repeat_penalty=penalty, collapse_repeats=False, **settings)
            collapsed = model.generate(pad(sources), repeat_penalty=penalty, **settings)
            for row, source in enumerate(sources):
                ids = unpad(raw[row])
                assert [key for key, _ in groupby(ids)] == unpad(collapsed[row])
                repeats[penalty] += len(ids) - len(unpad(collapsed[row]))
                alone = model.generate(source[None], repeat_penalty=penalty, collapse_repeats=False, **settings)
                assert unpad(alone[0]) == ids
        assert torch.equal(
            model.generate(pad(sources), **settings), model.generate(pad(sources), repeat_penalty=0, **settings)
        )
    assert repeats[0.0] > repeats[0.05] > repeats[math.inf] == 0


# ---- lengths ----


def test_length_score_is_added_to_every_candidate(make_translator, make_sources, pad):
    model, sources = make_translator(1), pad(make_sources(1, 5))
    settings = {"num_iterations": 2, "length_beam_size": 4, "num_return_sequences": 4, "collapse_repeats": False}
    plain = model.generate(sources, return_dict_in_generate=True, **settings)
    weighted = model.generate(sources, return_dict_in_generate=True, length_score_weight=0.5, **settings)
    encoded = model.get_encoder()(sources).last_hidden_state
    log_probs = model.predict_length(encoded, sources.ne(PAD)).log_softmax(dim=1)
    expected = []
    for row in range(5):
        found = []
        for ids, score in zip(plain.sequences[4 * row :][:4], plain.sequences_scores[4 * row :][:4], strict=True):
            found.append((score.item() + 0.5 * log_probs[row, len(unpad(ids))].item(), unpad(ids)))
        expected += sorted(found, key=lambda pair: -pair[0])
    assert [unpad(row) for row in weighted.sequences] == [ids for _, ids in expected]
    torch.testing.assert_close(
        weighted.sequences_scores, torch.tensor([score for score, _ in expected]), atol=1e-5, rtol=1e-5
    )


def test_rules_are_stored_with_the_model(tmp_path, make_translator, make_sources, pad):
    model, sources = make_translator(2), pad(make_sources(2, 5))
    stored = model.generation_config
    assert (stored.length_score_weight, stored.repeat_penalty) == (0, 0)
    stored.length_score_weight, stored.repeat_penalty, stored.length_beam_size = 0.3, 1.5, 3
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    expected = model.generate(sources, length_score_weight=0.3, repeat_penalty=1.5, length_beam_size=3)
    assert torch.equal(again.generate(sources), expected)
    config = GenerationConfig(repeat_penalty=0.0, length_score_weight=0.0)
    assert torch.equal(
        again.generate(sources, generation_config=config),
        model.generate(sources, length_score_weight=0.0, repeat_penalty=0, length_beam_size=3),
    )


# ---- constraints ----


@pytest.mark.parametrize("num_iterations", [1, 4])
@pytest.mark.parametrize("fields", [{}, {"update_all_positions": True}], ids=["masked", "all"])
def test_forced_tokens_stay_where_they_are_put(make_translator, make_sources, pad, num_iterations: int, fields: dict):
    model, sources = make_translator(0, **fields), make_sources(0, 4)
    forced = torch.full((4, 7), -100)
    forced[0, 1], forced[1, 3], forced[2, 4], forced[2, 5] = 9, 11, 12, 12
    settings = {"num_iterations": num_iterations, "length_beam_size": 3, "num_return_sequences": 3}
    output = model.generate(pad(sources), forced_tokens=forced, collapse_repeats=False, **settings)
    for row, ids in enumerate(output.tolist()):
        for column, token in enumerate(forced[row // 3].tolist()):
            assert token in (-100, ids[column])
    free = model.generate(pad(sources), collapse_repeats=False, **settings)
    assert unpad(output[9]) == unpad(free[9])  # nothing is forced in the last sentence
    alone = model.generate(sources[2][None], forced_tokens=forced[2:3], collapse_repeats=False, **settings)
    assert list(map(unpad, alone)) == list(map(unpad, output[6:9]))
    collapsed = model.generate(pad(sources), forced_tokens=forced, repeat_penalty=math.inf, **settings)
    assert all("12, 12" in str(ids) for ids in collapsed[6:9].tolist())


def contains(ids: list[int], phrase: list[int]) -> bool:
    return any(ids[start : start + len(phrase)] == phrase for start in range(len(ids)))


@pytest.mark.parametrize("num_iterations", [1, 3])
def test_forced_phrases_are_in_every_candidate(make_translator, make_sources, pad, num_iterations: int):
    model, sources = make_translator(0), make_sources(0, 3)
    phrases = [[[9, 9, 10]], [], [[7], [11, 12], [8, 7]]]
    settings = {"num_iterations": num_iterations, "length_beam_size": 3, "num_return_sequences": 3}
    for collapse_repeats in (False, True):
        settings["collapse_repeats"] = collapse_repeats
        output = model.generate(pad(sources), forced_phrases=phrases, **settings)
        for row, ids in enumerate(map(unpad, output)):
            assert all(contains(ids, phrase) for phrase in phrases[row // 3])
        assert list(map(unpad, output[3:6])) == list(map(unpad, model.generate(sources[1][None], **settings)))


def test_phrases_go_where_they_lose_least():
    phrases = [[0, 1], [2], [3, 4]]
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        log_probs = (2 * torch.randn(7, 6, generator=generator)).log_softmax(dim=1)
        loss = log_probs - log_probs.amax(dim=1, keepdim=True)

        def value(starts: tuple[int, ...], loss: torch.Tensor = loss) -> float:
            return sum(
                loss[start + offset, token].item()
                for start, phrase in zip(starts, phrases, strict=True)
                for offset, token in enumerate(phrase)
            )

        def fits(starts: tuple[int, ...]) -> bool:
            taken = [start + k for start, phrase in zip(starts, phrases, strict=True) for k in range(len(phrase))]
            return len(set(taken)) == len(taken) and max(taken) < 7

        best = max(filter(fits, permutations(range(7), 3)), key=value)
        assert best_places(log_probs, phrases) == list(best)


# ---- prefix beams ----


def test_search_of_a_row_is_the_prefix_beam_over_its_symbols():
    probabilities = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.2, 0.6], [0.6, 0.1, 0.3]])
    log_probs, tokens = probabilities.log().topk(3, dim=1)
    names = torch.tensor([5, 17, 9])  # blank, and two tokens whose order is another
    found = search_row(names[tokens], log_probs, blank_token_id=5, beam_size=5)
    assert found[0][0] == [17, 9] and math.exp(found[0][1]) == pytest.approx(0.3942, abs=1e-4)
    exact = prefix_beam_search(probabilities.log(), blank_token_id=0, beam_size=5)
    assert [[{1: 17, 2: 9}[token] for token in ids] for ids, _ in exact] == [ids for ids, _ in found]


@for_imputers
def test_prefix_beam_in_generate(make_translator, make_sources, pad):
    changed = 0
    for seed in range(3):
        model, sources = make_translator(seed, initializer_range=0.1), make_sources(seed, 4)
        with torch.no_grad():
            logits = model(pad(sources)).logits
        logits[..., model.suppressed_token_ids()] = -torch.inf
        output = model.generate(
            pad(sources), num_iterations=1, prefix_beam_size=6, num_return_sequences=3, return_dict_in_generate=True
        )
        greedy = model.generate(pad(sources), num_iterations=1)
        for row, source in enumerate(sources):
            frames = 2 * len(source)
            exact = prefix_beam_search(logits[row, :frames].log_softmax(dim=1), blank_token_id=5, beam_size=6)[:3]
            assert [unpad(ids)[1:-1] for ids in output.sequences[3 * row :][:3]] == [ids for ids, _ in exact]
            expected = torch.tensor([score / frames for _, score in exact])
            torch.testing.assert_close(output.sequences_scores[3 * row :][:3], expected, atol=1e-5, rtol=0)
            changed += unpad(greedy[row]) != unpad(output.sequences[3 * row])
            alone = model.generate(source[None], num_iterations=1, prefix_beam_size=6)
            assert unpad(alone[0]) == unpad(output.sequences[3 * row])
    assert changed > 2


@for_imputers
def test_language_model_ranks_the_hypotheses(make_translator, make_sources, pad):
    model, sources = make_translator(0, initializer_range=0.1), pad(make_sources(0, 4))
    settings = {"num_iterations": 1, "prefix_beam_size": 6}
    listed = model.generate(sources, num_return_sequences=6, **settings)
    ranked = model.generate(
        sources, language_model=lambda ids: -float(len(ids)), language_model_weight=1e3, **settings
    )
    for row in range(4):
        assert len(unpad(ranked[row])) == min(len(unpad(ids)) for ids in listed[6 * row :][:6])


@for_imputers
@pytest.mark.parametrize("update_all_positions", [False, True])
def test_prefix_beam_after_several_passes_does_not_depend_on_the_batch(
    make_translator, make_sources, pad, update_all_positions: bool
):
    model, sources = make_translator(1, update_all_positions=update_all_positions), make_sources(1, 5)
    for num_iterations in (2, 4, 30):
        settings = {"num_iterations": num_iterations, "prefix_beam_size": 4}
        batch = model.generate(pad(sources), **settings)
        for row, source in enumerate(sources):
            assert unpad(model.generate(source[None], **settings)[0]) == unpad(batch[row])


@for_imputers
def test_blank_penalty_is_taken_off_the_blank(make_translator, make_sources, pad):
    model, sources = make_translator(2, initializer_range=0.1), make_sources(2, 4)
    with torch.no_grad():
        # a blank a little likelier than what is predicted most, or there would be none
        likeliest = model(pad(sources)).logits[..., 6:].argmax(dim=-1).flatten().mode().values + 6
        model.model.shared.weight[5] = 1.01 * model.model.shared.weight[likeliest]
        logits = model(pad(sources)).logits
    logits[..., model.suppressed_token_ids()] = -torch.inf
    num_tokens, num_blanks = [], []
    for penalty in (0.0, 0.2, 1.0, 50.0):
        output = model.generate(
            pad(sources), num_iterations=1, blank_penalty=penalty, return_dict_in_generate=True, output_scores=True
        )
        expected = logits.clone()
        expected[..., 5] -= penalty
        frames = expected.argmax(dim=-1)
        blanks = 0
        for row, source in enumerate(sources):
            path = frames[row, : 2 * len(source)].tolist()
            blanks += path.count(5)
            kept = [token for place, token in enumerate(path) if token != 5 and path[place - 1 : place] != [token]]
            assert unpad(output.sequences[row])[1:-1] == kept
        num_tokens.append(sum(len(unpad(row)) for row in output.sequences))
        num_blanks.append(blanks)
    assert num_blanks == sorted(num_blanks, reverse=True) and num_blanks[0] > 0 == num_blanks[-1]
    # stored with the model, it is what decoding does
    model.generation_config.blank_penalty = 50.0
    stored = model.generate(pad(sources), num_iterations=1)
    assert [unpad(row) for row in stored] == [unpad(row) for row in output.sequences]


# ---- refusals ----


SOURCE = torch.tensor([[0, 7, 8, 2], [0, 9, 2, 1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"repeat_penalty": -1.0}, r"repeat_penalty must be a number >= 0, got -1\.0"),
        ({"repeat_penalty": math.nan}, r"repeat_penalty must be a number >= 0, got nan"),
        ({"repeat_penalty": "1"}, r"repeat_penalty must be a number >= 0"),
        ({"length_score_weight": math.inf}, r"length_score_weight must be a number >= 0, got inf"),
        ({"repeat_penalty": 1.0, "do_sample": True}, r"Use repeat_penalty=0 with samples"),
        ({"prefix_beam_size": 4}, r"does not know prefix_beam_size"),
        ({"language_model": len}, r"models with a blank have\. Leave out language_model"),
        ({"forced_tokens": torch.full((1, 3), -100)}, r"forced_tokens must hold ids of shape \(2, length\)"),
        ({"forced_tokens": torch.full((2, 3), 7)}, r"Column 0 of forced_tokens is that of <s>"),
        ({"forced_tokens": torch.tensor([[-100, 4]] * 2)}, r"forced_tokens holds the id 4, which is no word"),
        ({"forced_tokens": torch.tensor([[-100, 20]] * 2)}, r"forced_tokens holds the id 20, which is no word"),
        ({"forced_tokens": torch.full((2, 16), 7).index_fill(1, torch.tensor([0]), -100)}, r"predicts at most 15"),
        (
            {"forced_tokens": torch.tensor([[-100, -100, 7]] * 2), "target_lengths": [1, 2]},
            r"target_lengths\[0\]=1 cannot hold what is forced, which needs 2",
        ),
        ({"forced_phrases": [[[7]]]}, r"forced_phrases has 1 entries for 2 sentences"),
        ({"forced_phrases": [["cat"], []]}, r"forced_phrases holds the text 'cat'. Give each phrase as token ids"),
        ({"forced_phrases": ["cat", "dog"]}, r"forced_phrases holds the text 'cat'"),
        ({"forced_phrases": [[[]], []]}, r"forced_phrases\[0\] has 1 phrases, 1 of them empty"),
        ({"forced_phrases": [[], [[2]]]}, r"forced_phrases\[1\] holds the id 2, which is no word"),
        ({"forced_phrases": [[], []], "forced_tokens": torch.full((2, 3), -100)}, r"exclude each other"),
    ],
)
def test_impossible_rule_is_refused_with_the_fix(make_translator, arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_translator().generate(SOURCE, **arguments)


@for_imputers
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prefix_beam_size": 0}, r"prefix_beam_size must be an integer >= 1, got 0"),
        ({"prefix_beam_size": 2, "num_return_sequences": 3}, r"num_return_sequences=3 and prefix_beam_size=2"),
        ({"blank_penalty": -0.5}, r"blank_penalty must be a number >= 0, got -0\.5"),
        ({"prefix_beam_size": 2, "do_sample": True}, r"Use prefix_beam_size=1 with samples"),
        ({"language_model": len}, r"Give prefix_beam_size"),
        ({"forced_tokens": torch.full((2, 3), -100)}, r"none can be forced\. Leave out forced_tokens"),
        ({"forced_phrases": [[], []]}, r"none can be forced\. Leave out forced_phrases"),
        ({"repeat_penalty": 1.0}, r"does not know repeat_penalty"),
    ],
)
def test_impossible_rule_of_an_imputer_is_refused_with_the_fix(make_translator, arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_translator().generate(SOURCE, **arguments)
