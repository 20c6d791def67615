# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What turns an encoder-decoder into a translation model of any family: tied vocabulary projection, outputs.

Shapes: B batch, S source length, T decoder length, M selected positions, V vocabulary, D hidden.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.modeling_outputs import Seq2SeqModelOutput

from .configuration_nat import NATConfig
from .generation_nat import NATGenerationMixin, default_generation_config
from .modeling_nat import NATModel, NATPreTrainedModel, NATSeq2SeqLMOutput


if TYPE_CHECKING:
    # Never executed: the import makes `save_pretrained` ship the pipeline's file with every checkpoint.
    from .pipeline_translation import NATTranslationPipeline  # noqa: F401


# On a CPU, a few rows times the whole vocabulary take up to 1.7 times as long as times parts of it that stay in the
# cache; with many rows the gain is gone.
_FEW_ROWS, _PART_SIZE = 128, 1024


def project_in_parts(head: nn.Linear, hidden_states: torch.Tensor) -> torch.Tensor:
    """
    `head(hidden_states)` where that is faster in parts of the vocabulary: a few packed rows (M, D) on a CPU, in fp32,
    without a gradient, and a plain layer: not one that was quantised or distributed, has hooks or is being compiled.
    Else just that.
    """
    is_faster = (
        # first, since nothing may ask a compiler how many rows there are
        not torch.compiler.is_compiling()
        and hidden_states.dim() == 2
        and len(hidden_states) <= _FEW_ROWS
        and hidden_states.device.type == "cpu"
        and hidden_states.dtype == torch.float32
        and _is_plain(head)
        and not torch.is_grad_enabled()
    )
    if not is_faster:
        return head(hidden_states)
    # parts of the weight are views: nothing is copied but the logits
    return torch.cat([nn.functional.linear(hidden_states, part) for part in head.weight.split(_PART_SIZE)], dim=-1)


def _is_plain(head: nn.Module) -> bool:
    """Whether calling `head` is nothing but a matrix multiplication with its weight."""
    return (
        type(head) is nn.Linear
        and head.bias is None
        # Weights that are quantised or distributed are tensors of another class, in the parameter or instead of it.
        and type(head.weight) is nn.Parameter
        and type(head.weight.data) is torch.Tensor
        and not (head._forward_hooks or head._forward_pre_hooks)
        and "forward" not in vars(head)  # some libraries replace the method of an object
    )


class NATForConditionalGeneration(NATPreTrainedModel, NATGenerationMixin):
    """
    Encoder-decoder of `model_class` with tied vocabulary projection; translates with [`generate`]. A family adds its
    loss; how it decodes, its configuration says: see `modeling_length` for those that predict a length.
    """

    model_class: type[NATModel] = NATModel
    # Tells the Trainer that losses are normalised by the number of items of the whole update.
    accepts_loss_kwargs = True
    _tied_weights_keys = {"lm_head.weight": "model.shared.weight"}

    def __init__(self, config: NATConfig):
        super().__init__(config)
        self.model = self.model_class(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.add_heads(config)
        self.post_init()
        # in place of the one that transformers made, which has no fields of ours
        self.generation_config = default_generation_config(config)

    def add_heads(self, config: Any) -> None:
        """Modules beside the vocabulary projection, by the family's own configuration; here none."""

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding that both stacks and the projection share."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the shared token embedding in both stacks."""
        self.model.set_input_embeddings(value)

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """The encoder; there is one, whatever the modality."""
        return self.model.encoder

    def get_decoder(self) -> nn.Module:
        """The decoder."""
        return self.model.decoder

    def project_vocabulary(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits (…, V) of decoder states (…, D); imported checkpoints overwrite the mask's logit as the reference."""
        logits = project_in_parts(self.lm_head, hidden_states)
        if self.config.legacy_mask_logit is not None:
            is_mask = torch.arange(logits.shape[-1], device=logits.device) == self.config.mask_token_id
            logits = logits.masked_fill(is_mask, self.config.legacy_mask_logit)
        return logits

    def run_stacks(self, logits_positions: torch.Tensor | None, **inputs) -> tuple[Seq2SeqModelOutput, torch.Tensor]:
        """Output of encoder and decoder for the `inputs` of [`NATModel`], and logits (B, T, V) or (M, V)."""
        outputs = self.model(**inputs, return_dict=True)
        hidden_states = outputs.last_hidden_state
        selected = hidden_states if logits_positions is None else hidden_states[logits_positions]
        return outputs, self.project_vocabulary(selected)

    @staticmethod
    def make_output(
        outputs: Seq2SeqModelOutput,
        logits: torch.Tensor,
        loss: torch.Tensor | None,
        *,
        keep_hidden: bool,
        length_logits: torch.Tensor | None = None,
    ) -> NATSeq2SeqLMOutput:
        """What `forward` returns; the last decoder states are part of it with `keep_hidden` or all hidden states."""
        keep_hidden = keep_hidden or outputs.decoder_hidden_states is not None
        assert outputs.encoder_last_hidden_state is not None  # given or computed, but there
        return NATSeq2SeqLMOutput(
            loss=loss,
            logits=logits,
            length_logits=length_logits,
            decoder_last_hidden_state=outputs.last_hidden_state if keep_hidden else None,
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions,
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
        )

    def source_mask(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        source_states: torch.Tensor | None,
    ) -> torch.Tensor:
        """Mask of source tokens (B, S): as given, or read off the padding, or all of `source_states` (B, S, D)."""
        if attention_mask is not None:
            return attention_mask
        if input_ids is not None:
            return input_ids.ne(self.config.pad_token_id)
        if source_states is None:
            raise ValueError("The source is missing. Pass input_ids, inputs_embeds or encoder_outputs.")
        # With `encoder_outputs` there may be no ids to find padding in.
        return torch.ones(source_states.shape[:2], dtype=torch.bool, device=source_states.device)


__all__ = ["NATForConditionalGeneration"]
