# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Distilled corpora: beam search in shards, languages of the teacher, filters, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import M2M100Config, M2M100ForConditionalGeneration, MarianConfig, MarianMTModel, NllbTokenizer

from dims_hf.data import load_corpus
from dims_hf.data.distilled import (
    DROP_REASONS,
    SHARD_SETTINGS,
    BeamTranslator,
    PairFilter,
    TranslatedRow,
    TranslationShards,
    check_held_out,
    check_shard_settings,
    check_split,
    columns_of,
    filter_rows,
    model_fingerprint,
    one_line,
    save_shard_settings,
    set_languages,
    sources_fingerprint,
    write_split,
)


WORDS = "the small dog sees an old cat today and sleeps in this house . !".split()


def make_sources(count: int, seed: int = 0) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (count,), generator=generator).tolist()
    return [
        " ".join(WORDS[i] for i in torch.randint(len(WORDS), (length,), generator=generator)) for length in lengths
    ]


@pytest.fixture(scope="module")
def model(tiny_tokenizer: Any) -> MarianMTModel:
    """A Marian model with large random weights that is inclined to end: some translations do, some do not."""
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
    ids = {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0, "forced_eos_token_id": None}
    config = MarianConfig(vocab_size=len(tiny_tokenizer), max_position_embeddings=64, **heads, **sizes, **ids)
    model = MarianMTModel(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "positions" not in name:
                parameter.normal_(std=0.8, generator=generator)
        model.final_logits_bias[0, 2] = 4.0
    model.generation_config.suppress_tokens = [0, 1, 3, 4]
    return model


@pytest.fixture(scope="module")
def translator(model: MarianMTModel, tiny_tokenizer: Any) -> BeamTranslator:
    return BeamTranslator(model, tiny_tokenizer, num_beams=3, max_tokens_per_batch=200)


# ---- one teacher --------------------------------------------------------------------------------------------------


def test_translations_equal_those_of_generate_on_every_sentence_alone(model: MarianMTModel, tiny_tokenizer: Any):
    # In one batch, with a source so long that translations may fill the 64 positions.
    sources = [*make_sources(30), "the dog sees an old cat in this house today"]
    rows = BeamTranslator(model, tiny_tokenizer, num_beams=3)(sources)
    complete = [index for index, row in enumerate(rows) if row.is_complete]
    assert 5 < len(complete) < 25
    assert len({rows[index].text for index in complete}) > 3
    for index in complete:
        inputs = tiny_tokenizer(sources[index], return_tensors="pt")
        (ids,) = model.generate(**inputs, num_beams=3, length_penalty=1.0, max_length=64).tolist()
        assert ids[0] == 0 and ids[-1] == 2
        assert rows[index].text == tiny_tokenizer.decode(ids, skip_special_tokens=True).strip()
        assert rows[index].target_tokens == len(ids) - 2
        assert rows[index].source_tokens == inputs["input_ids"].shape[1] - 2
    assert all(row.target_tokens >= 62 for row in rows if not row.is_complete)


def test_translation_of_no_token_is_complete_and_empty(model: MarianMTModel, tiny_tokenizer: Any):
    ending = copy.deepcopy(model)
    ending.final_logits_bias[0, 2] = 1e4
    (row,) = BeamTranslator(ending, tiny_tokenizer, num_beams=2)(["the dog"])
    assert (row.text, row.target_tokens, row.is_complete) == ("", 0, True)


def test_batches_stay_within_the_budget_with_every_beam_counted(translator: BeamTranslator):
    sizes = dict(enumerate([3, 9, 4, 4, 90, 5, 3]))
    batches = list(translator._batches(sizes))
    assert sorted(row for batch in batches for row in batch) == list(range(7))
    assert batches[0] == [4]  # alone: 3 · 90 is more than 200
    assert batches[1] == [1, 5, 2, 3, 0, 6]  # 3 · 9 · 6 = 162, ties in the order of rows
    assert [len(batch) for batch in batches] == [1, 6]


def test_source_longer_than_the_teacher_takes_is_left_untranslated(translator: BeamTranslator):
    sources = ["the dog", "the dog " * 60, "an old cat"]
    seen = []
    rows = translator(sources, seen.append)
    assert [row.text is None for row in rows] == [False, True, False]
    assert rows[1].source_tokens > 62 and not rows[1].is_complete
    assert sum(seen) == 3
    assert translator.first_too_long(sources) == 1
    assert translator.first_too_long(sources[:1]) is None


def test_source_prefix_is_part_of_every_source(model: MarianMTModel, tiny_tokenizer: Any, translator: BeamTranslator):
    prefixed = BeamTranslator(model, tiny_tokenizer, num_beams=3, max_tokens_per_batch=200, source_prefix="the cat ")
    assert prefixed(["sees the dog"]) == translator(["the cat sees the dog"])


class NoEnd:
    """A tokenizer that lacks one special token."""

    def __init__(self, name: str):
        self.eos_token_id = self.pad_token_id = 1
        setattr(self, f"{name}_token_id", None)


@pytest.mark.parametrize("name", ["eos", "pad"])
def test_tokenizer_without_a_needed_token_is_refused(name: str, model: MarianMTModel):
    with pytest.raises(ValueError, match=f"The teacher's tokenizer has no {name}_token, .*use another teacher"):
        BeamTranslator(model, NoEnd(name))


def test_model_that_cannot_translate_is_refused(tiny_model: Any, model: MarianMTModel, tiny_tokenizer: Any):
    without_generate = torch.nn.Linear(1, 1)
    without_generate.config = MarianConfig()
    with pytest.raises(ValueError, match="Linear cannot generate translations. Use an autoregressive"):
        BeamTranslator(without_generate, tiny_tokenizer)
    with pytest.raises(
        ValueError, match="CMLMForConditionalGeneration is not autoregressive.*train_autoregressive.py"
    ):
        BeamTranslator(tiny_model, tiny_tokenizer)
    endless = copy.deepcopy(model)
    endless.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match="has no eos_token_id, so no translation would ever end"):
        BeamTranslator(endless, tiny_tokenizer)


