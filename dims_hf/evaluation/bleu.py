# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Corpus scores between 0 and 100 with their signatures (sacreBLEU, chrF, legacy BLEU) and the paired bootstrap."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


# One reference per sentence, or several.
References = Sequence[str] | Sequence[Sequence[str]]

_WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")


def score(hypotheses: Sequence[str], references: References) -> dict[str, float | str]:
    """sacreBLEU and chrF of detokenised text.

    Args:
        hypotheses (`Sequence[str]`): one translation per sentence, detokenised; an empty one is allowed.
        references (`Sequence[str]` or `Sequence[Sequence[str]]`): one reference per sentence, or a list of them.

    Returns:
        `dict`: `bleu` and `chrf` (0 to 100), `bleu_signature` and `chrf_signature`, and what BLEU owes to length:
        `brevity_penalty` (0 to 1; BLEU is its product with the n-gram precision) and `length_ratio`, hypothesis over
        reference words.

    Raises:
        ValueError: no sentences, or counts that differ.

    Example:

    ```python
    >>> score(["the cat sat on the mat"], ["the cat sat on the mat"])["bleu"]
    100.0

    ```
    """
    return {**bleu(hypotheses, references), **chrf(hypotheses, references)}


def bleu(hypotheses: Sequence[str], references: References) -> dict[str, float | str]:
    """Corpus BLEU as sacreBLEU computes it by default (13a tokenisation, cased, exponential smoothing).

    Source: Post 2018, A Call for Clarity in Reporting BLEU Scores.

    Returns:
        `dict`: `bleu` (0 to 100), `bleu_signature`, `brevity_penalty` and `length_ratio`.

    Raises:
        ValueError: no sentences, or counts that differ.
    """
    return _corpus_score("bleu", _bleu_metric(), hypotheses, references, brevity_penalty="bp", length_ratio="ratio")


def chrf(hypotheses: Sequence[str], references: References) -> dict[str, float | str]:
    """Corpus chrF2 (character 6-grams) as sacreBLEU computes it by default.

    Returns:
        `dict`: `chrf` (0 to 100) and `chrf_signature`.

    Raises:
        ValueError: no sentences, or counts that differ.
    """
    return _corpus_score("chrf", _chrf_metric(), hypotheses, references)


def legacy_bleu(
    hypotheses: Sequence[str], references: References, *, already_tokenized: bool = False
) -> dict[str, float | str]:
    """Tokenised, cased, unsmoothed BLEU: the number non-autoregressive papers print. Not comparable with `bleu`.

    Papers score Moses-tokenised text. Detokenised text is split here into words and single punctuation marks, which
    is close to it; `already_tokenized=True` takes text as it is, split at spaces.

    Args:
        hypotheses (`Sequence[str]`): one translation per sentence.
        references (`Sequence[str]` or `Sequence[Sequence[str]]`): references in the same form.
        already_tokenized (`bool`, *optional*, defaults to `False`): text is tokenised, words joined by spaces.

    Returns:
        `dict`: `legacy_bleu` (0 to 100) and `legacy_bleu_signature`, which names the tokenisation.

    Raises:
        ValueError: no sentences, or counts that differ.
    """
    from sacrebleu.metrics import BLEU

    if not already_tokenized:
        hypotheses = [split_words(text) for text in hypotheses]
        references = [split_words(ref) if isinstance(ref, str) else list(map(split_words, ref)) for ref in references]
    metric = BLEU(tokenize="none", smooth_method="none", force=True)
    result = _corpus_score("legacy_bleu", metric, hypotheses, references)
    tokenization = "given" if already_tokenized else "words-and-marks"
    result["legacy_bleu_signature"] = result["legacy_bleu_signature"].replace("tok:none", f"tok:{tokenization}")
    return result


def split_words(text: str) -> str:
    """Words and single punctuation marks, joined by spaces: the tokenisation of `legacy_bleu`."""
    return " ".join(_WORD_OR_MARK.findall(text))


