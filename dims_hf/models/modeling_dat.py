# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""DA-Transformer: the shared encoder-decoder over the vertices of a directed acyclic graph, and their transitions.

Shapes: B batch, S source length, A vertices, T target length (with `<s>` and `</s>`), M selected positions, K heads,
V vocabulary, D hidden.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import can_return_tuple

from .alignment import lengths_from_mask
from .configuration_dat import DATConfig
from .graph import force_words, graph_nll, pick_words
from .modeling_nat import NATModel, NATSeq2SeqLMOutput, position_ids_from_mask
from .modeling_translation import NATForConditionalGeneration
from .ragged import in_fp32


@dataclass
class DATSeq2SeqLMOutput(NATSeq2SeqLMOutput):
    """
    [`NATSeq2SeqLMOutput`] with what a graph has beside its words.

    Args:
        transition_log_probs (`torch.FloatTensor` of shape `(B, A, A)`, *optional*): [b, v, w] is the log-probability
            of going from vertex v to w, at least in single precision; -inf unless w > v and w is within the sentence.
            Absent where `return_transitions` says so.
    """

    transition_log_probs: torch.Tensor | None = None


class DATModel(NATModel):
    """DA-Transformer encoder and decoder without heads."""

    config_class = DATConfig


class DATLinks(nn.Module):
    """
    Transitions between vertices: a mixture of K heads of attention to later vertices.

    With u = [h; e], h the decoder's last state and e a position embedding of the links' own,

        E[v, w] = Σ_k g_k(u_v) · softmax_{w > v}(⟨W_q^k u_v, W_k^k u_w⟩ / √(D / K)),   g = softmax(W_g u).

    Source: Huang et al. 2022, §3.2; position embeddings, gates and heads as in its code.
    """

    def __init__(self, config: DATConfig):
        super().__init__()
        self.num_heads = config.link_heads
        self.positions = nn.Embedding(config.max_position_embeddings + 2, config.d_model, padding_idx=1)
        self.query = nn.Linear(2 * config.d_model, config.d_model)
        self.key = nn.Linear(2 * config.d_model, config.d_model)
        self.gate = nn.Linear(2 * config.d_model, config.link_heads)

    def forward(self, hidden_states: torch.Tensor, vertex_mask: torch.Tensor) -> torch.Tensor:
        """
        Args:
            hidden_states (`torch.FloatTensor` of shape `(B, A, D)`): last decoder states.
            vertex_mask (`torch.Tensor` of shape `(B, A)`): non-zero for vertices.

        Returns:
            `torch.FloatTensor` of shape `(B, A, A)`: log-probabilities in single precision or better, -inf where no
            transition is possible. Rows of the last vertex and of padding have none.
        """
        is_vertex = vertex_mask.ne(0)
        is_open = (is_vertex.unsqueeze(2) & is_vertex.unsqueeze(1)).triu(diagonal=1)
        states = torch.cat([hidden_states, self.positions(position_ids_from_mask(vertex_mask))], dim=-1)
        queries, keys = (self._split(project(states)) for project in (self.query, self.key))
        gates = in_fp32(self.gate(states)).softmax(dim=-1)
        mixture = torch.zeros_like(is_open, dtype=gates.dtype)
        # One head at a time, computed again in the backward pass: all K would be the largest tensors of the model.
        for query, key, gate in zip(queries.unbind(dim=2), keys.unbind(dim=2), gates.unbind(dim=2)):
            if torch.is_grad_enabled():
                mixture = mixture + checkpoint(_attend, query, key, gate, is_open, use_reentrant=False)
            else:
                mixture = mixture + _attend(query, key, gate, is_open)
        tiny = torch.finfo(mixture.dtype).tiny
        return mixture.clamp(min=tiny).log().masked_fill(~is_open, float("-inf"))

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        """(B, A, D) -> (B, A, K, D / K)."""
        return in_fp32(states).unflatten(2, (self.num_heads, -1))


