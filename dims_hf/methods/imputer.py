# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What an Imputer teacher is trained on: the likelihood of the target over alignments, some of them partly revealed.

Shapes: B batch, S source length, A alignment length (frames), T target length (tokens alone), V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import torch
from transformers import PreTrainedModel

from dims_hf.methods.cmlm import CMLMTeacherLoss, Items
from dims_hf.methods.masking import EVALUATION_STEP
from dims_hf.models import ImputerConfig
from dims_hf.models.alignment import (
    FREE_STATE,
    Alignment,
    best_alignment,
    find_path_labels,
    lengths_from_mask,
    required_frames,
)
from dims_hf.models.decoding_imputer import make_templates
from dims_hf.models.masking import MASK_POLICIES, find_content, mix_keys, sample_glanced
from dims_hf.objectives import Loss, ProjectedVocabulary, imputer_loss
from dims_hf.translation.sentences import evaluation_mode


if TYPE_CHECKING:
    from datasets import Dataset

    from dims_hf.trainers.config import NATTrainingArguments

logger = logging.getLogger(__name__)

# Updates over which GLAT lowers its ratio, where the run has no number of updates of its own.
_GLAT_STEPS = 300_000


class AlignmentBatch(TypedDict):
    """
    Inputs of one training step of an Imputer.

    `input_ids` (B, S), `attention_mask` (B, S), `decoder_input_ids` (B, A; masks alone), `decoder_attention_mask`
    (B, A), `labels` (B, T; the target's tokens alone, then -100), `is_masked` (B, A; frames that stay masked), `keys`
    (B,; randomness of each sentence), `glancing_ratio` (B,).
    """

    input_ids: torch.LongTensor
    attention_mask: torch.Tensor
    decoder_input_ids: torch.LongTensor
    decoder_attention_mask: torch.BoolTensor
    labels: torch.LongTensor
    is_masked: torch.BoolTensor
    keys: torch.LongTensor
    glancing_ratio: torch.Tensor


class Targets(NamedTuple):
    """What the alignment functions take: `targets` (B, T), and (B,) each of `frame_lengths` and `target_lengths`."""

    targets: torch.LongTensor
    frame_lengths: torch.LongTensor
    target_lengths: torch.LongTensor

    @property
    def fits(self) -> torch.BoolTensor:
        """Whether each target (B,) has an alignment of its number of frames."""
        return required_frames(self.targets, self.target_lengths) <= self.frame_lengths


class Revealed(NamedTuple):
    """Partly revealed alignments: `tokens` (B, A), masks included, and the states (B, A) the loss forces, if any."""

    tokens: torch.LongTensor
    force_emits: torch.LongTensor | None


