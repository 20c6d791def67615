# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What every way of decoding shares: its settings, its sources, and the interface that `generate()` drives.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), R rows, M selected positions, V vocabulary,
D hidden, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from transformers.utils import ModelOutput

from .configuration_nat import NATConfig
from .limits import MOST_STEPS
from .modeling_nat import NATModel


class DecodingStep(NamedTuple):
    """What one pass left of the winning candidates: ids (B, T), log-probabilities (B, T), state (B, T; 0 kept, 1
    revealed, 2 predicted or kept before and masked again)."""

    token_ids: torch.Tensor
    log_probs: torch.Tensor
    state: torch.Tensor


# Weights beyond it are accidents; what shall never be is worth infinity.
_LARGEST_WEIGHT = 1e9


@dataclass
class NATGenerateOutput(ModelOutput):
    """
    Output of `generate(return_dict_in_generate=True)`; R' = B · num_return_sequences rows, best candidate first.

    Args:
        sequences (`torch.LongTensor` of shape `(R', T)`): `<s> … </s>`, right-padded.
        sequences_scores (`torch.FloatTensor` of shape `(R',)`): sum of the predictions' log-probabilities / (N + 2),
            taken before repeats are penalised or collapsed, plus w·log p(length) with `length_score_weight` w.
        token_scores (`torch.FloatTensor` of shape `(R', T)`, *optional*): log-probability of each token before repeats
            are collapsed (T as before collapsing), with `output_scores=True`.
        history (`list[DecodingStep]`, *optional*): `num_iterations` entries, with `output_history=True`; those after
            the pass that revealed the last mask repeat it with state 0. Models that update all positions go on
            revealing; those after a pass that changed nothing repeat that pass.
    """

    sequences: torch.Tensor
    # `ModelOutput` wants defaults for all but the first field.
    sequences_scores: torch.Tensor = None  # type: ignore[assignment]
    token_scores: torch.Tensor | None = None
    history: list[DecodingStep] | None = None


@dataclass(frozen=True)
class DecodingSettings:
    """
    Settings of one `generate()` call; defaults where neither the call nor generation_config.json says otherwise. A
    strategy adds its own in a subclass; every one of them can be stored in generation_config.json.
    """

    # Settings that the generation config of a new model spells out.
    stored: ClassVar[tuple[str, ...]] = ("num_iterations", "length_beam_size", "collapse_repeats")
    # Those that a search needs which is made outside of the graphs of an export.
    searched: ClassVar[tuple[str, ...]] = ()
    # Those that a strategy inherits and does not follow.
    refused: ClassVar[tuple[str, ...]] = ()

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
        self.check_counts("num_iterations", "length_beam_size", "num_return_sequences")
        self.check_candidates()
        if self.do_sample and not self.temperature > 0:
            raise ValueError(f"temperature must be > 0 with do_sample=True, got {self.temperature}. Try 1.0.")

    @property
    def merges_repeats(self) -> bool:
        """Whether repeats are no matter of reading the result: what is searched has none already."""
        return False

    def check_candidates(self) -> None:
        """Refuses more results than there are candidates."""
        if self.num_return_sequences > self.length_beam_size:
            raise ValueError(
                f"num_return_sequences={self.num_return_sequences} exceeds length_beam_size={self.length_beam_size}, "
                "and each length gives one candidate. Raise length_beam_size."
            )

    def check_counts(self, *names: str, most: int | None = MOST_STEPS) -> None:
        """Refuses what is no integer of at least 1, or more than `most`."""
        for name in names:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                hint = " Use 1 for single-step decoding." if name == "num_iterations" else " Use at least 1."
                raise ValueError(f"{name} must be an integer >= 1, got {value!r}.{hint}")
            if most is not None and value > most:
                raise ValueError(f"{name} must be <= {most}, got {value}. It takes days, or all memory: use less.")

    def check_weights(self, *names: str, infinite: bool = False) -> None:
        """Refuses what is no number of at least 0; infinity only counts as one with `infinite`."""
        for name in names:
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not (0 <= value <= _LARGEST_WEIGHT or (infinite and value == math.inf)):
                raise ValueError(f"{name} must be a number >= 0, got {value!r}. Use 0 to turn it off.")

    @classmethod
    def names(cls) -> list[str]:
        """Names of all settings."""
        return [field.name for field in fields(cls)]


def check_types(settings_class: type[DecodingSettings], values: Mapping[str, Any]) -> None:
    """
    Refuses what is neither true nor false where that is asked, and a temperature that is no number.

    Raises:
        ValueError: naming the first of them; `"no"` would be true.
    """
    for each in fields(settings_class):
        value = values.get(each.name, each.default)
        if isinstance(each.default, bool) and not isinstance(value, bool):
            raise ValueError(f"{each.name} must be True or False, got {value!r}.")
    temperature = values.get("temperature", 1.0)
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or math.isinf(temperature):
        raise ValueError(f"temperature must be a finite number, got {temperature!r}. Try 1.0.")


