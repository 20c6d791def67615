# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""n-gram language models: scores by hand, what a beam makes of them, and what is refused."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from transformers import pipeline

from dims_hf.cli.main import main
from dims_hf.data import save_tokenizer
from dims_hf.translation import NgramLanguageModel, open_runtime, spell_tokens, translate_texts


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


def write_unigrams(path: Path, pieces: list[str]) -> Path:
    """The later a piece stands, the less likely it is; `</s>` is certain, and so is an empty sentence."""
    lines = [f"{-0.1 * place:.1f}\t{piece}\t0" for place, piece in enumerate(pieces, start=1)]
    head = f"\\data\\\nngram 1={len(lines) + 3}\nngram 2=1\n\n\\1-grams:\n-9\t<unk>\n-99\t<s>\t0\n0\t</s>\n"
    tail = "\n\n\\2-grams:\n0\t<s> </s>\n\n\\end\\\n"
    path.write_text(head + "\n".join(lines) + tail, encoding="utf-8")
    return path


def test_beam_takes_the_hypothesis_that_both_models_like_most(folder: Path, sources, tmp_path: Path, capsys):
    pytest.importorskip("kenlm")
    runtime = open_runtime(folder)
    rows = runtime.tokenizer(sources)["input_ids"]
    pieces = [runtime.spell([token])[0] for token in range(5, len(runtime.text_tokenizer))]
    path = write_unigrams(tmp_path / "pieces.arpa", [piece for piece in pieces if not piece.startswith("<")])
    language_model = NgramLanguageModel.of_runtime(path, runtime)
    settings, weight, bonus = {"prefix_beam_size": 6}, 2.0, 0.7
    listed, scores = runtime.generate(rows, num_return_sequences=6, **settings)
    options = {**settings, "language_model": language_model, "language_model_weight": weight, "token_bonus": bonus}
    found, _ = runtime.generate(rows, **options)
    frames = runtime.model.template_lengths(runtime.pad(rows)["attention_mask"]).tolist()
    changed = 0
    for row, length in enumerate(frames):
        candidates = list(zip(listed[6 * row :][:6], scores[6 * row :][:6], strict=True))
        values = [length * score + weight * language_model(ids) + bonus * len(ids) for ids, score in candidates]
        best = candidates[values.index(max(values))][0]
        assert found[row] == best
        changed += best != candidates[0][0]
    assert changed
    # the pipeline and the command line say the same
    texts = [each.text for each in translate_texts(runtime, sources, **options)]
    translator = pipeline("translation", model=runtime.model, tokenizer=runtime.text_tokenizer)
    assert [each["translation_text"] for each in translator(sources, **options)] == texts
    words = ["--prefix-beam-size", "6", "--language-model", str(path), "--language-model-weight", "2"]
    capsys.readouterr()
    assert main(["translate", "--model", str(folder), *words, "--token-bonus", "0.7", *sources]) == 0
    assert capsys.readouterr().out.splitlines() == texts


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
