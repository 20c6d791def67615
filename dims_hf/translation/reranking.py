# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Choosing among candidates by an autoregressive model's opinion of them (noisy parallel decoding)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from dims_hf.models.capabilities import is_non_autoregressive
from dims_hf.models.modes import evaluation_mode

from .batching import batches_by_budget
from .loading import load_model


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .results import Translation


class Reranker:
    """
    Chooses the candidate that an autoregressive model finds likeliest, by mean log-probability of its tokens.

    Source: noisy parallel decoding, Gu et al. 2018, Non-Autoregressive Neural Machine Translation, §4.

    Args:
        model (`PreTrainedModel`): any `AutoModelForSeq2SeqLM` that translates the same languages.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer.
        num_candidates (`int`, *optional*, defaults to 5): candidates of each source.
        max_tokens_per_batch (`int`, *optional*, defaults to 2048): padded tokens scored at once.

    Raises:
        ValueError: fewer than two candidates, or a model that is not autoregressive.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        num_candidates: int = 5,
        max_tokens_per_batch: int = 2048,
    ) -> None:
        if num_candidates < 2:
            raise ValueError(f"num_candidates must be >= 2 to have something to choose from, got {num_candidates}.")
        if is_non_autoregressive(model.config):
            raise ValueError(
                f"{type(model).__name__} is not autoregressive, so it cannot rerank. Give a Marian model, or one of "
                "`dims-hf train-autoregressive`."
            )
        self.model, self.tokenizer = model, tokenizer
        self.num_candidates, self.max_tokens_per_batch = num_candidates, max_tokens_per_batch

    @classmethod
    def open(cls, name: str, *, device: str | None = None, dtype: str | None = None, **options: Any) -> Reranker:
        """Loads the model, as [`load_model`] does."""
        trust = options.pop("trust_remote_code", False)
        return cls(*load_model(name, device, dtype, trust_remote_code=trust), **options)

    def choose(self, sources: Sequence[str], candidates: Sequence[Translation]) -> list[Translation]:
        """
        The best of each source's candidates; the decoder's own order decides between equals.

        Args:
            sources (`Sequence[str]`): B source texts.
            candidates (`Sequence[Translation]`): B · `num_candidates`, those of a source together.
        """
        size = len(candidates) // len(sources)
        repeated = [source for source in sources for _ in range(size)]
        scores = self.score(repeated, [candidate.text for candidate in candidates])
        groups = (range(start, start + size) for start in range(0, len(candidates), size))
        # `max` takes the first of equals
        return [candidates[max(group, key=lambda index: scores[index])] for group in groups]

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[float]:
        """Mean log-probability of the tokens of each target (its end included) given its source."""
        given = self.tokenizer(list(sources), verbose=False)["input_ids"]
        written = self.tokenizer(text_target=list(targets), verbose=False)["input_ids"]
        sizes = [max(len(source), len(target)) for source, target in zip(given, written, strict=True)]
        scores = [0.0] * len(sizes)
        with evaluation_mode(self.model), torch.inference_mode():
            for batch in batches_by_budget(sizes, self.max_tokens_per_batch):
                for index, score in zip(batch, self._score_batch(given, written, batch), strict=True):
                    scores[index] = score
        return scores

    def _score_batch(
        self, given: Sequence[Sequence[int]], written: Sequence[Sequence[int]], batch: Sequence[int]
    ) -> Iterator[float]:
        inputs = self.tokenizer.pad({"input_ids": [list(given[index]) for index in batch]}, return_tensors="pt")
        width = max(len(written[index]) for index in batch)
        labels = torch.tensor([[*written[index], *[-100] * (width - len(written[index]))] for index in batch])
        labels = labels.to(self.model.device)
        logits = self.model(**inputs.to(self.model.device), labels=labels).logits
        is_token = labels != -100
        # -100 picks anything, which is masked below
        log_probs = logits.float().log_softmax(dim=-1).gather(2, labels.clamp_min(0)[..., None])[..., 0]
        yield from (log_probs.where(is_token, 0.0).sum(dim=1) / is_token.sum(dim=1)).tolist()
