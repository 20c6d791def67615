# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a page shows of a translation, as plain values: passes, tokens, candidates, alternatives. No page in it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from dims_hf.models.decoding_grid import KEPT, REMASKED, REVEALED
from dims_hf.models.modes import evaluation_mode
from dims_hf.models.quality_flags import find_flags
from dims_hf.models.source_text import PreparedSources, join_pieces, prepare_sources
from dims_hf.translation.runtimes import open_runtime
from dims_hf.translation.sentences import collapse
from dims_hf.translation.torch_runtime import TorchRuntime


MOST_CHARACTERS = 600
"""Characters of a sentence that the page takes."""

STATES = {KEPT: "kept", REVEALED: "revealed", REMASKED: "re-masked"}

# Signs by which tokenizers mark the first token of a word.
_WORD_STARTS = ("▁", "Ġ")


@dataclass(frozen=True)
class TracedToken:
    """
    A token after one pass.

    Args:
        token_id (`int`): in the model's vocabulary.
        text (`str`): how it is shown.
        probability (`float`): what the model gave it when it was predicted.
        state (`str`): `kept`, `revealed`, `re-masked` or `forced`.
        starts_word (`bool`): whether white space stands before it.
    """

    token_id: int
    text: str
    probability: float
    state: str
    starts_word: bool


@dataclass(frozen=True)
class Step:
    """
    One decoder pass.

    Args:
        tokens (`list[TracedToken]`): of the winning candidate, `<s>` and `</s>` left out.
        seconds (`float`): wall time; that of the first pass has encoder and length prediction in it.
    """

    tokens: list[TracedToken]
    seconds: float


@dataclass(frozen=True)
class Candidate:
    """
    A length that was tried.

    Args:
        length (`int`): content tokens, before repeats are collapsed.
        probability (`float`, *optional*): what the model gives the length; `None` where it predicts none.
        score (`float`): mean log-probability of the tokens.
        text (`str`): the translation of that length.
    """

    length: int
    probability: float | None
    score: float
    text: str


