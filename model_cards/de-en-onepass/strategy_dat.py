# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Decoding of graphs: settings, the one decoder pass, and the searches of `decoding_dat` over a batch, which give the
vocabulary projection no vertex that they do not need.

Shapes: B batch, A vertices, P vertices of a path, C words of a vertex, M selected positions, V vocabulary, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from .decoding_dat import (
    BestPaths,
    find_viterbi_paths,
    follow_transitions,
    graph_choose,
    read_paths,
    score_paths,
    search_beam,
)
from .decoding_grid import trim_padding
from .decoding_strategy import (
    DecodingRequest,
    DecodingSettings,
    DecodingStep,
    DecodingStrategy,
    EncodedSources,
    LanguageModel,
    NATGenerateOutput,
    TranslationModel,
)
from .graph import passing_probabilities
from .masking import collapse_repeats


GRAPH_SEARCHES = ("greedy", "lookahead", "viterbi", "joint_viterbi", "beam")


@dataclass(frozen=True)
class DATSettings(DecodingSettings):
    """
    Settings of `generate()` for graphs: one pass, whose graph holds translations of many lengths.

    Args:
        graph_search (`str`): one of `GRAPH_SEARCHES`, see `decoding_dat`: follow the likeliest transitions ("greedy"),
            or transitions and words ("lookahead"); the best path by transitions ("viterbi"), or by both
            ("joint_viterbi"); sums over paths, steered by a language model if there is one ("beam").
        path_length_penalty (`float`): scores are divided by length to this power (Viterbi and beam).
        word_weight (`float`): weight of words beside transitions (lookahead, joint-Viterbi and beam).
        min_passing_probability (`float`): vertices that fewer paths pass get no words, which saves their projection to
            the vocabulary (lookahead, joint-Viterbi and beam; the others project what is on their path).
        beam_size, num_candidates (`int`): prefixes kept at each vertex, and pairs of successor and word tried.
        language_model_weight (`float`): γ of a `language_model`, which steers the beam: at each vertex those prefixes
            go on whose (log p + γ·log p_LM) / length^`path_length_penalty` is highest, see `search_graph`.
    """

    stored: ClassVar[tuple[str, ...]] = ("num_iterations", "collapse_repeats", "graph_search")
    searched: ClassVar[tuple[str, ...]] = (
        "graph_search", "beam_size", "num_candidates", "path_length_penalty", "word_weight"
    )  # fmt: skip

    num_iterations: int = 1
    graph_search: str = "lookahead"
    path_length_penalty: float = 1.0
    word_weight: float = 1.0
    min_passing_probability: float = 1e-3
    beam_size: int = 20
    num_candidates: int = 5
    language_model_weight: float = 0.1

    def __post_init__(self) -> None:
        if self.graph_search not in GRAPH_SEARCHES:
            raise ValueError(f"graph_search={self.graph_search!r} is not one of {', '.join(GRAPH_SEARCHES)}.")
        for name in ("num_iterations", "length_beam_size"):
            if getattr(self, name) != 1:
                raise ValueError(
                    f"A DA-Transformer makes one pass, whose graph holds many lengths, got {name}="
                    f"{getattr(self, name)!r}. Leave {name} out, or say 1 (of an evaluation: --iterations 1)."
                )
        self.check_counts("num_return_sequences", "beam_size", "num_candidates")
        self.check_weights("path_length_penalty", "word_weight", "language_model_weight")
        if not 0 <= self.min_passing_probability <= 1:
            raise ValueError(f"min_passing_probability={self.min_passing_probability} is not in [0, 1]. Use 0.001.")
        if self.word_weight == 0:
            raise ValueError('word_weight must be > 0, got 0. Use graph_search="viterbi" to leave words out.')
        self._refuse_combinations()

    @property
    def merges_repeats(self) -> bool:
        """A beam sums over the paths that read the same, of which some repeat a word."""
        return self.collapse_repeats and self.graph_search == "beam"

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

    hidden_states: torch.Tensor
    transitions: torch.Tensor
    lengths: torch.Tensor


