# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Linked groups stay whole, no sentence is shared between splits, and a list of keys gives the same split again."""

from __future__ import annotations

import runpy
from pathlib import Path
from random import Random

import pytest

from dims_hf.data.filters import comparable
from dims_hf.data.splitting import linked_groups, pair_key, split_linked, split_listed


ROOT = Path(__file__).parents[3]


@pytest.fixture
def pairs() -> list[tuple[str, str]]:
    random = Random(0)
    words = [f"word{number}" for number in range(400)]
    sources = [" ".join(random.choices(words, k=random.randint(3, 9))) for _ in range(250)]
    targets = [" ".join(random.choices(words, k=random.randint(3, 9))) for _ in range(300)]
    drawn = {(random.choice(sources), random.choice(targets)) for _ in range(260)}
    return sorted(drawn)


def test_linked_groups_follow_shared_sides_however_far():
    pairs = [("a", "x"), ("b", "y"), ("A!", "z"), ("c", "Z."), ("b", "w"), ("x", "a")]
    assert linked_groups(pairs) == [0, 1, 0, 0, 1, 5]


def test_no_sentence_is_shared_between_splits(pairs):
    split = split_linked(pairs, 10, 12, seed=1)
    assert [len(split[name]) for name in ("valid", "test")] == [10, 12]
    sides = {
        name: {(side, comparable(pairs[row][side])) for row in rows for side in (0, 1)} for name, rows in split.items()
    }
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        assert not sides[first] & sides[second]
    held_out = [pairs[row] for name in ("valid", "test") for row in split[name]]
    assert all(4 <= len(side.split()) <= 40 for pair in held_out for side in pair)
    assert split == split_linked(pairs, 10, 12, seed=1) != split_linked(pairs, 10, 12, seed=2)


def test_list_of_keys_gives_the_split_again_in_its_order_and_from_shuffled_pairs(pairs):
    split = split_linked(pairs, 10, 12, seed=1)
    listed = {name: [pair_key(pairs[row]) for row in split[name]] for name in ("valid", "test")}
    assert split_listed(pairs, listed) == split
    shuffled = Random(1).sample(pairs, len(pairs))
    again = split_listed(shuffled, listed)
    assert [shuffled[row] for row in again["test"]] == [pairs[row] for row in split["test"]]
    assert {shuffled[row] for row in again["train"]} == {pairs[row] for row in split["train"]}


def test_impossible_splits_are_refused(pairs):
    with pytest.raises(ValueError, match=r"Only \d+ groups of at most 3 pairs .* 500 \+ 12 pairs were asked for"):
        split_linked(pairs, 500, 12, seed=1)
    with pytest.raises(ValueError, match="1 of 2 valid pairs are not in the files. Add the files they come from"):
        split_listed(pairs, {"valid": [pair_key(pairs[0]), "0" * 16]})


def test_script_writes_a_split_that_its_list_makes_again(pairs, tmp_path):
    main = runpy.run_path(str(ROOT / "training/prepare_tatoeba.py"))["main"]
    lines = [f"{source}\t{target}\tsome licence" for source, target in pairs]
    (tmp_path / "a.txt").write_text("\ufeff" + "\n".join(lines[:130]) + "\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n".join(lines[120:]) + "\n", encoding="utf-8")
    files = ["--pairs", str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    main([*files, "--output_dir", str(tmp_path / "drawn"), "--valid_size", "8", "--test_size", "9"])
    drawn = {path.name: path.read_text() for path in (tmp_path / "drawn").iterdir()}
    assert sorted(drawn) == sorted(
        ["train.en", "train.de", "valid.en", "valid.de", "valid.near", "test.en", "test.de", "test.near"]
    )
    keys = [
        f"{name}\t{pair_key(pair)}"
        for name in ("valid", "test")
        for pair in zip(*(drawn[f"{name}.{side}"].splitlines() for side in ("en", "de")), strict=True)
    ]
    (tmp_path / "split.tsv").write_text("\n".join(keys) + "\n")
    main([*files, "--output_dir", str(tmp_path / "again"), "--split", str(tmp_path / "split.tsv")])
    assert {path.name: path.read_text() for path in (tmp_path / "again").iterdir()} == drawn


def test_list_of_the_published_split_fits_the_corpus():
    folder = ROOT.parent / "shared/data/tatoeba-de-en"
    listed = [line.split("\t") for line in (ROOT / "training/tatoeba_en_de.tsv").read_text().splitlines()]
    assert len(listed) == len({key for _, key in listed}) == 4000
    if not folder.is_dir():
        pytest.skip("the Tatoeba corpus is not here")
    for split in ("valid", "test"):
        sides = [(folder / f"{split}.{side}").read_text(encoding="utf-8").splitlines() for side in ("en", "de")]
        assert [pair_key(pair) for pair in zip(*sides, strict=True)] == [key for name, key in listed if name == split]
