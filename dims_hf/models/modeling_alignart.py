# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""AligNART: the encoder's states are copied, reordered and joined as a word alignment says, and decoded in one pass.

Shapes: B batch, S source length, N target words, T = N + 2 target length, L copies, V vocabulary, D hidden.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import can_return_tuple

from .configuration_alignart import AligNARTConfig
from .links import LinkSteps, assign_greedily, copy_tokens, join_copies, split_links
from .modeling_nat import (
    NATEncoderLayer,
    NATModel,
    NATSeq2SeqLMOutput,
    position_ids_from_mask,
    show_all_of_empty_rows,
)
from .modeling_translation import NATForConditionalGeneration
from .ragged import find_real


@dataclass
class AligNARTSeq2SeqLMOutput(NATSeq2SeqLMOutput):
    """
    [`NATSeq2SeqLMOutput`] with the three steps of the alignment, where `links` are given.

    Args:
        copy_logits (`torch.FloatTensor` of shape `(B, S, max_copies + 1)`): how often each source token is copied.
        order_logits (`torch.FloatTensor` of shape `(B, L, L)`): [b, r, c] of copy c at place r.
        join_logits (`torch.FloatTensor` of shape `(B, L)`): > 0 where a place goes with its left neighbour.
    """

    copy_logits: torch.Tensor | None = None
    order_logits: torch.Tensor | None = None
    join_logits: torch.Tensor | None = None


class Arranged(NamedTuple):
    """Decoder input (B, T, D) of arranged sources, its mask (B, T), and the logits of the steps."""

    inputs_embeds: torch.Tensor
    is_target: torch.Tensor
    copy_logits: torch.Tensor
    order_logits: torch.Tensor
    join_logits: torch.Tensor


class AligNARTModel(NATModel):
    """AligNART encoder and decoder without heads."""

    config_class = AligNARTConfig
    _keys_to_ignore_on_load_unexpected = [r"^aligner\."]


