# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`generate()` of the non-autoregressive models: checks, encodes, and lets a strategy decode step by step.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), K length candidates, R = B·K rows.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

import torch
from transformers import GenerationConfig
from transformers.generation import GenerationMixin

from .configuration_nat import NATConfig
from .decoding_mask_predict import length_candidates
from .decoding_strategies import STRATEGIES
from .decoding_strategy import (
    DecodingRequest,
    DecodingSettings,
    DecodingStep,
    DecodingStrategy,
    EncodedSources,
    LanguageModel,
    NATGenerateOutput,
    check_types,
    choose_tokens,
    rank_candidates,
)
from .generation_arguments import LENGTH_LIMITS, check_generation_config, check_length_limits, drop_neutral
from .modeling_nat import NATModel


def default_generation_config(config: NATConfig) -> GenerationConfig:
    """Generation config of a new model, a fresh object: one made from the model config drops our fields at reload."""
    settings_class = STRATEGIES[config.decoding_strategy].settings_class
    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        pad_token_id=config.pad_token_id,
        eos_token_id=config.eos_token_id,
        **{name: getattr(settings_class, name) for name in settings_class.stored},
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
    names = settings_class.names()
    unknown = sorted(set(overrides) - set(names))
    if unknown:
        raise ValueError(
            f"generate() does not know {', '.join(unknown)}. It takes input_ids, attention_mask, generation_config, "
            f"generator, callback, {', '.join([*DecodingRequest._fields, *names])}."
        )
    chosen: dict[str, Any] = {}
    # the weakest first: later values overwrite
    defaults = [{name: getattr(config, name, None) for name in names} for config in reversed(generation_configs)]
    for values in [*defaults, overrides]:
        chosen.update((name, value) for name, value in values.items() if value is not None)
    check_types(settings_class, chosen)
    return settings_class(**chosen)


