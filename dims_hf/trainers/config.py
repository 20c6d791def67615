# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training arguments: the trainer's own settings, and those of the method, which may be given by keyword like them."""

from __future__ import annotations

import copy
import functools
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

import torch
from transformers import PreTrainedConfig, Seq2SeqTrainingArguments

from dims_hf.methods.base import MethodOptions
from dims_hf.methods.cmlm import CMLMOptions
from dims_hf.methods.dims import DiMSOptions
from dims_hf.methods.masks import MASK_POLICIES
from dims_hf.methods.options import check_ranges, check_value, is_default, option, plain, unstated
from dims_hf.methods.registry import DEFAULT_METHODS, METHODS, Choice, check_known, choose_method, default_method
from dims_hf.models.limits import MOST_STEPS
from dims_hf.trainers.precision import settle_precision
from dims_hf.trainers.schedules import check_schedule


class _OwnSchedule(str):
    """A schedule that is no member of transformers' enumeration, whose model cards ask every schedule for `value`."""

    __slots__ = ()

    @property
    def value(self) -> str:
        """Its name."""
        return str(self)


REFERENCE_SCHEDULE = _OwnSchedule("fairseq_inverse_sqrt")

# Bounds of settings that transformers declares and does not check; its defaults lie within.
_INHERITED_BOUNDS: Mapping[str, dict[str, Any]] = {
    "gradient_accumulation_steps": {"ge": 1, "le": 1e6, "advice": "1 makes an update of every batch."},
    "per_device_train_batch_size": {"ge": 1, "le": 1e6},
    "per_device_eval_batch_size": {"ge": 1, "le": 1e6},
    "num_train_epochs": {"ge": 0, "le": 1e6},
    "max_steps": {"ge": -1, "le": 1e9, "advice": "-1 counts epochs instead."},
    "logging_steps": {"ge": 0, "le": 1e9},
    "save_steps": {"gt": 0, "le": 1e9, "advice": "Set save_strategy: no to save nothing."},
    "eval_steps": {"gt": 0, "le": 1e9, "advice": "Set eval_strategy: no to evaluate never."},
    "warmup_steps": {"ge": 0, "le": 1e9},
    "weight_decay": {"ge": 0, "le": 1},
    "adam_beta1": {"ge": 0, "le": 0.99999},
    "adam_beta2": {"ge": 0, "le": 0.99999},
    "adam_epsilon": {"gt": 0},
    "max_grad_norm": {"ge": 0, "advice": "0 does not clip."},
    "seed": {"ge": 0, "le": 2**32 - 1},
    "data_seed": {"ge": 0, "le": 2**32 - 1},
    "dataloader_num_workers": {"ge": 0, "le": 1024},
    "dataloader_prefetch_factor": {"ge": 1, "le": 1e6},
    "save_total_limit": {"ge": 1, "le": 1e6, "advice": "Leave it out to keep all."},
    "eval_delay": {"ge": 0, "le": 1e9},
    "neftune_noise_alpha": {"ge": 0, "le": 1e6},
    "ddp_timeout": {"ge": 1, "le": 1e9},
    "torch_empty_cache_steps": {"ge": 1, "le": 1e9},
}

# In validation as everywhere.
MOST_PASSES = MOST_STEPS

# Beginnings of the names of optimizers that ask which layers they are for.
_LOW_RANK_OPTIMIZERS = ("galore", "apollo")
# Those that take nothing from `optim_args`.
_PLAIN_OPTIMIZERS = (
    "adafactor", "adamw_apex_fused", "adamw_torch", "adamw_torch_fused", "adamw_torch_npu_fused", "adamw_torch_xla"
)  # fmt: skip

