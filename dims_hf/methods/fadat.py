# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""FA-DAT: a trained graph model goes on learning by the expected n-gram precision of all its paths."""

from __future__ import annotations

from dataclasses import dataclass

from dims_hf.methods.base import Items, MethodOptions, Run, Sourced
from dims_hf.methods.ctc_glancing import GlancingSchedule
from dims_hf.methods.dat import DAT, DAT_SETTINGS, GraphBatch, forward_graph
from dims_hf.methods.options import option
from dims_hf.objectives import Loss
from dims_hf.objectives.graph import graph_ngram_loss, read_words


_FADAT_RECIPE = "released FA-DAT code, README"


@dataclass(frozen=True)
class FADATOptions(GlancingSchedule, MethodOptions):
    """Settings of FA-DAT; the published share of glancing is constant."""

    glancing_ratio: float = option(
        0.1, ge=0, le=1, help="Share of the wrong predictions revealed in the first update.", advice="FA-DAT uses 0.1."
    )
    glancing_final_ratio: float = option(
        0.1, ge=0, le=1, help="Share of the wrong predictions revealed at the end.", advice="FA-DAT uses 0.1."
    )
    ngram_order: int = option(2, ge=1, help="n of the n-grams.", advice="FA-DAT uses 2.")


class FADAT(DAT):
    """
    Fuzzy alignment of a graph: 1 − brevity penalty · expected clipped n-gram precision, a mean over sentences.

    Fine-tuning: start from a model that DAT has trained (`init`). Some tokens are shown as in DAT, but paths are not
    forced through them.

    Source: Ma et al. 2023 (arXiv 2303.06662), §3.
    """

    paper = "Ma et al. 2023 (arXiv 2303.06662)"
    Options = FADATOptions
    published = {
        "fadat_teacher": {
            **DAT_SETTINGS,
            "method": Sourced("fadat", _FADAT_RECIPE),
            "learning_rate": Sourced(2e-4, _FADAT_RECIPE),
            "warmup_steps": Sourced(500, _FADAT_RECIPE),
            "max_steps": Sourced(5_000, _FADAT_RECIPE),
            "glancing_ratio": Sourced(0.1, _FADAT_RECIPE),
            "glancing_final_ratio": Sourced(0.1, _FADAT_RECIPE),
            "ngram_order": Sourced(2, _FADAT_RECIPE),
        }
    }

    @property
    def forces(self) -> bool:
        """Nothing is forced: n-grams of shown words count like others."""
        return False

    def loss(self, run: Run, batch: GraphBatch, items: Items) -> Loss:
        """Expected n-gram precision of one batch, over the sentences of the update."""
        tokens, _ = self.reveal(run, batch)
        outputs, targets = forward_graph(run.model, batch, tokens), self.targets_of(batch)
        with run.autocast():
            words = read_words(run.vocabulary(outputs.decoder_last_hidden_state), *targets)
        return graph_ngram_loss(
            words,
            outputs.transition_log_probs,
            *targets,
            order=self.options.ngram_order,
            num_items=items["sentences"],
        )