@dataclass(frozen=True)
class TracedTranslation:
    """
    A translation and how it came about.

    Args:
        source, text (`str`): the sentence and its translation.
        steps (`list[Step]`): decoder passes.
        candidates (`list[Candidate]`): lengths that were tried, best first.
        confidence (`float`): geometric mean of the token probabilities.
        flags (`list[str]`): what looks wrong, see [`find_flags`](models.quality_flags.find_flags).
        forced (`dict[int, int]`): content position -> id that the caller forced there.
    """

    source: str
    text: str
    steps: list[Step]
    candidates: list[Candidate]
    confidence: float
    flags: list[str]
    forced: dict[int, int] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Content tokens of the winning candidate, before repeats are collapsed."""
        return len(self.steps[-1].tokens)


class TracedModel:
    """
    A checkpoint that is watched.

    Args:
        folder (`str`): of the checkpoint.
        name (`str`, *optional*): what the page calls it; default: the folder's name.
        threads (`int`, *optional*): processor threads.

    Raises:
        ValueError: nothing at that place, or a model whose passes cannot be watched.
    """

    def __init__(self, folder: str, name: str | None = None, *, threads: int | None = None) -> None:
        runtime = open_runtime(folder, threads=threads)
        if not isinstance(runtime, TorchRuntime):
            raise ValueError(
                f"{folder} shows no passes: it writes from left to right, or is an export. Give a checkpoint."
            )
        self.runtime, self.folder, self.name = runtime, Path(folder), name or Path(folder).name
        # torch and transformers annotate these too loosely to check calls of them
        self.model: Any = runtime.model
        self.tokenizer: Any = runtime.text_tokenizer

    @property
    def default_iterations(self) -> int:
        """Decoder passes that the model was made for."""
        return self.model.decoding_settings().num_iterations

    @property
    def predicts_length(self) -> bool:
        """Whether lengths are tried and words can be forced; models that write alignments do neither."""
        return bool(getattr(self.model.config, "predicts_length", False))

    def translate(
        self,
        source: str,
        *,
        num_iterations: int,
        num_lengths: int = 1,
        phrases: Sequence[str] = (),
        forced: Mapping[int, int] | None = None,
        length: int | None = None,
    ) -> TracedTranslation:
        """
        Translates one sentence and keeps what happened.

        Args:
            source (`str`): the sentence.
            num_iterations (`int`): decoder passes.
            num_lengths (`int`): length candidates.
            phrases (`Sequence[str]`): words that the translation must have.
            forced (`Mapping[int, int]`, *optional*): content position -> token id; needs `length`.
            length (`int`, *optional*): content tokens, instead of the predicted ones.

        Raises:
            ValueError: a blank or overlong sentence, or what the model refuses.
        """
        prepared = self._prepare(source)
        inputs = self.runtime.pad(prepared.pieces)
        forced = dict(forced or {})
        # Repeats are collapsed afterwards, so that the lengths of all candidates are known.
        options: dict[str, Any] = {"num_iterations": num_iterations, "collapse_repeats": False if not forced else None}
        if forced or length is not None:
            options |= self._force(forced, length)
        elif self.predicts_length:
            options |= {"length_beam_size": num_lengths, "num_return_sequences": num_lengths}
        if phrases:
            ids = self.tokenizer(text_target=list(phrases), add_special_tokens=False)["input_ids"]
            options["forced_phrases"] = [[list(phrase) for phrase in ids]]
        marks = [time.perf_counter()]
        output = self._generate(inputs, lambda _: marks.append(time.perf_counter()), options)
        times = [after - before for before, after in pairwise(marks)]
        times += [0.0] * (len(output.history) - len(times))  # passes that could change nothing were not computed
        steps = [
            Step(self._tokens(step, set(forced)), seconds) for step, seconds in zip(output.history, times, strict=True)
        ]
        candidates = self._candidates(prepared, inputs, output, collapses=not forced)
        best = candidates[0]
        # not of the last step, which of alignments are frames
        flags = find_flags(source, best.text, [*filter(self._is_content, output.sequences[0].tolist())])
        return TracedTranslation(
            source, best.text, steps, candidates, min(1.0, math.exp(best.score)), flags, forced
        )  # fmt: skip

    def alternatives(
        self, translation: TracedTranslation, position: int, *, count: int = 6
    ) -> list[tuple[int, str, float]]:
        """
        The likeliest tokens for one position: of a single pass as that pass saw it, all masked; of several, given all
        other tokens of the translation.

        Args:
            translation ([`TracedTranslation`]): by this model.
            position (`int`): of the token among the content tokens.
            count (`int`): how many.

        Returns:
            `list[tuple[int, str, float]]`: id, text and probability, likeliest first.

        Raises:
            ValueError: no such position, or a model without a length predictor.
        """
        if not self.predicts_length:
            raise ValueError(f"{self.name} writes alignments, whose positions are no words: it has no alternatives.")
        tokens = translation.steps[-1].tokens
        if not 0 <= position < len(tokens):
            raise ValueError(f"There is no token {position}; the translation has {len(tokens)}.")
        config, is_single = self.model.config, len(translation.steps) == 1
        is_open = [
            index == position or (is_single and index not in translation.forced) for index in range(len(tokens))
        ]
        pairs = zip(is_open, tokens, strict=True)
        content = [config.mask_token_id if is_masked else token.token_id for is_masked, token in pairs]
        target = torch.tensor([[config.bos_token_id, *content, config.eos_token_id]], device=self.model.device)
        inputs = self.runtime.pad(self._prepare(translation.source).pieces)
        with evaluation_mode(self.model), torch.inference_mode():
            logits = self.model(**inputs, decoder_input_ids=target).logits[0, position + 1].float()
            logits[self.model.suppressed_token_ids()] = float("-inf")
            best = logits.softmax(dim=-1).topk(min(count, len(logits)))
        return [
            (token_id, self._text(token_id), probability)
            for token_id, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def _prepare(self, source: str) -> PreparedSources:
        """The sentence as one piece, as every other way to translate prepares it."""
        if len(source) > MOST_CHARACTERS:
            raise ValueError(f"The sentence has {len(source)} characters. Type at most {MOST_CHARACTERS}.")
        limit = self.runtime.max_source_length
        prepared = prepare_sources([source], self.runtime.tokenizer, limit, on_long="skip")
        if "long" in prepared.left_out.values():
            size = len(self.runtime.tokenizer([source])["input_ids"][0])
            raise ValueError(f"The sentence has {size} tokens, the model takes {limit}. Type a shorter one.")
        if not prepared.pieces:
            raise ValueError("There is nothing to translate. Type a sentence.")
        return prepared

    def _generate(self, inputs: dict[str, torch.Tensor], callback: Callable, options: dict[str, Any]) -> Any:
        with evaluation_mode(self.model), torch.inference_mode():
            return self.model.generate(
                **inputs, **options, callback=callback, return_dict_in_generate=True, output_history=True
            )

    def _force(self, forced: Mapping[int, int], length: int | None) -> dict[str, Any]:
        """Options that fix tokens at their positions in a translation of a known length."""
        if not self.predicts_length:
            raise ValueError(f"{self.name} writes alignments: a word of it cannot be forced into a place.")
        if length is None or any(not 0 <= position < length for position in forced):
            raise ValueError(
                "A word was forced into a place that the translation does not have. Clear the forced words."
            )
        row = [-100] * (length + 2)
        for position, token_id in forced.items():
            row[position + 1] = token_id
        device = self.model.device
        options: dict[str, Any] = {"target_lengths": torch.tensor([length], device=device), "length_beam_size": 1}
        return options | ({"forced_tokens": torch.tensor([row], device=device)} if forced else {})

    def _tokens(self, step: Any, forced: set[int]) -> list[TracedToken]:
        rows = zip(*(part[0].tolist() for part in step), strict=True)
        inside = [row for row in rows if self._is_content(row[0])]
        return [
            TracedToken(
                token_id,
                self._text(token_id),
                min(1.0, math.exp(log_prob)),
                "forced" if position in forced else STATES[state],
                self._starts_word(token_id),
            )
            for position, (token_id, log_prob, state) in enumerate(inside)
        ]

    def _text(self, token_id: int) -> str:
        return self.tokenizer.decode([token_id]).strip() or self.tokenizer.convert_ids_to_tokens(token_id)

    def _starts_word(self, token_id: int) -> bool:
        return self.tokenizer.convert_ids_to_tokens(token_id).startswith(_WORD_STARTS)

    def _is_content(self, token_id: int) -> bool:
        config = self.model.config
        return token_id not in (config.bos_token_id, config.eos_token_id, config.pad_token_id)

    def _candidates(
        self, prepared: PreparedSources, inputs: dict[str, torch.Tensor], output: Any, *, collapses: bool
    ) -> list[Candidate]:
        """Each length once: near the ends of the range, the same one may have been tried twice."""
        likelihoods = self._length_probabilities(inputs) if self.predicts_length else None
        found: dict[int, Candidate] = {}
        for row, score in zip(output.sequences.tolist(), output.sequences_scores.tolist(), strict=True):
            ids = [token_id for token_id in row if token_id != self.tokenizer.pad_token_id]
            length = len(ids) - 2
            kept = collapse(ids) if collapses and self.runtime.collapses_repeats else ids
            probability = None if likelihoods is None else float(likelihoods[length + 2])
            (text,) = join_pieces(prepared, [self.runtime.decode(kept)], 1)
            found.setdefault(length, Candidate(length, probability, score, text))
        return list(found.values())

    def _length_probabilities(self, inputs: dict[str, torch.Tensor]) -> torch.FloatTensor:
        """Probability (L,) of each length, `<s>` and `</s>` counted."""
        with evaluation_mode(self.model), torch.inference_mode():
            hidden = self.model.encode_sources(**inputs).hidden
            logits = self.model.predict_length(hidden, inputs["attention_mask"])
        return logits.float().softmax(dim=-1)[0]