@pytest.mark.parametrize("name", ["num_beams", "max_tokens_per_batch"])
def test_number_below_one_is_refused(name: str, model: MarianMTModel, tiny_tokenizer: Any):
    with pytest.raises(ValueError, match=f"{name} must be >= 1, got 0"):
        BeamTranslator(model, tiny_tokenizer, **{name: 0})


def test_settings_change_with_weights_and_search_and_are_json(model: MarianMTModel, tiny_tokenizer: Any):
    def settings(teacher: MarianMTModel = model, **options: Any) -> dict[str, Any]:
        return BeamTranslator(teacher, tiny_tokenizer, **options).settings()

    first = settings()
    assert json.loads(json.dumps(first)) == first == settings()
    assert (first["num_beams"], first["suppress_tokens"], first["dtype"]) == (5, [0, 1, 3, 4], "float32")
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.model.shared.weight[7, 3] += 1e-6
    differing = [
        {key for key, value in other.items() if first[key] != value}
        for other in (settings(changed), settings(num_beams=4), settings(length_penalty=0.6))
    ]
    assert differing == [{"model_fingerprint"}, {"num_beams"}, {"length_penalty"}]
    assert model_fingerprint(model) != model_fingerprint(copy.deepcopy(model).half())


def test_translating_leaves_the_settings_alone(translator: BeamTranslator):
    before = translator.settings()
    translator(["the dog"])
    assert translator.settings() == before


