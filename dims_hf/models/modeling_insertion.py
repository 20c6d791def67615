# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Insertion Transformer: the decoder predicts a word, or nothing, for every gap of a target.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), V vocabulary, D hidden.
"""

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import can_return_tuple

from .configuration_insertion import InsertionConfig
from .modeling_nat import NATModel, NATSeq2SeqLMOutput
from .modeling_translation import NATForConditionalGeneration


class InsertionModel(NATModel):
    """Insertion Transformer encoder and decoder without heads."""

    config_class = InsertionConfig
    _keys_to_ignore_on_load_unexpected = [r"^gap_projection\."]


class InsertionForConditionalGeneration(NATForConditionalGeneration):
    """
    Insertion Transformer with tied vocabulary projection. `generate` starts from `<s> </s>` and inserts into all gaps
    at once, so that a sentence of N words takes ⌊log2 N⌋ + 1 passes at best, and one more that inserts nothing.

    Source: Stern et al. 2019 (arXiv 1902.03249).

    ```python
    >>> import torch
    >>> from dims_hf import InsertionConfig, InsertionForConditionalGeneration
    >>> config = InsertionConfig(vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1,
    ...     encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)
    >>> model = InsertionForConditionalGeneration(config).eval()
    >>> outputs = model(torch.tensor([[0, 7, 8, 2]]), decoder_input_ids=torch.tensor([[0, 9, 2]]))
    >>> tuple(outputs.logits.shape)  # of the gap after each token, the last of which is none
    (1, 3, 20)

    ```"""

    config_class = InsertionConfig
    model_class = InsertionModel

    def add_heads(self, config: InsertionConfig) -> None:
        self.gap_projection = nn.Linear(2 * config.d_model, config.d_model)

    def gap_states(self, hidden_states: torch.Tensor, is_token: torch.Tensor) -> torch.Tensor:
        """
        States (B, T, D), to be projected to the vocabulary, of the gap after each token; the last token has no gap,
        and zeros as its neighbour.

        Args:
            hidden_states (`torch.FloatTensor` of shape `(B, T, D)`): last decoder states.
            is_token (`torch.BoolTensor` of shape `(B, T)`): True for tokens.
        """
        known = hidden_states * is_token.unsqueeze(2).to(hidden_states.dtype)
        width = known.shape[1]
        has_gap = torch.arange(width, device=known.device).view(1, -1, 1) != width - 1
        # `roll` brings the first token behind the last one, where zeros belong
        following = known.roll(-1, dims=1) * has_gap.to(known.dtype)
        return self.gap_projection(torch.cat([hidden_states, following], dim=-1))

    @can_return_tuple
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
        logits_positions: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> NATSeq2SeqLMOutput:
        """
        One decoder pass over a target, of which some words may be missing.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, S)`): source `<s> … </s>`.
            attention_mask (`torch.Tensor` of shape `(B, S)`, *optional*): 1 for tokens; default from `pad_token_id`.
            decoder_input_ids (`torch.LongTensor` of shape `(B, T)`): what there is of the target, **not shifted**.
            decoder_attention_mask (`torch.Tensor` of shape `(B, T)`, *optional*): 1 for tokens.
            labels (`torch.LongTensor` of shape `(B, T)`, *optional*): a word for the gap after each token,
                `pad_token_id` for nothing, -100 where no loss is wanted.
            encoder_outputs (*optional*): output of the encoder, to skip it.
            inputs_embeds, decoder_inputs_embeds (`torch.FloatTensor`, *optional*): instead of ids.
            logits_positions (`torch.BoolTensor` of shape `(B, T)`, *optional*): project only the gaps after these
                tokens to the vocabulary; `labels` are read there only.
            num_items_in_batch (`int`, *optional*): divides the loss instead of the number of labels.

        Returns:
            [`NATSeq2SeqLMOutput`], its `logits` (B, T, V) being those of the gaps after tokens.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            return_dict=True,
            **kwargs,
        )
        is_token = self.model.decoder.token_mask(decoder_input_ids, decoder_inputs_embeds, decoder_attention_mask)
        states = self.gap_states(outputs.last_hidden_state, is_token.ne(0))
        logits = self.project_vocabulary(states if logits_positions is None else states[logits_positions])
        loss = None
        if labels is not None:
            labels = labels if logits_positions is None else labels[logits_positions]
            num_items = labels.ne(-100).sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
            loss = nn.functional.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), reduction="sum")
            loss = loss / num_items
        keep_hidden = labels is not None or logits_positions is not None
        return self.make_output(outputs, logits, loss, keep_hidden=keep_hidden)


__all__ = ["InsertionForConditionalGeneration", "InsertionModel"]
