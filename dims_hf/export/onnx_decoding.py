# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
How exported graphs are run for one batch: graphs built by hand in one pass or pass by pass, traced ones step by step.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), A alignment length (which is the T of an
Imputer's decoder), K length candidates, R = B·K rows, M updated positions, C ids of a shortlist.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from dims_hf.export.onnx_rules import (
    FREE,
    NUM_TOKENS_OF_BEAMS,
    NUM_TOKENS_OF_REPEATS,
    Alternatives,
    best_places,
    best_rows,
    check_phrases,
    penalize_repeats,
    search_prefixes,
)


class Constraints(TypedDict, total=False):
    """
    What targets must be like.

    Attributes:
        target_lengths (`np.ndarray` of shape `(B,)`): content tokens of each translation instead of the predicted
            length; excludes `length_beam_size > 1`.
        forced_tokens (`np.ndarray` of shape `(B, T)`): ids that targets must have there, -100 where they are free;
            column 0 is that of `<s>`.
        forced_phrases (`Sequence`): for each sentence a list of phrases (ids) that its target must contain; the first
            pass says where.
    """

    target_lengths: np.ndarray | None
    forced_tokens: np.ndarray | None
    forced_phrases: Sequence[Sequence[Sequence[int]]] | None


@dataclass(frozen=True)
class Request:
    """One batch, and how it is to be decoded: the arguments of `OnnxTranslator.generate`, and its `listed_ids`."""

    input_ids: np.ndarray
    attention_mask: np.ndarray
    num_iterations: int = 1
    length_beam_size: int = 1
    num_return_sequences: int = 1
    length_score_weight: float = 0.0
    repeat_penalty: float = 0.0
    prefix_beam_size: int = 1
    language_model: Callable[[list[int]], float] | None = None
    language_model_weight: float = 0.0
    token_bonus: float = 0.0
    target_lengths: np.ndarray | None = None
    forced_tokens: np.ndarray | None = None
    forced_phrases: Sequence[Sequence[Sequence[int]]] | None = None
    with_scores: bool = True
    collapse_repeats: bool = False
    listed: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def source(self) -> dict[str, np.ndarray]:
        """Inputs of the graphs that encode."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}

    @property
    def num_alternatives(self) -> int:
        """Tokens of each position that the rules look at; 0 where the likeliest alone counts."""
        if self.prefix_beam_size > 1:
            return NUM_TOKENS_OF_BEAMS
        return NUM_TOKENS_OF_REPEATS if self.repeat_penalty else 0

    @property
    def needs_scores(self) -> bool:
        """Whether candidates are compared, or the caller wants to know."""
        return self.with_scores or self.length_beam_size > 1

    @property
    def is_constrained(self) -> bool:
        """Whether something is forced."""
        return self.forced_tokens is not None or self.forced_phrases is not None


@dataclass
class Grid:
    """
    What decoding filled in, for all candidates.

    Args:
        tokens (`np.ndarray` of shape `(R, T)`): filled templates.
        scores (`np.ndarray` of shape `(R,)`): mean log-probabilities.
        lengths (`np.ndarray` of shape `(R,)`): positions of each row.
        is_content (`np.ndarray` of shape `(R, T)`): positions that were predicted.
        is_forced (`np.ndarray` of shape `(R, T)`, *optional*): positions that the caller fixed.
        alternatives ([`Alternatives`], *optional*): likeliest tokens of each position, where a rule needs them.
    """

    tokens: np.ndarray
    scores: np.ndarray
    lengths: np.ndarray
    is_content: np.ndarray
    is_forced: np.ndarray | None = None
    alternatives: Alternatives | None = None


class Decoder(ABC):
    """
    Decodes batches.

    Args:
        sessions (`dict`): an ONNX Runtime session for each graph.
        settings (`dict`): those of `export.json`.
    """

    # Whether the model predicts target lengths, so that a sentence may have several candidates.
    predicts_length: bool = False
    # Why a source may not be longer than `max_source_length`.
    limit_note = ""

    def __init__(self, sessions: dict[str, Any], settings: dict[str, Any]) -> None:
        self.sessions, self.settings = sessions, settings

    @property
    def max_source_length(self) -> int:
        """Longest source in tokens."""
        return self.settings["max_position_embeddings"]

    @abstractmethod
    def decode(self, request: Request) -> tuple[np.ndarray, np.ndarray]:
        """
        Sequences (B · n, T) and scores (B · n,): the n best candidates of each sentence, repeats not collapsed.

        Raises:
            ValueError: for what the export cannot do.
        """

    def align(self, request: Request) -> np.ndarray:
        """Alignments (B, A) of a model that writes them."""
        raise ValueError("This model predicts lengths and writes no alignments. Use generate().")

    def frame(self, targets: Sequence[Sequence[int]]) -> np.ndarray:
        """Sequences `<s> … </s> pad …` (R, T) of targets."""
        bos, eos, pad = (self.settings[f"{name}_token_id"] for name in ("bos", "eos", "pad"))
        sequences = np.full((len(targets), max(map(len, targets)) + 2), pad, np.int64)
        for row, ids in enumerate(targets):
            sequences[row, : len(ids) + 2] = [bos, *ids, eos]
        return sequences

    def search_beams(self, grid: Grid, request: Request) -> tuple[np.ndarray, np.ndarray]:
        """The n best targets of each alignment; scores are divided by its positions."""
        num_best, targets, scores = request.num_return_sequences, [], []
        for row, length in enumerate(grid.lengths.tolist()):
            best = search_prefixes(
                grid.alternatives.tokens[row, :length],
                grid.alternatives.log_probs[row, :length],
                blank_token_id=self.settings["blank_token_id"],
                beam_size=request.prefix_beam_size,
                language_model=request.language_model,
                language_model_weight=request.language_model_weight,
                token_bonus=request.token_bonus,
            )[:num_best]
            # A short alignment may stand for fewer targets than were asked for.
            best += [([], -np.inf)] * (num_best - len(best))
            targets += [ids for ids, _ in best]
            scores += [score / length for _, score in best]
        return self.frame(targets), np.array(scores, np.float32)


# ---- graphs built by hand ----------------------------------------------------------------------------------------


class BuiltDecoder(Decoder):
    """Families with graphs built by hand: one that does all in one pass, or an encoder and a decoder."""

    # what the graph of one pass calls its ids
    output_name: str

    def decode(self, request: Request) -> tuple[np.ndarray, np.ndarray]:
        self.check(request)
        grid, bonus = self.run(request)
        if request.prefix_beam_size > 1:
            return self.search_beams(grid, request)
        if request.repeat_penalty:
            grid.tokens = penalize_repeats(grid.alternatives, grid.is_content, request.repeat_penalty, grid.is_forced)
        scores = grid.scores + request.length_score_weight * bonus
        rows = best_rows(scores, request.length_beam_size, request.num_return_sequences)
        return self.read_out(grid.tokens[rows], grid.lengths[rows]), scores[rows]

    @abstractmethod
    def check(self, request: Request) -> None:
        """Refuses what the family cannot do."""

    def run(self, request: Request) -> tuple[Grid, np.ndarray]:
        """All candidates, and the log-probabilities (R,) of their lengths."""
        if "model" not in self.sessions:
            return _IterativeDecoder(self, request).run()
        if request.num_iterations > 1:
            raise ValueError(
                f"This export decodes in one pass, num_iterations={request.num_iterations} was asked for. "
                f"Export the model again with --num-iterations {request.num_iterations}."
            )
        if request.is_constrained:
            raise ValueError(
                "The graph of this export predicts every position of its own templates, so nothing can be forced. "
                "Export the model again with --graph traced."
            )
        return self._run_one_pass(request)

    def _run_one_pass(self, request: Request) -> tuple[Grid, np.ndarray]:
        session = self.sessions["model"]
        names = [self.output_name, "scores", "lengths"]
        rules = [name for name in ("logits", "logit_scale") if request.num_alternatives and _has(session, name)]
        rules += ["length_log_probs"] if request.length_score_weight else []
        found = dict(zip([*names, *rules], session.run([*names, *rules], self._one_pass_inputs(request))))
        tokens, lengths = found[self.output_name], found["lengths"]
        grid = Grid(tokens, found["scores"], lengths, self.templates(lengths)[1])
        if request.num_alternatives:
            grid.alternatives = Alternatives(tokens, request.num_alternatives)
            grid.alternatives.update(grid.is_content, _scaled(found), request.listed.get("vocabulary_ids"))
        return grid, found.get("length_log_probs", np.zeros(1))

    def _one_pass_inputs(self, request: Request) -> dict[str, np.ndarray]:
        return {**request.source, **request.listed, **self.graph_inputs(request)}

    @abstractmethod
    def graph_inputs(self, request: Request) -> dict[str, np.ndarray]:
        """What the graph of one pass takes beside the source."""

    @abstractmethod
    def candidate_lengths(self, request: Request, lengths: np.ndarray) -> np.ndarray:
        """Decoder lengths (B, K) of all candidates, from those (B,) that the encoder graph gives."""

    @abstractmethod
    def templates(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decoder inputs (R, T) of `lengths` (R,) before the first pass, and which positions are masks (R, T)."""

    @abstractmethod
    def select_masks(self, before: State, scores: np.ndarray, num_passes: int, num_iterations: int) -> np.ndarray:
        """Positions (R, T) that are masks after `num_passes` passes; `scores` (R, T) are those after the last one."""

    def read_out(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Sequences (R, T) that filled templates (R, T) of `lengths` (R,) stand for; here the same."""
        return tokens


def _has(session: Any, name: str) -> bool:
    return any(output.name == name for output in session.get_outputs())


def _scaled(found: dict[str, np.ndarray]) -> np.ndarray:
    """Logits (M, V) of a graph; int8 ones are still to be multiplied."""
    return found["logits"] * found["logit_scale"] if "logit_scale" in found else found["logits"]


def check_lengths(target_lengths: np.ndarray, num_sentences: int, longest: int) -> None:
    """Refuses target lengths that are not one integer for each sentence, between 1 and `longest` content tokens."""
    if target_lengths.shape != (num_sentences,) or not np.issubdtype(target_lengths.dtype, np.integer):
        raise ValueError(
            f"target_lengths must hold one integer per sentence ({num_sentences}), got shape {target_lengths.shape} "
            f"of {target_lengths.dtype}."
        )
    if target_lengths.min() < 1 or target_lengths.max() > longest:
        raise ValueError(
            f"target_lengths must be between 1 and {longest} content tokens, got {target_lengths.min()} to "
            f"{target_lengths.max()}."
        )


def length_offsets(num_candidates: int) -> np.ndarray:
    """Where the lengths (K,) of candidates lie around the predicted one."""
    return np.arange(num_candidates) - num_candidates // 2


class MaskPredict(BuiltDecoder):
    """Models that predict lengths; of the candidates of a sentence the best are kept."""

    predicts_length, output_name = True, "sequences"

    def check(self, request: Request) -> None:
        check_candidates(request, self.settings)

    def graph_inputs(self, request: Request) -> dict[str, np.ndarray]:
        given = request.target_lengths
        return {
            "length_offsets": length_offsets(request.length_beam_size),
            "target_lengths": np.zeros(1, np.int64) if given is None else np.asarray(given, np.int64),
            "with_scores": np.array(request.needs_scores),
        }

    def candidate_lengths(self, request: Request, lengths: np.ndarray) -> np.ndarray:
        return choose_lengths(request, lengths, self.settings)

    def templates(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`<s> mask … mask </s> pad …`."""
        columns, last = np.arange(lengths.max()), lengths[:, None] - 1
        is_content = (columns > 0) & (columns < last)
        ids = {name: self.settings[f"{name}_token_id"] for name in ("bos", "eos", "pad", "mask")}
        tokens = np.where(is_content, ids["mask"], np.where(columns == last, ids["eos"], ids["pad"]))
        tokens[:, 0] = ids["bos"]
        return tokens.astype(np.int64), is_content

    def select_masks(self, before: State, scores: np.ndarray, num_passes: int, num_iterations: int) -> np.ndarray:
        """The least confident ⌊N (S − s) / S⌋ of N content tokens after s of S passes."""
        num_left = before.is_content.sum(axis=1) * (num_iterations - num_passes) // num_iterations
        return lowest(scores, before.is_content, num_left)


def check_candidates(request: Request, settings: dict[str, Any]) -> None:
    """Refuses lengths, candidates and constraints that do not go together, for models that predict lengths."""
    if request.language_model is not None:
        raise ValueError(
            "A language model scores the hypotheses of a prefix beam, which models with a blank have. Leave out "
            "language_model."
        )
    if request.target_lengths is not None and request.length_beam_size > 1:
        raise ValueError("target_lengths fix the length. Use length_beam_size=1 with them, or leave them out.")
    if request.num_return_sequences > request.length_beam_size:
        raise ValueError(
            f"num_return_sequences={request.num_return_sequences} exceeds length_beam_size="
            f"{request.length_beam_size}, and each length gives one candidate. Raise length_beam_size."
        )
    if request.forced_tokens is not None and request.forced_phrases is not None:
        raise ValueError("forced_tokens and forced_phrases exclude each other. Give one of them.")
    num_sentences = len(request.input_ids)
    if request.target_lengths is not None:
        check_lengths(np.asarray(request.target_lengths), num_sentences, settings["max_position_embeddings"] - 2)
    fewest = fewest_positions(request, settings)
    if fewest is None:
        return
    given = request.target_lengths
    room = np.full(num_sentences, settings["longest_length"]) if given is None else np.asarray(given) + 2
    if (fewest > room).any():
        row = int((fewest > room).argmax())
        raise ValueError(
            f"What is forced in sentence {row} needs {fewest[row] - 2} content tokens, there is room for "
            f"{room[row] - 2}. Force less{'' if given is None else ', or raise target_lengths'}."
        )


def choose_lengths(request: Request, predicted: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """Lengths (B, K) to decode, from the predicted ones (B,) or as given, with room for what is forced."""
    if request.target_lengths is not None:
        return np.asarray(request.target_lengths, np.int64)[:, None] + 2
    lengths = predicted[:, None] + length_offsets(request.length_beam_size)
    lengths = lengths.clip(settings["shortest_length"], settings["longest_length"])
    fewest = fewest_positions(request, settings)
    return lengths if fewest is None else np.maximum(lengths, fewest[:, None])


def fewest_positions(request: Request, settings: dict[str, Any]) -> np.ndarray | None:
    """
    Positions (B,) that what is forced needs, `<s>` and `</s>` counted; `None` where nothing is.

    Raises:
        ValueError: for another shape, or ids that a sentence cannot hold.
    """
    if request.forced_phrases is not None:
        sentences = check_phrases(request.forced_phrases, len(request.input_ids))
        _check_words([token for each in sentences for phrase in each for token in phrase], settings)
        return np.array([sum(map(len, each)) + 2 for each in sentences])
    if request.forced_tokens is None:
        return None
    forced, num_sentences = np.asarray(request.forced_tokens), len(request.input_ids)
    if forced.ndim != 2 or len(forced) != num_sentences or not np.issubdtype(forced.dtype, np.integer):
        raise ValueError(
            f"forced_tokens must hold ids of shape ({num_sentences}, length), {FREE} where a position is free, got "
            f"shape {forced.shape} of {forced.dtype}."
        )
    if ((forced[:, 0] != FREE) & (forced[:, 0] != settings["bos_token_id"])).any():
        raise ValueError(
            f"Column 0 of forced_tokens is that of <s>. Put {FREE} there, and the first word in column 1."
        )
    is_forced = (forced != FREE) & (np.arange(forced.shape[1]) > 0)
    _check_words(forced[is_forced].tolist(), settings)
    return (np.arange(forced.shape[1]) * is_forced).max(axis=1) + 2


def _check_words(token_ids: Sequence[int], settings: dict[str, Any]) -> None:
    special = {settings[f"{name}_token_id"] for name in ("bos", "pad", "eos", "mask")}
    for token_id in token_ids:
        if not 0 <= token_id < settings["vocab_size"] or token_id in special:
            raise ValueError(
                f"The id {token_id} cannot be forced: words have ids from 0 to {settings['vocab_size'] - 1}, and <s>, "
                "<pad>, </s> and the mask are none. Encode them with the export's tokenizer, add_special_tokens=False."
            )


def forced_positions(request: Request, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Which positions (R, T) `forced_tokens` fixes, and the ids there."""
    forced = np.asarray(request.forced_tokens, np.int64)
    forced = np.repeat(forced, shape[0] // len(forced), axis=0)[:, : shape[1]]
    forced = np.pad(forced, ((0, 0), (0, shape[1] - forced.shape[1])), constant_values=FREE)
    return (forced != FREE) & (np.arange(shape[1]) > 0), forced


def place_phrases(request: Request, is_content: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (R, T) and ids of the phrases, where logits (M, V) of the first pass over the content want them."""
    sentences = check_phrases(request.forced_phrases, len(request.input_ids))
    is_forced, tokens = np.zeros_like(is_content), np.zeros(is_content.shape, np.int64)
    ends = is_content.sum(axis=1).cumsum()
    for row, rows in enumerate(np.split(logits, ends[:-1])):
        phrases = sentences[row // (len(is_content) // len(sentences))]
        columns = np.flatnonzero(is_content[row])
        for phrase, start in zip(phrases, best_places(rows, phrases)):
            places = columns[start : start + len(phrase)]
            is_forced[row, places], tokens[row, places] = True, phrase
    return is_forced, tokens


class BlockUnmasking(BuiltDecoder):
    """Imputers: one alignment per sentence, revealed block by block and collapsed at the end."""

    predicts_length, output_name = False, "alignments"

    @property
    def max_source_length(self) -> int:
        """Longest source whose alignment fits the position table."""
        return self.settings["max_position_embeddings"] // self.settings["upsample_ratio"]

    @property
    def limit_note(self) -> str:
        """Why no more."""
        ratio, limit = self.settings["upsample_ratio"], self.settings["max_position_embeddings"]
        return f" (an alignment has {ratio} positions per token, and the position table {limit})"

    def check(self, request: Request) -> None:
        check_alignments(request)

    def graph_inputs(self, request: Request) -> dict[str, np.ndarray]:
        return {"with_scores": np.array(request.needs_scores)}

    def candidate_lengths(self, request: Request, lengths: np.ndarray) -> np.ndarray:
        return lengths[:, None]

    def templates(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`mask … mask pad …`."""
        is_content = np.arange(lengths.max()) < lengths[:, None]
        mask, pad = self.settings["mask_token_id"], self.settings["pad_token_id"]
        return np.where(is_content, mask, pad).astype(np.int64), is_content

    def select_masks(self, before: State, scores: np.ndarray, num_passes: int, num_iterations: int) -> np.ndarray:
        """All masked positions but the most confident of each block of S; no two neighbours are revealed together."""
        blocks = [_split_blocks(part, num_iterations) for part in (scores, before.is_content, before.is_masked)]
        select = _select_legacy if self.settings["legacy_adjacency"] else _select_apart
        return select(*blocks, num_passes).reshape(len(scores), -1)[:, : scores.shape[1]]

    def read_out(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Of each run of equal tokens one, then no blanks, between `<s>` and `</s>`."""
        is_kept = (np.arange(tokens.shape[1]) < lengths[:, None]) & (tokens != self.settings["blank_token_id"])
        is_kept[:, 1:] &= tokens[:, 1:] != tokens[:, :-1]
        return self.frame([row[kept].tolist() for row, kept in zip(tokens, is_kept)])

    def align(self, request: Request) -> np.ndarray:
        self.check(request)
        return self.run(request)[0].tokens


def check_alignments(request: Request) -> None:
    """Refuses what models that write alignments cannot do."""
    if request.length_beam_size != 1 or request.target_lengths is not None:
        raise ValueError(
            "An Imputer predicts no length, so there is one candidate per sentence. Leave out length_beam_size "
            "and target_lengths."
        )
    if request.is_constrained:
        raise ValueError("The positions of an alignment are not those of a translation, so none can be forced.")
    if request.num_return_sequences > request.prefix_beam_size:
        raise ValueError(
            f"The likeliest path gives one candidate per sentence, got num_return_sequences="
            f"{request.num_return_sequences} and prefix_beam_size={request.prefix_beam_size}. Raise prefix_beam_size."
        )
    if request.language_model is not None and request.prefix_beam_size == 1:
        raise ValueError("A language model steers a prefix beam search. Give prefix_beam_size, such as 20.")


@dataclass(frozen=True)
class State:
    """Decoder inputs (R, T) of the next pass, which positions may change (R, T), and which are masks (R, T)."""

    tokens: np.ndarray
    is_content: np.ndarray
    is_masked: np.ndarray

    def fix(self, is_forced: np.ndarray, tokens: np.ndarray) -> State:
        """With `tokens` (R, T) at the forced positions, which are neither masks nor content any more."""
        return State(
            np.where(is_forced, tokens, self.tokens), self.is_content & ~is_forced, self.is_masked & ~is_forced
        )


class _IterativeDecoder:
    """The passes over one encoded batch; sentences that no pass can change any more leave it."""

    def __init__(self, decoder: BuiltDecoder, request: Request) -> None:
        self.decoder, self.request = decoder, request
        self.settings, self.session = decoder.settings, decoder.sessions["decoder"]
        encoder = decoder.sessions["encoder"]
        names = [output.name for output in encoder.get_outputs()]
        self.encoded = dict(zip(names, encoder.run(names, request.source)))
        self.length_log_probs = self.encoded.pop("length_log_probs", None)
        lengths = decoder.candidate_lengths(request, self.encoded.pop("lengths"))
        # Those of the whole batch stay when a sentence leaves it; everything else is by sentence.
        self.shared = {name: value for name, value in request.listed.items() if name == "vocabulary_ids"}
        by_sentence = {name: value for name, value in request.listed.items() if name not in self.shared}
        self.encoded |= {"attention_mask": request.attention_mask, **by_sentence}
        self.num_candidates, self.lengths = lengths.shape[1], lengths.reshape(-1)
        self.alternatives: Alternatives | None = None
        self.is_forced: np.ndarray | None = None

    def run(self) -> tuple[Grid, np.ndarray]:
        """All candidates, and the log-probabilities (R,) of their lengths."""
        state = self._start()
        hypotheses, scores = state.tokens.copy(), np.zeros(state.tokens.shape, np.float32)
        num_iterations = self.request.num_iterations
        for num_passes in range(1, num_iterations + 1):
            is_updated = self._positions_to_update(state)
            if not is_updated.any():
                break
            predictions, log_probs, logits = self._predict(state.tokens, is_updated)
            if num_passes == 1 and self.request.forced_phrases is not None:
                self.is_forced, tokens = place_phrases(self.request, is_updated, logits)
                state, hypotheses = state.fix(self.is_forced, tokens), np.where(self.is_forced, tokens, hypotheses)
                is_left = ~self.is_forced[is_updated]
                predictions, log_probs, logits = predictions[is_left], log_probs[is_left], logits[is_left]
                is_updated = is_updated & ~self.is_forced
            self._note_alternatives(hypotheses, is_updated, logits)
            hypotheses[is_updated], scores[is_updated] = predictions, log_probs
            is_masked = self.decoder.select_masks(state, scores, num_passes, num_iterations)
            tokens = np.where(is_masked, self.settings["mask_token_id"], hypotheses)
            before, state = state, State(tokens, state.is_content, is_masked)
            if not before.is_masked.any() and (before.tokens == tokens).all():
                break
        means = scores.sum(axis=1) / self.lengths.astype(np.float32)
        grid = Grid(hypotheses, means, self.lengths, state.is_content, self.is_forced, self.alternatives)
        return grid, self._length_bonus()

    def _start(self) -> State:
        """Templates, with the tokens that are forced."""
        tokens, is_content = self.decoder.templates(self.lengths)
        state = State(tokens, is_content, is_content)
        if self.request.forced_tokens is not None:
            self.is_forced, forced = forced_positions(self.request, tokens.shape)
            state = state.fix(self.is_forced, forced)
        if self.request.num_alternatives:
            self.alternatives = Alternatives(state.tokens, self.request.num_alternatives)
        return state

    def _length_bonus(self) -> np.ndarray:
        if self.length_log_probs is None or self.request.target_lengths is not None:
            return np.zeros(1, np.float32)
        lengths = self.lengths.reshape(len(self.length_log_probs), -1)
        return np.take_along_axis(self.length_log_probs, lengths, axis=1).reshape(-1)

    def _note_alternatives(self, hypotheses: np.ndarray, is_updated: np.ndarray, logits: np.ndarray | None) -> None:
        if self.alternatives is None:
            return
        if self.request.prefix_beam_size > 1:
            # What an earlier pass revealed is certain now; only frames of a sentence's last pass have alternatives.
            rows = np.flatnonzero(is_updated.any(axis=1))
            self.alternatives.settle(rows, hypotheses[rows])
        if self.is_forced is not None:
            self.alternatives.tokens[self.is_forced, 0] = hypotheses[self.is_forced]
        self.alternatives.update(is_updated, logits, self.request.listed.get("vocabulary_ids"))

    def _positions_to_update(self, state: State) -> np.ndarray:
        if not self.settings["update_all_positions"]:
            return state.is_masked
        # A special token inside a sentence, which only imported models predict, stays unless it is masked again.
        special = [self.settings[f"{name}_token_id"] for name in ("bos", "eos", "pad")]
        return state.is_content & ~np.isin(state.tokens, special)

    def _predict(self, tokens: np.ndarray, is_updated: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Tokens, log-probabilities (M,) and, for the rules, logits (M, V) of the updated positions, row by row."""
        by_sentence = is_updated.reshape(-1, self.num_candidates * is_updated.shape[1])
        keep = by_sentence.any(axis=1)
        rows = np.repeat(keep, self.num_candidates)
        inputs = {name: value if keep.all() else value[keep] for name, value in self.encoded.items()}
        inputs |= {**self.shared, "tokens": tokens[rows], "lengths": self.lengths[rows]}
        inputs["positions"] = np.flatnonzero(is_updated[rows])
        names = ["predictions", "log_probs"]
        if self.request.num_alternatives or self.request.forced_phrases is not None:
            names += [name for name in ("logits", "logit_scale") if _has(self.session, name)]
        found = dict(zip(names, self.session.run(names, inputs)))
        return found["predictions"], found["log_probs"], _scaled(found) if "logits" in found else None


def _split_blocks(rows: np.ndarray, size: int) -> np.ndarray:
    """(R, A) -> (R, number of blocks, size), filled up with zeros."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % size))).reshape(len(rows), -1, size)


def _select_apart(scores: np.ndarray, is_content: np.ndarray, is_masked: np.ndarray, num_passes: int) -> np.ndarray:
    """Masks (R, blocks, S): the earlier ones but, in each block, the most confident; pass 1 reveals the last one."""
    size, num_content = is_content.shape[2], is_content.sum(axis=2)
    num_left = num_content * (size - num_passes) // size
    if num_passes == 1:
        scores = np.where(np.arange(size) == num_content[:, :, None] - 1, np.inf, scores)
        # A last block of one position waits: its left neighbour is revealed by this pass.
        is_lone = (num_content == 1) & (np.arange(num_content.shape[1]) > 0) & (size > 1)
        num_left = np.where(is_lone, 1, num_left)
    return _lowest_of_blocks(scores, is_masked, num_left)


def _select_legacy(scores: np.ndarray, is_content: np.ndarray, is_masked: np.ndarray, num_passes: int) -> np.ndarray:
    """Masks (R, blocks, S) of `legacy_adjacency`: the least confident of each block, its last place excepted."""
    size = is_content.shape[2]
    scores = np.where(np.arange(size) == size - 1, np.inf, scores)
    return _lowest_of_blocks(scores, is_content, is_content.sum(axis=2) * (size - num_passes) // size)


def _lowest_of_blocks(scores: np.ndarray, is_eligible: np.ndarray, num_selected: np.ndarray) -> np.ndarray:
    """[`lowest`] of each block: (R, blocks, S)."""
    size = scores.shape[2]
    rows = lowest(scores.reshape(-1, size), is_eligible.reshape(-1, size), num_selected.reshape(-1))
    return rows.reshape(scores.shape)


def lowest(scores: np.ndarray, is_eligible: np.ndarray, num_selected: np.ndarray) -> np.ndarray:
    """The `num_selected` (R,) eligible positions with the lowest scores of each row; ties go to the leftmost."""
    order = np.argsort(np.where(is_eligible, scores, np.inf), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    return (ranks < num_selected[:, None]) & is_eligible
