# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Comparison of exported graphs with PyTorch, token for token, which tells a near tie from a fault."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dims_hf.models.source_text import join_pieces, prepare_sources

from .folders import verified_batches


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .onnx_translator import OnnxTranslator

# A sum of n products in single precision is exact for weights that differ relatively by about sqrt(n) · 2^-24 (at most
# n · 2^-24: Higham 2002, Accuracy and Stability of Numerical Algorithms, §3.1); sqrt(n) is 16 for 256 dimensions.
_ROUNDING = 2.0**-20

# Draws of rounding errors. A tie that either side may win is won by the other one in some of them.
_NUM_DRAWS = 32

# What the scores of the same tokens may differ by, relatively.
_SCORE_TOLERANCE = 1e-5


@dataclass
class Comparison:
    """
    What was compared.

    Args:
        num_sequences, num_tokens (`int`): sequences, and the tokens of those of PyTorch.
        num_near_ties (`int`): sequences that differ, but that PyTorch gives as well when its weights are rounded
            otherwise.
        largest_score_difference (`float`): of sequences with the same tokens.
    """

    num_sequences: int = 0
    num_tokens: int = 0
    num_near_ties: int = 0
    largest_score_difference: float = field(default=0.0)


def verify(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, translator: OnnxTranslator, sentences: Sequence[str]
) -> dict[str, Any]:
    """
    Compares ids and texts with PyTorch's on sentences and on random ids, alone and in padded batches.

    Two programs that add in another order round otherwise, and where two translations score the same but for that,
    each of them may take another one. A sequence that differs is such a near tie only if PyTorch itself gives its
    tokens, at the same score, once its weights are moved by as little as rounding amounts to (the backward error of
    single precision). Anything else is a fault.

    Returns:
        `dict`: the fields of [`Comparison`].

    Raises:
        ValueError: for the first sequence, or text, that differs and is no near tie.
    """
    from dims_hf.models.modes import evaluation_mode

    counts = Comparison()
    with evaluation_mode(model), torch.inference_mode():
        for rows in verified_batches(translator, sentences):
            for beam in (1, 3) if translator.predicts_length else (1,):
                _compare_batch(model, translator, rows, beam, counts)
        for text, translation in zip(sentences, translator.translate(sentences)):
            _compare_text(model, tokenizer, translator, text, translation)
    return asdict(counts)


def _compare_batch(
    model: PreTrainedModel, translator: OnnxTranslator, rows: list[list[int]], beam: int, counts: Comparison
) -> None:
    found = _unpadded(translator, *translator.generate(*translator.pad(rows), length_beam_size=beam))
    wanted = _generate(model, translator, rows, beam)
    counts.num_sequences += len(rows)
    counts.num_tokens += sum(len(ids) for ids, _ in wanted)
    for row, (ids, score), (expected, expected_score) in zip(rows, found, wanted):
        if ids == expected:
            difference = abs(score - expected_score)
            counts.largest_score_difference = max(counts.largest_score_difference, difference)
            continue

        def agrees(other: PreTrainedModel, row: list[int] = row, ids: list[int] = ids, score: float = score) -> bool:
            ((again, value),) = _generate(other, translator, [row], beam)
            return again == ids and abs(value - score) <= _SCORE_TOLERANCE * max(1.0, abs(score))

        if not _is_near_tie(model, agrees):
            raise ValueError(
                f"The ONNX graphs do not give PyTorch's tokens: source {row} (length_beam_size={beam}, batch of "
                f"{len(rows)}) gave {ids} instead of {expected}, and rounding does not explain it. Nothing was "
                "written; this is a defect of the export, please report it."
            )
        counts.num_near_ties += 1


def _generate(
    model: PreTrainedModel, translator: OnnxTranslator, rows: list[list[int]], beam: int
) -> list[tuple[list[int], float]]:
    """Ids and score of PyTorch's translation of each row."""
    input_ids, attention_mask = map(torch.from_numpy, translator.pad(rows))
    generate: Any = model.generate
    output = generate(
        input_ids,
        attention_mask=attention_mask,
        num_iterations=translator.settings["num_iterations"],
        length_beam_size=beam,
        collapse_repeats=False,
        return_dict_in_generate=True,
    )
    return _unpadded(translator, output.sequences.numpy(), output.sequences_scores.numpy())


def _unpadded(translator: OnnxTranslator, sequences: np.ndarray, scores: np.ndarray) -> list[tuple[list[int], float]]:
    pad = translator.settings["pad_token_id"]
    ends = [int(np.flatnonzero(row != pad)[-1]) + 1 for row in sequences]
    return [(row[:end].tolist(), float(score)) for row, end, score in zip(sequences, ends, scores)]


def _compare_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    translator: OnnxTranslator,
    text: str,
    translation: str,
) -> None:
    """Tokenization, what is copied, collapsing of repeats and detokenization as the pipeline has them."""
    prepared = prepare_sources([text], tokenizer, translator.max_source_length)

    def read(some: PreTrainedModel) -> str:
        generate: Any = some.generate
        outputs = [
            generate(torch.tensor([ids]), num_iterations=translator.settings["num_iterations"])
            for ids in prepared.pieces
        ]
        pieces = [tokenizer.batch_decode(output, skip_special_tokens=True)[0] for output in outputs]
        return join_pieces(prepared, pieces, 1)[0]

    expected = read(model)
    if translation != expected and not _is_near_tie(model, lambda other: read(other) == translation):
        raise ValueError(
            f"The exported translator does not give the pipeline's text: {text!r} gave {translation!r} instead of "
            f"{expected!r}. Nothing was written; is the tokenizer more than its tokenizer.json?"
        )


def _is_near_tie(model: PreTrainedModel, agrees: Callable[[PreTrainedModel], bool]) -> bool:
    """Whether some model whose weights are rounded otherwise agrees."""
    return any(map(agrees, _rounded_otherwise(model)))


def _rounded_otherwise(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """The model with weights moved at random by as much as rounding does; one copy, changed from draw to draw."""
    moved = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    for _ in range(_NUM_DRAWS):
        for ours, theirs in zip(moved.parameters(), model.parameters()):
            draw = 2 * torch.rand(theirs.shape, generator=generator) - 1
            ours.data.copy_(theirs * (1 + _ROUNDING * draw))
        yield moved


__all__ = ["Comparison", "verify"]