class NATGenerationMixin(GenerationMixin):
    """Non-autoregressive `generate()`; how a model decodes, the strategy says that its configuration names."""

    # What the model has that this is a part of.
    config: NATConfig
    model: NATModel
    generation_config: GenerationConfig
    project_vocabulary: Callable[[torch.Tensor], torch.Tensor]

    @property
    def strategy_class(self) -> type[DecodingStrategy[Any]]:
        """The class of [`STRATEGIES`] that `config.decoding_strategy` names."""
        return STRATEGIES[self.config.decoding_strategy]

    # Arguments are not those of autoregressive decoding, which this replaces.
    @overload  # type: ignore[override]
    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        return_dict_in_generate: Literal[True],
        **kwargs,
    ) -> NATGenerateOutput: ...

    @overload
    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        target_lengths: torch.Tensor | Sequence[int] | None = None,
        forced_tokens: torch.Tensor | None = None,
        forced_phrases: Sequence[Sequence[Sequence[int]]] | None = None,
        language_model: LanguageModel | None = None,
        generation_config: GenerationConfig | None = None,
        generator: torch.Generator | None = None,
        callback: Callable[[Any], None] | None = None,
        **kwargs,
    ) -> torch.Tensor: ...

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        target_lengths: torch.Tensor | Sequence[int] | None = None,
        forced_tokens: torch.Tensor | None = None,
        forced_phrases: Sequence[Sequence[Sequence[int]]] | None = None,
        language_model: LanguageModel | None = None,
        generation_config: GenerationConfig | None = None,
        generator: torch.Generator | None = None,
        callback: Callable[[Any], None] | None = None,
        **kwargs,
    ) -> NATGenerateOutput | torch.Tensor:
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
            length_score_weight (`float`, *optional*): w; adds w·log p(length) to a length candidate's score. 0 is the
                reference.
            repeat_penalty (`float`, *optional*): ρ per equal neighbour in a search over the three likeliest tokens of
                each position, before repeats are collapsed. 0 is the reference, `inf` forbids equal neighbours.
            prefix_beam_size (`int`, *optional*): hypotheses of the prefix beam search of models that write alignments;
                1 takes the likeliest alignment. Candidates for `num_return_sequences`.
            blank_penalty (`float`, *optional*): taken off the blank's logit, of models that write alignments, which
                lengthens translations.
            language_model (`Callable`, *optional*): steers a prefix beam search, or the beam of a graph, see
                [`LanguageModel`], with `language_model_weight` and, of prefix beams, `token_bonus`.
            forced_tokens (`torch.LongTensor` of shape `(B, T)`, *optional*): ids that translations must have at these
                positions (column 0 is `<s>`, repeats not collapsed yet), -100 where they are free.
            forced_phrases (`Sequence`, *optional*): for each sentence a list of phrases (ids) that its translation
                must contain; the first pass says where.
            do_sample, temperature (*optional*): sample tokens at this temperature instead of taking the likeliest.
            generation_config (`GenerationConfig`, *optional*): defaults before the model's own, which fill its gaps.
            generator (`torch.Generator`, *optional*): randomness for `do_sample=True`.
            callback (`Callable`, *optional*): called with the [`DecodingState`] after each pass; R = B·K rows.

        Returns:
            `torch.LongTensor` of shape `(B · num_return_sequences, T)`, or [`NATGenerateOutput`].

        Raises:
            ValueError: for empty input, a row of padding only, ids outside the vocabulary, a source longer than the
                position table, impossible settings or constraints, unknown arguments, arguments of
                autoregressive decoding that ask for something.

        Source: Ghazvininejad et al. 2019 (arXiv 1904.09324); counts and ties as the DiMS reference implementation.
        """
        overrides, limits = drop_neutral(kwargs), check_generation_config(generation_config)
        # limits of length are checked afterwards: nothing of a non-autoregressive decoding stops at a token
        limits.update((name, overrides.pop(name)) for name in LENGTH_LIMITS if name in overrides)
        settings = self.decoding_settings(generation_config, **overrides)
        request = DecodingRequest(target_lengths, forced_tokens, forced_phrases, language_model)
        self.strategy_class.check_request(request)
        strategy = self.strategy_class(self, settings, generator)
        state = strategy.init(self.encode_sources(input_ids, attention_mask), request)
        history: list[DecodingStep] = []
        while not state.is_finished:
            state = strategy.step(state)
            if settings.output_history:
                history.append(strategy.record(state))
            if callback is not None:
                callback(state)
        output = strategy.finish(state, history)
        check_length_limits(limits, output.sequences.shape[1])
        return output if settings.return_dict_in_generate else output.sequences

    def encode_sources(
        self, input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None = None
    ) -> EncodedSources:
        """
        What decoding needs of sources (B, S), computed once.

        Raises:
            ValueError: for sources that would fail later or give nonsense; as [`generate`].
        """
        return self.prepare_sources(*self._check_source(input_ids, attention_mask))

    def prepare_sources(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> EncodedSources:
        """[`encode_sources`] without its checks: what an exported encoder computes of ids and their mask (B, S)."""
        hidden = self.model.encoder(input_ids, attention_mask, return_dict=True).last_hidden_state
        return EncodedSources(input_ids, attention_mask, hidden, self.model.decoder.project_cross_key_values(hidden))

    def decoding_settings(self, generation_config: GenerationConfig | None = None, **overrides) -> DecodingSettings:
        """Settings that `generate` uses for these arguments."""
        return resolve_settings(
            overrides, generation_config, self.generation_config, settings_class=self.strategy_class.settings_class
        )

    def _check_source(
        self, input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Refuses input that would fail later or give nonsense; returns ids and the mask of tokens (B, S)."""
        if input_ids is None or (isinstance(input_ids, torch.Tensor) and input_ids.numel() == 0):
            raise ValueError("generate() got an empty input_ids. Pass token ids of shape (batch, length), both >= 1.")
        _check_integers(input_ids=input_ids, attention_mask=attention_mask)
        if input_ids.dim() != 2:
            raise ValueError(f"input_ids must have shape (batch, length), got {tuple(input_ids.shape)}.")
        vocab_size = self.config.source_vocab_size
        if int(input_ids.max()) >= vocab_size or int(input_ids.min()) < 0:
            bad = int(input_ids.max()) if int(input_ids.max()) >= vocab_size else int(input_ids.min())
            raise ValueError(
                f"input_ids hold the id {bad}, outside the model's vocabulary of {vocab_size}. "
                "Use the tokenizer saved with the model."
            )
        if attention_mask is None:
            attention_mask = input_ids.ne(self.config.pad_token_id)
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask has shape {tuple(attention_mask.shape)}, input_ids {tuple(input_ids.shape)}. "
                "Pass the mask the tokenizer returned with these ids."
            )
        if not bool(((attention_mask == 0) | (attention_mask == 1)).all()):
            raise ValueError("attention_mask must hold 0 and 1 only: 1 for tokens.")
        num_tokens = attention_mask.ne(0).sum(dim=1)
        if int(num_tokens.min()) == 0:
            row = int(num_tokens.argmin())
            raise ValueError(f"Row {row} of input_ids is all padding. Remove empty sentences before translating.")
        if int(num_tokens.max()) > self.config.max_position_embeddings:
            raise ValueError(
                f"Row {int(num_tokens.argmax())} has {int(num_tokens.max())} tokens, more than the position table of "
                f"{self.config.max_position_embeddings}. Split the sentence or truncate it in the tokenizer."
            )
        return input_ids, attention_mask.ne(0)

    def suppressed_token_ids(self) -> list[int]:
        """Ids that decoding never predicts."""
        config = self.config
        if not config.suppress_special_tokens:
            return [config.mask_token_id]
        return sorted({config.bos_token_id, config.pad_token_id, config.eos_token_id, config.mask_token_id})


def _check_integers(**given: torch.Tensor | None) -> None:
    """Refuses what is no tensor, and ids with a fraction; a mask may hold numbers of any type."""
    for name, value in given.items():
        if value is not None and not isinstance(value, torch.Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(value).__name__}. Pass return_tensors='pt'.")
        if name == "input_ids" and value is not None and value.dtype not in (torch.long, torch.int):
            raise ValueError(
                f"input_ids must hold integers, got {value.dtype}. Use the tokenizer saved with the model."
            )


__all__ = [
    "STRATEGIES",
    "DecodingSettings",
    "DecodingStep",
    "NATGenerateOutput",
    "NATGenerationMixin",
    "choose_tokens",
    "length_candidates",
    "rank_candidates",
]