# ---- languages ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def multilingual() -> NllbTokenizer:
    """NLLB's tokenizer over a handful of words."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *"▁helo"]
    merges = [("▁", "h"), ("e", "l")]
    vocab = {token: index for index, token in enumerate([*words, "▁h", "el"])}
    return NllbTokenizer(vocab=vocab, merges=merges)


def test_multilingual_teacher_is_told_both_languages(multilingual: NllbTokenizer):
    config = M2M100Config(
        vocab_size=len(multilingual), d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
        decoder_attention_heads=1, encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=64,
    )  # fmt: skip
    model = M2M100ForConditionalGeneration(config)
    translator = BeamTranslator(model, multilingual, num_beams=2, source_code="fra_Latn", target_code="deu_Latn")
    assert translator.generation_config.forced_bos_token_id == multilingual.convert_tokens_to_ids("deu_Latn")
    assert translator._encode(["hello"])[0][0] == multilingual.convert_tokens_to_ids("fra_Latn")
    settings = translator.settings()
    assert (settings["source_code"], settings["target_code"]) == ("fra_Latn", "deu_Latn")
    first = []
    generate = model.generate
    model.generate = lambda **options: first.append(generate(**options)) or first[0]
    (row,) = translator(["hello"])
    assert first[0][0, 1] == multilingual.convert_tokens_to_ids("deu_Latn")  # after the token that starts decoding
    assert row.source_tokens == 4 and "deu_Latn" not in row.text


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (("eng_Latn", None), "many languages. Set teacher_target_lang to the code"),
        ((None, "deu_Latn"), "many languages. Set teacher_source_lang to the code"),
        (("eng_Latn", "de"), "teacher_target_lang='de' is no language of the teacher's tokenizer"),
    ],
)
def test_language_missing_or_unknown_is_refused(codes: tuple, message: str, multilingual: NllbTokenizer):
    with pytest.raises(ValueError, match=message):
        set_languages(multilingual, *codes)


def test_language_code_for_a_teacher_of_one_pair_is_refused(tiny_tokenizer: Any):
    assert set_languages(tiny_tokenizer, None, None) is None
    with pytest.raises(ValueError, match="has no language codes, got 'deu'"):
        set_languages(tiny_tokenizer, None, "deu")


# ---- shards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_rows", "size", "expected"),
    [
        (7, 3, [range(0, 3), range(3, 6), range(6, 7)]),
        (6, 3, [range(0, 3), range(3, 6)]),
        (1, 3, [range(0, 1)]),
    ],
)
def test_shards_cover_every_row_once(tmp_path: Path, num_rows: int, size: int, expected: list[range]):
    shards = TranslationShards(tmp_path, "train", num_rows, size)
    assert [shards.rows(shard) for shard in range(len(shards))] == expected
    assert shards.path(0).name == f"train-00000-of-{len(expected):05d}.jsonl"
    assert shards.missing() == list(range(len(expected)))


def test_shards_of_three_processes_or_one_are_the_same_bytes(tmp_path: Path, translator: BeamTranslator):
    sources = make_sources(13)
    one = TranslationShards(tmp_path / "one", "train", 13, 3)
    one.translate(sources, translator, one.missing())
    three = TranslationShards(tmp_path / "three", "train", 13, 3)
    missing = three.missing()
    for process in (2, 0, 1):
        three.translate(sources, translator, missing[process::3])
    assert three.missing() == []
    for shard in range(5):
        assert three.path(shard).read_bytes() == one.path(shard).read_bytes()
    assert three.read()[:3] == translator(sources[:3])
    assert len(three.read()) == 13


def test_shard_that_is_missing_or_short_is_named(tmp_path: Path, translator: BeamTranslator):
    shards = TranslationShards(tmp_path, "train", 5, 2)
    shards.translate(make_sources(5), translator, [0, 2])
    with pytest.raises(ValueError, match="There is no .*train-00001-of-00003.jsonl. Run the same command again"):
        shards.read()
    shards.path(1).write_text(shards.path(2).read_text())
    with pytest.raises(ValueError, match="00001-of-00003.jsonl has 1 rows and should have 2. Delete it"):
        shards.read()


@pytest.mark.parametrize(("num_rows", "size"), [(0, 3), (3, 0)])
def test_shards_of_nothing_are_refused(tmp_path: Path, num_rows: int, size: int):
    with pytest.raises(ValueError, match="both must be >= 1"):
        TranslationShards(tmp_path, "train", num_rows, size)


def test_folder_with_other_settings_is_refused_by_what_differs(tmp_path: Path):
    check_shard_settings(tmp_path, {"num_beams": 5})
    (tmp_path / ".train.9.tmp").touch()
    save_shard_settings(tmp_path, {"num_beams": 5, "model": "abc", "dropped": 1})
    assert [path.name for path in tmp_path.iterdir()] == [SHARD_SETTINGS]
    check_shard_settings(tmp_path, {"num_beams": 5, "model": "abc", "added": 2})
    with pytest.raises(ValueError) as refusal:
        check_shard_settings(tmp_path, {"num_beams": 4, "model": "abc"})
    assert str(refusal.value) == (
        f"{tmp_path} holds translations with num_beams=5, this recipe says num_beams=4. Choose another output_dir, or "
        "delete it."
    )


# ---- filters and files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "row", "reason"),
    [
        ("a dog", TranslatedRow("ein Hund", 2, 2, True), None),
        ("a dog", TranslatedRow(None, 900, 0, False), "too_long"),
        ("a dog", TranslatedRow("ein ein ein", 2, 26, False), "too_long"),
        ("a dog", TranslatedRow("", 2, 0, True), "empty"),
        ("a dog", TranslatedRow("ein <mask>", 2, 2, True), "special_token"),
        ("a dog", TranslatedRow("x", 4, 12, True), None),  # exactly 3 times
        ("a dog", TranslatedRow("x", 4, 13, True), "length_ratio"),
        ("a dog", TranslatedRow("x", 13, 4, True), "length_ratio"),
        ("a dog", TranslatedRow("x", 1, 10, True), None),  # ten tokens: no ratio yet
        ("a dog", TranslatedRow("x", 1, 11, True), "length_ratio"),
        ("a  Dog", TranslatedRow("A dog", 2, 2, True), "copy"),
        ("a dog", TranslatedRow("a dog !", 2, 3, True), None),
        ("a dog", TranslatedRow("a dog", 1, 11, True), "length_ratio"),  # the first reason counts
    ],
)
def test_reason_of_a_pair(source: str, row: TranslatedRow, reason: str | None):
    assert PairFilter().reason(source, row) == reason


def test_filters_that_are_off_keep_the_pair():
    off = PairFilter(max_length_ratio=None, drop_copies=False)
    assert off.reason("a dog", TranslatedRow("a dog", 1, 90, True)) is None
    with pytest.raises(ValueError, match="max_length_ratio must be >= 1, got 0.5"):
        PairFilter(max_length_ratio=0.5)


def test_filter_rows_counts_every_row_once():
    rows = [
        TranslatedRow("eins", 1, 1, True),
        TranslatedRow("", 1, 0, True),
        TranslatedRow(None, 99, 0, False),
        TranslatedRow("three", 1, 1, True),
        TranslatedRow("vier", 1, 1, True),
        TranslatedRow("", 1, 0, True),
    ]
    kept, dropped = filter_rows(["one", "two", "long", "three", "four", "five"], rows, PairFilter())
    assert kept == [0, 4]
    assert dropped == {"too_long": 1, "empty": 2, "special_token": 0, "length_ratio": 0, "copy": 1}
    assert tuple(dropped) == DROP_REASONS
    with pytest.raises(ValueError, match=r"All 1 translations were left out \(empty 1\). Look at the shards"):
        filter_rows(["two"], rows[1:2], PairFilter())


@pytest.mark.parametrize("split", ["valid", "test"])
def test_held_out_split_is_not_distilled(split: str):
    check_split("train")
    with pytest.raises(
        ValueError, match=f"The {split} split is not distilled: .* measures agreement with the teacher"
    ):
        check_split(split)


def test_training_split_that_is_a_held_out_one_is_refused():
    splits = {"train": {"source": list("abcdefgh")}, "valid": {"source": ["a", "b", "x", "y", "a"]}}
    assert check_held_out(splits) == {"valid": 3}  # two of four distinct ones: not more than half
    for smaller in ({"source": ["a", "b", "c", "x"]}, {"source": list("abcdefghijklmnopq")}):
        with pytest.raises(ValueError, match="looks like a held-out set, which is not distilled"):
            check_held_out({**splits, "test": smaller})


def test_split_is_written_as_its_readers_read_it(tmp_path: Path):
    rows = Dataset.from_dict({"source": ["a", "c\u2028d"], "target": ["x", "y"], "near": [0, 1]})
    columns = columns_of(rows, ["„e“", "g\u00a0h"], "en", "de")
    for split in ("train", "valid"):
        write_split(tmp_path, split, columns)
    expected = {"source": ["a", "c\u2028d"], "target": ["„e“", "g\u00a0h"], "near": [0, 1]}
    assert load_corpus(tmp_path, "en", "de")["train"].to_dict() == expected
    assert (
        (tmp_path / "valid.jsonl").read_text(encoding="utf-8").startswith('{"translation": {"en": "a", "de": "„e“"}')
    )


@pytest.mark.parametrize(("text", "line"), [("", ""), ("\n", ""), ("a\n\n b", "a  b"), ("a\rb ", "a b"), ("a", "a")])
def test_one_line_keeps_everything_but_line_breaks(text: str, line: str):
    assert one_line(text) == line


def test_sources_fingerprint_tells_order_and_borders_apart():
    texts = [["ab", "c"], ["a", "bc"], ["c", "ab"], ["ab\nc"]]
    assert len({sources_fingerprint(text) for text in texts}) == len(texts)
