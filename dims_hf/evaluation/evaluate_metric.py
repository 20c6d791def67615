# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`TranslationMetric`: sacreBLEU and chrF as an `evaluate.Metric` that needs no network. Imports `evaluate`."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from .bleu import legacy_bleu, score


_DESCRIPTION = "sacreBLEU and chrF of detokenised text, with their signatures; legacy tokenised BLEU on request."

_CITATION = """@inproceedings{post-2018-call,
  title = "A Call for Clarity in Reporting {BLEU} Scores",
  author = "Post, Matt",
  booktitle = "Proceedings of the Third Conference on Machine Translation: Research Papers",
  year = "2018",
}"""

_INPUTS = """
    predictions (`list[str]`): detokenised translations.
    references (`list[str]` or `list[list[str]]`): one reference per prediction, or the same number for each.
    legacy (`bool`, defaults to `False`): add `legacy_bleu` and its signature.
"""


class TranslationMetric(evaluate.Metric):
    """sacreBLEU and chrF with signatures, behind the interface of `evaluate`.

    `evaluate.load("sacrebleu")` downloads a script; this class is the metric itself. Nothing is written to disk with
    one process.

    Args:
        kwargs (`Any`): keyword arguments of `evaluate.Metric`.

    Example:

    ```python
    >>> TranslationMetric().compute(predictions=["so it is said today"], references=["so it is said today"])["bleu"]
    100.0

    ```
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("keep_in_memory", kwargs.get("num_process", 1) == 1)
        super().__init__(*args, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[
                datasets.Features({"predictions": text, "references": datasets.Sequence(text)}),
                datasets.Features({"predictions": text, "references": text}),
            ],
            reference_urls=["https://github.com/mjpost/sacrebleu"],
        )

    def _compute(
        self, predictions: list[str], references: list[str] | list[list[str]], legacy: bool = False
    ) -> dict[str, float | str]:
        result = score(predictions, references)
        return {**result, **legacy_bleu(predictions, references)} if legacy else result
