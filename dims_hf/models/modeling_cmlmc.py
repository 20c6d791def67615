# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""CMLM with correction: one more self-attention in each decoder layer, and positions joined by a projection.

Shapes: B batch, L length of either side, T target length (with `<s>` and `</s>`), D hidden.
"""

from typing import Any

import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

from .configuration_cmlmc import CMLMCConfig
from .modeling_length import LengthPredictionForConditionalGeneration
from .modeling_nat import (
    NATAttention,
    NATDecoder,
    NATDecoderLayer,
    NATEmbeddedStack,
    NATEncoder,
    NATModel,
    show_all_of_empty_rows,
)


class ProjectedPositions(NATEmbeddedStack):
    """Mixin of both stacks: token and position embedding are concatenated and projected instead of added."""

    def __init__(self, config: CMLMCConfig):
        super().__init__(config)
        self.embed_proj = nn.Linear(2 * config.d_model, config.d_model)
        self.post_init()

    def combine_positions(self, token_embeds: torch.Tensor, position_embeds: torch.Tensor) -> torch.Tensor:
        """Input of the first layer from token and position embeddings, all (B, L, D)."""
        return self.embed_proj(torch.cat([token_embeds, position_embeds], dim=-1))


class CMLMCEncoder(ProjectedPositions, NATEncoder):
    """The shared encoder with projected positions."""


class CausalAttention(NATAttention):
    """Attention to the left; without padding there may be no mask at all, and backends then ask the module."""

    def __init__(self, config: CMLMCConfig, num_heads: int):
        super().__init__(config, num_heads)
        self.is_causal = True


class CMLMCDecoderLayer(NATDecoderLayer):
    """Bidirectional self-attention, causal self-attention, cross-attention and feed-forward, all post-norm."""

    self_attention_class = CausalAttention

    def __init__(self, config: CMLMCConfig):
        super().__init__(config)
        self.self_attn_unmasked = NATAttention(config, config.decoder_attention_heads)
        self.self_attn_unmasked_layer_norm = nn.LayerNorm(config.d_model)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        *,
        unmasked_attention_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> torch.Tensor:
        # first the sublayer that sees both sides, then the causal one: the order of the reference
        attended, _ = self.self_attn_unmasked(hidden_states, unmasked_attention_mask)
        hidden_states = self.residual(attended, hidden_states, self.self_attn_unmasked_layer_norm)
        return super().forward(hidden_states, encoder_hidden_states, **kwargs)


def _show_all_where_nothing_is_seen(mask: Any) -> Any:
    """A 4-D mask, of booleans or to be added, under which padding on the left, with only padding before it, attends to
    all; masks of other kinds as they are."""
    if not isinstance(mask, torch.Tensor) or mask.dim() != 4:
        return mask
    sees_something = (mask if mask.dtype == torch.bool else mask == 0).any(dim=-1, keepdim=True)
    return mask | ~sees_something if mask.dtype == torch.bool else mask.masked_fill(~sees_something, 0.0)


class CMLMCDecoder(ProjectedPositions, NATDecoder):
    """Stack of [`CMLMCDecoderLayer`] with projected positions."""

    layer_class = CMLMCDecoderLayer
    # By class: older releases of transformers would take "self_attn" for a part of "self_attn_unmasked".
    _can_record_outputs = {**NATDecoder._can_record_outputs, "attentions": CausalAttention}

    def self_attention_masks(self, hidden_states: torch.Tensor, token_mask: torch.Tensor) -> dict:
        """Causal mask of the ordinary self-attention and bidirectional mask of the extra one."""
        config, shown = self.config, show_all_of_empty_rows(token_mask)
        causal = create_causal_mask(
            config=config, inputs_embeds=hidden_states, attention_mask=shown, past_key_values=None
        )
        # left padding has nothing to its left
        causal = _show_all_where_nothing_is_seen(causal)
        if config.legacy_unmasked_attn_no_pad_mask:
            # no mask at all, padding included: the reference's oversight, which imported weights were trained with
            return {"attention_mask": causal, "unmasked_attention_mask": None}
        unmasked = create_bidirectional_mask(config=config, inputs_embeds=hidden_states, attention_mask=shown)
        return {"attention_mask": causal, "unmasked_attention_mask": unmasked}


class CMLMCModel(NATModel):
    """CMLMC encoder and decoder without the vocabulary projection and the length predictor."""

    config_class = CMLMCConfig
    encoder_class = CMLMCEncoder
    decoder_class = CMLMCDecoder
    _no_split_modules = ["NATEncoderLayer", "CMLMCDecoderLayer"]
    _keys_to_ignore_on_load_unexpected = [r"^length_head\."]


class CMLMCForConditionalGeneration(LengthPredictionForConditionalGeneration):
    """
    CMLM with correction, with tied vocabulary projection and length predictor; translates with [`generate`].

    Checkpoints imported with `legacy_unmasked_attn_no_pad_mask` attend to padding: `generate` gives all sentences and
    length candidates of a call one right-padded grid, as the reference, and a translation depends on that grid.

    Source: Huang et al. 2022 (CMLMC, ICLR); sizes and objective as in Norouzi et al. 2023 (arXiv 2206.02999).

    ```python
    >>> import torch
    >>> from dims_hf import CMLMCConfig, CMLMCForConditionalGeneration
    >>> config = CMLMCConfig(vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1,
    ...     encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)
    >>> model = CMLMCForConditionalGeneration(config).eval()
    >>> source = torch.tensor([[0, 7, 8, 2]])
    >>> target = torch.tensor([[0, 4, 9, 4, 2]])  # two masked positions
    >>> tuple(model(source, decoder_input_ids=target).logits.shape)
    (1, 5, 20)

    ```"""

    config_class = CMLMCConfig
    model_class = CMLMCModel


__all__ = ["CMLMCForConditionalGeneration", "CMLMCModel"]
