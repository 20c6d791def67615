# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Floating-point operations and bytes that a translation cannot do without, and the time limit that follows.

Counted are matrix multiplications and the weights they read, by formula for the families that have one; for others
`torch.utils.flop_counter` counts a translation, and the results say so. Not counted are norms, softmax, look-ups of
embeddings, traffic of activations, and padding: a system that does such work is further from its limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from dims_hf.benchmark.workloads import FIRST_ORDINARY_ID


if TYPE_CHECKING:
    from transformers import PreTrainedModel


BYTES_PER_WEIGHT = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class Dimensions:
    """
    What of a model decides its cost.

    Args:
        d_model, ffn_dim, encoder_layers, decoder_layers, vocab_size (`int`): as configurations call them; `ffn_dim`
            is the encoder's.
        decoder_ffn_dim (`int`, *optional*): default: the encoder's.
        has_correction (`bool`): the model is a CMLMC: its decoder layers have a second self-attention, and a
            projection joins tokens and positions.
    """

    d_model: int
    ffn_dim: int
    encoder_layers: int
    decoder_layers: int
    vocab_size: int
    decoder_ffn_dim: int | None = None
    has_correction: bool = False

    @property
    def joining_weights(self) -> int:
        """What joins tokens and positions in either stack: nothing, where they are added."""
        return 2 * self.d_model**2 if self.has_correction else 0

    @property
    def decoder_feed_forward_weights(self) -> int:
        """Matrix entries of a decoder layer's feed-forward."""
        return 2 * self.d_model * (self.decoder_ffn_dim or self.ffn_dim)

    @property
    def encoder_weights(self) -> int:
        """Matrix entries of the encoder: four projections and the feed-forward in each layer."""
        return self.encoder_layers * (4 * self.d_model**2 + 2 * self.d_model * self.ffn_dim) + self.joining_weights

    @property
    def cross_weights(self) -> int:
        """Key and value projections of cross-attention, applied to the source once."""
        return self.decoder_layers * 2 * self.d_model**2

    @property
    def decoder_weights(self) -> int:
        """Matrix entries of the decoder that every target position passes: all but [`cross_weights`]."""
        attention = (10 if self.has_correction else 6) * self.d_model**2
        return self.decoder_layers * (attention + self.decoder_feed_forward_weights) + self.joining_weights

    @property
    def shared_weights(self) -> int:
        """Those before a target looks at its source: the first layer's self-attention, and its queries."""
        return (9 if self.has_correction else 5) * self.d_model**2 + self.joining_weights

    @property
    def last_layer_weights(self) -> int:
        """Those of the last decoder layer that only predicted positions need: all from the last keys and values on."""
        return 4 * self.d_model**2 + self.decoder_feed_forward_weights

    @property
    def vocabulary_weights(self) -> int:
        """The projection to the vocabulary."""
        return self.d_model * self.vocab_size

    @property
    def weights(self) -> int:
        """All matrix entries a translation reads."""
        return self.encoder_weights + self.cross_weights + self.decoder_weights + self.vocabulary_weights


@dataclass(frozen=True)
class Phase:
    """A stretch of work that must end before the next begins: operations, and weights read once each."""

    flops: float
    weights: float


@dataclass(frozen=True)
class Work:
    """
    The phases of one batch.

    Args:
        phases (`tuple[Phase, ...]`): in their order.
        source (`str`): who counted: `formula`, or `torch.utils.flop_counter`.
    """

    phases: tuple[Phase, ...]
    source: str = "formula"

    @property
    def flops(self) -> float:
        """Floating-point operations; a multiplication and its addition are two."""
        return sum(phase.flops for phase in self.phases)

    @property
    def weights(self) -> float:
        """Weights read, as often as they are read."""
        return sum(phase.weights for phase in self.phases)

    def limit(self, precision: str, rate: float, bandwidth: float) -> float:
        """
        Seconds no program can beat on a machine: per phase, arithmetic or memory, whichever takes longer.

        Args:
            precision (`str`): `fp32`, `bf16`, `fp16` or `int8`, of the weights.
            rate (`float`): operations per second of the best matrix multiplication in that precision.
            bandwidth (`float`): bytes per second read from memory.
        """
        size = BYTES_PER_WEIGHT[precision]
        return sum(max(phase.flops / rate, phase.weights * size / bandwidth) for phase in self.phases)


