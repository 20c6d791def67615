# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Damaged model files: always refused while the checksums tell, never a wrong access where they are made to fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from dims_hf.export.native_export import model_tensors
from dims_hf.native.model_file import write_model_file
from tests.fuzz.models import make_model
from tests.fuzz.native_files import try_damaged


def test_damaged_files_are_refused_or_harmless(native_library: Path, tmp_path: Path):
    good, counts = tmp_path / "cmlm.bin", Counter()
    write_model_file(good, *model_tensors(make_model("cmlm", 40)))
    for seed in range(100):
        counts[try_damaged(good, Random(f"native files {seed}"), tmp_path / "model.bin")] += 1
    assert set(counts) == {"file refused", "content refused", "content read"}


def test_every_flipped_bit_and_every_cut_of_the_head_is_refused(native_library: Path, tmp_path: Path):
    from dims_hf.native.library import NativeModel

    good, place = tmp_path / "cmlm.bin", tmp_path / "model.bin"
    write_model_file(good, *model_tensors(make_model("cmlm", 40)))
    data = good.read_bytes()
    # from the magic to the first weights, the zeros between header and weights among them
    size = int.from_bytes(data[16:20], "little")
    head = -(-(24 + size) // 64) * 64
    for at in [*range(24), *range(24, head, 97), *range(24 + size, head + 8), len(data) - 1]:
        for damaged in (data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :], data[:at]):
            place.write_bytes(damaged)
            with pytest.raises(ValueError, match="is no usable model file"):
                NativeModel(place)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="needs g++ on Linux")
def test_sanitizers_find_nothing_in_damaged_files(repository: Path, tmp_path: Path):
    command = [sys.executable, "training/sanitize.py", "--cases", "200", "--output", str(tmp_path / "counts.json")]
    done = subprocess.run([*command, "--tests"], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert sum(counts.values()) == 200 and counts["file refused"] > 50
