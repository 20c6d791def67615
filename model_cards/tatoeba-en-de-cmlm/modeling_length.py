# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The length predictor, for the families that fix the length of a translation before they decode it.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), M selected positions, V vocabulary,
D hidden.
"""

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import can_return_tuple

from .configuration_nat import LengthPredictionConfig
from .modeling_nat import NATSeq2SeqLMOutput, masked_mean
from .modeling_translation import NATForConditionalGeneration


class LengthPredictionForConditionalGeneration(NATForConditionalGeneration):
    """
    Translation model with a length predictor, trained on the masked tokens of a target and on its length. A family
    names its own classes and adds nothing else.
    """

    config: LengthPredictionConfig

    def add_heads(self, config: Any) -> None:
        self.length_head = nn.Linear(config.d_model, config.max_target_length, bias=False)

    def predict_length(self, encoder_hidden_states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """
        Length logits from encoder states averaged over source tokens (`<s>` and `</s>` included).

        Args:
            encoder_hidden_states (`torch.FloatTensor` of shape `(B, S, D)`): encoder output.
            attention_mask (`torch.Tensor` of shape `(B, S)`): non-zero for tokens.

        Returns:
            `torch.FloatTensor` of shape `(B, max_target_length)`; class c means c target tokens with `<s>` and `</s>`.
        """
        return self.length_head(masked_mean(encoder_hidden_states, attention_mask))

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
        return_length_logits: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs,
    ) -> NATSeq2SeqLMOutput:
        """
        One decoder pass over a partially masked target.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, S)`): source `<s> … </s>`.
            attention_mask (`torch.Tensor` of shape `(B, S)`, *optional*): 1 for tokens; default from `pad_token_id`.
            decoder_input_ids (`torch.LongTensor` of shape `(B, T)`): target with masks, **not shifted**.
            decoder_attention_mask (`torch.Tensor` of shape `(B, T)`, *optional*): 1 for tokens.
            labels (`torch.LongTensor` of shape `(B, T)`, *optional*): target tokens, -100 where no loss is wanted.
            encoder_outputs (*optional*): output of the encoder, to skip it.
            inputs_embeds, decoder_inputs_embeds (`torch.FloatTensor`, *optional*): instead of ids.
            logits_positions (`torch.BoolTensor` of shape `(B, T)`, *optional*): project only these positions to the
                vocabulary; `logits` are then (M, V) in row-major order, and `labels` are read there only.
            return_length_logits (`bool`, *optional*): adds `length_logits` when no `labels` are given.
            num_items_in_batch (`int`, *optional*): divides the token loss instead of the number of labels.

        Returns:
            [`NATSeq2SeqLMOutput`].

        Raises:
            ValueError: for a missing decoder input or a sequence longer than the position table.
        """
        outputs, logits = self.run_stacks(
            logits_positions,
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            **kwargs,
        )
        length_logits = loss = None
        if labels is not None or return_length_logits:
            source_states = outputs["encoder_last_hidden_state"]
            is_source = self.source_mask(input_ids, attention_mask, source_states)
            length_logits = self.predict_length(source_states, is_source)
            if labels is not None:
                target_mask = self.model.decoder.token_mask(
                    decoder_input_ids, decoder_inputs_embeds, decoder_attention_mask
                )
                tokens = labels if logits_positions is None else labels[logits_positions]
                loss = self._loss(logits, tokens, length_logits, target_mask, num_items_in_batch)
        keep_hidden = labels is not None or logits_positions is not None
        return self.make_output(outputs, logits, loss, keep_hidden=keep_hidden, length_logits=length_logits)

    def _loss(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        length_logits: torch.Tensor,
        target_mask: torch.Tensor,
        num_items: torch.Tensor | int | None,
    ) -> torch.Tensor:
        """Masked-token cross-entropy plus the weighted length cross-entropy, in fp32; 0 where nothing is labelled."""
        num_items = labels.ne(-100).sum().clamp(min=1) if num_items is None else num_items
        token_loss = nn.functional.cross_entropy(
            logits.float().flatten(0, -2), labels.flatten(), ignore_index=-100, reduction="sum"
        )
        target_lengths = target_mask.ne(0).sum(dim=1).clamp(max=self.config.max_target_length - 1)
        length_loss = nn.functional.cross_entropy(length_logits.float(), target_lengths)
        return token_loss / num_items + self.config.length_loss_weight * length_loss


__all__ = ["LengthPredictionForConditionalGeneration"]
