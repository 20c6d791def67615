# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The systems of a benchmark: runtimes by name, crossed with models, decoder passes and length beams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dims_hf.benchmark.settings import BenchmarkSettings
from dims_hf.benchmark.translators import (
    Situation,
    Translator,
    expected_listed_ids,
    open_ctranslate2,
    open_marian,
    open_native,
    open_onnx,
    open_ours,
    save_model,
)
from dims_hf.benchmark.weights import MARIAN, OURS, Weights
from dims_hf.benchmark.work import (
    Work,
    count_autoregressive,
    count_by_running,
    count_one_shot,
    predicted_alignment_positions,
    predicted_positions,
)


@dataclass(frozen=True)
class Runtime:
    """
    What runs models of a family.

    Args:
        label (`str`): in tables and sentences.
        family (`str`): of models.
        precision (`str`): of the weights; a key of `BYTES_PER_WEIGHT`.
        open (`Callable`): opens a model, or raises `UnavailableError`.
        num_beams (`int`): of autoregressive search; 1 is greedy.
        device_type (`str`, *optional*): the only kind of device it is measured on.
        has_shortlist (`bool`): it looks at ids listed for each source, not at the whole vocabulary.
    """

    label: str
    family: str
    precision: str
    open: Callable[[Weights, Situation], Translator]
    num_beams: int = 1
    device_type: str | None = None
    has_shortlist: bool = False


# name -> runtime
SYSTEMS: dict[str, Runtime] = {
    "torch-fp32": Runtime("torch fp32", OURS, "fp32", open_ours),
    "torch-fp32-packed": Runtime(
        "torch fp32 with packed weights", OURS, "fp32", partial(open_ours, precision="packed"), device_type="cpu"
    ),
    "torch-bf16": Runtime("torch bf16", OURS, "bf16", partial(open_ours, precision="bf16")),
    "torch-compiled": Runtime("torch fp32 compiled", OURS, "fp32", partial(open_ours, precision="compiled")),
    "torch-int8": Runtime("torch int8", OURS, "int8", partial(open_ours, precision="int8"), device_type="cpu"),
    "onnx-fp32": Runtime("ONNX fp32", OURS, "fp32", open_onnx, device_type="cpu"),
    "onnx-int8": Runtime("ONNX int8", OURS, "int8", partial(open_onnx, precision="int8"), device_type="cpu"),
    "onnx-int8-shortlist": Runtime(
        "ONNX int8 with a random shortlist",
        OURS,
        "int8",
        partial(open_onnx, precision="int8", has_shortlist=True),
        device_type="cpu",
        has_shortlist=True,
    ),
    "native-int8": Runtime("native int8", OURS, "int8", open_native, device_type="cpu"),
    "native-int8-shortlist": Runtime(
        "native int8 with a random shortlist",
        OURS,
        "int8",
        partial(open_native, has_shortlist=True),
        device_type="cpu",
        has_shortlist=True,
    ),
    "marian-greedy": Runtime("transformers Marian greedy", MARIAN, "fp32", open_marian),
    "marian-beam5": Runtime("transformers Marian beam 5", MARIAN, "fp32", open_marian, num_beams=5),
    "marian-greedy-bf16": Runtime(
        "transformers Marian greedy bf16", MARIAN, "bf16", partial(open_marian, precision="bf16"), device_type="cuda"
    ),
    "ctranslate2-fp32": Runtime("CTranslate2 fp32", MARIAN, "fp32", open_ctranslate2),
    "ctranslate2-fp16": Runtime(
        "CTranslate2 fp16", MARIAN, "fp16", partial(open_ctranslate2, precision="fp16"), device_type="cuda"
    ),
    "ctranslate2-int8": Runtime("CTranslate2 int8", MARIAN, "int8", partial(open_ctranslate2, precision="int8")),
    "ctranslate2-int8-shortlist": Runtime(
        "CTranslate2 int8 with a random shortlist",
        MARIAN,
        "int8",
        partial(open_ctranslate2, precision="int8", has_shortlist=True),
        device_type="cpu",
        has_shortlist=True,
    ),
}


