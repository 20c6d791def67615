# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""NativeTranslator: PyTorch's tokens with the same 8-bit numbers, whatever the batch, order, and number of threads."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch

from dims_hf.export import Shortlist, export_native
from dims_hf.export.native_export import _Comparison, rounded_model, write_native_folder
from dims_hf.native import NativeTranslator


pytestmark = pytest.mark.usefixtures("native_library")

SENTENCES = ["the small dog sees the old cat .", "a cat sleeps in the house today .", "a dog .", "der Hund"]


def _rows(vocab_size, lengths=(1, 2, 5, 9, 14, 28)):
    generator = np.random.default_rng(1)
    return [[0, *generator.integers(6, vocab_size, length).tolist(), 2] for length in lengths]


def _open(model, tokenizer, folder, *, passes=1, **options):
    write_native_folder(model, tokenizer, folder, num_iterations=passes)
    return NativeTranslator(folder, **options)


def _content(row, pad=1):
    return [token for token in row if token != pad]


@pytest.mark.parametrize(
    ("family", "passes", "fields"),
    [
        ("cmlm", 1, {}),
        ("cmlm", 4, {}),
        ("cmlm", 1, {"encoder_layers": 12, "decoder_layers": 1}),
        ("cmlm", 3, {"suppress_special_tokens": False, "mask_token_id": 3, "update_all_positions": True}),
        ("cmlmc", 1, {"activation_function": "gelu"}),
        ("cmlmc", 4, {}),
        ("imputer", 1, {}),
        ("imputer", 4, {"update_all_positions": True}),
    ],
)
def test_tokens_and_scores_are_those_of_pytorch_with_the_same_numbers(
    make_model, tiny_tokenizer, tmp_path, family, passes, fields
):
    model = make_model(family, **fields)
    translator, exact = _open(model, tiny_tokenizer, tmp_path, passes=passes), rounded_model(model)
    same = total = 0
    for row in _rows(len(tiny_tokenizer)):
        for beam in (1, 3) if translator.predicts_length else (1,):
            batch = translator.pad([row])
            sequences, scores = translator.generate(*batch, length_beam_size=beam)
            with torch.inference_mode():
                wanted = exact.generate(
                    *map(torch.from_numpy, batch),
                    num_iterations=passes,
                    length_beam_size=beam,
                    collapse_repeats=False,
                    return_dict_in_generate=True,
                )
            total += 1
            if sequences.tolist() == wanted.sequences.tolist():
                same += 1
                np.testing.assert_allclose(scores, wanted.sequences_scores, atol=5e-2)
    # the order of additions may decide a near tie
    assert same >= 0.8 * total


@pytest.mark.parametrize("family", ["cmlm", "imputer"])
def test_a_translation_depends_on_its_sentence_alone(make_model, tiny_tokenizer, tmp_path, family):
    translator = _open(make_model(family), tiny_tokenizer, tmp_path, passes=2)
    rows = _rows(len(tiny_tokenizer), (3, 9, 1, 14, 9, 20, 5, 2) * 3)
    together, scores = translator.generate(*translator.pad(rows))
    backwards, backward_scores = translator.generate(*translator.pad(rows[::-1]))
    threaded = NativeTranslator(tmp_path, threads=3)
    by_threads, thread_scores = threaded.generate(*threaded.pad(rows))
    np.testing.assert_array_equal(together, backwards[::-1])
    np.testing.assert_array_equal(scores, backward_scores[::-1])
    np.testing.assert_array_equal(together, by_threads)
    np.testing.assert_array_equal(scores, thread_scores)
    for index, row in enumerate(rows):
        alone, score = translator.generate(*translator.pad([row]))
        assert _content(alone[0].tolist()) == _content(together[index].tolist())
        assert score[0] == scores[index]


