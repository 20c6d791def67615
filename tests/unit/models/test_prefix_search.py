# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Prefix beam search that a language model steers: against all paths, a plain search, and by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import groupby, product

import pytest
import torch

from dims_hf.models.alignment import prefix_beam_search
from dims_hf.models.decoding_ctc import search_row
from dims_hf.models.prefix_search import search_targets
from tests.fixtures.language_models import Bigrams, search_steered


BLANK = 0
WEIGHTS = {"language_model_weight": 0.7, "token_bonus": 0.5}
Frames = tuple[list[list[int]], list[list[float]]]


def draw(seed: int, num_frames: int = 5, vocab: int = 4, scale: float = 1.5) -> Frames:
    """Symbols of frames with their log-probabilities, likeliest first."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_frames, vocab, generator=generator, dtype=torch.float64) * scale
    log_probs, tokens = logits.log_softmax(dim=1).sort(dim=1, descending=True)
    return tokens.tolist(), log_probs.tolist()


def sum_over_paths(frames: Frames, language_model: Bigrams, weight: float, bonus: float) -> dict:
    """Score of every target, from the probability of each path by itself."""
    probabilities: dict[tuple[int, ...], float] = {}
    pairs = [list(zip(*frame, strict=True)) for frame in zip(*frames, strict=True)]
    for path in product(*pairs):
        runs = [symbol for symbol, _ in groupby(symbol for symbol, _ in path)]
        target = tuple(symbol for symbol in runs if symbol != BLANK)
        probability = math.exp(sum(log_prob for _, log_prob in path))
        probabilities[target] = probabilities.get(target, 0.0) + probability
    return {
        target: math.log(probability) + weight * language_model(target) + bonus * len(target)
        for target, probability in probabilities.items()
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("weight", "bonus"), [(0.7, 0.5), (0.0, 0.5), (2.0, 0.0)])
def test_beam_that_holds_everything_gives_the_score_of_every_target(seed: int, weight: float, bonus: float):
    frames, language_model = draw(seed), Bigrams(seed)
    expected = sum_over_paths(frames, language_model, weight, bonus)
    weights = {"language_model_weight": weight, "token_bonus": bonus}
    found = search_targets(*frames, blank_token_id=BLANK, beam_size=10_000, language_model=language_model, **weights)
    assert len(found) == len(expected)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    for ids, score in found:
        assert score == pytest.approx(expected[tuple(ids)], abs=1e-9)


@pytest.mark.parametrize("beam_size", [1, 2, 3, 8])
def test_narrow_beam_keeps_what_both_models_like_after_every_frame(beam_size: int):
    for seed in range(12):
        frames, language_model = draw(seed, num_frames=7, vocab=6), Bigrams(seed)
        pairs = [list(zip(*frame, strict=True)) for frame in zip(*frames, strict=True)]
        expected = search_steered(pairs, BLANK, beam_size, language_model, *WEIGHTS.values())
        found = search_targets(
            *frames, blank_token_id=BLANK, beam_size=beam_size, language_model=language_model, **WEIGHTS
        )
        assert [ids for ids, _ in found] == [ids for ids, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-9)
        # without a language model nothing of it remains, whatever its weights
        plain = search_targets(*frames, blank_token_id=BLANK, beam_size=beam_size, **WEIGHTS)
        log_probs = torch.full((7, 6), -torch.inf, dtype=torch.float64)
        log_probs = log_probs.scatter(1, torch.tensor(frames[0]), torch.tensor(frames[1], dtype=torch.float64))
        exact = prefix_beam_search(log_probs, blank_token_id=BLANK, beam_size=beam_size)
        assert [ids for ids, _ in plain] == [ids for ids, _ in exact]
        assert [score for _, score in plain] == pytest.approx([score for _, score in exact], abs=1e-9)


class Grammar:
    """`b c` is certain, everything else hopeless; the end may come at any time."""

    def score_prefix(self, ids: list[int]) -> float:
        return 0.0 if list(ids) == [2, 3][: len(ids)] else -20.0

    def __call__(self, ids: list[int]) -> float:
        return self.score_prefix(ids)


# blank 0, a 1, b 2, c 3: a is likelier than b in the first frame, and than c in the second
LURED = ([[1, 2, 0, 3], [1, 3, 0, 2]], [[math.log(p) for p in (0.6, 0.3, 0.09, 0.01)]] * 2)


def test_search_is_steered_where_ranking_its_end_comes_too_late():
    options = {"blank_token_id": BLANK, "beam_size": 2, "language_model_weight": 1.0}
    grammar = Grammar()
    (best, score), *_ = search_targets(*LURED, language_model=grammar, **options)
    assert best == [2, 3] and score == pytest.approx(math.log(0.3 * 0.3))
    # without it a beam of two ends without what the grammar wants
    ranked = search_targets(*LURED, language_model=lambda ids: grammar(ids), **options)
    assert [2, 3] not in [ids for ids, _ in ranked]
    assert {tuple(ids) for ids, _ in ranked} == {tuple(ids) for ids, _ in search_targets(*LURED, **options)}


def test_bonus_steers_beside_the_language_model():
    frames = ([[0, 1]], [[math.log(0.6), math.log(0.4)]])
    options = {"blank_token_id": BLANK, "beam_size": 1, "language_model": Bigrams(0, scale=0.0)}
    (short,) = search_targets(*frames, **options, token_bonus=0.4)
    (long,) = search_targets(*frames, **options, token_bonus=0.5)
    assert short == ([], pytest.approx(math.log(0.6)))
    assert long == ([1], pytest.approx(math.log(0.4) + 0.5))


def test_language_model_is_asked_once_for_a_prefix_and_for_few_of_them():
    frames, language_model = draw(1, num_frames=20, vocab=40, scale=3.0), Bigrams(3)
    search_targets(*frames, blank_token_id=BLANK, beam_size=5, language_model=language_model, **WEIGHTS)
    assert len(language_model.asked) == len(set(language_model.asked))
    assert len(language_model.asked) < 20 * 5 * 40 / 10


def test_what_a_language_model_excludes_is_left_out_and_nan_is_refused():
    frames, options = draw(2), {"blank_token_id": BLANK, "beam_size": 20, "language_model_weight": 1.0}

    class Without:
        def score_prefix(self, ids: list[int]) -> float:
            return -math.inf if 2 in ids else 0.0

        __call__ = score_prefix

    found = search_targets(*frames, language_model=Without(), **options)
    assert found and all(2 not in ids and score > -math.inf for ids, score in found)
    # 0 · inf counts nothing
    free = search_targets(*frames, language_model=Without(), **{**options, "language_model_weight": 0.0})
    assert any(2 in ids for ids, _ in free)
    with pytest.raises(ValueError, match=r"gives NaN for \["):
        search_targets(*frames, language_model=lambda ids: math.nan, **options)


def test_frames_repeat_a_symbol_and_lack_the_blank():
    log_probs = [[math.log(0.7), math.log(0.3), -1.0]]
    found = search_targets([[1, 2, 1]], log_probs, blank_token_id=BLANK, beam_size=3)
    assert found == [([1], pytest.approx(math.log(0.7))), ([2], pytest.approx(math.log(0.3)))]
    assert search_targets([], [], blank_token_id=BLANK, beam_size=3) == [([], 0.0)]


@pytest.mark.parametrize("family", ["imputer"], indirect=True)
def test_generate_searches_with_the_language_model(make_translator: Callable, make_sources: Callable, pad: Callable):
    model, sources = make_translator(2, initializer_range=0.1), make_sources(2, 4)
    language_model = Bigrams(5)
    with torch.no_grad():
        logits = model(pad(sources)).logits
    logits[..., model.suppressed_token_ids()] = -torch.inf
    settings = {"num_iterations": 1, "prefix_beam_size": 5, "num_return_sequences": 3, "return_dict_in_generate": True}
    found = model.generate(pad(sources), language_model=language_model, **WEIGHTS, **settings)
    ranked = model.generate(pad(sources), language_model=lambda ids: language_model(ids), **WEIGHTS, **settings)
    assert found.sequences.tolist() != ranked.sequences.tolist()
    for row, source in enumerate(sources):
        frames = 2 * len(source)
        log_probs, tokens = logits[row, :frames].log_softmax(dim=1).sort(dim=1, descending=True)
        pairs = [list(zip(*frame, strict=True)) for frame in zip(tokens.tolist(), log_probs.tolist(), strict=True)]
        expected = search_steered(pairs, 5, 5, language_model, *WEIGHTS.values())[:3]
        sequences = [ids[ids != 1].tolist()[1:-1] for ids in found.sequences[3 * row :][:3]]
        assert sequences == [ids for ids, _ in expected]
        scores = torch.tensor([score / frames for _, score in expected])
        torch.testing.assert_close(found.sequences_scores[3 * row :][:3], scores, atol=1e-5, rtol=0)
        # whatever the batch
        alone = model.generate(source[None], language_model=language_model, **WEIGHTS, **settings).sequences
        assert [ids[ids != 1].tolist()[1:-1] for ids in alone] == sequences


def test_row_with_a_language_model_is_the_search_over_its_symbols():
    tokens, log_probs = draw(9, num_frames=6, vocab=5)
    random.Random(0).shuffle(names := [7, 11, 5, 30, 9])
    named = torch.tensor(names)[torch.tensor(tokens)]
    found = search_row(
        named,
        torch.tensor(log_probs, dtype=torch.float64),
        blank_token_id=names[0],
        beam_size=4,
        language_model=Bigrams(1),
        **WEIGHTS,
    )
    expected = search_targets(
        named.tolist(), log_probs, blank_token_id=names[0], beam_size=4, language_model=Bigrams(1), **WEIGHTS
    )
    assert found == expected
