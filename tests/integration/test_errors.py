# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Mistakes of users, made through the public entry points: each is refused before training, and the message says how
to mend it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dims_hf import CMLMConfig, CMLMForConditionalGeneration, NATTrainer
from dims_hf.cli.main import main
from dims_hf.data import save_tokenizer, train_tokenizer
from dims_hf.recipes.runs import distill, train_teacher


ENGLISH = ["the dog is not old .", "we have a small house .", "that cat and this dog are not here ."]
GERMAN = ["der Hund ist nicht alt .", "wir haben ein kleines Haus .", "die Katze und der Hund sind nicht hier ."]
SIZES = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
MODEL = ["--d_model", "8", "--encoder_layers", "1", "--decoder_layers", "1", "--attention_heads", "2",
         "--ffn_dim", "8", "--vocab_size", "90", "--max_steps", "1", "--max_position_embeddings", "40"]  # fmt: skip


@pytest.fixture(autouse=True)
def no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gets as far as a training step fails."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a training step ran")

    monkeypatch.setattr(NATTrainer, "training_step", refuse)


def write_corpus(folder: Path, **changes: list[str] | None) -> Path:
    """`train.en`, `train.de`, `valid.en`, `valid.de` with ten copies of three pairs; `train_en=...` replaces one."""
    folder.mkdir(exist_ok=True)
    for split in ("train", "valid"):
        for language, lines in (("en", ENGLISH), ("de", GERMAN)):
            lines = changes.get(f"{split}_{language}", lines * 10)
            if lines is not None:
                text = "".join(line + "\n" for line in lines)
                (folder / f"{split}.{language}").write_text(text, encoding="utf-8")
    return folder


def make_model(**fields: Any) -> CMLMForConditionalGeneration:
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    return CMLMForConditionalGeneration(CMLMConfig(**{"max_position_embeddings": 40, **SIZES, **heads, **fields}))


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """An untrained teacher with its tokenizer."""
    tokenizer = train_tokenizer(ENGLISH + GERMAN, 90, max_length=40)
    folder = tmp_path / "teacher"
    make_model(vocab_size=len(tokenizer)).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A good corpus."""
    return write_corpus(tmp_path / "data")


@pytest.fixture
def start(tmp_path: Path, teacher: Path) -> Callable[..., None]:
    """Starts a teacher's training or a distillation."""

    def run(kind: str, data: Path | str, *options: str, source_lang: str = "en", target_lang: str = "de") -> None:
        words = ["--data", str(data), "--source_lang", source_lang, "--target_lang", target_lang]
        words += ["--output_dir", str(tmp_path / "run")]
        if kind == "train":
            train_teacher([*words, *MODEL, *options])
        else:
            teacher_options = [] if "--teacher" in options else ["--teacher", str(teacher)]
            distill([*words, "--max_steps", "1", *teacher_options, *options])

    return run


BOTH = pytest.mark.parametrize("kind", ["train", "distill"])


def refused(*parts: str) -> Any:
    """A `ValueError` whose message has these parts, in this order."""
    return pytest.raises(ValueError, match="(?s)" + ".*".join(map(re.escape, parts)))


@BOTH
def test_corpus_that_does_not_exist(kind: str, start: Callable[..., None], tmp_path: Path) -> None:
    with refused("There is no file or folder", "missing/corpus", "Correct the path"):
        start(kind, tmp_path / "missing" / "corpus")


@BOTH
def test_file_of_a_split_that_is_missing(kind: str, start: Callable[..., None], tmp_path: Path) -> None:
    with refused("valid.de: no such file", "Add the file"):
        start(kind, write_corpus(tmp_path / "data", valid_de=None))


@BOTH
def test_unequal_line_counts(kind: str, start: Callable[..., None], tmp_path: Path) -> None:
    with refused("train.en has 30 lines but", "train.de has 29", "make the counts equal"):
        start(kind, write_corpus(tmp_path / "data", train_de=(GERMAN * 10)[:-1]))


@BOTH
def test_empty_line(kind: str, start: Callable[..., None], tmp_path: Path) -> None:
    lines = GERMAN * 10
    lines[6] = "  "
    with refused("train.de:7: the sentence is empty", "remove the pair on both sides"):
        start(kind, write_corpus(tmp_path / "data", train_de=lines))


@BOTH
def test_empty_file(kind: str, start: Callable[..., None], tmp_path: Path) -> None:
    with refused("no sentences", "Put at least one pair into every split"):
        start(kind, write_corpus(tmp_path / "data", valid_en=[], valid_de=[]))


@BOTH
def test_language_that_is_not_there_as_a_file_suffix(kind: str, start: Callable[..., None], data: Path) -> None:
    with refused("train.fr: no such file. The folder has train in 'de', 'en'", "ask for languages that are there"):
        start(kind, data, target_lang="fr")


