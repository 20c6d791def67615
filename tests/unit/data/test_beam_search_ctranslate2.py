# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Beam search in CTranslate2 against that of transformers, and what CTranslate2 does not take."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration, MarianConfig, MarianMTModel

from dims_hf.data.beam_search import BeamTranslator, Sampling
from tests.fixtures.teachers import make_sources


pytest.importorskip("ctranslate2", reason='needs pip install "dims-hf[ctranslate2]"')


@pytest.fixture
def teacher(random_marian: MarianMTModel) -> MarianMTModel:
    """The teacher, stopping and renormalising as CTranslate2 always does."""
    teacher = copy.deepcopy(random_marian)
    teacher.generation_config.update(early_stopping=True, renormalize_logits=True)
    return teacher


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 1},
        {"num_beams": 5},
        {"num_beams": 4, "num_hypotheses": 4},
        {"num_beams": 3, "length_penalty": 0.6},
    ],
)
def test_translations_equal_those_of_torch(teacher: MarianMTModel, tiny_tokenizer: Any, options: dict):
    sources = [*make_sources(40), "the dog " * 60]
    torch_rows, rows = (
        BeamTranslator(teacher, tiny_tokenizer, runtime=runtime, max_tokens_per_batch=200, **options)(sources)
        for runtime in ("torch", "ctranslate2")
    )
    assert rows[-1].text is None and 5 < sum(row.is_complete for row in rows) < 38
    assert len({row.text for row in rows}) > 8
    assert rows == torch_rows


def test_translations_do_not_change_with_the_number_of_threads(teacher: MarianMTModel, tiny_tokenizer: Any):
    def translate(threads: int) -> list:
        torch.set_num_threads(threads)
        return BeamTranslator(teacher, tiny_tokenizer, runtime="ctranslate2", max_tokens_per_batch=100)(sources)

    sources, threads = make_sources(30), torch.get_num_threads()
    try:
        assert translate(1) == translate(3)
    finally:
        torch.set_num_threads(threads)


def test_draws_depend_on_seed_and_sources_alone(teacher: MarianMTModel, tiny_tokenizer: Any):
    def draw(seed: int = 1, *, top_k: int = 8, threads: int = 1, texts: tuple[str, ...] = ()) -> list[str | None]:
        torch.set_num_threads(threads)
        translator = BeamTranslator(
            teacher,
            tiny_tokenizer,
            num_beams=1,
            sampling=Sampling(top_k, seed=seed),
            runtime="ctranslate2",
            max_tokens_per_batch=100,
        )
        for text in texts:  # what was drawn before is of no account
            translator([text])
        return [row.text for row in translator(sources)]

    sources, threads = make_sources(30), torch.get_num_threads()
    try:
        first = draw()
        assert draw() == draw(threads=3) == draw(texts=("the dog", "an old cat")) == first
        assert draw(2) != first
    finally:
        torch.set_num_threads(threads)
    greedy = BeamTranslator(teacher, tiny_tokenizer, num_beams=1, runtime="ctranslate2", max_tokens_per_batch=100)
    assert draw(top_k=1) == [row.text for row in greedy(sources)] != first