class SearchedGraphs(NamedTuple):
    """
    What a beam is searched in.

    Args:
        transitions (`torch.FloatTensor` of shape `(B, A, A)`): log-probabilities, -inf where there is none.
        word_log_probs (`torch.FloatTensor` of shape `(B, A, C)`): of the best words of each vertex, -inf where none
            is.
        word_ids (`torch.LongTensor` of shape `(B, A, C)`): these words.
        num_vertices (`torch.LongTensor` of shape `(B,)`): vertices of each graph.
    """

    transitions: torch.Tensor
    word_log_probs: torch.Tensor
    word_ids: torch.Tensor
    num_vertices: torch.Tensor


@dataclass(frozen=True)
class GraphState:
    """
    State of the decoding of graphs, before and after the one pass.

    Args:
        sources ([`EncodedSources`]): of the batch.
        template (`torch.LongTensor` of shape `(B, A)`): decoder input.
        is_vertex (`torch.BoolTensor` of shape `(B, A)`): True = vertex, False = padding.
        language_model ([`LanguageModel`], *optional*): steers a beam.
        searched ([`SearchedGraphs`], *optional*): what the pass gave a beam.
        found ([`NATGenerateOutput`], *optional*): what the search found, repeats and all.
        only_pass ([`DecodingStep`], *optional*): the best paths.
    """

    sources: EncodedSources
    template: torch.Tensor
    is_vertex: torch.Tensor
    language_model: LanguageModel | None = None
    searched: SearchedGraphs | None = None
    found: NATGenerateOutput | None = None
    only_pass: DecodingStep | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the pass is done."""
        return self.found is not None or self.searched is not None


class GraphWriter(TranslationModel, Protocol):
    """A model that gives the vertices of a graph transitions."""

    def make_template(self, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (B, A) of the graphs of sources, and their mask."""

    def links(self, hidden_states: torch.Tensor, vertex_mask: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (B, A, A) of transitions."""


class GraphDecoding(DecodingStrategy[GraphState]):
    """
    One pass and a search in the graphs that it gives. The first and the last vertex read `<s>` and `</s>`, for sure.

    `sequences_scores` are log-probabilities of paths over their vertices, or the scores of a beam; `token_scores` and
    `history` belong to vertices. Fewer translations than asked for leave `<s> </s>` with a score of -inf.
    """

    settings_class = DATSettings
    settings: DATSettings
    model: GraphWriter
    refused = {
        "target_lengths": "A DA-Transformer does not fix lengths: paths decide.",
        "forced_tokens": "Paths have no fixed positions for tokens.",
        "forced_phrases": "Paths are not constrained to phrases.",
    }

    @property
    def leaves_search(self) -> bool:
        """A beam's prefixes are no tensors."""
        return self.settings.graph_search == "beam"

    def init(self, sources: EncodedSources, request: DecodingRequest) -> GraphState:
        if request.language_model is not None and self.settings.graph_search != "beam":
            raise ValueError('A language model takes part in a beam alone. Add graph_search="beam".')
        return GraphState(sources, *self.model.make_template(sources.attention_mask), request.language_model)

    def step(self, state: GraphState) -> GraphState:
        hidden_states = self.run_decoder(state.template, state.is_vertex, state.sources)
        transitions = self.model.links(hidden_states, state.is_vertex)
        graphs = Graphs(hidden_states, transitions, state.is_vertex.sum(dim=1))
        if self.settings.graph_search == "beam":
            return replace(state, searched=self._rank_beam_words(graphs))
        found, only_pass = self._search_paths(graphs)
        return replace(state, found=found, only_pass=only_pass)

    def record(self, state: GraphState) -> DecodingStep:
        assert state.only_pass is not None  # only a beam has none, and refuses to keep a history
        return state.only_pass

    def finish(self, state: GraphState, history: list[DecodingStep]) -> NATGenerateOutput:
        found = state.found if state.searched is None else self._search_beams(state.searched, state.language_model)
        assert found is not None  # decoding is finished when it is there
        sequences = found.sequences
        if self.settings.collapse_repeats:
            sequences = collapse_repeats(sequences, self.config.pad_token_id)
        return NATGenerateOutput(
            sequences=trim_padding(sequences, self.config.pad_token_id),
            sequences_scores=found.sequences_scores,
            token_scores=found.token_scores,
            history=history if self.settings.output_history else None,
        )

    def _search_paths(self, graphs: Graphs) -> tuple[NATGenerateOutput, DecodingStep]:
        """Paths by any search but the beam; vertices that the search does not need are not projected."""
        if self.settings.graph_search in ("greedy", "viterbi"):
            paths = self._find_paths(graphs, None)
            visited = paths.vertices.flatten(1).clamp(min=0)  # padding as vertex 0, which is on every path
            is_needed = torch.zeros_like(graphs.transitions[:, 0], dtype=torch.bool).scatter_(1, visited, True)
            ids, words = self._choose_words(graphs, is_needed)
        else:
            ids, words = self._choose_words(graphs, self._find_passed(graphs))
            paths = self._find_paths(graphs, words)
        num_paths = paths.vertices.shape[1]
        vertices, ids, words, transitions = (
            paths.vertices.flatten(0, 1),
            *(part.repeat_interleave(num_paths, dim=0) for part in (ids, words, graphs.transitions)),
        )
        sequences = read_paths(vertices, ids, pad_token_id=self.config.pad_token_id)
        scores = score_paths(vertices, transitions, words)
        is_path = vertices[:, 0] >= 0
        only_pass = DecodingStep(*(part[::num_paths] for part in (sequences, scores, (vertices >= 0).long())))
        output = NATGenerateOutput(
            sequences=self._fill_missing(sequences, is_path),
            sequences_scores=(scores.sum(dim=1) / (vertices >= 0).sum(dim=1)).masked_fill(~is_path, float("-inf")),
            token_scores=scores if self.settings.output_scores else None,
        )
        return output, only_pass

    def _find_paths(self, graphs: Graphs, words: torch.Tensor | None) -> BestPaths:
        """The paths that the search finds with these words (B, A), or without."""
        if self.settings.graph_search in ("greedy", "lookahead"):
            vertices = follow_transitions(
                graphs.transitions,
                graphs.lengths,
                word_scores=words,
                word_weight=self.settings.word_weight,
                max_vertices=self._max_vertices,
            )
            return BestPaths(vertices.unsqueeze(1), torch.zeros_like(vertices[:, :1]))
        scores = None if words is None else self.settings.word_weight * words
        penalty = self.settings.path_length_penalty
        if torch.compiler.is_compiling():
            # one path, by an operator that exports write as a loop
            scores = torch.zeros_like(graphs.transitions[:, 0]) if scores is None else scores
            vertices = graph_choose(graphs.transitions, graphs.lengths, scores, penalty)
            return BestPaths(vertices.unsqueeze(1), torch.zeros_like(scores[:, :1]))
        return find_viterbi_paths(
            graphs.transitions,
            graphs.lengths,
            word_scores=scores,
            length_penalty=penalty,
            num_paths=self.settings.num_return_sequences,
        )

    def _find_passed(self, graphs: Graphs) -> torch.Tensor:
        """(B, A): vertices that enough paths pass."""
        passing = passing_probabilities(graphs.transitions, graphs.lengths, max_vertices=self._max_vertices)
        # tiny instead of 0: with a threshold of 0, what no path passes is still left out
        return passing >= max(self.settings.min_passing_probability, torch.finfo(graphs.transitions.dtype).tiny)

    @property
    def _max_vertices(self) -> int | None:
        """Bound of loops in exported code, which must not depend on the graph at hand."""
        return self.config.max_position_embeddings if torch.compiler.is_compiling() else None

    def _choose_words(self, graphs: Graphs, is_needed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The best word of each vertex (B, A) and its log-probability, -inf where none is needed."""
        ids, words = self._rank_words(graphs, is_needed, num_words=1)
        return ids.squeeze(2), words.squeeze(2)

    def _rank_words(
        self, graphs: Graphs, is_needed: torch.Tensor, num_words: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """C best words of each vertex (B, A, C) and their log-probabilities, -inf where none is; ends are certain."""
        config, transitions = self.config, graphs.transitions
        position = torch.arange(transitions.shape[1], device=transitions.device)
        is_first, is_last = (position == 0).expand_as(is_needed), position == graphs.lengths.unsqueeze(1) - 1
        is_inner = is_needed & ~is_first & ~is_last
        logits = self.model.project_vocabulary(graphs.hidden_states[is_inner]).to(transitions.dtype)
        logits[:, self.model.suppressed_token_ids()] = float("-inf")
        best, order = logits.topk(num_words, dim=1)
        ids = torch.full((*is_needed.shape, num_words), config.pad_token_id, device=transitions.device)
        words = torch.full(ids.shape, float("-inf"), dtype=transitions.dtype, device=transitions.device)
        # boolean indexing reads and writes in row-major order, that of the packed rows
        ids[is_inner], words[is_inner] = order, best - logits.logsumexp(dim=1, keepdim=True)
        for is_end, token_id in ((is_first, config.bos_token_id), (is_last, config.eos_token_id)):
            # a view of the first place of each list, written in place
            ids[..., 0].masked_fill_(is_end, token_id)
            words[..., 0].masked_fill_(is_end, 0.0)
        return ids, words

    def _rank_beam_words(self, graphs: Graphs) -> SearchedGraphs:
        """The words that a beam tries at each vertex."""
        num_words = min(self.settings.num_candidates, self.config.vocab_size)
        ids, words = self._rank_words(graphs, self._find_passed(graphs), num_words)
        return SearchedGraphs(graphs.transitions, words, ids, graphs.lengths)

    def _search_beams(self, graphs: SearchedGraphs, language_model: LanguageModel | None) -> NATGenerateOutput:
        """Sums over paths, sentence by sentence on the CPU."""
        transitions, words, ids = (part.cpu() for part in graphs[:3])
        sequences, scores = [], []
        for row, length in enumerate(graphs.num_vertices.tolist()):
            found = search_beam(
                transitions[row, :length, :length],
                words[row, :length],
                ids[row, :length],
                beam_size=self.settings.beam_size,
                num_candidates=self.settings.num_candidates,
                length_penalty=self.settings.path_length_penalty,
                word_weight=self.settings.word_weight,
                language_model=language_model,
                language_model_weight=self.settings.language_model_weight,
                collapse_repeats=self.settings.collapse_repeats,
            )
            # one shared list in all places is safe: it is only read
            missing: list[tuple[list[int], float]] = [([], float("-inf"))] * self.settings.num_return_sequences
            for tokens, score in (found + missing)[: self.settings.num_return_sequences]:
                sequences.append(torch.tensor(tokens, dtype=torch.long))
                scores.append(score)
        padded = pad_sequence(sequences, batch_first=True, padding_value=self.config.pad_token_id)
        device = graphs.transitions.device
        sequences_scores = torch.tensor(scores, device=device)
        filled = self._fill_missing(padded.to(device), sequences_scores > float("-inf"))
        return NATGenerateOutput(sequences=filled, sequences_scores=sequences_scores)

    def _fill_missing(self, sequences: torch.Tensor, is_found: torch.Tensor) -> torch.Tensor:
        """Sequences (R, T) with `<s> </s>` where none was found."""
        sequences = F.pad(sequences, (0, max(2 - sequences.shape[1], 0)), value=self.config.pad_token_id)
        empty = torch.full_like(sequences[0], self.config.pad_token_id)
        empty[0], empty[1] = self.config.bos_token_id, self.config.eos_token_id
        return torch.where(is_found.unsqueeze(1), sequences, empty)


__all__ = ["DATSettings", "GraphDecoding", "GraphState"]
