# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`generate()` of the DA-Transformer after its one decoder pass: settings, and the searches of `decoding_dat` over a
batch, which give the vocabulary projection no vertex that they do not need.

Shapes: B batch, A vertices, P vertices of a path, C words of a vertex, M selected positions, V vocabulary, D hidden.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from .configuration_dat import DATConfig
from .decoding_dat import (
    BestPaths,
    LanguageModel,
    find_viterbi_paths,
    follow_transitions,
    read_paths,
    score_paths,
    search_beam,
)
from .generation_nat import DecodingSettings, DecodingStep, NATGenerateOutput
from .graph import passing_probabilities


GRAPH_SEARCHES = ("greedy", "lookahead", "viterbi", "joint_viterbi", "beam")


@dataclass(frozen=True)
class DATSettings(DecodingSettings):
    """
    Settings of `generate()` for graphs: one pass, whose graph holds translations of many lengths.

    Args:
        graph_search (`str`): one of `GRAPH_SEARCHES`, see `decoding_dat`: follow the likeliest transitions ("greedy"),
            or transitions and words ("lookahead"); the best path by transitions ("viterbi"), or by both
            ("joint_viterbi"); sums over paths, with a language model if there is one ("beam").
        length_penalty (`float`): scores are divided by length to this power (Viterbi and beam).
        word_weight (`float`): weight of words beside transitions (lookahead, joint-Viterbi and beam).
        min_passing_probability (`float`): vertices that fewer paths pass get no words, which saves their projection to
            the vocabulary (lookahead, joint-Viterbi and beam; the others project what is on their path).
        beam_size, num_candidates (`int`): prefixes kept at each vertex, and pairs of successor and word tried.
        language_model (`Callable`), language_model_weight (`float`): see `search_beam`.
    """

    num_iterations: int = 1
    graph_search: str = "lookahead"
    length_penalty: float = 1.0
    word_weight: float = 1.0
    min_passing_probability: float = 1e-3
    beam_size: int = 20
    num_candidates: int = 5
    language_model: LanguageModel | None = None
    language_model_weight: float = 0.1

    def __post_init__(self) -> None:
        if self.graph_search not in GRAPH_SEARCHES:
            raise ValueError(f"graph_search={self.graph_search!r} is not one of {', '.join(GRAPH_SEARCHES)}.")
        for name in ("num_iterations", "length_beam_size"):
            if getattr(self, name) != 1:
                raise ValueError(
                    f"A DA-Transformer makes one pass, whose graph holds many lengths, got {name}="
                    f"{getattr(self, name)!r}. Leave {name} out."
                )
        for name in ("num_return_sequences", "beam_size", "num_candidates"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer >= 1, got {value!r}. Use at least 1.")
        if not 0 <= self.min_passing_probability <= 1:
            raise ValueError(f"min_passing_probability={self.min_passing_probability} is not in [0, 1]. Use 0.001.")
        if not (self.length_penalty >= 0 and self.word_weight > 0):
            raise ValueError(
                f"length_penalty={self.length_penalty} must be >= 0 and word_weight={self.word_weight} > 0. Use "
                'graph_search="viterbi" to leave words out.'
            )
        self._refuse_combinations()

    def _refuse_combinations(self) -> None:
        is_beam = self.graph_search == "beam"
        if self.num_return_sequences > 1 and self.graph_search in ("greedy", "lookahead"):
            raise ValueError(
                f"{self.graph_search} follows one path, got num_return_sequences={self.num_return_sequences}. "
                'Use graph_search="joint_viterbi" or "beam".'
            )
        if is_beam and self.beam_size < self.num_return_sequences:
            raise ValueError(
                f"num_return_sequences={self.num_return_sequences} exceeds beam_size={self.beam_size}. Raise the "
                "latter."
            )
        if is_beam and (self.output_scores or self.output_history):
            raise ValueError(
                "A beam sums over paths, whose words have no scores of their own. Leave out output_scores "
                "and output_history."
            )
        if self.language_model is not None and not is_beam:
            raise ValueError('A language model takes part in a beam alone. Add graph_search="beam".')
        if self.do_sample:
            raise ValueError("Paths of a graph are searched, not sampled. Leave out do_sample.")


class Graphs(NamedTuple):
    """
    What one decoder pass gives for a batch.

    Args:
        hidden_states (`torch.FloatTensor` of shape `(B, A, D)`): last decoder states.
        transitions (`torch.FloatTensor` of shape `(B, A, A)`): log-probabilities, -inf where there is none.
        lengths (`torch.LongTensor` of shape `(B,)`): vertices of each graph.
    """

    hidden_states: torch.FloatTensor
    transitions: torch.FloatTensor
    lengths: torch.LongTensor


class GraphSearch:
    """
    Translations of a batch of graphs.

    Args:
        graphs ([`Graphs`]): of the batch.
        settings ([`DATSettings`]): which search, and how.
        config ([`DATConfig`]): ids of special tokens.
        project (`Callable`): states (M, D) to logits (M, V).
        suppressed_ids (`list[int]`): ids that no inner vertex reads.
    """

    def __init__(
        self,
        graphs: Graphs,
        settings: DATSettings,
        config: DATConfig,
        project: Callable[[torch.FloatTensor], torch.FloatTensor],
        suppressed_ids: list[int],
    ) -> None:
        self.graphs, self.settings, self.config = graphs, settings, config
        self.project, self.suppressed_ids = project, suppressed_ids

    def run(self) -> NATGenerateOutput:
        """Sequences (B · num_return_sequences, T) as read off paths, repeats and all, and their scores."""
        return self._search_beams() if self.settings.graph_search == "beam" else self._search_paths()

    def _search_paths(self) -> NATGenerateOutput:
        """Paths by any search but the beam; vertices that the search does not need are not projected."""
        if self.settings.graph_search in ("greedy", "viterbi"):
            paths = self._find_paths(None)
            visited = paths.vertices.flatten(1).clamp(min=0)  # padding as vertex 0, which is on every path
            is_needed = torch.zeros_like(self.graphs.transitions[:, 0], dtype=torch.bool).scatter_(1, visited, True)
            ids, words = self._choose_words(is_needed)
        else:
            ids, words = self._choose_words(self._find_passed())
            paths = self._find_paths(words)
        num_paths = paths.vertices.shape[1]
        vertices, ids, words, transitions = (
            paths.vertices.flatten(0, 1),
            *(part.repeat_interleave(num_paths, dim=0) for part in (ids, words, self.graphs.transitions)),
        )
        sequences = read_paths(vertices, ids, pad_token_id=self.config.pad_token_id)
        scores = score_paths(vertices, transitions, words)
        is_path = vertices[:, 0] >= 0
        only_pass = DecodingStep(*(part[::num_paths] for part in (sequences, scores, (vertices >= 0).long())))
        return NATGenerateOutput(
            sequences=self._fill_missing(sequences, is_path),
            sequences_scores=(scores.sum(dim=1) / (vertices >= 0).sum(dim=1)).masked_fill(~is_path, float("-inf")),
            token_scores=scores if self.settings.output_scores else None,
            history=[only_pass] if self.settings.output_history else None,
        )

    def _find_paths(self, words: torch.FloatTensor | None) -> BestPaths:
        """The paths that the search finds with these words (B, A), or without."""
        if self.settings.graph_search in ("greedy", "lookahead"):
            vertices = follow_transitions(
                self.graphs.transitions, self.graphs.lengths, word_scores=words, word_weight=self.settings.word_weight
            )
            return BestPaths(vertices.unsqueeze(1), vertices.new_zeros(len(vertices), 1))
        return find_viterbi_paths(
            self.graphs.transitions,
            self.graphs.lengths,
            word_scores=None if words is None else self.settings.word_weight * words,
            length_penalty=self.settings.length_penalty,
            num_paths=self.settings.num_return_sequences,
        )

    def _find_passed(self) -> torch.BoolTensor:
        """(B, A): vertices that enough paths pass."""
        return passing_probabilities(self.graphs.transitions, self.graphs.lengths) >= max(
            self.settings.min_passing_probability, torch.finfo(self.graphs.transitions.dtype).tiny
        )

    def _choose_words(self, is_needed: torch.BoolTensor) -> tuple[torch.LongTensor, torch.FloatTensor]:
        """The best word of each vertex (B, A) and its log-probability, -inf where none is needed."""
        ids, words = self._rank_words(is_needed, num_words=1)
        return ids.squeeze(2), words.squeeze(2)

    def _rank_words(self, is_needed: torch.BoolTensor, num_words: int) -> tuple[torch.LongTensor, torch.FloatTensor]:
        """C best words of each vertex (B, A, C) and their log-probabilities, -inf where none is; ends are certain."""
        config, transitions = self.config, self.graphs.transitions
        position = torch.arange(transitions.shape[1], device=transitions.device)
        is_first, is_last = (position == 0).expand_as(is_needed), position == self.graphs.lengths.unsqueeze(1) - 1
        is_inner = is_needed & ~is_first & ~is_last
        logits = self.project(self.graphs.hidden_states[is_inner]).to(transitions.dtype)
        logits[:, self.suppressed_ids] = float("-inf")
        best, order = logits.topk(num_words, dim=1)
        ids = torch.full((*is_needed.shape, num_words), config.pad_token_id, device=transitions.device)
        words = torch.full(ids.shape, float("-inf"), dtype=transitions.dtype, device=transitions.device)
        ids[is_inner], words[is_inner] = order, best - logits.logsumexp(dim=1, keepdim=True)
        for is_end, token_id in ((is_first, config.bos_token_id), (is_last, config.eos_token_id)):
            ids[..., 0].masked_fill_(is_end, token_id)
            words[..., 0].masked_fill_(is_end, 0.0)
        return ids, words

    def _search_beams(self) -> NATGenerateOutput:
        """Sums over paths, sentence by sentence on the CPU."""
        num_words = min(self.settings.num_candidates, self.config.vocab_size)
        ranked = self._rank_words(self._find_passed(), num_words)
        ids, words, transitions = (part.cpu() for part in (*ranked, self.graphs.transitions))
        sequences, scores = [], []
        for row, length in enumerate(self.graphs.lengths.tolist()):
            found = search_beam(
                transitions[row, :length, :length],
                words[row, :length],
                ids[row, :length],
                beam_size=self.settings.beam_size,
                num_candidates=self.settings.num_candidates,
                length_penalty=self.settings.length_penalty,
                word_weight=self.settings.word_weight,
                language_model=self.settings.language_model,
                language_model_weight=self.settings.language_model_weight,
                collapse_repeats=self.settings.collapse_repeats,
            )
            missing = [([], float("-inf"))] * self.settings.num_return_sequences
            for tokens, score in (found + missing)[: self.settings.num_return_sequences]:
                sequences.append(torch.tensor(tokens, dtype=torch.long))
                scores.append(score)
        padded = pad_sequence(sequences, batch_first=True, padding_value=self.config.pad_token_id)
        padded, scores = padded.to(ranked[0].device), torch.tensor(scores, device=ranked[0].device)
        return NATGenerateOutput(sequences=self._fill_missing(padded, scores > float("-inf")), sequences_scores=scores)

    def _fill_missing(self, sequences: torch.LongTensor, is_found: torch.BoolTensor) -> torch.LongTensor:
        """Sequences (R, T) with `<s> </s>` where none was found."""
        sequences = F.pad(sequences, (0, max(2 - sequences.shape[1], 0)), value=self.config.pad_token_id)
        empty = torch.full_like(sequences[0], self.config.pad_token_id)
        empty[0], empty[1] = self.config.bos_token_id, self.config.eos_token_id
        return torch.where(is_found.unsqueeze(1), sequences, empty)


__all__ = ["DATSettings", "GraphSearch", "Graphs"]
