# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The mean of models that were trained from the same weights: at times better than each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dims_hf._output import filling, holding
from dims_hf.data import save_tokenizer
from dims_hf.data.tokenizer import tokenizer_fingerprint
from dims_hf.trainers.checkpoints import mean_weights
from dims_hf.translation.loading import load_model


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# What a model may have of its own: how it was trained, and who wrote the file.
_OWN_SETTINGS = frozenset(
    "_name_or_path activation_dropout architectures attention_dropout auto_map dropout dtype masks_alone torch_dtype "
    "transformers_version".split()
)


def average_models(models: Sequence[str | Path], output_dir: str | Path) -> Path:
    """
    Writes the mean of models' weights, in fp32, with the tokenizer and all settings of the first.

    It makes sense for models that were trained from the same weights, on other data or in another order, or for
    checkpoints of one run.

    Source: Wortsman et al. 2022 (arXiv 2203.05482), "uniform soup".

    Args:
        models (`Sequence[str]`): folders or Hub ids, at least two. One that is named twice counts twice.
        output_dir (`str` or `Path`): a new folder.

    Returns:
        `Path`: the folder.

    Raises:
        ValueError: fewer than two models, some that differ in more than their weights, or a folder with something in
            it.
    """
    if len(models) < 2:
        raise ValueError(f"A mean needs at least two models, got {len(models)}.")
    folder = Path(output_dir).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already. Name a new folder for the mean.")
    mean, tokenizer = load_model(str(models[0]), "cpu", "float32")

    def weights() -> Iterator[dict[str, Any]]:
        # one model at a time besides the first
        yield _floating(mean)
        for place in models[1:]:
            other, its_tokenizer = load_model(str(place), "cpu", "float32")
            _check_alike(str(models[0]), (mean, tokenizer), str(place), (other, its_tokenizer))
            yield _floating(other)

    mean.load_state_dict(mean_weights(weights()), strict=False)
    with holding(folder):
        save_tokenizer(tokenizer, folder)
        with filling(folder, ".model.", last="model.safetensors") as partial:
            mean.save_pretrained(partial)
    return folder


def _floating(model: PreTrainedModel) -> dict[str, Any]:
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


def _check_alike(
    first: str,
    theirs: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    second: str,
    its: tuple[PreTrainedModel, PreTrainedTokenizerBase],
) -> None:
    """Refuses two models whose weights do not mean the same."""
    settings, others = (_settings(model) for model, _ in (theirs, its))
    differing = [name for name in {**settings, **others} if settings.get(name) != others.get(name)]
    if differing:
        name = differing[0]
        raise ValueError(
            f"{second} has {name}={others.get(name)}, and {first} {name}={settings.get(name)}. Average models of one "
            "kind and size."
        )
    fingerprints = [tokenizer_fingerprint(tokenizer) for _, tokenizer in (theirs, its)]
    if fingerprints[0] != fingerprints[1]:
        raise ValueError(
            f"{second} has another tokenizer than {first}. Average models that were trained from the same one."
        )


def _settings(model: PreTrainedModel) -> dict[str, Any]:
    return {name: value for name, value in model.config.to_dict().items() if name not in _OWN_SETTINGS}


__all__ = ["average_models"]
