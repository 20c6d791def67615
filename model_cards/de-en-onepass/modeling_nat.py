# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Post-norm encoder-decoder over a partially masked target that all non-autoregressive models share.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), D hidden, H heads, V vocabulary; in the
decoder R = B·K rows, K targets for each source, and M selected positions.
Attention masks: 1 or True = token, 0 or False = padding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithCrossAttentions, Seq2SeqModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.utils import ModelOutput, can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .configuration_nat import NATConfig
from .dropout import apply_dropout
from .modeling_pretrained_encoder import NATPretrainedEncoder


KeyValues = tuple[torch.Tensor, torch.Tensor]


@dataclass
class NATSeq2SeqLMOutput(ModelOutput):
    """
    Output of a non-autoregressive translation model.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*): with `labels`: masked-token cross-entropy (mean over
            labels that are not -100) plus `config.length_loss_weight` times the length cross-entropy.
        logits (`torch.FloatTensor` of shape `(B, T, V)`): or `(M, V)` for the M positions of `logits_positions`.
        decoder_hidden_states, decoder_attentions, cross_attentions (`tuple`, *optional*): on request.
        encoder_last_hidden_state (`torch.FloatTensor` of shape `(B, S, D)`): encoder output.
        encoder_hidden_states, encoder_attentions (`tuple`, *optional*): on request.
        length_logits (`torch.FloatTensor` of shape `(B, max_target_length)`, *optional*): with `labels` or
            `return_length_logits=True`; class c is "c target tokens, `<s>` and `</s>` counted".
        decoder_last_hidden_state (`torch.FloatTensor` of shape `(B, T, D)`, *optional*): last decoder layer's output,
            before the vocabulary projection, with `labels` or `output_hidden_states=True`.
    """

    loss: torch.Tensor | None = None
    # `ModelOutput` wants a default; what is computed in every pass is never absent.
    logits: torch.Tensor = None  # type: ignore[assignment]
    decoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    decoder_attentions: tuple[torch.Tensor, ...] | None = None
    cross_attentions: tuple[torch.Tensor, ...] | None = None
    encoder_last_hidden_state: torch.Tensor = None  # type: ignore[assignment]
    encoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    encoder_attentions: tuple[torch.Tensor, ...] | None = None
    length_logits: torch.Tensor | None = None
    decoder_last_hidden_state: torch.Tensor | None = None


def position_ids_from_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """
    Row of the position table for each token: the k-th token (k = 1, 2, …) uses row k + 1, padding uses row 1.

    Counting tokens instead of columns makes left and right padding equivalent.

    Args:
        attention_mask (`torch.Tensor` of shape `(B, L)`): non-zero for tokens.

    Returns:
        `torch.LongTensor` of shape `(B, L)`.
    """
    is_token = attention_mask.ne(0).long()
    # row 0 is never used and row 1 is padding's, as in fairseq's table
    return is_token.cumsum(dim=1) * is_token + 1


def show_all_of_empty_rows(attention_mask: torch.Tensor) -> torch.Tensor:
    """
    `attention_mask` (B, L; non-zero = token) as booleans, True throughout where a row has no token at all.

    Nothing of such a row is used, but what attends to nothing is 0 in one backend and a mean in another. As in BART,
    it attends to all.
    """
    is_token = attention_mask.ne(0)
    # never all False: a softmax over nothing is NaN in some backends
    return is_token | ~is_token.any(dim=1, keepdim=True)


