# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Levenshtein Transformer: one decoder with three heads, for deletions, placeholders and words.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), M selected positions, V vocabulary,
D hidden, C counts.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import can_return_tuple

from .configuration_levenshtein import LevenshteinConfig
from .modeling_nat import NATModel, NATSeq2SeqLMOutput
from .modeling_translation import NATForConditionalGeneration


def join_neighbors(hidden_states: torch.Tensor) -> torch.Tensor:
    """States (B, T, D) of tokens to those of gaps, both neighbours side by side: (B, T - 1, 2 D)."""
    return torch.cat([hidden_states[:, :-1], hidden_states[:, 1:]], dim=-1)


@dataclass
class LevenshteinSeq2SeqLMOutput(NATSeq2SeqLMOutput):
    """
    [`NATSeq2SeqLMOutput`] with what edits have beside words, given labels or with `return_edit_logits=True`.

    Args:
        deletion_logits (`torch.FloatTensor` of shape `(B, T, 2)`): whether each token stays (0) or goes (1).
        insertion_logits (`torch.FloatTensor` of shape `(B, T - 1, max_insertions + 1)`): how many tokens to insert
            into each gap.
    """

    deletion_logits: torch.Tensor | None = None
    insertion_logits: torch.Tensor | None = None


class LevenshteinModel(NATModel):
    """Levenshtein Transformer encoder and decoder without heads."""

    config_class = LevenshteinConfig
    _keys_to_ignore_on_load_unexpected = [r"^deletion_head\.", r"^insertion_head\."]


class LevenshteinForConditionalGeneration(NATForConditionalGeneration):
    """
    Levenshtein Transformer: its decoder reads a target as it is and says which tokens to delete, how many to insert
    into each gap, and, where masks stand for them, which words they are. `generate` starts from `<s> </s>` and repeats
    these three until nothing changes.

    Source: Gu et al. 2019 (arXiv 1905.11006); the heads share one decoder.

    ```python
    >>> import torch
    >>> from dims_hf import LevenshteinConfig, LevenshteinForConditionalGeneration
    >>> config = LevenshteinConfig(vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1,
    ...     encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)
    >>> model = LevenshteinForConditionalGeneration(config).eval()
    >>> source = torch.tensor([[0, 7, 8, 2]])
    >>> outputs = model(source, decoder_input_ids=torch.tensor([[0, 9, 4, 2]]), return_edit_logits=True)
    >>> tuple(outputs.logits.shape), tuple(outputs.deletion_logits.shape), tuple(outputs.insertion_logits.shape)
    ((1, 4, 20), (1, 4, 2), (1, 3, 256))

    ```"""

    config_class = LevenshteinConfig
    model_class = LevenshteinModel

    def add_heads(self, config: LevenshteinConfig) -> None:
        self.deletion_head = nn.Linear(config.d_model, 2, bias=False)
        self.insertion_head = nn.Linear(2 * config.d_model, config.max_insertions + 1, bias=False)

    def score_deletions(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, 2) of states (B, T, D)."""
        return self.deletion_head(hidden_states)

    def score_insertions(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits (B, T - 1, C) of states (B, T, D)."""
        return self.insertion_head(join_neighbors(hidden_states))

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        deletion_labels: torch.Tensor | None = None,
        insertion_labels: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        logits_positions: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> LevenshteinSeq2SeqLMOutput:
        """
        One decoder pass over a target, `<s> … </s>`, masks where words are to be filled in.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, S)`): source `<s> … </s>`.
            attention_mask (`torch.Tensor` of shape `(B, S)`, *optional*): 1 for tokens; default from `pad_token_id`.
            decoder_input_ids (`torch.LongTensor` of shape `(B, T)`): target, **not shifted**.
            decoder_attention_mask (`torch.Tensor` of shape `(B, T)`, *optional*): 1 for tokens.
            labels (`torch.LongTensor` of shape `(B, T)`, *optional*): words, -100 where no loss is wanted.
            deletion_labels (`torch.LongTensor` of shape `(B, T)`, *optional*): 1 for tokens to delete, 0 for others,
                -100 where no loss is wanted.
            insertion_labels (`torch.LongTensor` of shape `(B, T - 1)`, *optional*): tokens to insert into each gap.
            encoder_outputs (*optional*): output of the encoder, to skip it.
            inputs_embeds, decoder_inputs_embeds (`torch.FloatTensor`, *optional*): instead of ids.
            logits_positions (`torch.BoolTensor` of shape `(B, T)`, *optional*): project only these positions to the
                vocabulary; `logits` are then (M, V) in row-major order, and `labels` are read there only.
            kwargs: `return_edit_logits` (`bool`) adds the edits' logits where no labels are given;
                `num_items_in_batch` (`int`) divides the loss of words instead of the number of labels; the rest is
                what any transformers model takes.

        Returns:
            [`LevenshteinSeq2SeqLMOutput`]; `loss` is the sum of the means over each kind of labels that is given.
        """
        return_edit_logits, num_items = kwargs.pop("return_edit_logits", False), kwargs.pop("num_items_in_batch", None)
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
        has_labels = any(each is not None for each in (labels, deletion_labels, insertion_labels))
        deletions = insertions = loss = None
        if has_labels or return_edit_logits:
            states = outputs["last_hidden_state"]
            deletions, insertions = self.score_deletions(states), self.score_insertions(states)
            words = labels if labels is None or logits_positions is None else labels[logits_positions]
            parts = ((logits, words, num_items), (deletions, deletion_labels, None))
            losses = [
                _mean_loss(scores, wanted, count)
                for scores, wanted, count in (*parts, (insertions, insertion_labels, None))
                if wanted is not None
            ]
            loss = torch.stack(losses).sum() if losses else None
        keep_hidden = has_labels or logits_positions is not None
        output = self.make_output(outputs, logits, loss, keep_hidden=keep_hidden)
        return LevenshteinSeq2SeqLMOutput(**output, deletion_logits=deletions, insertion_logits=insertions)


def _mean_loss(logits: torch.Tensor, labels: torch.Tensor, num_items: torch.Tensor | int | None) -> torch.Tensor:
    """Cross-entropy of labels that are not -100, in fp32; 0 where there is none."""
    num_items = labels.ne(-100).sum().clamp(min=1) if num_items is None else num_items
    summed = nn.functional.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), reduction="sum")
    return summed / num_items


__all__ = ["LevenshteinForConditionalGeneration", "LevenshteinModel"]
