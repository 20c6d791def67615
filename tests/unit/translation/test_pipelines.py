# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The pipeline under our own signature is that of transformers."""

from __future__ import annotations

import pytest
from transformers import pipeline as pipeline_of_transformers

import dims_hf


def test_pipeline_is_that_of_transformers(tiny_model, tiny_tokenizer):
    ours, theirs = (
        make("translation", model=tiny_model, tokenizer=tiny_tokenizer, num_iterations=2)
        for make in (dims_hf.pipeline, pipeline_of_transformers)
    )
    texts = ["the small dog sees the old cat .", "a cat ."]
    assert type(ours) is type(theirs) and ours(texts, batch_size=2) == theirs(texts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("summarization", "a/b"), "got task='summarization'. Use transformers.pipeline"),
        ((), "There is no model to translate with"),
    ],
)
def test_pipeline_of_another_task_or_of_nothing_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        dims_hf.pipeline(*arguments)
