# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A folder ready for the Hub: half-precision weights, code, tokenizer, generation config, card, figure, results."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch


logger = logging.getLogger(__name__)

FIGURE_NAME = "quality_vs_iterations.png"


def write_hub_folder(
    model_path: str | Path,
    output_dir: str | Path,
    *,
    model_id: str,
    results: Mapping[str, Any],
    system: str,
    training: Mapping[str, Any] | None = None,
    sample: tuple[str, str] | None = None,
    attribution: str | None = None,
    license: str = "apache-2.0",
    limits: Sequence[str] = (),
    num_iterations: int | None = None,
) -> Path:
    """
    Writes what `push_to_hub` uploads for one trained model.

    Args:
        model_path (`str` or `Path`): trained model with its tokenizer.
        output_dir (`str` or `Path`): folder to write; files of a former export are replaced.
        model_id (`str`): name shown in the card.
        results (`Mapping`): results document of an evaluation that holds this model.
        system (`str`): the model's name in `results`.
        training (`Mapping`, *optional*): settings to list in the card.
        sample (`tuple[str, str]`, *optional*): a source and this model's translation; made here if `None` and given a
            source only as `(source, "")`.
        attribution, license, limits: as [`create_model_card`].
        num_iterations (`int`, *optional*): decoder passes of the card's headline; default the generation config's.

    Returns:
        `Path`: the folder.
    """
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    from dims_hf.data import save_tokenizer
    from dims_hf.evaluation import create_model_card, plot_quality_versus_iterations, save_model_card, translate

    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(model_path, trust_remote_code=False)
    model = AutoModelForSeq2SeqLM.from_pretrained(model_path, dtype=torch.float16)
    model.save_pretrained(output_dir)
    save_tokenizer(tokenizer, output_dir)
    if sample is not None and not sample[1]:
        # Half precision is for transport; processors decode in single.
        sample = (sample[0], translate(model.float().eval(), tokenizer, [sample[0]])[0].text)
    plot_quality_versus_iterations(results, output_dir / FIGURE_NAME)
    card = create_model_card(
        results,
        model_id=model_id,
        system=system,
        num_iterations=num_iterations or model.generation_config.num_iterations,
        license=license,
        training=training,
        attribution=attribution,
        sample=sample,
        limits=limits,
        figure=FIGURE_NAME,
    )
    save_model_card(card, output_dir)
    shutil.rmtree(output_dir / "__pycache__", ignore_errors=True)
    size = sum(path.stat().st_size for path in output_dir.rglob("*") if path.is_file())
    logger.info("Wrote %s: %.1f MB.", output_dir, size / 1e6)
    return output_dir