class Aligner(nn.Module):
    """
    Predicts an alignment from encoder states: copies of each token, their order, and which neighbours belong together.

    Source: Song et al. 2021 (arXiv 2109.06481), §3.2.
    """

    def __init__(self, config: AligNARTConfig):
        super().__init__()
        self.config = config
        width = config.d_model
        self.convolution = nn.Conv1d(width, width, kernel_size=3, padding=1)
        self.copy_head = nn.Linear(width, config.max_copies + 1)
        self.copy_number = nn.Embedding(config.max_copies + 1, width)
        self.positions = nn.Embedding(config.max_position_embeddings + 2, width, padding_idx=1)
        self.block = NATEncoderLayer(config)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.join_head = nn.Linear(2 * width, 1)

    def score_copies(self, states: torch.Tensor, is_source: torch.Tensor) -> torch.Tensor:
        """Logits (B, S, max_copies + 1) of encoder states (B, S, D)."""
        # the convolution reaches into the padding, which must look the same in every batch
        known = states * is_source.ne(0).unsqueeze(2).to(states.dtype)
        return self.copy_head(torch.relu(self.convolution(known.transpose(1, 2)).transpose(1, 2)))

    def score_order(
        self, states: torch.Tensor, copies: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Logits (B, L, L) of the order of copies, the lowest number beyond them; the copies' states (B, L, D) with their
        context; their source tokens (B, L); and lengths (B,).
        """
        token, number, lengths = copy_tokens(copies)
        is_copy = find_real(lengths, token.shape[1])
        copied = states.gather(1, token.unsqueeze(2).expand(-1, -1, states.shape[2]))
        copied = copied + self.copy_number(number.clamp(0, self.config.max_copies))
        copied = copied + self.positions(position_ids_from_mask(is_copy))
        mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=copied, attention_mask=show_all_of_empty_rows(is_copy)
        )
        context = self.block(copied, mask)
        scores = torch.bmm(self.query(context), self.key(context).transpose(1, 2)) * context.shape[2] ** -0.5
        # columns alone: rows beyond the copies have no label. Not -inf, whose cross-entropy would be NaN where all is
        # masked
        scores = scores.masked_fill(~is_copy.unsqueeze(1), torch.finfo(scores.dtype).min)
        return scores, context, token, lengths

    def score_joints(self, context: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        """Logits (B, L) that each place belongs to the word of its left neighbour; the first is compared to zeros."""
        placed = context.gather(1, order.unsqueeze(2).expand_as(context))
        # one place to the right, zeros first
        before = nn.functional.pad(placed[:, :-1], (0, 0, 1, 0))
        return self.join_head(torch.cat([before, placed], dim=2)).squeeze(2)


class AligNARTForConditionalGeneration(NATForConditionalGeneration):
    """
    AligNART with tied vocabulary projection and an aligner: `generate` arranges the source as the alignment that it
    predicts, and translates word by word in one pass. Nothing predicts a length: the alignment has one.

    `forward` takes the alignment of the target as `links`, from which it makes the decoder's input.

    Source: Song et al. 2021 (arXiv 2109.06481).

    ```python
    >>> import torch
    >>> from dims_hf import AligNARTConfig, AligNARTForConditionalGeneration
    >>> config = AligNARTConfig(vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1,
    ...     encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)
    >>> model = AligNARTForConditionalGeneration(config).eval()
    >>> links = torch.tensor([[[0, 1, 0, 0], [0, 1, 1, 0]]]).bool()  # two target words, four source tokens
    >>> outputs = model(torch.tensor([[0, 7, 8, 2]]), links=links)
    >>> tuple(outputs.logits.shape), tuple(outputs.order_logits.shape)
    ((1, 4, 20), (1, 3, 3))

    ```"""

    config_class = AligNARTConfig
    model_class = AligNARTModel

    def add_heads(self, config: AligNARTConfig) -> None:
        self.aligner = Aligner(config)

    def arrange(self, states: torch.Tensor, is_source: torch.Tensor, links: torch.Tensor | None = None) -> Arranged:
        """
        Decoder input: `<s>`, the mean of the states that each target word is aligned to, `</s>`.

        Args:
            states (`torch.FloatTensor` of shape `(B, S, D)`): encoder output.
            is_source (`torch.Tensor` of shape `(B, S)`): non-zero for source tokens.
            links (`torch.BoolTensor` of shape `(B, N, S)`, *optional*): the alignment; default: the likeliest one.
        """
        copy_logits = self.aligner.score_copies(states, is_source)
        steps = None if links is None else split_links(links)
        copies = self._choose_copies(copy_logits, is_source) if steps is None else steps.copies
        order_logits, context, token, lengths = self.aligner.score_order(states, copies)
        order = assign_greedily(order_logits, lengths) if steps is None else steps.order
        join_logits = self.aligner.score_joints(context, order)
        is_joined = join_logits > 0 if steps is None else steps.is_joined
        placed = token.gather(1, order).unsqueeze(2).expand(-1, -1, states.shape[2])
        means, num_words = join_copies(states.gather(1, placed), is_joined, lengths)
        inputs_embeds, is_target = self._add_ends(means, num_words)
        return Arranged(inputs_embeds, is_target, copy_logits, order_logits, join_logits)

    def _choose_copies(self, copy_logits: torch.Tensor, is_source: torch.Tensor) -> torch.Tensor:
        """Likeliest numbers of copies (B, S), at least one in all and no more than the position table holds."""
        copies = copy_logits.argmax(dim=2).masked_fill(is_source.eq(0), 0)
        total = copies.cumsum(dim=1).clamp(max=self.config.max_position_embeddings - 2)
        # clamping the running total cuts copies from the right, however they are spread
        copies = total.diff(dim=1, prepend=torch.zeros_like(total[:, :1]))
        first = is_source.ne(0).long().argmax(dim=1, keepdim=True)
        is_empty = (copies.sum(dim=1, keepdim=True) == 0).long()
        return copies.scatter_add(1, first, is_empty)

    def _add_ends(self, means: torch.Tensor, num_words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ends = torch.tensor([self.config.bos_token_id, self.config.eos_token_id], device=means.device)
        bos, eos = self.get_input_embeddings()(ends).to(means.dtype).unbind()
        embeds = nn.functional.pad(means, (0, 0, 1, 1)).clone()
        place = torch.arange(embeds.shape[1], device=means.device).view(1, -1, 1)
        # + 1 for `<s>`
        last = (num_words + 1).view(-1, 1, 1)
        embeds = torch.where(place == 0, bos, torch.where(place == last, eos, embeds))
        return embeds, find_real(num_words + 2, embeds.shape[1])

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        links: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        logits_positions: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> AligNARTSeq2SeqLMOutput:
        """
        One decoder pass over an arranged source.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, S)`): source `<s> … </s>`.
            attention_mask (`torch.Tensor` of shape `(B, S)`, *optional*): 1 for tokens; default from `pad_token_id`.
            decoder_input_ids, decoder_attention_mask, decoder_inputs_embeds (*optional*): decoder input instead of an
                arranged source.
            labels (`torch.LongTensor` of shape `(B, T)`, *optional*): target tokens, -100 where no loss is wanted.
            links (`torch.BoolTensor` of shape `(B, N, S)`, *optional*): alignment of each target word.
            encoder_outputs (*optional*): output of the encoder, to skip it.
            inputs_embeds (`torch.FloatTensor`, *optional*): instead of ids.
            logits_positions (`torch.BoolTensor` of shape `(B, T)`, *optional*): project only these positions to the
                vocabulary; `logits` are then (M, V) in row-major order, and `labels` are read there only.
            num_items_in_batch (`int`, *optional*): divides the loss of words instead of the number of labels.

        Returns:
            [`AligNARTSeq2SeqLMOutput`].
        """
        if links is not None and (decoder_input_ids is not None or decoder_inputs_embeds is not None):
            raise ValueError("links make the decoder's input. Leave out decoder_input_ids and decoder_inputs_embeds.")
        arranged = None
        if links is not None:
            if attention_mask is None and input_ids is not None:
                attention_mask = input_ids.ne(self.config.pad_token_id)
            encoder_outputs = self.model.encode(input_ids, attention_mask, encoder_outputs, inputs_embeds)
            is_source = self.source_mask(input_ids, attention_mask, encoder_outputs[0])
            arranged = self.arrange(encoder_outputs[0], is_source, links)
            decoder_inputs_embeds, decoder_attention_mask = arranged.inputs_embeds, arranged.is_target
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
            words = labels if logits_positions is None else labels[logits_positions]
            num_items = words.ne(-100).sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
            summed = nn.functional.cross_entropy(logits.float().flatten(0, -2), words.flatten(), reduction="sum")
            loss = summed / num_items
            if arranged is not None and links is not None:
                sums, counts = alignment_losses(arranged, split_links(links), self.config.max_copies, is_source)
                losses = sum(part / count.clamp(min=1) for part, count in zip(sums, counts))
                # each part is a mean of its own: copies, places and joints differ in number
                loss = loss + self.config.alignment_loss_weight * losses
        keep_hidden = labels is not None or logits_positions is not None
        output = self.make_output(outputs, logits, loss, keep_hidden=keep_hidden)
        steps: dict[str, Any] = {} if arranged is None else dict(zip(arranged._fields[2:], arranged[2:]))
        return AligNARTSeq2SeqLMOutput(**output, **steps)


class LinkLogits(Protocol):
    """Logits of copies, order and joints, each (B, …)."""

    @property
    def copy_logits(self) -> torch.Tensor: ...

    @property
    def order_logits(self) -> torch.Tensor: ...

    @property
    def join_logits(self) -> torch.Tensor: ...


def alignment_losses(
    arranged: LinkLogits, steps: LinkSteps, max_copies: int, is_source: torch.Tensor
) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """
    Sums of the losses of copies, order and joints, and how many there are of each; sentences without links count
    nothing.

    Args:
        arranged: holds the logits.
        steps ([`LinkSteps`]): the alignment.
        max_copies (`int`): highest class of copies.
        is_source (`torch.Tensor` of shape `(B, S)`): non-zero for source tokens.
    """
    has_links = steps.lengths > 0
    is_learnt = is_source.ne(0) & has_links.unsqueeze(1)
    copies = steps.copies.clamp(max=max_copies).masked_fill(~is_learnt, -100)
    is_place = find_real(steps.lengths, steps.order.shape[1])
    order = steps.order.masked_fill(~is_place, -100)
    is_joint = is_place.clone()
    # the first place has no left neighbour: nothing to learn
    is_joint[:, 0] = False
    losses = (
        nn.functional.cross_entropy(arranged.copy_logits.float().flatten(0, 1), copies.flatten(), reduction="sum"),
        nn.functional.cross_entropy(arranged.order_logits.float().flatten(0, 1), order.flatten(), reduction="sum"),
        nn.functional.binary_cross_entropy_with_logits(
            arranged.join_logits.float()[is_joint], steps.is_joined[is_joint].float(), reduction="sum"
        ),
    )
    return losses, (is_learnt.sum(), is_place.sum(), is_joint.sum())


__all__ = ["AligNARTForConditionalGeneration", "AligNARTModel"]
