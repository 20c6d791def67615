# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Ratios, verdicts and sentences from a document with round numbers."""

from __future__ import annotations

from typing import Any

import pytest

from dims_hf.benchmark.comparison import Comparison, compare_fastest, compare_targets, states_targets
from dims_hf.benchmark.report import markdown, table, unavailable


def make_system(label: str, runtime: str, layers: str = "6-6", **fields: Any) -> dict[str, Any]:
    system = {"label": label, "runtime": runtime, "runtime_label": label, "layers": layers, "model": ""}
    system |= {"is_ours": "onnx" in runtime or "torch" in runtime, "is_plain": True}
    return {**system, "num_iterations": 1, "length_beam_size": 1, **fields}


PLACE = "no such pair on one CPU thread at 20 tokens"

SYSTEMS = {
    "onnx": make_system("one pass, ONNX int8", "onnx-int8"),
    "torch": make_system("one pass, torch int8", "torch-int8"),
    "ten": make_system("10 passes, ONNX int8", "onnx-int8", is_plain=False, num_iterations=10),
    "6-6": make_system("CTranslate2 int8 6-6", "ctranslate2-int8"),
    "12-1": make_system("CTranslate2 int8 12-1", "ctranslate2-int8", "12-1"),
}


def make_record(*round_ms: float) -> dict[str, Any]:
    middle = sorted(round_ms)[len(round_ms) // 2]
    return {
        "p50_ms": middle,
        "p95_ms": max(round_ms),
        "round_ms": list(round_ms),
        "sentences_per_second": 1000 / middle,
        "target_tokens_per_second": 20000 / middle,
        "limit_ms": 5.0,
        "share_of_limit": 5.0 / middle,
    }


def make_results(**batches: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`b32={name: record}`: a group of that batch on one CPU thread at 20 tokens."""
    groups = {}
    for name, systems in batches.items():
        batch = int(name[1:])
        place = {"device": "cpu", "threads": 1, "batch": batch, "length": 20, "batch_size": batch}
        groups[name] = {**place, "systems": systems, "unavailable": {}}
    where = {"hardware": "a processor", "versions": {"torch": "2"}, "git_commit": "abc"}
    settings = {"size": "base", "models": [], "seed": 1, "rounds": 3}
    common = {"notices": ["Random weights."], "memory": {}, "quality": {}, "settings": settings, "provenance": where}
    return {"systems": SYSTEMS, "groups": groups, **common}


def test_compare_targets_uses_our_fastest_and_the_peer_of_the_right_depth():
    results = make_results(
        b1={
            "onnx": make_record(10, 10, 20),
            "torch": make_record(15, 15, 15),
            "6-6": make_record(100, 70, 120),
            "12-1": make_record(40, 20, 40),
        }
    )
    found = [each for each in compare_targets(results) if isinstance(each, Comparison)]
    assert [(each.ours, each.peer, tuple(each.ratio), each.verdict) for each in found] == [
        ("onnx", "6-6", (6.0, 7.0, 10.0), "must reached"),
        ("onnx", "12-1", (2.0, 2.0, 4.0), "missed"),
    ]
    missing = [each for each in compare_targets(results) if isinstance(each, str)]
    assert "native-int8 or onnx-int8 or torch-int8 against ctranslate2-int8 deep-shallow, batch 32" in missing


@pytest.mark.parametrize(("ours", "verdict"), [(60.0, "goal reached"), (80.0, "must reached"), (101.0, "missed")])
def test_verdict_at_batch_32(ours: float, verdict: str):
    results = make_results(b32={"onnx": make_record(ours), "12-1": make_record(80.0)})
    (found,) = [each for each in compare_targets(results) if isinstance(each, Comparison)]
    assert found.verdict == verdict


def test_compare_fastest_says_who_by_how_much_and_how_many_of_ours_lose():
    results = make_results(
        b32={
            "onnx": make_record(100, 120, 110),
            "torch": make_record(200, 200, 200),
            "ten": make_record(500, 500, 500),
            "6-6": make_record(90, 130, 110),
            "12-1": make_record(50, 60, 50),
        }
    )
    (duel,) = compare_fastest(results)
    assert (duel.place, duel.ours, duel.peer) == ("cpu, 1 thread, batch 32, 20 tokens", "onnx", "12-1")
    assert tuple(duel.ratio) == pytest.approx((50 / 110, 0.5, 0.5))
    assert (duel.winner, duel.losing, duel.of) == ("autoregressive", 3, 3)


def test_compare_fastest_when_rounds_disagree_neither_is_faster_and_one_side_alone_is_no_duel():
    results = make_results(
        b1={"onnx": make_record(10, 10), "12-1": make_record(30, 50)},
        b8={"onnx": make_record(10, 10), "12-1": make_record(9, 12)},
        b32={"onnx": make_record(10, 10)},
    )
    first, second = compare_fastest(results)
    assert (tuple(first.ratio), first.winner, first.losing) == ((3.0, 4.0, 5.0), "ours", 0)
    assert (tuple(second.ratio), second.winner) == (pytest.approx((0.9, 1.05, 1.2)), "neither")


def test_trained_systems_are_named_with_their_quality():
    results = make_results(b1={"onnx": make_record(10, 10), "12-1": make_record(20, 20)})
    scores = {"brevity_penalty": 0.9, "chrf": 50.0, "bleu_before_collapse": 30.0}
    results["quality"] = {"onnx": {"bleu": 31.46, **scores}, "12-1": {"bleu": 36.7, **scores}}
    text = markdown(results)
    assert "| one pass, ONNX int8 (31.5 BLEU) | CTranslate2 int8 12-1 (36.7 BLEU) | 2.00×" in text
    header, ((_, rows),) = table(results)
    assert header[-4:] == ["BLEU", "BP", "chrF", "BLEU raw"]
    assert rows[0][-4:] == ["31.46", "0.900", "50.00", "30.00"]


def test_shortlists_are_compared_with_one_another():
    results = make_results(
        b1={
            "onnx": make_record(10, 10),
            "onnx-listed": make_record(5, 5),
            "12-1": make_record(30, 50),
            "12-1-listed": make_record(20, 20),
        }
    )
    listed = {f"{name}-listed": {**SYSTEMS[name], "has_shortlist": True} for name in ("onnx", "12-1")}
    results["systems"] = {**SYSTEMS, **listed}
    plain, beside = compare_fastest(results)
    assert (plain.ours, plain.peer, plain.has_shortlist) == ("onnx", "12-1", False)
    assert (beside.ours, beside.peer, beside.has_shortlist) == ("onnx-listed", "12-1-listed", True)
    assert beside.ratio.median == 4.0


def test_markdown_has_table_ratios_limits_and_what_is_missing():
    results = make_results(b1={"onnx": make_record(10.0), "12-1": make_record(40.0)})
    results["groups"]["b1"]["unavailable"] = {"torch": "no such thing", "ten": "no such thing"}
    text = markdown(results)
    assert "| one pass, ONNX int8 | 10.0 | 10.0 | 100 | 2000 | 5.00 | 50 % |" in text
    ratio = "1 | 4.00× [4.00–4.00] | 3 / 5 | must reached | 2.0 | 8.0"
    assert f"| one pass, ONNX int8 | CTranslate2 int8 12-1 | {ratio} |" in text
    found = unavailable(results)
    assert ["10 passes, ONNX int8 (cpu)", "no such thing"] in found
    assert ["one pass, torch int8 (cpu)", "no such thing"] in found
    assert ["onnx-fp32 against ctranslate2-fp32 of the same layers, batch 1", PLACE] in found and len(found) == 2 + 5
    assert [row[0] for row in table(results)[1][0][1]] == ["one pass, ONNX int8", "CTranslate2 int8 12-1"]


def test_states_targets_of_another_size_or_trained_models_is_false():
    results = make_results(b1={"onnx": make_record(10.0), "12-1": make_record(40.0)})
    assert states_targets(results)
    results["settings"]["size"] = "small"
    assert not states_targets(results)
    assert "not stated |" in markdown(results)
