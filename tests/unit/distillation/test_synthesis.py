# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Synthetic targets are the teacher's translations, padded as labels are."""

from __future__ import annotations

import torch

from dims_hf import synthesize_targets


SOURCES = torch.tensor([[0, 7, 8, 9, 2], [0, 5, 2, 1, 1]])


def synthesize(model, **settings):
    return synthesize_targets(model, SOURCES, SOURCES.ne(1).long(), **settings)


def test_targets_are_generate_with_two_passes_and_padding_becomes_ignored(model):
    expected = model.generate(SOURCES, SOURCES.ne(1), num_iterations=2, length_beam_size=1, collapse_repeats=False)
    labels = synthesize(model)
    assert torch.equal(labels, expected.masked_fill(expected == 1, -100))
    assert (labels[:, 0] == 0).all()


def test_targets_follow_every_setting(make_model):
    model = make_model(seed=3)
    for settings in ({"num_iterations": 1}, {"num_iterations": 4, "length_beam_size": 3}, {"collapse_repeats": True}):
        full = {"num_iterations": 2, "length_beam_size": 1, "collapse_repeats": False, **settings}
        expected = model.generate(SOURCES, SOURCES.ne(1), **full)
        assert torch.equal(synthesize(model, **settings), expected.masked_fill(expected == 1, -100))


def test_model_that_samples_by_default_is_still_asked_for_its_best(make_model):
    model = make_model()
    best = synthesize(model)
    model.generation_config.do_sample = True
    assert torch.equal(synthesize(model), best)


def test_padding_predicted_inside_a_sentence_stays_a_token(model, monkeypatch):
    targets = torch.tensor([[0, 6, 1, 2, 7, 2, 1], [0, 5, 2, 1, 1, 1, 1]])
    monkeypatch.setattr(model, "generate", lambda *args, **kwargs: targets)
    assert synthesize(model).tolist() == [[0, 6, 1, 2, 7, 2, -100], [0, 5, 2, -100, -100, -100, -100]]
