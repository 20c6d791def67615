# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""From two checkpoints and a corpus to files and a table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset

from dims_hf.data import load_corpus, save_tokenizer
from dims_hf.evaluation import score
from dims_hf.reports import load_results, run_evaluation, subsets_from_columns
from dims_hf.reports.evaluation import load_evaluated, references_of
from dims_hf.translation import translate


SOURCES = ["the small dog sees the old cat .", "a cat sleeps in the house today .", "the dog sees a cat ."]
TARGETS = [
    "der kleine Hund sieht die alte Katze .",
    "eine Katze schläft heute im Haus .",
    "der Hund sieht eine Katze .",
]


@pytest.fixture
def checkpoint(tiny_model, tiny_tokenizer, tmp_path) -> str:
    folder = tmp_path / "checkpoint"
    tiny_model.save_pretrained(folder)
    save_tokenizer(tiny_tokenizer, folder)
    return str(folder)


@pytest.fixture
def corpus(tmp_path) -> str:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, lines in (("test.en", SOURCES), ("test.de", TARGETS), ("test.near", ["0", "1", "0"])):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


def test_run_evaluation_two_checkpoints_writes_all_files(checkpoint, corpus, tmp_path):
    models = {"teacher": checkpoint, "student": checkpoint}
    output = tmp_path / "out"
    debris = output / "translations" / ".teacher.iter1.beam1.h3yfkmae.txt"
    debris.parent.mkdir(parents=True)
    debris.write_text("of a killed start")
    results = run_evaluation(
        models, corpus, "en", "de", iterations=(1, 2), oracle_length=True, output_dir=output, device="cpu"
    )
    assert load_results(output / "results.json") == results
    assert (output / "quality_vs_iterations.png").stat().st_size > 5000
    assert (output / "results.md").read_text(encoding="utf-8").startswith("| system |")
    files = {path.name for path in (output / "translations").iterdir()}
    assert files == {
        f"{name}.iter{count}.{length}.txt"
        for name in models
        for count in (1, 2)
        for length in ("beam1", "reference_length")
    }
    assert all(len((output / "translations" / name).read_text(encoding="utf-8").splitlines()) == 3 for name in files)
    # the same checkpoint twice: no difference, and no significance
    assert results["comparisons"][0]["systems"]["student@1"]["bleu_p_value"] == 1.0
    record = results["systems"][0]["records"][0]
    assert {name: subset["num_sentences"] for name, subset in record["subsets"].items()} == {"near=0": 2, "near=1": 1}
    assert results["task"]["data"] == "corpus" and results["task"]["num_sentences"] == 3
    assert str(tmp_path) not in (output / "results.md").read_text(encoding="utf-8")


def test_rows_with_several_targets_are_scored_against_all_of_them(checkpoint, tiny_model, tiny_tokenizer, tmp_path):
    targets = [[TARGETS[0], "die Katze"], TARGETS[1], ["ein Hund .", TARGETS[2], "ein Haus"]]
    path = tmp_path / "test.jsonl"
    rows = [{"translation": {"en": en, "de": de}} for en, de in zip(SOURCES, targets, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    results = run_evaluation({"a": checkpoint}, str(path), "en", "de", iterations=(1,), device="cpu")
    (record,) = results["systems"][0]["records"]
    texts = [each.text for each in translate(tiny_model, tiny_tokenizer, SOURCES, num_iterations=1)]
    padded = [[*targets[0], None], [targets[1], None, None], targets[2]]
    wanted = score(texts, padded)
    assert results["task"]["num_sentences"] == 3
    assert (record["bleu"], record["chrf"]) == (wanted["bleu"], wanted["chrf"])
    assert "nrefs:var" in record["bleu_signature"] and record["subsets"] == {}
    corpus = load_evaluated(str(path), "en", "de", "test", 2)
    assert references_of(corpus) == [targets[0], [targets[1], None]] and list(corpus["source"]) == SOURCES[:2]
    # training takes each target as a pair
    assert len(load_corpus(str(path), "en", "de", splits=("test",))["test"]) == 6


def test_run_evaluation_one_checkpoint_compares_nothing_and_writes_nothing(checkpoint, corpus, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    results = run_evaluation({"student": checkpoint}, corpus, "en", "de", iterations=(1,), max_examples=2)
    assert (results["gap_closed"], results["comparisons"]) == (None, [])
    assert results["task"]["num_sentences"] == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_run_evaluation_compares_decodings_of_a_model_and_of_two_models(checkpoint, corpus, tmp_path):
    decodings = {"tuned": {"repeat_penalty": 1.0}, "three lengths": {"num_iterations": 1, "length_beam_size": 3}}
    models, output = {"teacher": checkpoint, "student": checkpoint}, tmp_path / "out"
    results = run_evaluation(models, corpus, "en", "de", iterations=(1,), decodings=decodings, output_dir=output)
    compared = [list(each["systems"]) for each in results["comparisons"]]
    assert compared == [
        ["teacher@1", "student@1"],
        ["teacher tuned", "student tuned"],
        ["teacher three lengths", "student three lengths"],
        ["teacher@1", "teacher tuned", "teacher three lengths"],
        ["student@1", "student tuned", "student three lengths"],
    ]
    assert results["comparisons"][1]["systems"]["student tuned"]["bleu_p_value"] == 1.0
    assert (output / "translations" / "student.three_lengths.txt").is_file()
    assert "student | three lengths | 1 | 3 |" in (output / "results.md").read_text(encoding="utf-8")


def test_run_evaluation_of_decodings_alone_compares_them_with_the_first(checkpoint, corpus, tmp_path):
    decodings = {"own": {}, "tuned": {"repeat_penalty": 1.0}}
    options = {"iterations": (), "decodings": decodings, "output_dir": tmp_path / "out"}
    results = run_evaluation({"student": checkpoint}, corpus, "en", "de", **options)
    assert [list(each["systems"]) for each in results["comparisons"]] == [["student own", "student tuned"]]
    assert not (tmp_path / "out" / "quality_vs_iterations.png").exists()


def test_run_evaluation_missing_checkpoint_is_refused_with_its_path(corpus, tmp_path):
    with pytest.raises(ValueError, match="Model folder .*nowhere does not exist"):
        run_evaluation({"student": tmp_path / "nowhere"}, corpus, "en", "de")
    with pytest.raises(ValueError, match="There is no model to evaluate"):
        run_evaluation({}, corpus, "en", "de")


def test_subsets_from_columns_takes_columns_with_few_values():
    columns = {"source": ["a"] * 10, "target": ["b"] * 10, "near": [0, 1] * 5, "same": [1] * 10, "id": list(range(10))}
    subsets = subsets_from_columns(Dataset.from_dict(columns))
    assert subsets == {"near=0": [True, False] * 5, "near=1": [False, True] * 5}


def _environment_with(repository: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(repository)}


def test_evaluation_room_imports_without_optional_packages(repository, tmp_path):
    program = (
        "import sys\n"
        "for name in ('sacrebleu', 'evaluate', 'matplotlib', 'rich', 'datasets'):\n"
        "    sys.modules[name] = None\n"
        "import dims_hf.reports\n"
        "from dims_hf.translation import translate\nfrom dims_hf.evaluation import METRICS\n"
        "print('imported')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
        env=_environment_with(repository),
    )
    assert done.stdout.strip() == "imported", done.stderr
