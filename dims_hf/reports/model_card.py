# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Model cards generated from a results document: metadata with `model-index`, usage, tables, limits, citation."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dims_hf.evaluation.comparison import find_record, plain_records

from .files import write_text
from .markup import Markup, code, escape, settings_rows
from .provenance import public
from .results import check_results
from .table import markdown_table


if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

TEMPLATE_PATH = Path(__file__).with_name("model_card_template.md")

# Metric of the model index -> its name for people.
_INDEXED_METRICS = {"bleu": "BLEU", "chrf": "chrF"}

LANGUAGES = {"cs": "Czech", "de": "German", "en": "English", "fr": "French", "ro": "Romanian", "ru": "Russian"}

_SAMPLES = {"en": "Where is the station?", "de": "Wo ist der Bahnhof?", "ro": "Unde este gara?"}

CITATION = """@inproceedings{norouzi-etal-2023-dims,
  title = "{D}i{MS}: Distilling Multiple Steps of Iterative Non-Autoregressive Transformers for Machine Translation",
  author = "Norouzi, Sajad and Hosseinzadeh, Rasa and Perez, Felipe and Volkovs, Maksims",
  booktitle = "Findings of the Association for Computational Linguistics: ACL 2023",
  year = "2023",
  url = "https://arxiv.org/abs/2206.02999",
}"""


def create_model_card(
    results: Mapping[str, Any],
    *,
    model_id: str,
    system: str | None = None,
    num_iterations: int = 1,
    license: str = "apache-2.0",
    training: Mapping[str, Any] | None = None,
    attribution: str | None = None,
    datasets: Sequence[str] | None = None,
    sample: tuple[str, str] | None = None,
    limits: Sequence[str] = (),
    figure: str | None = None,
    usage_path: str | None = None,
) -> ModelCard:
    """Writes the card of one system of a results document.

    Args:
        results (`Mapping[str, Any]`): a results document; everything in it is shown.
        model_id (`str`): Hub id or folder name of the model.
        system (`str`, *optional*): the system whose card this is; the last one (the student) when `None`.
        num_iterations (`int`, *optional*, defaults to 1): decoder passes the model's generation config asks for.
        license (`str`, *optional*, defaults to `"apache-2.0"`): licence identifier of the weights.
        training (`Mapping[str, Any]`, *optional*): training settings to list.
        attribution (`str`, *optional*): whom the corpus wants named, and its licence.
        datasets (`Sequence[str]`, *optional*): Hub ids of the training data.
        sample (`tuple[str, str]`, *optional*): a source and the model's real translation of it.
        limits (`Sequence[str]`, *optional*): limits beside those every such model has.
        figure (`str`, *optional*): path of the figure, relative to the card.
        usage_path (`str`, *optional*): what the code sample loads, for a model that is not on the Hub; `model_id` when
            `None`.

    Returns:
        `huggingface_hub.ModelCard`: the card; `save_model_card` writes it.

    Raises:
        ValueError: no such system, or it has no record with `num_iterations`.
    """
    from huggingface_hub import ModelCard

    check_results(results)
    chosen = _find_system(results, system)
    record = _headline_record(chosen, num_iterations)
    data = _card_data(results, chosen, model_id=model_id, license=license, datasets=datasets)
    source = sample[0] if sample else _SAMPLES.get(results["task"]["source_lang"], "…")
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE_PATH),
        model_name=escape(model_id.rsplit("/", 1)[-1]),
        usage_path_literal=json.dumps(public(usage_path or model_id), ensure_ascii=False),
        summary=_summary(results, chosen, record),
        sample_literal=json.dumps(source, ensure_ascii=False),
        sample_output=" ".join(sample[1].split()) if sample else None,
        results_table=markdown_table(results).rstrip(),
        figure=figure,
        decoding_table=_settings_table(_decoding_settings(record)),
        training_table=_settings_table(public(training)) if training else None,
        limits=[*_common_limits(results, record), *limits],
        data_paragraph=_data_paragraph(results, license, attribution),
        provenance_table=_settings_table(_flat_provenance(results)),
        citation=CITATION,
    )


def save_model_card(card: ModelCard, path: str | os.PathLike[str]) -> Path:
    """Writes a card; into a folder as its `README.md`, otherwise to the path given."""
    path = Path(path)
    return write_text(str(card).rstrip("\n") + "\n", path / "README.md" if path.is_dir() else path)


