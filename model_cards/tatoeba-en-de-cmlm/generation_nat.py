# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`generate()` of the non-autoregressive models: length candidates, the decoding loop, ranking and output.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), K length candidates, R = B·K rows,
M updated positions, V vocabulary, D hidden, H heads.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from transformers import GenerationConfig
from transformers.generation import GenerationMixin
from transformers.utils import ModelOutput

from .configuration_nat import NATConfig
from .decoding_mask_predict import DecodingState, init_mask_predict, step_mask_predict
from .masking import collapse_repeats as drop_repeats, find_content


# What transformers' Seq2SeqTrainer passes along; none of it has a meaning here.
TRAINER_ARGUMENTS = ("labels", "decoder_input_ids", "synced_gpus")


class DecodingStep(NamedTuple):
    """What one pass left of the winning candidates: ids (B, T), log-probabilities (B, T), state (B, T; 0 kept, 1
    revealed, 2 predicted or kept before and masked again)."""

    token_ids: torch.LongTensor
    log_probs: torch.FloatTensor
    state: torch.LongTensor


@dataclass
class NATGenerateOutput(ModelOutput):
    """
    Output of `generate(return_dict_in_generate=True)`; R' = B · num_return_sequences rows, best candidate first.

    Args:
        sequences (`torch.LongTensor` of shape `(R', T)`): `<s> … </s>`, right-padded.
        sequences_scores (`torch.FloatTensor` of shape `(R',)`): sum of log-probabilities / (N + 2), taken before
            repeats are collapsed.
        token_scores (`torch.FloatTensor` of shape `(R', T)`, *optional*): log-probability of each token before repeats
            are collapsed (T as before collapsing), with `output_scores=True`.
        history (`list[DecodingStep]`, *optional*): `num_iterations` entries, with `output_history=True`; those after
            the pass that revealed the last mask repeat it with state 0. Models that update all positions go on
            revealing; those after a pass that changed nothing repeat that pass.
    """

    sequences: torch.LongTensor | None = None
    sequences_scores: torch.FloatTensor | None = None
    token_scores: torch.FloatTensor | None = None
    history: list | None = None


@dataclass(frozen=True)
class DecodingSettings:
    """Settings of one `generate()` call; defaults where neither the call nor generation_config.json says otherwise."""

    num_iterations: int = 10
    length_beam_size: int = 1
    num_return_sequences: int = 1
    collapse_repeats: bool = True
    return_dict_in_generate: bool = False
    output_scores: bool = False
    output_history: bool = False
    do_sample: bool = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in ("num_iterations", "length_beam_size", "num_return_sequences"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                hint = " Use 1 for single-step decoding." if name == "num_iterations" else " Use at least 1."
                raise ValueError(f"{name} must be an integer >= 1, got {value!r}.{hint}")
        if self.num_return_sequences > self.length_beam_size:
            raise ValueError(
                f"num_return_sequences={self.num_return_sequences} exceeds length_beam_size={self.length_beam_size}, "
                "and each length gives one candidate. Raise length_beam_size."
            )
        if self.do_sample and not self.temperature > 0:
            raise ValueError(f"temperature must be > 0 with do_sample=True, got {self.temperature}. Try 1.0.")


def default_generation_config(
    config: NATConfig, settings_class: type[DecodingSettings] = DecodingSettings
) -> GenerationConfig:
    """Generation config of a new model, a fresh object: one made from the model config drops our fields at reload."""
    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        pad_token_id=config.pad_token_id,
        eos_token_id=config.eos_token_id,
        num_iterations=settings_class.num_iterations,
        length_beam_size=settings_class.length_beam_size,
        collapse_repeats=settings_class.collapse_repeats,
    )


def resolve_settings(
    overrides: dict,
    *generation_configs: GenerationConfig | None,
    settings_class: type[DecodingSettings] = DecodingSettings,
) -> DecodingSettings:
    """
    Settings from the call, then the generation configs in their order, then the defaults; `None` means "not given".

    Raises:
        ValueError: for an argument `generate()` does not know, or an impossible value.
    """
    names = [field.name for field in fields(settings_class)]
    unknown = sorted(set(overrides) - set(names))
    if unknown:
        raise ValueError(
            f"generate() does not know {', '.join(unknown)}. It takes input_ids, attention_mask, target_lengths, "
            f"generation_config, generator, callback, {', '.join(names)}."
        )
    chosen = {}
    defaults = [{name: getattr(config, name, None) for name in names} for config in reversed(generation_configs)]
    for values in [*defaults, overrides]:
        chosen.update((name, value) for name, value in values.items() if value is not None)
    return settings_class(**chosen)


