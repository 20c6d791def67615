# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`DiMSTrainer`: distils several teacher iterations into one decoder pass."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset
from transformers import PreTrainedModel
from transformers.trainer_utils import TrainOutput

from dims_hf.distillation import EMATeacher, synthesize_targets
from dims_hf.distillation.adapters import check_adapter, is_adapted, network_of, set_parameters, trained_parameters
from dims_hf.methods.base import Batch, Items, MethodOptions, Run
from dims_hf.methods.masks import EVALUATION_STEP
from dims_hf.objectives import Loss
from dims_hf.trainers.checkpoints import load_weights
from dims_hf.trainers.config import DiMSConfig
from dims_hf.trainers.nat_trainer import NATTrainer, check_settings
from dims_hf.trainers.rounds import distill_in_rounds, round_folder
from dims_hf.translation import translate
from dims_hf.translation.loading import load_checkpoint, resolve_model


EMA_FOLDER = "ema_teacher"
ADAPTER_WEIGHTS = "adapter.safetensors"

# Sentences by which a teacher is judged before its student's first update.
_NUM_START_SENTENCES = 50

# Settings of the models; only Imputers have the last two.
_MUST_AGREE = (
    "vocab_size", "d_model", "bos_token_id", "pad_token_id", "eos_token_id", "mask_token_id", "blank_token_id",
    "upsample_ratio",
)  # fmt: skip

# Arguments of the trainer that it keeps as attributes.
_DATA_ARGUMENTS = ("train_dataset", "eval_dataset", "processing_class", "eval_corpus", "target_lang")


