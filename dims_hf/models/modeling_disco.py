# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""DisCo: a decoder that scores every position of a target given a context of its own, in one pass.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), R decoder rows, V vocabulary, D hidden.
"""

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from .configuration_disco import DisCoConfig
from .modeling_length import LengthPredictionForConditionalGeneration
from .modeling_nat import NATDecoder, NATDecoderLayer, NATModel, NATSeq2SeqLMOutput, position_ids_from_mask


def find_sights(
    visibility: torch.Tensor | None, is_token: torch.Tensor, is_anchor: torch.Tensor, is_mask: torch.Tensor
) -> torch.Tensor:
    """
    Which tokens each position sees.

    Content sees `<s>`, `</s>` and the tokens of its context, never itself and never a mask; `<s>`, `</s>` and padding
    see `<s>` and `</s>` alone, so that nothing comes back to a position by way of another. A row that would see
    nothing sees everything: its output is never used.

    Args:
        visibility (`torch.BoolTensor` of shape `(B, T, T)`, *optional*): [b, i, j] where i's context has j; default:
            every token that is no mask.
        is_token, is_anchor, is_mask (`torch.BoolTensor` of shape `(B, T)`): True for tokens, for `<s>` and `</s>`, and
            for masks.

    Returns:
        `torch.BoolTensor` of shape `(B, T, T)`.
    """
    shown = is_token & ~is_mask
    # [b, 1, j]: who is seen does not depend on who looks
    context = shown.unsqueeze(1) if visibility is None else visibility & shown.unsqueeze(1)
    own = torch.eye(is_token.shape[1], dtype=torch.bool, device=is_token.device)
    is_content = is_token & ~is_anchor
    sights = (context & ~own & is_content.unsqueeze(2)) | (is_anchor & is_token).unsqueeze(1)
    # a softmax over nothing is NaN in some backends
    return sights | ~sights.any(dim=2, keepdim=True)


class DisCoDecoderLayer(NATDecoderLayer):
    """As the shared layer, but keys and values of self-attention are tokens as they are, the same for all layers."""

    def forward(  # type: ignore[override]  # its stack always gives it a context
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        context: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        cross_key_values: tuple[torch.Tensor, torch.Tensor] | None = None,
        output_positions: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        attended, _ = self.self_attn(
            hidden_states, attention_mask, self.self_attn.project_key_values(context), **kwargs
        )
        return self.read_source(
            self.residual(attended, hidden_states, self.self_attn_layer_norm),
            encoder_hidden_states,
            encoder_attention_mask,
            cross_key_values,
            output_positions,
            **kwargs,
        )


class DisCoDecoder(NATDecoder):
    """
    Two streams: what a position is (token and position embedding, never contextualised) is looked at by others; what
    it predicts grows from its position embedding alone and never holds its own token.

    Source: Kasai et al. 2020 (arXiv 2001.05136), §2.2.
    """

    layer_class = DisCoDecoderLayer
    # Every position has a mask of its own, which these backends do not take as a tensor.
    _supports_flash_attn = False
    _supports_flex_attn = False

    def begin(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        token_mask: torch.Tensor,
        visibility: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Position embeddings (R, T, D), scaled as tokens are, and what each layer's self-attention sees."""
        context = self.embed(input_ids, inputs_embeds, token_mask)
        # without the token: a position must not know what it is to predict
        queries = self.embed_positions(position_ids_from_mask(token_mask)) * self.embed_tokens.scale
        queries = nn.functional.dropout(queries, p=self.config.dropout, training=self.training)
        is_token = token_mask.ne(0)
        if input_ids is None:
            assert inputs_embeds is not None  # one of the two is given
            input_ids = self.nearest_ids(inputs_embeds)
        is_mask = input_ids == self.config.mask_token_id
        is_anchor = (input_ids == self.config.bos_token_id) | (input_ids == self.config.eos_token_id)
        sights = find_sights(visibility, is_token, is_anchor, is_mask).unsqueeze(1)
        if self.config._attn_implementation == "eager":
            # eager attention adds its mask; the others take booleans
            lowest = torch.finfo(queries.dtype).min
            sights = torch.zeros_like(sights, dtype=queries.dtype).masked_fill(~sights, lowest)
        return queries.to(context.dtype), {"attention_mask": sights, "context": context}


class DisCoModel(NATModel):
    """DisCo encoder and decoder without the vocabulary projection and the length predictor."""

    config_class = DisCoConfig
    decoder_class = DisCoDecoder
    _no_split_modules = ["NATEncoderLayer", "DisCoDecoderLayer"]
    _supports_flash_attn = False
    _supports_flex_attn = False
    _keys_to_ignore_on_load_unexpected = [r"^length_head\."]


class DisCoForConditionalGeneration(LengthPredictionForConditionalGeneration):
    """
    DisCo with tied vocabulary projection and length predictor. One pass scores every position of a target, each given
    other tokens, so that training learns from all tokens of a sentence at once; `generate` goes easy first: every pass
    predicts all positions again, each seeing those that were surer in the first pass.

    `forward` takes `decoder_input_ids` with or without masks: a mask is seen by none, and `visibility` says what else
    is not.

    Source: Kasai et al. 2020 (arXiv 2001.05136).

    ```python
    >>> import torch
    >>> from dims_hf import DisCoConfig, DisCoForConditionalGeneration
    >>> config = DisCoConfig(vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1,
    ...     encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)
    >>> model = DisCoForConditionalGeneration(config).eval()
    >>> source = torch.tensor([[0, 7, 8, 2]])
    >>> target = torch.tensor([[0, 9, 11, 6, 2]])  # no masks: each token is scored given the two others
    >>> tuple(model(source, decoder_input_ids=target).logits.shape)
    (1, 5, 20)

    ```"""

    config_class = DisCoConfig
    model_class = DisCoModel
    _supports_flash_attn = False
    _supports_flex_attn = False

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        visibility: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> NATSeq2SeqLMOutput:
        """
        One decoder pass over a target; see [`find_sights`] for what each position sees.

        Args:
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask, labels, encoder_outputs,
                inputs_embeds, decoder_inputs_embeds, kwargs: as for the other families that predict lengths.
            visibility (`torch.BoolTensor` of shape `(B, T, T)`, *optional*): [b, i, j] where position i may see the
                token at j.

        Returns:
            [`NATSeq2SeqLMOutput`].
        """
        options = {} if visibility is None else {"decoder_options": {"visibility": visibility}}
        return super().forward(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            labels,
            encoder_outputs,
            inputs_embeds,
            decoder_inputs_embeds,
            **options,
            **kwargs,
        )


__all__ = ["DisCoForConditionalGeneration", "DisCoModel"]
