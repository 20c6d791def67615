# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Nothing private in anything that is written: what a run and an evaluation leave, and what is published here."""

from __future__ import annotations

import itertools
import json
import re
import sys
from pathlib import Path

import pytest
import torch

from dims_hf.data import save_tokenizer
from dims_hf.reports import create_model_card, load_results, run_evaluation, save_model_card


TOKEN = "hf_AbCdEfGhIjKlMnOp"

# A path of a machine in text: after a quote, a blank, a parenthesis or an equals sign.
_ABSOLUTE = re.compile(r"(?:^|[\s\"'`(=])(/(?:home|root|work|tmp|mnt|data|Users|var|opt)/[^\s\"'`]*)", re.MULTILINE)
_SECRET = re.compile(r"\bhf_[A-Za-z0-9]{10,}|\bsk-[A-Za-z0-9]{10,}|\bghp_[A-Za-z0-9]{10,}")

TINY = [
    "--vocab_size", "150", "--d_model", "16", "--encoder_layers", "1", "--decoder_layers", "1",
    "--attention_heads", "2", "--ffn_dim", "16", "--max_steps", "2", "--max_train_examples", "40",
    "--max_valid_examples", "4", "--max_tokens_per_batch", "256", "--report_to", "none", "--use_cpu",
    "--eval_strategy", "steps", "--eval_steps", "1", "--save_strategy", "steps", "--save_steps", "1", "--disable_tqdm",
]  # fmt: skip


def private(text: str) -> list[str]:
    return [*_ABSOLUTE.findall(text), *_SECRET.findall(text)]


def test_private_things_are_found():
    assert private('{"data": "/work/shared/data"}') == ["/work/shared/data"]
    assert private(f"run --token={TOKEN} x") == [TOKEN]
    assert private("a/b/home/c and http://host/home/x, 1/2") == []


def _texts(folder: Path) -> dict[str, str]:
    suffixes = (".json", ".jsonl", ".md", ".yaml", ".txt")
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in suffixes)
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in paths}


def test_published_files_name_no_place_of_a_machine(repository: Path):
    found = {name: private(text) for name, text in _texts(repository / "model_cards").items()}
    assert {name: places for name, places in found.items() if places} == {}


def test_published_scores_have_their_other_half(repository: Path):
    results = load_results(repository / "model_cards" / "results" / "tatoeba-en-de.json")
    for system in results["systems"]:
        assert set(system["weights"]) == {"model.safetensors"}
        for record in system["records"]:
            assert {"bleu", "brevity_penalty", "length_ratio", "chrf", "bleu_before_collapse"} <= record.keys()
            assert 0 < record["brevity_penalty"] <= 1 and record["bleu_before_collapse"] <= record["bleu"]
    gap = results["gap_closed"]
    assert set(gap["brevity_penalty"]) == {"teacher_one", "teacher_most", "student_one"}


@pytest.mark.parametrize("name", ["fig3", "fig5", "fig6", "table6"])
def test_published_reproductions_of_the_shipped_models_name_their_weights(repository: Path, name: str):
    results = load_results(repository / "model_cards" / "results" / "tatoeba-en-de.json")
    folder = repository / "model_cards" / "results" / "reproduction" / "tatoeba-en-de" / "results"
    document = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    for system in results["systems"]:
        (found,) = document["systems"][system["name"]].values()
        assert found["weights"] == system["weights"]
        for record in found["records"].values():
            assert {"brevity_penalty", "length_ratio", "chrf", "bleu_before_collapse"} <= record.keys()


def test_the_training_step_says_where_it_comes_from(repository: Path):
    path = repository / "model_cards" / "results" / "training_step.json"
    origin = json.loads(path.read_text(encoding="utf-8"))["provenance"]
    assert re.fullmatch(r"[0-9a-f]{40}", origin["git_commit"]) and {"torch", "transformers"} <= set(origin["versions"])
    assert origin["command"].startswith("training/benchmarks/training_step.py") and origin["seed"] == 0


def test_an_evaluation_writes_nothing_private(tiny_model, tiny_tokenizer, tmp_path, monkeypatch):
    place, corpus, output = tmp_path / "a<b>|model", tmp_path / "corpus", tmp_path / "out"
    tiny_model.save_pretrained(place)
    save_tokenizer(tiny_tokenizer, place)
    corpus.mkdir()
    for language, line in (("en", "a cat ."), ("de", "eine Katze .")):
        (corpus / f"test.{language}").write_text(f"{line}\n" * 2, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "evaluate.py"), "--student", str(place), "--hub_token", TOKEN])
    results = run_evaluation({"<i>student|": place}, str(corpus), "en", "de", iterations=(1,), output_dir=output)
    usage_path = str(place)
    save_model_card(
        create_model_card(results, model_id="x", usage_path=usage_path, sample=("a", "b")), output / "card.md"
    )
    for name, text in _texts(output).items():
        assert private(text) == [], name
        assert str(tmp_path) not in text, name
    table = (output / "results.md").read_text(encoding="utf-8")
    assert "&lt;i&gt;student\\|" in table and "<i>" not in table
    assert results["systems"][0]["weights"]["model.safetensors"][:12] in table


@pytest.mark.slow
def test_a_training_writes_no_token_and_not_through_a_link(tmp_path, monkeypatch):
    from dims_hf.recipes.runs import train_teacher

    output, theirs = tmp_path / "run", tmp_path / "theirs"
    theirs.mkdir()
    output.mkdir()
    (output / "checkpoint-1").symlink_to(theirs)
    (tmp_path / "corpus").mkdir()
    for split, language in itertools.product(("train", "valid"), ("en", "de")):
        (tmp_path / "corpus" / f"{split}.{language}").write_text("one two\nthree four five\n" * 10, encoding="utf-8")
    data = ["--data", str(tmp_path / "corpus"), "--source_lang", "en", "--target_lang", "de"]
    words = [*data, "--output_dir", str(output)]
    monkeypatch.setattr(sys, "argv", ["train_teacher.py", *words, "--hub_token", TOKEN])
    train_teacher([*words, *TINY, "--hub_token", TOKEN])
    assert list(theirs.iterdir()) == [] and not (output / "checkpoint-1").is_symlink()
    for path in output.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path.name
            assert str(tmp_path).encode() not in path.read_bytes(), path.name
    assert torch.load(output / "training_args.bin", weights_only=False).hub_token is None
    summary = json.loads((output / "training_summary.json").read_text())
    assert str(tmp_path) not in json.dumps(summary)
    assert "'<masked>'" in summary["provenance"]["command"]