# Options of transformers that our batches, our evaluation or our resuming would ignore or contradict.
_WITHOUT_EFFECT = (
    "auto_find_batch_size",
    "average_tokens_across_devices",
    "batch_eval_metrics",
    "bf16_full_eval",
    "dataloader_drop_last",
    "dataloader_in_order",
    "dataloader_multiprocessing_context",
    "debug",
    "do_predict",
    "eval_accumulation_steps",
    "eval_do_concat_batches",
    "eval_use_gather_object",
    "fp16_full_eval",
    "generation_config",
    "generation_max_length",
    "generation_num_beams",
    "include_for_metrics",
    "label_names",
    "length_column_name",
    "predict_with_generate",
    "prediction_loss_only",
    "restore_callback_states_from_checkpoint",
    "sortish_sampler",
    "train_sampling_strategy",
)


def of_method(options: type[MethodOptions], name: str, **changes: Any) -> Any:
    """A field that shows a setting of the method among the trainer's; its default gives way to the method's own."""
    (declared,) = (each for each in fields(options) if each.name == name)
    metadata = {**declared.metadata, "of_method": True, **changes}
    return field(default=unstated(declared.default), metadata=metadata)


def takes_method_settings(kind: type) -> type:
    """
    Lets an arguments class take the settings of any method by keyword; those it has no field for go to `options`.

    Raises:
        TypeError: when the class is made, for a name that neither the trainer nor any method has.
    """
    build, own = kind.__init__, {each.name for each in fields(kind) if each.init}

    @functools.wraps(build)
    def initialize(self: Any, *args: Any, options: Mapping[str, Any] | None = None, **settings: Any) -> None:
        settings = {kind.aliases.get(name, name): value for name, value in settings.items()}
        extra = {name: value for name, value in settings.items() if name not in own}
        for name, value in extra.items():
            check_known(name, value)
        given = {name: value for name, value in settings.items() if name in own}
        build(self, *args, options={**(options or {}), **extra}, **given)

    kind.__init__ = initialize
    return kind


def check_bounds(args: Seq2SeqTrainingArguments) -> None:
    """
    Refuses impossible values of settings that transformers declares, and words its schedules do not know.

    Raises:
        ValueError: naming the first of them.
    """
    for declared in fields(args):
        if declared.name in _INHERITED_BOUNDS and not declared.metadata.get("advice"):
            bounds = field(metadata=_INHERITED_BOUNDS[declared.name])
            bounds.name = declared.name
            check_value(bounds, getattr(args, declared.name))
    if args.max_steps == 0:
        raise ValueError("max_steps=0 would train nothing. Set -1 to count epochs, or the number of updates.")
    if args.max_steps < 0 and args.num_train_epochs == 0:
        raise ValueError("num_train_epochs=0 would train nothing. Set it, or max_steps.")
    if not str(args.output_dir).strip() or "\0" in str(args.output_dir):
        raise ValueError(f"output_dir={args.output_dir!r} is no folder. Name one.")
    _check_reporting(args)
    _check_optimizer(args)
    check_schedule(_name(args.lr_scheduler_type), args.lr_scheduler_kwargs)
    for name, variable in (("fsdp", "ACCELERATE_USE_FSDP"), ("deepspeed", "ACCELERATE_USE_DEEPSPEED")):
        if getattr(args, name, None) or os.environ.get(variable, "").lower() in ("1", "true"):
            raise ValueError(
                f"{name} is not supported: losses are divided by what all processes count, and the teacher follows "
                "whole weights. Use plain data parallelism, with `accelerate launch` and no such configuration."
            )


def _check_reporting(args: Seq2SeqTrainingArguments) -> None:
    """Refuses dashboards that are not installed before a corpus is read, and not after it."""
    from transformers.integrations import get_available_reporting_integrations

    available = get_available_reporting_integrations()
    names = [args.report_to] if isinstance(args.report_to, str) else args.report_to or ()
    missing = [name for name in names if name not in (*available, "none", "all")]
    if missing:
        there = f"; here there are {', '.join(available)}" if available else ""
        raise ValueError(
            f"report_to={missing[0]} is not installed, or no dashboard that transformers knows{there}. Install it "
            f"(pip install {missing[0]}), or set report_to: none."
        )