def test_model_that_starts_with_padding_is_converted_as_marian_made_it(tiny_tokenizer: Any):
    """Marian's own checkpoints: padding is the last token, starts the decoder, and has an embedding of zeros."""
    vocabulary = len(tiny_tokenizer)
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    names = [*(token for token in tokenizer.convert_ids_to_tokens(range(vocabulary)) if token != "<pad>"), "<pad>"]
    moved = {tokenizer.convert_tokens_to_ids(name): index for index, name in enumerate(names)}
    renamed = Renamed(tokenizer, names, moved)
    config = MarianConfig(
        vocab_size=vocabulary, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=64,
        pad_token_id=vocabulary - 1, eos_token_id=renamed.eos_token_id, decoder_start_token_id=vocabulary - 1,
        forced_eos_token_id=None,
    )  # fmt: skip
    model = MarianMTModel(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "positions" not in name:
                parameter.normal_(std=0.8, generator=generator)
        model.model.shared.weight[-1] = 0
        model.final_logits_bias[0, renamed.eos_token_id] = 4.0
    bad = [[vocabulary - 1]]
    model.generation_config.update(bad_words_ids=bad, early_stopping=True, renormalize_logits=True)
    torch_rows, rows = (
        BeamTranslator(model, renamed, runtime=runtime, num_beams=3)(make_sources(20))
        for runtime in ("torch", "ctranslate2")
    )
    assert len({row.text for row in rows}) > 5
    assert rows == torch_rows


class Renamed:
    """A tokenizer whose ids are in another order."""

    src_lang_is_missing = True

    def __init__(self, tokenizer: Any, names: list[str], moved: dict[int, int]):
        self.tokenizer, self.names, self.moved = tokenizer, names, moved
        self.back = {new: old for old, new in moved.items()}
        self.all_special_ids = [moved[index] for index in tokenizer.all_special_ids]
        for name in ("eos", "pad", "unk", "bos"):
            setattr(self, f"{name}_token_id", moved[getattr(tokenizer, f"{name}_token_id")])
            setattr(self, f"{name}_token", getattr(tokenizer, f"{name}_token"))
        self.model_max_length = tokenizer.model_max_length

    def __call__(self, texts: list[str], **options: Any) -> dict[str, list[list[int]]]:
        rows = self.tokenizer(texts, **options)["input_ids"]
        return {"input_ids": [[self.moved[index] for index in row] for row in rows]}

    def get_vocab(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.names[index] for index in ids]

    def batch_decode(self, rows: list[list[int]], **options: Any) -> list[str]:
        return self.tokenizer.batch_decode([[self.back[index] for index in row] for row in rows], **options)


def test_int8_is_another_precision_in_the_settings(teacher: MarianMTModel, tiny_tokenizer: Any):
    translator = BeamTranslator(teacher, tiny_tokenizer, runtime="ctranslate2", precision="int8")
    settings = translator.settings()
    assert (settings["dtype"], settings["runtime"]) == ("int8", "ctranslate2")
    assert [row.source_tokens for row in translator(make_sources(3))] == [
        row.source_tokens for row in BeamTranslator(teacher, tiny_tokenizer)(make_sources(3))
    ]


def test_words_are_chosen_among_those_that_the_mapping_lists(
    teacher: MarianMTModel, tiny_tokenizer: Any, tmp_path: Path
):
    mapping = tmp_path / "mapping.txt"
    letters = [token for token in tiny_tokenizer.get_vocab() if len(token) == 1 and token.isalpha()][:4]
    mapping.write_text(f"\t</s> {' '.join(letters)}\n", encoding="utf-8")
    mapped = BeamTranslator(teacher, tiny_tokenizer, runtime="ctranslate2", vocabulary_mapping=mapping)
    free = BeamTranslator(teacher, tiny_tokenizer, runtime="ctranslate2")
    with_mapping, without = (
        set("".join(row.text or "" for row in translator(make_sources(20)))) for translator in (mapped, free)
    )
    assert with_mapping and with_mapping <= set(letters) and not without <= set(letters)
    assert len(mapped.settings().pop("vocabulary_mapping")) == 64
    assert "vocabulary_mapping" not in free.settings()
    with pytest.raises(ValueError, match="The torch runtime has no vocabulary mapping"):
        BeamTranslator(teacher, tiny_tokenizer, vocabulary_mapping=mapping)


def test_what_ctranslate2_does_not_take_is_refused(
    teacher: MarianMTModel, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(ValueError, match="CTranslate2 has no int4 on this cpu. Set dtype to one of .*int8"):
        BeamTranslator(teacher, tiny_tokenizer, runtime="ctranslate2", precision="int4")
    repeating = copy.deepcopy(teacher)
    repeating.generation_config.no_repeat_ngram_size = 3
    with pytest.raises(ValueError, match="has no_repeat_ngram_size, which the ctranslate2 runtime does not know"):
        BeamTranslator(repeating, tiny_tokenizer, runtime="ctranslate2")
    config = M2M100Config(
        vocab_size=len(tiny_tokenizer), d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
        decoder_attention_heads=1, encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=64,
    )  # fmt: skip
    with pytest.raises(ValueError, match="takes Marian models, and M2M100ForConditionalGeneration is none. Use runt"):
        BeamTranslator(M2M100ForConditionalGeneration(config), tiny_tokenizer, runtime="ctranslate2")
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(
        ValueError, match=r'not installed: pip install "dims-hf\[ctranslate2\]", or use runtime: torch'
    ):
        BeamTranslator(teacher, tiny_tokenizer, runtime="ctranslate2")