def _attend(query: torch.Tensor, key: torch.Tensor, gate: torch.Tensor, is_open: torch.Tensor) -> torch.Tensor:
    """(B, A, A): one head's share of the transitions, 0 where they are closed; queries and keys are (B, A, D / K)."""
    scores = torch.bmm(query, key.transpose(1, 2)) * query.shape[2] ** -0.5
    # a finite number: rows without any transition must not become NaN
    weights = scores.masked_fill(~is_open, torch.finfo(scores.dtype).min).softmax(dim=2)
    return (weights * gate.unsqueeze(2)).masked_fill(~is_open, 0.0)


def graph_lengths(config: DATConfig, attention_mask: torch.Tensor) -> torch.Tensor:
    """
    Vertices (B,) of the graphs of sources, by their mask (B, S); see [`DATForConditionalGeneration.template_lengths`].

    Raises:
        ValueError: for a graph larger than the position table.
    """
    ratio, limit = config.upsample_ratio, config.max_position_embeddings
    num_tokens = attention_mask.ne(0).sum(dim=1)
    lengths = (num_tokens * ratio).clamp(min=2)
    if not torch.compiler.is_compiling() and int(lengths.max()) > limit:
        row = int(lengths.argmax())
        raise ValueError(
            f"Row {row} has {int(num_tokens[row])} source tokens and a graph of {int(lengths[row])} vertices "
            f"(upsample_ratio={ratio}), more than the position table of {limit}. Split the sentence, or use a "
            "model with a larger max_position_embeddings."
        )
    return lengths