@BOTH
def test_language_that_is_not_there_as_a_key(kind: str, start: Callable[..., None], tmp_path: Path) -> None:
    for split in ("train", "valid"):
        rows = [{"translation": {"en": en, "de": de}} for en, de in zip(ENGLISH, GERMAN)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with refused("train.jsonl:1: no language 'fr' in this row, only 'en', 'de'", "ask for languages that are there"):
        start(kind, tmp_path, target_lang="fr")


@BOTH
def test_swapped_languages_as_file_suffixes(kind: str, start: Callable[..., None], tmp_path: Path) -> None:
    swapped = {"train_en": GERMAN * 10, "train_de": ENGLISH * 10}
    with refused("the languages look swapped", "Exchange the file names or keys"):
        start(kind, write_corpus(tmp_path / "data", **swapped))


@BOTH
def test_swapped_languages_as_keys(kind: str, start: Callable[..., None], tmp_path: Path) -> None:
    for split in ("train", "valid"):
        rows = [{"translation": {"en": de, "de": en}} for en, de in zip(ENGLISH * 10, GERMAN * 10)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with refused("the languages look swapped", "or swap source_lang and target_lang"):
        start(kind, tmp_path)


def test_tokenizer_that_does_not_match_the_teacher(
    start: Callable[..., None], data: Path, teacher: Path, tmp_path: Path
) -> None:
    other = train_tokenizer([text.upper() for text in ENGLISH + GERMAN], 90, max_length=40)
    student = tmp_path / "student"
    make_model(vocab_size=len(other)).save_pretrained(student)
    save_tokenizer(other, student)
    with refused("does not match the teacher's: id ", " in the teacher's vocabulary (", "Use the teacher's tokenizer"):
        start("distill", data, "--student", str(student))


def test_student_of_another_width_than_its_teacher(
    start: Callable[..., None], data: Path, teacher: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer, student = AutoTokenizer.from_pretrained(teacher), tmp_path / "student"
    make_model(vocab_size=len(tokenizer), d_model=12).save_pretrained(student)
    save_tokenizer(tokenizer, student)
    with refused("Student and teacher differ in d_model: 12 and 8", "Start the student from the teacher"):
        start("distill", data, "--student", str(student))


def test_token_id_out_of_range_in_training(start: Callable[..., None], data: Path, tmp_path: Path) -> None:
    folder, tokenizer = tmp_path / "small", train_tokenizer(ENGLISH + GERMAN, 90, max_length=40)
    make_model(vocab_size=len(tokenizer) - 30).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    with refused("Row ", "has token id ", f"vocab_size is {len(tokenizer) - 30}", "Use the tokenizer the model was"):
        start("distill", data, "--teacher", str(folder))


def test_token_id_out_of_range_in_decoding(teacher: Path) -> None:
    model = CMLMForConditionalGeneration.from_pretrained(teacher)
    with refused("hold the id 5000, outside the model's vocabulary", "Use the tokenizer saved with the model"):
        model.generate(torch.tensor([[0, 5000, 2]]))


@BOTH
def test_sentence_longer_than_the_position_table(kind: str, start: Callable[..., None], tmp_path: Path) -> None:
    long = ["the dog " * 30, *ENGLISH * 10]
    data = write_corpus(tmp_path / "data", train_en=long, train_de=[GERMAN[0], *GERMAN * 10])
    with refused("Row 0: the source has", "the model takes at most 40", "drop_too_long=True"):
        start(kind, data, "--no_drop_too_long")


def test_sentences_longer_than_the_position_table_are_dropped_from_training_and_validation(
    start: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = {"en": ["the dog " * 30, *ENGLISH * 10], "de": [GERMAN[0], *GERMAN * 10]}
    data = write_corpus(
        tmp_path / "data",
        **{f"{split}_{language}": long[language] for split in ("train", "valid") for language in long},
    )
    seen = {}

    def look(trainer: NATTrainer, *_: Any, **__: Any) -> None:
        seen.update(trainer.evaluate(), rows=(len(trainer.train_dataset), len(trainer.eval_corpus)))
        raise KeyboardInterrupt

    monkeypatch.setattr(NATTrainer, "train", look)
    with pytest.raises(KeyboardInterrupt):
        start("train", data)
    assert seen["rows"] == (30, 30) and "eval_bleu_1" in seen


def test_sentence_longer_than_the_position_table_in_decoding(teacher: Path) -> None:
    model = CMLMForConditionalGeneration.from_pretrained(teacher)
    with refused("Row 0 has 42 tokens, more than the position table of 40", "Split the sentence or truncate"):
        model.generate(torch.tensor([[0] + [7] * 40 + [2]]))


@pytest.mark.parametrize("num_iterations", [0, -1])
def test_no_decoder_pass_in_decoding(teacher: Path, num_iterations: int) -> None:
    model = CMLMForConditionalGeneration.from_pretrained(teacher)
    with refused("num_iterations must be an integer >= 1", "Use 1 for single-step decoding"):
        model.generate(torch.tensor([[0, 7, 2]]), num_iterations=num_iterations)


def test_no_decoder_pass_on_the_command_line(teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "--model", str(teacher), "--num-iterations", "0", "the dog ."]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == (
        "error: num_iterations must be an integer >= 1, got 0. Use 1 for single-step decoding."
    )


@BOTH
def test_no_decoder_pass_in_validation(kind: str, start: Callable[..., None], data: Path) -> None:
    with refused("eval_iterations must be integers >= 1, got [0]", "Try [1, 4]"):
        start(kind, data, "--eval_iterations", "0")


def test_no_teacher_pass(start: Callable[..., None], data: Path) -> None:
    with refused("teacher_iterations must be >= 1, got 0. The paper uses 2"):
        start("distill", data, "--teacher_iterations", "0")


@pytest.mark.parametrize("path", ["/missing/teacher", "runs/missing", "./missing"])
def test_teacher_path_that_does_not_exist(start: Callable[..., None], data: Path, path: str) -> None:
    with refused(f"The teacher path '{path}' does not exist", "one with training/train_teacher.py"):
        start("distill", data, "--teacher", path)


def test_teacher_path_that_does_not_exist_on_the_command_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["distill", "--data", str(data), "--source_lang", "en", "--target_lang", "de", "--output_dir", "out"]
    assert main([*words, "--teacher", "/missing/teacher"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: The teacher path '/missing/teacher' does not exist. Train one with")
    assert error.count("\n") == 1


@pytest.mark.parametrize("decay", ["1.01", "-0.1"])
def test_ema_decay_outside_the_unit_interval(start: Callable[..., None], data: Path, decay: str) -> None:
    with refused(f"ema_decay must lie in [0, 1], got {float(decay)}", "The paper uses 0.9992"):
        start("distill", data, "--ema_decay", decay)


@BOTH
def test_setting_that_does_not_exist(kind: str, start: Callable[..., None], data: Path) -> None:
    with refused("Unknown name --lenght_weight on the command line. Did you mean --length_weight?"):
        start(kind, data, "--lenght_weight", "0.2")


@BOTH
def test_budget_below_the_longest_sentence(kind: str, start: Callable[..., None], data: Path) -> None:
    with refused("tokens, more than max_tokens_per_batch=9", "Raise max_tokens_per_batch"):
        start(kind, data, "--max_tokens_per_batch", "9")


@BOTH
def test_folder_with_another_run(
    kind: str, start: Callable[..., None], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = pytest.raises(AssertionError, match="a training step ran")
    for seed in ("3", "1"):  # nothing was saved: corrected settings begin anew
        with started:
            start(kind, data, "--seed", seed)
    monkeypatch.setattr("dims_hf.recipes.run_settings.has_work", lambda folder: True)
    with refused(f"{tmp_path / 'run'} holds a run with seed=1", "this recipe says seed=2", "Choose another"):
        start(kind, data, "--seed", "2")
    with refused("command=", "Choose another output_dir, or delete it."):
        start("distill" if kind == "train" else "train", data, "--seed", "1")
    with started:  # the same run, longer and split otherwise
        start(kind, data, "--seed", "1", "--max_tokens_per_batch", "999", "--gradient_accumulation_steps", "2",
              "--save_steps", "7")  # fmt: skip


def test_folder_with_a_run_of_another_tokenizer(
    start: Callable[..., None], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="a training step ran"):
        start("train", data)
    monkeypatch.setattr("dims_hf.recipes.run_settings.has_work", lambda folder: True)
    with refused("holds a run with tokenizer_kind=bpe, this recipe says tokenizer_kind=unigram"):
        start("train", data, "--tokenizer_kind", "unigram")


@BOTH
def test_bad_rows_are_dropped_when_asked(kind: str, start: Callable[..., None], tmp_path: Path) -> None:
    lines = GERMAN * 10
    lines[6] = "  "
    with pytest.raises(AssertionError, match="a training step ran"):
        start(kind, write_corpus(tmp_path / "data", train_de=lines), "--drop_bad_rows")


@BOTH
def test_a_good_run_would_have_started(kind: str, start: Callable[..., None], data: Path) -> None:
    with pytest.raises(AssertionError, match="a training step ran"):
        start(kind, data)


def test_monolingual_sentences_without_unsupervised(start: Callable[..., None], data: Path) -> None:
    with refused("monolingual", "unsupervised: true"):
        start("distill", data, "--monolingual", str(data / "train.en"))


def test_monolingual_sentences_for_a_teacher(start: Callable[..., None], data: Path) -> None:
    with refused("A teacher needs translations"):
        start("train", data, "--monolingual", str(data / "train.en"))


def test_monolingual_file_with_an_empty_line(start: Callable[..., None], data: Path, tmp_path: Path) -> None:
    path = tmp_path / "mono.txt"
    path.write_text("a dog .\n\na cat .\n", encoding="utf-8")
    with refused("mono.txt:2", "is empty"):
        start("distill", data, "--unsupervised", "--monolingual", str(path))
