# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`export_onnx`: writes the folder of an ONNX export, verified against PyTorch; nothing is left where it differs."""

from __future__ import annotations

import importlib.metadata
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dims_hf._output import holding
from dims_hf.models.capabilities import has_pretrained_encoder

from .folders import (
    MAX_VERIFIED,
    SAMPLE_SENTENCES,
    add_tokenizer,
    blank_penalty,
    check_model,
    check_output_dir,
    fitting,
    making_folder,
    move_folder,
    write_description,
)
from .onnx_builder import IR_VERSION, LISTED_GROUP, OPSET, WeightStore
from .onnx_graphs import GRAPHS, TranslationGraph, make_graphs, save_graphs
from .onnx_tracing import TracedGraph, save_graphs as save_traced, trace_graphs
from .onnx_translator import OnnxTranslator
from .onnx_verification import verify
from .quality import described_scores, outputs_of, score_systems
from .standalone import standalone_source


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .shortlist import Shortlist

logger = logging.getLogger(__name__)

WEIGHTS_NAME, TRANSLATOR_NAME = "weights.bin", "onnx_translator.py"
SHORTLIST_NAME = "shortlist.npz"

GRAPH_KINDS = ("auto", "traced", "built")

# Decoding rules that the translator follows, where the model's strategy knows them.
RULES = (
    "length_score_weight",
    "repeat_penalty",
    "prefix_beam_size",
    "language_model_weight",
    "token_bonus",
)

# Sentences per batch of a comparison.
_BATCH_SIZE = 32

# A larger loss of BLEU is said to be one.
_ACCEPTED_LOSS = 0.3


def export_onnx(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    output_dir: str | os.PathLike[str],
    *,
    int8: bool = False,
    num_iterations: int | None = None,
    sentences: Sequence[str] = (),
    references: Sequence[str] | None = None,
    shortlist: Shortlist | None = None,
    graph: str = "auto",
    name: str = "model",
    overwrite: bool = False,
) -> dict[str, Any]:
    """
    Writes a folder that translates with ONNX Runtime alone, after comparing it with PyTorch token for token.

    Graphs of any family are traced: an encoder, and the start, a step and the finish of its strategy (see
    [`trace_graphs`](export.onnx_tracing.trace_graphs)). Those of CMLM, CMLMC and Imputer are also built by hand, and
    1.3 to 2.8 times as fast (figures: `docs/onnx.md`): one graph for one pass (`model.onnx`), an encoder and a
    decoder (`encoder.onnx`, `decoder.onnx`) for several. With `int8`, the fp32 graphs are verified first, and the int8
    ones compared with them.

    Args:
        model (`PreTrainedModel`): a translation model of this package, or of a family registered with it, on the CPU
            in fp32.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer, with a `tokenizer.json`.
        output_dir (`str` or `os.PathLike`): folder to write, whole or not at all.
        int8 (`bool`, *optional*): 8-bit weights, and 8-bit activations with a scale of their own for every token.
        num_iterations (`int`, *optional*): decoder passes; the model's generation config decides when `None`.
        sentences (`Sequence[str]`, *optional*): sources to verify on, beside random ids and built-in sentences.
        references (`Sequence[str]`, *optional*): their translations; BLEU is then measured on all `sentences`.
        shortlist ([`Shortlist`], *optional*): the graphs project on the ids it lists for a source alone. They are
            verified on the whole vocabulary, and what the shortlist changes is measured. For hand-built graphs alone.
        graph (`str`): "traced", "built", or "auto": the hand-built one where the family has one.
        name (`str`): the model's name in `export.json` and the card.
        overwrite (`bool`, *optional*): replace a former export.

    Returns:
        `dict[str, Any]`: what `export.json` holds.

    Raises:
        ValueError: the graphs do not give PyTorch's tokens, and rounding does not explain it; the family cannot be
            traced, or `output_dir` is taken.
    """
    output_dir = Path(output_dir)
    check_output_dir(output_dir, overwrite=overwrite)
    check_model(model)
    passes = model.generation_config.num_iterations if num_iterations is None else num_iterations
    if passes < 1:
        raise ValueError(f"num_iterations must be >= 1, got {passes}. Use 1 for a graph of a single pass.")
    kind = choose_graph(model, graph, has_shortlist=shortlist is not None)
    traced = trace_graphs(model) if kind == "traced" else None
    with holding(output_dir, beside=True), making_folder(output_dir) as temporary:
        systems = {}
        for precision in ("fp32", "int8") if int8 else ("fp32",):
            folder = Path(temporary, precision)
            is_int8 = precision == "int8"
            if traced is not None:
                written = write_traced(model, folder, traced, num_iterations=passes, int8=is_int8)
            else:
                written = write_graphs(model, folder, num_iterations=passes, int8=is_int8, shortlist=shortlist)
            _add_text_files(folder, tokenizer)
            # what is verified is what users run, read back from the disk
            systems[precision] = OnnxTranslator(folder, shortlist=False)
            if precision == "fp32":
                samples = fitting(systems["fp32"], [*SAMPLE_SENTENCES, *sentences])
                verified = verify(model, tokenizer, systems["fp32"], samples[: len(SAMPLE_SENTENCES) + MAX_VERIFIED])
        description = {"name": name, **written, "verification": verified}
        if int8:
            description["agreement"] = agreement(systems["fp32"], systems["int8"], samples)
        if shortlist is not None:
            systems[f"{precision}-shortlist"] = shortened = OnnxTranslator(folder)
            description["shortlist"]["mean_listed_ids"] = mean_listed_ids(shortened, samples)
            description["shortlist"]["agreement"] = agreement(systems[precision], shortened, samples)
        if references is not None:
            description["quality"] = measure_quality(systems, sentences, references)
        _finish(folder, description)
        move_folder(folder, output_dir)
    return description


