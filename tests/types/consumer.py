# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What users write, for `make types` to read: public names have types of their own. Nothing here runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from typing_extensions import assert_type

import dims_hf
from dims_hf import (
    CMLMConfig,
    CMLMForConditionalGeneration,
    DiMSConfig,
    EMATeacher,
    Loss,
    NATGenerateOutput,
    NATTranslationPipeline,
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
    translator = dims_hf.pipeline("translation", model="model_cards/en-de-onepass")
    for output in translator(["I would like to have a cup of coffee.", "Where did you buy that book?"], batch_size=32):
        print(output["translation_text"])  # noqa: T201
    assert_type(translator, NATTranslationPipeline)


def translate_as_the_documentation():
    translator = dims_hf.pipeline("translation", model="model_cards/tatoeba-en-de-dims")
    translator("Where did you buy that book?", num_iterations=4, length_beam_size=3)
    translator(["One sentence.", "Another one."], batch_size=32)
    translator("Good morning.  How are you?\n\nSee you!")[0]["translation_text"]
    (result,) = translator("Where did you buy that book?", return_confidence=True)
    print(result["confidence"], result["flags"])  # noqa: T201

    tokenizer = AutoTokenizer.from_pretrained("model_cards/tatoeba-en-de-dims")
    model = AutoModelForSeq2SeqLM.from_pretrained("model_cards/tatoeba-en-de-dims", dtype="float32").eval()
    inputs = tokenizer(["Where did you buy that book?"], return_tensors="pt")
    output = model.generate(**inputs, num_iterations=4, return_dict_in_generate=True, output_history=True)
    print(tokenizer.batch_decode(output.sequences, skip_special_tokens=True), output.sequences_scores)  # noqa: T201


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
