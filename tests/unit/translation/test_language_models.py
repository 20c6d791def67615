# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""n-gram language models: scores by hand, what a beam makes of them, and what is refused."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from transformers import pipeline

from dims_hf import DATConfig, DATForConditionalGeneration
from dims_hf.cli.main import main
from dims_hf.data import save_tokenizer
from dims_hf.translation import NgramLanguageModel, open_runtime, spell_tokens, translate_texts
from tests.fixtures.language_models import search_steered, write_unigrams


# Bigrams of a and b, by hand; the last column is the weight of backing off.
ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.3
-0.5\t</s>
-0.7\ta\t-0.2
-0.9\tb\t-0.1

\\2-grams:
-0.1\t<s> a
-0.4\ta b
-0.6\tb </s>

\\end\\
"""
LETTERS = {1: "a", 2: "b", 3: "c"}


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    pytest.importorskip("kenlm")
    path = tmp_path / "letters.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("ids", "decades"),
    [
        ([1, 2], -0.1 - 0.4 - 0.6),
        ([2, 1], (-0.3 - 0.9) + (-0.1 - 0.7) + (-0.2 - 0.5)),
        ([], -0.3 - 0.5),
        # an unknown word has no weight of backing off
        ([3], (-0.3 - 1.0) - 0.5),
        ([1, 1, 2], -0.1 + (-0.2 - 0.7) - 0.4 - 0.6),
    ],
)
def test_scores_are_natural_logarithms_of_the_table_by_hand(arpa: Path, ids: list[int], decades: float):
    language_model = NgramLanguageModel(arpa, lambda ids: [LETTERS[each] for each in ids])
    assert language_model(ids) == pytest.approx(decades * math.log(10), abs=1e-5)


@pytest.fixture
def folder(tiny_imputer, tiny_tokenizer, tmp_path: Path) -> Path:
    tiny_imputer.save_pretrained(tmp_path / "model")
    save_tokenizer(tiny_tokenizer, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def pieces(folder: Path, tmp_path: Path) -> Path:
    """An ARPA file of the tiny model's vocabulary."""
    runtime = open_runtime(folder)
    spelled = [runtime.spell([token])[0] for token in range(5, len(runtime.text_tokenizer))]
    return write_unigrams(tmp_path / "pieces.arpa", [piece for piece in spelled if not piece.startswith("<")])


WEIGHTS = {"language_model_weight": 2.0, "token_bonus": 0.7}


def test_function_of_whole_targets_chooses_among_what_the_search_ends_with(folder: Path, pieces: Path, sources):
    pytest.importorskip("kenlm")
    runtime = open_runtime(folder)
    rows = runtime.tokenizer(sources)["input_ids"]
    language_model = NgramLanguageModel.of_runtime(pieces, runtime)
    settings = {"prefix_beam_size": 6}
    listed, scores = runtime.generate(rows, num_return_sequences=6, **settings)
    found, _ = runtime.generate(rows, **settings, language_model=lambda ids: language_model(ids), **WEIGHTS)
    frames = runtime.model.template_lengths(runtime.pad(rows)["attention_mask"]).tolist()
    changed = 0
    for row, length in enumerate(frames):
        candidates = list(zip(listed[6 * row :][:6], scores[6 * row :][:6], strict=True))
        values = [length * score + 2.0 * language_model(ids) + 0.7 * len(ids) for ids, score in candidates]
        best = candidates[values.index(max(values))][0]
        assert found[row] == best
        changed += best != candidates[0][0]
    assert changed


