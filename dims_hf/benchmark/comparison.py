# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Ratios against autoregressive peers, taken round by round, and the sentences that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dims_hf.benchmark.settings import MAX_BATCH
from dims_hf.benchmark.summaries import Range, ratio_range


Results = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """
    A comparison with a stated aim: one pass of ours against a peer, base size, 20 tokens, one thread.

    Args:
        ours (`tuple[str, ...]`): runtimes; the fastest of those measured counts.
        peer (`str`): runtime of the peer.
        is_deep (`bool`): deep encoder, one decoder layer; else the same layers as ours.
        batch (`int`): sentences per call.
        must, goal (`float`): how many times faster one pass is to be.
    """

    ours: tuple[str, ...]
    peer: str
    is_deep: bool
    batch: int
    must: float
    goal: float


_INT8 = ("onnx-int8", "torch-int8")

TARGETS = (
    Target(("torch-fp32",), "marian-greedy", False, 1, 5.0, 8.0),
    Target(("onnx-fp32",), "ctranslate2-fp32", False, 1, 6.0, 9.0),
    Target(_INT8, "ctranslate2-int8", False, 1, 6.0, 9.0),
    Target(_INT8, "ctranslate2-int8", True, 1, 3.0, 5.0),
    Target(_INT8, "ctranslate2-int8", False, 32, 1.2, 1.6),
    Target(_INT8, "ctranslate2-int8", True, 32, 1.0, 1.3),
)

TARGET_SIZE, TARGET_LENGTH = "base", 20


@dataclass(frozen=True)
class Comparison:
    """
    One pass of ours against a peer, in one group.

    Args:
        target ([`Target`]): what was to be compared.
        group (`str`): key of the group.
        ours, peer (`str`): names of the systems.
        ratio ([`Range`]): how many times faster ours is, over the rounds.
    """

    target: Target
    group: str
    ours: str
    peer: str
    ratio: Range

    @property
    def verdict(self) -> str:
        """Of the median: the must or the goal reached, or missed."""
        if self.ratio.median >= self.target.goal:
            return "goal reached"
        return "must reached" if self.ratio.median >= self.target.must else "missed"


def compare_targets(results: Results) -> list[Comparison | str]:
    """Every target that was measured on one CPU thread at its length, and a sentence for each that was not."""
    found: list[Comparison | str] = []
    for target in TARGETS:
        group = _find_group(results, target.batch)
        ours = _fastest_ours(results, group, target.ours) if group else None
        peer = _find_peer(results, group, target) if group else None
        if group is None or ours is None or peer is None:
            kind = "deep-shallow" if target.is_deep else "of the same layers"
            ours_named = " or ".join(target.ours)
            found.append(f"{ours_named} against {target.peer} {kind}, batch {target.batch}")
        else:
            found.append(Comparison(target, group, ours, peer, _ratio(results, group, peer, ours)))
    return found


def states_targets(results: Results) -> bool:
    """Whether the targets are about models of this size."""
    return not results["settings"]["models"] and results["settings"]["size"] == TARGET_SIZE


def where_autoregressive_wins(results: Results) -> list[str]:
    """
    Sentences, one per group: who is faster, by how much, and what of ours loses even where our fastest wins; systems
    with a shortlist are compared with one another.

    A system is faster where it was so in every round; where rounds disagree, the sentence says that neither is.
    """
    sentences = []
    for key, place in places(results):
        sentences.append(f"{place}: {_outcome(results, key, *_sides(results, key, False)) or 'nothing to compare.'}")
        listed = _outcome(results, key, *_sides(results, key, True))
        if listed:
            sentences.append(f"{place}, with a shortlist on both sides: {listed}")
    return sentences


def _sides(results: Results, key: str, has_shortlist: bool) -> tuple[list[str], list[str]]:
    """Ours and the peers of a group, the fastest first: those with a shortlist, or those without."""
    systems, described = results["groups"][key]["systems"], results["systems"]
    names = sorted(systems, key=lambda name: systems[name]["p50_ms"])
    names = [name for name in names if described[name].get("has_shortlist", False) == has_shortlist]
    ours = [name for name in names if described[name]["is_ours"]]
    return ours, [name for name in names if name not in ours]