def write_graphs(
    model: PreTrainedModel,
    folder: str | os.PathLike[str],
    *,
    num_iterations: int,
    int8: bool = False,
    shortlist: Shortlist | None = None,
) -> dict[str, Any]:
    """
    Writes hand-built graphs of a model and what [`OnnxTranslator.generate`] needs to run them, without any check.

    Args:
        model (`PreTrainedModel`): a CMLM, CMLMC or Imputer in fp32.
        folder (`str` or `os.PathLike`): made if it does not exist.
        num_iterations (`int`): decoder passes; 1 gives one graph.
        int8 (`bool`, *optional*), shortlist ([`Shortlist`], *optional*): as for [`export_onnx`].

    Returns:
        `dict`: names of the graphs, settings and versions, as in `export.json`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    store = WeightStore(WEIGHTS_NAME)
    builders = make_graphs(
        model, store, one_pass=num_iterations == 1, quantized=int8, has_shortlist=shortlist is not None
    )
    save_graphs(builders, store, folder)
    settings = {**_settings(model, num_iterations), **GRAPHS[model.config.model_type].settings(model)}
    description = _describe(model, list(builders), settings, int8=int8, opset=OPSET, ir_version=IR_VERSION)
    if shortlist is not None:
        shortlist.save(folder / SHORTLIST_NAME)
        description["shortlist"] = {
            "file": SHORTLIST_NAME,
            "multiple_of": LISTED_GROUP,
            "num_always": len(shortlist.always),
            **shortlist.settings,
        }
    write_description(folder, description)
    return description


def choose_graph(model: PreTrainedModel, graph: str, *, has_shortlist: bool = False) -> str:
    """
    "built" or "traced".

    Raises:
        ValueError: for another choice, and for hand-built graphs, or a shortlist, of a family that has none.
    """
    if graph not in GRAPH_KINDS:
        raise ValueError(f"graph must be one of {', '.join(GRAPH_KINDS)}, got {graph!r}.")
    family, is_built = model.config.model_type, model.config.model_type in GRAPHS
    if has_pretrained_encoder(model.config):
        family, is_built = f"{family} with a pre-trained encoder", False
    if graph == "built" and not is_built:
        raise ValueError(
            f"Graphs of {family!r} are not built by hand, only those of {', '.join(GRAPHS)}. Use graph='traced'."
        )
    if has_shortlist and blank_penalty(model):
        raise ValueError("A shortlist does not go with a blank_penalty. Leave out one of the two.")
    kind = ("built" if is_built else "traced") if graph == "auto" else graph
    if kind == "traced" and has_shortlist:
        raise ValueError(
            f"Traced graphs project on the whole vocabulary. Leave out the shortlist"
            f"{' and graph=traced' if is_built else f' for {family!r}'}."
        )
    return kind


def write_traced(
    model: PreTrainedModel,
    folder: str | os.PathLike[str],
    traced: Mapping[str, TracedGraph] | None = None,
    *,
    num_iterations: int,
    int8: bool = False,
) -> dict[str, Any]:
    """
    Writes traced graphs of a model and what [`OnnxTranslator.generate`] needs to run them, without any check.

    Args:
        model (`PreTrainedModel`): a translation model in fp32.
        folder (`str` or `os.PathLike`): made if it does not exist.
        traced (`dict[str, TracedGraph]`, *optional*): its graphs, where they are traced already; int8 changes them.
        num_iterations (`int`): decoder passes unless the translator is told otherwise.
        int8 (`bool`, *optional*): as for [`export_onnx`].

    Returns:
        `dict`: as [`write_graphs`].
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    traced = trace_graphs(model) if traced is None else traced
    save_traced(traced, WeightStore(WEIGHTS_NAME), folder, int8=int8)
    config, decoding = model.config, model.decoding_settings()
    settings = {
        **_settings(model, num_iterations),
        "predicts_length": config.predicts_length,
        "max_source_length": config.max_source_length,
        "by_row": sorted({name for graph in traced.values() for name in graph.by_row}),
        **({"blank_token_id": config.blank_token_id} if config.writes_alignments else {}),
        # a search that is made outside of the graphs needs to know how
        **({} if "finish" in traced else {name: getattr(decoding, name) for name in decoding.searched}),
        **({"source_vocab_size": config.source_vocab_size} if has_pretrained_encoder(config) else {}),
        **(TranslationGraph.length_bounds(config) if config.predicts_length else {}),
    }
    some = next(iter(traced.values())).model
    versions = {"opset": some.opset_imports[""], "ir_version": some.ir_version}
    description = _describe(model, list(traced), settings, int8=int8, **versions)
    write_description(folder, description)
    return description