class LanguageModel(Protocol):
    """
    Scores target sequences; see `language_model` of `generate()`.

    One that also has `score_prefix(token_ids: list[int]) -> float`, the natural log-probability of what a target
    begins with, steers a prefix beam search from frame to frame, and the beam of a graph from vertex to vertex. It is
    0 of nothing, and at most that of any shorter beginning; what a further token may still change (the last word, of a
    model of words) need not be counted yet. A function of whole targets alone ranks the hypotheses that the search
    ends with.
    """

    def __call__(self, token_ids: list[int]) -> float:
        """Natural log-probability of a target without `<s>` and `</s>`, the end of the sentence counted."""


class DecodingRequest(NamedTuple):
    """
    Arguments of `generate()` that belong to one batch and are never stored; `None` where they are not given.

    Args:
        target_lengths (`torch.LongTensor` of shape `(B,)`, *optional*): content tokens N of each translation.
        forced_tokens (`torch.LongTensor` of shape `(B, T)`, *optional*): ids that targets must have, -100 where free.
        forced_phrases (`Sequence[Sequence[Sequence[int]]]`, *optional*): phrases (ids) for each sentence.
        language_model ([`LanguageModel`], *optional*): steers a beam, or ranks its hypotheses.
    """

    target_lengths: torch.Tensor | Sequence[int] | None = None
    forced_tokens: torch.Tensor | None = None
    forced_phrases: Sequence[Sequence[Sequence[int]]] | None = None
    language_model: LanguageModel | None = None