def _outcome(results: Results, key: str, ours: Sequence[str], peers: Sequence[str]) -> str:
    """Who wins; nothing where one side is missing."""
    if not ours or not peers:
        return ""
    best, peer = ours[0], peers[0]
    ratio = _ratio(results, key, peer, best)
    if ratio.low > 1:
        text = f"autoregressive decoding is slower. {_faster(results, key, best, peer)}."
    elif ratio.high < 1:
        text = f"autoregressive decoding is faster. {_faster(results, key, peer, best)}."
    else:
        text = f"neither is faster. {_faster(results, key, best, peer)}, and rounds disagree."
    losers = [name for name in ours if _ratio(results, key, peer, name).high < 1]
    return text + _losses(results, key, losers, peer, len(ours))


def _losses(results: Results, key: str, losers: Sequence[str], peer: str, num_ours: int) -> str:
    """What of ours the fastest peer beats: each of one pass, and the rest by number and extremes."""
    plain = [name for name in losers if results["systems"][name]["is_plain"]]
    rest = [name for name in losers if name not in plain]
    parts = [f"{_label(results, name)} ({_ratio(results, key, name, peer)})" for name in plain]
    if rest:
        medians = sorted(_ratio(results, key, name, peer).median for name in rest)
        kinds = "with more passes or length candidates"
        parts.append(f"{len(rest)} {kinds} ({medians[0]:.2f}× to {medians[-1]:.2f}×)")
    if not parts:
        return ""
    return (
        f" {_label(results, peer)} is faster than {len(losers)} of our {num_ours} systems measured here: "
        f"{'; '.join(parts)}."
    )


def _faster(results: Results, key: str, faster: str, slower: str) -> str:
    """`A is 1.20× [1.10–1.30] as fast as B`."""
    return f"{_label(results, faster)} is {_ratio(results, key, slower, faster)} as fast as {_label(results, slower)}"


def _find_group(results: Results, batch: int) -> str | None:
    for key, group in results["groups"].items():
        place = (group["device"], group["threads"], group["batch"], group["length"])
        if place == ("cpu", 1, batch, TARGET_LENGTH):
            return key
    return None


def _fastest_ours(results: Results, key: str, runtimes: Sequence[str]) -> str | None:
    measured = results["groups"][key]["systems"]
    names = [name for name in measured if _is(results["systems"][name], runtimes)]
    return min(names, key=lambda name: measured[name]["p50_ms"], default=None)


def _find_peer(results: Results, key: str, target: Target) -> str | None:
    for name in results["groups"][key]["systems"]:
        system = results["systems"][name]
        if _is(system, (target.peer,)) and system["layers"].endswith("-1") == target.is_deep:
            return name
    return None


def _is(system: Mapping[str, Any], runtimes: Sequence[str]) -> bool:
    return system["is_plain"] and system["runtime"] in runtimes


def _ratio(results: Results, key: str, slower: str, faster: str) -> Range:
    systems = results["groups"][key]["systems"]
    return ratio_range(systems[slower]["round_ms"], systems[faster]["round_ms"])


def _label(results: Results, name: str) -> str:
    """A system in words, with its quality where that is known: speed alone would mislead."""
    label = results["systems"][name]["label"]
    return f"{label} ({results['quality'][name]['bleu']:.1f} BLEU)" if name in results["quality"] else label


def _place(group: Mapping[str, Any]) -> str:
    """`cpu, 1 thread, batch 32, 20 tokens`."""
    threads = f"{group['threads']} thread{'s' * (group['threads'] > 1)}"
    batch = f"batch {group['batch']}"
    if group["batch"] == MAX_BATCH:
        batch = f"largest batch ({group['batch_size']} sentences)"
    length = "sentences of the corpus" if group["length"] is None else f"{group['length']} tokens"
    return f"{group['device']}, {threads}, {batch}, {length}"


def places(results: Results) -> Iterator[tuple[str, str]]:
    """Keys of the groups, with their description in words."""
    return ((key, _place(group)) for key, group in results["groups"].items())