@pytest.mark.parametrize("family", ["cmlm", "cmlmc"])
def test_translations_are_the_same_before_and_after_what_is_kept_of_a_length(
    make_model, tiny_tokenizer, tmp_path, family
):
    """What targets of one length have in common is kept, for up to 2,048 positions: more lengths than fit."""
    model = make_model(family, max_position_embeddings=96)
    translator = _open(model, tiny_tokenizer, tmp_path / "kept")
    lengths = np.random.default_rng(0).permutation(np.arange(1, 94))
    ids, mask = translator.pad(_rows(len(tiny_tokenizer), [1 + length % 13 for length in lengths]))

    def translate(some: NativeTranslator, rows: slice, passes: int) -> tuple[list[list[int]], list[float]]:
        found, scores = some.generate(ids[rows], mask[rows], target_lengths=lengths[rows], num_iterations=passes)
        return [_content(row) for row in found.tolist()], scores.tolist()

    everything = slice(0, len(lengths))
    for passes in (1, 3):
        first = translate(translator, everything, passes)
        assert translate(translator, everything, passes) == first
        for row in (0, 40, 92):
            fresh = NativeTranslator(tmp_path / "kept")
            text, score = translate(fresh, slice(row, row + 1), passes)
            assert (text[0], score[0]) == (first[0][row], first[1][row])


def test_callers_may_share_a_translator(make_model, tiny_tokenizer, tmp_path):
    translator = _open(make_model("cmlm"), tiny_tokenizer, tmp_path, threads=2)
    expected, results = translator.translate(SENTENCES), {}

    def work(name):
        results[name] = [translator.translate(SENTENCES) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found == [expected] * 20 for found in results.values()) and len(results) == 4


def test_rules_of_decoding_are_those_of_generate(make_model, tiny_tokenizer, tmp_path):
    model = make_model("cmlm")
    translator, exact = _open(model, tiny_tokenizer, tmp_path), rounded_model(model)
    rules = {"length_beam_size": 3, "repeat_penalty": 2.0, "length_score_weight": 0.5}
    rows = _rows(len(tiny_tokenizer))
    same = 0
    for row in rows:
        batch = translator.pad([row])
        with torch.inference_mode():
            wanted = exact.generate(*map(torch.from_numpy, batch), num_iterations=1, collapse_repeats=False, **rules)
        same += translator.generate(*batch, **rules)[0].tolist() == wanted.tolist()
    assert same >= len(rows) - 1
    forbidden = translator.generate(*translator.pad(rows), repeat_penalty=float("inf"))[0]
    content = [_content(row) for row in forbidden.tolist()]
    assert all(a != b for row in content for a, b in zip(row, row[1:]))