class ImputerTeacherLoss(CMLMTeacherLoss):
    """
    Inputs, items and loss of the models that write alignments. `objective` says what they learn:

    - `imputer` (Saharia et al. 2020): `ctc_steps` updates of pure CTC, then the current model, in evaluation mode and
      from masks alone, aligns each target; `mask_policy` masks the alignment; the loss is over all alignments that
      agree with what is left of it.
    - `ctc` (Libovický and Helcl 2018): everything masked.
    - `ctc_glancing` (GLAT, Qian et al. 2021, on CTC as in FullyNAT, Gu and Kong 2021): of each best alignment, ⌊r · d⌋
      random frames are shown to the model, d being the frames in which the model's own prediction differs; the loss is
      plain CTC over all frames, shown ones too, as in those systems' code. The first pass has no dropout here, and
      validation shows nothing.

    Losses are means over free frames (all that are not forced). A target that needs more frames than its source gives
    is skipped: it adds no loss and is counted in the part `skipped`, a share of all sentences. What is masked or shown
    depends on (mask_seed, step, corpus index) and the weights alone. Length loss and label smoothing do not exist.
    """

    options = ("objective", "ctc_steps", "glancing_ratio", "glancing_final_ratio", "glancing_steps")
    defaults = {"mask_policy": "block", "label_smoothing": 0.0, "length_weight": 0.0}
    item_names = ("frames", "sentences")
    mask_policies = ("block", "uniform", "full")
    config: ImputerConfig

    def __init__(self, args: NATTrainingArguments, *others: Any):
        super().__init__(args, *others)
        self._glancing_steps = args.glancing_steps or (args.max_steps if args.max_steps > 0 else _GLAT_STEPS)

    @classmethod
    def check_options(cls, args: NATTrainingArguments) -> None:
        """Refuses settings that would have no effect."""
        super().check_options(args)
        for name in ("label_smoothing", "length_weight"):
            if getattr(args, name):
                raise ValueError(f"{name} does not apply to Imputers. Leave it out, or set it to 0.")
        if args.metric_for_best_model.endswith("accuracy"):
            raise ValueError("Imputers have no accuracy: frames have no one label. Use loss, bleu_K or chrf_K.")
        users = {"ctc_steps": "imputer", "mask_policy": "imputer"}
        users.update(dict.fromkeys(("glancing_ratio", "glancing_final_ratio", "glancing_steps"), "ctc_glancing"))
        for name, objective in users.items():
            if name in cls.options + ("mask_policy",) and args.was_given(name) and objective_of(args) != objective:
                raise ValueError(
                    f"{name} has no effect with objective={objective_of(args)}: it belongs to {objective}. Leave it "
                    "out."
                )

    @property
    def is_for_one_pass(self) -> bool:
        """Models of CTC have only seen alignments of masks, with glancing or without."""
        return objective_of(self.args) != "imputer"

    def check_corpus(self, dataset: Dataset) -> None:
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
            repeats = sum(left == right for left, right in zip(tokens, tokens[1:], strict=False))
            num_unfit += len(tokens) + repeats > ratio * len(source)
        share = num_unfit / max(len(dataset), 1)
        return share, (
            f"{num_unfit} of {len(dataset)} targets ({100 * share:.2f} %) need more than {ratio} frames per source "
            f"token (upsample_ratio={ratio})"
        )

    def mask(self, batch: dict[str, torch.Tensor], step: int) -> AlignmentBatch:
        """The batch as the model sees it at an optimiser step, before anything is revealed."""
        inputs = self._make_batch(batch, step)
        is_partial = objective_of(self.args) == "imputer" and not 0 <= step < self.args.ctc_steps
        policy = MASK_POLICIES[self.args.mask_policy if is_partial else "full"]
        inputs["is_masked"] = policy(inputs["decoder_attention_mask"], inputs["keys"])
        return inputs

    def _make_batch(self, batch: dict[str, torch.Tensor], step: int) -> AlignmentBatch:
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
            keys=mix_keys(self.args.mask_seed, step, batch["index"]),
            glancing_ratio=torch.full(num_frames.shape, self.glancing_ratio(step), device=num_frames.device),
        )

    @property
    def _special_ids(self) -> tuple[int, ...]:
        """What targets are read without: no path through the frames emits it."""
        config = self.config
        ids = (config.bos_token_id, config.eos_token_id, config.pad_token_id)
        return (*ids, config.mask_token_id, config.blank_token_id, -100)

    def glancing_ratio(self, step: int) -> float:
        """Share r of the wrong frames revealed at an optimiser step: linear, then constant; 0 in validation."""
        if step == EVALUATION_STEP:
            return 0.0
        first, last = self.args.glancing_ratio, self.args.glancing_final_ratio
        return first + (last - first) * min(step / self._glancing_steps, 1.0)

    def count_tokens(self, inputs: AlignmentBatch) -> int:
        """Target tokens, `<s>` and `</s>` counted as for other families."""
        return int((inputs["labels"] != -100).sum()) + 2 * len(inputs["labels"])

    def count_items(self, inputs: AlignmentBatch) -> dict[str, int]:
        """What the loss's means are over, for each of `item_names`."""
        fits = self.targets_of(inputs).fits.unsqueeze(1)
        return {"frames": int((inputs["is_masked"] & fits).sum()), "sentences": len(inputs["labels"])}

    def __call__(self, model: torch.nn.Module, inputs: AlignmentBatch, items: Items) -> tuple[Loss, None]:
        """Loss of one batch; there is no length predictor."""
        revealed = self.reveal(self.accelerator.unwrap_model(model), inputs)
        hidden_states = forward_alignment(model, inputs, revealed.tokens)
        with self.accelerator.autocast():
            loss = imputer_loss(
                self.vocabulary(model, hidden_states),
                *self.targets_of(inputs),
                blank_token_id=self.config.blank_token_id,
                force_emits=revealed.force_emits,
                num_items=items["frames"],
            )
        return Loss(loss.total, {**loss.parts, "skipped": loss.parts["skipped"] / items["sentences"]}), None

    def targets_of(self, inputs: AlignmentBatch) -> Targets:
        """The batch's targets and lengths."""
        is_token = inputs["labels"] != -100
        targets = inputs["labels"].masked_fill(~is_token, self.config.pad_token_id)
        return Targets(targets, lengths_from_mask(inputs["decoder_attention_mask"]), lengths_from_mask(is_token))

    def reveal(self, aligner: PreTrainedModel, inputs: AlignmentBatch) -> Revealed:
        """
        Input alignments of the batch, as the objective reveals them.

        Args:
            aligner (`PreTrainedModel`): finds the best alignments; unwrapped.
            inputs ([`AlignmentBatch`]): from [`mask`].
        """
        return _REVEAL[objective_of(self.args)](self, aligner, inputs)

    @torch.no_grad()
    def align(
        self, aligner: PreTrainedModel, inputs: AlignmentBatch, *, predict: bool = False
    ) -> tuple[Alignment, torch.LongTensor | None]:
        """
        Best alignments of a model in evaluation mode that sees masks alone, and, with `predict`, what it would write
        in each frame (B, A; blanks at padding).
        """
        is_frame = inputs["decoder_attention_mask"]
        targets, frame_lengths, target_lengths = self.targets_of(inputs)
        blank, vocab_size = self.config.blank_token_id, self.config.vocab_size
        labels = find_path_labels(targets, target_lengths, blank_token_id=blank, vocab_size=vocab_size)
        ids = labels.ids.unsqueeze(1).expand(-1, is_frame.shape[1], -1)
        with evaluation_mode(aligner), self.accelerator.autocast():
            hidden_states = forward_alignment(aligner, inputs, inputs["decoder_input_ids"])[is_frame]
            # What a softmax would subtract in a frame is the same for all paths.
            scores, predictions = ProjectedVocabulary.of(aligner, hidden_states).score(
                ids[is_frame], aligner.suppressed_token_ids() if predict else None
            )
        grid = scores.new_zeros(ids.shape)
        grid[is_frame] = scores
        alignment = best_alignment(grid, labels.targets, frame_lengths, target_lengths, blank_token_id=labels.blank)
        alignment = alignment._replace(tokens=labels.ids.gather(1, alignment.tokens))
        if predictions is not None:
            predictions = torch.full_like(alignment.tokens, blank).masked_scatter(is_frame, predictions)
        return alignment, predictions