def _add_text_files(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    add_tokenizer(folder, tokenizer)
    (folder / TRANSLATOR_NAME).write_text(standalone_source(), encoding="utf-8")


def _describe(
    model: PreTrainedModel, graphs: Sequence[str], settings: dict[str, Any], *, int8: bool, opset: int, ir_version: int
) -> dict[str, Any]:
    return {
        "model_type": model.config.model_type,
        "precision": "int8" if int8 else "fp32",
        "graphs": {name: f"{name}.onnx" for name in graphs},
        "settings": settings,
        "opset": opset,
        "ir_version": ir_version,
        "versions": {package: importlib.metadata.version(package) for package in ("onnx", "onnxruntime", "torch")},
    }


def _settings(model: PreTrainedModel, num_iterations: int) -> dict[str, Any]:
    config, decoding = model.config, model.decoding_settings()
    names = ("bos", "pad", "eos", "mask")
    followed = set(decoding.names()) - set(decoding.refused)
    rules = {rule: getattr(decoding, rule) for rule in RULES if rule in followed}
    return {
        "num_iterations": num_iterations,
        "length_beam_size": decoding.length_beam_size,
        "collapse_repeats": decoding.collapse_repeats,
        "empty_token_id": config.empty_token_id,
        # JSON knows no infinity
        **{rule: str(value) if value == math.inf else value for rule, value in rules.items()},
        **{f"{name}_token_id": getattr(config, f"{name}_token_id") for name in names},
        "suppressed_token_ids": model.suppressed_token_ids(),
        # for the reader: it is in the graphs
        **({"blank_penalty": penalty} if (penalty := blank_penalty(model)) else {}),
        "update_all_positions": config.update_all_positions,
        "max_position_embeddings": config.max_position_embeddings,
        "vocab_size": config.vocab_size,
    }


def agreement(exact: OnnxTranslator, other: OnnxTranslator, sentences: Sequence[str]) -> dict[str, float]:
    """
    How often int8 agrees with fp32, or a shortlist with the whole vocabulary.

    Args:
        exact, other ([`OnnxTranslator`]): what is compared with, and what is compared.
        sentences (`Sequence[str]`): sources.

    Returns:
        `dict`: share of `sentences` with the same text, of translations of the same number of tokens (`lengths`), and
        of `tokens` that are the same when the second decodes at the lengths of the first, in the alignments of an
        Imputer, or place by place where a model has neither.
    """
    texts, lengths, tokens = [], [], []
    for start in range(0, len(sentences), _BATCH_SIZE):
        chunk = sentences[start : start + _BATCH_SIZE]
        batch = exact.pad(exact.encode(chunk))
        first, second = exact.generate(*batch)[0], other.generate(*batch)[0]
        sizes = [(row != exact.settings["pad_token_id"]).sum(axis=1) for row in (first, second)]
        if exact.predicts_length:
            tokens.extend(_same_tokens(first, sizes[0], other, batch))
        elif exact.writes_alignments:
            tokens.extend(_same_places(*(translator.align(*batch) for translator in (exact, other)), exact))
        else:
            tokens.extend(_same_places(first, second, exact))
        lengths.extend((sizes[0] == sizes[1]).tolist())
        texts.extend(a == b for a, b in zip(exact.decode(first), other.decode(second)))
    shares = {"sentences": texts, "lengths": lengths, "tokens": tokens}
    return {"num_sentences": len(sentences), **{name: float(np.mean(values)) for name, values in shares.items()}}


def _same_tokens(
    sequences: np.ndarray, sizes: np.ndarray, other: OnnxTranslator, batch: tuple[np.ndarray, np.ndarray]
) -> list[bool]:
    """Whether `other` writes the same at each content token of sequences (B, T) of `sizes` (B,), at their lengths."""
    # at the same lengths: else one early difference would count for all tokens after it
    forced = other.generate(*batch, target_lengths=sizes - 2, length_beam_size=1)[0]
    is_content = np.arange(sequences.shape[1]) < (sizes - 1)[:, None]
    is_content[:, 0] = False
    return (sequences == forced)[is_content].tolist()


def _same_places(first: np.ndarray, second: np.ndarray, translator: OnnxTranslator) -> list[bool]:
    """Whether two sequences have the same at each place where one of them is no padding: blanks are something."""
    pad, width = translator.settings["pad_token_id"], max(first.shape[1], second.shape[1])
    first, second = (
        np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=pad) for rows in (first, second)
    )
    return (first == second)[(first != pad) | (second != pad)].tolist()


