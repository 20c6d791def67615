# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Damaged inputs end in a result or in one line that names a fix; `training/fuzz.py` tries as many as wanted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.fuzz.campaign import AREAS, defects, table
from tests.fuzz.exports import NativeFolders, native_is_possible
from tests.fuzz.harness import attempt, run_cases


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

CASES = 24


# the native library is built first
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == NativeFolders.name else name for name in AREAS]
)
def test_damaged_input_is_read_or_refused_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if name == NativeFolders.name:
        if not native_is_possible():
            pytest.skip("needs a C++ compiler")
        monkeypatch.setenv("DIMS_NATIVE_LIBRARY", "")  # put back what it was
    area = AREAS[name]()
    area.prepare(tmp_path / "good")
    assert [str(outcome) for outcome in defects(area, range(CASES))] == []


def _refuse_in_python() -> None:
    int("not a number of anything at all")


def _refuse_in_our_code() -> None:
    from dims_hf.data import load_corpus

    load_corpus("/nowhere/at/all", "en", "de")


def _loop() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: None, "survived"),
        (_refuse_in_our_code, "refused"),
        (_refuse_in_python, "traceback"),
        (lambda: {}["key"], "traceback"),
        (lambda: open("/nowhere/at/all"), "refused"),
    ],
)
def test_attempt_tells_refusals_from_defects(call: Callable[[], Any], kind: str):
    assert attempt(call)[0] == kind


@pytest.mark.parametrize("call", [_loop, lambda: time.sleep(20)])
def test_attempt_ends_what_goes_on_forever(call: Callable[[], Any]):
    assert attempt(call, seconds=0.1, wait=0.1)[0] == "hang"


class _Deadly:
    """A planted area: its second case kills the process."""

    name = "deadly"

    def prepare(self, folder: Path) -> None: ...

    def case(self, rng: Random, folder: Path) -> tuple[str, Callable[[], Any]]:
        self.count = getattr(self, "count", 0) + 1
        return str(self.count), lambda: os.kill(os.getpid(), signal.SIGKILL) if self.count == 2 else None


def test_a_crash_is_an_outcome_and_the_cases_after_it_are_run():
    outcomes = list(run_cases(_Deadly(), range(4)))
    assert [outcome.kind for outcome in outcomes] == ["survived", "crash", "survived", "crash"]
    assert [outcome.seed for outcome in outcomes] == [0, 1, 2, 3]


def test_cases_are_the_same_for_the_same_seed(tmp_path: Path):
    area = AREAS["JSONL"]()
    area.prepare(tmp_path)
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        what, _ = area.case(Random("x"), tmp_path / name)
        made.append((what, (tmp_path / name / "train.jsonl").read_bytes()))
    assert made[0] == made[1]


def test_table_counts_every_kind():
    from collections import Counter

    shown = table({"corpora": Counter(survived=2, refused=3), "weights": Counter(refused=1, hang=1)})
    assert "| corpora | 5 | 2 | 3 | 0 | 0 | 0 | 0 |" in shown and "| all | 7 | 2 | 4 | 0 | 0 | 1 | 0 |" in shown
