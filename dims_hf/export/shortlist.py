# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A lexical shortlist: which target ids a source token makes likely, learnt from a parallel corpus.

Shapes: V vocabulary, K target ids per source token, F target ids of every sentence, P pairs of source and target id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dims_hf.models.capabilities import is_non_autoregressive


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# Target ids of each source token, and of every sentence, unless the caller says otherwise.
PER_TOKEN, FREQUENT = 50, 200

# After these, which ids come first hardly changes any more.
_NUM_ITERATIONS = 5

# Sentence pairs counted at once: what bounds the memory of a step.
_CHUNK_PAIRS = 10_000

# Links between source and target tokens that are looked at: about a gigabyte, and enough for a lexicon.
_MAX_LINKS = 100_000_000


@dataclass(frozen=True)
class Shortlist:
    """
    Target ids worth a look.

    Args:
        by_source (`np.ndarray` of shape `(V, K + 1)`): int32; for each source id its likeliest target ids, and itself,
            since names and numbers stay as they are. Rows with less to say repeat the id; the row of `<pad>` has none
            but its own.
        always (`np.ndarray` of shape `(F,)`): int32; target ids of every sentence.
        settings (`dict`): where it comes from, for `export.json`.
    """

    by_source: np.ndarray
    always: np.ndarray
    settings: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes both arrays as one `.npz`."""
        np.savez_compressed(path, by_source=self.by_source, always=self.always)


def corpus_shortlist(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: str | Path,
    source_lang: str,
    target_lang: str,
    *,
    per_token: int = PER_TOKEN,
    frequent: int = FREQUENT,
) -> Shortlist:
    """
    Shortlist of a model from the `train` split of a corpus.

    Args:
        model (`PreTrainedModel`): decides which special tokens can be written, and how long a sentence may be; ours
            or an autoregressive one.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer.
        data (`str` or `Path`): a corpus as [`load_corpus`] takes it; pairs that are too long are left out.
        source_lang, target_lang (`str`): its languages.
        per_token (`int`): likeliest target ids of each source id.
        frequent (`int`): most frequent target ids, kept for every sentence.

    Raises:
        ValueError: `per_token` is below 1, `frequent` below 0, or the corpus is missing or bad.
    """
    _check_sizes(per_token, frequent)
    from dims_hf.data import corpus_fingerprint, encode_corpus, load_corpus
    from dims_hf.reports.provenance import public_name

    corpus = load_corpus(data, source_lang, target_lang, splits=("train",))["train"]
    limit, size = model.config.max_position_embeddings, model.config.vocab_size
    rows = encode_corpus(
        corpus, tokenizer, max_source_length=limit, max_target_length=limit, vocab_size=size, drop_too_long=True
    )
    shortlist = build_shortlist(
        list(rows["input_ids"]),
        list(rows["labels"]),
        vocab_size=size,
        special_ids=_special_ids(model, tokenizer),
        suppressed_ids=_suppressed_ids(model),
        per_token=per_token,
        frequent=frequent,
    )
    origin = {"corpus": public_name(str(data)), "fingerprint": corpus_fingerprint(corpus), "num_pairs": len(rows)}
    shortlist.settings.update(origin)
    return shortlist


def build_shortlist(
    source_rows: Sequence[Sequence[int]],
    target_rows: Sequence[Sequence[int]],
    *,
    vocab_size: int,
    special_ids: Sequence[int],
    suppressed_ids: Sequence[int] = (),
    per_token: int = PER_TOKEN,
    frequent: int = FREQUENT,
) -> Shortlist:
    """
    Shortlist of encoded sentence pairs.

    Args:
        source_rows, target_rows (`Sequence[Sequence[int]]`): token ids `<s> … </s>`, none without content.
        vocab_size (`int`): V.
        special_ids (`Sequence[int]`): special tokens. They count among no frequent ids, and stay in every shortlist
            unless they are suppressed.
        suppressed_ids (`Sequence[int]`): ids that decoding never predicts.
        per_token, frequent (`int`): as for [`corpus_shortlist`].

    Raises:
        ValueError: `per_token` is below 1 or `frequent` below 0.
    """
    _check_sizes(per_token, frequent)
    by_source = likeliest_targets(*lexical_probabilities(source_rows, target_rows, vocab_size), vocab_size, per_token)
    writable = sorted(set(special_ids) - set(suppressed_ids))
    always = np.union1d(writable, frequent_targets(target_rows, vocab_size, special_ids, frequent)).astype(np.int32)
    return Shortlist(by_source, always, {"per_token": per_token, "frequent": frequent})


def lexical_probabilities(
    source_rows: Sequence[Sequence[int]],
    target_rows: Sequence[Sequence[int]],
    vocab_size: int,
    *,
    num_iterations: int = _NUM_ITERATIONS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Probability of a target id given a source id, for those that share a sentence pair. `<s>` of the source stands for
    the empty word, which yields what comes from no word in particular.

    Source: IBM model 1, Brown et al. 1993 (Computational Linguistics 19.2), §4.

    Args:
        source_rows, target_rows (`Sequence[Sequence[int]]`): token ids `<s> … </s>`, none without content.
        vocab_size (`int`): above every id.
        num_iterations (`int`): of expectation maximisation, from equal probabilities.

    Returns:
        `tuple`: source ids (P,), ascending, target ids (P,) and probabilities (P,) that sum to 1 for each source id.
    """
    keys, chunks = _count_pairs(source_rows, target_rows, vocab_size)
    sources = keys // vocab_size
    # equal, not normalised: the first step normalises for each target token
    probabilities = np.ones(len(keys))
    for _ in range(num_iterations):
        counts = np.zeros(len(keys))
        for pairs, links, starts in chunks:
            weights = probabilities[pairs][links]
            # of the links of each target token, which lie side by side
            totals = np.add.reduceat(weights, starts)
            weights /= np.repeat(totals, np.diff(starts, append=len(weights)))
            counts[pairs] += np.bincount(links, weights, minlength=len(pairs))
        probabilities = counts / np.bincount(sources, counts)[sources]
    return sources, keys % vocab_size, probabilities