def _check_optimizer(args: Seq2SeqTrainingArguments) -> None:
    """Refuses what the optimizer, or every model here, would not look at."""
    optim = _name(args.optim)
    if args.optim_target_modules is not None and not optim.startswith(_LOW_RANK_OPTIMIZERS):
        raise ValueError(
            f"optim_target_modules={args.optim_target_modules!r} has no effect with optim={optim}: it says "
            "which layers GaLore and APOLLO project. Leave it out, or set optim to one of those (galore_adamw)."
        )
    if args.optim_args and optim in _PLAIN_OPTIMIZERS:
        raise ValueError(
            f"optim_args={args.optim_args!r} has no effect with optim={optim}, which has settings of its "
            "own (adam_beta1, …). Leave it out."
        )
    if args.use_liger_kernel:
        raise ValueError("use_liger_kernel has no effect: there are no such kernels for these models. Leave it out.")


def _name(member: Any) -> str:
    """Of a member of an enumeration, or the name that it was given by."""
    return str(getattr(member, "value", member))


@contextmanager
def naming_faults() -> Iterator[None]:
    """Says in a `ValueError` what transformers says of settings within settings in another error."""
    try:
        yield
    except TypeError as error:
        raise ValueError(f"A setting within a setting will not do: {error}. Correct it, or leave it out.") from None