@dataclass(frozen=True)
class System:
    """One row of the results: a model in a runtime, with its decoding settings."""

    runtime_name: str
    weights: Weights
    num_iterations: int = 1
    length_beam_size: int = 1

    @property
    def runtime(self) -> Runtime:
        """What runs it."""
        return SYSTEMS[self.runtime_name]

    @property
    def is_ours(self) -> bool:
        """Whether it is not autoregressive."""
        return self.runtime.family == OURS

    @property
    def is_plain(self) -> bool:
        """One pass with one length candidate, or greedy search."""
        return self.num_iterations == self.length_beam_size == self.runtime.num_beams == 1

    @property
    def name(self) -> str:
        """`ours torch-fp32 1x1` (passes x length candidates), `ctranslate2-int8 12-1`; with a trained model's name."""
        if self.is_ours:
            return f"{self.weights.name or OURS} {self.runtime_name} {self.num_iterations}x{self.length_beam_size}"
        return f"{self.runtime_name} {self.weights.name}"

    @property
    def label(self) -> str:
        """The name in words."""
        if not self.is_ours:
            return f"{self.runtime.label} {self.weights.name}"
        passes = "one pass" if self.num_iterations == 1 else f"{self.num_iterations} passes"
        beam = f", length beam {self.length_beam_size}" if self.length_beam_size > 1 else ""
        return " ".join(filter(None, (self.weights.name, f"{passes}{beam}, {self.runtime.label}")))

    def open(self, device: str, threads: int, forced_tokens: int | None, folder: Path) -> Translator:
        """Loads it, or raises `UnavailableError`."""
        decoding = (self.num_iterations, self.length_beam_size, self.runtime.num_beams)
        return self.runtime.open(self.weights, Situation(device, threads, forced_tokens, *decoding, folder))

    def save(self, folder: Path) -> Path:
        """
        Folder of the model as a command of its runtime takes it.

        Raises:
            UnavailableError: a runtime that no command starts.
        """
        return save_model(self.runtime_name, self.weights, folder)

    def work(self, batch_size: float, source_tokens: float, num_tokens: float) -> Work:
        """
        What a batch cannot do without.

        Args:
            batch_size (`float`): sentences.
            source_tokens (`float`): mean tokens of a source, `<s>` and `</s>` counted.
            num_tokens (`float`): mean content tokens of a translation. An autoregressive model that is not forced to a
                length makes one step more, for `</s>`.
        """
        count = max(1, round(num_tokens))
        if not self.weights.has_formula:
            return self._count_by_running(batch_size, source_tokens, count)
        dimensions = self.weights.dimensions
        if self.runtime.has_shortlist:
            dimensions = replace(dimensions, vocab_size=expected_listed_ids(dimensions.vocab_size, source_tokens))
        if not self.is_ours:
            steps, beams = count + (not self.weights.is_random), self.runtime.num_beams
            return count_autoregressive(dimensions, source_tokens, steps, batch_size=batch_size, num_beams=beams)
        positions, predicted = self._positions(source_tokens, count)
        return count_one_shot(
            dimensions,
            source_tokens,
            positions,
            batch_size=batch_size,
            predicted=predicted,
            num_candidates=self.length_beam_size,
        )

    def _count_by_running(self, batch_size: float, source_tokens: float, num_tokens: int) -> Work:
        """By running a translation of as many tokens; random weights alone can be told to predict them in a beam."""
        options = {"num_iterations": self.num_iterations, "length_beam_size": self.length_beam_size}
        forced = num_tokens if self.weights.predicts_length else None
        is_beam = self.length_beam_size > 1
        made_for = forced if is_beam and self.weights.is_random else None
        model = self.weights.share(("counted", made_for), lambda: self.weights.make(made_for))
        given = None if is_beam else forced
        return count_by_running(model, source_tokens, batch_size=batch_size, num_tokens=given, **options)

    def _positions(self, source_tokens: float, num_tokens: int) -> tuple[int, list[int]]:
        """Positions per sentence that the decoder of ours sees, and how many of them each pass predicts."""
        config = self.weights.config
        passes = {"num_iterations": self.num_iterations, "all_positions": config.update_all_positions}
        if self.weights.predicts_length:
            return num_tokens + 2, predicted_positions(num_tokens, **passes)
        num_positions = round(config.upsample_ratio * source_tokens)
        return num_positions, predicted_alignment_positions(num_positions, **passes)


def make_systems(settings: BenchmarkSettings, weights: Sequence[Weights]) -> list[System]:
    """
    Every system that is asked for, ours first.

    Raises:
        ValueError: for a runtime that does not exist, or when nothing is left.
    """
    unknown = sorted({*(settings.systems or ()), *settings.without} - set(SYSTEMS))
    if unknown:
        raise ValueError(f"Unknown systems {', '.join(unknown)}. Choose from {', '.join(SYSTEMS)}.")
    names = [name for name in settings.systems or SYSTEMS if name not in settings.without]
    systems = []
    for name in names:
        for model in (model for model in weights if model.family == SYSTEMS[name].family):
            if model.family == MARIAN:
                systems.append(System(name, model))
            else:
                systems += [System(name, model, k, n) for n in settings.length_beams for k in settings.iterations]
    if not systems:
        raise ValueError("No system is left to measure. Give --systems for the models you have.")
    return systems
