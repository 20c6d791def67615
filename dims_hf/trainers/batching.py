# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Token-budget batches whose optimiser updates do not depend on processes or gradient accumulation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch


class TokenBudgetBatchSampler:
    """
    Batches of sentences of similar length under a budget of padded tokens.

    The sentences of one optimiser update are chosen first, from the budget of all its micro-batches together; they
    are then dealt evenly to the micro-batches (`num_processes · accumulation_steps` of them). The same total budget
    therefore gives the same updates for 8×1, 1×8 or two processes, every process sees equally many batches, and no
    batch exceeds `max_tokens`. Which sentences of equal length meet, and the order of updates, depend on (seed,
    epoch).

    Args:
        lengths (`Sequence[int]`): tokens of each sentence pair, the longer of source and target.
        max_tokens (`int`): padded tokens allowed in one micro-batch: sentences times the longest one's tokens.
        seed (`int`): of the shuffling.
        accumulation_steps (`int`): micro-batches of an update on each process.
        num_processes, process_index (`int`): data-parallel size and rank.
        batch_size (`int`, *optional*): sentences per micro-batch instead of a token budget.

    Raises:
        ValueError: for an empty corpus or a sentence longer than the budget.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        max_tokens: int | None,
        seed: int = 0,
        accumulation_steps: int = 1,
        num_processes: int = 1,
        process_index: int = 0,
        batch_size: int | None = None,
    ):
        self.lengths = torch.as_tensor(lengths)
        if self.lengths.numel() == 0:
            raise ValueError("The training corpus is empty. Check the path and the length filter.")
        longest = int(self.lengths.max())
        if max_tokens is not None and longest > max_tokens:
            raise ValueError(
                f"Sentence {int(self.lengths.argmax())} has {longest} tokens, more than max_tokens_per_batch="
                f"{max_tokens}. Raise max_tokens_per_batch, or drop long pairs."
            )
        self.max_tokens, self.fixed_size, self.seed, self.epoch = max_tokens, batch_size, seed, 0
        self.num_parts = accumulation_steps * num_processes
        self.accumulation_steps, self.num_processes, self.process_index = (
            accumulation_steps,
            num_processes,
            process_index,
        )
        self.num_updates = len(self._update_bounds())

    def set_epoch(self, epoch: int) -> None:
        """Chooses the shuffling of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_updates * self.accumulation_steps

    def __iter__(self) -> Iterator[list[int]]:
        # a prime apart: seed 1 in epoch 1 is not seed 2 in epoch 0
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = self._sorted_order(generator)
        bounds = self._update_bounds()
        # all processes shuffle alike, and then take different parts of the same update
        for update in torch.randperm(len(bounds), generator=generator).tolist():
            start, stop = bounds[update]
            parts = self._deal(order[start:stop])
            for step in range(self.accumulation_steps):
                yield parts[step * self.num_processes + self.process_index]

    @property
    def padding_share(self) -> float:
        """Share of padded positions in all batches, counting the longer side of each pair, in [0, 1]."""
        order = self.lengths.sort().values
        batches = [part for start, stop in self._update_bounds() for part in self._deal(order[start:stop])]
        padded = sum(max(batch) * len(batch) for batch in batches)
        return 1 - sum(map(sum, batches)) / padded

    def _sorted_order(self, generator: torch.Generator) -> torch.LongTensor:
        """Sentences by length; ties shuffled, so that the same lengths give the same bounds in every epoch."""
        shuffled = torch.randperm(self.lengths.numel(), generator=generator)
        # stable over a random order: equal lengths are in random order
        return shuffled[self.lengths[shuffled].argsort(stable=True)]

    def _update_bounds(self) -> list[tuple[int, int]]:
        """Slices of the length-sorted corpus, one per optimiser update."""
        # bounds follow from the lengths alone: they are the same in every epoch, and so is the number of updates
        lengths = self.lengths.sort().values.tolist()
        total, bounds, start = len(lengths), [], 0
        while start < total:
            size = self._update_size(lengths, start)
            stop = min(start + size, total)
            # The last update must give every process a sentence, and the same ones however many processes there are;
            # it then repeats some of the update before.
            start = max(min(start, stop - min(size, self._multiple(8))), 0)
            bounds.append((start, stop))
            start = stop
        return bounds

    def _update_size(self, lengths: list[int], start: int) -> int:
        """
        Most sentences from `start` on that fit, as a multiple of 8 (so that 1, 2, 4 or 8 parts deal alike); where 8 of
        them are too long for the budget, as 4, 2 or 1.
        """
        if self.max_tokens is None:
            return self.fixed_size * self.num_parts
        for unit in (8, 4, 2, 1):
            size = self._largest_fit(lengths, start, self._multiple(unit))
            if size:
                break
        return size

    def _multiple(self, unit: int) -> int:
        return math.lcm(unit, self.num_parts)

    def _largest_fit(self, lengths: list[int], start: int, multiple: int) -> int:
        """Largest multiple within the budget; lengths ascend, so the last sentence of a slice is its longest."""
        budget, size, last = self.max_tokens * self.num_parts, 0, start - 1
        while last < len(lengths) - 1:
            last = min(start + size + multiple, len(lengths)) - 1
            if lengths[last] * (size + multiple) > budget:
                break
            size += multiple
        return size

    def _deal(self, sentences: torch.LongTensor) -> list[list[int]]:
        """Deals an update's sentences to its parts round-robin: sizes differ by one at most, none is empty."""
        sentences = sentences.tolist()
        # A corpus smaller than the number of parts: sentences repeat.
        while len(sentences) < self.num_parts:
            sentences = (sentences * 2)[: max(self.num_parts, len(sentences))]
        # round-robin over sorted lengths: parts are about equally long
        return [sentences[part :: self.num_parts] for part in range(self.num_parts)]
