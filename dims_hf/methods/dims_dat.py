# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""DiMS of directed acyclic transformers: a student's one pass learns what its teacher's graph is after several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dims_hf.distillation.graph_rollout import GRAPH_PATHS, GraphRollout, roll_out_graphs
from dims_hf.methods.base import Distillation, Items, Run
from dims_hf.methods.dat import DAT, GraphBatch, forward_graph
from dims_hf.methods.dims import TemperatureOptions
from dims_hf.methods.options import is_default, option, unstated
from dims_hf.models.modeling_dat import DATSeq2SeqLMOutput
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.objectives import Loss
from dims_hf.objectives.graph import graph_dims_loss, graph_loss


if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class DiMSDATOptions(TemperatureOptions):
    """Settings of DiMS for graphs."""

    graph_labels: str = option(
        "hard",
        choices=("hard", "soft"),
        help="hard: the words of the teacher's best path; soft: its words and transitions at every vertex.",
    )
    teacher_search: str = option(
        "lookahead", choices=GRAPH_PATHS, help=f"How the teacher's best path is found: {' or '.join(GRAPH_PATHS)}."
    )
    label_mode: str = option(
        "auto", choices=("auto", "last"), help="Labels are the last pass's, which predicts every vertex again."
    )
    hidden_weight: float = option(
        unstated(0.0), ge=0, le=float("inf"), help="Weight λ of the hidden-state loss of soft labels."
    )
    temperature: float = option(unstated(0.5), gt=0, help="Teacher temperature of soft labels.")
    student_temperature: float = option(unstated(1.0), gt=0, help="Student temperature of soft labels.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("temperature", "student_temperature", "hidden_weight"):
            if self.graph_labels == "hard" and not is_default(getattr(self, name)):
                raise ValueError(f"{name} has no effect on hard labels. Set graph_labels: soft, or leave it out.")


class DiMSDAT(DAT, Distillation):
    """
    Distillation of several passes of a DA-Transformer over its own graph into one.

    Between passes the teacher shows itself the surest words of its best path (see [`roll_out_graphs`]). The student
    sees masks alone and learns the words of the last pass's best path by the likelihood of its graph
    (`graph_labels=hard`), or the teacher's words and transitions at each vertex, weighted by how many paths pass it
    (`soft`). References are not looked at: they count the tokens that the loss is divided by.

    Source: §3 of Norouzi et al. 2023 (arXiv 2206.02999), whose families have no graphs; rollout and weights are ours.
    """

    paper = "Norouzi et al. 2023 (arXiv 2206.02999), for the graphs of Huang et al. 2022 (arXiv 2205.07459)"
    one_pass = True
    Options = DiMSDATOptions
    published = {}

    @property
    def decoding_passes(self) -> int:
        """A graph is decoded in one pass, whatever its teacher does."""
        return 1

    def check(self, dataset: Dataset) -> None:
        """Every corpus will do: the teacher's words always fit."""

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> GraphBatch:
        """Graphs of masks; nothing of the reference is shown."""
        return self.make_batch(batch, keys, glancing_ratio=0.0)

    def count(self, batch: GraphBatch) -> dict[str, int]:
        """Tokens of references, and sentences."""
        return {"tokens": self.num_target_tokens(batch), "sentences": len(batch["labels"])}

    def loss(  # type: ignore[override]
        self, run: Run, batch: GraphBatch, items: Items, teacher: NATForConditionalGeneration
    ) -> Loss:
        """Loss of one batch on the graphs of the teacher's last pass."""
        with run.autocast():
            labels = roll_out_graphs(
                teacher,
                batch["input_ids"],
                batch["attention_mask"],
                num_iterations=self.options.teacher_iterations,
                graph_search=self.options.teacher_search,
            )
        outputs = forward_graph(run.model, batch, batch["decoder_input_ids"])
        learn = {"hard": self._learn_words, "soft": self._learn_graphs}[self.options.graph_labels]
        with run.autocast():
            return learn(run, batch, items, outputs, labels, teacher)

    def _learn_words(
        self,
        run: Run,
        batch: GraphBatch,
        items: Items,
        outputs: DATSeq2SeqLMOutput,
        labels: GraphRollout,
        teacher: NATForConditionalGeneration,
    ) -> Loss:
        loss = graph_loss(
            run.vocabulary(outputs.decoder_last_hidden_state),
            outputs.transition_log_probs,
            labels.tokens,
            batch["decoder_attention_mask"].sum(dim=1),
            labels.tokens.ne(self.config.pad_token_id).sum(dim=1),
            num_items=items["tokens"],
        )
        return Loss(loss.total, {"graph": loss.parts["graph"]})

    def _learn_graphs(
        self,
        run: Run,
        batch: GraphBatch,
        items: Items,
        outputs: DATSeq2SeqLMOutput,
        labels: GraphRollout,
        teacher: NATForConditionalGeneration,
    ) -> Loss:
        hidden_states, options = outputs.decoder_last_hidden_state, self.options
        return graph_dims_loss(
            run.vocabulary(hidden_states),
            run.vocabulary(labels.hidden_states, teacher),
            outputs.transition_log_probs,
            labels.transitions,
            hidden_states,
            labels.hidden_states,
            batch["decoder_attention_mask"].sum(dim=1),
            temperature=options.temperature,
            student_temperature=options.student_temperature,
            hidden_weight=options.hidden_weight,
            hidden_squared=options.hidden_squared,
            num_items=items["tokens"],
        )