def likeliest_targets(
    sources: np.ndarray, targets: np.ndarray, probabilities: np.ndarray, vocab_size: int, per_token: int
) -> np.ndarray:
    """
    The `per_token` likeliest target ids of each source id, and itself; ties go to the lower id.

    Args:
        sources, targets, probabilities (`np.ndarray` of shape `(P,)`): of [`lexical_probabilities`].
        vocab_size, per_token (`int`): V and K.

    Returns:
        `np.ndarray`: int32 (V, K + 1); where a source id has fewer targets, its row repeats the id.
    """
    order = np.lexsort((targets, -probabilities, sources))
    sources, targets = sources[order], targets[order]
    # place in the list of its own source id, whose first place is where it would be inserted
    rank = np.arange(len(sources)) - np.searchsorted(sources, sources)
    is_kept = rank < per_token
    # filled up with the id itself, which is listed anyway
    table = np.repeat(np.arange(vocab_size, dtype=np.int32)[:, None], per_token + 1, axis=1)
    table[sources[is_kept], rank[is_kept]] = targets[is_kept]
    return table


def frequent_targets(
    target_rows: Sequence[Sequence[int]], vocab_size: int, special_ids: Sequence[int], frequent: int
) -> np.ndarray:
    """The `frequent` most frequent target ids that occur and are not special; ties go to the lower id."""
    counts = np.bincount(_flat(target_rows)[0], minlength=vocab_size)
    # `</s>` is in every sentence and would be first
    counts[list(special_ids)] = 0
    order = np.argsort(-counts, kind="stable")[:frequent]
    return order[counts[order] > 0]


def _check_sizes(per_token: int, frequent: int) -> None:
    for name, value, least in (("per_token", per_token, 1), ("frequent", frequent, 0)):
        if value < least:
            raise ValueError(f"A shortlist needs {name} >= {least}, got {value}. Leave it out for the default.")


def _suppressed_ids(model: PreTrainedModel) -> list[int]:
    """Ids that decoding never predicts: of an autoregressive model, padding."""
    if is_non_autoregressive(model.config):
        return cast(Any, model).suppressed_token_ids()
    return [model.config.pad_token_id]


def _special_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Special tokens of the tokenizer and of the model, an Imputer's blank among them."""
    names = [f"{name}_token_id" for name in ("bos", "pad", "eos", "unk", "mask", "blank")]
    ids = {getattr(model.config, name, None) for name in names} - {None}
    return sorted(ids | set(tokenizer.all_special_ids))


def _flat(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """All ids one after the other, and how many each row has."""
    sizes = np.fromiter(map(len, rows), np.int64, len(rows))
    return np.fromiter(chain.from_iterable(rows), np.int64, sizes.sum()), sizes


def _count_pairs(
    source_rows: Sequence[Sequence[int]], target_rows: Sequence[Sequence[int]], vocab_size: int
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """
    Pairs of ids that share a sentence pair, as `source * vocab_size + target` (P,), ascending, and for each chunk of
    the corpus: which pairs it has, which of these each link is, and where the links of a target token start.
    """
    found = [
        (*np.unique(keys, return_inverse=True), starts)
        for keys, starts in _link_chunks(source_rows, target_rows, vocab_size)
    ]
    keys = np.unique(np.concatenate([pairs for pairs, _, _ in found]))
    return keys, [(np.searchsorted(keys, pairs), links.astype(np.int32), starts) for pairs, links, starts in found]


def _link_chunks(
    source_rows: Sequence[Sequence[int]], target_rows: Sequence[Sequence[int]], vocab_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Keys of the links of every target token with every source token, and where each target token's start."""
    step = _thinning(source_rows, target_rows)
    # `<s>` stays, as the empty word
    sources = [row[:-1] for row in source_rows[::step]]
    targets = [row[1:-1] for row in target_rows[::step]]
    for start in range(0, len(sources), _CHUNK_PAIRS):
        source_ids, source_sizes = _flat(sources[start : start + _CHUNK_PAIRS])
        target_ids, target_sizes = _flat(targets[start : start + _CHUNK_PAIRS])
        # links of each target token: as many as its sentence has source tokens
        fan = np.repeat(source_sizes, target_sizes)
        starts = np.cumsum(fan) - fan
        sentence = np.repeat(np.cumsum(source_sizes) - source_sizes, target_sizes)
        places = np.arange(fan.sum()) - np.repeat(starts - sentence, fan)
        yield source_ids[places] * vocab_size + np.repeat(target_ids, fan), starts


def _thinning(source_rows: Sequence[Sequence[int]], target_rows: Sequence[Sequence[int]]) -> int:
    """1, or every which pair is looked at where all would be too many links."""
    links = sum(len(source) * len(target) for source, target in zip(source_rows, target_rows, strict=True))
    step = -(-links // _MAX_LINKS)
    if step > 1:
        logger.info("The shortlist is learnt from one in %d of %d sentence pairs.", step, len(source_rows))
    return step
