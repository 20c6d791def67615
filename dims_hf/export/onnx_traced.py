# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Runs traced graphs: the strategy of any family, step by step, with the state it keeps; nothing here knows a family.

Shapes: B batch, S source length, K candidates, R = B·K rows, T positions, M updated positions, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dims_hf.export.onnx_decoding import (
    Decoder,
    Grid,
    Request,
    check_alignments,
    check_candidates,
    choose_lengths,
    forced_positions,
    place_phrases,
)
from dims_hf.export.onnx_rules import Alternatives, best_rows, log_softmax, penalize_repeats, search_words


# What a step gives beside the next state.
_NEXT = "next_"

# Tensors of a state without which nothing can be fixed in it.
_GRID = {"tokens", "hypotheses", "is_content", "is_masked"}


class TracedDecoder(Decoder):
    """
    A strategy as the graphs `encoder`, `start` (where there is something to start with), `step` and `finish`.

    Args:
        sessions (`dict`): an ONNX Runtime session for each graph.
        settings (`dict`): those of `export.json`; `by_row` lists what has one row for each candidate.
    """

    def __init__(self, sessions: dict[str, Any], settings: dict[str, Any]) -> None:
        super().__init__(sessions, settings)
        self.predicts_length = bool(settings["predicts_length"])
        self.by_row = set(settings["by_row"])

    @property
    def max_source_length(self) -> int:
        """Longest source in tokens."""
        return self.settings["max_source_length"]

    def decode(self, request: Request) -> tuple[np.ndarray, np.ndarray]:
        run = self._run(request)
        if request.prefix_beam_size > 1:
            return self.search_beams(run.grid(), request)
        if self.searches_graph:
            return self._search_graphs(run.state, request)
        if request.repeat_penalty:
            is_content = run.state["is_content"]
            run.state["hypotheses"] = penalize_repeats(
                run.alternatives, is_content, request.repeat_penalty, run.is_forced
            )
        sequences, scores = run.call("finish", run.state, ["final_sequences", "final_scores"])
        rows = best_rows(scores + run.bonus, request.length_beam_size, request.num_return_sequences)
        return sequences[rows], (scores + run.bonus)[rows]

    @property
    def searches_graph(self) -> bool:
        """Whether what the graphs give is a graph of words, to be searched with a beam."""
        return self.settings.get("graph_search") == "beam"

    def _search_graphs(self, state: dict[str, np.ndarray], request: Request) -> tuple[np.ndarray, np.ndarray]:
        """The n best of what the paths of each sentence's graph read."""
        settings, num_best, targets, scores = self.settings, request.num_return_sequences, [], []
        for row, length in enumerate(state["num_vertices"].tolist()):
            found = search_words(
                state["transitions"][row, :length, :length],
                state["word_log_probs"][row, :length],
                state["word_ids"][row, :length],
                num_candidates=settings["num_candidates"],
                word_weight=settings["word_weight"],
                beam_size=settings["beam_size"],
                length_penalty=settings["path_length_penalty"],
                language_model=request.language_model,
                language_model_weight=request.language_model_weight,
                collapse_repeats=request.collapse_repeats,
            )[:num_best]
            # the first and the last vertex read `<s>` and `</s>`
            targets += [ids[1:-1] for ids, _ in found] + [[]] * (num_best - len(found))
            scores += [score for _, score in found] + [-np.inf] * (num_best - len(found))
        return self.frame(targets), np.array(scores, np.float32)

    def align(self, request: Request) -> np.ndarray:
        if "blank_token_id" not in self.settings:
            return super().align(request)
        return self._run(request).state["hypotheses"]

    def _run(self, request: Request) -> _Run:
        self._check(request)
        run = _Run(self, request)
        run.go()
        return run

    def _check(self, request: Request) -> None:
        if self.predicts_length:
            check_candidates(request, self.settings)
        elif "blank_token_id" in self.settings:
            check_alignments(request)
        else:
            followed = {"length_beam_size": 1, "target_lengths": None}
            if self.searches_graph:
                self._check_beam(request)
            else:
                followed |= {"num_return_sequences": 1, "language_model": None}
            unknown = [name for name, default in followed.items() if getattr(request, name) != default]
            unknown += ["forced_tokens or forced_phrases"] if request.is_constrained else []
            if unknown:
                raise ValueError(
                    f"This export finds lengths itself, without {' and '.join(unknown)}. "
                    "Leave that out, or give the checkpoint that it was made from."
                )

    def _check_beam(self, request: Request) -> None:
        if request.num_return_sequences > self.settings["beam_size"]:
            raise ValueError(
                f"num_return_sequences={request.num_return_sequences} exceeds beam_size={self.settings['beam_size']} "
                "of this export. Leave it out, or export a model with a wider beam."
            )


