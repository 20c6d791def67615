# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The card of a sequence-level distilled corpus, generated from its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .markup import Markup, code, escape, settings_rows


# Number of pairs -> how the Hub names a size.
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))

_REASONS = {
    "too_long": "too long: source longer than the teacher takes, or a translation that did not end",
    "empty": "empty translation",
    "special_token": "translation with the text of a special token",
    "length_ratio": "one side too long for the other",
    "copy": "copy of the source",
}

_CARD = """---
{metadata}
---

# {title}

A sequence-level distilled {source_lang}-{target_lang} corpus: the training sources of `{sources}`, each with
{search}.

Validation and test pairs are those of `{data}`, untouched: **only `train` is distilled**. The validation translations
in `shards/` are what the teacher's BLEU below was computed on.

```python
from datasets import load_dataset

corpus = load_dataset("PATH_OR_HUB_ID_OF_THIS_FOLDER")
```

Training commands of dims_hf take the same path or id as `data`.

{teacher_table}
{counts_table}
## Settings

{settings_table}
Source: sequence-level knowledge distillation, Kim and Rush 2016 (https://aclanthology.org/D16-1139).

## Licence

{licence}
"""


def create_dataset_card(report: Mapping[str, Any], *, title: str) -> str:
    """
    Writes the card of a distilled corpus.

    Args:
        report (`Mapping[str, Any]`): what `dims-hf make-data` writes as `distillation.json`.
        title (`str`): heading.

    Returns:
        `str`: the text of `README.md`, with the Hub's metadata.
    """
    task, licence = report["corpus"], report["license"]
    return _CARD.format(
        metadata=_metadata(report, title),
        title=escape(title),
        source_lang=task["source_lang"],
        target_lang=task["target_lang"],
        data=task["data"].replace("`", "'"),
        sources=task.get("monolingual", task["data"]).replace("`", "'"),
        search=_search(report["settings"]),
        teacher_table=settings_rows(_teacher(report).items(), ("teacher", "")),
        counts_table=settings_rows(_counts(report).items(), ("training pairs", "")),
        settings_table=settings_rows(_settings(report).items()),
        licence=" ".join(
            [
                f"Licence of this folder: {escape(licence)}." if licence else "No licence was chosen for this folder.",
                f"The corpus {escape(task['data'])} and the teacher have licences of their own, which bind what is "
                "made of them.",
                *([report["attribution"]] if report["attribution"] else []),
            ]
        ),
    )


def _metadata(report: Mapping[str, Any], title: str) -> str:
    from huggingface_hub import DatasetCardData

    task, kept = report["corpus"], report["train"]["kept"]
    data = DatasetCardData(
        pretty_name=title,
        language=[task["source_lang"], task["target_lang"]],
        license=report["license"] or "other",
        task_categories=["translation"],
        size_categories=next((name for limit, name in _SIZES if kept < limit), "n>10M"),
        tags=["sequence-level-distillation", "dims_hf"],
        # Named, so that the shards are not taken for more rows.
        configs=[{"config_name": "default", "data_files": [_data_file(split) for split in task["num_pairs"]]}],
        # Declared, as the splits need not have the same columns.
        dataset_info={"features": _features(task, report["settings"].get("num_return_sequences") or 1)},
    )
    return data.to_yaml().rstrip("\n")


def _data_file(split: str) -> dict[str, str]:
    """A split under the name that readers of the Hub expect."""
    return {"split": {"valid": "validation"}.get(split, split), "path": f"{split}.jsonl"}


def _features(task: Mapping[str, Any], num_hypotheses: int) -> list[dict[str, Any]]:
    languages = {"languages": [task["source_lang"], task["target_lang"]]}
    columns = [{"name": name, "dtype": "int64"} for name in task["side_columns"]]
    if num_hypotheses > 1:
        columns.append({"name": "alternatives", "list": "string"})
    return [{"name": "translation", "dtype": {"translation": languages}}, *columns]


def _search(settings: Mapping[str, Any]) -> str:
    if "num_beams" not in settings:
        return f"a non-autoregressive teacher's translation (in {settings['num_iterations']} passes) as its target"
    beams = settings["num_beams"]
    search = "greedy search" if beams == 1 else f"the best of a beam of {beams}"
    if settings.get("do_sample"):
        search = f"drawn among the {settings['top_k']} likeliest tokens at temperature {settings['temperature']}"
    return f"an autoregressive teacher's translation ({search}) in place of its reference"


def _teacher(report: Mapping[str, Any]) -> dict[str, Any]:
    teacher, quality = report["teacher"], report["validation"]
    about = f" ({escape(teacher['model_type'])}, {teacher['num_parameters'] / 1e6:.1f} M parameters)"
    penalty = quality.get("brevity_penalty")
    return {
        "name": Markup(code(teacher["name"]) + about),
        f"BLEU on {quality['num_sentences']} validation sentences": f"{quality['bleu']:.2f}",
        **({"brevity penalty": f"{penalty:.3f}"} if penalty is not None else {}),
        "BLEU signature": code(quality["bleu_signature"]),
        "chrF": f"{quality['chrf']:.2f}",
        "chrF signature": code(quality["chrf_signature"]),
    }


def _counts(report: Mapping[str, Any]) -> dict[str, Any]:
    train = report["train"]
    equal, words = train["equal_to_reference"], train["distinct_words"]
    return {
        "sources": f"{train['sources']:,}",
        **{f"left out: {_REASONS[reason]}": f"{count:,}" for reason, count in train["dropped"].items()},
        "kept": f"{train['kept']:,}",
        "drop rate": f"{100 * train['drop_rate']:.2f} %",
        **({} if equal is None else {"kept ones equal to their reference": f"{100 * equal:.1f} %"}),
        **{f"distinct target words, {name}": f"{count:,}" for name, count in words.items()},
    }


def _settings(report: Mapping[str, Any]) -> dict[str, Any]:
    origin = report["provenance"]
    shown = {name: value for name, value in {**report["settings"], **report["filter"]}.items() if value != ""}
    return {
        **{name.replace("_", " "): value for name, value in shown.items() if value is not None},
        "corpus fingerprint": report["corpus"]["fingerprint"],
        "command": code(origin["command"]),
        "commit": origin["git_commit"] or "not a checkout",
        "versions": ", ".join(f"{name} {version}" for name, version in origin["versions"].items()),
    }