@pytest.mark.parametrize("unit", ["tokens", "words"])
def test_search_is_steered_by_both_models_everywhere_alike(folder: Path, pieces: Path, sources, capsys, unit: str):
    pytest.importorskip("kenlm")
    runtime = open_runtime(folder)
    rows = runtime.tokenizer(sources)["input_ids"]
    language_model = NgramLanguageModel.of_runtime(pieces, runtime, unit=unit)
    options = {"num_iterations": 1, "prefix_beam_size": 6, "language_model": language_model, **WEIGHTS}
    found, scores = runtime.generate(rows, **options)
    frames, config = runtime.model.template_lengths(runtime.pad(rows)["attention_mask"]).tolist(), runtime.model.config
    with torch.no_grad():
        logits = runtime.model(**runtime.pad(rows)).logits
    logits[..., runtime.model.suppressed_token_ids()] = -torch.inf
    for row, length in enumerate(frames):
        log_probs, tokens = logits[row, :length].log_softmax(dim=1).topk(40, dim=1)
        pairs = [list(zip(*frame, strict=True)) for frame in zip(tokens.tolist(), log_probs.tolist(), strict=True)]
        (best, score), *_ = search_steered(pairs, config.blank_token_id, 6, language_model, *WEIGHTS.values())
        assert found[row] == best and scores[row] == pytest.approx(score / length, abs=1e-5)
    # the pipeline and the command line say the same
    texts = [each.text for each in translate_texts(runtime, sources, **options)]
    translator = pipeline("translation", model=runtime.model, tokenizer=runtime.text_tokenizer)
    assert [each["translation_text"] for each in translator(sources, **options)] == texts
    words = ["--prefix-beam-size", "6", "--language-model", str(pieces), "--language-model-weight", "2"]
    words += ["--language-model-unit", unit, "--token-bonus", "0.7", "--num-iterations", "1"]
    capsys.readouterr()
    assert main(["translate", "--model", str(folder), *words, *sources]) == 0
    assert capsys.readouterr().out.splitlines() == texts


def test_export_searches_as_the_model_does(folder: Path, pieces: Path, sources, tmp_path: Path, capsys):
    for name in ("kenlm", "onnx", "onnxruntime"):
        pytest.importorskip(name)
    from dims_hf.export.folders import add_tokenizer, write_description
    from dims_hf.export.onnx_export import write_graphs

    runtime, export = open_runtime(folder), tmp_path / "export"
    description = write_graphs(runtime.model, export, num_iterations=1)
    add_tokenizer(export, runtime.text_tokenizer)
    write_description(export, {"name": "tiny", **description})
    words = [
        "--num-iterations",
        "1",
        "--prefix-beam-size",
        "6",
        "--language-model",
        str(pieces),
        "--token-bonus",
        "0.7",
    ]
    shown = []
    for model in (folder, export):
        assert main(["translate", "--model", str(model), *words, "--language-model-weight", "2", *sources]) == 0
        shown.append(capsys.readouterr().out)
    assert main(["translate", "--model", str(export), *words, "--language-model-weight", "0.01", *sources]) == 0
    assert shown[0] == shown[1] != capsys.readouterr().out


def test_beginning_is_worth_what_is_sure_of_it(arpa: Path):
    log = math.log(10)
    tokens = NgramLanguageModel(arpa, lambda ids: [LETTERS[each] for each in ids])
    assert [tokens.score_prefix(ids) for ids in ([], [1], [1, 2])] == pytest.approx(
        [0, -0.1 * log, -0.5 * log], abs=1e-5
    )

    # two ids a word: the last word may not be complete
    def spell(ids):
        letters = "".join(LETTERS[each] for each in ids)
        return [letters[start : start + 2] for start in range(0, len(ids), 2)]

    words = NgramLanguageModel(arpa, spell, last_may_grow=True)
    assert words.score_prefix([1]) == words.score_prefix([1, 2]) == 0
    assert words.score_prefix([1, 2, 1]) == pytest.approx((-0.3 - 1.0) * log, abs=1e-5)
    assert words([1, 2]) == pytest.approx((-0.3 - 1.0 - 0.5) * log, abs=1e-5)


def test_words_are_those_of_the_text_and_tokens_those_of_the_vocabulary(folder: Path, arpa: Path, sources):
    runtime = open_runtime(folder)
    ids = runtime.tokenizer(sources[:1])["input_ids"][0][1:-1]
    of_words = NgramLanguageModel.of_runtime(arpa, runtime, unit="words")
    assert of_words.spell(ids) == runtime.decode(ids).split()
    assert " ".join(NgramLanguageModel.of_runtime(arpa, runtime).spell(ids)) == spell_tokens(runtime, sources)[0]
    with pytest.raises(ValueError, match="unit must be one of tokens, words, got 'letters'"):
        NgramLanguageModel.of_runtime(arpa, runtime, unit="letters")


