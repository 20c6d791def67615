# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Which loss trains the teachers of a family, and which settings it uses."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from dims_hf.trainers.teacher_cmlm import CMLMTeacherLoss
from dims_hf.trainers.teacher_cmlmc import CMLMCTeacherLoss


if TYPE_CHECKING:
    from dims_hf.trainers.config import NATTrainingArguments

# model_type -> loss of that family's teachers; one line per new family.
TEACHER_LOSSES: dict[str, type[CMLMTeacherLoss]] = {"cmlm": CMLMTeacherLoss, "cmlmc": CMLMCTeacherLoss}


def check_teacher_options(args: NATTrainingArguments, loss_class: type[CMLMTeacherLoss]) -> None:
    """
    Refuses settings of other families' teachers.

    Raises:
        ValueError: naming the first setting that would have no effect.
    """
    users = {name: model_type for model_type, each in TEACHER_LOSSES.items() for name in each.options}
    for option in fields(args):
        value = getattr(args, option.name)
        if option.name in users and option.name not in loss_class.options and value != option.default:
            raise ValueError(
                f"{option.name}={value!r} has no effect here: it belongs to the training of {users[option.name]} "
                "teachers. Leave it out."
            )