@takes_method_settings
@dataclass
class NATTrainingArguments(Seq2SeqTrainingArguments):
    r"""
    Arguments that train a non-autoregressive teacher.

    Defaults that differ from transformers': `learning_rate` 5e-4, `adam_beta2` 0.98, `adam_epsilon` 1e-8,
    `weight_decay` 0.01, `max_grad_norm` 0 (no clipping), `warmup_steps` 10000, `lr_scheduler_type`
    `fairseq_inverse_sqrt`, `optim` `adamw_torch_fused`, `remove_unused_columns` False, `ddp_find_unused_parameters`
    False. Source: fairseq's CMLM recipe (Ghazvininejad et al. 2019). `bf16` means fp32 on a CPU that does not
    multiply in bf16.

    > Parameters that control the method

    Settings of the method that is trained may be given by keyword whether or not they stand here: every method
    declares its own, with help, ranges and defaults, in `dims_hf/methods/`. Those of other methods are refused.

    Args:
        method (`str`, *optional*): key of `METHODS`; default: that of the model's family.
        options (`dict`): settings of the method by name, where they are no fields here.
        mask_policy (`str`): distribution of masks: `uniform`, `full`, for Imputers (and their default) `block`, or in
            distillation `glance`.
        label_smoothing (`float`): of the token loss; 0.1 for teachers, 0 in distillation and for Imputers.
        length_weight (`float`): weight of the length loss; 0.1 in the reference, 0 for Imputers.

    > Parameters that control batches

    Args:
        max_tokens_per_batch (`int`, *optional*): padded tokens of a device batch, the longer of source and target
            counted; an update sees `max_tokens_per_batch · gradient_accumulation_steps · processes`. `None` uses
            `per_device_train_batch_size` sentences instead.
        mask_seed (`int`, *optional*): seed of the masks; default `seed`. A sentence's mask depends on (mask_seed,
            optimiser step, corpus index) alone.
        attn_implementation (`str`, *optional*): attention backend of the model in training; `eager` is the fastest on
            a CPU for short sentences (`sdpa`'s backward pass is slow there).
        compile_losses (`bool`): compile what the losses do with logits (`torch.compile`): the same numbers, but for
            rounding, in less time; needs a C++ compiler on a CPU, triton on a GPU.
        loss_normalization (`str`): `update` divides by the items of the whole optimiser update over all processes,
            so that accumulation and processes change nothing; `micro_batch` is the reference's mean of means.

    > Parameters that control evaluation, stopping and the final model

    Args:
        eval_iterations (`list[int]`): decoder passes at which the validation BLEU is computed.
        eval_length_beam_size (`int`): length candidates in validation; 1 in the paper (captions of Table 5, Fig. 7).
        early_stopping_patience (`int`, *optional*): stop after so many evaluations without a better single-step BLEU.
        num_best_checkpoints (`int`): how many checkpoints with the best `metric_for_best_model` are kept; their
            average becomes the final model. 0 keeps the last weights.
        collapse_patience (`int`): stop after so many evaluations in a row whose translations are (nearly) constant.
    """

    distils: ClassVar[bool] = False
    aliases: ClassVar[Mapping[str, str]] = {"objective": "method"}

    learning_rate: float = option(5e-4, gt=0, help="Peak learning rate.", advice="Try 5e-4.")
    adam_beta2: float = option(0.98, ge=0, le=1, help="Second Adam decay; fairseq's value.")
    adam_epsilon: float = option(1e-8, gt=0, help="Adam epsilon; fairseq's value.")
    weight_decay: float = option(0.01, ge=0, le=1, help="Decoupled weight decay.")
    max_grad_norm: float = option(0.0, ge=0, help="Clip gradients to this norm; 0 does not clip.")
    warmup_steps: float = option(10_000, ge=0, le=1e9, help="Linear warm-up, in optimiser steps.")
    lr_scheduler_type: str = option(
        REFERENCE_SCHEDULE,
        help=f"`{REFERENCE_SCHEDULE}` (1e-7, warm-up, then lr·√(warm-up/step)) or a transformers schedule.",
    )
    optim: str = option("adamw_torch_fused", help="Several times faster than plain AdamW.")
    remove_unused_columns: bool = option(False, help="Must stay False: masks need the index.")
    ddp_find_unused_parameters: bool | None = option(False, help="All parameters are used.")
    method: str | None = option(None, help="Training method; none = that of the model's family.")
    options: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "Settings of the method that are no names here.", "of_method": True}
    )
    mask_policy: str = of_method(CMLMOptions, "mask_policy", choices=(*MASK_POLICIES, "glance"))
    label_smoothing: float = of_method(CMLMOptions, "label_smoothing")
    length_weight: float = of_method(CMLMOptions, "length_weight")
    max_tokens_per_batch: int | None = option(
        8192,
        ge=1,
        help="Padded tokens per device batch; none = per_device_train_batch_size sentences.",
        advice="Try 4096.",
    )
    mask_seed: int | None = option(None, ge=0, most=2**32 - 1, help="Seed of the masks; default: seed.")
    attn_implementation: str | None = option(
        None, help="Attention backend: eager, sdpa, flash_attention_2, …; none keeps the model's."
    )
    compile_losses: bool = option(False, help="Compile what losses do with logits; needs a C++ compiler, or triton.")
    loss_normalization: str = option("update", help="`update` or `micro_batch`.")
    eval_iterations: list[int] = option([1], help="Decoder passes at which validation BLEU is computed.")
    eval_length_beam_size: int = option(1, ge=1, most=MOST_PASSES, help="Length candidates in validation.")
    early_stopping_patience: int | None = option(
        None,
        ge=1,
        help="Evaluations without a better metric before training stops.",
        advice="It counts evaluations.",
    )
    num_best_checkpoints: int = option(
        5, ge=0, help="Best checkpoints kept and averaged; 0 = none.", advice="0 averages nothing."
    )
    collapse_patience: int = option(
        2,
        ge=1,
        help="Evaluations in a row with constant output before training stops.",
        advice="It counts evaluations.",
    )

    @classmethod
    def method_in(cls, values: Mapping[str, Any]) -> str:
        """Name of the method that a recipe's values choose, before they are checked."""
        return str(values.get("method") or default_method(cls.model_type_in(values), distils=cls.distils))

    @classmethod
    def model_type_in(cls, values: Mapping[str, Any]) -> str:
        """Family that a recipe's values name, or the default one."""
        model_type = values.get("model_type")
        return model_type if model_type in DEFAULT_METHODS else "cmlm"  # what is none is refused where it belongs

    def __getattr__(self, name: str) -> Any:
        # Settings of the method read like the others; only what is no attribute comes here.
        options = self.__dict__.get("options") or {}
        if name in options:
            return options[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def given_options(self) -> dict[str, Any]:
        """Settings of the method that were given: all that differ from, or are no, defaults of these arguments."""
        shown = {each.name: each.default for each in fields(self) if each.metadata.get("of_method")}
        shown.pop("options")
        values = {name: getattr(self, name) for name in shown}
        given = {
            name: value
            for name, value in values.items()
            if not is_default(value) and (is_default(shown[name]) or value != shown[name])
        }
        return {**self.options, **given}

    def choose(self, model_type: str) -> Choice:
        """
        The method that trains a family under these settings, and all of its own; nothing here changes.

        Raises:
            ValueError: as [`choose_method`].
        """
        given = self.given_options()
        choice = choose_method(self.method, given, model_type, distils=self.distils)
        if not choice.method.has_accuracy and self.metric_for_best_model.endswith("accuracy"):
            raise ValueError(
                f"method={choice.name} has no accuracy: frames have no one label. Use loss, bleu_K or chrf_K."
            )
        return choice

    def settled(self, choice: Choice) -> NATTrainingArguments:
        """A copy that shows the method and its settings; what was not given stays marked as a default."""
        args, given = copy.copy(self), self.given_options()
        args.method, args.options = choice.name, {}
        shown = {each.name for each in fields(self) if each.metadata.get("of_method")}
        for name, value in asdict(choice.options).items():
            value = plain(value) if name in given else unstated(value)
            if name in shown:
                setattr(args, name, value)
            else:
                args.options[name] = value
        return args

    def to_sanitized_dict(self) -> dict[str, Any]:
        """As transformers', the settings of the method among the others."""
        known = super().to_sanitized_dict()
        known.pop("options")
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.metadata.get("of_method")}
        values.update(values.pop("options"))
        # As transformers does with what is neither a number nor text.
        shown = {name: "None" if value is None else plain(value) for name, value in values.items()}
        return {**known, **shown}

    def __post_init__(self) -> None:
        self._check_values()
        # transformers knows its own schedules only; ours is put back once its checks are done.
        wants_reference_schedule = str(self.lr_scheduler_type) == REFERENCE_SCHEDULE
        if wants_reference_schedule:
            self.lr_scheduler_type = "inverse_sqrt"
        if self.metric_for_best_model is None:
            self.metric_for_best_model = f"bleu_{min(self.eval_iterations)}"
        self._set_direction()
        # transformers asks for this before it lets bf16 train on a CPU; without an accelerator there is no choice.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if self.fp16 and self.use_cpu:
            raise ValueError("fp16 needs a GPU. Use bf16, or leave both out to train in fp32.")
        settle_precision(self)
        with naming_faults():
            super().__post_init__()
        if wants_reference_schedule:
            self.lr_scheduler_type = REFERENCE_SCHEDULE
        if self.mask_seed is None:
            self.mask_seed = self.seed

    def _set_direction(self) -> None:
        greater_is_better = not self.metric_for_best_model.endswith("loss")
        if self.greater_is_better not in (None, greater_is_better):
            raise ValueError(
                f"greater_is_better={self.greater_is_better} does not fit metric_for_best_model="
                f"{self.metric_for_best_model}. Leave it out."
            )
        self.greater_is_better = greater_is_better

    def _check_values(self) -> None:
        self._check_inherited()
        if self.loss_normalization not in ("update", "micro_batch"):
            raise ValueError(f"loss_normalization must be update or micro_batch, got {self.loss_normalization!r}.")
        check_ranges(self)
        check_bounds(self)
        for name, value in self.options.items():
            check_known(name, value)
        if self.method is not None and self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}.")
        self._check_evaluation()

    def _check_inherited(self) -> None:
        """Options of transformers that do not go together with ours, or with each other."""
        for each in fields(Seq2SeqTrainingArguments):
            # A list is the only default that a factory makes here, and an empty one.
            default = [] if callable(each.default_factory) else each.default
            value = getattr(self, each.name)
            # transformers writes some empty defaults as empty lists
            if each.name in _WITHOUT_EFFECT and value != default and (value or default):
                raise ValueError(
                    f"{each.name}={value!r} has no effect: batches come from max_tokens_per_batch, and evaluation "
                    "decodes with eval_iterations. Leave it out."
                )
        if self.label_smoothing_factor:
            raise ValueError("label_smoothing_factor is the autoregressive one. Use label_smoothing.")
        if self.remove_unused_columns:
            raise ValueError(
                "remove_unused_columns=True would drop the corpus index that masks depend on. Leave it out."
            )
        if self.fp16 and self.bf16:
            raise ValueError("fp16 and bf16 are both set. Add --no_bf16 to train in fp16, or leave out fp16.")

    def _check_evaluation(self) -> None:
        if not self.eval_iterations or min(self.eval_iterations) < 1:
            raise ValueError(f"eval_iterations must be integers >= 1, got {self.eval_iterations}. Try [1, 4].")
        if max(self.eval_iterations) > MOST_PASSES:
            raise ValueError(f"eval_iterations must be <= {MOST_PASSES}, got {self.eval_iterations}. Try [1, 4].")
        if self.metric_for_best_model is not None:
            self._check_metric(self.metric_for_best_model)
        if self.early_stopping_patience is not None and self.eval_strategy == "no":
            raise ValueError("early_stopping_patience needs evaluations. Set eval_strategy to steps or epoch.")

    def _check_metric(self, name: str) -> None:
        metric = re.fullmatch(r"(?:eval_)?(?:loss|accuracy|(?:bleu|chrf)_(\d+))", name)
        if metric is None:
            raise ValueError(
                f"metric_for_best_model must be loss, accuracy, bleu_K or chrf_K for K decoder passes, got {name!r}."
            )
        if metric[1] is not None and int(metric[1]) not in self.eval_iterations:
            raise ValueError(
                f"metric_for_best_model={name} needs {metric[1]} among eval_iterations, which are "
                f"{self.eval_iterations}. Add it there."
            )


