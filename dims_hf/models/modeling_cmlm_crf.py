# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""CMLM with a bigram conditional random field over the candidates of each position.

Shapes: B batch, T target length (with `<s>` and `</s>`), C candidates, V vocabulary, D hidden, r rank.
"""

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from .configuration_cmlm_crf import CMLMCRFConfig
from .crf import crf_nll
from .modeling_length import LengthPredictionForConditionalGeneration
from .modeling_nat import NATModel, NATSeq2SeqLMOutput
from .ragged import in_fp32


class CMLMCRFModel(NATModel):
    """Encoder and decoder without the vocabulary projection, the length predictor and the field."""

    config_class = CMLMCRFConfig
    _keys_to_ignore_on_load_unexpected = [r"^length_head\.", r"^crf_head\."]


class CRFHead(nn.Module):
    """
    Transitions between neighbouring words, low rank: M_t = E_1 (I + W_t) E_2ᵀ, E of shape (V, r), with W_t an r × r
    matrix that a feed-forward network makes of both positions' states, or 0 without `crf_dynamic`.

    Source: Sun et al. 2019 (arXiv 1910.11555), eq. 8–10; there M_t = E_1 W_t E_2ᵀ, which starts anywhere.
    """

    def __init__(self, config: CMLMCRFConfig):
        super().__init__()
        self.rank = config.crf_rank
        self.previous = nn.Embedding(config.vocab_size, config.crf_rank)
        self.following = nn.Embedding(config.vocab_size, config.crf_rank)
        self.dynamic = None
        if config.crf_dynamic:
            self.dynamic = nn.Sequential(
                nn.Linear(2 * config.d_model, config.d_model),
                nn.ReLU(),
                nn.Linear(config.d_model, config.crf_rank**2),
            )

    def forward(self, candidates: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        """
        Args:
            candidates (`torch.LongTensor` of shape `(B, T, C)`): ids of each position's candidates.
            hidden_states (`torch.FloatTensor` of shape `(B, T, D)`): last decoder states.

        Returns:
            `torch.Tensor` of shape `(B, T - 1, C, C)`: [b, t, i, j] from candidate i at t to candidate j at t + 1, in
            single precision or better.
        """
        before, after = self.previous(candidates[:, :-1]), self.following(candidates[:, 1:])
        if self.dynamic is not None:
            pairs = torch.cat([hidden_states[:, :-1], hidden_states[:, 1:]], dim=-1)
            steps = self.dynamic(pairs.to(before.dtype)).unflatten(-1, (self.rank, self.rank))
            before = before + torch.matmul(before, steps.to(before.dtype))
        scores = torch.matmul(before, after.transpose(2, 3))
        return in_fp32(scores)


class CMLMCRFForConditionalGeneration(LengthPredictionForConditionalGeneration):
    """
    CMLM with tied vocabulary projection, length predictor and bigram field; `generate` looks for the best sequence of
    each pass (Viterbi), so that neighbours agree even though all are predicted at once.

    `forward` gives the decoder's logits, and with labels the sum of their cross-entropy and the field's likelihood.

    Source: Sun et al. 2019 (arXiv 1910.11555), on the model of Ghazvininejad et al. 2019.

    ```python
    >>> import torch
    >>> from dims_hf import CMLMCRFConfig, CMLMCRFForConditionalGeneration
    >>> config = CMLMCRFConfig(vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1,
    ...     encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)
    >>> model = CMLMCRFForConditionalGeneration(config).eval()
    >>> source = torch.tensor([[0, 7, 8, 2]])
    >>> target = torch.tensor([[0, 4, 9, 4, 2]])  # two masked positions
    >>> tuple(model(source, decoder_input_ids=target).logits.shape)
    (1, 5, 20)

    ```"""

    config_class = CMLMCRFConfig
    model_class = CMLMCRFModel

    def add_heads(self, config: Any) -> None:
        super().add_heads(config)
        self.crf_head = CRFHead(config)

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
    ) -> NATSeq2SeqLMOutput | tuple:
        """
        One decoder pass; as for the other families that predict lengths, but `loss` also has the field's −log
        likelihood of the labels, over the same number of tokens.
        """
        return_dict = kwargs.pop("return_dict", None)
        outputs = super().forward(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            labels,
            encoder_outputs,
            inputs_embeds,
            decoder_inputs_embeds,
            logits_positions=logits_positions,
            num_items_in_batch=num_items_in_batch,
            return_dict=True,
            **kwargs,
        )
        if labels is not None:
            decoder, shown = self.model.decoder, decoder_input_ids
            is_target = decoder.token_mask(shown, decoder_inputs_embeds, decoder_attention_mask).ne(0)
            if shown is None:
                assert decoder_inputs_embeds is not None  # the decoder has refused to read nothing
                shown = decoder.nearest_ids(decoder_inputs_embeds)
            if logits_positions is not None:
                labels = labels.masked_fill(~logits_positions, -100)
            is_learnt = labels.ne(-100)
            logits = outputs.logits[is_learnt if logits_positions is None else is_learnt[logits_positions]]
            targets = torch.where(is_learnt, labels, shown)
            chain = self._chain_nll(
                logits, outputs.decoder_last_hidden_state, targets, is_learnt, is_target.sum(dim=1)
            )
            num_items = labels.ne(-100).sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
            outputs.loss = outputs.loss + chain / num_items
        return outputs if (self.config.return_dict if return_dict is None else return_dict) else outputs.to_tuple()

    def _chain_nll(
        self,
        logits: torch.Tensor,
        hidden_states: torch.Tensor,
        targets: torch.Tensor,
        is_learnt: torch.Tensor,
        lengths: torch.Tensor,
    ) -> torch.Tensor:
        """Sum of the field's −log likelihood over sentences; candidates are the target and the likeliest others."""
        logits = in_fp32(logits)
        closed = torch.tensor(self.suppressed_token_ids(), device=logits.device)
        ranked = logits.detach().index_fill(1, closed, -torch.inf)
        # the target is the first of its candidates, likely or not: target index 0 below
        ranked = ranked.scatter(1, targets[is_learnt].unsqueeze(1), torch.inf)
        best, ids = ranked.topk(min(self.config.crf_beam_size, logits.shape[1]), dim=1)
        # from `logits`, which have the gradient; closed tokens fill up the list of a tiny vocabulary
        picked = logits.gather(1, ids).masked_fill(best == -torch.inf, -torch.inf)
        emissions = logits.new_full((*targets.shape, ids.shape[1]), -torch.inf)
        # a position that is shown has one candidate, its token
        emissions[..., 0] = 0.0
        emissions = emissions.index_put((is_learnt,), picked)
        candidates = targets.unsqueeze(2).repeat(1, 1, ids.shape[1])
        candidates[is_learnt] = ids
        transitions = self.crf_head(candidates, hidden_states)
        return crf_nll(emissions, transitions, torch.zeros_like(targets), lengths).sum()

    def _resize_token_embeddings(self, new_num_tokens: int, *args: Any, **kwargs: Any) -> nn.Module:
        """Resizes the field's tables along with the embedding."""
        embedding = super()._resize_token_embeddings(new_num_tokens, *args, **kwargs)
        for name in ("previous", "following"):
            table = getattr(self.crf_head, name)
            if table.num_embeddings != embedding.num_embeddings:
                setattr(self.crf_head, name, self._get_resized_embeddings(table, embedding.num_embeddings))
        return embedding


__all__ = ["CMLMCRFForConditionalGeneration", "CMLMCRFModel"]
