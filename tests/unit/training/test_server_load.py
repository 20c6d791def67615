# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`training/benchmarks/server_load.py`: its arithmetic, and a small run that keeps its bounds."""

from __future__ import annotations

import json
import runpy

import pytest


pytest.importorskip("fastapi", reason="needs the serve extra")
pytest.importorskip("httpx", reason="needs httpx")


@pytest.fixture(scope="module")
def script(repository):
    return runpy.run_path(str(repository / "training" / "benchmarks" / "server_load.py"))


def test_percentile_is_the_nearest_rank(script):
    values = [float(value) for value in range(1, 101)]
    assert [script["percentile"](values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert script["percentile"]([3.0], 0.5) == 3


@pytest.mark.slow
def test_clients_at_once_get_their_own_translations(script, repository, tmp_path):
    words = [str(repository / "model_cards" / "tatoeba-en-de-dims"), "--clients", "40", "--requests", "3"]
    assert script["main"]([*words, "--output", str(tmp_path / "load.json")]) == 0
    report = json.loads((tmp_path / "load.json").read_text())
    assert (report["lost"], report["wrong"], report["requests"]) == (0, 0, 120)
    assert 0 < report["milliseconds"]["p50"] <= report["milliseconds"]["p99"] and report["seconds_to_end"] < 10
