# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A whole evaluation: checkpoints and a corpus in; results file, tables, figure and translations out."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dims_hf._output import holding, remove_debris
from dims_hf.data import corpus_fingerprint, load_corpus
from dims_hf.evaluation.bleu import References, usable_tokenizer
from dims_hf.evaluation.comparison import compare_decodings, compare_with_bootstrap, gap_closed, plain_records
from dims_hf.evaluation.evaluator import evaluate_model
from dims_hf.evaluation.validity import Judge
from dims_hf.translation.loading import load_model, resolve_model
from dims_hf.translation.results import Translation

from .figures import plot_quality_versus_iterations
from .files import write_text
from .provenance import provenance, public, public_name, weights_checksum
from .results import make_results, save_results
from .table import markdown_table


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Columns with more distinct values than this (a sentence id, say) name no subsets.
_MAX_SUBSETS_PER_COLUMN = 8


def run_evaluation(
    models: Mapping[str, str | os.PathLike[str]],
    data: str,
    source_lang: str,
    target_lang: str,
    *,
    split: str = "test",
    iterations: Sequence[int] | None = None,
    length_beams: Sequence[int] = (1,),
    decodings: Mapping[str, Mapping[str, Any]] | None = None,
    max_examples: int | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Evaluates one or more checkpoints on a corpus; compares a teacher and a student, and decodings of each model.

    Comparisons are paired bootstraps: the system under test at its fewest passes against the baseline at its fewest
    and its most; every named decoding against the model's fewest passes, or where there are none, its first decoding;
    and the last model's decodings against the first model's of the same name.

    Args:
        models (`Mapping[str, str | os.PathLike]`): name to checkpoint directory or Hub id. With two or more, the first
            is the baseline (teacher) and the last the system under test (student).
        data (`str`): a corpus as `dims_hf.data.load_corpus` takes it. `phrasebook` outputs are also judged valid,
            mixture or wrong.
        source_lang (`str`): source language code.
        target_lang (`str`): target language code.
        split (`str`, *optional*, defaults to `"test"`): split of the corpus. Every further column with few distinct
            values, such as `near`, is scored as subsets (`near=0`, `near=1`).
        iterations (`Sequence[int]`, *optional*): decoder passes; by default those that each model's family has, see
            `evaluate_model`.
        length_beams (`Sequence[int]`, *optional*, defaults to `(1,)`): length candidates.
        decodings (`Mapping[str, Mapping[str, Any]]`, *optional*): further ways of decoding, by name, as
            `evaluate_model` takes them; `iterations` may then be empty.
        max_examples (`int`, *optional*): first sentences only.
        output_dir (`str` or `os.PathLike`, *optional*): folder for `results.json`, `results.md`,
            `quality_vs_iterations.png` (where matplotlib is installed) and `translations/`. Nothing is written when
            `None`.
        device (`str`, *optional*): `cpu`, `cuda`, …; an accelerator where there is one when `None`.
        dtype (`str`, *optional*): precision, as `load_model` takes it.
        options (`Any`): `length_edges`, `num_length_buckets`, `oracle_length`, `collapse_repeats`,
            `max_tokens_per_batch`, `bleu_tokenizer` (that of the target language when not given) of `evaluate_model`,
            and `trust_remote_code` of `load_model`.

    Returns:
        `dict[str, Any]`: the results document (`write_table` shows it).

    Raises:
        ValueError: no model, a path that does not exist, or what `load_corpus` and `evaluate_model` refuse.
    """
    if not models:
        raise ValueError("There is no model to evaluate. Pass at least one, for example {'student': 'path'}.")
    places = {name: resolve_model(path) for name, path in models.items()}
    trust = options.pop("trust_remote_code", False)
    corpus = load_evaluated(data, source_lang, target_lang, split, max_examples)
    options["bleu_tokenizer"] = usable_tokenizer(list(corpus["target"]), target_lang, options.get("bleu_tokenizer"))
    settings = dict(options, iterations=iterations, length_beams=length_beams, decodings=decodings)
    settings.update(judge=_judge_of(data, source_lang, target_lang), subsets=subsets_from_columns(corpus))
    with nullcontext() if output_dir is None else holding(output_dir):
        decoded = _Decoded(Path(output_dir) / "translations" if output_dir is not None else None)
        if decoded.folder is not None and decoded.folder.is_dir():
            remove_debris(decoded.folder)
        systems = []
        for name, place in places.items():
            decoded.system = name
            measured = _evaluate_checkpoint(
                *load_model(place, device, dtype, trust_remote_code=trust), corpus, decoded, settings
            )
            described = {"name": public(name), "model": public_name(place), "weights": weights_checksum(place)}
            systems.append({**described, **measured})
        task = {
            "data": public_name(data),
            "source_lang": source_lang,
            "target_lang": target_lang,
            "split": split,
            "num_sentences": len(corpus),
            "fingerprint": corpus_fingerprint(corpus),
        }
        rows = (references_of(corpus), min(length_beams, default=1), options["bleu_tokenizer"])
        comparison = _compare(systems, decoded, *rows)
        results = make_results(task, systems, provenance=provenance(), **comparison)
        if output_dir is not None:
            write_evaluation(results, output_dir)
        return results


def write_evaluation(results: Mapping[str, Any], output_dir: str | os.PathLike[str]) -> list[Path]:
    """Writes `results.json`, `results.md` and, where matplotlib is installed, `quality_vs_iterations.png`.

    Returns:
        `list[Path]`: the files written.
    """
    folder = Path(output_dir)
    files = [save_results(results, folder / "results.json")]
    files.append(write_text(markdown_table(results), folder / "results.md"))
    if not any(map(plain_records, results["systems"])):
        return files  # named decodings are no curve
    try:
        files.append(plot_quality_versus_iterations(results, folder / "quality_vs_iterations.png"))
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
    return files


def write_translations(texts: Sequence[str], folder: Path, *parts: str) -> Path:
    """Writes translations, one in a line, to a file named after the system and how it decoded."""
    name = ".".join(re.sub(r"[^\w.-]+", "_", part) for part in parts)
    lines = [" ".join(text.split()) for text in texts]
    return write_text("\n".join(lines) + "\n", folder / f"{name}.txt")


def subsets_from_columns(corpus: Dataset) -> dict[str, list[bool]]:
    """Subsets `{column}={value}` from every column beside the texts that has few distinct values."""
    subsets = {}
    for column in corpus.column_names:
        values = list(corpus[column]) if column not in ("source", "target", "references") else []
        if 1 < len(set(values)) <= _MAX_SUBSETS_PER_COLUMN:
            for wanted in sorted(set(values)):
                subsets[f"{column}={wanted}"] = [value == wanted for value in values]
    return subsets


@dataclass
class _Decoded:
    """Callback of `evaluate_model` that keeps texts for the comparison and writes them, one file per setting."""

    folder: Path | None

    def __post_init__(self) -> None:
        self.system = ""
        self.texts: dict[tuple[str, int, int], list[str]] = {}
        self.named: dict[tuple[str, str], list[str]] = {}

    def __call__(self, record: dict[str, Any], translations: list[Translation]) -> None:
        texts = [translation.text for translation in translations]
        count, beam, is_oracle = (record[key] for key in ("num_iterations", "length_beam_size", "oracle_length"))
        decoding = record.get("decoding")
        if decoding is not None:
            self.named[self.system, decoding] = texts
        elif not is_oracle:
            self.texts[self.system, count, beam] = texts
        if self.folder is not None:
            length = "reference_length" if is_oracle else f"beam{beam}"
            how = [f"iter{count}", length] if decoding is None else [decoding]
            write_translations(texts, self.folder, self.system, *how)

    def by_iterations(self, system: str, length_beam_size: int) -> dict[int, list[str]]:
        """Number of iterations to hypotheses of one system."""
        return {
            count: texts
            for (name, count, beam), texts in self.texts.items()
            if name == system and beam == length_beam_size
        }

    def by_decoding(self, system: str, length_beam_size: int) -> dict[str, list[str]]:
        """Name to hypotheses of a system: at its fewest passes, if it has any, and of its named decodings."""
        plain, found = self.by_iterations(system, length_beam_size), {}
        if plain:
            fewest = min(plain)
            found[f"{system}@{fewest}"] = plain[fewest]
        named = {f"{system} {decoding}": texts for (name, decoding), texts in self.named.items() if name == system}
        return {**found, **named} if named else {}

    def shared(self, baseline: str, system: str) -> list[dict[str, list[str]]]:
        """Of each decoding that two systems have, both hypotheses by name."""
        return [
            {f"{baseline} {decoding}": texts, f"{system} {decoding}": self.named[system, decoding]}
            for (name, decoding), texts in self.named.items()
            if name == baseline and (system, decoding) in self.named
        ]


def _evaluate_checkpoint(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Dataset,
    decoded: _Decoded,
    settings: dict[str, Any],
) -> dict[str, Any]:
    return evaluate_model(
        model, tokenizer, list(corpus["source"]), references_of(corpus), callback=decoded, **settings
    )


def _compare(
    systems: Sequence[Mapping[str, Any]],
    decoded: _Decoded,
    references: References,
    length_beam_size: int,
    tokenizer: str,
) -> dict[str, Any]:
    baseline, system = systems[0], systems[-1]
    names = (baseline["name"], system["name"])
    comparisons, compared = [], {}
    if len(systems) > 1:
        texts = [decoded.by_iterations(name, length_beam_size) for name in names]
        if all(texts):
            comparisons += compare_with_bootstrap(*texts, references, names=names, tokenize=tokenizer)
            compared["gap_closed"] = gap_closed(baseline, system, length_beam_size=length_beam_size)
        for pair in decoded.shared(*names):
            comparisons += compare_decodings(pair, references, tokenize=tokenizer)
    for each in systems:
        of_system = decoded.by_decoding(each["name"], length_beam_size)
        comparisons += compare_decodings(of_system, references, tokenize=tokenizer)
    return {**compared, "comparisons": comparisons}


def load_evaluated(
    data: str, source_lang: str, target_lang: str, split: str, max_examples: int | None = None
) -> Dataset:
    """A split as it is scored: a row for each source, with `references` where some have several targets."""
    limits = {split: max_examples} if max_examples is not None else None
    return load_corpus(data, source_lang, target_lang, splits=(split,), max_examples=limits, joins_targets=True)[split]


def references_of(corpus: Dataset) -> References:
    """The references of a split from [`load_evaluated`]: one per source, or lists as long as the longest."""
    if "references" not in corpus.column_names:
        return list(corpus["target"])
    groups = list(corpus["references"])
    longest = max(map(len, groups), default=0)
    return [[*group, *[None] * (longest - len(group))] for group in groups]


def _judge_of(data: str, source_lang: str, target_lang: str) -> Judge | None:
    if data != "phrasebook":
        return None
    from dims_hf.phrasebook import PHRASEBOOK_LANGUAGES, judge

    return judge if (source_lang, target_lang) == tuple(PHRASEBOOK_LANGUAGES) else None