def length_candidates(
    predicted_lengths: torch.LongTensor, length_beam_size: int, *, shortest: int = 2, longest: int | None = None
) -> torch.LongTensor:
    """
    K contiguous lengths around the predicted one: ℓ − ⌊K/2⌋ … ℓ − ⌊K/2⌋ + K − 1, clamped (duplicates possible).

    Source: the reference implementation's length beam; not a top-k of the length predictor.

    Args:
        predicted_lengths (`torch.LongTensor` of shape `(B,)`): tokens with `<s>` and `</s>`.
        length_beam_size (`int`): K.
        shortest, longest (`int`): clamps, `<s>` and `</s>` counted.

    Returns:
        `torch.LongTensor` of shape `(B, K)`, ascending.
    """
    offsets = torch.arange(length_beam_size, device=predicted_lengths.device) - length_beam_size // 2
    return (predicted_lengths.unsqueeze(1) + offsets).clamp(min=shortest, max=longest)


def rank_candidates(scores: torch.Tensor, num_candidates: int) -> torch.LongTensor:
    """
    Order of each sentence's candidates by score; ties go to the shorter one.

    Args:
        scores (`torch.Tensor` of shape `(R,)`): mean log-probabilities, candidates of a sentence adjacent and
            ascending in length.
        num_candidates (`int`): K.

    Returns:
        `torch.LongTensor` of shape `(B, K)`: row indices into the R candidates, best first.
    """
    order = scores.view(-1, num_candidates).argsort(dim=1, descending=True, stable=True)
    return order + torch.arange(order.shape[0], device=order.device).unsqueeze(1) * num_candidates


def choose_tokens(
    logits: torch.Tensor,
    suppressed_ids: list[int],
    *,
    do_sample: bool = False,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[torch.LongTensor, torch.FloatTensor]:
    """
    Most likely (or sampled) token and its log-probability at each position; suppressed ids have probability 0.

    Args:
        logits (`torch.Tensor` of shape `(M, V)`): any floating dtype; computed in fp32.
        suppressed_ids (`list[int]`): ids that must not be predicted.
        do_sample (`bool`): sample from softmax(logits / temperature) instead of taking the maximum.
        temperature (`float`): > 0, used with `do_sample`.
        generator (`torch.Generator`, *optional*): randomness of the samples.

    Returns:
        token ids (M,) and their log-probabilities (M,) under softmax(logits).
    """
    given, logits = logits, logits.float()
    if suppressed_ids:
        # The caller's logits are not to be changed; what `float` copied need not be copied again.
        fill = logits.index_fill if logits is given else logits.index_fill_
        logits = fill(1, torch.tensor(suppressed_ids, device=logits.device), -torch.inf)
    if do_sample and logits.shape[0]:
        tokens = torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator).squeeze(1)
        chosen = logits.gather(1, tokens.unsqueeze(1)).squeeze(1)
    else:
        chosen, tokens = logits.max(dim=-1)
    return tokens, chosen - logits.logsumexp(dim=-1)


@dataclass(frozen=True)
class DecoderInputs:
    """
    The rows that a pass computes, and what the decoder reads for them in every pass.

    Args:
        rows (`slice` or `torch.LongTensor` of shape `(R,)`): which rows of the decoding state; all K of a sentence.
        is_target (`torch.BoolTensor` of shape `(R, T)`): True = token, False = padding.
        encoder_hidden (`torch.FloatTensor` of shape `(B, S, D)`): the K candidates of a sentence share one row.
        attention_mask (`torch.BoolTensor` of shape `(B, S)`): True = source token.
        cross_key_values (`list`): cross-attention keys and values (B, H, S, D/H) of each layer.
    """

    rows: slice | torch.LongTensor
    is_target: torch.BoolTensor
    encoder_hidden: torch.FloatTensor
    attention_mask: torch.BoolTensor
    cross_key_values: list[tuple[torch.Tensor, torch.Tensor]]

    def select(self, sentences: torch.LongTensor) -> "DecoderInputs":
        """Those of some sentences of the batch, by their indices (B',)."""
        rows = torch.arange(len(self.is_target), device=sentences.device)
        rows = rows.view(len(self.encoder_hidden), -1)[sentences].flatten()
        return DecoderInputs(
            rows,
            # All columns: the longest sentences need the most passes, so there is next to nothing to cut off.
            self.is_target[rows],
            self.encoder_hidden[sentences],
            self.attention_mask[sentences],
            [(keys[sentences], values[sentences]) for keys, values in self.cross_key_values],
        )


