# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a metric is given (`SystemOutput`) and the table of metrics that `evaluate_model` fills its records from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dims_hf.translation.results import Translation

from .bleu import References, bleu, chrf, legacy_bleu
from .repetition import repetition_rate
from .validity import Judge, verdict_shares


@dataclass(frozen=True)
class SystemOutput:
    """One system's translations of one set at one decoding setting.

    Args:
        sources (`Sequence[str]`): source sentences.
        references (`Sequence[str]` or `Sequence[Sequence[str]]`): one reference per source, or a list of them.
        translations (`Sequence[Translation]`): one translation per source.
        judge (`Callable[[str, str], str]`, *optional*): verdicts on a corpus that knows all its targets.
        bleu_tokenizer (`str`, *optional*): sacreBLEU's tokenizer; chosen by the references' script when `None`.
    """

    sources: Sequence[str]
    references: References
    translations: Sequence[Translation]
    judge: Judge | None = None
    bleu_tokenizer: str | None = None

    @property
    def texts(self) -> list[str]:
        """Translations as reported: after repeats were collapsed, where that was asked for."""
        return [translation.text for translation in self.translations]

    @property
    def raw_texts(self) -> list[str]:
        """Translations before repeats were collapsed."""
        return [translation.raw_text for translation in self.translations]

    def select(self, is_selected: Sequence[bool]) -> SystemOutput:
        """The sentences where `is_selected` holds.

        Raises:
            ValueError: not one flag per sentence, or no sentence left.
        """
        rows = [row for row, keep in enumerate(is_selected) if keep]
        if len(is_selected) != len(self.sources) or not rows:
            raise ValueError(
                f"A subset selects {len(rows)} sentences with {len(is_selected)} flags for {len(self.sources)} "
                "sources. Give one flag per source, at least one of them true."
            )
        parts = ([items[row] for row in rows] for items in (self.sources, self.references, self.translations))
        return replace(self, **dict(zip(("sources", "references", "translations"), parts, strict=True)))


Scores = dict[str, "float | str"]


def _bleu(output: SystemOutput) -> Scores:
    """BLEU with its brevity penalty, and BLEU before repeats are collapsed: collapsing helps some systems most."""
    tokenize = output.bleu_tokenizer
    before = bleu(output.raw_texts, output.references, tokenize=tokenize)["bleu"]
    return {**bleu(output.texts, output.references, tokenize=tokenize), "bleu_before_collapse": before}


def _chrf(output: SystemOutput) -> Scores:
    return chrf(output.texts, output.references)


def _legacy_bleu(output: SystemOutput) -> Scores:
    return legacy_bleu(output.texts, output.references)


def _repetition(output: SystemOutput) -> Scores:
    return repetition_rate([translation.raw_token_ids for translation in output.translations])


def _validity(output: SystemOutput) -> Scores:
    """Validity both ways; mixtures only before repeats are collapsed, since collapsing hides some of them."""
    if output.judge is None:
        return {}
    after = verdict_shares(output.sources, output.texts, output.judge)
    before = verdict_shares(output.sources, output.raw_texts, output.judge)
    return {
        "valid": after["valid"],
        "valid_before_collapse": before["valid"],
        "mixture_before_collapse": before["mixture"],
    }


# A new metric is one file and one line here: name -> function from a SystemOutput to the fields of a record.
METRICS: dict[str, Callable[[SystemOutput], Scores]] = {
    "bleu": _bleu,
    "chrf": _chrf,
    "legacy_bleu": _legacy_bleu,
    "repetition": _repetition,
    "validity": _validity,
}
