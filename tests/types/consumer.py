# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What users write, for `make types` to read: public names have types of their own. Nothing here runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import pipeline
from typing_extensions import assert_type

from dims_hf import (
    CMLMConfig,
    CMLMForConditionalGeneration,
    DiMSConfig,
    EMATeacher,
    Loss,
    NATGenerateOutput,
    TeacherRollout,
    Translation,
    as_vocabulary,
    dims_loss,
    roll_out_teacher,
    translate,
)


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def translate_as_the_readme():
    # transformers' annotations list its own tasks alone, to which importing this package adds one.
    translator = pipeline("translation", model="model_cards/tatoeba-en-de-dims")  # type: ignore[call-overload]
    for output in translator(["I would like to have a cup of coffee.", "Where did you buy that book?"], batch_size=32):
        print(output["translation_text"])  # noqa: T201


def generate(tokenizer: PreTrainedTokenizerBase):
    model = CMLMForConditionalGeneration.from_pretrained("model_cards/tatoeba-en-de-cmlm")
    assert_type(model, CMLMForConditionalGeneration)
    assert_type(model.config.mask_token_id, int)
    ids = torch.tensor([[0, 7, 8, 2]])
    assert_type(model.generate(ids, num_iterations=4), torch.Tensor)
    output = model.generate(ids, num_iterations=4, return_dict_in_generate=True, output_history=True)
    assert_type(output, NATGenerateOutput)
    assert_type(output.sequences_scores, torch.Tensor)
    tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
    for translation in translate(model, tokenizer, ["Where did you buy that book?"]):
        assert_type(translation, Translation)
        assert_type(translation.text, str)


def distil(source: torch.Tensor, target: torch.Tensor):
    student = CMLMForConditionalGeneration(CMLMConfig(vocab_size=20, d_model=16))
    labels = roll_out_teacher(EMATeacher(student).model, source, source.ne(1), target, num_iterations=2)
    assert_type(labels, TeacherRollout)
    hidden = labels.hidden_states
    loss = dims_loss(as_vocabulary(labels.logits), labels.logits, hidden, hidden, target == 4)
    assert_type(loss, Loss)
    assert_type(loss.total, torch.Tensor)
    assert_type(DiMSConfig(output_dir="run", ema_decay=None).teacher_iterations, int)
