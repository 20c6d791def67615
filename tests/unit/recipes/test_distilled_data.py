# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Whole distilled corpora: what is written, taken up again and refused, in one process and in several."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dims_hf.bulk.shards import RECORDS
from dims_hf.cli.main import main
from dims_hf.data import load_corpus, save_tokenizer
from dims_hf.data.beam_search import BeamTranslator, TorchBeamSearch
from dims_hf.data.distilled import DROP_REASONS
from dims_hf.evaluation import score
from dims_hf.recipes.autoregressive import AutoregressiveModelArguments, make_autoregressive_model
from dims_hf.recipes.distilled_data import DistilledDataArguments, make_distilled_data
from dims_hf.recipes.parsing import parse_recipe
from dims_hf.recipes.runs import CorpusArguments


ENGLISH = "the small dog sees an old cat today and sleeps in this house .".split()
GERMAN = "der kleine Hund sieht eine alte Katze heute und schläft im Haus .".split()
NUM_TRAIN, SHARD_SIZE = 24, 2
NUM_SHARDS = NUM_TRAIN // SHARD_SIZE


def write_corpus(folder: Path) -> Path:
    folder.mkdir()
    generator = torch.Generator().manual_seed(5)
    for split, count in (("train", NUM_TRAIN), ("valid", 7), ("test", 5)):
        lengths = torch.randint(3, 9, (count,), generator=generator).tolist()
        rows = [torch.randint(13, (length,), generator=generator).tolist() for length in lengths]
        for language, words in (("en", ENGLISH), ("de", GERMAN)):
            text = "".join(" ".join(words[i] for i in row) + "\n" for row in rows)
            (folder / f"{split}.{language}").write_text(text, encoding="utf-8")
    (folder / "test.near").write_text("0\n1\n1\n0\n0\n")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: object) -> SimpleNamespace:
    """`data`, an untrained `teacher`, the `words` of a command, and what it makes in one process: `made`."""
    folder = tmp_path_factory.mktemp("distilled")
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "attention_heads": 2, "ffn_dim": 16}
    model = make_autoregressive_model(
        AutoregressiveModelArguments(max_position_embeddings=64, **sizes), tiny_tokenizer
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "positions" not in name:
                parameter.normal_(std=0.8, generator=generator)
        model.final_logits_bias[0, 2] = 4.0
    model.save_pretrained(folder / "teacher")
    save_tokenizer(tiny_tokenizer, folder / "teacher")
    recipe = {
        "data": str(write_corpus(folder / "data")), "teacher": str(folder / "teacher"), "source_lang": "en",
        "target_lang": "de", "num_beams": 2, "shard_size": SHARD_SIZE, "max_length_ratio": 40, "disable_tqdm": True,
        "use_cpu": True, "license": "cc-by-4.0", "attribution": "Made by somebody.",
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    made = make_distilled_data([str(folder / "recipe.yaml"), "--output_dir", str(folder / "made")])
    return SimpleNamespace(
        data=folder / "data",
        teacher=folder / "teacher",
        recipe=folder / "recipe.yaml",
        made=made,
        tokenizer=tiny_tokenizer,
    )


@pytest.fixture
def make(place: SimpleNamespace) -> Callable[..., Path]:
    """Runs the recipe with overrides."""
    return lambda folder, *words: make_distilled_data([str(place.recipe), "--output_dir", str(folder), *words])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path, but those that say when and how they were made."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.name not in ("distillation.json", "README.md")
    }


def report_of(folder: Path) -> dict:
    report = json.loads((folder / "distillation.json").read_text())
    del report["provenance"]
    return report


def test_folder_is_a_corpus_whose_held_out_splits_are_untouched(place: SimpleNamespace):
    made, raw = (load_corpus(folder, "en", "de") for folder in (place.made, place.data))
    for split in ("valid", "test"):
        assert made[split].to_dict() == raw[split].to_dict()
    assert made["test"]["near"][:3] == [0, 1, 1]
    targets = dict(zip(raw["train"]["source"], raw["train"]["target"]))
    assert 10 < len(made["train"]) < NUM_TRAIN
    assert all(source in targets for source in made["train"]["source"])
    assert all(target != targets[source] for source, target in zip(made["train"]["source"], made["train"]["target"]))


def test_folder_is_a_data_set_of_the_hub(place: SimpleNamespace, tmp_path: Path):
    from datasets import load_dataset

    splits = load_dataset(str(place.made), cache_dir=str(tmp_path))
    made = load_corpus(place.made, "en", "de")
    assert list(splits) == ["train", "validation", "test"]
    for name, split in (("train", "train"), ("validation", "valid"), ("test", "test")):
        assert [pair["de"] for pair in splits[name]["translation"]] == list(made[split]["target"])
    assert splits["train"]["near"][0] is None and splits["test"]["near"][:3] == [0, 1, 1]


def test_report_counts_every_pair_and_scores_the_teacher(place: SimpleNamespace):
    from transformers import MarianMTModel

    report = report_of(place.made)
    train, made = report["train"], load_corpus(place.made, "en", "de")
    assert (train["sources"], train["kept"]) == (NUM_TRAIN, len(made["train"]))
    assert tuple(train["dropped"]) == DROP_REASONS
    assert sum(train["dropped"].values()) == NUM_TRAIN - train["kept"] > 0
    assert train["drop_rate"] == pytest.approx(1 - train["kept"] / NUM_TRAIN)
    assert train["equal_to_reference"] == 0
    assert train["distinct_words"]["reference"] <= len(GERMAN)
    assert report["held_out_sources_in_train"] == {"valid": 0, "test": 0}
    translator = BeamTranslator(MarianMTModel.from_pretrained(place.teacher), place.tokenizer, num_beams=2)
    shards = [row.text for start in range(0, 7, 2) for row in translator(made["valid"]["source"][start : start + 2])]
    assert report["validation"] == {"num_sentences": 7, **score(shards, made["valid"]["target"])}
    assert "/" not in report["teacher"]["name"] and "/" not in report["corpus"]["data"]


def test_card_says_what_a_reader_must_know(place: SimpleNamespace):
    from huggingface_hub import DatasetCard

    card, report = DatasetCard.load(place.made / "README.md"), report_of(place.made)
    assert card.data.language == ["en", "de"] and card.data.license == "cc-by-4.0"
    assert card.data.size_categories == "n<1K" and card.data.task_categories == ["translation"]
    quality, train = report["validation"], report["train"]
    for part in (
        "**only `train` is distilled**",
        "(the best of a beam of 2)",
        f"| BLEU on 7 validation sentences | {quality['bleu']:.2f} |",
        quality["bleu_signature"].replace("|", "\\|"),
        "`teacher` (marian, ",
        f"| kept | {train['kept']} |",
        f"| drop rate | {100 * train['drop_rate']:.2f} % |",
        f"or a translation that did not end | {train['dropped']['too_long']} |",
        "| num beams | 2 |",
        "| max length ratio | 40.0 |",
        "| command | `",
        "| commit | ",
        "| versions | ",
        "Made by somebody.",
    ):
        assert part in card.text, part


def test_interrupted_and_finished_work_is_taken_up_byte_for_byte(
    place: SimpleNamespace, make: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    translated = []
    translate = BeamTranslator.__call__
    monkeypatch.setattr(
        BeamTranslator,
        "__call__",
        lambda self, sources, *rest: translated.append(len(sources)) or translate(self, sources, *rest),
    )
    folder = make(tmp_path / "again")
    assert sum(translated) == NUM_TRAIN + 7
    for name in ("shards/train-00003-of-00012.jsonl", "shards/valid-00000-of-00004.jsonl", "train.jsonl", "README.md"):
        (folder / name).unlink()
    (folder / "shards" / ".train-00003-of-00012.jsonl.77.tmp").write_text("half")
    translated.clear()
    make(folder)
    assert translated == [2, 2]
    assert contents(folder) == contents(place.made)
    assert report_of(folder) == report_of(place.made)


def test_other_filters_need_no_other_translations(
    place: SimpleNamespace, make: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = make(tmp_path / "filters")
    monkeypatch.delattr(TorchBeamSearch, "_generate")
    make(folder, "--max_length_ratio", "1.2")
    report = report_of(folder)
    assert report["filter"]["max_length_ratio"] == 1.2
    assert report["train"]["dropped"]["length_ratio"] > report_of(place.made)["train"]["dropped"]["length_ratio"]
    assert len(load_corpus(folder, "en", "de")["train"]) == report["train"]["kept"]


def test_alternatives_of_ctranslate2_are_a_column_of_the_data_set(
    place: SimpleNamespace, make: Callable, tmp_path: Path
):
    from datasets import load_dataset

    pytest.importorskip("ctranslate2", reason='needs pip install "dims-hf[ctranslate2]"')
    folder = make(tmp_path / "several", "--runtime", "ctranslate2", "--num_hypotheses", "2")
    splits = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    best = [pair["de"] for pair in splits["train"]["translation"]]
    assert best == load_corpus(folder, "en", "de")["train"]["target"]
    assert {len(others) for others in splits["train"]["alternatives"]} == {0, 1}
    assert all(text not in others for text, others in zip(best, splits["train"]["alternatives"]))
    assert splits["test"]["alternatives"][0] is None
    again = make(tmp_path / "again", "--runtime", "ctranslate2", "--num_hypotheses", "2")
    assert contents(again) == contents(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num_beams", "3"], "holds translations with num_beams=2, this command says num_beams=3. Choose another "),
        (["--shard_size", "3"], "holds translations with shard_size=2, this command says shard_size=3."),
        (
            ["--max_train_examples", "20"],
            "holds translations with train_sources_fingerprint=.*, this command says train_s",
        ),
        (
            ["--num_hypotheses", "2"],
            "holds translations with num_return_sequences=1, this command says num_return_sequences=2. Choose another",
        ),
        (["--split", "test"], "The test split is not distilled"),
        (["--teacher_target_lang", "de"], "has no language codes, got 'de'"),
        (["--max_length_ratio", "0"], "max_length_ratio must be >= 1, got 0"),
        (["--dtype", "int4"], "dtype must be one of float32, bfloat16, float16, int8"),
        (["--dtype", "int8"], "dtype int8 is one of the ctranslate2 runtime. Set runtime: ctranslate2"),
        (["--num_hypotheses", "3"], "num_hypotheses=3 needs a beam at least as wide, got num_beams=2"),
        (["--runtime", "ctranslate2"], "holds translations with runtime=torch, this command says runtime=ctranslate2"),
        (["--teacher", "./absent"], "Model folder ./absent does not exist"),
        (["--top_k", "5"], r"Sampling with top_k=5 has no beam, got num_beams=2\. Set it to 1"),
        (["--temperature", "0.8"], r"temperature and seed are of sampling\. Set top_k"),
        (["--num_iterations", "2", "--top_k", "5"], "one hypothesis, without sampling"),
        (["--num_iterations", "2", "--source_prefix", "x"], "source_prefix='x' has no effect: num_iterations is for"),
        (["--length_beam_size", "3"], "length_beam_size=3 has no effect: an autoregressive teacher has a beam"),
        (["--top_k", "5", "--length_penalty", "0.6"], "length_penalty=0.6 has no effect: top_k samples"),
        (["--monolingual", "x.txt"], "Leave it out: the sources of data are distilled"),
    ],
)
def test_other_settings_and_mistakes_are_one_line(
    place: SimpleNamespace, words: list[str], message: str, capsys: pytest.CaptureFixture
):
    import re

    before = contents(place.made)
    assert main(["make-data", str(place.recipe), "--output_dir", str(place.made), *words]) == 2
    shown = capsys.readouterr()
    (line,) = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert re.search(message, line), line
    assert contents(place.made) == before


def test_shards_whose_manifest_is_gone_are_not_used_again(
    place: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
):
    import shutil

    folder = tmp_path / "killed"
    shutil.copytree(place.made, folder)
    for path in [folder / "shards" / "manifest.json", *folder.glob("*.jsonl")]:
        path.unlink()
    before = contents(folder)
    assert main(["make-data", str(place.recipe), "--output_dir", str(folder), "--num_beams", "3"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "holds translations without the manifest.json that says how they were made" in line
    assert line.endswith("Put manifest.json back, choose another output_dir, or delete this one.")
    assert contents(folder) == before


def test_other_corpus_is_never_written_over(place: SimpleNamespace, make: Callable):
    before = contents(place.data)
    with pytest.raises(ValueError, match="output_dir is the corpus itself"):
        make(place.data)
    with pytest.raises(ValueError, match="train.en is there already, and is not from an earlier start"):
        make(place.data, "--data", "phrasebook")
    assert contents(place.data) == before


def test_held_out_set_under_the_name_of_train_is_refused(make: Callable, place: SimpleNamespace, tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    for path in place.data.glob("*.*"):
        (data / path.name).write_bytes(path.read_bytes())
    for language in ("en", "de"):
        (data / f"train.{language}").write_bytes((place.data / f"test.{language}").read_bytes())
    with pytest.raises(ValueError, match="5 of the 5 sources of the test split are training sources"):
        make(tmp_path / "out", "--data", str(data))
    assert not (tmp_path / "out").exists()


def test_source_too_long_is_an_error_where_dropping_is_off(make: Callable, place: SimpleNamespace, tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    for path in place.data.glob("*.*"):
        (data / path.name).write_bytes(path.read_bytes())
    lines = (data / "train.en").read_text().splitlines()
    lines[4] = "the dog " * 60
    (data / "train.en").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="Row 4 of train: the source has more than the 64 tokens"):
        make(tmp_path / "out", "--data", str(data), "--no_drop_too_long")
    report = report_of(make(tmp_path / "out", "--data", str(data)))
    assert report["train"]["dropped"]["too_long"] >= 1


def test_model_that_does_not_translate_is_refused(
    make: Callable, tiny_model: object, tiny_tokenizer: object, tmp_path: Path
):
    from transformers import BertConfig

    tiny_model.save_pretrained(tmp_path / "cmlm")
    save_tokenizer(tiny_tokenizer, tmp_path / "cmlm")
    with pytest.raises(ValueError, match="is not autoregressive, and has no beam search"):
        make(tmp_path / "out", "--teacher", str(tmp_path / "cmlm"))
    BertConfig().save_pretrained(tmp_path / "bert")
    save_tokenizer(tiny_tokenizer, tmp_path / "bert")
    with pytest.raises(ValueError, match="is not a model that translates one text into another"):
        make(tmp_path / "out", "--teacher", str(tmp_path / "bert"))
    assert not (tmp_path / "out").exists()


def test_model_of_ours_makes_a_corpus_of_sources_alone(
    make: Callable, place: SimpleNamespace, tiny_model: object, tiny_tokenizer: object, tmp_path: Path
):
    """U-DiMS on a corpus made beforehand: the targets are the teacher's translations in so many passes."""
    from dims_hf import translate

    tiny_model.save_pretrained(tmp_path / "cmlm")
    save_tokenizer(tiny_tokenizer, tmp_path / "cmlm")
    sources = [line for line in (place.data / "train.en").read_text().splitlines() if line][:9]
    (tmp_path / "mono.en").write_text("".join(f"{line} .\n" for line in sources))
    words = ["--teacher", str(tmp_path / "cmlm"), "--num_iterations", "2", "--monolingual", str(tmp_path / "mono.en")]
    folder = make(tmp_path / "out", *words, "--max_length_ratio", "none")
    made = load_corpus(folder, "en", "de")
    wanted = translate(tiny_model, tiny_tokenizer, list(made["train"]["source"]), num_iterations=2)
    assert list(made["train"]["target"]) == [each.text for each in wanted]
    report = report_of(folder)
    assert report["train"]["sources"] == 9 and report["train"]["kept"] == len(made["train"]) > 0
    assert report["settings"]["num_iterations"] == 2 and report["corpus"]["monolingual"] == "mono.en"
    assert made["valid"].to_dict() == load_corpus(place.data, "en", "de")["valid"].to_dict()
    card = (folder / "README.md").read_text()
    assert "the training sources of `mono.en`" in card and "translation (in 2 passes) as its target" in card
    with pytest.raises(ValueError, match="MarianMTModel is autoregressive, and has no passes"):
        make(tmp_path / "marian", "--num_iterations", "2")


@pytest.mark.slow
def test_processes_of_its_own_make_the_same_corpus(place: SimpleNamespace, make: Callable, tmp_path: Path):
    folder = make(tmp_path / "two", "--processes", "2")
    assert contents(folder) == contents(place.made)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "ctranslate2"])
def test_sampled_corpus_does_not_depend_on_processes(
    place: SimpleNamespace, make: Callable, tmp_path: Path, runtime: str
):
    if runtime == "ctranslate2":
        pytest.importorskip("ctranslate2")
    words = ("--num_beams", "1", "--top_k", "8", "--runtime", runtime)
    one, two, other = (
        make(tmp_path / name, *words, *more)
        for name, more in (("one", ()), ("two", ("--processes", "2")), ("other", ("--seed", "2")))
    )
    assert contents(one) == contents(two)
    assert contents(one)["train.jsonl"] != contents(other)["train.jsonl"]


def make_until_killed(words: list[str], records: Path) -> None:
    """Dies once three shards have their record."""
    translate = BeamTranslator.__call__

    def translate_or_die(self: BeamTranslator, *arguments: object) -> object:
        if len(list(records.glob("train-*.json"))) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return translate(self, *arguments)

    BeamTranslator.__call__ = translate_or_die
    make_distilled_data(words)


def test_killed_process_then_two_processes_equal_one(
    place: SimpleNamespace, start_processes: Callable, tmp_path: Path
):
    folder = tmp_path / "killed"
    words = [str(place.recipe), "--output_dir", str(folder)]
    killed = start_processes(make_until_killed, words, folder / "shards" / RECORDS)
    assert killed.wait() == [-signal.SIGKILL], killed.log.read_text()[-2000:]
    assert not (folder / "train.jsonl").exists()
    again = start_processes(make_distilled_data, words, num_processes=2)
    assert again.wait() == [0, 0], again.log.read_text()[-3000:]
    assert f"3 of {NUM_SHARDS} shards of train are there already" in again.log.read_text()
    assert contents(folder) == contents(place.made)
    assert report_of(folder) == report_of(place.made)


@pytest.mark.parametrize("name", ["phrasebook", "tatoeba_en_de"])
def test_shipped_recipe_is_read(repository: Path, name: str):
    recipes = repository / "dims_hf" / "recipes" / "library"
    corpus, args = parse_recipe(
        (CorpusArguments, DistilledDataArguments), [str(recipes / f"{name}_distilled_data.yaml")]
    )
    assert (corpus.source_lang, corpus.target_lang, args.num_beams, args.split) == ("en", "de", 5, "train")
    assert f"output_dir: {args.teacher}\n" in (recipes / f"{name}_autoregressive.yaml").read_text()


def test_selector_chooses_the_targets_and_the_rest_are_references(
    place: SimpleNamespace, make: Callable, tmp_path: Path, tiny_model: object
):
    tiny_model.save_pretrained(tmp_path / "selector")
    save_tokenizer(place.tokenizer, tmp_path / "selector")
    plain = make(tmp_path / "plain", "--num_hypotheses", "2")
    words = ["--num_hypotheses", "2", "--selector", str(tmp_path / "selector")]
    chosen = make(tmp_path / "chosen", *words)
    best, other = (
        [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()] for folder in (plain, chosen)
    )
    before, after = ({row["translation"]["en"]: row for row in rows} for rows in (best, other))
    # where the best one is empty, another may be none: such sources are there again
    assert set(before) < set(after)
    for source, row in before.items():
        old, new = ({each["translation"]["de"], *each["alternatives"]} for each in (row, after[source]))
        assert old == new
    changed = sum(row["translation"] != after[source]["translation"] for source, row in before.items())
    assert 0 < changed < len(before)
    assert report_of(chosen)["validation"] == report_of(plain)["validation"]
    assert report_of(chosen)["selector"] == "selector"
    several = load_corpus(chosen, "en", "de", max_references=2)["train"]
    assert [len(targets) for targets in several["references"]].count(2) > 0
    assert "alternatives" not in load_corpus(chosen, "en", "de")["train"].column_names
    assert contents(make(tmp_path / "chosen", *words)) == contents(chosen)
    with pytest.raises(ValueError, match="selector=.*teacher is not a non-autoregressive model"):
        make(tmp_path / "third", "--num_hypotheses", "2", "--selector", str(place.teacher))
