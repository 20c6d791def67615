# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Imputer: the shared encoder-decoder over alignments, trained by CTC; it predicts no length.

Shapes: B batch, S source length, A alignment length, T target length (tokens alone, no `<s>` and `</s>`), M selected
positions, V vocabulary, D hidden.
"""

import torch
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import can_return_tuple

from .alignment import constrained_ctc_nll, lengths_from_mask
from .configuration_imputer import ImputerConfig
from .decoding_ctc import make_templates
from .modeling_nat import NATModel, NATSeq2SeqLMOutput
from .modeling_translation import NATForConditionalGeneration


class ImputerModel(NATModel):
    """Imputer encoder and decoder without the vocabulary projection."""

    config_class = ImputerConfig


class ImputerForConditionalGeneration(NATForConditionalGeneration):
    """
    Imputer with tied vocabulary projection; translates with [`generate`].

    The decoder reads and writes alignments: `upsample_ratio` positions per source token, each a token, a blank, or a
    mask still to be filled. `generate` reveals them block by block in `num_iterations` passes and collapses the whole;
    one pass is greedy CTC decoding. Beside what every model here takes it knows `legacy_adjacency` (`bool`, the
    reference's order of revealing, see `step_block_unmasking`); it takes neither `target_lengths` nor a length beam,
    but `prefix_beam_size`. `sequences_scores` are mean log-probabilities over the alignment, `token_scores` and
    `history` (B, A) belong to the alignment, and `collapse_repeats` also drops repeats that a blank kept apart
    (`False` by default).

    Source: Chan et al. 2020 (arXiv 2002.08926); Saharia et al. 2020 (arXiv 2004.07437); sizes and cross-attention as
    in Norouzi et al. 2023 (arXiv 2206.02999, Appendix F).

    ```python
    >>> import torch
    >>> from dims_hf import ImputerConfig, ImputerForConditionalGeneration
    >>> config = ImputerConfig(vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1,
    ...     encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)
    >>> model = ImputerForConditionalGeneration(config).eval()
    >>> source = torch.tensor([[0, 7, 8, 2]])
    >>> tuple(model(source).logits.shape)  # 8 masked positions
    (1, 8, 20)
    >>> outputs = model(source, labels=torch.tensor([[9, 11, 9]]))
    >>> bool(outputs.loss > 0)
    True

    ```"""

    config_class = ImputerConfig
    model_class = ImputerModel

    def template_lengths(self, attention_mask: torch.Tensor, min_lengths: torch.Tensor | None = None) -> torch.Tensor:
        """
        Positions of each alignment: `upsample_ratio` per source token, `<s>` and `</s>` counted.

        Args:
            attention_mask (`torch.Tensor` of shape `(B, S)`): non-zero for source tokens.
            min_lengths (`torch.LongTensor` of shape `(B,)`, *optional*): fewest positions of each, for targets that
                need more (see `required_frames`).

        Returns:
            `torch.LongTensor` of shape `(B,)`.

        Raises:
            ValueError: for an alignment longer than the position table.
        """
        ratio, limit = self.config.upsample_ratio, self.config.max_position_embeddings
        num_tokens = attention_mask.ne(0).sum(dim=1)
        lengths = num_tokens * ratio
        if min_lengths is not None:
            lengths = torch.maximum(lengths, min_lengths)
        # a traced graph cannot raise; who runs it checks the source's length
        if not torch.compiler.is_compiling() and int(lengths.max()) > limit:
            row = int(lengths.argmax())
            raise ValueError(
                f"Row {row} has {int(num_tokens[row])} source tokens and an alignment of {int(lengths[row])} "
                f"positions (upsample_ratio={ratio}), more than the position table of {limit}. Split the sentence, or "
                "use a model with a larger max_position_embeddings."
            )
        return lengths

    def make_template(
        self, attention_mask: torch.Tensor, min_lengths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Fully masked alignments, the decoder input before the first pass.

        Args:
            attention_mask, min_lengths: as for [`template_lengths`].

        Returns:
            Ids (B, A), masks right-padded with `pad_token_id`, and their mask (B, A), True = position.

        Raises:
            ValueError: for an alignment longer than the position table.
        """
        config, lengths = self.config, self.template_lengths(attention_mask, min_lengths)
        return make_templates(lengths, pad_token_id=config.pad_token_id, mask_token_id=config.mask_token_id)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        force_emits: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        logits_positions: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs,
    ) -> NATSeq2SeqLMOutput:
        """
        One decoder pass over a partially masked alignment.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, S)`): source `<s> … </s>`.
            attention_mask (`torch.Tensor` of shape `(B, S)`, *optional*): 1 for tokens; default from `pad_token_id`.
            decoder_input_ids (`torch.LongTensor` of shape `(B, A)`, *optional*): alignment of tokens, blanks and
                masks, **not shifted**; default the template of [`make_template`].
            decoder_attention_mask (`torch.Tensor` of shape `(B, A)`, *optional*): 1 for positions.
            labels (`torch.LongTensor` of shape `(B, T)`, *optional*): target tokens alone, right-padded with -100.
            force_emits (`torch.LongTensor` of shape `(B, A)`, *optional*): the state each position must be in, -1
                where it is free (see `constrained_ctc_nll`); with `labels`, which then needs positions padded on the
                right. All are free by default.
            encoder_outputs (*optional*): output of the encoder, to skip it.
            inputs_embeds, decoder_inputs_embeds (`torch.FloatTensor`, *optional*): instead of ids.
            logits_positions (`torch.BoolTensor` of shape `(B, A)`, *optional*): project only these positions to the
                vocabulary; `logits` are then (M, V) in row-major order. Not together with `labels`.
            num_items_in_batch (`int`, *optional*): divides the loss instead of the number of free positions.

        Returns:
            [`NATSeq2SeqLMOutput`] with, for `labels`, `loss` = Σ constrained CTC NLL / number of free positions. A
            sentence without a path (too few positions, contradicting `force_emits`) adds 0.

        Raises:
            ValueError: for a sequence longer than the position table, `labels` together with `logits_positions`, or
                padding that is not on the right.
        """
        if labels is not None and logits_positions is not None:
            raise ValueError("labels need the logits of every position. Leave out logits_positions, or labels.")
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            source_states = inputs_embeds if encoder_outputs is None else encoder_outputs[0]
            is_source = self.source_mask(input_ids, attention_mask, source_states)
            decoder_input_ids, decoder_attention_mask = self.make_template(is_source)
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
        loss = None
        if labels is not None:
            is_position = self.model.decoder.token_mask(
                decoder_input_ids, decoder_inputs_embeds, decoder_attention_mask
            ).ne(0)
            loss = self._loss(logits, labels, is_position, force_emits, num_items_in_batch)
        keep_hidden = labels is not None or logits_positions is not None
        return self.make_output(outputs, logits, loss, keep_hidden=keep_hidden)

    def _loss(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        is_position: torch.Tensor,
        force_emits: torch.Tensor | None,
        num_items: torch.Tensor | int | None,
    ) -> torch.Tensor:
        """Constrained CTC NLL of all sentences over the free positions, in fp32."""
        nll = constrained_ctc_nll(
            logits.float().log_softmax(dim=-1),
            labels,
            lengths_from_mask(is_position),
            lengths_from_mask(labels.ne(-100)),
            blank_token_id=self.config.blank_token_id,
            force_emits=force_emits,
            # a sentence without a path must not make the whole batch's loss infinite
            zero_infinity=True,
        )
        if num_items is None:
            # forced positions are known: only the free ones are learnt, and counted
            is_free = is_position if force_emits is None else is_position & (force_emits < 0)
            num_items = is_free.sum().clamp(min=1)
        return nll.sum() / num_items


__all__ = ["ImputerForConditionalGeneration", "ImputerModel"]