def find_open_sentences(
    is_updated: torch.BoolTensor, before: DecodingState | None, after: DecodingState, num_candidates: int
) -> torch.BoolTensor:
    """
    Sentences that another pass may change: some candidate has a position to update, and its last pass was no fixed
    point (no mask to fill and no token changed), which every later pass would repeat.

    Args:
        is_updated (`torch.BoolTensor` of shape `(R, T)`): positions that the pass would predict.
        before, after ([`DecodingState`]): around the last pass; no fixed points are looked for without `before`.
        num_candidates (`int`): K.

    Returns:
        `torch.BoolTensor` of shape `(B,)`, True = open.
    """
    is_open = is_updated.any(dim=1)
    if before is not None:
        is_open &= (before.is_masked | (before.tokens != after.tokens)).any(dim=1)
    return is_open.view(-1, num_candidates).any(dim=1)


class NATGenerationMixin(GenerationMixin):
    """
    Non-autoregressive `generate()` for models with an encoder and a decoder that sees masks.

    A family says how long its candidates are; one with another strategy than mask-predict also overrides
    `settings_class`, `init_decoding`, `step_decoding` and `finish_decoding`.
    """

    settings_class = DecodingSettings

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        target_lengths: torch.LongTensor | None = None,
        generation_config: GenerationConfig | None = None,
        generator: torch.Generator | None = None,
        callback: Callable[[DecodingState], None] | None = None,
        **kwargs,
    ) -> NATGenerateOutput | torch.LongTensor:
        """
        Translates a batch with `num_iterations` decoder passes.

        A sentence's translation depends neither on the batch, nor on its order, nor on padding; checkpoints imported
        with the legacy attention of CMLMC are the one exception. A sentence that no pass could change any more is not
        computed again.

        Args:
            input_ids (`torch.LongTensor` of shape `(B, S)`): source `<s> … </s>`, padded on either side.
            attention_mask (`torch.Tensor` of shape `(B, S)`, *optional*): 1 for tokens; default from `pad_token_id`.
            num_iterations (`int`, *optional*): decoder passes, at least 1; 1 is single-step decoding. Default from
                `generation_config`, where a distilled student keeps the value it was distilled for.
            length_beam_size (`int`, *optional*): contiguous lengths decoded around the predicted one.
            num_return_sequences (`int`, *optional*): best candidates returned per sentence.
            target_lengths (`torch.LongTensor` of shape `(B,)`, *optional*): content tokens N of each translation,
                instead of the predictor; excludes `length_beam_size > 1`.
            collapse_repeats (`bool`, *optional*): drop tokens equal to their right neighbour from the output.
            return_dict_in_generate (`bool`, *optional*): return [`NATGenerateOutput`] instead of the sequences.
            output_scores (`bool`, *optional*): add `token_scores`.
            output_history (`bool`, *optional*): add `history`.
            do_sample, temperature (*optional*): sample tokens at this temperature instead of taking the likeliest.
            generation_config (`GenerationConfig`, *optional*): defaults before the model's own, which fill its gaps.
            generator (`torch.Generator`, *optional*): randomness for `do_sample=True`.
            callback (`Callable`, *optional*): called with the [`DecodingState`] after each pass; R = B·K rows.

        Returns:
            `torch.LongTensor` of shape `(B · num_return_sequences, T)`, or [`NATGenerateOutput`].

        Raises:
            ValueError: for empty input, a row of padding only, ids outside the vocabulary, a source longer than the
                position table, impossible settings, unknown arguments.

        Source: Ghazvininejad et al. 2019 (arXiv 1904.09324); counts and ties as the DiMS reference implementation.
        """
        overrides = {name: value for name, value in kwargs.items() if name not in TRAINER_ARGUMENTS}
        settings = self.decoding_settings(generation_config, **overrides)
        attention_mask = self._check_source(input_ids, attention_mask)
        encoder_hidden = self.model.encoder(input_ids, attention_mask, return_dict=True).last_hidden_state
        lengths = self.candidate_lengths(encoder_hidden, attention_mask, target_lengths, settings)
        state, history = self._decode(encoder_hidden, attention_mask, lengths, settings, generator, callback)
        scores = state.scores.sum(dim=1) / lengths.flatten()
        order = rank_candidates(scores, lengths.shape[1])
        return self._collect_output(state, history, scores, order, lengths.flatten(), settings)

    def decoding_settings(self, generation_config: GenerationConfig | None = None, **overrides) -> DecodingSettings:
        """Settings that `generate` uses for these arguments."""
        return resolve_settings(
            overrides, generation_config, self.generation_config, settings_class=self.settings_class
        )

    def _check_source(
        self, input_ids: torch.LongTensor | None, attention_mask: torch.Tensor | None
    ) -> torch.BoolTensor:
        """Refuses input that would fail later or give nonsense; returns the mask of tokens (B, S)."""
        if input_ids is None or input_ids.numel() == 0:
            raise ValueError("generate() got an empty input_ids. Pass token ids of shape (batch, length), both >= 1.")
        if input_ids.dim() != 2:
            raise ValueError(f"input_ids must have shape (batch, length), got {tuple(input_ids.shape)}.")
        if int(input_ids.max()) >= self.config.vocab_size or int(input_ids.min()) < 0:
            bad = int(input_ids.max()) if int(input_ids.max()) >= self.config.vocab_size else int(input_ids.min())
            raise ValueError(
                f"input_ids hold the id {bad}, outside the model's vocabulary of {self.config.vocab_size}. "
                "Use the tokenizer saved with the model."
            )
        if attention_mask is None:
            attention_mask = input_ids.ne(self.config.pad_token_id)
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask has shape {tuple(attention_mask.shape)}, input_ids {tuple(input_ids.shape)}. "
                "Pass the mask the tokenizer returned with these ids."
            )
        num_tokens = attention_mask.ne(0).sum(dim=1)
        if int(num_tokens.min()) == 0:
            row = int(num_tokens.argmin())
            raise ValueError(f"Row {row} of input_ids is all padding. Remove empty sentences before translating.")
        if int(num_tokens.max()) > self.config.max_position_embeddings:
            raise ValueError(
                f"Row {int(num_tokens.argmax())} has {int(num_tokens.max())} tokens, more than the position table of "
                f"{self.config.max_position_embeddings}. Split the sentence or truncate it in the tokenizer."
            )
        return attention_mask.ne(0)

    def candidate_lengths(
        self,
        encoder_hidden: torch.Tensor,
        attention_mask: torch.Tensor,
        target_lengths: torch.LongTensor | None,
        settings: DecodingSettings,
    ) -> torch.LongTensor:
        """Decoder lengths (B, K) of each sentence's candidates, ascending; every family says its own."""
        raise NotImplementedError(f"{type(self).__name__} does not say how long its candidates are.")

    def init_decoding(self, lengths: torch.LongTensor, settings: DecodingSettings) -> DecodingState:
        """State before the first pass, for decoder lengths (R,); here templates of mask-predict."""
        config = self.config
        return init_mask_predict(
            lengths,
            num_iterations=settings.num_iterations,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            mask_token_id=config.mask_token_id,
        )

    def step_decoding(
        self,
        state: DecodingState,
        is_updated: torch.BoolTensor,
        predictions: torch.LongTensor,
        log_probs: torch.FloatTensor,
        settings: DecodingSettings,
    ) -> DecodingState:
        """State after a pass that predicted M positions; here a step of mask-predict."""
        return step_mask_predict(state, is_updated, predictions, log_probs, mask_token_id=self.config.mask_token_id)

    def finish_decoding(self, hypotheses: torch.LongTensor, lengths: torch.LongTensor) -> torch.LongTensor:
        """Sequences `<s> … </s>` (R, T) that decoder outputs (R, T) of `lengths` (R,) stand for; here the same."""
        return hypotheses

    def suppressed_token_ids(self) -> list[int]:
        """Ids that decoding never predicts."""
        config = self.config
        if not config.suppress_special_tokens:
            return [config.mask_token_id]
        return sorted({config.bos_token_id, config.pad_token_id, config.eos_token_id, config.mask_token_id})

    def _decode(
        self,
        encoder_hidden: torch.Tensor,
        attention_mask: torch.Tensor,
        lengths: torch.LongTensor,
        settings: DecodingSettings,
        generator: torch.Generator | None,
        callback: Callable[[DecodingState], None] | None,
    ) -> tuple[DecodingState, list[DecodingStep]]:
        """The decoding loop over R = B·K rows; the state holds all of them, passes compute those of open sentences."""
        state = self.init_decoding(lengths.flatten(), settings)
        is_target = torch.arange(state.tokens.shape[1], device=lengths.device) < lengths.flatten().unsqueeze(1)
        cross_key_values = self.model.decoder.project_cross_key_values(encoder_hidden)
        whole = inputs = DecoderInputs(slice(None), is_target, encoder_hidden, attention_mask, cross_key_values)
        before, history = None, []
        while not state.is_finished:
            is_updated = self._positions_to_update(state)
            is_open = find_open_sentences(is_updated, before, state, lengths.shape[1])
            num_open = int(is_open.sum())
            if num_open == 0:
                break  # further passes would change nothing
            if num_open < len(inputs.encoder_hidden):
                inputs = whole.select(is_open.nonzero().squeeze(1))
            predictions, log_probs = self._predict(state, is_updated, inputs, settings, generator)
            # A sample may differ from the last one even where its input does not.
            before = None if settings.do_sample else state
            state = self.step_decoding(state, is_updated, predictions, log_probs, settings)
            if settings.output_history:
                history.append(DecodingStep(state.hypotheses, state.scores, state.state))
            if callback is not None:
                callback(state)
        if settings.output_history:
            # Passes that were not needed changed nothing; with them, a history does not depend on the batch either.
            last = state.state if self.config.update_all_positions else torch.zeros_like(state.state)
            unchanged = DecodingStep(state.hypotheses, state.scores, last)
            history.extend([unchanged] * (settings.num_iterations - len(history)))
        return state, history

    def _predict(
        self,
        state: DecodingState,
        is_updated: torch.BoolTensor,
        inputs: DecoderInputs,
        settings: DecodingSettings,
        generator: torch.Generator | None,
    ) -> tuple[torch.LongTensor, torch.FloatTensor]:
        """Tokens and log-probabilities (M,) at the positions to update; rows that are not computed keep theirs."""
        hidden = self.model.decoder(
            state.tokens[inputs.rows],
            inputs.is_target,
            encoder_hidden_states=inputs.encoder_hidden,
            encoder_attention_mask=inputs.attention_mask,
            cross_key_values=inputs.cross_key_values,
            output_positions=is_updated[inputs.rows],
            return_dict=True,
        ).last_hidden_state
        tokens, log_probs = choose_tokens(
            self.project_vocabulary(hidden),
            self.suppressed_token_ids(),
            do_sample=settings.do_sample,
            temperature=settings.temperature,
            generator=generator,
        )
        if len(inputs.is_target) == len(is_updated):
            return tokens, log_probs
        is_new = torch.zeros_like(is_updated)
        is_new[inputs.rows] = is_updated[inputs.rows]
        kept = (state.hypotheses, state.scores)
        return tuple(
            old.masked_scatter(is_new, new)[is_updated] for old, new in zip(kept, (tokens, log_probs), strict=True)
        )

    def _positions_to_update(self, state: DecodingState) -> torch.BoolTensor:
        """Positions (R, T) that the next pass predicts."""
        config = self.config
        if not config.update_all_positions:
            return state.is_masked
        # A special token inside a sentence, which only imported models predict, stays unless it is masked again.
        special_ids = (config.bos_token_id, config.eos_token_id, config.pad_token_id)
        return state.is_content & find_content(state.tokens, special_ids)

    def _collect_output(
        self,
        state: DecodingState,
        history: list[DecodingStep],
        scores: torch.Tensor,
        order: torch.LongTensor,
        lengths: torch.LongTensor,
        settings: DecodingSettings,
    ) -> NATGenerateOutput | torch.LongTensor:
        """Picks the best candidates, collapses repeats where asked, trims padding that no row needs."""
        rows = order[:, : settings.num_return_sequences].flatten()
        raw_width = int(lengths[rows].max())
        sequences = self.finish_decoding(state.hypotheses[rows, :raw_width], lengths[rows])
        if settings.collapse_repeats:
            sequences = drop_repeats(sequences, self.config.pad_token_id)
        sequences = sequences[:, : self._used_width(sequences)]
        if not settings.return_dict_in_generate:
            return sequences
        best = order[:, 0]
        return NATGenerateOutput(
            sequences=sequences,
            sequences_scores=scores[rows],
            token_scores=state.scores[rows, :raw_width] if settings.output_scores else None,
            history=[DecodingStep(*(part[best, :raw_width] for part in step)) for step in history]
            if settings.output_history
            else None,
        )

    def _used_width(self, sequences: torch.LongTensor) -> int:
        """Columns up to the last token of the longest of right-padded sequences (R, T)."""
        return int((sequences != self.config.pad_token_id).long().cumsum(dim=1).argmax(dim=1).max()) + 1


__all__ = ["DecodingSettings", "DecodingStep", "NATGenerateOutput", "NATGenerationMixin"]