def eval_results(results: Mapping[str, Any], system: Mapping[str, Any]) -> list[EvalResult]:
    """Entries of the model index: BLEU and chrF of every record that uses predicted lengths."""
    from huggingface_hub import EvalResult

    task = results["task"]
    settings = ("num_iterations", "length_beam_size", "collapse_repeats")
    return [
        EvalResult(
            task_type="translation",
            task_name=f"Translation {task['source_lang']}-{task['target_lang']}",
            dataset_type=task["data"],
            dataset_name=task["data"],
            dataset_split=task["split"],
            metric_type=metric,
            metric_name=name,
            metric_value=round(record[metric], 2),
            metric_args={
                "signature": record[f"{metric}_signature"],
                **{key: record[key] for key in settings},
                **record.get("decoding_settings", {}),
            },
        )
        for record in system["records"]
        for metric, name in _INDEXED_METRICS.items()
        if not record["oracle_length"]
    ]


def _card_data(
    results: Mapping[str, Any],
    system: Mapping[str, Any],
    *,
    model_id: str,
    license: str,
    datasets: Sequence[str] | None,
) -> Any:
    from huggingface_hub import ModelCardData

    return ModelCardData(
        model_name=model_id.rsplit("/", 1)[-1],
        language=[results["task"]["source_lang"], results["task"]["target_lang"]],
        license=license,
        library_name="transformers",
        pipeline_tag="translation",
        tags=["non-autoregressive", "dims_hf"],
        datasets=list(datasets) if datasets else None,
        metrics=list(_INDEXED_METRICS),
        eval_results=eval_results(results, system),
    )


def _find_system(results: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    systems = {system["name"]: system for system in results["systems"]}
    name = results["systems"][-1]["name"] if name is None else name
    if name not in systems:
        raise ValueError(f"There is no system {name!r} in the results. There are {', '.join(systems)}.")
    return systems[name]


def _headline_record(system: Mapping[str, Any], num_iterations: int) -> Mapping[str, Any]:
    record = find_record(system, num_iterations)
    if record is None:
        counts = sorted({record["num_iterations"] for record in plain_records(system)})
        raise ValueError(
            f"{system['name']!r} has no record with num_iterations={num_iterations}, length_beam_size=1; "
            f"there are iterations {counts}. Evaluate that setting, or pass another num_iterations."
        )
    return record


def _summary(results: Mapping[str, Any], system: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    task = results["task"]
    languages = " to ".join(LANGUAGES.get(task[key], task[key]) for key in ("source_lang", "target_lang"))
    count = record["num_iterations"]
    passes = "one pass of the decoder" if count == 1 else f"{count} passes of the decoder"
    size = f" It has {system['num_parameters'] / 1e6:.1f} million parameters." if "num_parameters" in system else ""
    if "brevity_penalty" in record:
        size = f" (brevity penalty {record['brevity_penalty']:.3f}, chrF {record['chrf']:.1f}).{size}"
    else:
        size = f".{size}"
    return (
        f"Non-autoregressive translation from {languages}: all words of a sentence at once, in {passes}, at "
        f"**{record['bleu']:.1f} BLEU** on the {escape(task['split'])} set of {escape(task['data'])}{size}"
    )


def _decoding_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("num_iterations", "length_beam_size", "collapse_repeats")}


def _common_limits(results: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    task = results["task"]
    limits = [
        f"Measured on {escape(task['data'])} only. Expect less on other subjects and on longer sentences.",
        "One sentence at a time: nothing is carried over from the sentence before.",
        "Words are chosen without seeing each other, so words may repeat, go missing or belong to different "
        "translations. Have a person check what matters.",
    ]
    if "repeated_tokens" in record:
        limits.append(
            f"{100 * record['repeated_tokens']:.1f} % of tokens equal their right neighbour before repeats are "
            "collapsed; a repetition that is meant (“very very good”) is collapsed too."
            if record["collapse_repeats"]
            else f"{100 * record['repeated_tokens']:.1f} % of tokens equal their right neighbour."
        )
    return limits


def _data_paragraph(results: Mapping[str, Any], license: str, attribution: str | None) -> str:
    text = f"Evaluated on {escape(results['task']['data'])}. The weights are under {escape(license)}."
    return f"{text} {attribution}" if attribution else text


def _flat_provenance(results: Mapping[str, Any]) -> dict[str, Any]:
    provenance = dict(results["provenance"])
    versions = provenance.pop("versions", {})
    flat = {key.replace("_", " "): value for key, value in provenance.items() if value is not None}
    flat["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    flat["test data"] = results["task"]["fingerprint"]
    flat.update(
        {f"weights of {system['name']}": _checksums(system) for system in results["systems"] if _checksums(system)}
    )
    as_code = ("command", "test data", "git commit")
    return {
        key: code(str(value)) if key in as_code or key.startswith("weights of ") else value
        for key, value in flat.items()
    }


def _checksums(system: Mapping[str, Any]) -> str:
    """`model.safetensors sha256:…`, as many as there are files."""
    return ", ".join(f"{name} sha256:{digest}" for name, digest in system.get("weights", {}).items())


def _settings_table(settings: Mapping[str, Any]) -> Markup:
    return Markup(settings_rows(settings.items()).rstrip())
