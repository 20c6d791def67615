# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Ratios, verdicts and sentences from a document with round numbers."""

from __future__ import annotations

from typing import Any

import pytest

from dims_hf.benchmark.comparison import Comparison, compare_targets, states_targets, where_autoregressive_wins
from dims_hf.benchmark.report import markdown, table, unavailable


def make_system(label: str, runtime: str, layers: str = "6-6", **fields: Any) -> dict[str, Any]:
    system = {"label": label, "runtime": runtime, "runtime_label": label, "layers": layers, "model": ""}
    system |= {"is_ours": "onnx" in runtime or "torch" in runtime, "is_plain": True}
    return {**system, "num_iterations": 1, "length_beam_size": 1, **fields}


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
    assert "onnx-int8 or torch-int8 against ctranslate2-int8 deep-shallow, batch 32" in missing


@pytest.mark.parametrize(("ours", "verdict"), [(60.0, "goal reached"), (80.0, "must reached"), (101.0, "missed")])
def test_verdict_at_batch_32(ours: float, verdict: str):
    results = make_results(b32={"onnx": make_record(ours), "12-1": make_record(80.0)})
    (found,) = [each for each in compare_targets(results) if isinstance(each, Comparison)]
    assert found.verdict == verdict


def test_where_autoregressive_wins_says_who_by_how_much_and_what_else_loses():
    results = make_results(
        b32={
            "onnx": make_record(100, 120, 110),
            "torch": make_record(200, 200, 200),
            "ten": make_record(500, 500, 500),
            "6-6": make_record(90, 130, 110),
            "12-1": make_record(50, 60, 50),
        }
    )
    assert where_autoregressive_wins(results) == [
        "cpu, 1 thread, batch 32, 20 tokens: autoregressive decoding is faster. CTranslate2 int8 12-1 is 2.00× "
        "[2.00–2.20] as fast as one pass, ONNX int8. CTranslate2 int8 12-1 is faster than 3 of our 3 systems "
        "measured here: one pass, ONNX int8 (2.00× [2.00–2.20]); one pass, torch int8 (4.00× [3.33–4.00]); 1 "
        "with more passes or length candidates (10.00× to 10.00×)."
    ]


def test_where_autoregressive_wins_when_it_loses_or_rounds_disagree_says_so():
    results = make_results(
        b1={"onnx": make_record(10, 10), "12-1": make_record(30, 50)},
        b8={"onnx": make_record(10, 10), "12-1": make_record(9, 12)},
        b32={"onnx": make_record(10, 10)},
    )
    assert where_autoregressive_wins(results) == [
        "cpu, 1 thread, batch 1, 20 tokens: autoregressive decoding is slower. one pass, ONNX int8 is 4.00× "
        "[3.00–5.00] as fast as CTranslate2 int8 12-1.",
        "cpu, 1 thread, batch 8, 20 tokens: neither is faster. one pass, ONNX int8 is 1.05× [0.90–1.20] as fast as "
        "CTranslate2 int8 12-1, and rounds disagree.",
        "cpu, 1 thread, batch 32, 20 tokens: nothing to compare.",
    ]


def test_trained_systems_are_named_with_their_quality():
    results = make_results(b1={"onnx": make_record(10, 10), "12-1": make_record(20, 20)})
    results["quality"] = {"onnx": {"bleu": 31.46}, "12-1": {"bleu": 36.7}}
    (sentence,) = where_autoregressive_wins(results)
    assert "ONNX int8 (31.5 BLEU) is 2.00× [2.00–2.00] as fast as CTranslate2 int8 12-1 (36.7 BLEU)." in sentence


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
    listed = {name: {**system, "label": f"{system['label']} listed"} for name, system in listed.items()}
    results["systems"] = {**SYSTEMS, **listed}
    plain, beside = where_autoregressive_wins(results)
    assert plain.endswith("one pass, ONNX int8 is 4.00× [3.00–5.00] as fast as CTranslate2 int8 12-1.")
    assert beside == (
        "cpu, 1 thread, batch 1, 20 tokens, with a shortlist on both sides: autoregressive decoding is slower. one "
        "pass, ONNX int8 listed is 4.00× [4.00–4.00] as fast as CTranslate2 int8 12-1 listed."
    )


def test_markdown_has_table_ratios_limits_and_what_is_missing():
    results = make_results(b1={"onnx": make_record(10.0), "12-1": make_record(40.0)})
    results["groups"]["b1"]["unavailable"] = {"torch": "no such thing", "ten": "no such thing"}
    text = markdown(results)
    assert "| one pass, ONNX int8 | 10.0 | 10.0 | 100 | 2000 | 5.00 | 50 % |" in text
    assert "| one pass, ONNX int8 | CTranslate2 int8 12-1 | 1 | 4.00× [4.00–4.00] | 3 / 5 | must reached |" in text
    assert "takes 10.0 ms, 2.0× its limit of 5.00 ms" in text
    assert unavailable(results) == [
        "10 passes, ONNX int8 (cpu): no such thing.",
        "one pass, torch int8 (cpu): no such thing.",
    ]
    assert [row[0] for row in table(results)[1][0][1]] == ["one pass, ONNX int8", "CTranslate2 int8 12-1"]


def test_states_targets_of_another_size_or_trained_models_is_false():
    results = make_results(b1={"onnx": make_record(10.0), "12-1": make_record(40.0)})
    assert states_targets(results)
    results["settings"]["size"] = "small"
    assert not states_targets(results)
    assert "not stated |" in markdown(results)