def make_graph_template(config: DATConfig, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Ids (B, A) of the graphs of sources before anything is known, and their mask (B, A), by that of the sources (B, S);
    see [`DATForConditionalGeneration.make_template`].

    Raises:
        ValueError: for a graph larger than the position table.
    """
    lengths = graph_lengths(config, attention_mask).unsqueeze(1)
    position = torch.arange(lengths.max().item(), device=lengths.device)
    is_vertex = position < lengths
    tokens = torch.full(is_vertex.shape, config.mask_token_id, device=lengths.device)
    tokens[:, 0] = config.bos_token_id
    tokens = tokens.masked_fill(position == lengths - 1, config.eos_token_id)
    return tokens.masked_fill(~is_vertex, config.pad_token_id), is_vertex


class DATForConditionalGeneration(NATForConditionalGeneration):
    """
    DA-Transformer with tied vocabulary projection and transitions between vertices.

    The decoder reads `<s> mask … mask </s>`, `upsample_ratio` vertices per source token, and gives each vertex a word
    distribution and transitions to later vertices. A translation is a path from the first vertex to the last, so that
    the graph holds translations of many lengths and none is predicted. `generate` makes one pass and searches the
    graph as `graph_search` says: see `DATSettings`.

    Source: Huang et al. 2022 (arXiv 2205.07459); sizes of the other families, `gelu` as in its recipe.

    ```python
    >>> import torch
    >>> from dims_hf import DATConfig, DATForConditionalGeneration
    >>> config = DATConfig(vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
    ...     decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, upsample_ratio=4, link_heads=2)
    >>> model = DATForConditionalGeneration(config).eval()
    >>> outputs = model(torch.tensor([[0, 7, 8, 2]]), labels=torch.tensor([[0, 9, 11, 9, 2]]))
    >>> tuple(outputs.logits.shape), tuple(outputs.transition_log_probs.shape)
    ((1, 16, 20), (1, 16, 16))
    >>> bool(outputs.loss > 0)
    True

    ```"""

    config_class = DATConfig
    model_class = DATModel
    config: DATConfig

    def add_heads(self, config: DATConfig) -> None:
        self.links = DATLinks(config)

    def template_lengths(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """
        Vertices of each graph: `upsample_ratio` per source token, `<s>` and `</s>` counted, at least 2.

        Args:
            attention_mask (`torch.Tensor` of shape `(B, S)`): non-zero for source tokens.

        Returns:
            `torch.LongTensor` of shape `(B,)`.

        Raises:
            ValueError: for a graph larger than the position table.
        """
        return graph_lengths(self.config, attention_mask)

    def make_template(self, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Decoder input of [`template_lengths`] vertices: `<s> mask … mask </s>`.

        Args:
            attention_mask (`torch.Tensor` of shape `(B, S)`): non-zero for source tokens.

        Returns:
            Ids (B, A), right-padded with `pad_token_id`, and their mask (B, A), True = vertex.

        Raises:
            ValueError: for a graph larger than the position table.
        """
        return make_graph_template(self.config, attention_mask)

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
        return_transitions: bool | None = None,
        **kwargs,
    ) -> DATSeq2SeqLMOutput:
        """
        One decoder pass over a graph.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, S)`): source `<s> … </s>`.
            attention_mask (`torch.Tensor` of shape `(B, S)`, *optional*): 1 for tokens; default from `pad_token_id`.
            decoder_input_ids (`torch.LongTensor` of shape `(B, A)`, *optional*): vertices, padded on the right;
                default the template of [`make_template`].
            decoder_attention_mask (`torch.Tensor` of shape `(B, A)`, *optional*): 1 for vertices.
            labels (`torch.LongTensor` of shape `(B, T)`, *optional*): target `<s> … </s>`, right-padded with -100.
            force_emits (`torch.LongTensor` of shape `(B, A)`, *optional*): with `labels`, the index of the target's
                token that a vertex shows (see `force_words`), -1 where none. None does by default.
            encoder_outputs (*optional*): output of the encoder, to skip it.
            inputs_embeds, decoder_inputs_embeds (`torch.FloatTensor`, *optional*): instead of ids.
            logits_positions (`torch.BoolTensor` of shape `(B, A)`, *optional*): project only these vertices to the
                vocabulary; `logits` are then (M, V) in row-major order. Not together with `labels`.
            return_transitions (`bool`, *optional*): whether the output has `transition_log_probs`. By default it has,
                but for a plain pass over given vertices, which returns what any transformers seq2seq model returns.
            kwargs: `num_items_in_batch` (`int`) divides the loss instead of the number of target tokens; the rest is
                what any transformers model takes.

        Returns:
            [`DATSeq2SeqLMOutput`] with, for `labels`, `loss` = Σ graph NLL / tokens of targets, `<s>` and `</s>`
            counted. A target without a path (more tokens than vertices) adds 0 to both.

        Raises:
            ValueError: for a sequence longer than the position table, `labels` together with `logits_positions`, or
                padding that is not on the right.
        """
        if labels is not None and logits_positions is not None:
            raise ValueError("labels need the logits of every vertex. Leave out logits_positions, or labels.")
        num_items = kwargs.pop("num_items_in_batch", None)
        is_plain = labels is None and logits_positions is None
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            is_plain = False
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
        vertex_mask = self.model.decoder.token_mask(decoder_input_ids, decoder_inputs_embeds, decoder_attention_mask)
        keeps_transitions = not is_plain if return_transitions is None else return_transitions
        loss = transitions = None
        if keeps_transitions or labels is not None:
            transitions = self.links(outputs.last_hidden_state, vertex_mask)
        if labels is not None and transitions is not None:
            loss = self._loss(logits, transitions, labels, vertex_mask, force_emits, num_items)
        keep_hidden = labels is not None or logits_positions is not None
        output = self.make_output(outputs, logits, loss, keep_hidden=keep_hidden)
        return DATSeq2SeqLMOutput(**output, transition_log_probs=transitions if keeps_transitions else None)

    def _loss(
        self,
        logits: torch.Tensor,
        transitions: torch.Tensor,
        labels: torch.Tensor,
        vertex_mask: torch.Tensor,
        force_emits: torch.Tensor | None,
        num_items: torch.Tensor | int | None,
    ) -> torch.Tensor:
        """Graph NLL of all sentences over the tokens of their targets, in single precision."""
        target_lengths = lengths_from_mask(labels.ne(-100))
        words = pick_words(logits, labels, target_lengths)
        if force_emits is not None:
            words = force_words(words, force_emits)
        nll = graph_nll(words, transitions, lengths_from_mask(vertex_mask.ne(0)), target_lengths)
        has_path = nll != float("inf")
        if num_items is None:
            num_items = target_lengths[has_path].sum().clamp(min=1)
        return nll.masked_fill(~has_path, 0.0).sum() / num_items


__all__ = ["DATForConditionalGeneration", "DATModel", "make_graph_template"]
