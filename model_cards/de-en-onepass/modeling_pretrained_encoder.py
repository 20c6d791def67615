# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A pre-trained encoder of transformers in the place of our own.

Shapes: B batch, S source length, E width of the encoder, D width of the decoder.
Attention masks: 1 or True = token, 0 or False = padding.
"""

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers.modeling_outputs import BaseModelOutput

from .configuration_nat import NATConfig


# Model type of transformers -> position of the first token. RoBERTa's descendants count on from the padding's id.
FIRST_POSITIONS = {
    "bert": 0,
    "distilbert": 0,
    "electra": 0,
    "modernbert": 0,
    "roberta": 2,
    "xlm-roberta": 2,
    "camembert": 2,
}


class NATPretrainedEncoder(nn.Module):
    """
    Encoder of transformers, whose last states (B, S, E) a linear map takes to the decoder's width where they differ.

    It is held as transformers has it, so that its states are the original's. Positions count tokens instead of
    columns, which makes left and right padding equivalent, as in our own encoder.

    Args:
        config ([`NATConfig`]): its `pretrained_encoder` is the configuration of the encoder.

    Raises:
        ValueError: for an encoder of a type that is not known here.
    """

    def __init__(self, config: NATConfig):
        super().__init__()
        self.config = config
        settings: dict[str, Any] = dict(config.pretrained_encoder or {})
        model_type = settings.get("model_type")
        if model_type not in FIRST_POSITIONS:
            raise ValueError(
                f"pretrained_encoder is of the type {model_type!r}, which is not one of {', '.join(FIRST_POSITIONS)}. "
                "Correct config.json."
            )
        self.first_position = FIRST_POSITIONS[model_type]
        self.pretrained = AutoModel.from_config(
            AutoConfig.for_model(**settings), attn_implementation=config._attn_implementation
        )
        # nothing here reads the state of `<s>` through it
        if getattr(self.pretrained, "pooler", None) is not None:
            self.pretrained.pooler = None
        width = self.pretrained.config.hidden_size
        self.output_projection = nn.Identity() if width == config.d_model else nn.Linear(width, config.d_model)

    def get_input_embeddings(self) -> nn.Module:
        """The table of the source vocabulary (source_vocab_size, E)."""
        return self.pretrained.get_input_embeddings()

    def position_ids(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """Position of each token of a mask (B, S) as the encoder counts; padding has that of a neighbour."""
        # the count of tokens so far, from 0; padding before the first token would have −1
        return (attention_mask.ne(0).long().cumsum(dim=1) - 1).clamp(min=0) + self.first_position

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> BaseModelOutput:
        """
        Encodes sources.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, S)`): ids of the source vocabulary.
            attention_mask (`torch.Tensor` of shape `(B, S)`, *optional*): 1 for tokens; default from `pad_token_id`.
            inputs_embeds (`torch.FloatTensor` of shape `(B, S, E)`, *optional*): instead of ids.
            return_dict (`bool`, *optional*): the output is one in any case.

        Returns:
            `BaseModelOutput`: `last_hidden_state` (B, S, D); `hidden_states` and `attentions`, on request, are those
            of the encoder itself, (B, S, E) and (B, H, S, S).

        Raises:
            ValueError: for both or none of ids and embeddings, or a sequence longer than the position table.
        """
        attention_mask = self._token_mask(input_ids, attention_mask, inputs_embeds)
        output = self.pretrained(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=self.position_ids(attention_mask),
            inputs_embeds=inputs_embeds,
            return_dict=True,
            **kwargs,
        )
        return BaseModelOutput(
            last_hidden_state=self.output_projection(output.last_hidden_state),
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )

    def _token_mask(
        self, input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None, inputs_embeds: torch.Tensor | None
    ) -> torch.Tensor:
        given = input_ids if inputs_embeds is None else inputs_embeds
        if given is None or (input_ids is not None and inputs_embeds is not None):
            raise ValueError("Give exactly one of token ids and embeddings to the encoder and to the decoder.")
        if attention_mask is None:
            attention_mask = torch.ones(given.shape[:2], device=given.device).bool()
            attention_mask = attention_mask if input_ids is None else input_ids.ne(self.config.pad_token_id)
        limit = self.config.max_position_embeddings
        if attention_mask.shape[1] > limit and int(attention_mask.ne(0).sum(dim=1).max()) > limit:
            raise ValueError(
                f"A sequence of {int(attention_mask.ne(0).sum(dim=1).max())} tokens does not fit the position table "
                f"of {limit}. Shorten or split it, or use a model with a larger max_position_embeddings."
            )
        return attention_mask


__all__ = ["FIRST_POSITIONS", "NATPretrainedEncoder"]