def paired_bootstrap(
    systems: Mapping[str, Sequence[str]], references: References, *, num_samples: int = 1000, seed: int = 12345
) -> dict[str, Any]:
    """Paired bootstrap resampling of BLEU and chrF between a baseline and other systems.

    Source: Koehn 2004, Statistical Significance Tests for Machine Translation Evaluation, as sacreBLEU does it.

    Args:
        systems (`Mapping[str, Sequence[str]]`): name to hypotheses; the first entry is the baseline.
        references (`Sequence[str]` or `Sequence[Sequence[str]]`): as in `score`.
        num_samples (`int`, *optional*, defaults to 1000): resamples.
        seed (`int`, *optional*, defaults to 12345): seed of the resampling.

    Returns:
        `dict`: `baseline`, `num_samples`, `seed`, `signatures`, and `systems`: name to `bleu`, `chrf` and for each a
        `{metric}_mean` and `{metric}_ci` (95 % half-width) over resamples; all but the baseline with
        `{metric}_p_value`, the chance of a difference this large between equal systems.

    Raises:
        ValueError: fewer than two systems, counts that differ, `num_samples` < 1, `seed` < 1.
    """
    from sacrebleu.significance import PairedTest

    if len(systems) < 2:
        raise ValueError(f"paired_bootstrap needs a baseline and a system, got {list(systems)}. Pass at least two.")
    if num_samples < 1:
        raise ValueError(f"num_samples must be >= 1, got {num_samples}. The default is 1000.")
    if seed < 1:
        # sacreBLEU takes a seed of 0 for no seed at all
        raise ValueError(f"seed must be >= 1, got {seed}. The default is 12345.")
    for hypotheses in systems.values():
        streams = _reference_streams(hypotheses, references)
    named = [(name, list(hypotheses)) for name, hypotheses in systems.items()]
    with _sacrebleu_seed(seed):
        metrics = {"BLEU": _bleu_metric(), "chrF2": _chrf_metric()}
        signatures, scores = PairedTest(named, metrics, streams, test_type="bs", n_samples=num_samples)()
    rows = {name: {} for name, _ in named}
    for key, label in (("bleu", "BLEU"), ("chrf", "chrF2")):
        for (name, _), result in zip(named, scores[label], strict=True):
            rows[name].update(_bootstrap_row(key, result, scores[label][0].score))
    return {
        "baseline": named[0][0],
        "num_samples": num_samples,
        "seed": seed,
        "signatures": {"bleu": str(signatures["BLEU"]), "chrf": str(signatures["chrF2"])},
        "systems": rows,
    }


def _bleu_metric() -> Any:
    from sacrebleu.metrics import BLEU

    # force: tokenised-looking output is for the reader of the score to judge, not for a warning per call
    return BLEU(force=True)


def _chrf_metric() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


def _corpus_score(
    name: str, metric: Any, hypotheses: Sequence[str], references: References, **fields: str
) -> dict[str, float | str]:
    """Score and signature; `fields` are further ones, with sacreBLEU's names of them."""
    streams = _reference_streams(hypotheses, references)
    # summing logarithms leaves 100.00000000000004 for a perfect translation
    result = metric.corpus_score(list(hypotheses), streams)
    more = {field: float(getattr(result, theirs)) for field, theirs in fields.items()}
    return {name: min(100.0, float(result.score)), f"{name}_signature": str(metric.get_signature()), **more}


def _reference_streams(hypotheses: Sequence[str], references: References) -> list[list[str]]:
    """sacreBLEU's form of references: one list per reference number, checked against the hypotheses."""
    if not len(hypotheses):
        raise ValueError("There are no hypotheses. Score at least one sentence.")
    if len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} hypotheses for {len(references)} references. Give one reference per hypothesis."
        )
    if isinstance(references[0], str):
        return [list(references)]
    counts = {len(group) for group in references}
    if len(counts) > 1 or 0 in counts:
        raise ValueError(f"Sentences have {sorted(counts)} references. Give every sentence the same number, >= 1.")
    return [list(stream) for stream in zip(*references, strict=True)]


@contextmanager
def _sacrebleu_seed(seed: int) -> Iterator[None]:
    """sacreBLEU reads the seed of its resampling from the environment only."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = str(seed)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SACREBLEU_SEED"]
        else:
            os.environ["SACREBLEU_SEED"] = before


def _bootstrap_row(key: str, result: Any, baseline_score: float) -> dict[str, float]:
    row = {key: float(result.score), f"{key}_mean": float(result.mean), f"{key}_ci": float(result.ci)}
    if result.p_value is not None:
        # sacreBLEU counts resamples strictly beyond the difference, so two identical systems would get 1 / (n + 1)
        row[f"{key}_p_value"] = 1.0 if result.score == baseline_score else float(result.p_value)
    return row