def test_target_lengths_and_refusals(make_model, tiny_tokenizer, tmp_path):
    translator = _open(make_model("cmlm"), tiny_tokenizer, tmp_path)
    batch = translator.pad(_rows(len(tiny_tokenizer), (3, 5)))
    sequences, _ = translator.generate(*batch, target_lengths=np.array([4, 7]))
    assert [len(_content(row)) for row in sequences.tolist()] == [6, 9]
    for options, message in (
        ({"target_lengths": np.array([4, 7]), "length_beam_size": 2}, "fix the length"),
        ({"target_lengths": np.array([0, 7])}, "between 1 and 62"),
        ({"num_iterations": 0}, "num_iterations must be an integer >= 1"),
        ({"repeat_penalty": -1.0}, "repeat_penalty must be >= 0"),
        ({"repeat_penalty": float("nan")}, "repeat_penalty must be >= 0"),
        ({"length_score_weight": float("inf")}, "length_score_weight must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            translator.generate(*batch, **options)
    with pytest.raises(ValueError, match="outside the model's vocabulary"):
        translator.generate(np.array([[0, 10_000, 2]]), np.ones((1, 3), int))
    with pytest.raises(ValueError, match="all padding"):
        translator.generate(np.array([[0, 7, 2], [1, 1, 1]]), np.array([[1, 1, 1], [0, 0, 0]]))
    with pytest.raises(ValueError, match=r"sources\[0\] has .* tokens, the model takes at most 64"):
        translator.translate(["dog " * 100])
    assert translator.translate([]) == []


def test_imputers_write_alignments(make_model, tiny_tokenizer, tmp_path):
    translator = _open(make_model("imputer"), tiny_tokenizer, tmp_path)
    batch = translator.pad(_rows(len(tiny_tokenizer), (3, 6)))
    alignments = translator.align(*batch)
    assert [len(_content(row)) for row in alignments.tolist()] == [10, 16]
    with pytest.raises(ValueError, match="predicts no length"):
        translator.generate(*batch, length_beam_size=2)


def test_blank_penalty_is_in_the_file(make_model, tiny_tokenizer, tmp_path):
    model, lengths = make_model("imputer"), {}
    plain = _open(model, tiny_tokenizer, tmp_path)
    words = plain.generate(*plain.pad(_rows(len(tiny_tokenizer))))[0][:, 1:].flatten().tolist()
    likeliest = max(set(words) - {1, 2}, key=words.count)
    with torch.no_grad():
        # a blank a little likelier than what is predicted most, or there would be none
        model.model.shared.weight[model.config.blank_token_id] = 1.05 * model.model.shared.weight[likeliest]
    for penalty in (0.0, 0.3, 50.0):
        model.generation_config.blank_penalty = penalty
        (folder := tmp_path / str(penalty)).mkdir()
        translator, exact = _open(model, tiny_tokenizer, folder), rounded_model(model)
        assert translator.settings["blank_penalty"] == penalty
        batch = translator.pad(_rows(len(tiny_tokenizer)))
        with torch.inference_mode():
            wanted = exact.generate(*map(torch.from_numpy, batch), num_iterations=1)
        found = [_content(row) for row in translator.generate(*batch)[0].tolist()]
        lengths[penalty] = sum(map(len, found))
        # the order of additions may decide a near tie
        assert sum(row == _content(other) for row, other in zip(found, wanted.tolist())) >= 0.8 * len(found)
    assert lengths[0.0] <= lengths[0.3] <= lengths[50.0] and lengths[0.0] < lengths[50.0], lengths


def test_an_export_is_verified_and_translates(make_model, tiny_tokenizer, tmp_path):
    model, folder = make_model("cmlm"), tmp_path / "native"
    size = len(tiny_tokenizer)
    by_source = np.repeat(np.arange(size, dtype=np.int32)[:, None], 2, axis=1)
    shortlist = Shortlist(by_source, np.arange(8, 20, dtype=np.int32), {"per_token": 1, "frequent": 12})
    description = export_native(model, tiny_tokenizer, folder, num_iterations=1, shortlist=shortlist, name="tiny")
    assert description["verification"]["tokens"] > 0.97
    assert description == json.loads((folder / "export.json").read_text(encoding="utf-8"))
    assert set(description["sha256"]) == {path.name for path in folder.iterdir()} - {"export.json"}
    translator = NativeTranslator(folder)
    batch = translator.pad(translator.encode(SENTENCES))
    listed = translator.generate(*batch)[0]
    for row, sequence in zip(batch[0], listed):
        allowed = {*by_source[row].flatten().tolist(), *range(8, 20)}
        assert set(_content(sequence[1:].tolist())) - {2} <= allowed
    with pytest.raises(ValueError, match="exists"):
        export_native(model, tiny_tokenizer, folder, num_iterations=1)
    export_native(model, tiny_tokenizer, folder, num_iterations=1, overwrite=True)
    assert len(NativeTranslator(folder).translate(SENTENCES)) == len(SENTENCES)


@pytest.mark.parametrize(
    ("found", "score", "in_order", "share"),
    [
        ([0, 7, 8, 9, 10, 11, 2], 1.0, True, 1.0),
        # a near tie that adds a token here and leaves one out there: those between are the same
        ([0, 5, 7, 8, 9, 10, 2], 1.01, True, 6 / 7),
        # no alignment, or no tie: place by place
        ([0, 5, 7, 8, 9, 10, 2], 1.01, False, 2 / 7),
        ([0, 5, 7, 8, 9, 10, 2], 1.1, True, 2 / 7),
        ([0, 7, 8, 9, 10, 2], 1.1, True, 0.0),
    ],
)
def test_comparison_counts_tokens_that_are_the_same(found: list[int], score: float, in_order: bool, share: float):
    comparison = _Comparison(in_order=in_order)
    comparison.add([0, 7, 8, 9, 10, 11, 2], 1.0, found, score)
    assert comparison.describe()["tokens"] == pytest.approx(share) and comparison.other_lengths == 0


def test_models_without_a_native_form_are_refused(make_model, tiny_tokenizer, tmp_path):
    for fields, message in (
        ({"d_model": 24, "encoder_attention_heads": 2}, "multiple of 16, got 24"),
        ({"activation_function": "silu"}, "'silu' has no native form"),
    ):
        with pytest.raises(ValueError, match=message):
            export_native(make_model("cmlm", **fields), tiny_tokenizer, tmp_path / "native", num_iterations=1)
    with pytest.raises(ValueError, match="legacy_unmasked_attn_no_pad_mask"):
        model = make_model("cmlmc", legacy_unmasked_attn_no_pad_mask=True)
        export_native(model, tiny_tokenizer, tmp_path / "native", num_iterations=1)
    assert not any(tmp_path.iterdir())


def test_policies_for_odd_sources_are_those_of_the_package(make_model, tiny_tokenizer, tmp_path):
    translator = _open(make_model("cmlm"), tiny_tokenizer, tmp_path)
    alone, long = translator.translate(["a cat ."])[0], " ".join(["a cat ."] * 40)
    assert translator.translate(["", "a cat .", "\u200b\ufeff"]) == ["", alone, ""]
    assert translator.translate(text for text in ["a cat .", " "]) == [alone, ""]
    assert translator.translate([]) == [] and translator.translate([" "]) == [""]
    assert translator.translate([long, "a cat ."], on_long="skip") == ["", alone]
    assert translator.translate([long], on_long="split") == [" ".join([alone] * 40)]
    for options, message in (
        ({}, r"sources\[1\] has \d+ tokens, the model takes at most"),
        ({"on_long": "skip", "on_blank": "error"}, r"sources\[2\] is blank"),
        ({"on_long": "skip", "num_iterations": 10**9}, "num_iterations must be <= 1000"),
        ({"on_long": "skip", "length_beam_size": 10**9}, "length_beam_size must be <= 1000"),
    ):
        with pytest.raises(ValueError, match=message):
            translator.translate(["a cat .", long, "\u00ad"], **options)
    with pytest.raises(ValueError, match="attention_mask must hold 0 and 1"):
        translator.generate(np.array([[0, 6, 2]]), np.array([[1, 7, 1]]))


def test_damaged_tokenizer_is_refused(make_model, tiny_tokenizer, tmp_path):
    translator = _open(make_model("cmlm"), tiny_tokenizer, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="tokenizer.json is damaged"):
        translator.translate(["a cat ."])


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"max_position_embeddings": "x"}}, {"settings": {"pad_token_id": 10**8}},
        {"settings": {"length_beam_size": "x"}}, {"settings": {"repeat_penalty": "x"}}, {"sha256": None},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_description_is_refused(make_model, tiny_tokenizer, tmp_path, change):
    write_native_folder(make_model("cmlm"), tiny_tokenizer, tmp_path, num_iterations=1)
    path = tmp_path / "export.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    for name, value in change.items():
        description[name] = {} if value is None else description[name] | value
    path.write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(ValueError, match="export.json is damaged"):
        NativeTranslator(tmp_path)
