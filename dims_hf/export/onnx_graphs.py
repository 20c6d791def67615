# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The graphs of a translation model: one pass from source ids to target ids, or an encoder and a decoding step.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), A alignment length (which is the T of an
Imputer's decoder), K length candidates, R = B·K rows, M predicted positions, V vocabulary, C ids of a shortlist,
D hidden.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .folders import blank_penalty
from .onnx_builder import FUSED, GraphBuilder, WeightStore, to_numpy


if TYPE_CHECKING:
    from torch import nn

    from dims_hf.models.configuration_nat import NATConfig
    from dims_hf.models.modeling_nat import NATAttention, NATDecoder, NATEncoder
    from dims_hf.models.modeling_translation import NATForConditionalGeneration

TABLE = "model.shared.weight"

# Added to the logit of a token that must not be predicted; finite, since inf times a scale may be NaN.
_EXCLUDED = -1e30

# name of a transformers activation -> ONNX operator and its domain
_ACTIVATIONS = {"relu": ("Relu", ""), "gelu": ("Gelu", FUSED)}


class TranslationGraph:
    """
    Parts of the graphs of a CMLM; a family that differs overrides a part.

    Args:
        model (`NATForConditionalGeneration`): read for its weights and settings.
        builder ([`GraphBuilder`]): receives the nodes.
        has_shortlist (`bool`, *optional*): project on ids that the caller lists; else on the whole vocabulary.
    """

    # What the graph of one pass calls its ids (R, T).
    output_name = "sequences"

    def __init__(
        self, model: NATForConditionalGeneration, builder: GraphBuilder, *, has_shortlist: bool = False
    ) -> None:
        self.model, self.config, self.builder = model, model.config, builder
        self.has_shortlist = has_shortlist
        self.table = to_numpy(model.model.shared.weight)
        if self.config.activation_function not in _ACTIVATIONS:
            raise ValueError(
                f"activation_function={self.config.activation_function!r} has no ONNX form here. "
                f"Known: {', '.join(_ACTIVATIONS)}."
            )

    def encode(self, input_ids: str, attention_mask: str) -> str:
        """Encoder states (B, S, D) of source ids and mask (B, S); those of padding mean nothing."""
        b, encoder = self.builder, self.model.model.encoder
        counted = b.op("CumSum", attention_mask, b.constant(1))
        # row of the position table: tokens from 2 on, padding 1, as `position_ids_from_mask`
        positions = b.op("Add", b.op("Mul", counted, attention_mask), b.constant(1))
        x = self.embed(input_ids, positions, "model.encoder", encoder)
        mask = b.op("Cast", attention_mask, to=6)
        for index, layer in enumerate(encoder.layers):
            name = f"model.encoder.layers.{index}"
            x = self.attend(x, f"{name}.self_attn", layer, "self_attn", mask=mask)
            x = self.feed_forward(x, name, layer)
        return x

    def predict_length(self, states: str, attention_mask: str) -> tuple[str, str | None]:
        """
        Likeliest length class (B,) of encoder states (B, S, D), and log-probabilities (B, L) of all classes; always in
        fp32, as all tokens hang on it.
        """
        b = self.builder
        weights = b.op("Cast", b.op("Unsqueeze", attention_mask, b.constant([2])), to=1)
        total, count = (
            b.op("ReduceSum", value, b.constant([1]), keepdims=0) for value in (b.op("Mul", states, weights), weights)
        )
        matrix = b.weight("length_head.weight", to_numpy(self.model.length_head.weight).T)
        logits = b.op("MatMul", b.op("Div", total, count), matrix)
        return b.op("ArgMax", logits, axis=1, keepdims=0), b.op("LogSoftmax", logits, axis=1)

    def cross_key_values(self, states: str) -> list[tuple[str, str]]:
        """Keys and values (B, S, D) of each decoder layer, before their biases."""
        b, pairs = self.builder, []
        for index, layer in enumerate(self.model.model.decoder.layers):
            name = f"model.decoder.layers.{index}.encoder_attn"
            parts = [(f"{name}.{part}", getattr(layer.encoder_attn, part)) for part in ("k_proj", "v_proj")]
            pairs.append(tuple(b.linear(states, path, module, bias=False) for path, module in parts))
        return pairs

    def decode(
        self,
        tokens: str,
        lengths: str,
        columns: str,
        attention_mask: str,
        pairs: list,
        positions: str,
        which: str | None = None,
    ) -> str:
        """
        Decoder states (M, D) of chosen positions; candidates of a sentence share its keys and values.

        Args:
            tokens (`str`): targets (R, T); with `which`, different ones (U, T).
            lengths (`str`): of `tokens`.
            columns (`str`): (T,) from 0 on.
            attention_mask (`str`): of the sources, (B, S).
            pairs (`list`): from [`cross_key_values`].
            positions (`str`): (M,) in the flattened (R, T).
            which (`str`, *optional*): which of `tokens` each target (R,) is. What comes before targets look at their
                sources is then computed once for equal ones.
        """
        b, decoder = self.builder, self.model.model.decoder
        # targets are padded on the right, so that columns count tokens; what padding looks up is not read
        numbers = b.op("Unsqueeze", b.op("Add", columns, b.constant(2)), b.constant([0]))
        x = self.embed(tokens, numbers, "model.decoder", decoder)
        is_token = b.op("Less", columns, b.op("Unsqueeze", lengths, b.constant([1])))
        self_mask, cross_mask = (b.op("Cast", mask, to=6) for mask in (is_token, attention_mask))
        num_sentences = b.op("Shape", attention_mask, end=1)
        query = None
        if which is not None:
            name, layer = "model.decoder.layers.0", decoder.layers[0]
            x = self.decoder_self_attention(x, name, layer, self_mask)
            # biases are added by the fused attention, all three at once
            query = b.linear(x, f"{name}.encoder_attn.q_proj", layer.encoder_attn.q_proj, bias=False)
            x, query, self_mask = (b.op("Gather", each, which) for each in (x, query, self_mask))
        by_row = b.op("Shape", x)
        # A target position attends to the source on its own, so candidates may stand side by side in one row.
        by_sentence = b.op("Concat", num_sentences, b.constant([-1, self.config.d_model]), axis=0)
        for index, (layer, pair) in enumerate(zip(decoder.layers, pairs, strict=True)):
            name = f"model.decoder.layers.{index}"
            if query is None:
                x = self.decoder_self_attention(x, name, layer, self_mask)
            else:
                query = b.op("Reshape", query, by_sentence)
            x = b.op("Reshape", x, by_sentence)
            x = self.attend(x, f"{name}.encoder_attn", layer, "encoder_attn", mask=cross_mask, pair=pair, query=query)
            query = None
            if layer is decoder.layers[-1]:
                x = b.op("Gather", b.op("Reshape", x, b.constant([-1, self.config.d_model])), positions)
                return self.feed_forward(x, name, layer)
            x = b.op("Reshape", self.feed_forward(x, name, layer), by_row)

    def decoder_self_attention(self, x: str, name: str, layer: nn.Module, mask: str) -> str:
        """What the target positions (R, T, D) learn from each other."""
        return self.attend(x, f"{name}.self_attn", layer, "self_attn", mask=mask)

    def embed(self, ids: str, positions: str, name: str, stack: NATEncoder | NATDecoder) -> str:
        """Input of the first layer (…, D)."""
        tokens = self.builder.embedding(ids, TABLE, self.table, self.model.model.shared.scale)
        table = self.builder.weight(f"{name}.embed_positions.weight", to_numpy(stack.embed_positions.weight))
        return self.combine_positions(tokens, self.builder.op("Gather", table, positions), name, stack)

    def combine_positions(self, tokens: str, positions: str, name: str, stack: nn.Module) -> str:
        """Sum of token and position embeddings."""
        return self.builder.op("Add", tokens, positions)

    def attend(
        self,
        x: str,
        name: str,
        layer: nn.Module,
        part: str,
        *,
        mask: str,
        pair: tuple[str, str] | None = None,
        query: str | None = None,
        causal: bool = False,
    ) -> str:
        """Attention sublayer with its residual and layer norm: (…, D); `mask` (rows, keys) is 1 for tokens."""
        b, attention = self.builder, getattr(layer, part)
        keys, values = pair or tuple(
            b.linear(x, f"{name}.{side}_proj", getattr(attention, f"{side}_proj"), bias=False) for side in "kv"
        )
        query = query or b.linear(x, f"{name}.q_proj", attention.q_proj, bias=False)
        bias = b.weight(f"{name}.bias", self._joint_bias(attention))
        settings = {"num_heads": self.config.d_model // attention.head_dim, "scale": attention.scaling}
        settings["unidirectional"] = int(causal)
        # one fused operator: attention in plain ones takes longer and more memory
        attended = b.op("MultiHeadAttention", query, keys, values, bias, mask, domain=FUSED, **settings)
        update = b.linear(attended, f"{name}.out_proj", attention.out_proj, bias=False)
        return b.layer_norm(
            update, x, f"{name}_layer_norm", getattr(layer, f"{part}_layer_norm"), attention.out_proj.bias
        )

    def _joint_bias(self, attention: NATAttention) -> np.ndarray:
        return np.concatenate([to_numpy(getattr(attention, f"{side}_proj").bias) for side in "qkv"])

    def feed_forward(self, x: str, name: str, layer: nn.Module) -> str:
        """Feed-forward sublayer with its residual and layer norm: (…, D)."""
        b, activation = self.builder, self.config.activation_function
        kind, domain = _ACTIVATIONS[activation]
        inner, is_relu = b.linear(x, f"{name}.fc1", layer.fc1), activation == "relu"
        if not (is_relu and b.quantized):  # unsigned bytes have no negative numbers to set to zero
            inner = b.op(kind, inner, domain=domain)
        # non-negative input has the whole range of unsigned bytes
        update = b.linear(inner, f"{name}.fc2", layer.fc2, bias=False, non_negative=is_relu)
        return b.layer_norm(update, x, f"{name}.final_layer_norm", layer.final_layer_norm, layer.fc2.bias)

    def predict(self, states: str, grid: str, positions: str, with_scores: str | None) -> tuple[str, str]:
        """
        Likeliest token (M,) of states (M, D), and its log-probability (0 if not asked for); they are of positions (M,)
        in the flattened grid (R, T). The graph also gives the logits, which cost nothing where nobody fetches them.
        """
        b = self.builder
        if self.has_shortlist:
            logits, scale, largest, token = self._project_listed(states, grid, positions)
        else:
            logits, scale = b.tied_projection(states, TABLE, self.table, self._exclusions())
            logits = self._penalize_blank(logits, scale)
            largest, token = b.max_and_argmax(logits, len(self.table))
        b.output("logits", logits, np.float32, ("M", "V"))
        if scale is not None:
            b.output("logit_scale", scale, np.float32, ("M", 1))
        squeeze = b.constant([1])
        tokens = b.op("Squeeze", token, squeeze)

        def log_probs() -> str:
            scaled, top = (value if scale is None else b.op("Mul", value, scale) for value in (logits, largest))
            rest = b.op("ReduceMax", b.op("LogSoftmax", scaled, axis=1), axes=[1], keepdims=1)
            # The same roundings as `max - logsumexp`: what ties there must tie here when positions are masked again.
            return b.op("Squeeze", b.op("Sub", top, b.op("Sub", top, rest)), squeeze)

        def zeros() -> str:
            return b.op("Squeeze", b.op("Mul", largest, b.constant(0, np.float32)), squeeze)

        if with_scores is None:
            return tokens, log_probs()
        return tokens, b.either(with_scores, np.float32, log_probs, zeros)

    def _penalize_blank(self, logits: str, scale: str | None) -> str:
        """Logits (M, V) less the `blank_penalty` of the model, which int8 divides as it has divided their rows."""
        penalty = blank_penalty(self.model)
        if not penalty:
            return logits
        b = self.builder
        rows = b.op("Shape", logits, end=1)
        shape = b.op("Concat", rows, b.constant([1]), axis=0)
        column = b.op("Expand", b.constant([[self.config.blank_token_id]]), shape)
        update = b.op("Expand", b.constant(-penalty, np.float32), shape)
        if scale is not None:
            update = b.op("Div", update, scale)
        # in place: one number of each row
        return b.op("ScatterElements", logits, column, update, axis=1, reduction="add")

    def candidate_lengths(self, predicted: str) -> str:
        """
        Decoder lengths (R,), `<s>` and `</s>` counted: those given (0 = none), else K around the predicted ones (B,).
        """
        b = self.builder
        offsets = b.input("length_offsets", np.int64, ("K",), np.zeros(1, np.int64))
        given = b.input("target_lengths", np.int64, ("B_or_1",), np.zeros(1, np.int64))
        # offsets are an input, so that one graph serves any number of candidates
        around = b.op("Add", b.op("Unsqueeze", predicted, b.constant([1])), offsets)
        clamped = b.op("Clip", around, *map(b.constant, self.length_bounds(self.config).values()))
        given = b.op("Unsqueeze", given, b.constant([1]))
        chosen = b.op("Where", b.op("Greater", given, b.constant(0)), b.op("Add", given, b.constant(2)), clamped)
        return b.op("Reshape", chosen, b.constant([-1]))

    def pick_lengths(self, length_log_probs: str, lengths: str) -> str:
        """Log-probabilities (R,) of candidates' lengths (R,) among those of all classes (B, L)."""
        b = self.builder
        num_classes = self.config.max_target_length
        # given lengths may be longer than any class; nothing is made of their probability
        classes = b.op("Min", lengths, b.constant(num_classes - 1))
        shape = b.op("Concat", b.op("Shape", length_log_probs, end=1), b.constant([-1]), axis=0)
        by_sentence = b.op("Reshape", classes, shape)
        picked = b.op("GatherElements", length_log_probs, by_sentence, axis=1)
        return b.op("Reshape", picked, b.constant([-1]))

    def template(self, lengths: str, columns: str) -> tuple[str, str]:
        """`<s> mask … mask </s> pad …` (R, T), and which positions are masks (R, T)."""
        b = self.builder
        last = b.op("Sub", b.op("Unsqueeze", lengths, b.constant([1])), b.constant(1))
        is_first = b.op("Equal", columns, b.constant(0))
        is_inside = b.op("And", b.op("Less", columns, last), b.op("Not", is_first))
        ids = {name: b.constant(getattr(self.config, f"{name}_token_id")) for name in ("bos", "eos", "pad", "mask")}
        tokens = b.op("Where", b.op("Equal", columns, last), ids["eos"], ids["pad"])
        return b.op("Where", is_first, ids["bos"], b.op("Where", is_inside, ids["mask"], tokens)), is_inside

    def _exclusions(self) -> np.ndarray:
        """What is added to the logits of the vocabulary (V,)."""
        excluded = np.zeros(len(self.table), np.float32)
        excluded[self.model.suppressed_token_ids()] = _EXCLUDED
        return excluded

    def _project_listed(self, states: str, grid: str, positions: str) -> tuple[str, str | None, str, str]:
        """
        Logits (M, C) of the listed ids, their scale (M, 1), the largest (M, 1) and its token (M, 1).

        Two inputs list them: `vocabulary_ids` (C,), ascending apart from padding, C a multiple of `LISTED_GROUP`, and
        `is_listed` (B, C): which of them each sentence may use. What a batch mate makes likely is thus out of reach,
        and a translation does not depend on its batch.
        """
        b = self.builder
        ids = b.input("vocabulary_ids", np.int64, ("C",))
        is_listed = b.input("is_listed", np.bool_, ("B", "C"))
        excluded = b.op("Gather", b.weight(f"{TABLE}.excluded", self._exclusions()), ids)
        by_sentence = b.op("Where", is_listed, excluded, b.constant(_EXCLUDED, np.float32))
        # the candidates of a sentence are rows of the grid that follow one another
        # integer division: K · T places of the grid belong to a sentence
        sentence = b.op("Div", positions, b.op("Div", b.op("Size", grid), b.op("Shape", is_listed, end=1)))
        logits, scale = b.listed_projection(states, TABLE, self.table, ids)
        logits = b.op("Add", logits, b.op("Gather", by_sentence, sentence))
        largest, column = b.max_and_argmax(logits, None)
        return logits, scale, largest, b.op("Gather", ids, column)

    @staticmethod
    def length_bounds(config: NATConfig) -> dict[str, int]:
        """Fewest and most tokens that a predicted length may have, `<s>` and `</s>` counted, as in `generate()`."""
        return {
            "shortest_length": 3 if config.suppress_special_tokens else 2,
            "longest_length": min(config.max_position_embeddings, config.max_target_length - 1),
        }

    @classmethod
    def settings(cls, model: NATForConditionalGeneration) -> dict[str, Any]:
        """What the translator must know of the family, beside what it must know of all."""
        return cls.length_bounds(model.config)


class CMLMCGraph(TranslationGraph):
    """A bidirectional and a causal self-attention in each decoder layer, and projected positions."""

    def __init__(
        self, model: NATForConditionalGeneration, builder: GraphBuilder, *, has_shortlist: bool = False
    ) -> None:
        super().__init__(model, builder, has_shortlist=has_shortlist)
        if self.config.legacy_unmasked_attn_no_pad_mask:
            raise ValueError(
                "This CMLMC attends to padding (legacy_unmasked_attn_no_pad_mask), so its translations depend on the "
                "batch and cannot be verified. Import the checkpoint with --no-legacy and export that."
            )

    def combine_positions(self, tokens: str, positions: str, name: str, stack: nn.Module) -> str:
        """Projection of token and position embeddings side by side."""
        b = self.builder
        # Positions of the target are one row for all sentences.
        positions = b.op("Expand", positions, b.op("Shape", tokens))
        joined = b.op("Concat", tokens, positions, axis=-1)
        return b.linear(joined, f"{name}.embed_proj", stack.embed_proj)

    def decoder_self_attention(self, x: str, name: str, layer: nn.Module, mask: str) -> str:
        """First to both sides, then to the left; no token has padding on its left."""
        x = self.attend(x, f"{name}.self_attn_unmasked", layer, "self_attn_unmasked", mask=mask)
        return self.attend(x, f"{name}.self_attn", layer, "self_attn", mask=mask, causal=True)


class ImputerGraph(TranslationGraph):
    """Alignments in place of targets: their lengths follow from the sources, and R = B."""

    output_name = "alignments"

    def predict_length(self, states: str, attention_mask: str) -> tuple[str, str | None]:
        """Positions of each alignment (B,), which are no matter of probability."""
        b = self.builder
        num_tokens = b.op("ReduceSum", attention_mask, b.constant([1]), keepdims=0)
        return b.op("Mul", num_tokens, b.constant(self.config.upsample_ratio)), None

    def candidate_lengths(self, predicted: str) -> str:
        """The lengths (B,) themselves: there is one candidate each."""
        return predicted

    def template(self, lengths: str, columns: str) -> tuple[str, str]:
        """`mask … mask pad …` (B, A), and which positions are masks (B, A)."""
        b = self.builder
        is_inside = b.op("Less", columns, b.op("Unsqueeze", lengths, b.constant([1])))
        mask, pad = (b.constant(getattr(self.config, f"{name}_token_id")) for name in ("mask", "pad"))
        return b.op("Where", is_inside, mask, pad), is_inside

    @classmethod
    def settings(cls, model: NATForConditionalGeneration) -> dict[str, Any]:
        """How long alignments are, how they are revealed and what they collapse to."""
        return {
            "upsample_ratio": model.config.upsample_ratio,
            "blank_token_id": model.config.blank_token_id,
            "legacy_adjacency": model.decoding_settings().legacy_adjacency,
        }


# config.model_type -> parts of its graphs
GRAPHS: dict[str, type[TranslationGraph]] = {"cmlm": TranslationGraph, "cmlmc": CMLMCGraph, "imputer": ImputerGraph}


def make_graphs(
    model: NATForConditionalGeneration,
    store: WeightStore,
    *,
    one_pass: bool,
    quantized: bool,
    has_shortlist: bool = False,
) -> dict[str, GraphBuilder]:
    """
    Graphs of a model by the name of their file's stem.

    Args:
        model (`NATForConditionalGeneration`): read for its weights.
        store ([`WeightStore`]): receives the weights.
        one_pass (`bool`): `{"model": …}`, else `{"encoder": …, "decoder": …}`.
        quantized (`bool`): int8 matrix multiplications.
        has_shortlist (`bool`, *optional*): the inputs `vocabulary_ids` and `is_listed` say what is projected on.

    Raises:
        ValueError: for a family that has no graphs, or an imported model that depends on padding.
    """
    family = model.config.model_type
    if family not in GRAPHS:
        raise ValueError(f"Models of type {family!r} cannot be exported to ONNX yet. Known: {', '.join(GRAPHS)}.")
    builders = {name: GraphBuilder(store, quantized=quantized) for name in _WRITERS[one_pass]}
    for name, builder in builders.items():
        _WRITERS[one_pass][name](GRAPHS[family](model, builder, has_shortlist=has_shortlist), builder)
    return builders


def _source_inputs(builder: GraphBuilder) -> tuple[str, str]:
    return tuple(builder.input(name, np.int64, ("B", "S")) for name in ("input_ids", "attention_mask"))


def _write_one_pass(graph: TranslationGraph, b: GraphBuilder) -> None:
    """Source ids to target ids: encoder, lengths, fully masked templates, decoder, likeliest tokens."""
    input_ids, attention_mask = _source_inputs(b)
    with_scores = b.input("with_scores", np.bool_, (), np.array(True))
    states = graph.encode(input_ids, attention_mask)
    pairs = graph.cross_key_values(states)
    predicted, length_log_probs = graph.predict_length(states, attention_mask)
    lengths = graph.candidate_lengths(predicted)
    b.output("lengths", lengths, np.int64, ("R",))
    if length_log_probs is not None:
        b.output("length_log_probs", graph.pick_lengths(length_log_probs, lengths), np.float32, ("R",))
    columns = b.op("Range", b.constant(0), b.op("ReduceMax", lengths, axes=[0], keepdims=0), b.constant(1))
    # templates of one length are equal
    different, _, which, _ = b.op("Unique", lengths, outputs=4)
    templates = graph.template(different, columns)
    tokens, is_masked = (b.op("Gather", each, which) for each in templates)
    # (M,) flat places of the masks, in row-major order
    rows = b.op("Squeeze", b.op("NonZero", b.op("Reshape", is_masked, b.constant([-1]))), b.constant([0]))
    states = graph.decode(templates[0], different, columns, attention_mask, pairs, rows, which)
    predictions, log_probs = graph.predict(states, tokens, rows, with_scores)
    flat = b.op("Reshape", tokens, b.constant([-1]))
    shape = b.op("Shape", tokens)
    filled = b.op("Reshape", b.op("ScatterElements", flat, rows, predictions), shape)
    b.output(graph.output_name, filled, np.int64, ("R", "T"))
    # zeros of a shape that is known at run time only
    zeros = b.op("Cast", b.op("Mul", flat, b.constant(0)), to=1)
    spread = b.op("Reshape", b.op("ScatterElements", zeros, rows, log_probs), shape)
    total = b.op("ReduceSum", spread, b.constant([1]), keepdims=0)
    b.output("scores", b.op("Div", total, b.op("Cast", lengths, to=1)), np.float32, ("R",))


def _write_encoder(graph: TranslationGraph, b: GraphBuilder) -> None:
    """Source ids to decoder lengths, before any beam, and the decoder's keys and values."""
    input_ids, attention_mask = _source_inputs(b)
    states = graph.encode(input_ids, attention_mask)
    lengths, length_log_probs = graph.predict_length(states, attention_mask)
    b.output("lengths", lengths, np.int64, ("B",))
    if length_log_probs is not None:
        b.output("length_log_probs", length_log_probs, np.float32, ("B", "L"))
    for names, pair in zip(_pair_names(graph), graph.cross_key_values(states), strict=True):
        for name, value in zip(names, pair, strict=True):
            b.output(name, value, np.float32, ("B", "S", graph.config.d_model))


def _write_decoder(graph: TranslationGraph, b: GraphBuilder) -> None:
    """Partially masked targets to the likeliest tokens of chosen positions."""
    tokens = b.input("tokens", np.int64, ("R", "T"))
    lengths = b.input("lengths", np.int64, ("R",))
    rows = b.input("positions", np.int64, ("M",))
    attention_mask = b.input("attention_mask", np.int64, ("B", "S"))
    shape = ("B", "S", graph.config.d_model)
    pairs = [tuple(b.input(name, np.float32, shape) for name in names) for names in _pair_names(graph)]
    width = b.op("Squeeze", b.op("Shape", tokens, start=1), b.constant([0]))
    columns = b.op("Range", b.constant(0), width, b.constant(1))
    states = graph.decode(tokens, lengths, columns, attention_mask, pairs, rows)
    predictions, log_probs = graph.predict(states, tokens, rows, None)
    b.output("predictions", predictions, np.int64, ("M",))
    b.output("log_probs", log_probs, np.float32, ("M",))


def _pair_names(graph: TranslationGraph) -> list[tuple[str, str]]:
    return [(f"cross_key_{index}", f"cross_value_{index}") for index in range(graph.config.decoder_layers)]


_WRITERS = {
    True: {"model": _write_one_pass},
    False: {"encoder": _write_encoder, "decoder": _write_decoder},
}


def save_graphs(builders: dict[str, GraphBuilder], store: WeightStore, folder: Path) -> None:
    """Writes the weights and one `{name}.onnx` per graph beside them."""
    store.write(folder)
    for name, builder in builders.items():
        (folder / f"{name}.onnx").write_bytes(builder.build(name).SerializeToString())