class DiMSTrainer(NATTrainer):
    """
    Distillation of an iterative teacher into a student that needs one pass.

    One step, as in §3 of Norouzi et al. 2023 (arXiv 2206.02999):
    1. mask the references (as for any teacher);
    2. the teacher fills the masks in `teacher_iterations` passes: soft labels and last hidden states;
    3. the student sees the same masked references once;
    4. loss = KL(teacher ‖ student) + λ · hidden-state distance + length loss;
    5. after the optimiser's update, the teacher moves towards the student.

    With `unsupervised=True` (U-DiMS), the current teacher's translations stand in for the references in step 1. With
    `rounds=k`, [`train`] distils k times in a row, see [`distill_in_rounds`].

    The teacher is not part of the student's state dict or optimiser; its moving average is saved in
    `checkpoint-N/ema_teacher/` and restored on resume.

    Args:
        model (`PreTrainedModel`): student; start it from the teacher's weights. One with an adapter
            (`peft.get_peft_model`) trains and saves the adapter alone, and the moving average is over it.
        teacher (`PreTrainedModel` or `str`, *optional*): model or path; default: a copy of the student.
        args ([`DiMSConfig`]): settings; `ema_decay=None` keeps the teacher fixed.
        kwargs: as [`NATTrainer`].

    Raises:
        ValueError: if the teacher's path does not exist or the two models do not fit together.
    """

    def __init__(
        self, model: PreTrainedModel, teacher: PreTrainedModel | str | None = None, args: DiMSConfig = None, **kwargs
    ):
        check_settings(args, DiMSConfig)
        if isinstance(teacher, str | Path):
            teacher = load_teacher(teacher)
        teacher = model if teacher is None else teacher
        check_compatible(model, teacher)
        options = args.choose(model.config.model_type).options
        check_reads_partial_targets(teacher, options)
        ema_decay = options.ema_decay
        if is_adapted(model):
            check_adapted_student(model, teacher, ema_decay, args.rounds)
        if args.rounds > 1 and any(kwargs.get("optimizers") or ()):
            raise ValueError("Every round makes an optimizer of its own. Leave out optimizers, or set rounds to 1.")
        train_dataset = kwargs.get("train_dataset")
        if not args.unsupervised and "labels" not in getattr(train_dataset, "column_names", ["labels"]):
            raise ValueError("train_dataset has sources alone (no labels). Set unsupervised=True, or encode pairs.")
        # for the trainers of later rounds
        self._extras = kwargs
        # A decay of 1 and no decay are the same fixed teacher; the copy also shields it from the student's updates.
        self.ema_teacher = EMATeacher(teacher, 1.0 if ema_decay is None else ema_decay)
        super().__init__(model, args, **kwargs)
        self.teacher.to(self.args.device)
        if args.attn_implementation is not None:
            self.teacher.set_attn_implementation(args.attn_implementation)
        if ema_decay is not None:
            self.add_callback(self.ema_teacher)

    @property
    def multiplying_models(self) -> tuple[torch.nn.Module, ...]:
        """The models that an update runs."""
        return self.model, self.teacher

    @property
    def teacher(self) -> PreTrainedModel:
        """The current teacher."""
        return self.ema_teacher.model

    def check_corpus(self, dataset: Dataset) -> None:
        """As [`NATTrainer.check_corpus`]; references that are not looked at need no check."""
        if not self.args.unsupervised:
            super().check_corpus(dataset)

    @property
    def starts_trained(self) -> bool:
        """A student starts as its teacher."""
        return True

    def measure_start(self) -> float | None:
        """Share of distinct translations among distinct sources of the teacher, on some validation sentences."""
        dataset = next(iter(self.eval_dataset.values())) if isinstance(self.eval_dataset, dict) else self.eval_dataset
        sources, _ = self._texts(dataset, self.eval_corpus)
        # sorted, since the order of a set differs from run to run
        sources = sorted(set(sources))[:_NUM_START_SENTENCES]
        translations = translate(
            self.teacher, self.processing_class, sources, num_iterations=self.method.decoding_passes
        )
        return len({each.text for each in translations}) / max(len(sources), 1)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs) -> TrainOutput:
        """
        Distils; with `rounds=k`, k times in a row.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*): as [`Trainer`]; with rounds, `True` goes on where the
                output folder's rounds stopped.
            kwargs: as [`Trainer`].

        Raises:
            ValueError: for a checkpoint given by its path together with rounds.
        """
        if self.args.rounds == 1:
            return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        if isinstance(resume_from_checkpoint, str):
            raise ValueError(
                f"resume_from_checkpoint={resume_from_checkpoint!r} is one round's checkpoint. With rounds, pass "
                "True: the run goes on inside the round it was in."
            )
        return distill_in_rounds(self, resume=bool(resume_from_checkpoint))

    def find_checkpoint(self) -> str | bool | None:
        """What the output folder has to resume from; with rounds, whether there is any."""
        if self.args.rounds == 1:
            return super().find_checkpoint()
        return round_folder(self.args.output_dir, 1).is_dir()

    def for_round(self, teacher: PreTrainedModel, args: DiMSConfig) -> DiMSTrainer:
        """A trainer of the same student on the same data, with another teacher and settings."""
        return type(self)(
            self.model,
            teacher,
            args,
            train_dataset=self.train_dataset,
            eval_dataset=self.eval_dataset,
            processing_class=self.processing_class,
            eval_corpus=self.eval_corpus,
            target_lang=self.target_lang,
            **{name: value for name, value in self._extras.items() if name not in _DATA_ARGUMENTS},
        )

    def mask(self, batch: dict[str, torch.Tensor], step: int) -> Batch:
        """The batch as the model sees it at an optimiser step; U-DiMS trains on the teacher's targets."""
        # validation compares with the references, which it has
        if self.args.unsupervised and step != EVALUATION_STEP:
            batch = self.with_synthetic_targets(batch)
        return super().mask(batch, step)

    def with_synthetic_targets(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The batch with the current teacher's translations as `labels`; it may come without any."""
        args = self.args
        # batches are masked before the trainer moves them to the device
        batch = {name: value.to(args.device) for name, value in batch.items() if name != "labels"}
        with self.accelerator.autocast():
            labels = synthesize_targets(
                self.teacher,
                batch["input_ids"],
                batch["attention_mask"],
                num_iterations=args.synthetic_iterations,
                length_beam_size=args.synthetic_length_beam_size,
                collapse_repeats=args.synthetic_collapse_repeats,
            )
        return {**batch, "labels": labels}

    def objective(self, model: torch.nn.Module, inputs: Batch, items: Items | None = None) -> Loss:
        """The DiMS loss of one masked batch; see the class for the steps."""
        items = self.method.count(inputs) if items is None else items
        if self.args.disable_dropout:
            # again in every step: the trainer sets the model to training mode before each
            self.accelerator.unwrap_model(model).eval()
        return self.method.loss(Run.of(model, self.accelerator), inputs, items, self.teacher)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.ema_decay is not None and self.args.should_save:
            self._save_teacher(Path(output_dir) / EMA_FOLDER)

    def _save_teacher(self, folder: Path) -> None:
        """The whole teacher, or what differs from the student's frozen weights."""
        if not is_adapted(self.model):
            self.teacher.save_pretrained(folder)
            return
        weights, names = dict(self.teacher.named_parameters()), trained_parameters(self.model)
        folder.mkdir()
        save_file({name: weights[name].detach().cpu() for name in names}, folder / ADAPTER_WEIGHTS)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None or self.args.ema_decay is None:
            return
        folder = Path(checkpoint) / EMA_FOLDER
        if not folder.is_dir():
            raise ValueError(
                f"{checkpoint} has no {EMA_FOLDER} folder, so the teacher cannot be resumed. It was written with "
                "save_only_model=True or ema_decay=none; start a new run from its weights instead."
            )
        if is_adapted(self.model):
            set_parameters(self.teacher, load_file(folder / ADAPTER_WEIGHTS))
        else:
            load_weights(self.teacher, folder)


def load_teacher(path: str | Path) -> PreTrainedModel:
    """
    Loads a teacher from a folder or the Hub, in fp32.

    Raises:
        ValueError: if there is nothing at that path.
    """
    place = Path(path).expanduser()
    try:
        return load_checkpoint(resolve_model(path), dtype=torch.float32)
    except ValueError as error:
        if place.is_dir():  # what is wrong with the folder is said
            raise
        raise ValueError(
            f"The teacher path {str(path)!r} does not exist. Train one with training/train_teacher.py. ({error})"
        ) from None


def check_teacher(teacher: PreTrainedModel) -> None:
    """
    Refuses a teacher that is no model of this package.

    Raises:
        ValueError: saying where teachers come from.
    """
    if getattr(teacher.config, "mask_token_id", None) is None:
        raise ValueError(
            f"The teacher ({type(teacher).__name__}) is no non-autoregressive model of this package. Train one with "
            "training/train_teacher.py, or import one with `dims-hf import-fairseq`."
        )


def check_reads_partial_targets(teacher: PreTrainedModel, options: MethodOptions) -> None:
    """
    Refuses a teacher that was trained on masks alone where it would be shown parts of the references.

    Raises:
        ValueError: saying which masks such a teacher can start from.
    """
    if getattr(teacher.config, "masks_alone", False) and options.teacher_iterations > 1:
        if options.mask_policy != "full":
            raise ValueError(
                f"The teacher was trained on masks alone and decodes in one pass; with mask_policy="
                f"{options.mask_policy} it would have to refine parts of the references. Use mask_policy: full, or "
                "the model that its last stage started from."
            )


def check_adapted_student(
    student: torch.nn.Module, teacher: torch.nn.Module, ema_decay: float | None, rounds: int
) -> None:
    """
    Refuses a teacher that cannot follow a student's adapter.

    Raises:
        ValueError: saying what to leave out.
    """
    check_adapter(student)
    ours, theirs = (dict(network_of(each).named_parameters()).keys() for each in (student, teacher))
    if ema_decay is not None and ours != theirs:
        raise ValueError(
            "The student has an adapter and the teacher none, so the teacher cannot follow it. Leave out teacher, "
            "which then is a copy of the student, or set ema_decay: none."
        )
    if rounds > 1:
        raise ValueError(
            "Rounds train whole students. Set rounds to 1, or merge the adapter first: model.merge_and_unload()."
        )


def check_compatible(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    """
    Refuses a teacher whose labels the student could not match.

    Raises:
        ValueError: naming the first setting that differs.
    """
    check_teacher(teacher)
    for name in _MUST_AGREE:
        ours, theirs = getattr(student.config, name, None), getattr(teacher.config, name, None)
        if ours != theirs:
            raise ValueError(
                f"Student and teacher differ in {name}: {ours} and {theirs}. Start the student from the teacher, or "
                "use models trained with the same tokenizer and width."
            )
