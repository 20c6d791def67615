# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Shards: names, records, what counts as done, and folders that hold others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dims_hf.bulk.shards import (
    MANIFEST,
    RECORDS,
    Content,
    Job,
    Shards,
    check_settings,
    complete_manifest,
    fingerprint,
    save_settings,
)


def fill(shards: Shards, texts: list[str], numbers: list[int] | None = None) -> None:
    for job in shards.jobs(texts, range(len(shards)) if numbers is None else numbers):
        shards.write(job, Content([{"translation": text.upper()} for text in job.texts]))


@pytest.mark.parametrize(
    ("num_rows", "size", "expected"),
    [(7, 3, [["0", "1", "2"], ["3", "4", "5"], ["6"]]), (6, 3, [["0", "1", "2"], ["3", "4", "5"]]), (1, 3, [["0"]])],
)
def test_jobs_of_a_known_number_cover_every_row_once(tmp_path: Path, num_rows: int, size: int, expected: list):
    shards = Shards(tmp_path, "train", size, num_rows)
    jobs = list(shards.jobs([str(row) for row in range(num_rows)], range(len(shards))))
    assert [list(job.texts) for job in jobs] == expected
    assert jobs[-1].locate(0) == f"train row {(len(expected) - 1) * size}"
    assert shards.path(0).name == f"train-00000-of-{len(expected):05d}.jsonl"
    assert shards.missing() == list(range(len(expected)))


def test_rows_are_read_back_in_order_whatever_the_order_of_writing(tmp_path: Path):
    texts = [f"text {row}\u2028" for row in range(7)]
    shards = Shards(tmp_path, "train", 3, 7)
    fill(shards, texts, [2, 0])
    assert shards.missing() == [1] and shards.recorded() == {0, 2}
    with pytest.raises(ValueError, match="train-00001-of-00003.jsonl is missing. Run the same command again"):
        shards.read()
    fill(shards, texts, [1])
    assert shards.read() == [{"translation": text.upper()} for text in texts]


@pytest.mark.parametrize("fault", ["no file", "no record", "cut", "other record"])
def test_shard_without_its_file_or_record_is_missing(tmp_path: Path, fault: str):
    shards = Shards(tmp_path, "train", 3, 7)
    fill(shards, list("abcdefg"))
    record = tmp_path / RECORDS / f"{shards.path(1).name}.json"
    if fault == "no file":
        shards.path(1).unlink()
    elif fault == "no record":
        record.unlink()
    elif fault == "cut":
        shards.path(1).write_bytes(shards.path(1).read_bytes()[:-1])
    else:
        record.write_text("{}")
    assert shards.missing() == [1]


def test_shard_of_the_same_size_with_other_bytes_is_not_read(tmp_path: Path):
    shards = Shards(tmp_path, "train", 3, 7)
    fill(shards, list("abcdefg"))
    shards.path(1).write_bytes(shards.path(1).read_bytes().replace(b"E", b"X"))
    with pytest.raises(ValueError, match="train-00001-of-00003.jsonl is damaged. Delete it"):
        shards.read()


def test_forms_hold_the_same_rows(tmp_path: Path):
    from pyarrow import parquet

    rows = [
        {"id": 4, "translation": "eins\nzwei", "score": -0.5, "confidence": 0.6, "flags": ["empty"], "left_out": None},
        {"id": 5, "translation": "", "score": 0.0, "confidence": None, "flags": [], "left_out": "blank"},
    ]  # fmt: skip
    job = Job(0, ["a", "b"])
    for form in ("jsonl", "text", "parquet"):
        Shards(tmp_path, "shard", 5, form=form).write(job, Content(rows))
    assert (tmp_path / "shard-00000.txt").read_text() == "eins zwei\n\n"
    assert [json.loads(line) for line in (tmp_path / "shard-00000.jsonl").read_text().splitlines()] == rows
    assert parquet.read_table(tmp_path / "shard-00000.parquet").to_pylist() == rows


def test_parquet_shards_without_any_flag_or_row_left_out_have_the_types_of_the_others(tmp_path: Path):
    from pyarrow import parquet

    shards = Shards(tmp_path, "shard", 1, form="parquet")
    for shard, (flags, left_out) in enumerate([([], None), (["empty"], "long")]):
        shards.write(Job(shard, ["a"]), Content([{"translation": "x", "flags": flags, "left_out": left_out}]))
    assert parquet.read_schema(shards.path(0)).equals(parquet.read_schema(shards.path(1)))