@dataclass(frozen=True)
class EncodedSources:
    """
    Sources as the decoder reads them in every pass.

    Args:
        input_ids (`torch.LongTensor` of shape `(B, S)`): the sources.
        attention_mask (`torch.BoolTensor` of shape `(B, S)`): True = source token.
        hidden (`torch.FloatTensor` of shape `(B, S, D)`): encoder output.
        cross_key_values (`list`): cross-attention keys and values (B, H, S, D/H) of each layer.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    hidden: torch.Tensor
    cross_key_values: list[tuple[torch.Tensor, torch.Tensor]]

    @property
    def num_sentences(self) -> int:
        """B; `len` would fix it in an exported graph."""
        return self.hidden.shape[0]

    def select(self, sentences: torch.Tensor) -> EncodedSources:
        """Those of some sentences, by their indices (B',)."""
        return EncodedSources(
            self.input_ids[sentences],
            self.attention_mask[sentences],
            self.hidden[sentences],
            [(keys[sentences], values[sentences]) for keys, values in self.cross_key_values],
        )


class StrategyState(Protocol):
    """What `generate()` needs to know of the state of a strategy; the rest is the strategy's own."""

    @property
    def is_finished(self) -> bool | torch.Tensor:
        """Whether another step would change nothing, or all steps are done."""


class TranslationModel(Protocol):
    """What decoding asks of a model of any family; a strategy that needs more of its own says so with a subclass."""

    @property
    def config(self) -> NATConfig:
        """What was trained."""

    @property
    def model(self) -> NATModel:
        """Encoder and decoder."""

    def project_vocabulary(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits (…, V) of decoder states (…, D)."""

    def suppressed_token_ids(self) -> list[int]:
        """Ids that decoding never predicts."""


State = TypeVar("State", bound=StrategyState)


class DecodingStrategy(Generic[State]):
    """
    How a family decodes: made for one call of `generate()`, which runs

        state = strategy.init(sources, request)
        while not state.is_finished:
            state = strategy.step(state)
        strategy.finish(state, history)

    Grid, lengths, candidates and scores belong to the state, a frozen object that only the strategy looks into; one
    step is one decoder pass or as many as an iteration of the strategy takes.

    Args:
        model ([`TranslationModel`]): the translation model.
        settings ([`DecodingSettings`]): an object of `settings_class`.
        generator (`torch.Generator`, *optional*): randomness of samples.
    """

    settings_class: ClassVar[type[DecodingSettings]] = DecodingSettings
    # Fields of a `DecodingRequest` that this strategy cannot follow -> why, and what to do instead.
    refused: ClassVar[dict[str, str]] = {}

    @property
    def leaves_search(self) -> bool:
        """Whether what the last step gives is still to be searched, which no graph of an export does."""
        return False

    def __init__(
        self, model: TranslationModel, settings: DecodingSettings, generator: torch.Generator | None = None
    ) -> None:
        self.model, self.config = model, model.config
        self.settings, self.generator = settings, generator

    def init(self, sources: EncodedSources, request: DecodingRequest) -> State:
        """
        State before the first step.

        Raises:
            ValueError: where the request cannot be followed.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how decoding starts.")

    def step(self, state: State) -> State:
        """State after one more step."""
        raise NotImplementedError(f"{type(self).__name__} does not say what a step is.")

    def record(self, state: State) -> DecodingStep:
        """What the history keeps of a step, for all R rows."""
        raise NotImplementedError(f"{type(self).__name__} keeps no history. Leave out output_history.")

    def finish(self, state: State, history: list[DecodingStep]) -> NATGenerateOutput:
        """The output: best candidates first, `history` cut down to the winners' (`None` if it was not asked for)."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its states stand for.")

    def sample_request(self, num_sentences: int, length: int) -> DecodingRequest:
        """
        A request that a batch can be started with, of other sizes for other `num_sentences` and `length`: exports tell
        by it which sizes are free.
        """
        return DecodingRequest(torch.arange(num_sentences) + length if self.config.predicts_length else None)

    @classmethod
    def check_request(cls, request: DecodingRequest) -> None:
        """
        Refuses what the strategy cannot follow.

        Raises:
            ValueError: with the reason that `refused` gives.
        """
        for name, reason in cls.refused.items():
            if getattr(request, name) is not None:
                raise ValueError(f"{reason} Leave out {name}.")

    def run_decoder(
        self,
        tokens: torch.Tensor,
        is_target: torch.Tensor,
        sources: EncodedSources,
        output_positions: torch.Tensor | None = None,
        **options: Any,
    ) -> torch.Tensor:
        """
        Last decoder states of one pass.

        Args:
            tokens (`torch.LongTensor` of shape `(R, T)`): decoder input; R a multiple of the number of sources.
            is_target (`torch.BoolTensor` of shape `(R, T)`): True = token, False = padding.
            sources ([`EncodedSources`]): the rows' sources, each of which serves the same number of adjacent rows.
            output_positions (`torch.BoolTensor` of shape `(R, T)`, *optional*): the M positions that are needed.
            options: more arguments of the family's decoder.

        Returns:
            `torch.FloatTensor` of shape `(R, T, D)`, or `(M, D)`.
        """
        return self.model.model.decoder(
            tokens,
            is_target,
            encoder_hidden_states=sources.hidden,
            encoder_attention_mask=sources.attention_mask,
            cross_key_values=sources.cross_key_values,
            output_positions=output_positions,
            return_dict=True,
            **options,
        ).last_hidden_state


def suppress(logits: torch.Tensor, suppressed_ids: list[int]) -> torch.Tensor:
    """Logits (M, V) in fp32, those of suppressed ids -inf; what the caller gave is not changed."""
    given, logits = logits, logits.float()
    if not suppressed_ids:
        return logits
    # What `float` copied need not be copied again.
    fill = logits.index_fill if logits is given else logits.index_fill_
    return fill(1, torch.tensor(suppressed_ids, device=logits.device), -torch.inf)


def choose_tokens(
    logits: torch.Tensor,
    suppressed_ids: list[int],
    *,
    do_sample: bool = False,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
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
    logits = suppress(logits, suppressed_ids)
    if do_sample and logits.shape[0]:
        tokens = torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator).squeeze(1)
        chosen = logits.gather(1, tokens.unsqueeze(1)).squeeze(1)
    else:
        chosen, tokens = logits.max(dim=-1)
    # the temperature shapes the sample alone, not the score that candidates are compared by
    return tokens, chosen - logits.logsumexp(dim=-1)


def rank_candidates(scores: torch.Tensor, num_candidates: int) -> torch.Tensor:
    """
    Order of each sentence's candidates by score; ties go to the shorter one.

    Args:
        scores (`torch.Tensor` of shape `(R,)`): mean log-probabilities, candidates of a sentence adjacent and
            ascending in length.
        num_candidates (`int`): K.

    Returns:
        `torch.LongTensor` of shape `(B, K)`: row indices into the R candidates, best first.
    """
    # stable: of equal scores the first, which is the shorter one, wins
    order = scores.view(-1, num_candidates).argsort(dim=1, descending=True, stable=True)
    return order + torch.arange(order.shape[0], device=order.device).unsqueeze(1) * num_candidates


__all__ = [
    "MOST_STEPS",
    "DecodingRequest",
    "DecodingSettings",
    "DecodingStep",
    "DecodingStrategy",
    "EncodedSources",
    "LanguageModel",
    "NATGenerateOutput",
    "StrategyState",
    "TranslationModel",
    "check_types",
    "choose_tokens",
    "rank_candidates",
    "suppress",
]