def test_missing_and_damaged_files_are_refused(tmp_path: Path):
    pytest.importorskip("kenlm")
    with pytest.raises(ValueError, match=r"The language model .*absent\.arpa does not exist\. Give an ARPA file"):
        NgramLanguageModel(tmp_path / "absent.arpa", list)
    damaged = tmp_path / "damaged.arpa"
    damaged.write_text("\\data\\\nngram 1=two\n")
    with pytest.raises(ValueError, match=r"damaged\.arpa is no language model that KenLM can read: "):
        NgramLanguageModel(damaged, list)


def test_without_kenlm_its_extra_is_named(monkeypatch, folder: Path, tmp_path: Path, capsys):
    monkeypatch.setitem(sys.modules, "kenlm", None)
    words = ["--prefix-beam-size", "6", "--language-model", str(tmp_path / "x.arpa"), "a cat"]
    assert main(["translate", "--model", str(folder), *words]) == 2
    shown = capsys.readouterr().err
    assert shown.endswith('error: A language model needs KenLM. Install it: pip install "dims-hf[lm]"\n')


@pytest.mark.parametrize("option", ["--language-model-unit=words", "--language-model-weight=1", "--token-bonus=1"])
def test_settings_of_a_language_model_without_one_are_refused(option: str, capsys):
    assert main(["translate", "--model", "x", option, "a cat"]) == 2
    assert "has no effect without --language-model FILE" in capsys.readouterr().err


@pytest.fixture
def graph_folder(tiny_tokenizer, tmp_path: Path) -> Path:
    """A DA-Transformer whose beam reads several words."""
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "link_heads": 2, "upsample_ratio": 4}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = DATConfig(vocab_size=len(tiny_tokenizer), initializer_range=0.5, **sizes, **heads)
        model = DATForConditionalGeneration(config)
    settings = {"graph_search": "beam", "beam_size": 6, "path_length_penalty": 2.5}
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(tmp_path / "graph")
    save_tokenizer(tiny_tokenizer, tmp_path / "graph")
    return tmp_path / "graph"


@pytest.mark.parametrize("collapse", [True, False])
def test_beam_of_a_graph_says_the_same_everywhere(
    graph_folder: Path, tiny_tokenizer, sources, tmp_path: Path, capsys, collapse: bool
):
    pytest.importorskip("kenlm")
    runtime = open_runtime(graph_folder)
    spelled = [runtime.spell([token])[0] for token in range(5, len(tiny_tokenizer))]
    arpa = write_unigrams(tmp_path / "pieces.arpa", [piece for piece in spelled if not piece.startswith("<")])
    language_model = NgramLanguageModel.of_runtime(arpa, runtime)
    options = {"language_model": language_model, "language_model_weight": 0.4, "collapse_repeats": collapse}
    inputs = runtime.pad(runtime.tokenizer(sources)["input_ids"])
    generated = runtime.text_tokenizer.batch_decode(
        runtime.model.generate(**inputs, **options), skip_special_tokens=True
    )
    # paths that read the same meet in the search, not after it
    other = runtime.model.generate(**inputs, **{**options, "collapse_repeats": not collapse})
    assert runtime.text_tokenizer.batch_decode(other, skip_special_tokens=True) != generated
    plain = runtime.model.generate(**inputs, collapse_repeats=collapse)
    assert runtime.text_tokenizer.batch_decode(plain, skip_special_tokens=True) != generated
    assert [each.text for each in translate_texts(runtime, sources, **options)] == generated
    translator = pipeline("translation", model=runtime.model, tokenizer=runtime.text_tokenizer)
    for more in ({}, {"return_confidence": True}):
        found = translator(sources, **options, **more, batch_size=2)
        assert [each["translation_text"] for each in found] == generated
    words = [
        "--language-model",
        str(arpa),
        "--language-model-weight",
        "0.4",
        *([] if collapse else ["--keep-repeats"]),
    ]
    assert main(["translate", "--model", str(graph_folder), *words, *sources]) == 0
    assert capsys.readouterr().out.splitlines() == generated