@pytest.mark.parametrize(("num_rows", "size", "form"), [(0, 3, "jsonl"), (3, 0, "jsonl"), (None, 0, "jsonl")])
def test_shards_of_nothing_are_refused(tmp_path: Path, num_rows: int | None, size: int, form: str):
    with pytest.raises(ValueError, match="must be >= 1"):
        Shards(tmp_path, "train", size, num_rows, form)


def test_unknown_form_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="output_format must be one of jsonl, text, parquet, got 'csv'"):
        Shards(tmp_path, "train", 3, form="csv")


def test_fingerprint_of_a_job_changes_with_texts_their_borders_and_what_is_kept():
    jobs = [Job(0, ["a", "b"]), Job(0, ["b", "a"]), Job(0, ["a b"]), Job(0, ["a", "b"], [{"id": 1}, {"id": 2}])]
    assert len({job.fingerprint() for job in jobs}) == 4
    assert Job(0, ["a", "b"]).fingerprint() == Job(7, ("a", "b"), marks=[(0, "x:", 1)]).fingerprint()


def test_folder_with_other_settings_is_refused_by_what_differs(tmp_path: Path):
    check_settings(tmp_path, {"num_beams": 5})
    (tmp_path / ".train.9.tmp").touch()
    save_settings(tmp_path, {"num_beams": 5, "model": "abc", "dropped": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORDS, MANIFEST]
    # nothing was made yet, so that what was wrong may be corrected
    check_settings(tmp_path, {"num_beams": 4, "model": "abc"})
    fill(Shards(tmp_path, "train", 1, 1), ["a"])
    check_settings(tmp_path, {"model": "abc", "dropped": 1, "num_beams": 5})
    with pytest.raises(ValueError) as refusal:
        check_settings(tmp_path, {"num_beams": 4, "model": "abc", "dropped": 1})
    assert str(refusal.value) == (
        f"{tmp_path} holds translations with num_beams=5, this command says num_beams=4. Choose another output_dir, "
        "or delete it."
    )
    # a setting that only one of the two has, as of a model that chose among hypotheses, is another setting
    with pytest.raises(ValueError, match="with no added, dropped=1, this command says added=2, no dropped"):
        check_settings(tmp_path, {"num_beams": 5, "model": "abc", "added": 2})
    for damaged in ("[]", "{", '{"settings": 3}', '{"settings": [1]}'):
        (tmp_path / MANIFEST).write_text(damaged)
        with pytest.raises(ValueError, match="manifest.json is damaged"):
            check_settings(tmp_path, {"num_beams": 5})


def test_shards_whose_manifest_is_gone_are_never_used_again(tmp_path: Path):
    settings = {"num_beams": 5}
    save_settings(tmp_path, settings)
    fill(Shards(tmp_path, "train", 1, 1), ["a"])
    check_settings(tmp_path, settings)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(ValueError) as refusal:
        check_settings(tmp_path, settings)
    assert str(refusal.value) == (
        f"{tmp_path} holds translations without the manifest.json that says how they were made, so they cannot be "
        "used again. Put manifest.json back, choose another output_dir, or delete this one."
    )


def test_settings_are_compared_as_json_has_them(tmp_path: Path):
    settings = {"columns": ("a", "b"), "path": Path("x"), "nothing": None}
    save_settings(tmp_path, {**settings, "path": "x"})
    fill(Shards(tmp_path, "train", 1, 1), ["a"])
    check_settings(tmp_path, settings)


def test_complete_manifest_lists_all_shards_with_their_checksums(tmp_path: Path):
    import hashlib

    shards = Shards(tmp_path, "train", 3, 7)
    fill(shards, list("abcdefg"))
    records = [record for shard in (2, 0, 1) if (record := shards.record(shard)) is not None]
    complete_manifest(shards, {"b": 1, "a": 2}, records)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["rows"] == 7 and manifest["fingerprint"] == fingerprint({"a": 2, "b": 1}) != fingerprint({"a": 2})
    for shard, listed in enumerate(manifest["shards"]):
        path = shards.path(shard)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert listed == {"file": path.name, "rows": [3, 3, 1][shard], "sha256": digest}
