# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf phrasebook` shows and writes the embedded corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from dims_hf.cli.main import main


def test_phrasebook_shows_sources_with_their_valid_targets(capsys: pytest.CaptureFixture):
    from dims_hf.phrasebook import valid_targets

    assert main(["phrasebook", "--show", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    sources = [line for line in lines if not line.startswith(" ")]
    assert len(sources) == 3
    start = lines.index(sources[0]) + 1
    shown = lines[start : lines.index(sources[1])]
    assert {line.strip() for line in shown} == valid_targets(sources[0])


def test_phrasebook_out_writes_parallel_files_that_depend_on_the_seed_only(tmp_path: Path):
    sizes = ["--train", "40", "--valid", "10", "--test", "10"]
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main(["phrasebook", "--out", str(tmp_path / folder), *sizes, "--seed", seed]) == 0
    names = sorted(f"{split}.{lang}" for split in ("train", "valid", "test") for lang in ("en", "de"))
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    read = {
        (folder, name): (tmp_path / folder / name).read_text(encoding="utf-8") for folder in "abc" for name in names
    }
    assert len(read["a", "train.en"].splitlines()) == len(read["a", "train.de"].splitlines()) == 40
    assert all(read["a", name] == read["b", name] for name in names)
    assert read["a", "train.en"] != read["c", "train.en"]
