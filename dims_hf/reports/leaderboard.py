# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A leaderboard as text: its tables, and the card of one of its models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .markup import Markup, code, escape, markdown_rows, settings_rows
from .model_card import CITATION, LANGUAGES
from .provenance import public


if TYPE_CHECKING:
    from huggingface_hub import ModelCard

LEADERBOARD_TEMPLATE_PATH = Path(__file__).with_name("leaderboard_card_template.md")


def leaderboard_markdown(results: Mapping[str, Any]) -> str:
    """The document as Markdown: a table of quality per test set, one of latency, and how both were measured."""
    task = results["task"]
    title = f"# Leaderboard {task['source_lang']}→{task['target_lang']}, {task['split']} sets\n"
    return "\n".join([title, *_quality_tables(results), _latency_table(results), _notes(results)]) + "\n"


def _quality_tables(results: Mapping[str, Any]) -> list[str]:
    comparisons = {each["test_set"]: each for each in results["comparisons"]}
    header = ["system", "runtime", "BLEU", "brevity penalty", "chrF", "BLEU uncollapsed", "repeats", "against"]
    parts = []
    for name, first in results["systems"][0]["scores"].items():
        rows = [
            [
                f"{system['name']}, {system['decoding']}",
                system["runtime"],
                *_quality(system["scores"][name]),
                _significance(comparisons.get(name), system["label"]),
            ]
            for system in results["systems"]
        ]
        parts += [f"## {escape(name)}, {first['num_sentences']:,} sentences\n", markdown_rows(header, rows)]
    return parts


def _quality(scores: Mapping[str, Any]) -> list[str]:
    return [
        f"{scores['bleu']:.2f}",
        f"{scores['brevity_penalty']:.3f}",
        f"{scores['chrf']:.2f}",
        f"{scores['bleu_before_collapse']:.2f}",
        f"{100 * scores['repeated_tokens']:.1f} %",
    ]


def _significance(comparison: Mapping[str, Any] | None, label: str) -> str:
    if comparison is None or label == comparison["baseline"]:
        return ""
    row, baseline = (comparison["systems"][name] for name in (label, comparison["baseline"]))
    return f"{row['bleu'] - baseline['bleu']:+.2f} (p {row['bleu_p_value']:.3f})"


def _latency_table(results: Mapping[str, Any]) -> str:
    sizes = list(results["systems"][0]["milliseconds"])
    header = ["system", "runtime", "parameters", *(f"ms, {size} per call" for size in sizes)]
    rows = [
        [
            f"{system['name']}, {system['decoding']}",
            system["runtime"],
            f"{system['num_parameters'] / 1e6:.1f} M",
            *(f"{system['milliseconds'][size]['median']:.2f}" for size in sizes),
        ]
        for system in results["systems"]
    ]
    return f"## Milliseconds per sentence, from text to text\n\n{markdown_rows(header, rows)}"


def _notes(results: Mapping[str, Any]) -> str:
    task, made = results["task"], results["provenance"]
    threads = f"{task['threads']} thread{'s' * (task['threads'] != 1)}"
    notes = [f"Median of {task['rounds']} rounds in turns, {threads}, on {made['hardware']}."]
    if task.get("shortlist") is not None:
        notes.append(f"Shortlists were learnt from the training split of {code(task['shortlist'])}.")
    for first in results["comparisons"][:1]:
        notes.append(
            f"“Against”: BLEU less that of {escape(first['baseline'])}; p by paired bootstrap, "
            f"{first['num_samples']} samples. sacreBLEU: {code(first['signatures']['bleu'])}."
        )
    notes.append(f"Made by {code(made['command'])} at commit {made['git_commit']}.")
    return "\n".join(notes)


