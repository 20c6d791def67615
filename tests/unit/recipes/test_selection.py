# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""EM's choice among hypotheses: the likeliest that is complete, the rest in their order."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dims_hf.data.beam_search import Alternative, TranslatedRow
from dims_hf.recipes import selection
from dims_hf.recipes.selection import SelectingTranslator


def make_row(*texts, complete=True):
    alternatives = tuple(Alternative(text, len(text), True) for text in texts[1:])
    return TranslatedRow(texts[0], 3, len(texts[0] or ""), complete, alternatives)


ROWS = [
    make_row("aa", "b", "cccc"),
    make_row("a", "a", "a"),
    make_row("looping", "bb", complete=False),
    make_row(None),
    make_row("", "x"),
]


@pytest.fixture
def translate(monkeypatch, tiny_tokenizer):
    """Translations as given, and a model that likes length."""
    scored = []

    def score(model, sources, targets):
        scored.extend(targets)
        return [float(len(target)) for target in targets]

    monkeypatch.setattr(selection, "score_targets", score)
    found = SimpleNamespace(num_return_sequences=3)

    class Beams:
        generation_config, max_tokens_per_batch = found, 8

        def __call__(self, sources, on_batch=None):
            return ROWS

    return SelectingTranslator(Beams(), None, tiny_tokenizer), scored


def test_likeliest_complete_hypothesis_is_the_rows_own(translate):
    translator, scored = translate
    rows = translator(["a source"] * len(ROWS))
    texts = [[row.text, *(each.text for each in row.alternatives)] for row in rows]
    assert texts[0] == ["cccc", "aa", "b"]
    assert rows[0].target_tokens == 4 and rows[0].is_complete
    assert texts[1] == ["a", "a", "a"] and rows[1] is ROWS[1]
    assert texts[2] == ["bb", "looping"] and rows[2].is_complete
    assert not rows[2].alternatives[0].is_complete
    assert rows[3] is ROWS[3] and texts[4] == ["x", ""]
    assert len(scored) == 3 + 3 + 1 + 1


def test_one_hypothesis_leaves_nothing_to_choose():
    beams = SimpleNamespace(generation_config=SimpleNamespace(num_return_sequences=1))
    with pytest.raises(ValueError, match="nothing to choose from. Set num_hypotheses"):
        SelectingTranslator(beams, None, None)