class _Run:
    """One batch on its way: the state, as arrays by name."""

    def __init__(self, decoder: TracedDecoder, request: Request) -> None:
        self.decoder, self.request = decoder, request
        sources = {**request.source, **self._all("encoder", request.source)}
        logits = sources.pop("length_logits", None)
        self.bonus: np.ndarray | float = 0.0
        if logits is not None:
            lengths = choose_lengths(request, logits.argmax(axis=1), decoder.settings)
            if request.length_score_weight and request.target_lengths is None:
                weighed = request.length_score_weight * log_softmax(logits)
                self.bonus = np.take_along_axis(weighed, lengths, axis=1).reshape(-1)
            # Every candidate is a row of its own.
            sources = {name: np.repeat(values, lengths.shape[1], axis=0) for name, values in sources.items()}
            # strategies count content tokens alone
            sources["target_lengths"] = lengths.reshape(-1) - 2
        # a strategy may begin with nothing but its sources
        self.state = {**sources, **(self._all("start", sources) if "start" in decoder.sessions else {})}
        self.num_rows = len(sources["input_ids"])
        self.is_forced: np.ndarray | None = None
        self.alternatives: Alternatives | None = None
        self._set_passes()

    def call(self, graph: str, arrays: dict[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
        """Outputs of a graph."""
        session = self.decoder.sessions[graph]
        return session.run(names, {each.name: arrays[each.name] for each in session.get_inputs()})

    def _all(self, graph: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in self.decoder.sessions[graph].get_outputs()]
        return dict(zip(names, self.call(graph, arrays, names)))

    def _set_passes(self) -> None:
        passes = self.request.num_iterations
        if "num_iterations" in self.state:
            self.state["num_iterations"] = np.array(passes, np.int64)
        elif passes != 1:
            raise ValueError(f"This model decodes in one step, got num_iterations={passes}. Leave it out.")

    def go(self) -> None:
        """All steps; rows that are finished take no part in the next one."""
        if self.request.is_constrained:
            self._fix()
        if self.request.num_alternatives:
            self.alternatives = Alternatives(self.state["hypotheses"], self.request.num_alternatives)
        rows = np.arange(self.num_rows)
        positions = self._positions()
        while rows.size and (positions is None or positions[rows].any()):
            rows = rows[~self._step(rows)]
            positions = self._positions()

    def grid(self) -> Grid:
        """What a strategy on a grid has filled in."""
        lengths = self.state["lengths"].reshape(-1)
        tokens, scores = self.state["hypotheses"], self.state["scores"]
        return Grid(tokens, scores.sum(axis=1) / lengths, lengths, self.state["is_content"], None, self.alternatives)

    def _positions(self) -> np.ndarray | None:
        """Positions (R, T) that the next step predicts, of a strategy on a grid."""
        return self.state.get("is_updated", self.state.get("is_masked"))

    def _step(self, rows: np.ndarray) -> np.ndarray:
        """One step of some rows (R',); returns which of them are finished."""
        all_rows, by_row = len(rows) == self.num_rows, self.decoder.by_row
        given = {
            name: values if all_rows or name not in by_row else values[rows] for name, values in self.state.items()
        }
        names = [output.name for output in self.decoder.sessions["step"].get_outputs()]
        # an output that nobody fetches is not copied out of the runtime
        names = [name for name in names if name != "logits" or self.alternatives is not None]
        found = dict(zip(names, self.call("step", given, names)))
        if self.alternatives is not None:
            self._note_alternatives(rows, found.pop("logits"))
        finished = found.pop("finished")
        for name, values in found.items():
            name = name.removeprefix(_NEXT)
            if all_rows or name not in by_row:
                self.state[name] = values
            else:
                # a copy: the array may be the caller's own
                self.state[name] = self.state[name].copy()
                self.state[name][rows] = values
        # one flag for all rows where a strategy makes a single step
        return np.broadcast_to(finished, rows.shape)

    def _note_alternatives(self, rows: np.ndarray, logits: np.ndarray) -> None:
        is_updated = np.zeros_like(self._positions())
        is_updated[rows] = self._positions()[rows]
        if self.request.prefix_beam_size > 1:
            # What an earlier step revealed is certain now; only frames of a sentence's last step have alternatives.
            computed = rows[is_updated[rows].any(axis=1)]
            self.alternatives.settle(computed, self.state["hypotheses"][computed])
        self.alternatives.update(is_updated, logits)

    def _fix(self) -> None:
        """Puts what is forced into the state."""
        missing = _GRID - self.state.keys()
        if missing:
            raise ValueError(
                "The strategy of this model keeps no grid of positions, so nothing can be forced. Leave out "
                "forced_tokens and forced_phrases."
            )
        is_content, tokens = self.state["is_content"], self.state["tokens"]
        if self.request.forced_tokens is not None:
            self.is_forced, forced = forced_positions(self.request, tokens.shape)
            self.state["tokens"] = np.where(self.is_forced, forced, tokens)
        else:
            # The first step finds the places among masks, and is then made with them: its decoder sees masks there.
            (logits,) = self.call("step", self.state, ["logits"])
            self.is_forced, forced = place_phrases(self.request, is_content, logits)
        self.state["hypotheses"] = np.where(self.is_forced, forced, self.state["hypotheses"])
        for name in ("is_content", "is_masked", "is_updated"):
            if name in self.state:
                self.state[name] = self.state[name] & ~self.is_forced
