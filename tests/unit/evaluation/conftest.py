# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A translator without a network, and a results document with round numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from dims_hf import CMLMConfig, ImputerConfig, ImputerForConditionalGeneration


class EchoModel(torch.nn.Module):
    """Writes the source back, its first content token twice; what it writes depends on the row alone."""

    def __init__(self, max_position_embeddings: int = 64) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.config = SimpleNamespace(max_position_embeddings=max_position_embeddings, max_target_length=64)
        self.calls: list[dict[str, Any]] = []

    @property
    def device(self) -> torch.device:
        return self.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    def generate(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        *,
        num_iterations: int = 10,
        length_beam_size: int = 1,
        target_lengths: torch.Tensor | None = None,
        collapse_repeats: bool = True,
        return_dict_in_generate: bool = False,
    ) -> SimpleNamespace:
        assert not collapse_repeats and return_dict_in_generate
        self.calls.append(
            {
                "shape": tuple(input_ids.shape),
                "num_iterations": num_iterations,
                "length_beam_size": length_beam_size,
                "target_lengths": None if target_lengths is None else target_lengths.tolist(),
                "training": self.training,
                "inference": torch.is_inference_mode_enabled(),
            }
        )
        rows = [ids[mask.bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)]
        outputs = [[row[0], row[1], *row[1:]] for row in rows]
        width = max(map(len, outputs))
        sequences = torch.tensor([row + [1] * (width - len(row)) for row in outputs])
        scores = torch.tensor([-float(sum(row)) / len(row) for row in outputs])
        return SimpleNamespace(sequences=sequences, sequences_scores=scores)


@pytest.fixture
def tiny_imputer(tiny_config: CMLMConfig) -> ImputerForConditionalGeneration:
    """A freshly initialised tiny Imputer in evaluation mode, the same weights every time."""
    fields = {
        name: value for name, value in tiny_config.to_dict().items() if name in ImputerConfig.__dataclass_fields__
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ImputerForConditionalGeneration(ImputerConfig(**{**fields, "initializer_range": 0.4})).eval()


@pytest.fixture
def echo_model() -> EchoModel:
    """A fresh echo."""
    return EchoModel()


@pytest.fixture(scope="session")
def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word, so that lengths can be counted by eye."""
    words = "the small dog sees old cat . a sleeps in house today".split()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(specials + words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), specials, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)


@pytest.fixture
def sources() -> list[str]:
    """Six sentences of five lengths."""
    return [
        "the small dog sees the old cat .",
        "a cat .",
        "a cat sleeps in the house today .",
        "the dog sees a cat .",
        "the old dog sees .",
        "a dog sees the house .",
    ]


def make_record(num_iterations: int, bleu: float, *, oracle_length: bool = False, **fields: Any) -> dict[str, Any]:
    return {
        "num_iterations": num_iterations,
        "length_beam_size": 1,
        "oracle_length": oracle_length,
        "collapse_repeats": True,
        "max_tokens_per_batch": 4096,
        "num_sentences": 500,
        "bleu": bleu,
        "bleu_signature": "nrefs:1|tok:13a",
        "chrf": bleu + 20,
        "chrf_signature": "nrefs:1|nc:6",
        "legacy_bleu": bleu - 1,
        "legacy_bleu_signature": "nrefs:1|tok:words-and-marks",
        "repeated_tokens": 0.125,
        "repeated_sentences": 0.5,
        "milliseconds_per_sentence": 1.5 * num_iterations,
        "sentences_per_batch": 100.0,
        "subsets": {"near=0": {"num_sentences": 300, "bleu": bleu - 5, "chrf": bleu + 15}},
        **fields,
    }


@pytest.fixture
def results() -> dict[str, Any]:
    """A teacher at 1, 2, 4, 10 iterations, and at 10 by reference lengths; a student at 1 that closes 8 of 10 BLEU."""
    length = dict.fromkeys(("length_accuracy", "length_within_1", "length_within_2", "length_top_5"), 0.5)
    validity = {"valid": 0.5, "valid_before_collapse": 0.25, "mixture_before_collapse": 0.125}
    teacher = [make_record(count, bleu, **validity) for count, bleu in ((1, 20.0), (2, 25.0), (4, 28.0), (10, 30.0))]
    teacher.append(make_record(10, 31.0, oracle_length=True, **validity))
    common = {"num_parameters": 6_100_000, "dtype": "float32", "device": "cpu", "length": length}
    systems = {"teacher@10": {"bleu": 30.0}, "student@1": {"bleu": 28.0, "bleu_p_value": 0.004}}
    return {
        "schema_version": 1,
        "task": {
            "data": "phrasebook",
            "source_lang": "en",
            "target_lang": "de",
            "split": "test",
            "num_sentences": 500,
            "fingerprint": "0123456789ab",
        },
        "systems": [
            {"name": "teacher", "model": "teacher", **common, "records": teacher},
            {"name": "student", "model": "student", **common, "records": [make_record(1, 28.0, **validity)]},
        ],
        "gap_closed": {
            "metric": "bleu",
            "length_beam_size": 1,
            "teacher_one": 20.0,
            "teacher_most": 30.0,
            "most_iterations": 10,
            "student_one": 28.0,
            "gap": 10.0,
            "closed": 0.8,
        },
        "comparisons": [{"baseline": "teacher@10", "num_samples": 1000, "seed": 12345, "systems": systems}],
        "provenance": {
            "command": "evaluate.py --student student",
            "git_commit": None,
            "seed": 1,
            "hardware": "a processor, 2 cores",
            "num_threads": 2,
            "python": "3.11.7",
            "versions": {"torch": "2.6.0", "transformers": "5.13.0"},
            "created": "2026-01-01T00:00:00Z",
        },
    }
