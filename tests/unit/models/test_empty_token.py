# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The empty token of AXE: written like any other, dropped by decoding, and refused where it is a special one."""

from __future__ import annotations

import pytest
import torch

from dims_hf import CMLMConfig, ImputerConfig
from dims_hf.translation import translate


A, B, C = 10, 11, 12


@pytest.fixture
def model(tiny_model, tiny_tokenizer):
    """A model whose predictions are given; ε is the last token of its vocabulary."""
    tiny_model.config.empty_token_id = len(tiny_tokenizer) - 1

    def write(*tokens):
        logits = torch.zeros(len(tokens), tiny_model.config.vocab_size)
        logits[range(len(tokens)), list(tokens)] = 9.0
        tiny_model.project_vocabulary = lambda hidden: logits.repeat(len(hidden) // len(tokens), 1)
        return tiny_model

    write.empty = tiny_model.config.empty_token_id
    return write


@pytest.mark.parametrize(
    ("written", "collapsed"),
    [
        ((A, "ε", C), [A, C]),
        ((A, "ε", A), [A, A]),  # no repeat
        ((A, A, "ε"), [A]),
        (("ε", "ε", B), [B]),
        ((A, A, "ε", "ε", A, C), [A, A, C]),
        (("ε", "ε"), []),
        ((A, B, C), [A, B, C]),
    ],
)
def test_runs_are_collapsed_first_and_empty_tokens_dropped_then(model, written, collapsed):
    tokens = [model.empty if token == "ε" else token for token in written]
    ids = torch.tensor([[0, 7, 8, 2]])
    settings = {"target_lengths": torch.tensor([len(tokens)]), "num_iterations": 1}
    assert model(*tokens).generate(ids, **settings).tolist() == [[0, *collapsed, 2]]
    raw = model(*tokens).generate(ids, **settings, collapse_repeats=False)
    assert raw.tolist() == [[0, *tokens, 2]]


def test_translations_have_no_empty_token_whether_or_not_repeats_are_collapsed(model, tiny_tokenizer):
    written = model(A, A, model.empty, A)
    (found,) = translate(written, tiny_tokenizer, ["the cat"], target_lengths=[4], num_iterations=1)
    assert found.token_ids == (A, A) and found.raw_token_ids == (A, A, A)
    settings = {"target_lengths": [4], "num_iterations": 1, "collapse_repeats": False}
    (found,) = translate(written, tiny_tokenizer, ["the cat"], **settings)
    assert found.token_ids == found.raw_token_ids == (A, A, A)


def test_batch_changes_nothing(model):
    ids = torch.tensor([[0, 7, 8, 2], [0, 9, 2, 1]])
    settings = {"target_lengths": torch.tensor([3, 3]), "num_iterations": 1}
    both = model(A, model.empty, C).generate(ids, ids != 1, **settings)
    assert both.tolist() == [[0, A, C, 2]] * 2


@pytest.mark.parametrize("bad", [2, 4, 500, -1])
def test_special_ids_and_ids_beyond_the_vocabulary_are_refused(bad):
    with pytest.raises(ValueError, match=f"empty_token_id={bad} "):
        CMLMConfig(vocab_size=100, empty_token_id=bad)


def test_families_without_a_length_predictor_have_no_empty_token():
    with pytest.raises(ValueError, match="empty_token_id=5 has no effect on models of type imputer"):
        ImputerConfig(vocab_size=100, blank_token_id=6, empty_token_id=5)