def count_one_shot(
    dimensions: Dimensions,
    source_tokens: float,
    target_tokens: float,
    *,
    batch_size: int = 1,
    predicted: Sequence[float] | None = None,
    num_candidates: int = 1,
) -> Work:
    """
    Work of a non-autoregressive model: the encoder once, the decoder over all positions once per pass. Of the last
    layer, positions that are not predicted need keys and values alone; in the first pass, targets of masks alone need
    what comes before they look at their sources once per length, of which each candidate has at least one.

    Args:
        dimensions ([`Dimensions`]): of the model.
        source_tokens, target_tokens (`float`): positions per sentence that encoder and decoder see, `<s>` and `</s>`
            counted; of an Imputer, those of the alignment.
        batch_size (`int`): sentences.
        predicted (`Sequence[float]`, *optional*): positions projected to the vocabulary in each pass; default: one
            pass that projects all.
        num_candidates (`int`): length candidates per sentence; keys and values of the source serve all of them.
    """
    predicted = [target_tokens] if predicted is None else predicted
    rows = batch_size * num_candidates
    phases = [_encode(dimensions, source_tokens, batch_size)]
    for index, positions in enumerate(predicted):
        flops = rows * _decoder_flops(dimensions, target_tokens, target_tokens, source_tokens)
        # positions that are not predicted still give keys and values to the others
        flops -= rows * _unused_flops(dimensions, target_tokens - positions, target_tokens + source_tokens)
        flops += rows * 2 * positions * dimensions.vocabulary_weights
        weights = dimensions.decoder_weights + dimensions.vocabulary_weights
        if index == 0:
            # masks of one length are the same for every sentence: begun once per candidate length
            flops -= (rows - num_candidates) * _shared_flops(dimensions, target_tokens)
            flops += batch_size * 2 * source_tokens * dimensions.cross_weights
            weights += dimensions.cross_weights
        phases.append(Phase(flops, weights))
    return Work(tuple(phases))


def count_autoregressive(
    dimensions: Dimensions, source_tokens: float, target_tokens: int, *, batch_size: int = 1, num_beams: int = 1
) -> Work:
    """
    Work of token-by-token decoding with a cache: every step reads decoder and vocabulary weights again.

    Args:
        dimensions ([`Dimensions`]): of the model.
        source_tokens (`float`): positions per sentence that the encoder sees.
        target_tokens (`int`): steps of the decoder.
        batch_size (`int`): sentences.
        num_beams (`int`): hypotheses per sentence, from the first step on.
    """
    rows = batch_size * num_beams
    crossing = Phase(batch_size * 2 * source_tokens * dimensions.cross_weights, dimensions.cross_weights)
    phases = [_encode(dimensions, source_tokens, batch_size), crossing]
    for step in range(1, target_tokens + 1):
        flops = _decoder_flops(dimensions, 1, step, source_tokens) + 2 * dimensions.vocabulary_weights
        phases.append(Phase(rows * flops, dimensions.decoder_weights + dimensions.vocabulary_weights))
    return Work(tuple(phases))


