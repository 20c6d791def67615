# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A folder ready for the Hub: half-precision weights, code, tokenizer, generation config, card, figure, results."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from dims_hf._output import holding, move
from dims_hf.models.capabilities import is_non_autoregressive
from dims_hf.translation import load_checkpoint


if TYPE_CHECKING:
    from huggingface_hub import ModelCard
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

FIGURE_NAME = "quality_vs_iterations.png"

RESULTS_NAME = "results.json"

# Weights, in one file or several; their names depend on the size of the model.
_WEIGHTS = ("model*.safetensors", "model*.safetensors.index.json")


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
    usage_path: str | None = None,
) -> Path:
    """
    Writes what `push_to_hub` uploads for one trained model.

    Args:
        model_path (`str` or `Path`): trained model with its tokenizer.
        output_dir (`str` or `Path`): folder to write; files of a former export are replaced or removed, and nothing
            is touched when the export fails.
        model_id (`str`): name shown in the card.
        results (`Mapping`): results document of an evaluation that holds this model.
        system (`str`): the model's name in `results`.
        training (`Mapping`, *optional*): settings to list in the card.
        sample (`tuple[str, str]`, *optional*): a source and this model's translation; made here if `None` and given a
            source only as `(source, "")`.
        attribution, license, limits, usage_path: as [`create_model_card`].
        num_iterations (`int`, *optional*): decoder passes of the card's headline; default the generation config's.

    Returns:
        `Path`: the folder.
    """
    from dims_hf.reports import create_model_card
    from dims_hf.translation import translate
    from dims_hf.translation.loading import load_tokenizer

    tokenizer = load_tokenizer(model_path)
    model = load_checkpoint(model_path, dtype=torch.float16)
    if sample is not None and not sample[1]:
        # Half precision is for transport; processors decode in single.
        sample = (sample[0], translate(model.float().eval(), tokenizer, [sample[0]])[0].text)
        model.half()
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
        usage_path=usage_path,
    )
    return _write_folder(Path(output_dir), model, tokenizer, card, results)


def write_leaderboard_folder(
    model_path: str | Path,
    output_dir: str | Path,
    *,
    leaderboard: Mapping[str, Any],
    sources: Sequence[str],
    **card: Any,
) -> Path:
    """
    Writes what `push_to_hub` uploads for one model of a leaderboard, an autoregressive one too.

    Args:
        model_path (`str` or `Path`): trained model with its tokenizer.
        output_dir (`str` or `Path`): as for [`write_hub_folder`].
        leaderboard (`Mapping`): what `run_leaderboard` returned, with this model in it.
        sources (`Sequence[str]`): sentences whose translations the card shows.
        card (`Any`): further arguments of `create_leaderboard_card`.

    Returns:
        `Path`: the folder.

    Raises:
        ValueError: what `create_leaderboard_card` refuses, or weights other than those that were measured.
    """
    from dims_hf.reports import create_leaderboard_card, weights_checksum
    from dims_hf.translation.loading import load_tokenizer

    measured = [each["weights"] for each in leaderboard["systems"] if each["name"] == card.get("system")]
    if measured and weights_checksum(model_path) != measured[0]:
        raise ValueError(f"{model_path} has other weights than the leaderboard measured. Measure it again.")
    tokenizer = load_tokenizer(model_path)
    model = load_checkpoint(model_path, dtype="float32").eval()
    translations = _translations(model, tokenizer, sources)
    document = create_leaderboard_card(leaderboard, examples=list(zip(sources, translations, strict=True)), **card)
    return _write_folder(Path(output_dir), model.half(), tokenizer, document, None)


def _translations(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sources: Sequence[str]) -> list[str]:
    from dims_hf.data.beam_search import BeamTranslator
    from dims_hf.translation import translate

    if is_non_autoregressive(model.config):
        return [translation.text for translation in translate(model, tokenizer, sources, on_long="split")]
    return [row.text or "" for row in BeamTranslator(model, tokenizer)(sources)]


def _write_folder(
    output_dir: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    card: ModelCard,
    results: Mapping[str, Any] | None,
) -> Path:
    from dims_hf.data import save_tokenizer
    from dims_hf.reports import save_model_card

    with holding(output_dir), TemporaryDirectory(dir=output_dir, prefix=".export.") as partial:
        save_model_card(card, partial)
        save_tokenizer(tokenizer, partial)
        _save_model(model, Path(partial))
        if results is not None:
            _save_results(results, Path(partial))
        size = _replace_files(Path(partial), output_dir)
    logger.info("Wrote %s: %.1f MB.", output_dir, size / 1e6)
    return output_dir


def _save_model(model: PreTrainedModel, folder: Path) -> None:
    model.save_pretrained(folder)
    path = folder / "config.json"
    # Loading follows the config: the small weights become fp32 again, which every processor computes in.
    config = {**json.loads(path.read_text(encoding="utf-8")), "dtype": "float32"}
    path.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _save_results(results: Mapping[str, Any], folder: Path) -> None:
    from dims_hf.reports import plot_quality_versus_iterations, save_results

    save_results(results, folder / RESULTS_NAME)
    plot_quality_versus_iterations(results, folder / FIGURE_NAME)


def _replace_files(written: Path, folder: Path) -> int:
    """Moves a complete export into its folder, without what a former one left there; returns its bytes."""
    names = {path.name for path in written.iterdir()}
    size = sum(path.stat().st_size for path in written.iterdir())
    former = {*_find_code(folder), *(path for pattern in _WEIGHTS for path in folder.glob(pattern))}
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    for path in former:
        if path.name not in names:
            path.unlink(missing_ok=True)
    for name in sorted(names):
        move(written / name, folder / name)
    return size


def _find_code(folder: Path) -> set[Path]:
    """The modules that the checkpoint in a folder names as its code, and those that they import."""
    from transformers.dynamic_module_utils import get_relative_import_files

    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    pipelines = (pipeline.get("impl") for pipeline in config.get("custom_pipelines", {}).values())
    references = filter(None, [*config.get("auto_map", {}).values(), *pipelines])
    modules = {folder / f"{reference.partition('.')[0]}.py" for reference in references}
    found = {path for path in modules if path.is_file()}
    return found.union(*(map(Path, get_relative_import_files(path)) for path in found))
