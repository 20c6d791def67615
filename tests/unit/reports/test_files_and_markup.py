# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Files written whole or not at all, YAML read with bounds, and text that stays text in Markdown and HTML."""

from __future__ import annotations

import os

import pytest

from dims_hf.reports.files import read_yaml, replacing, write_json, write_text
from dims_hf.reports.markup import Markup, aligned_rows, code, escape, link, markdown_rows, settings_rows


def test_write_text_reaches_the_disk_before_its_name_and_the_name_before_it_returns(tmp_path, monkeypatch):
    seen = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda handle: (seen.append("folder" if _is_folder(handle) else "file"), sync(handle))
    )
    monkeypatch.setattr(os, "replace", lambda *names: (seen.append("rename"), replace(*names)))
    write_text("text", tmp_path / "file")
    assert seen == ["file", "rename", "folder"]


def _is_folder(handle: int) -> bool:
    return os.path.isdir(f"/proc/self/fd/{handle}")


def test_write_text_over_a_link_leaves_what_it_points_to(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")
    write_text("ours", tmp_path / "ours")
    assert (tmp_path / "theirs").read_text() == "theirs" and (tmp_path / "ours").read_text() == "ours"


def test_replacing_when_the_block_fails_keeps_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "file.png").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "file.png") as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file.png", b"old")]


def test_write_json_refuses_what_json_does_not_know(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json({"loss": float("nan")}, tmp_path / "file.json")
    assert write_json({"ä": 1}, tmp_path / "file.json").read_text(encoding="utf-8") == '{\n "ä": 1\n}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid YAML"),
        ("a: &x [*x]", "aliases unfold to more than 10,000 entries. Write the values out"),
        ("a: 1\na: 2", "'a' is set twice"),
        ("".join(f"key{number}: 1\n" for number in range(30_000)), "more than 10,000 entries"),
    ],
)
def test_read_yaml_refuses_what_no_person_writes(text, message, tmp_path):
    (tmp_path / "file.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_yaml(tmp_path / "file.yaml")


def test_read_yaml_reads_what_a_person_writes(tmp_path):
    (tmp_path / "file.yaml").write_bytes("\ufefffig3: &a Grüße\nfig4: *a\nrate: 1e-3\n".encode())
    assert read_yaml(tmp_path / "file.yaml") == {"fig3": "Grüße", "fig4": "Grüße", "rate": 1e-3}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a plain_name, 5 %", "a plain_name, 5 %"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("[x](javascript:y) & `z`", "\\[x\\](javascript:y) &amp; \\`z\\`"),
        ("*bold* _it_ ~~no~~ \\", "\\*bold\\* \\_it\\_ \\~\\~no\\~\\~ \\\\"),
        ("two\nlines", "two lines"),
        (Markup("**kept**"), "**kept**"),
    ],
)
def test_escape_shows_text_literally(text, shown):
    assert escape(text) == shown
    assert escape(escape(text)) == shown


def test_code_and_link_hold_any_text():
    assert (code("a b"), code("a `b` ``")) == ("`a b`", "``` a `b` `` ```")
    assert link("fig*3", "results/a b.png") == "[fig\\*3](results/a%20b.png)"


def test_markdown_rows_escape_names_and_keep_columns():
    text = markdown_rows(["system", "BLEU"], [["a|b <i>", "31.5 (31–32)"], [code("x|y"), ""]])
    assert text == "| system | BLEU |\n| --- | --: |\n| a\\|b &lt;i&gt; | 31.5 (31–32) |\n| `x\\|y` |  |\n"
    assert settings_rows([("a", 1), ("b", None)]) == "| setting | value |\n| --- | --- |\n| a | 1 |\n| b | None |\n"
    assert aligned_rows(["run", "n"], [["a", "10"]]) == "run   n\n---  --\na    10\n"