def count_by_running(
    model: PreTrainedModel, source_tokens: float, *, batch_size: float, num_tokens: int | None = None, **options: Any
) -> Work:
    """
    Work of a model without a formula: operations of `generate` on one source, as torch counts them, for each sentence;
    those of attention included, which torch's counter leaves out on a CPU.

    One phase, whose weights are the model's matrices, each read once: the limit is lower than that of a formula, which
    knows what must be read again.

    Args:
        model (`PreTrainedModel`): on any device; random ids are its source.
        source_tokens (`float`): positions of a source, `<s>` and `</s>` counted.
        batch_size (`float`): sentences.
        num_tokens (`int`, *optional*): content tokens of the translation of a model that predicts its length; default:
            as many as it predicts.
        options (`Any`): of `generate`.
    """
    from torch.utils.flop_counter import FlopCounterMode

    config, length = model.config, max(3, round(source_tokens))
    generator = torch.Generator().manual_seed(0)
    # `<s>` and `</s>` are added below
    row = torch.randint(FIRST_ORDINARY_ID, config.vocab_size, (1, length - 2), generator=generator)
    ends = (torch.full((1, 1), token) for token in (config.bos_token_id, config.eos_token_id))
    first, last = ends
    source = torch.cat([first, row, last], dim=1).to(model.device)
    if num_tokens is not None:
        options["target_lengths"] = torch.tensor([num_tokens], device=model.device)
    # torch's counter knows the operators of GPUs alone
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={attention: _attention_flops})
    with counter, torch.inference_mode():
        model.generate(source, torch.ones_like(source), **options)
    # matrices and tables; biases and norms are next to nothing
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() > 1)
    return Work((Phase(batch_size * counter.get_total_flops(), weights),), source="torch.utils.flop_counter")


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Operations of fused attention, from the shapes of what it reads."""
    from torch.utils.flop_counter import sdpa_flop_count

    return sdpa_flop_count(query, key, value)


def predicted_positions(num_tokens: int, num_iterations: int, *, all_positions: bool = False) -> list[int]:
    """
    Positions that each pass of mask-predict projects: all N, then the ⌊N (k − i) / k⌋ that were masked again.

    Source: Ghazvininejad et al. 2019 (arXiv 1904.09324), §3.

    Args:
        num_tokens (`int`): content tokens N.
        num_iterations (`int`): passes k; those with nothing left to predict are not run.
        all_positions (`bool`): the model corrects itself and predicts every position in every pass.
    """
    counts = [num_tokens * (num_iterations - index) // num_iterations for index in range(num_iterations)]
    return [num_tokens if all_positions else count for count in counts if count or all_positions]


def predicted_alignment_positions(
    num_positions: int, num_iterations: int, *, all_positions: bool = False
) -> list[int]:
    """
    Positions that each pass of block-wise unmasking projects: all A, then the masks that are left. A block of c has
    ⌊c (k − i) / k⌋ after pass i, but a last block of one position waits for the second pass.

    Source: Saharia et al. 2020 (arXiv 2004.07437); counts as `step_block_unmasking`, without `legacy_adjacency`.

    Args:
        num_positions (`int`): positions A of the alignment, in blocks of k.
        num_iterations, all_positions: as for [`predicted_positions`].
    """
    if all_positions:
        return [num_positions] * num_iterations
    num_blocks, rest = divmod(num_positions, num_iterations)
    counts = [
        num_blocks * (num_iterations - index) + rest * (num_iterations - index) // num_iterations
        for index in range(num_iterations)
    ]
    # a last block of one position waits for the second pass
    if rest == 1 and num_blocks:
        counts[1] += 1
    return [count for count in counts if count]


def _encode(dimensions: Dimensions, tokens: float, batch_size: int) -> Phase:
    attention = 4 * tokens**2 * dimensions.d_model * dimensions.encoder_layers
    return Phase(batch_size * (2 * tokens * dimensions.encoder_weights + attention), dimensions.encoder_weights)


def _decoder_flops(dimensions: Dimensions, queries: float, keys: float, source_tokens: float) -> float:
    """Self-attention over `keys`, cross-attention over the source, and every matrix, for `queries` positions."""
    attended = _self_attended(dimensions, keys) + source_tokens
    attention = 4 * queries * attended * dimensions.d_model * dimensions.decoder_layers
    return 2 * queries * dimensions.decoder_weights + attention


def _unused_flops(dimensions: Dimensions, positions: float, keys: float) -> float:
    """What the last decoder layer need not do for positions that are not predicted."""
    return positions * (2 * dimensions.last_layer_weights + 4 * keys * dimensions.d_model)


def _shared_flops(dimensions: Dimensions, positions: float) -> float:
    """What decoding a target of masks alone begins with, whatever its source."""
    attention = 4 * positions * _self_attended(dimensions, positions) * dimensions.d_model
    return 2 * positions * dimensions.shared_weights + attention


def _self_attended(dimensions: Dimensions, keys: float) -> float:
    """Positions that one looks at in a layer's self-attention: CMLMC's causal one has half of them in the mean."""
    return (1.5 if dimensions.has_correction else 1) * keys
