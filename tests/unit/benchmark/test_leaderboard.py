# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Leaderboards: the scores are those of the translations, the peer is the baseline, and files say the same."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from dims_hf.benchmark import leaderboard, run_leaderboard
from dims_hf.cli.main import main
from dims_hf.data import save_tokenizer
from dims_hf.evaluation import score
from dims_hf.export import write_leaderboard_folder
from dims_hf.reports import leaderboard_markdown


SOURCES = ["the small dog sees an old cat .", "an old cat sleeps today !", "this house .", "the dog and the cat ."]


@pytest.fixture
def place(tmp_path: Path, tiny_model, random_marian, tiny_tokenizer, monkeypatch) -> SimpleNamespace:
    """A model of ours of two passes, a peer, and a corpus half of which is near; nothing is exported."""
    monkeypatch.setattr(leaderboard, "_export", lambda *arguments: None)
    for name, model in (("ours", tiny_model), ("peer", random_marian)):
        model.save_pretrained(tmp_path / name)
        save_tokenizer(tiny_tokenizer, tmp_path / name)
    settings = json.loads((tmp_path / "ours" / "generation_config.json").read_text())
    (tmp_path / "ours" / "generation_config.json").write_text(json.dumps({**settings, "num_iterations": 2}))
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for suffix, lines in (("en", SOURCES), ("de", SOURCES[::-1]), ("near", "0110")):
        (corpus / f"test.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return SimpleNamespace(folder=tmp_path, corpus=corpus)


def test_scores_are_those_of_the_translations_and_the_peer_is_the_baseline(place: SimpleNamespace):
    board = place.folder / "board"
    models = {"mine": place.folder / "ours", "peer": place.folder / "peer"}
    results = run_leaderboard(models, {"small": place.corpus}, "en", "de", rounds=1, output_dir=board)
    assert json.loads((board / "leaderboard.json").read_text())["systems"] == results["systems"]
    ours = [system for system in results["systems"] if system["name"] == "mine"]
    assert [system["decoding"] for system in ours] == ["1 pass", "2 passes"]
    peers = [(system["decoding"], system["runtime"]) for system in results["systems"] if system["name"] == "peer"]
    assert peers[0] == ("greedy", "torch fp32") and peers[-1][0] == "beam 5"
    for number, system in enumerate(results["systems"]):
        written = (board / "translations" / f"{number:02d}.small.txt").read_text(encoding="utf-8").splitlines()
        assert set(system["scores"]) == {"small", "small, near=0", "small, near=1"}
        assert system["scores"]["small"]["chrf"] == pytest.approx(score(written, SOURCES[::-1])["chrf"])
        near = score(written[1:3], SOURCES[::-1][1:3])["chrf"]
        assert system["scores"]["small, near=1"]["chrf"] == pytest.approx(near)
        assert all(len(each["times"]) == 1 and each["median"] > 0 for each in system["milliseconds"].values())
    assert {row["baseline"] for row in results["comparisons"]} == {"peer, greedy, torch fp32"}
    page = (board / "leaderboard.md").read_text(encoding="utf-8")
    assert "## small, near=1, 2 sentences" in page and str(place.folder) not in page
    assert (board / "leaderboard.png").stat().st_size > 1000


@pytest.mark.skipif(find_spec("ctranslate2") is None, reason="needs ctranslate2")
def test_shortlists_are_learnt_from_the_corpus_and_come_beside_the_whole_vocabulary(
    place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    seen = []

    def export(model, tokenizer, folder, shortlist):
        seen.append(shortlist)
        return "graph int8", place.folder / "ours"

    monkeypatch.setattr(leaderboard, "_export", export)
    for suffix in ("en", "de"):
        (place.corpus / f"train.{suffix}").write_text("\n".join(SOURCES) + "\n", encoding="utf-8")
    models = {"mine": place.folder / "ours", "peer": place.folder / "peer"}
    results = run_leaderboard(models, {"small": place.corpus}, "en", "de", rounds=1, shortlist=place.corpus)
    runtimes = [(system["name"], system["runtime"]) for system in results["systems"]]
    for system in (("mine", "graph int8"), ("peer", "CTranslate2 int8")):
        assert runtimes.index((system[0], f"{system[1]}, shortlist")) == runtimes.index(system) + 1
    assert seen[0] is None and seen[1].settings["num_pairs"] == len(SOURCES)
    assert "learnt from the training split of `corpus`" in leaderboard_markdown(results)


@pytest.fixture
def made(place: SimpleNamespace) -> dict:
    models = {"mine": place.folder / "ours", "peer": place.folder / "peer"}
    return run_leaderboard(models, {"small": place.corpus}, "en", "de", rounds=1)


@pytest.mark.parametrize("name", ["mine", "peer"])
def test_folder_of_a_model_loads_and_its_card_shows_what_it_writes(place: SimpleNamespace, made: dict, name: str):
    source = place.folder / ("ours" if name == "mine" else "peer")
    options = {"model_id": "shown", "system": name, "sources": SOURCES, "limits": ["It knows <b>ten</b> words."]}
    folder = write_leaderboard_folder(source, place.folder / "out", leaderboard=made, bad=[2, 4], **options)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        output = model.generate(
            **tokenizer(SOURCES[0], return_tensors="pt"), **({} if name == "mine" else {"num_beams": 5})
        )
    text = tokenizer.decode(output[0], skip_special_tokens=True).strip()
    card = (folder / "README.md").read_text(encoding="utf-8")
    rows = [line for line in card.splitlines() if line.startswith(("| 1 |", "| 2 |", "| 3 |", "| 4 |"))]
    assert [row.rstrip(" |").endswith("bad") for row in rows] == [False, True, False, True]
    assert " ".join(text.split())[:20] in " ".join(rows[0].replace("\\", "").split())
    assert ("AutoModelForSeq2SeqLM" in card) is (name == "peer")
    assert "### small, near=1, 2 sentences" in card and str(place.folder) not in card


def test_weights_that_were_not_measured_and_examples_that_are_not_there_are_refused(
    place: SimpleNamespace, made: dict
):
    options = {"model_id": "shown", "sources": SOURCES, "leaderboard": made}
    with pytest.raises(ValueError, match="other weights"):
        write_leaderboard_folder(place.folder / "ours", place.folder / "out", system="peer", **options)
    with pytest.raises(ValueError, match="There are mine, peer"):
        write_leaderboard_folder(place.folder / "ours", place.folder / "out", system="other", **options)
    with pytest.raises(ValueError, match=r"\[5\]: there are 4"):
        write_leaderboard_folder(place.folder / "ours", place.folder / "out", system="mine", bad=[5], **options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--leaderboard", "--test-set", "a=b"], "a model and a test set"),
        (["--leaderboard", "--system", "a=b", "--test-set", "corpus"], "--test-set takes NAME=PATH"),
        (["--leaderboard", "--student", "a", "--iterations", "2"], "does not take --student, --iterations"),
        (["--leaderboard", "--decoding", "a:num_iterations=1"], "does not take --decoding"),
        (["--student", "a"], "Give the corpus with --data"),
        (["--student", "a", "--data", "b", "--test-set", "a=b"], "belongs to --leaderboard"),
        (["--student", "a", "--data", "b", "--shortlist", "c"], "--shortlist belongs to --leaderboard"),
    ],
)
def test_command_says_what_does_not_belong_together(words: list[str], message: str, capsys):
    assert main(["evaluate", *words, "--source-lang", "en", "--target-lang", "de"]) == 2
    assert message in capsys.readouterr().err


def test_names_are_text_in_the_page_and_in_the_figure(tmp_path: Path):
    name = "<i>a|b$_{"
    measured = {"bleu": 1.0, "brevity_penalty": 1.0, "chrf": 1.0, "bleu_before_collapse": 1.0, "repeated_tokens": 0.0}
    system = {
        "name": name, "decoding": "1 pass", "runtime": "torch", "label": f"{name}, 1 pass, torch", "num_parameters": 1,
        "scores": {name: {**measured, "num_sentences": 2}}, "milliseconds": {"1": {"median": 1.0}},
    }  # fmt: skip
    other = {**system, "name": "peer", "label": "peer"}
    compared = {each["label"]: {"bleu": 1.0, "bleu_p_value": 0.5} for each in (system, other)}
    comparison = {
        "test_set": name, "baseline": system["label"], "systems": compared, "num_samples": 1,
        "signatures": {"bleu": "x"},
    }  # fmt: skip
    made = {"hardware": "cpu", "command": "x", "git_commit": None}
    task = {"source_lang": "en", "target_lang": "de", "split": "test", "rounds": 1, "threads": 1}
    results = {
        "systems": [system, other], "comparisons": [comparison], "task": task,
        "provenance": made,
    }  # fmt: skip
    page = leaderboard_markdown(results)
    assert "## &lt;i&gt;a|b$\\_{, 2 sentences" in page and "less that of &lt;i&gt;" in page and "<i>" not in page
    assert leaderboard.plot_leaderboard(results, tmp_path / "board.png").stat().st_size > 1000


@pytest.mark.parametrize("option", ["--system", "--test-set"])
def test_two_of_one_name_are_refused(option: str, capsys: pytest.CaptureFixture):
    words = ["evaluate", "--leaderboard", "--source-lang", "en", "--target-lang", "de"]
    assert main([*words, option, "a=one", option, "a=two"]) == 2
    assert f"error: {option} has the name 'a' twice" in capsys.readouterr().err


def test_two_decodings_of_one_name_are_refused(capsys: pytest.CaptureFixture):
    words = ["evaluate", "--teacher", "t", "--data", "phrasebook", "--source-lang", "en", "--target-lang", "de"]
    assert main([*words, "--decoding", "a:num_iterations=1", "--decoding", "a:num_iterations=2"]) == 2
    assert "error: --decoding has the name 'a' twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[1", "--decoding a is not valid YAML"),
        ("&a [*a]", "--decoding a: Its aliases unfold to more than"),
        ("[" * 60, "--decoding a: It nests more deeply than any setting does"),
    ],
)
def test_values_of_a_decoding_are_read_with_bounds(value: str, message: str, capsys: pytest.CaptureFixture):
    words = ["evaluate", "--teacher", "t", "--data", "phrasebook", "--source-lang", "en", "--target-lang", "de"]
    assert main([*words, "--decoding", f"a:num_iterations={value}"]) == 2
    assert f"error: {message}" in capsys.readouterr().err
