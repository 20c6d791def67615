# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What the methods of alignment-based models share: fully masked alignments, targets, the best alignment, the loss.

Shapes: B batch, S source length, A alignment length (frames), T target length (tokens alone), V vocabulary.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypedDict

import torch

from dims_hf.methods.base import Batch, Items, Method, MethodOptions, Run
from dims_hf.methods.options import option
from dims_hf.models import ImputerConfig
from dims_hf.models.alignment import Alignment, best_alignment, find_path_labels, lengths_from_mask, required_frames
from dims_hf.models.decoding_imputer import make_templates
from dims_hf.models.masking import find_content
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.models.modes import evaluation_mode
from dims_hf.objectives import Loss, imputer_loss


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AlignmentOptions(MethodOptions):
    """Settings that alignments leave no use for; they may be named, and must stay 0."""

    label_smoothing: float = option(0.0, help="Does not exist for alignments; must stay 0.")
    length_weight: float = option(0.0, help="There is no length predictor; must stay 0.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("label_smoothing", "length_weight"):
            if getattr(self, name):
                raise ValueError(f"{name} does not apply to Imputers. Leave it out, or set it to 0.")


class AlignmentBatch(TypedDict):
    """
    Inputs of one training step of an alignment-based model.

    `input_ids` (B, S), `attention_mask` (B, S), `decoder_input_ids` (B, A; masks alone), `decoder_attention_mask`
    (B, A), `labels` (B, T; the target's tokens alone, then -100), `is_masked` (B, A; frames that stay masked), `keys`
    (B,; randomness of each sentence).
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    decoder_input_ids: torch.Tensor
    decoder_attention_mask: torch.Tensor
    labels: torch.Tensor
    is_masked: torch.Tensor
    keys: torch.Tensor


class Targets(NamedTuple):
    """What the alignment functions take: `targets` (B, T), and (B,) each of `frame_lengths` and `target_lengths`."""

    targets: torch.Tensor
    frame_lengths: torch.Tensor
    target_lengths: torch.Tensor

    @property
    def fits(self) -> torch.Tensor:
        """Whether each target (B,) has an alignment of its number of frames."""
        return required_frames(self.targets, self.target_lengths) <= self.frame_lengths


class Revealed(NamedTuple):
    """Partly revealed alignments: `tokens` (B, A), masks included, and the states (B, A) the loss forces, if any."""

    tokens: torch.Tensor
    force_emits: torch.Tensor | None


class Alignments(Method):
    """
    Methods whose model writes alignments; a subclass says what of them is masked, and what is revealed.

    Losses are means over free frames (all that are not forced). A target that needs more frames than its source gives
    is skipped: it adds no loss and is counted in the part `skipped`, a share of all sentences.
    """

    has_accuracy = False
    items: ClassVar[tuple[str, ...]] = ("frames", "sentences")
    config: ImputerConfig

    def check(self, dataset: Dataset) -> None:
        """
        Says how many targets do not fit.

        Raises:
            ValueError: if most do not.
        """
        share, message = self.find_unfit(dataset)
        if share > 0.5:
            raise ValueError(f"{message}. Train a model with a larger upsample_ratio.")
        if share:
            logger.warning("%s; they are skipped. A larger upsample_ratio would fit them.", message)

    def find_unfit(self, dataset: Dataset) -> tuple[float, str]:
        """Share of encoded targets that need more frames than their sources give, and a sentence about them."""
        if "labels" not in dataset.column_names:
            return 0.0, ""
        ratio, specials = self.config.upsample_ratio, set(self._special_ids)
        num_unfit = 0
        for source, target in zip(list(dataset["input_ids"]), list(dataset["labels"]), strict=True):
            tokens = [token for token in target if token not in specials]
            # each needs a blank in between
            repeats = sum(left == right for left, right in zip(tokens, tokens[1:], strict=False))
            num_unfit += len(tokens) + repeats > ratio * len(source)
        share = num_unfit / max(len(dataset), 1)
        return share, (
            f"{num_unfit} of {len(dataset)} targets ({100 * share:.2f} %) need more than {ratio} frames per source "
            f"token (upsample_ratio={ratio})"
        )

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> AlignmentBatch:
        """Fully masked alignments."""
        config = self.config
        num_frames = batch["attention_mask"].ne(0).sum(dim=1) * config.upsample_ratio
        template, is_frame = make_templates(
            num_frames, pad_token_id=config.pad_token_id, mask_token_id=config.mask_token_id
        )
        return AlignmentBatch(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=template,
            decoder_attention_mask=is_frame,
            labels=keep_content(batch["labels"], self._special_ids),
            is_masked=is_frame,
            keys=keys,
        )

    @property
    def _special_ids(self) -> tuple[int, ...]:
        """What targets are read without: no path through the frames emits it."""
        config = self.config
        ids = (config.bos_token_id, config.eos_token_id, config.pad_token_id)
        return (*ids, config.mask_token_id, config.blank_token_id, -100)

    def num_target_tokens(self, batch: AlignmentBatch) -> int:
        """Target tokens of a prepared batch, `<s>` and `</s>` counted as for other families."""
        return int((batch["labels"] != -100).sum()) + 2 * len(batch["labels"])

    def count(self, batch: Batch) -> dict[str, int]:
        """Masked frames of targets that fit, and sentences."""
        # what no alignment fits adds nothing to the loss, and must not count
        fits = self.targets_of(batch).fits.unsqueeze(1)
        return {"frames": int((batch["is_masked"] & fits).sum()), "sentences": len(batch["labels"])}

    def loss(self, run: Run, batch: AlignmentBatch, items: Items) -> Loss:
        """Negative log-likelihood of the targets over all alignments that agree with what is forced."""
        revealed = self.reveal(run, batch)
        hidden_states = forward_alignment(run.model, batch, revealed.tokens)
        with run.autocast():
            loss = imputer_loss(
                run.vocabulary(hidden_states),
                *self.targets_of(batch),
                blank_token_id=self.config.blank_token_id,
                force_emits=revealed.force_emits,
                num_items=items["frames"],
            )
        return Loss(loss.total, {**loss.parts, "skipped": loss.parts["skipped"] / items["sentences"]})

    def reveal(self, run: Run, batch: Batch, aligner: NATForConditionalGeneration | None = None) -> Revealed:
        """
        Input alignments of the batch; here nothing is revealed.

        Args:
            run ([`Run`]): where alignments are computed.
            batch ([`AlignmentBatch`]): from [`prepare`].
            aligner (`NATForConditionalGeneration`, *optional*): finds the best alignments; default: the run's model.
        """
        return Revealed(batch["decoder_input_ids"], None)

    def targets_of(self, batch: AlignmentBatch) -> Targets:
        """The batch's targets and lengths."""
        is_token = batch["labels"] != -100
        targets = batch["labels"].masked_fill(~is_token, self.config.pad_token_id)
        return Targets(targets, lengths_from_mask(batch["decoder_attention_mask"]), lengths_from_mask(is_token))

    @torch.no_grad()
    def align(
        self,
        run: Run,
        batch: AlignmentBatch,
        aligner: NATForConditionalGeneration | None = None,
        *,
        predict: bool = False,
    ) -> tuple[Alignment, torch.Tensor | None]:
        """
        Best alignments of a model in evaluation mode that sees masks alone, and, with `predict`, what it would write
        in each frame (B, A; blanks at padding).
        """
        aligner = run.network if aligner is None else aligner
        is_frame = batch["decoder_attention_mask"]
        targets, frame_lengths, target_lengths = self.targets_of(batch)
        blank, vocab_size = self.config.blank_token_id, self.config.vocab_size
        labels = find_path_labels(targets, target_lengths, blank_token_id=blank, vocab_size=vocab_size)
        ids = labels.ids.unsqueeze(1).expand(-1, is_frame.shape[1], -1)
        # without dropout, unlike the reference: an alignment is not to depend on a draw
        with evaluation_mode(aligner), run.autocast():
            hidden_states = forward_alignment(aligner, batch, batch["decoder_input_ids"])[is_frame]
            # What a softmax would subtract in a frame is the same for all paths.
            scores, predictions = run.vocabulary(hidden_states, aligner).score(
                ids[is_frame], aligner.suppressed_token_ids() if predict else None
            )
        # frames of padding are not read, whatever they hold
        grid = scores.new_zeros(ids.shape)
        grid[is_frame] = scores
        alignment = best_alignment(grid, labels.targets, frame_lengths, target_lengths, blank_token_id=labels.blank)
        # from columns of the target's own vocabulary back to ids
        alignment = alignment._replace(tokens=labels.ids.gather(1, alignment.tokens))
        if predictions is not None:
            predictions = torch.full_like(alignment.tokens, blank).masked_scatter(is_frame, predictions)
        return alignment, predictions


def forward_alignment(model: torch.nn.Module, batch: AlignmentBatch, tokens: torch.Tensor) -> torch.Tensor:
    """Last decoder states (B, A, D) of alignments `tokens` (B, A) of the batch's sources, without any logits."""
    return model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        decoder_input_ids=tokens,
        decoder_attention_mask=batch["decoder_attention_mask"],
        # no position: logits are made chunk by chunk, inside the loss
        logits_positions=torch.zeros_like(batch["decoder_attention_mask"]),
    ).decoder_last_hidden_state


def keep_content(labels: torch.Tensor, special_token_ids: tuple[int, ...]) -> torch.Tensor:
    """`labels` (B, T) without special tokens, the rest moved together to the left and followed by -100."""
    is_content = find_content(labels, special_token_ids)
    order = (~is_content).long().argsort(dim=1, stable=True)
    return labels.masked_fill(~is_content, -100).gather(1, order)