def create_leaderboard_card(
    results: Mapping[str, Any],
    *,
    model_id: str,
    system: str,
    examples: Sequence[tuple[str, str]],
    bad: Sequence[int] = (),
    training: Mapping[str, Any] | None = None,
    license: str = "apache-2.0",
    attribution: str | None = None,
    limits: Sequence[str] = (),
    usage_path: str | None = None,
) -> ModelCard:
    """Writes the card of one model of a leaderboard: all its test sets, its peers, and what it writes.

    Args:
        results (`Mapping[str, Any]`): what `run_leaderboard` returned; everything in it is shown.
        model_id (`str`): Hub id or folder name of the model.
        system (`str`): the model's name in `results`.
        examples (`Sequence[tuple[str, str]]`): sources, and the model's real translations of them.
        bad (`Sequence[int]`, *optional*): numbers of the examples, from 1, that a reader found wrong.
        training (`Mapping[str, Any]`, *optional*): training settings to list.
        license (`str`, *optional*, defaults to `"apache-2.0"`): licence identifier of the weights.
        attribution (`str`, *optional*): whom the corpus wants named, and its licence.
        limits (`Sequence[str]`, *optional*): what the model cannot do.
        usage_path (`str`, *optional*): what the code sample loads; `model_id` when `None`.

    Returns:
        `huggingface_hub.ModelCard`: the card; `save_model_card` writes it.

    Raises:
        ValueError: no such system, or a number that no example has.
    """
    from huggingface_hub import ModelCard, ModelCardData

    chosen = [each for each in results["systems"] if each["name"] == system]
    if not chosen:
        names = ", ".join(dict.fromkeys(each["name"] for each in results["systems"]))
        raise ValueError(f"There is no system {system!r} in the leaderboard. There are {names}.")
    unknown = [number for number in bad if not 1 <= number <= len(examples)]
    if unknown:
        raise ValueError(f"Bad examples {unknown}: there are {len(examples)}, counted from 1.")
    task = results["task"]
    languages = [task["source_lang"], task["target_lang"]]
    kind = "autoregressive" if chosen[0]["is_autoregressive"] else "non-autoregressive"
    data = ModelCardData(
        model_name=model_id.rsplit("/", 1)[-1],
        language=languages,
        license=license,
        library_name="transformers",
        pipeline_tag="translation",
        tags=[kind, "dims_hf"],
        metrics=["bleu", "chrf"],
    )
    literal, sample = (
        json.dumps(text, ensure_ascii=False) for text in (public(usage_path or model_id), examples[0][0])
    )
    return ModelCard.from_template(
        data,
        template_path=str(LEADERBOARD_TEMPLATE_PATH),
        model_name=escape(model_id.rsplit("/", 1)[-1]),
        summary=_summary(chosen[0], languages),
        is_autoregressive=chosen[0]["is_autoregressive"],
        usage_path_literal=literal,
        sample_literal=sample,
        results_tables=_demoted([*_quality_tables(results), _latency_table(results)]),
        notes=_notes(results),
        examples_table=_examples(examples, bad),
        training_table=Markup(settings_rows(public(training).items()).rstrip()) if training else None,
        limits=list(limits),
        data_paragraph=f"The weights are under {escape(license)}." + (f" {attribution}" if attribution else ""),
        weights=", ".join(f"{name} sha256:{digest}" for name, digest in chosen[0]["weights"].items()),
        citation=CITATION,
    )


def _demoted(parts: Sequence[str]) -> str:
    """Headings one level lower."""
    return "\n".join("#" + part if part.startswith("#") else part for part in parts).rstrip()


def _summary(system: Mapping[str, Any], languages: Sequence[str]) -> str:
    source, target = (LANGUAGES.get(each, each) for each in languages)
    name, scores = next(iter(system["scores"].items()))
    also = f"brevity penalty {scores['brevity_penalty']:.3f}, chrF {scores['chrf']:.1f}"
    how = "word by word" if system["is_autoregressive"] else f"in {system['decoding']} of the decoder"
    return (
        f"Translation from {source} to {target}, {how}, {system['num_parameters'] / 1e6:.1f} million parameters: "
        f"**{scores['bleu']:.1f} BLEU** ({also}) on "
        f"{escape(name)}, {system['decoding']}."
    )


def _examples(examples: Sequence[tuple[str, str]], bad: Sequence[int]) -> str:
    rows = [
        [str(number), source, translation or "(nothing)", "bad" if number in bad else ""]
        for number, (source, translation) in enumerate(examples, start=1)
    ]
    return markdown_rows(["", "source", "translation", "verdict"], rows).rstrip()
