# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Whole corpora: what is written, taken up again and refused, in one process, in several, and under a launcher."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dims_hf import CorpusSettings, translate_corpus
from dims_hf.bulk import corpus as corpus_module
from dims_hf.cli.main import main


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path, but the report, which says when and how the work was done."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "report.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def rows_of(folder: Path) -> list[dict]:
    paths = sorted(folder.glob("shard-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, sentences: list[str]) -> Path:
    """An undisturbed run in this process: eight shards."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "in.en").write_text("".join(f"{text}\n" for text in sentences), encoding="utf-8")
    translate_corpus(tiny_folder, folder / "in.en", folder / "out", shard_size=4, processes=1, device="cpu")
    return folder / "out"


def test_kept_columns_never_hide_the_output_s_own(made: Path):
    assert {name for row in rows_of(made) for name in row} == corpus_module.OWN_COLUMNS
    with pytest.raises(ValueError, match="keep_columns names score, source, which the output has itself. Rename"):
        CorpusSettings(keep_columns=("id", "source", "score"))
    assert CorpusSettings(keep_columns=("source",), source_lang="en", target_lang="de").keep_columns == ("source",)


def test_shards_hold_what_translate_gives_in_the_order_of_the_sources(
    made: Path, sentences: list[str], expected: list[str]
):
    rows = rows_of(made)
    assert [row["source"] for row in rows] == sentences
    assert [row["translation"] for row in rows] == expected
    assert [row["left_out"] for row in rows if row["left_out"]] == ["blank"] and rows[17]["confidence"] is None
    assert len(list(made.glob("shard-*.jsonl"))) == 8


def test_report_and_manifest_describe_the_whole_corpus(made: Path):
    report, manifest = (json.loads((made / name).read_text()) for name in ("report.json", "manifest.json"))
    rows = rows_of(made)
    sure = [row["confidence"] for row in rows if row["confidence"] is not None]
    assert (report["rows"], report["blank"], report["shards"], report["shards_found"]) == (30, 1, 8, 0)
    assert report["rows_translated"] == 30 and report["rows_per_second"] > 0 and report["processes"] == 1
    assert report["mean_confidence"] == pytest.approx(sum(sure) / 29, abs=1e-5)
    for flag, count in report["flagged"].items():
        assert count == sum(flag in row["flags"] for row in rows)
    assert report["model"] == "tiny" and "/" not in report["corpus"] and report["provenance"]["versions"]
    assert manifest["rows"] == 30 and len(manifest["shards"]) == 8
    assert manifest["settings"] == report["settings"] and manifest["settings"]["shard_size"] == 4


def test_table_says_what_was_done_now(tmp_path: Path, tiny_folder: Path, text_file: Path):
    options = {"shard_size": 10, "processes": 1, "device": "cpu"}
    translate_corpus(tiny_folder, text_file, tmp_path / "out", max_rows=20, **options)
    report = translate_corpus(tiny_folder, text_file, tmp_path / "out", **options)
    assert (report.shards, report.shards_found, report.rows_translated) == (3, 2, 10)
    table = report.table()
    for part in ("tiny (torch)", "in.en, 30 rows", "1 blank, 0 too long", "3, 2 of them there already", "10 rows in "):
        assert part in table, table


@pytest.mark.parametrize("lost", ["shard", "record", "manifest list", "debris"])
def test_what_a_kill_may_leave_is_taken_up_byte_for_byte(
    tmp_path: Path, tiny_folder: Path, text_file: Path, made: Path, lost: str, monkeypatch: pytest.MonkeyPatch
):
    options = {"shard_size": 4, "processes": 1, "device": "cpu"}
    out = tmp_path / "out"
    translate_corpus(tiny_folder, text_file, out, **options)
    if lost == "shard":
        (out / "shard-00003.jsonl").unlink()
    elif lost == "record":
        (out / "_records" / "shard-00003.jsonl.json").unlink()
    elif lost == "manifest list":
        corpus_module.save_settings(out, json.loads((out / "manifest.json").read_text())["settings"])
    else:
        (out / ".shard-00003.abcdefgh.jsonl").write_text("half")
        (out / "_records" / ".shard-00003.jsonl.abcdefgh.json").write_text("half")
    (out / "report.json").unlink()
    opened = []
    open_translator = corpus_module.open_translator
    monkeypatch.setattr(
        corpus_module, "open_translator", lambda *given: opened.append(given) or open_translator(*given)
    )
    report = translate_corpus(tiny_folder, text_file, out, **options)
    assert contents(out) == contents(made)
    is_lost = lost in ("shard", "record")
    assert len(opened) == is_lost  # nothing to do, no model
    assert (report.rows_translated, report.shards_found) == ((4, 7) if is_lost else (0, 8))


def test_parquet_and_jsonl_in_give_the_translations_of_text(
    tmp_path: Path, tiny_folder: Path, sentences: list[str], expected: list[str]
):
    from datasets import Dataset

    dataset = Dataset.from_dict({"de": ["x"] * 30, "en": sentences, "id": list(range(30))})
    dataset.to_parquet(tmp_path / "in.parquet")
    dataset.to_json(tmp_path / "in.jsonl")
    options = {"column": "en", "keep_columns": ["id"], "processes": 1, "device": "cpu"}
    for name, data in (("p", tmp_path / "in.parquet"), ("j", tmp_path / "in.jsonl"), ("d", dataset)):
        translate_corpus(tiny_folder, data, tmp_path / name, output_format="parquet", shard_size=9, **options)
        written = Dataset.from_parquet([str(path) for path in sorted((tmp_path / name).glob("*.parquet"))])
        assert written["translation"] == expected and written["id"] == list(range(30))


def test_pairs_are_a_corpus_to_train_on(tmp_path: Path, tiny_folder: Path, sentences: list[str], expected: list[str]):
    from dims_hf import load_corpus

    out = tmp_path / "out"
    pairs = [{"translation": {"en": text, "de": "x"}} for text in sentences if text.strip()]
    options = {"source_lang": "en", "target_lang": "de", "processes": 1, "device": "cpu"}
    translate_corpus(tiny_folder, iter(pairs), out, **options)
    corpus = load_corpus({"train": out / "shard-00000.jsonl"}, "en", "de", splits=["train"])["train"]
    assert list(corpus["source"]) == [text for text in sentences if text.strip()]
    assert list(corpus["target"]) == [text for text in expected if text]


def test_text_shards_joined_are_the_translated_file(
    tmp_path: Path, tiny_folder: Path, text_file: Path, expected: list[str], capsys: pytest.CaptureFixture
):
    words = ["--output-format", "text", "--shard-size", "7", "--processes", "1", "--device", "cpu", "--quiet"]
    command = ["translate-corpus", "--model", str(tiny_folder), "--input", str(text_file), "--output-dir"]
    assert main([*command, str(tmp_path / "out"), *words]) == 0
    assert "in.en, 30 rows" in capsys.readouterr().out
    joined = "".join(path.read_text() for path in sorted((tmp_path / "out").glob("*.txt")))
    assert joined.split("\n")[:-1] == expected


def test_policies_are_those_of_translate(tmp_path: Path, tiny_folder: Path):
    texts = ["the dog", "", "the dog sees the cat . " * 40, "a cat"]
    options = {"processes": 1, "device": "cpu"}
    with pytest.raises(ValueError, match="row 2 has .* tokens, the model takes at most"):
        translate_corpus(tiny_folder, iter(texts), tmp_path / "error", **options)
    with pytest.raises(ValueError, match="row 1 is blank"):
        translate_corpus(tiny_folder, iter(texts), tmp_path / "blank", on_blank="error", **options)
    skipped = translate_corpus(tiny_folder, iter(texts), tmp_path / "skip", on_long="skip", **options)
    assert (skipped.rows, skipped.blank, skipped.too_long, skipped.split) == (4, 1, 1, 0)
    assert [row["left_out"] for row in rows_of(tmp_path / "skip")] == [None, "blank", "long", None]
    split = translate_corpus(tiny_folder, iter(texts), tmp_path / "split", on_long="split", **options)
    assert (split.too_long, split.split) == (0, 1)


def test_decoding_reaches_the_model_and_is_part_of_the_manifest(
    tmp_path: Path, tiny_folder: Path, text_file: Path, expected: list[str]
):
    from dims_hf import load_model, translate

    options = {"processes": 1, "device": "cpu", "num_iterations": 4, "length_beam_size": 3}
    out = tmp_path / "out"
    translate_corpus(tiny_folder, text_file, out, **options)
    lines = text_file.read_text().split("\n")[:-1]
    wanted = translate(*load_model(tiny_folder, "cpu"), lines, num_iterations=4, length_beam_size=3)
    assert [row["translation"] for row in rows_of(out)] == [each.text for each in wanted] != expected
    with pytest.raises(ValueError, match="holds translations with num_iterations=4, this command says num_iteration"):
        translate_corpus(tiny_folder, text_file, out, **{**options, "num_iterations": 1})


def test_other_model_sources_or_settings_are_refused_and_nothing_is_touched(
    tmp_path: Path, tiny_folder: Path, text_file: Path
):
    import shutil

    options = {"shard_size": 10, "processes": 1, "device": "cpu"}
    out = tmp_path / "out"
    translate_corpus(tiny_folder, text_file, out, **options)
    before = contents(out)
    other = tmp_path / "other"
    shutil.copytree(tiny_folder, other)
    (other / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ValueError, match="holds translations with model_fingerprint="):
        translate_corpus(other, text_file, out, **options)
    with pytest.raises(ValueError, match="holds translations with shard_size=10, this command says shard_size=11"):
        translate_corpus(tiny_folder, text_file, out, **{**options, "shard_size": 11})
    lines = text_file.read_text().split("\n")
    text_file.write_text("\n".join([*lines[:12], "another", *lines[13:]]))
    with pytest.raises(ValueError, match=r"shard-00001.jsonl was made from other sources than those from .*in.en:11 "):
        translate_corpus(tiny_folder, text_file, out, **options)
    text_file.write_text("\n".join([*lines[:20], ""]))
    with pytest.raises(ValueError, match="has 1 more shards than the sources give now, from shard-00002.jsonl on"):
        translate_corpus(tiny_folder, text_file, out, **options)
    assert {name: data for name, data in contents(out).items() if name != "manifest.json"} == {
        name: data for name, data in before.items() if name != "manifest.json"
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard_size": 0}, "shard_size=0: must be >= 1"),
        ({"processes": 0}, "processes must be >= 1"),
        ({"output_format": "csv"}, "output_format must be one of jsonl, text, parquet"),
        ({"source_lang": "en"}, "Give both, or neither"),
        ({"source_lang": "en", "target_lang": "en"}, "are both 'en'"),
        ({"output_format": "text", "keep_columns": ["id"]}, "Write jsonl or parquet"),
        ({"on_long": "cut"}, "on_long must be one of"),
        ({"max_rows": 0}, "max_rows must be >= 1"),
        ({"num_beams": 5}, "There is no setting 'num_beams'. A corpus is translated with input_format"),
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, tiny_folder: Path, text_file: Path, changes: dict, message):
    with pytest.raises(ValueError, match=message):
        translate_corpus(tiny_folder, text_file, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("shard*"))


def test_no_rows_and_no_model_are_refused(tmp_path: Path, tiny_folder: Path):
    (tmp_path / "empty.en").touch()
    with pytest.raises(ValueError, match="There is nothing to translate"):
        translate_corpus(tiny_folder, tmp_path / "empty.en", tmp_path / "out", device="cpu", processes=1)
    with pytest.raises(ValueError, match="Model folder ./absent does not exist"):
        translate_corpus("./absent", tmp_path / "empty.en", tmp_path / "out", device="cpu", processes=1)


def test_settings_object_and_changes_are_the_same(tmp_path: Path, tiny_folder: Path, text_file: Path, made: Path):
    settings = CorpusSettings(shard_size=9, processes=1, device="cpu")
    translate_corpus(tiny_folder, text_file, tmp_path / "out", settings, shard_size=4)
    assert contents(tmp_path / "out") == contents(made)


# ---- processes -----------------------------------------------------------------------------------------------------


def environment(repository: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


def command_of(model: Path, source: Path, out: Path, *words: str) -> list[str]:
    options = ["--model", str(model), "--input", str(source), "--output-dir", str(out), "--shard-size", "4"]
    return [sys.executable, "-m", "dims_hf.cli.main", "translate-corpus", *options, "--device", "cpu", *words]


@pytest.mark.slow
def test_worker_killed_at_a_random_point_changes_nothing(
    tmp_path: Path, tiny_folder: Path, text_file: Path, made: Path, repository: Path
):
    """Whatever it was doing: loading, translating, writing. The run itself goes on."""
    out, moment = tmp_path / "out", random.Random(os.getpid()).random()
    command = command_of(tiny_folder, text_file, out, "--processes", "2")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment(repository), stdout=log, stderr=log)
        victim = _first_child(process)
        time.sleep(5 * moment)
        is_late = process.poll() is not None
        if not is_late:
            _kill(victim)
        assert process.wait(timeout=300) == 0, (tmp_path / "log").read_text()[-2000:]
    assert contents(out) == contents(made)
    assert json.loads((out / "report.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_command_killed_at_a_random_point_and_run_again_changes_nothing(
    tmp_path: Path, tiny_folder: Path, text_file: Path, made: Path, repository: Path
):
    out = tmp_path / "out"
    wanted = random.Random(os.getpid()).randrange(1, 8)
    command = command_of(tiny_folder, text_file, out, "--processes", "2")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment(repository), stdout=log, stderr=log)
        deadline = time.monotonic() + 300
        while len(list(out.glob("shard-*"))) < wanted and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.kill()
        process.wait()
    done = subprocess.run(command, env=environment(repository), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert contents(out) == contents(made)


@pytest.mark.slow
def test_processes_of_accelerate_share_the_shards(
    tmp_path: Path, tiny_folder: Path, text_file: Path, made: Path, repository: Path
):
    out = tmp_path / "out"
    # on a machine without GPUs, `--multi_gpu` is what makes accelerate start more than one process
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += [
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "0",
    ]
    words = command_of(tiny_folder, text_file, out)[4:]
    command = [*launcher, str(repository / "training" / "translate_corpus.py"), *words]
    done = subprocess.run(command, env=environment(repository), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert contents(out) == contents(made)
    report = json.loads((out / "report.json").read_text())
    assert (report["processes"], report["rows_translated"]) == (2, 30)
    assert done.stdout.count("in.en, 30 rows") == 1


def _first_child(process: subprocess.Popen) -> int:
    """Process id of the first worker, as soon as there is one."""
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        for task in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = task.read_text().rpartition(")")[2].split()
                is_worker = "spawn_main" in (task.parent / "cmdline").read_text()
            except OSError:
                continue
            if int(fields[1]) == process.pid and is_worker:
                return int(task.parent.name)
        time.sleep(0.01)
    raise AssertionError("no worker was started")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