def reveal_unmasked(loss: ImputerTeacherLoss, aligner: PreTrainedModel, inputs: AlignmentBatch) -> Revealed:
    """Frames that the policy leaves unmasked, revealed and forced."""
    template, is_revealed = inputs["decoder_input_ids"], inputs["decoder_attention_mask"] & ~inputs["is_masked"]
    if not bool(is_revealed.any()):
        return Revealed(template, None)
    alignment, _ = loss.align(aligner, inputs)
    is_revealed &= alignment.states != FREE_STATE  # there is no alignment of a target that does not fit
    return Revealed(
        torch.where(is_revealed, alignment.tokens, template),
        alignment.states.masked_fill(~is_revealed, FREE_STATE),
    )


def reveal_glanced(loss: ImputerTeacherLoss, aligner: PreTrainedModel, inputs: AlignmentBatch) -> Revealed:
    """Random frames of the best alignment, the more the worse the model predicts it; none is forced."""
    template, ratio = inputs["decoder_input_ids"], inputs["glancing_ratio"]
    if not bool((ratio > 0).any()):
        return Revealed(template, None)
    alignment, predictions = loss.align(aligner, inputs, predict=True)
    has_state = alignment.states != FREE_STATE
    distance = (has_state & (predictions != alignment.tokens)).sum(dim=1)
    is_revealed = sample_glanced(has_state, inputs["keys"], (distance * ratio).long())
    return Revealed(torch.where(is_revealed, alignment.tokens, template), None)


# objective -> what it shows of the best alignment
_REVEAL: dict[str, Callable[..., Revealed]] = {
    "imputer": reveal_unmasked,
    "ctc": reveal_unmasked,
    "ctc_glancing": reveal_glanced,
}


def objective_of(args: NATTrainingArguments) -> str:
    """Name of what an Imputer is trained on."""
    return args.objective or "imputer"


def forward_alignment(model: torch.nn.Module, inputs: AlignmentBatch, tokens: torch.LongTensor) -> torch.Tensor:
    """Last decoder states (B, A, D) of alignments `tokens` (B, A) of the batch's sources, without any logits."""
    return model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        decoder_input_ids=tokens,
        decoder_attention_mask=inputs["decoder_attention_mask"],
        logits_positions=torch.zeros_like(inputs["decoder_attention_mask"]),
    ).decoder_last_hidden_state


def keep_content(labels: torch.LongTensor, special_token_ids: tuple[int, ...]) -> torch.LongTensor:
    """`labels` (B, T) without special tokens, the rest moved together to the left and followed by -100."""
    is_content = find_content(labels, special_token_ids)
    order = (~is_content).long().argsort(dim=1, stable=True)
    return labels.masked_fill(~is_content, -100).gather(1, order)
