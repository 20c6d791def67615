# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Fixtures of the whole suite; no test reaches the network or the user's caches."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest


# Before transformers, datasets or huggingface_hub are imported: they read these once. A cache of its own for every
# test process, so that model code copied by one run never answers for another.
_HF_HOME = tempfile.mkdtemp(prefix="dims_hf_tests_")
os.environ.update(HF_HOME=_HF_HOME, HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
for _name in ("HF_HUB_CACHE", "HF_MODULES_CACHE", "HF_DATASETS_CACHE", "HF_ENDPOINT", "HF_TOKEN"):
    os.environ.pop(_name, None)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from dims_hf import CMLMConfig, CMLMForConditionalGeneration

pytest_plugins = [
    "tests.fixtures.evaluation",
    "tests.fixtures.native",
    "tests.fixtures.processes",
    "tests.fixtures.teachers",
    "tests.fixtures.training",
    # imports from teachers, which pytest has to see first
    "tests.fixtures.encoders",
]

REPOSITORY = Path(__file__).resolve().parents[1]

_TINY_TEXTS = [
    "the small dog sees the old cat .",
    "a cat sleeps in the house today .",
    "der kleine Hund sieht die alte Katze .",
    "eine Katze schläft heute im Haus .",
]


def pytest_configure(config: pytest.Config) -> None:
    """One torch thread per test process: several run side by side, and sums come out the same everywhere."""
    import torch

    torch.set_num_threads(1)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the caches of this process."""
    shutil.rmtree(_HF_HOME, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu`, by name in the summary, where there is none."""
    import torch

    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Nothing here outlives a power cut; tests of the order of writes put a function of their own in this place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real corpora beside the checkout or in `$DIMS_HF_SHARED_DATA`; without it the test is skipped."""
    folder = Path(os.environ.get("DIMS_HF_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the corpora in {folder} are not here")
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A BPE tokenizer over four sentences, made in memory: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, `<mask>` 4."""
    from dims_hf.data import train_tokenizer

    return train_tokenizer(_TINY_TEXTS, vocab_size=120)


@pytest.fixture
def tiny_config(tiny_tokenizer: PreTrainedTokenizerFast) -> CMLMConfig:
    """A CMLM of two layers and 32 dimensions over the tiny tokenizer's vocabulary, without dropout."""
    from dims_hf import CMLMConfig

    return CMLMConfig(
        vocab_size=len(tiny_tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        dropout=0.0,
        max_position_embeddings=64,
        max_target_length=32,
    )


@pytest.fixture
def tiny_model(tiny_config: CMLMConfig) -> CMLMForConditionalGeneration:
    """A freshly initialised tiny CMLM in evaluation mode, the same weights every time."""
    import torch

    from dims_hf import CMLMForConditionalGeneration

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CMLMForConditionalGeneration(tiny_config).eval()
