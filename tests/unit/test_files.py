# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Folders for what is not finished: they go at the end, and with the next one those of processes that were killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dims_hf._files import scratch_folder


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and file locks")


def test_scratch_folder_is_beside_the_target_and_gone_at_the_end(tmp_path: Path):
    with scratch_folder(tmp_path / "new" / "model") as scratch:
        assert scratch.parent == tmp_path and scratch.name.startswith(".model.partial-")
        (scratch / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_scratch_folder_of_a_killed_process_goes_with_the_next(tmp_path: Path):
    process = os.fork()
    if process == 0:
        with scratch_folder(tmp_path / "model") as scratch:
            (scratch / "file").write_text("x")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(process, 0)
    assert len(list(tmp_path.glob(".model.partial-*/file"))) == 1
    with scratch_folder(tmp_path / "other"):
        assert len(list(tmp_path.glob(".model.partial-*"))) == 1
    with scratch_folder(tmp_path / "model") as scratch:
        assert list(tmp_path.iterdir()) == [scratch]


def test_scratch_folders_of_two_at_once_do_not_disturb_each_other(tmp_path: Path):
    with scratch_folder(tmp_path / "model") as first:
        (first / "file").write_text("x")
        with scratch_folder(tmp_path / "model") as second:
            assert first != second and (first / "file").is_file()
        assert (first / "file").is_file() and not second.exists()
