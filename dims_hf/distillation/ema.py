# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The teacher that follows the student by a slow exponential moving average."""

import copy
from typing import cast

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dims_hf.models.modeling_translation import NATForConditionalGeneration

from .adapters import network_of


class EMATeacher(TrainerCallback):
    """
    Teacher ← decay · teacher + (1 − decay) · student, once per optimiser update.

    The copy is held in fp32 whatever the student's dtype, receives no gradient, stays in evaluation mode, and is never
    part of the student's state dict or optimiser. Parameters that are tied count once. As a callback it updates after
    every optimiser step, except those a gradient scaler skipped (fp16 overflow). Where the student has an adapter
    (peft), the average is over the adapter's weights: the others do not change.

    Source: §3.2 of Norouzi et al. 2023 (arXiv 2206.02999). The reference implementation updates in every forward pass
    instead, so that accumulation of k micro-batches decays by decay^k, and skipped updates count; we do not.

    Args:
        student (`PreTrainedModel`): model to copy now and to follow later.
        decay (`float`): in [0, 1]; 0.9992 in the paper; 1 keeps the teacher fixed. Values of 0.9 and below let the
            teacher collapse onto the student (§4.6.2).

    Raises:
        ValueError: for a decay outside [0, 1].
    """

    def __init__(self, student: PreTrainedModel, decay: float = 0.9992):
        if not 0 <= decay <= 1:
            raise ValueError(f"ema_decay must lie in [0, 1], got {decay}. The paper uses 0.9992; 1 fixes the teacher.")
        self.decay = decay
        network = cast(NATForConditionalGeneration, network_of(student))
        # fp32: in half precision, steps of 1 − 0.9992 of a weight would round to nothing
        self.model = copy.deepcopy(network).float().requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, student: torch.nn.Module) -> None:
        """
        One step of the moving average; buffers are copied.

        Args:
            student (`torch.nn.Module`): unwrapped, with the parameter names of the teacher.

        Raises:
            ValueError: if the student's parameters are not the teacher's.
        """
        teacher_parameters = dict(self.model.named_parameters())
        student = network_of(student)
        student_parameters = dict(student.named_parameters())
        if teacher_parameters.keys() != student_parameters.keys():
            difference = sorted(teacher_parameters.keys() ^ student_parameters.keys())
            raise ValueError(
                f"Student and EMA teacher differ in parameters, e.g. {difference[0]}. Use one architecture."
            )
        averages: list[torch.Tensor] = list(teacher_parameters.values())
        currents = [student_parameters[name].detach().float() for name in teacher_parameters]
        # in place and all at once: a loop over hundreds of small tensors costs more than the arithmetic
        torch._foreach_lerp_(averages, currents, 1 - self.decay)
        for average, current in zip(self.model.buffers(), student.buffers(), strict=True):
            average.copy_(current)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        **kwargs,
    ) -> None:
        """Follows the student after an optimiser step that took place."""
        if model is not None and not getattr(optimizer, "step_was_skipped", False):
            self.update(model)
