# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What turns an encoder-decoder into a translation model: tied vocabulary projection, length predictor, loss.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), M selected positions, V vocabulary,
D hidden.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import can_return_tuple

from .configuration_nat import NATConfig
from .generation_nat import NATGenerationMixin, default_generation_config
from .modeling_nat import NATModel, NATPreTrainedModel, NATSeq2SeqLMOutput, masked_mean


if TYPE_CHECKING:
    # Never executed: the import makes `save_pretrained` ship the pipeline's file with every checkpoint.
    from .pipeline_translation import NATTranslationPipeline  # noqa: F401


class NATForConditionalGeneration(NATPreTrainedModel, NATGenerationMixin):
    """
    Encoder-decoder of `model_class` with tied vocabulary projection and length predictor; translates with
    [`generate`]. A family names its own classes and adds nothing else.
    """

    model_class = NATModel
    # Tells the Trainer that losses are normalised by the number of items of the whole update.
    accepts_loss_kwargs = True
    _tied_weights_keys = {"lm_head.weight": "model.shared.weight"}

    def __init__(self, config: NATConfig):
        super().__init__(config)
        self.model = self.model_class(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.length_head = nn.Linear(config.d_model, config.max_target_length, bias=False)
        self.post_init()
        self.generation_config = default_generation_config(config)

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        return self.model.encoder

    def get_decoder(self) -> nn.Module:
        return self.model.decoder

    def predict_length(
        self, encoder_hidden_states: torch.FloatTensor, attention_mask: torch.Tensor
    ) -> torch.FloatTensor:
        """
        Length logits from encoder states averaged over source tokens (`<s>` and `</s>` included).

        Args:
            encoder_hidden_states (`torch.FloatTensor` of shape `(B, S, D)`): encoder output.
            attention_mask (`torch.Tensor` of shape `(B, S)`): non-zero for tokens.

        Returns:
            `torch.FloatTensor` of shape `(B, max_target_length)`; class c means c target tokens with `<s>` and `</s>`.
        """
        return self.length_head(masked_mean(encoder_hidden_states, attention_mask))

    def project_vocabulary(self, hidden_states: torch.FloatTensor) -> torch.FloatTensor:
        """Logits (…, V) of decoder states (…, D); imported checkpoints overwrite the mask's logit as the reference."""
        logits = self.lm_head(hidden_states)
        if self.config.legacy_mask_logit is not None:
            is_mask = torch.arange(logits.shape[-1], device=logits.device) == self.config.mask_token_id
            logits = logits.masked_fill(is_mask, self.config.legacy_mask_logit)
        return logits

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        encoder_outputs: BaseModelOutput | tuple | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        decoder_inputs_embeds: torch.FloatTensor | None = None,
        logits_positions: torch.BoolTensor | None = None,
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
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            return_dict=True,
            **kwargs,
        )
        hidden_states = outputs.last_hidden_state
        logits = self.project_vocabulary(
            hidden_states if logits_positions is None else hidden_states[logits_positions]
        )
        length_logits = None
        if labels is not None or return_length_logits:
            source_states = outputs.encoder_last_hidden_state
            if attention_mask is None:
                # With `encoder_outputs` there may be no ids to find padding in.
                is_token = torch.ones(source_states.shape[:2], dtype=torch.bool, device=source_states.device)
                attention_mask = is_token if input_ids is None else input_ids.ne(self.config.pad_token_id)
            length_logits = self.predict_length(source_states, attention_mask)
        loss = None
        if labels is not None:
            target_mask = self.model.decoder.token_mask(
                decoder_input_ids, decoder_inputs_embeds, decoder_attention_mask
            )
            labels = labels if logits_positions is None else labels[logits_positions]
            loss = self._loss(logits, labels, length_logits, target_mask, num_items_in_batch)
        wants_hidden = any(x is not None for x in (labels, logits_positions, outputs.decoder_hidden_states))
        return NATSeq2SeqLMOutput(
            loss=loss,
            logits=logits,
            length_logits=length_logits,
            decoder_last_hidden_state=hidden_states if wants_hidden else None,
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions,
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
        )

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


__all__ = ["NATForConditionalGeneration"]