def mean_listed_ids(translator: OnnxTranslator, sentences: Sequence[str]) -> float:
    """Target ids that a sentence on its own is projected on, in the mean; padding of the shortlist excluded."""
    rows = translator.encode(sentences)
    return float(np.mean([translator.listed_ids(np.array([row]))["is_listed"].sum() for row in rows]))


def measure_quality(
    systems: Mapping[str, OnnxTranslator], sources: Sequence[str], references: Sequence[str]
) -> dict[str, Any]:
    """Scores of every system, and what int8 and a shortlist change."""
    quality = score_systems({name: outputs_of(each, sources) for name, each in systems.items()}, references)
    scores = quality["bleu"]
    if "int8" in scores:
        quality["bleu_change"] = scores["int8"] - scores["fp32"]
        quality["int8_recommended"] = quality["bleu_change"] >= -_ACCEPTED_LOSS
        if not quality["int8_recommended"]:
            logger.warning("int8 costs %.2f BLEU here: not recommended.", -quality["bleu_change"])
    for name in (name for name in scores if name.endswith("-shortlist")):
        change = scores[name] - scores[name.removesuffix("-shortlist")]
        quality["shortlist_bleu_change"] = change
        if change < -_ACCEPTED_LOSS:
            logger.warning("The shortlist costs %.2f BLEU here: take more target ids per token.", -change)
    return quality


def _finish(folder: Path, description: dict[str, Any]) -> None:
    """Card and final description, with a checksum of every other file."""
    (folder / "README.md").write_text(_card(description), encoding="utf-8")
    write_description(folder, description)


def _but_ties(count: int) -> str:
    return f" but {count}, where rounding decides between translations of the same score" if count else ""


def _card(description: Mapping[str, Any]) -> str:
    """How to use the folder, and what is known of it."""
    verified, settings = description["verification"], description["settings"]
    lines = [
        f"# {description['name']} for ONNX Runtime, {description['precision']}",
        "",
        "```bash",
        "pip install numpy 'onnxruntime>=1.21' tokenizers",
        f"echo 'A sentence.' | python {TRANSLATOR_NAME} .",
        "```",
        "",
        "```python",
        "from onnx_translator import OnnxTranslator",
        'OnnxTranslator(".").translate(["A sentence."])',
        "```",
        "",
        f"- Decoder passes: {settings['num_iterations']}; graphs: {', '.join(description['graphs'].values())}.",
        f"- The fp32 graphs gave PyTorch's tokens on all {verified['num_sequences']} sequences compared "
        f"({verified['num_tokens']} tokens){_but_ties(verified['num_near_ties'])}.",
    ]
    if "agreement" in description:
        shares = description["agreement"]
        lines.append(
            f"- int8 against fp32 on {shares['num_sentences']} sentences: {shares['sentences']:.1%} of the sentences, "
            f"{shares['tokens']:.1%} of the tokens the same."
        )
    if "shortlist" in description:
        listed = description["shortlist"]
        lines.append(
            f"- Words are chosen among {listed['mean_listed_ids']:.0f} of {settings['vocab_size']} target ids per "
            f"sentence, and scores are normalised over these: {listed['agreement']['sentences']:.1%} of "
            f"{listed['agreement']['num_sentences']} sentences are as with the whole vocabulary, which "
            f'`--no-shortlist` or `OnnxTranslator(".", shortlist=False)` considers.'
        )
    if "quality" in description:
        quality = description["quality"]
        lines.append(f"- BLEU on {quality['num_sentences']} sentences: {described_scores(quality)}.")
    return "\n".join(lines) + "\n"
