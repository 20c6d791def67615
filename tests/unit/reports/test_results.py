# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The results file and its tables."""

from __future__ import annotations

import copy
import io
import re
import stat
import sys

import pytest

from dims_hf.reports import load_results, markdown_table, plain_table, results_table, save_results, write_table
from dims_hf.reports.files import write_text
from dims_hf.reports.notes import table_notes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_save_results_then_load_gives_the_same_document(results, tmp_path):
    path = save_results(results, tmp_path / "new" / "results.json")
    assert load_results(path) == results
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]
    assert path.read_text(encoding="utf-8").endswith("}\n")


def test_save_results_not_a_number_is_refused_and_the_old_file_stays(results, tmp_path):
    path = save_results(results, tmp_path / "results.json")
    broken = copy.deepcopy(results)
    broken["systems"][0]["records"][0]["bleu"] = float("nan")
    with pytest.raises(ValueError, match="JSON compliant"):
        save_results(broken, path)
    assert load_results(path) == results


def test_write_text_failing_rename_leaves_no_temporary_file(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(OSError):
        write_text("text", tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_write_text_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").touch()
    written = write_text("text", tmp_path / "written")
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda results: results.pop("provenance"), "The results lacks provenance"),
        (lambda results: results.update(schema_version=99), "schema_version 99, this release reads 1"),
        (lambda results: results["task"].pop("split"), "The task lacks split"),
        (lambda results: results.update(systems=[]), "Results have no systems"),
        (lambda results: results["systems"][0].pop("records"), "The system 'teacher' lacks records"),
        (
            lambda results: results["systems"][1]["records"][0].pop("bleu"),
            "The record 0 of system 'student' lacks bleu",
        ),
    ],
)
def test_save_results_incomplete_document_is_refused_by_name(results, tmp_path, change, message):
    change(results)
    with pytest.raises(ValueError, match=message):
        save_results(results, tmp_path / "results.json")
    assert list(tmp_path.iterdir()) == []


def test_load_results_missing_or_broken_file_is_refused_with_its_name(tmp_path):
    with pytest.raises(ValueError, match=r"There is no results file .*nothing\.json"):
        load_results(tmp_path / "nothing.json")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.json is not JSON"):
        load_results(tmp_path / "broken.json")


def test_results_table_cells_are_rounded_and_shares_are_percent(results):
    header, rows = results_table(results)
    assert header == [
        "system", "iter.", "beam", "length", "BLEU", "chrF", "legacy BLEU", "valid %", "valid % raw", "mixture %",
        "repeated %", "ms per sentence", "BLEU near=0",
    ]  # fmt: skip
    assert rows[0] == [
        "teacher", "1", "1", "", "20.00", "40.00", "19.00", "50.0", "25.0", "12.5", "12.5", "1.5", "15.00"
    ]  # fmt: skip
    assert rows[4][3:5] == ["reference", "31.00"]
    assert len(rows) == 6


def test_results_table_fields_nobody_measured_have_no_column(results):
    for system in results["systems"]:
        system["records"] = [record for record in system["records"] if not record["oracle_length"]]
        for record in system["records"]:
            for field in ("valid", "valid_before_collapse", "mixture_before_collapse", "subsets"):
                del record[field]
    assert results_table(results)[0] == [
        "system", "iter.", "beam", "BLEU", "chrF", "legacy BLEU", "repeated %", "ms per sentence"
    ]  # fmt: skip


def test_markdown_table_has_a_row_per_record_and_all_notes(results):
    text = markdown_table(results)
    table, notes = text.split("\n\n")
    assert len(table.splitlines()) == 2 + 6
    assert {line.count("|") for line in table.splitlines()} == {14}
    assert notes.splitlines() == [
        "- phrasebook en-de, test, 500 sentences. Lengths are predicted unless marked 'reference'.",
        "- Repeats collapsed before scoring; repeated tokens, mixtures and 'raw' are counted before that.",
        "- ms per sentence is batch throughput (4096 tokens per batch) on a processor, 2 cores, 2 threads; "
        "not the latency of a single sentence.",
        "- BLEU nrefs:1|tok:13a; chrF nrefs:1|nc:6.",
        "- Legacy BLEU is tokenised and not comparable with BLEU: nrefs:1|tok:words-and-marks.",
        "- Length prediction of teacher: exact 50.0 %, ±1 50.0 %, ±2 50.0 %, among top 5 50.0 %.",
        "- Length prediction of student: exact 50.0 %, ±1 50.0 %, ±2 50.0 %, among top 5 50.0 %.",
        "- The student at 1 iteration closes 80.0 % of the teacher's BLEU gap "
        "(20.00 at 1 iteration, 30.00 at 10 iterations).",
        "- Paired bootstrap, 1000 resamples: student@1 − teacher@10 = -2.00 BLEU (p = 0.004).",
    ]


@pytest.mark.parametrize(("flags", "word"), [((False, False), "kept"), ((True, False), "collapsed in part")])
def test_table_notes_say_whether_repeats_were_collapsed(results, flags, word):
    for system, flag in zip(results["systems"], flags, strict=True):
        for record in system["records"]:
            record["collapse_repeats"] = flag
    assert f"Repeats {word} before scoring" in markdown_table(results)


def test_write_table_without_rich_is_the_plain_table(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    stream = io.StringIO()
    write_table(results, stream)
    assert stream.getvalue() == plain_table(results)
    assert len({len(line) for line in stream.getvalue().splitlines()[:8]}) == 1


def test_write_table_to_a_file_shows_every_cell(results):
    pytest.importorskip("rich")
    stream = io.StringIO()
    write_table(results, stream)
    header, rows = results_table(results)
    lines = [line for line in stream.getvalue().splitlines() if line.strip()]
    assert lines[0].split() == " ".join(header).split()
    assert [line.split() for line in lines[2:8]] == [[cell for cell in row if cell] for row in rows]


def test_write_table_narrow_terminal_cuts_no_number_and_names_what_it_left_out(results, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    write_table(results, stream)
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert "…" not in text
    assert max(map(len, text.splitlines())) == 80
    assert "Too narrow a terminal for: legacy BLEU, valid % raw, chrF." in text
    assert "teacher" in text and "12.5" in text


def test_table_notes_system_without_a_length_predictor_says_so(results):
    notes = " ".join(table_notes(results))
    assert "Lengths are predicted." in notes or "Lengths are predicted unless" in notes
    for system in results["systems"][1:]:
        system["length"] = None
    name = results["systems"][-1]["name"]
    assert f"{name} predicts no length before it decodes." in table_notes(results)
    results["systems"][0]["length"] = None
    assert "Lengths are predicted" not in " ".join(table_notes(results))
