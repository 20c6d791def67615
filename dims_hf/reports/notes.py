# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a reader must know about a table of results, in fixed sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


_BREVITY_NOTE = (
    "BP is BLEU's brevity penalty, 1 where translations are as long as their references in all; 'BLEU raw' is of the "
    "text before repeats are collapsed."
)

# Hexadecimal digits of a checksum that a note shows; the results file has all of them.
_SHOWN_DIGITS = 12


def table_notes(results: Mapping[str, Any]) -> list[str]:
    """What a reader must know about the table: settings, signatures, lengths, gap and significance."""
    record = results["systems"][0]["records"][0]
    task = results["task"]
    notes = [
        f"{task['data']} {task['source_lang']}-{task['target_lang']}, {task['split']}, "
        f"{task['num_sentences']} sentences.{_predicted(results)}",
        f"Repeats {_collapsed(results)} before scoring; repeated tokens, mixtures and 'raw' are counted before that.",
        f"ms per sentence is batch throughput ({record['max_tokens_per_batch']} tokens per batch) "
        f"on {results['provenance'].get('hardware', 'unknown hardware')}, "
        f"{results['provenance'].get('num_threads', '?')} threads; not the latency of a single sentence.",
        f"BLEU {record['bleu_signature']}; chrF {record['chrf_signature']}.",
        f"Legacy BLEU is tokenised and not comparable with BLEU: {record['legacy_bleu_signature']}.",
    ]
    if any("brevity_penalty" in each for system in results["systems"] for each in system["records"]):
        notes.append(_BREVITY_NOTE)
    notes += [_length_note(system) for system in results["systems"]]
    notes += [_weights_note(system) for system in results["systems"] if system.get("weights")]
    if results["gap_closed"]:
        notes.append(_gap_note(results["gap_closed"]))
    notes += [_comparison_note(comparison) for comparison in results["comparisons"]]
    # words of a person about one document, if there are any
    return [*notes, *results.get("remarks", [])]


def _collapsed(results: Mapping[str, Any]) -> str:
    flags = {record["collapse_repeats"] for system in results["systems"] for record in system["records"]}
    return {frozenset({True}): "collapsed", frozenset({False}): "kept"}.get(frozenset(flags), "collapsed in part")


def _predicted(results: Mapping[str, Any]) -> str:
    if not any(system["length"] for system in results["systems"]):
        return ""
    records = (record for system in results["systems"] for record in system["records"])
    oracle = " unless marked 'reference'" if any(record["oracle_length"] for record in records) else ""
    return f" Lengths are predicted{oracle}."


def _length_note(system: Mapping[str, Any]) -> str:
    length = system["length"]
    if not length:
        return f"{system['name']} predicts no length before it decodes."
    shares = ", ".join(
        f"{title} {100 * length[field]:.1f} %"
        for title, field in (
            ("exact", "length_accuracy"),
            ("±1", "length_within_1"),
            ("±2", "length_within_2"),
            ("among top 5", "length_top_5"),
        )
    )
    return f"Length prediction of {system['name']}: {shares}."


def _weights_note(system: Mapping[str, Any]) -> str:
    sums = ", ".join(f"{file} {digest[:_SHOWN_DIGITS]}…" for file, digest in system["weights"].items())
    return f"Weights of {system['name']} (SHA-256): {sums}."


def _gap_note(gap: Mapping[str, Any]) -> str:
    most = gap["most_iterations"]
    note = (
        f"The student at 1 iteration closes {100 * gap['closed']:.1f} % of the teacher's {gap['metric'].upper()} gap "
        f"({gap['teacher_one']:.2f} at 1 iteration, {gap['teacher_most']:.2f} at {most} iterations)."
    )
    penalties = gap.get("brevity_penalty")
    if not penalties:
        return note
    places = {"teacher_one": "teacher at 1", "teacher_most": f"teacher at {most}", "student_one": "student at 1"}
    parts = [
        f"{place} {gap[key]:.2f} / {penalties[key]:.3f} = {gap[key] / penalties[key]:.2f}"
        for key, place in places.items()
        if penalties[key]
    ]
    return f"{note} Part of that gap is length, not words: without the brevity penalty, {', '.join(parts)}."


def _comparison_note(comparison: Mapping[str, Any]) -> str:
    baseline = comparison["systems"][comparison["baseline"]]
    parts = []
    for name, system in comparison["systems"].items():
        if name != comparison["baseline"]:
            difference = system["bleu"] - baseline["bleu"]
            parts.append(
                f"{name} − {comparison['baseline']} = {difference:+.2f} BLEU (p = {system['bleu_p_value']:.3f})"
            )
    return f"Paired bootstrap, {comparison['num_samples']} resamples: {'; '.join(parts)}."
