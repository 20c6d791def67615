# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Ratios against autoregressive peers, taken round by round: stated aims, and the fastest of either side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dims_hf.benchmark.settings import BULK, MAX_BATCH, TEXT
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


_TORCH = ("torch-fp32-packed", "torch-fp32")
_INT8 = ("native-int8", "onnx-int8", "torch-int8")

TARGETS = (
    Target(_TORCH, "marian-greedy", False, 1, 5.0, 8.0),
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


@dataclass(frozen=True)
class Duel:
    """
    Our fastest system of a group against the fastest autoregressive one; those with a shortlist apart.

    Args:
        place (`str`): the group in words.
        ours, peer (`str`): names of the systems.
        ratio ([`Range`]): how many times faster ours is, over the rounds.
        losing (`int`), of (`int`): how many of our systems are slower than that peer in every round, and of how many.
        has_shortlist (`bool`): both look at listed ids alone.
    """

    place: str
    ours: str
    peer: str
    ratio: Range
    losing: int
    of: int
    has_shortlist: bool = False

    @property
    def winner(self) -> str:
        """Who was faster in every round; `neither` where rounds disagree."""
        return "ours" if self.ratio.low > 1 else "autoregressive" if self.ratio.high < 1 else "neither"


def compare_fastest(results: Results) -> list[Duel]:
    """The fastest of either side in every group that has both, and once more for systems with a shortlist."""
    duels = []
    for key, place in places(results):
        for has_shortlist in (False, True):
            ours, peers = _sides(results, key, has_shortlist)
            if ours and peers:
                peer = peers[0]
                losing = sum(_ratio(results, key, peer, name).high < 1 for name in ours)
                ratio = _ratio(results, key, peer, ours[0])
                duels.append(Duel(place, ours[0], peer, ratio, losing, len(ours), has_shortlist))
    return duels


def _sides(results: Results, key: str, has_shortlist: bool) -> tuple[list[str], list[str]]:
    """Ours and the peers of a group, the fastest first: those with a shortlist, or those without."""
    systems, described = results["groups"][key]["systems"], results["systems"]
    names = sorted(systems, key=lambda name: systems[name]["p50_ms"])
    names = [name for name in names if described[name].get("has_shortlist", False) == has_shortlist]
    ours = [name for name in names if described[name]["is_ours"]]
    return ours, [name for name in names if name not in ours]


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
    described = results["systems"]
    names = [name for name in results["groups"][key]["systems"] if _is(described[name], (target.peer,))]
    names = [name for name in names if described[name]["layers"].endswith("-1") == target.is_deep]
    # of several encoders before one layer, the deepest
    return max(names, key=lambda name: int(described[name]["layers"].split("-")[0]), default=None)


def _is(system: Mapping[str, Any], runtimes: Sequence[str]) -> bool:
    return system["is_plain"] and system["runtime"] in runtimes


def _ratio(results: Results, key: str, slower: str, faster: str) -> Range:
    systems = results["groups"][key]["systems"]
    return ratio_range(systems[slower]["round_ms"], systems[faster]["round_ms"])


def label(results: Results, name: str) -> str:
    """A system in words, with its quality where that is known: speed alone would mislead."""
    words, quality = results["systems"][name]["label"], results["quality"].get(name)
    return f"{words} ({quality['bleu']:.1f} BLEU)" if quality else words


def _place(group: Mapping[str, Any]) -> str:
    """`cpu, 1 thread, batch 32, 20 tokens`."""
    threads = f"{group['threads']} thread{'s' * (group['threads'] > 1)}"
    batch = f"batch {group['batch']}"
    words = {TEXT: "text to text, a sentence a call", BULK: f"text to text, {group['batch_size']} sentences in bulk"}
    if group["batch"] in words:
        batch = words[group["batch"]]
    elif group["batch"] == MAX_BATCH:
        batch = f"largest batch ({group['batch_size']} sentences)"
    length = "sentences of the corpus" if group["length"] is None else f"{group['length']} tokens"
    return f"{group['device']}, {threads}, {batch}, {length}"


def places(results: Results) -> Iterator[tuple[str, str]]:
    """Keys of the groups, with their description in words."""
    return ((key, _place(group)) for key, group in results["groups"].items())
