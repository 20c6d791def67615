# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""DAT: the likelihood of a target over all paths through a directed acyclic graph, with glancing.

Shapes: B batch, S source length, A vertices, T target length (with `<s>` and `</s>`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, TypedDict

import torch

from dims_hf.methods.base import Items, Method, MethodOptions, Run, Sourced
from dims_hf.methods.ctc_glancing import GlancingSchedule
from dims_hf.methods.masks import read_ratio, sample_glanced, special_ids
from dims_hf.methods.options import option
from dims_hf.models import DATConfig
from dims_hf.models.alignment import lengths_from_mask
from dims_hf.models.graph import graph_best_path
from dims_hf.models.masking import find_content
from dims_hf.models.modeling_dat import make_graph_template
from dims_hf.models.modes import evaluation_mode
from dims_hf.objectives import Loss, count_glances
from dims_hf.objectives.graph import graph_loss, read_words


if TYPE_CHECKING:
    from datasets import Dataset

DAT_RECIPE = "released DA-Transformer code, WMT14 scripts"

DAT_SETTINGS = {
    "model_type": Sourced("dat", DAT_RECIPE),
    "adam_beta1": Sourced(0.9, DAT_RECIPE),
    "adam_beta2": Sourced(0.999, DAT_RECIPE),
    "weight_decay": Sourced(0.01, DAT_RECIPE),
    "max_grad_norm": Sourced(0.1, f"{DAT_RECIPE}, clip-norm"),
    "dropout": Sourced(0.1, DAT_RECIPE),
    "lr_scheduler_type": Sourced("fairseq_inverse_sqrt", DAT_RECIPE),
}


@dataclass(frozen=True)
class DATOptions(GlancingSchedule, MethodOptions):
    """Settings of DAT training; the published schedule lowers the share to 0.1."""

    glancing_final_ratio: float = option(
        0.1, ge=0, le=1, help="Share of the wrong predictions revealed at the end.", advice="DAT uses 0.1."
    )
    glancing_forces: bool = option(True, help="Paths must pass a shown vertex at its token, which is not learnt.")


class GraphBatch(TypedDict):
    """
    `input_ids`, `attention_mask` (B, S), `decoder_input_ids` (B, A; masks alone), `decoder_attention_mask` (B, A),
    `labels` (B, T; whole targets, then -100), `keys` (B,), `glancing_ratio` (B,).
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    decoder_input_ids: torch.Tensor
    decoder_attention_mask: torch.Tensor
    labels: torch.Tensor
    keys: torch.Tensor
    glancing_ratio: torch.Tensor


class GraphTargets(NamedTuple):
    """What the functions of graphs take: `targets` (B, T), and (B,) each of vertices and of target tokens."""

    targets: torch.Tensor
    vertex_lengths: torch.Tensor
    target_lengths: torch.Tensor


class GraphOutput(Protocol):
    """What [`forward_graph`] gives: last decoder states (B, A, D) and transitions (B, A, A)."""

    decoder_last_hidden_state: torch.Tensor
    transition_log_probs: torch.Tensor


class DAT(Method):
    """
    Directed acyclic transformer: −log of the sum over all paths of vertices that could write the target.

    In training ⌊r · d⌋ random tokens of the target are shown at the vertices of its likeliest path, d being the number
    of tokens that the model predicts wrongly there; the first pass has no dropout. A target with more tokens than
    vertices has no path and is left out; the loss is a mean over the tokens of all others.

    Source: Huang et al. 2022 (arXiv 2205.07459), §3.
    """

    paper = "Huang et al. 2022 (arXiv 2205.07459)"
    families = ("dat",)
    one_pass = True
    has_accuracy = False
    Options: ClassVar[type[MethodOptions]] = DATOptions
    config: DATConfig
    published = {
        "dat_teacher": {
            **DAT_SETTINGS,
            "learning_rate": Sourced(5e-4, DAT_RECIPE),
            "warmup_steps": Sourced(10_000, DAT_RECIPE),
            "max_steps": Sourced(300_000, DAT_RECIPE),
            "glancing_ratio": Sourced(0.5, DAT_RECIPE),
            "glancing_final_ratio": Sourced(0.1, DAT_RECIPE),
            "glancing_steps": Sourced(200_000, DAT_RECIPE),
            "glancing_forces": Sourced(True, "released DA-Transformer code: the default, without --no-force-emit"),
        }
    }

    def check(self, dataset: Dataset) -> None:
        """
        Looks for targets that have no path.

        Raises:
            ValueError: if most have none.
        """
        if "labels" not in dataset.column_names:
            return
        ratio = self.config.upsample_ratio
        pairs = zip(list(dataset["input_ids"]), list(dataset["labels"]), strict=True)
        # `<s>` and `</s>` counted on both sides: they have vertices of their own
        unfit = sum(len(target) > ratio * len(source) for source, target in pairs)
        if 2 * unfit > len(dataset):
            raise ValueError(
                f"{unfit} of {len(dataset)} targets have more tokens than their graph has vertices (upsample_ratio="
                f"{ratio} per source token). Train a model with a larger upsample_ratio."
            )

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> GraphBatch:
        """Graphs of masks, and how much of the targets will be shown."""
        return self.make_batch(batch, keys, glancing_ratio=self.options.ratio(step, self.num_updates))

    def make_batch(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, *, glancing_ratio: float) -> GraphBatch:
        """Graphs of masks, of `upsample_ratio` vertices per source token."""
        template, is_vertex = make_graph_template(self.config, batch["attention_mask"])
        return GraphBatch(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=template,
            decoder_attention_mask=is_vertex,
            labels=batch["labels"],
            keys=keys,
            glancing_ratio=torch.full(keys.shape, glancing_ratio, device=keys.device),
        )

    def count(self, batch: GraphBatch) -> dict[str, int]:
        """Tokens of targets that have a path, and sentences."""
        lengths = batch["labels"].ne(-100).sum(dim=1)
        fits = lengths <= batch["decoder_attention_mask"].sum(dim=1)
        return {"tokens": int(lengths[fits].sum()), "sentences": len(lengths)}

    def num_target_tokens(self, batch: GraphBatch) -> int:
        """Target tokens, `<s>` and `</s>` counted."""
        return int(batch["labels"].ne(-100).sum())

    def loss(self, run: Run, batch: GraphBatch, items: Items) -> Loss:
        """Negative log-likelihood of one batch, over the tokens of the update."""
        tokens, force_emits = self.reveal(run, batch)
        outputs = forward_graph(run.model, batch, tokens)
        with run.autocast():
            loss = graph_loss(
                run.vocabulary(outputs.decoder_last_hidden_state),
                outputs.transition_log_probs,
                *self.targets_of(batch),
                force_emits=force_emits,
                num_items=items["tokens"],
            )
        return Loss(loss.total, {**loss.parts, "skipped": loss.parts["skipped"] / items["sentences"]})

    def targets_of(self, batch: GraphBatch) -> GraphTargets:
        """The batch's targets and lengths."""
        is_token = batch["labels"] != -100
        return GraphTargets(
            batch["labels"].masked_fill(~is_token, self.config.pad_token_id),
            batch["decoder_attention_mask"].sum(dim=1),
            lengths_from_mask(is_token),
        )

    @torch.no_grad()
    def reveal(self, run: Run, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Graphs (B, A) with some tokens shown on the likeliest path, and what is forced (B, A), if anything is."""
        template, ratio = batch["decoder_input_ids"], read_ratio(batch["glancing_ratio"])
        if ratio == 0:
            return template, None
        targets, vertex_lengths, lengths = self.targets_of(batch)
        with evaluation_mode(run.network), run.autocast():
            outputs = forward_graph(run.network, batch, template)
            vocabulary = run.vocabulary(outputs.decoder_last_hidden_state)
            words = read_words(vocabulary, targets, vertex_lengths, lengths)
            path = graph_best_path(words, outputs.transition_log_probs, vertex_lengths, lengths)
            # -1 where there is no path: such a sentence shows nothing, see `may_show`
            path = path.clamp(0, template.shape[1] - 1)
            states = outputs.decoder_last_hidden_state.gather(1, path.unsqueeze(2).expand(-1, -1, self.config.d_model))
            predictions = run.vocabulary(states).predict()
        # more tokens than vertices have no path
        may_show = find_content(targets, special_ids(self.config)) & (lengths <= vertex_lengths).unsqueeze(1)
        num_shown = count_glances((may_show & (predictions != targets)).sum(dim=1), ratio)
        is_shown = sample_glanced(may_show, batch["keys"], num_shown)
        rows, columns = is_shown.nonzero(as_tuple=True)
        tokens, forced = template.clone(), torch.full_like(template, -1)
        tokens[rows, path[rows, columns]] = targets[rows, columns]
        # the index of the target's token, by which `force_words` knows it
        forced[rows, path[rows, columns]] = columns
        return tokens, forced if self.forces else None

    @property
    def forces(self) -> bool:
        """Whether paths must pass a shown vertex at its token."""
        return self.options.glancing_forces


def forward_graph(model: torch.nn.Module, batch: GraphBatch, tokens: torch.Tensor) -> GraphOutput:
    """Last decoder states and transitions of graphs `tokens` (B, A) of the batch's sources, without any logits."""
    return model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        decoder_input_ids=tokens,
        decoder_attention_mask=batch["decoder_attention_mask"],
        logits_positions=torch.zeros_like(batch["decoder_attention_mask"]),
    )
