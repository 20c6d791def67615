# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What is benchmarked: model sizes, and the grid of batches, lengths, threads and decoding settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from dims_hf._machine import usable_cores
from dims_hf.translation.loading import find_device


# Fewer rounds have no median worth the name.
MIN_ROUNDS = 5

MAX_BATCH = "max"

# Batches from text to text: a sentence a call, and all at once, which the system sorts and cuts itself.
TEXT, BULK = "text", "bulk"
ALL_THREADS = "all"

# Ending of the designs with a deep encoder and a shallow decoder.
DEEP = "-deep"

# Fields that say which groups are measured, not how: another choice adds to a file of results.
_GRID = ("batches", "lengths", "threads", "devices", "memory", "startup", "output_dir")

# Random sentences of a bulk, in largest batches.
_BULK_BATCHES = 4


@dataclass(frozen=True)
class Size:
    """Dimensions that ours and the autoregressive peers share; `layers` each side, or `2 * layers` and 1."""

    d_model: int
    layers: int
    heads: int
    ffn_dim: int
    vocab_size: int


SIZES = {
    "base": Size(d_model=512, layers=6, heads=8, ffn_dim=2048, vocab_size=32000),
    "small": Size(d_model=256, layers=3, heads=4, ffn_dim=1024, vocab_size=32000),
    # to see the command at work
    "tiny": Size(d_model=32, layers=2, heads=2, ffn_dim=64, vocab_size=500),
}

QUICK: dict[str, Any] = {
    "size": "small",
    "iterations": (1,),
    "length_beams": (1,),
    "batches": (1, 32),
    "lengths": (20,),
    "threads": (1,),
    "without": ("torch-compiled", "marian-beam5"),
    "memory": False,
}
"""Settings of `--quick`, where the command line does not say otherwise."""