@takes_method_settings
@dataclass
class DiMSConfig(NATTrainingArguments):
    r"""
    Arguments of DiMS distillation; defaults are Table 8 of Norouzi et al. 2023 (arXiv 2206.02999).

    Args:
        teacher_iterations (`int`): teacher passes n that one student pass learns to match.
        ema_decay (`float`, *optional*): momentum μ of the teacher's moving average; `None` keeps the teacher fixed,
            and is the default for Imputers (Appendix F).
        hidden_weight (`float`): λ of the hidden-state distance; 0 is the default for Imputers.
        hidden_squared (`bool`): squared distance, as in the paper's formula, instead of the distance.
        temperature (`float`): divides the teacher's logits; 0.5 sharpens the labels.
        student_temperature (`float`): divides the student's logits.
        divergence (`str`): `kl`, `reverse_kl`, `jeffreys` or `total_variation` between teacher and student.
        hidden_normalization (`str`): `dimension` divides the hidden-state distance by the square root of the width.
        label_mode (`str`): `frozen` takes a token's label from the pass that reveals it, `last` from the last pass,
            `auto` what the teacher's own decoding does.
        reveal_order (`str`): the teacher reveals its most confident tokens first (`confidence`), or `random` ones.
        steps_ahead (`int`, *optional*): of the teacher's passes, how many are made; `None` makes all.
        disable_dropout (`bool`): no dropout in the student, as in the paper.

    > Parameters of Imputers, refused for others

    Args:
        imputer_labels (`str`): `hard` learns the teacher's collapsed tokens by CTC, `soft` its distribution in every
            masked frame.

    > Parameters that control targets and rounds

    Args:
        unsupervised (`bool`): U-DiMS: the current teacher translates the sources, and its translations are the
            targets; those of the corpus are not looked at.
        synthetic_iterations (`int`): decoder passes of those translations; 2 in the paper.
        synthetic_length_beam_size (`int`): their length candidates.
        synthetic_collapse_repeats (`bool`): drop their immediate repeats.
        rounds (`int`): distil so many times in a row, the student of a round being the teacher of the next (§4.6.2,
            Fig. 4); each round has the full length, stops early on its own, and lives in `output_dir/round-K`. The
            paper does this without a moving average (`ema_decay=None`).
        halve_iterations (`bool`): each round plans half as many teacher passes as the last, at least one or
            `steps_ahead`, so that every one of them reveals twice as much (SDTT).
    """

    distils: ClassVar[bool] = True

    learning_rate: float = option(1e-3, gt=0, help="Peak learning rate (Table 8).", advice="The paper uses 1e-3.")
    warmup_steps: float = option(1, ge=0, le=1e9, help="1 reproduces the reference: 1e-7, then 1e-3/√(k−1).")
    label_smoothing: float = of_method(DiMSOptions, "label_smoothing")
    teacher_iterations: int = of_method(DiMSOptions, "teacher_iterations")
    ema_decay: float | None = of_method(DiMSOptions, "ema_decay")
    hidden_weight: float = of_method(DiMSOptions, "hidden_weight")
    hidden_squared: bool = of_method(DiMSOptions, "hidden_squared")
    temperature: float = of_method(DiMSOptions, "temperature")
    student_temperature: float = of_method(DiMSOptions, "student_temperature")
    divergence: str = of_method(DiMSOptions, "divergence")
    hidden_normalization: str = of_method(DiMSOptions, "hidden_normalization")
    label_mode: str = of_method(DiMSOptions, "label_mode")
    reveal_order: str = of_method(DiMSOptions, "reveal_order")
    steps_ahead: int | None = of_method(DiMSOptions, "steps_ahead")
    disable_dropout: bool = option(True, help="Student without dropout (§4.1).")
    unsupervised: bool = option(False, help="U-DiMS: train on the teacher's own translations.")
    synthetic_iterations: int = option(
        2,
        ge=1,
        most=MOST_PASSES,
        help="Decoder passes of U-DiMS translations.",
        advice="Leave it out for the default.",
    )
    synthetic_length_beam_size: int = option(
        1,
        ge=1,
        most=MOST_PASSES,
        help="Length candidates of U-DiMS translations.",
        advice="Leave it out for the default.",
    )
    synthetic_collapse_repeats: bool = option(False, help="Drop immediate repeats from U-DiMS translations.")
    rounds: int = option(
        1,
        ge=1,
        le=1000,
        help="Rounds of distillation, each from the student of the last.",
        advice="Leave it out for the default.",
    )

    halve_iterations: bool = option(False, help="Half as many teacher passes in each round as in the last (SDTT).")

    @classmethod
    def model_type_in(cls, values: Mapping[str, Any]) -> str:
        """Family of the teacher that a recipe's values name; the default one where it cannot be looked at yet."""
        try:
            found, _ = PreTrainedConfig.get_config_dict(values.get("teacher") or "")
        except (OSError, ValueError):
            found = {}
        model_type = found.get("model_type")
        return model_type if model_type in DEFAULT_METHODS else "cmlm"

    def _check_values(self) -> None:
        super()._check_values()
        if self.label_smoothing:
            raise ValueError("label_smoothing does not apply to the teacher's soft labels. Leave it out or set 0.")
        if self.halve_iterations and self.rounds == 1:
            raise ValueError("halve_iterations has no effect on a single round. Set rounds, or leave it out.")
        if not self.unsupervised:
            for each in fields(self):
                if each.name.startswith("synthetic_") and getattr(self, each.name) != each.default:
                    raise ValueError(f"{each.name} has no effect without unsupervised. Set unsupervised: true.")
        # newer releases of transformers call it activation_checkpointing
        checkpoints = self.gradient_checkpointing or getattr(self, "activation_checkpointing", None)
        if checkpoints and self.disable_dropout:
            raise ValueError(
                "gradient_checkpointing has no effect on a student without dropout, which stays in evaluation mode. "
                "Set disable_dropout: false, or leave it out."
            )