def masked_mean(hidden_states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Mean of `hidden_states` (B, L, D) over the tokens of `attention_mask` (B, L; non-zero = token): (B, D)."""
    weights = attention_mask.ne(0).to(hidden_states.dtype).unsqueeze(-1)
    return (hidden_states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def cast_once(states: torch.Tensor) -> torch.Tensor:
    """`states` as autocast hands them to a matrix multiplication: each of several would cast them on its own."""
    device_type = states.device.type
    # double precision is not autocast's
    if not torch.is_autocast_enabled(device_type) or states.dtype == torch.float64:
        return states
    return states.to(torch.get_autocast_dtype(device_type))


def join_rows(states: torch.Tensor, num_sources: int) -> torch.Tensor:
    """
    The rows of each source side by side in one, as cross-attention sees them: (R, T, D) to (B, K·T, D).

    A position attends to the source on its own, so that its keys and values serve all rows without a copy.

    Args:
        states (`torch.Tensor` of shape `(R, T, D)`): K adjacent rows for each source.
        num_sources (`int`): B.

    Raises:
        ValueError: for rows that do not divide among the sources.
    """
    num_rows, _, width = states.shape
    if num_rows % num_sources:
        raise ValueError(
            f"{num_rows} targets do not divide among {num_sources} sources. Give every source the same number of "
            "targets, one after the other."
        )
    # a view: adjacent rows are adjacent in memory
    return states.reshape(num_sources, -1, width)


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain attention: query/key/value (B, H, L, D/H) and an additive mask to output (B, L, H, D/H) and weights."""
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1)
    weights = apply_dropout(weights, dropout, module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class NATScaledEmbedding(nn.Embedding):
    """Token embedding times a constant, so that `inputs_embeds` and `input_ids` mean the same."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int, scale: float):
        super().__init__(num_embeddings, embedding_dim, padding_idx)
        self.scale = scale

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return super().forward(input_ids) * self.scale


class NATAttention(nn.Module):
    """Multi-head attention through transformers' attention interface; never causal unless told so."""

    def __init__(self, config: NATConfig, num_heads: int):
        super().__init__()
        self.config = config
        self.head_dim = config.d_model // num_heads
        self.scaling = self.head_dim**-0.5
        self.dropout = config.attention_dropout
        # read by transformers' backends where there is no mask
        self.is_causal = False
        self.k_proj = nn.Linear(config.d_model, config.d_model)
        self.v_proj = nn.Linear(config.d_model, config.d_model)
        self.q_proj = nn.Linear(config.d_model, config.d_model)
        self.out_proj = nn.Linear(config.d_model, config.d_model)

    def split_heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.view(*states.shape[:-1], -1, self.head_dim).transpose(1, 2)

    def project_key_values(self, states: torch.Tensor) -> KeyValues:
        """Keys and values (B, H, L, D/H) of `states` (B, L, D)."""
        states = cast_once(states)
        return self.split_heads(self.k_proj(states)), self.split_heads(self.v_proj(states))

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        key_values: KeyValues | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        What each position of `hidden_states` (R, T, D) learns: (R, T, D), and the weights if the backend has them.

        Rows may share `key_values` (B, H, S, D/H); mask and weights are then those of [`join_rows`], (B, …, K·T, S).
        """
        hidden_states = cast_once(hidden_states)
        key, value = self.project_key_values(hidden_states) if key_values is None else key_values
        # in self-attention there are as many keys as rows, and nothing is joined
        query = self.split_heads(join_rows(self.q_proj(hidden_states), key.shape[0]))
        attention: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        output, weights = attention(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        # the reshape also undoes `join_rows`
        return self.out_proj(output.reshape(hidden_states.shape)), weights


class PostNormSublayers(nn.Module):
    """Mixin with what all layers repeat: dropout + residual + layer norm, and the feed-forward sublayer."""

    def residual(self, update: torch.Tensor, hidden_states: torch.Tensor, layer_norm: nn.LayerNorm) -> torch.Tensor:
        update = apply_dropout(update, self.dropout, self.training)
        return layer_norm(hidden_states + update)

    def feed_forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        inner = self.activation_fn(self.fc1(hidden_states))
        inner = apply_dropout(inner, self.activation_dropout, self.training)
        return self.residual(self.fc2(inner), hidden_states, self.final_layer_norm)

    def add_feed_forward(self, config: NATConfig, ffn_dim: int) -> None:
        self.dropout = config.dropout
        self.activation_fn = ACT2FN[config.activation_function]
        self.activation_dropout = config.activation_dropout
        self.fc1 = nn.Linear(config.d_model, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)


class NATEncoderLayer(GradientCheckpointingLayer, PostNormSublayers):
    """Self-attention and feed-forward, each followed by dropout, residual and layer norm (post-norm)."""

    def __init__(self, config: NATConfig):
        super().__init__()
        self.self_attn = NATAttention(config, config.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.add_feed_forward(config, config.encoder_ffn_dim)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, **kwargs) -> torch.Tensor:
        attended, _ = self.self_attn(hidden_states, attention_mask, **kwargs)
        hidden_states = self.residual(attended, hidden_states, self.self_attn_layer_norm)
        return self.feed_forward(hidden_states)


class NATDecoderLayer(GradientCheckpointingLayer, PostNormSublayers):
    """Bidirectional self-attention, cross-attention and feed-forward, all post-norm."""

    self_attention_class: type[NATAttention] = NATAttention

    def __init__(self, config: NATConfig):
        super().__init__()
        self.self_attn = self.self_attention_class(config, config.decoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.encoder_attn = NATAttention(config, config.decoder_attention_heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.add_feed_forward(config, config.decoder_ffn_dim)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        cross_key_values: KeyValues | None = None,
        output_positions: torch.Tensor | None = None,
        **kwargs,
    ) -> torch.Tensor:
        attended, _ = self.self_attn(hidden_states, attention_mask, **kwargs)
        return self.read_source(
            self.residual(attended, hidden_states, self.self_attn_layer_norm),
            encoder_hidden_states,
            encoder_attention_mask,
            cross_key_values,
            output_positions,
            **kwargs,
        )

    def read_source(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_attention_mask: torch.Tensor | None,
        cross_key_values: KeyValues | None,
        output_positions: torch.Tensor | None,
        **kwargs,
    ) -> torch.Tensor:
        """What follows self-attention: cross-attention and the feed-forward sublayer."""
        if cross_key_values is None:
            cross_key_values = self.encoder_attn.project_key_values(encoder_hidden_states)
        attended, _ = self.encoder_attn(hidden_states, encoder_attention_mask, cross_key_values, **kwargs)
        hidden_states = self.residual(attended, hidden_states, self.encoder_attn_layer_norm)
        if output_positions is not None:
            # the feed-forward is most of a layer's work: only where somebody reads the result
            hidden_states = hidden_states[output_positions]
        return self.feed_forward(hidden_states)


class NATPreTrainedModel(PreTrainedModel):
    """Loading, saving, initialisation and backend flags that all models share."""

    config: NATConfig
    config_class = NATConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["NATEncoderLayer", "NATDecoderLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @property
    def dummy_inputs(self) -> dict[str, torch.Tensor]:
        bos, pad, eos = self.config.bos_token_id, self.config.pad_token_id, self.config.eos_token_id
        source = torch.tensor([[bos, 5, 6, eos], [bos, 7, eos, pad]], device=self.device) % self.config.vocab_size
        return {"input_ids": source, "attention_mask": source.ne(pad), "decoder_input_ids": source}


class NATEmbeddedStack(NATPreTrainedModel):
    """What encoder and decoder share: token embedding, learned positions, embedding dropout."""

    def __init__(self, config: NATConfig):
        super().__init__(config)
        # in the embedding and not after it, so that `inputs_embeds` are scaled already
        scale = config.d_model**0.5 if config.scale_embedding else 1.0
        self.embed_tokens: nn.Module = NATScaledEmbedding(
            config.vocab_size, config.d_model, config.pad_token_id, scale
        )
        # Two extra rows and padding row 1 are fairseq's layout; checkpoints of both kinds then share one table shape.
        self.embed_positions = nn.Embedding(config.max_position_embeddings + 2, config.d_model, padding_idx=1)
        self.gradient_checkpointing = False

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embed_tokens = value

    def token_mask(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None, attention_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Attention mask (B, L), derived from the padding id where the caller gave none."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of token ids and embeddings to the encoder and to the decoder.")
        if attention_mask is not None:
            return attention_mask
        if input_ids is not None:
            return input_ids.ne(self.config.pad_token_id)
        assert inputs_embeds is not None  # one of the two is given
        return torch.ones(inputs_embeds.shape[:2], dtype=torch.bool, device=inputs_embeds.device)

    @torch.no_grad()
    def nearest_ids(self, inputs_embeds: torch.Tensor) -> torch.Tensor:
        """Ids (B, L) of the tokens whose embeddings these (B, L, D) are, or come closest to."""
        embedding = cast(nn.Embedding, self.embed_tokens)
        table = embedding(torch.arange(embedding.num_embeddings, device=inputs_embeds.device))
        return torch.cdist(inputs_embeds.to(table.dtype), table.expand(len(inputs_embeds), -1, -1)).argmin(dim=-1)

    def embed(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None, token_mask: torch.Tensor
    ) -> torch.Tensor:
        """Scaled token embedding and learned position combined, with dropout: (B, L, D)."""
        limit, width = self.config.max_position_embeddings, token_mask.shape[1]
        # The width first: it costs no transfer from the device, and is nearly always enough. A traced graph, where it
        # is no number, raises nothing: who runs that checks lengths.
        if isinstance(width, int) and width > limit and int(token_mask.ne(0).sum(dim=1).max()) > limit:
            raise ValueError(
                f"A sequence of {int(token_mask.ne(0).sum(dim=1).max())} tokens does not fit the position table of "
                f"{limit}. Shorten or split it, or use a model with a larger max_position_embeddings."
            )
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        hidden_states = self.combine_positions(inputs_embeds, self.embed_positions(position_ids_from_mask(token_mask)))
        return apply_dropout(hidden_states, self.config.dropout, self.training)

    def combine_positions(self, token_embeds: torch.Tensor, position_embeds: torch.Tensor) -> torch.Tensor:
        """Input of the first layer from token and position embeddings, all (B, L, D): their sum."""
        return token_embeds + position_embeds


class NATEncoder(NATEmbeddedStack):
    """Stack of [`NATEncoderLayer`] over source tokens (B, S)."""

    layer_class = NATEncoderLayer
    _can_record_outputs = {"hidden_states": NATEncoderLayer, "attentions": NATAttention}

    def __init__(self, config: NATConfig):
        super().__init__(config)
        self.layers = nn.ModuleList(self.layer_class(config) for _ in range(config.encoder_layers))
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutput:
        token_mask = self.token_mask(input_ids, inputs_embeds, attention_mask)
        hidden_states = self.embed(input_ids, inputs_embeds, token_mask)
        # Rows of padding enter the first layer as zeros, as in the reference implementation.
        hidden_states = hidden_states * token_mask.ne(0).unsqueeze(-1).to(hidden_states.dtype)
        layer_mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=show_all_of_empty_rows(token_mask)
        )
        for layer in self.layers:
            hidden_states = layer(hidden_states, layer_mask, **kwargs)
        return BaseModelOutput(last_hidden_state=hidden_states)


class NATDecoder(NATEmbeddedStack):
    """Stack of decoder layers over a partially masked target (B, T); nothing is shifted."""

    layer_class: type[NATDecoderLayer] = NATDecoderLayer
    _can_record_outputs = {
        "hidden_states": NATDecoderLayer,
        "attentions": OutputRecorder(NATAttention, index=1, layer_name="self_attn"),
        "cross_attentions": OutputRecorder(NATAttention, index=1, layer_name="encoder_attn"),
    }

    def __init__(self, config: NATConfig):
        super().__init__(config)
        self.layers = nn.ModuleList(self.layer_class(config) for _ in range(config.decoder_layers))
        self.post_init()

    def begin(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None, token_mask: torch.Tensor
    ) -> tuple[torch.Tensor, dict]:
        """Input of the first layer (R, T, D), and keyword arguments of all layers' self-attention."""
        hidden_states = self.embed(input_ids, inputs_embeds, token_mask)
        return hidden_states, self.self_attention_masks(hidden_states, token_mask)

    def self_attention_masks(self, hidden_states: torch.Tensor, token_mask: torch.Tensor) -> dict:
        """What a layer's self-attention may see, as keyword arguments of the layer: here every token."""
        return {
            "attention_mask": create_bidirectional_mask(
                config=self.config, inputs_embeds=hidden_states, attention_mask=show_all_of_empty_rows(token_mask)
            )
        }

    def project_cross_key_values(self, encoder_hidden_states: torch.Tensor) -> list[KeyValues]:
        """Cross-attention keys and values of each layer; they serve every decoding pass over the same source."""
        layers = (cast(NATDecoderLayer, layer) for layer in self.layers)
        return [layer.encoder_attn.project_key_values(encoder_hidden_states) for layer in layers]

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        cross_key_values: list[KeyValues] | None = None,
        output_positions: torch.Tensor | None = None,
        visibility: torch.Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithCrossAttentions:
        """
        One pass over R = B·K targets of B sources, the K targets of a source adjacent; K is 1 in training.

        Args:
            input_ids (`torch.LongTensor` of shape `(R, T)`): targets with masks.
            attention_mask (`torch.Tensor` of shape `(R, T)`, *optional*): 1 for tokens.
            encoder_hidden_states (`torch.FloatTensor` of shape `(B, S, D)`): encoder output.
            encoder_attention_mask (`torch.Tensor` of shape `(B, S)`, *optional*): 1 for source tokens.
            inputs_embeds (`torch.FloatTensor` of shape `(R, T, D)`, *optional*): instead of ids.
            cross_key_values (*optional*): of [`project_cross_key_values`], not to compute them again.
            output_positions (`torch.BoolTensor` of shape `(R, T)`, *optional*): the M positions whose last states are
                needed; no others are returned.
            visibility (`torch.BoolTensor` of shape `(R, T, T)`, *optional*): of a family whose positions have contexts
                of their own, what each of them sees.

        Returns:
            `last_hidden_state` (R, T, D), or (M, D) in row-major order; cross-attentions are (B, H, K·T, S).

        Raises:
            ValueError: for a target longer than the position table, rows that do not divide among the sources, or
                missing encoder output.
        """
        if encoder_hidden_states is None:
            raise ValueError("encoder_hidden_states are missing. Pass the encoder's output for the sources.")
        token_mask = self.token_mask(input_ids, inputs_embeds, attention_mask)
        sights = {} if visibility is None else {"visibility": visibility}
        hidden_states, self_masks = self.begin(input_ids, inputs_embeds, token_mask, **sights)
        if encoder_attention_mask is not None:
            encoder_attention_mask = show_all_of_empty_rows(encoder_attention_mask)
        cross_mask = create_bidirectional_mask(
            config=self.config,
            # only its shape is read: K·T queries per source
            inputs_embeds=join_rows(hidden_states, encoder_hidden_states.shape[0]),
            attention_mask=encoder_attention_mask,
            encoder_hidden_states=encoder_hidden_states,
        )
        # by position: reentrant checkpointing passes no gradient to keyword arguments
        context = (self_masks.pop("context"),) if "context" in self_masks else ()
        for index, layer in enumerate(self.layers):
            hidden_states = layer(
                hidden_states,
                encoder_hidden_states,
                *context,
                encoder_attention_mask=cross_mask,
                cross_key_values=None if cross_key_values is None else cross_key_values[index],
                # earlier layers need all positions, as keys of the next one
                output_positions=output_positions if layer is self.layers[-1] else None,
                **self_masks,
                **kwargs,
            )
        return BaseModelOutputWithCrossAttentions(last_hidden_state=hidden_states)


class NATModel(NATPreTrainedModel):
    """Encoder and decoder over one shared token embedding, without heads."""

    encoder_class: type[NATEncoder] = NATEncoder
    decoder_class: type[NATDecoder] = NATDecoder
    _tied_weights_keys = {
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    }

    def __init__(self, config: NATConfig):
        super().__init__(config)
        scale = config.d_model**0.5 if config.scale_embedding else 1.0
        self.shared: nn.Module = NATScaledEmbedding(config.vocab_size, config.d_model, config.pad_token_id, scale)
        self.encoder: NATEncoder | NATPretrainedEncoder
        if config.pretrained_encoder is None:
            self.encoder = self.encoder_class(config)
        else:
            self.encoder = NATPretrainedEncoder(config)
            # an attribute of this object: the class keeps the keys of models whose encoder is their own
            self._tied_weights_keys = {"decoder.embed_tokens.weight": "shared.weight"}
        self.decoder = self.decoder_class(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding that both stacks share."""
        return self.shared

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the shared token embedding in both stacks; a pre-trained encoder keeps its own."""
        self.shared = value
        if isinstance(self.encoder, NATEncoder):
            self.encoder.embed_tokens = value
        self.decoder.embed_tokens = value

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """The encoder; there is one, whatever the modality."""
        return self.encoder

    def get_decoder(self) -> nn.Module:
        """The decoder."""
        return self.decoder

    def encode(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        encoder_outputs: BaseModelOutput | tuple | None,
        inputs_embeds: torch.Tensor | None,
        **kwargs,
    ) -> BaseModelOutput:
        """Encoder output, computed unless the caller passed one."""
        if encoder_outputs is None:
            return self.encoder(input_ids, attention_mask, inputs_embeds=inputs_embeds, return_dict=True, **kwargs)
        if isinstance(encoder_outputs, BaseModelOutput):
            return encoder_outputs
        return BaseModelOutput(*encoder_outputs)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        decoder_options: dict | None = None,
        **kwargs,
    ) -> Seq2SeqModelOutput:
        """
        Encodes the source and runs one decoder pass over the (partially masked) target.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, S)`): source `<s> … </s>`, padded on either side.
            attention_mask (`torch.Tensor` of shape `(B, S)`, *optional*): 1 for tokens; default from `pad_token_id`.
            decoder_input_ids (`torch.LongTensor` of shape `(B, T)`): target with masks, **not shifted**.
            decoder_attention_mask (`torch.Tensor` of shape `(B, T)`, *optional*): 1 for tokens.
            encoder_outputs (*optional*): skips the encoder.
            inputs_embeds, decoder_inputs_embeds (`torch.FloatTensor`, *optional*): instead of ids.
            decoder_options (`dict`, *optional*): more arguments of the family's decoder.

        Returns:
            `Seq2SeqModelOutput` with `last_hidden_state` (B, T, D) and `encoder_last_hidden_state` (B, S, D).

        Raises:
            ValueError: for a sequence longer than the position table, or a missing decoder input.
        """
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            raise ValueError(
                "decoder_input_ids is missing. Pass the target with masked positions (it is not shifted), or call "
                "generate() to translate."
            )
        # here and not in the encoder alone, because cross-attention needs the same mask
        if attention_mask is None and input_ids is not None:
            attention_mask = input_ids.ne(self.config.pad_token_id)
        encoder_outputs = self.encode(input_ids, attention_mask, encoder_outputs, inputs_embeds, **kwargs)
        decoder_outputs = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            encoder_hidden_states=encoder_outputs[0],
            encoder_attention_mask=attention_mask,
            inputs_embeds=decoder_inputs_embeds,
            return_dict=True,
            **(decoder_options or {}),
            **kwargs,
        )
        return Seq2SeqModelOutput(
            last_hidden_state=decoder_outputs.last_hidden_state,
            decoder_hidden_states=decoder_outputs.hidden_states,
            decoder_attentions=decoder_outputs.attentions,
            cross_attentions=decoder_outputs.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
        )


__all__ = ["NATModel", "NATPreTrainedModel", "NATSeq2SeqLMOutput"]