@dataclass(frozen=True)
class BenchmarkSettings:
    """
    One benchmark.

    Args:
        size (`str`): a name in `SIZES`, for random weights.
        designs (`Sequence[str]`): families with random weights, or `FAMILY-deep`: a deep encoder and a decoder of
            2 layers.
        models (`Sequence[str]`): trained checkpoints instead, ours and Marian's; they need `data`.
        data, source_lang, target_lang, split (`str`, *optional*): corpus whose sources trained models translate.
        max_examples (`int`): first sentences only.
        systems (`Sequence[str]`, *optional*): runtimes by their name in `SYSTEMS`; default: all.
        without (`Sequence[str]`): runtimes left out.
        iterations (`Sequence[int]`): decoder passes of ours.
        length_beams (`Sequence[int]`): length candidates of ours.
        peers (`Sequence[str]`, *optional*): encoder and decoder layers of random peers, such as `6-6`, `12-1`, `6-1`;
            default: as many as ours on both sides, and twice as many before one.
        batches (`Sequence[int | str]`): sentences per call; `"max"`: as many as `max_tokens` hold; `"text"` and
            `"bulk"`: from text to text, one sentence a call and all in one call.
        max_tokens (`int`): source tokens of the largest batch, `<s>` and `</s>` counted.
        lengths (`Sequence[int]`): content tokens of source and target alike, for random weights.
        threads (`Sequence[int | str]`): CPU threads; `"all"`: every core.
        devices (`Sequence[str]`, *optional*): torch devices; default: the CPU, and the GPU where there is one.
        rounds (`int`): times every system of a group is measured, in turns; at least 5.
        full_grid (`bool`): measure several passes, length beams and beam search at every length and at the largest
            batch too, and not only at the middle length and the given batches.
        memory (`bool`): measure peak memory, with a process per system.
        startup (`bool`): measure what a new process takes until it has translated a sentence.
        seed (`int`): of random weights and sources.
        output_dir (`str`): folder of results, and of exported models.

    Raises:
        ValueError: for settings that cannot be measured.
    """

    size: str = "base"
    designs: Sequence[str] = ("cmlm",)
    models: Sequence[str] = ()
    data: str | None = None
    source_lang: str | None = None
    target_lang: str | None = None
    split: str = "test"
    max_examples: int = 200
    peers: Sequence[str] | None = None
    systems: Sequence[str] | None = None
    without: Sequence[str] = ()
    iterations: Sequence[int] = (1, 2, 4, 10)
    length_beams: Sequence[int] = (1, 5)
    batches: Sequence[int | str] = (1, 8, 32, MAX_BATCH)
    max_tokens: int = 2048
    lengths: Sequence[int] = (10, 20, 40)
    threads: Sequence[int | str] = (1, ALL_THREADS)
    devices: Sequence[str] | None = None
    rounds: int = MIN_ROUNDS
    full_grid: bool = False
    memory: bool = True
    startup: bool = False
    seed: int = 1
    output_dir: str = field(default="benchmark")

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"Unknown size {self.size!r}. Choose from {', '.join(SIZES)}.")
        self._check_designs()
        for peer in self.peers or ():
            if not re.fullmatch(r"[1-9]\d*-[1-9]\d*", peer):
                raise ValueError(f"peers are called by their layers, such as 6-6 12-1 6-1, got {peer!r}.")
        if self.rounds < MIN_ROUNDS:
            raise ValueError(f"rounds must be >= {MIN_ROUNDS}, got {self.rounds}. Fewer have no median to speak of.")
        for name in ("iterations", "length_beams", "lengths", "batches", "threads"):
            self._check_counts(name)
        if self.max_tokens < 1 or self.max_examples < 1:
            raise ValueError(f"max_tokens and max_examples must be >= 1, got {self.max_tokens}, {self.max_examples}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be between 0 and {2**32 - 1}, got {self.seed}.")
        for device in self.devices or ():
            find_device(device)
        if bool(self.models) != (self.data is not None):
            raise ValueError("Trained models are timed on real sentences. Give --model and --data together.")

    def _check_designs(self) -> None:
        from dims_hf.models import MODELS

        known = [f"{family}{ending}" for family in MODELS for ending in ("", DEEP)]
        unknown = [design for design in self.designs if design not in known]
        if unknown or not self.designs or len(set(self.designs)) < len(self.designs):
            raise ValueError(f"designs must be some of {', '.join(known)}, once each, got {', '.join(self.designs)}.")

    def _check_counts(self, name: str) -> None:
        words = {"batches": (MAX_BATCH, TEXT, BULK), "threads": (ALL_THREADS,)}.get(name, ())
        values = [value for value in getattr(self, name) if value not in words]
        if not getattr(self, name) or any(not isinstance(value, int) or value < 1 for value in values):
            hint = f" Use numbers from 1 on{f', or {words[0]}' if words else ''}."
            hint += f" {TEXT} and {BULK} go from text to text." if TEXT in words else ""
            raise ValueError(f"{name} must be numbers >= 1, got {list(getattr(self, name))}.{hint}")

    @property
    def middle_length(self) -> int:
        """The length that everything is measured at."""
        return 20 if 20 in self.lengths else sorted(self.lengths)[len(self.lengths) // 2]

    def batch_size(self, batch: int | str, length: int) -> int:
        """Sentences of a batch of `length` content tokens each."""
        largest = max(1, self.max_tokens // (length + 2))
        sizes = {MAX_BATCH: largest, TEXT: 1, BULK: _BULK_BATCHES * largest}
        return sizes[batch] if isinstance(batch, str) else batch

    def places(self) -> list[tuple[str, int]]:
        """Devices with their numbers of CPU threads; a GPU is fed by all of them."""
        cores = usable_cores()
        devices = self.devices or ("cpu", *(["cuda"] if torch.cuda.is_available() else []))
        counts = list(dict.fromkeys(cores if count == ALL_THREADS else int(count) for count in self.threads))
        return [(device, count) for device in devices for count in (counts if device == "cpu" else [cores])]

    def identity(self) -> dict[str, Any]:
        """What a file of results must agree in to be added to, as JSON has it."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _GRID}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
