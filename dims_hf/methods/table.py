# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Which loss trains the teachers and the students of a family, and which settings it uses."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from dims_hf.methods.cmlm import CMLMTeacherLoss
from dims_hf.methods.cmlmc import CMLMCTeacherLoss
from dims_hf.methods.dims import CMLMStudentLoss
from dims_hf.methods.dims_imputer import ImputerStudentLoss
from dims_hf.methods.imputer import ImputerTeacherLoss


if TYPE_CHECKING:
    from dims_hf.trainers.config import NATTrainingArguments

# model_type -> loss of that family's teachers, and of its students; one line each per new family.
TEACHER_LOSSES: dict[str, type[CMLMTeacherLoss]] = {
    "cmlm": CMLMTeacherLoss,
    "cmlmc": CMLMCTeacherLoss,
    "imputer": ImputerTeacherLoss,
}
STUDENT_LOSSES: dict[str, type[CMLMStudentLoss | ImputerStudentLoss]] = {
    "cmlm": CMLMStudentLoss,
    "cmlmc": CMLMStudentLoss,
    "imputer": ImputerStudentLoss,
}


def settle_options(args: NATTrainingArguments, loss_class: type[CMLMTeacherLoss]) -> None:
    """
    Gives the settings that were left out the family's defaults, and refuses those of other families.

    Raises:
        ValueError: naming the first setting that would have no effect.
    """
    args.use_defaults(loss_class.defaults)
    users = {
        name: f"{model_type} {role}"
        for role, losses in (("students", STUDENT_LOSSES), ("teachers", TEACHER_LOSSES))
        for model_type, each in losses.items()
        for name in each.options
    }
    for option in fields(args):
        value = getattr(args, option.name)
        if option.name in users and option.name not in loss_class.options and value != option.default:
            raise ValueError(
                f"{option.name}={value!r} has no effect here: it belongs to the training of {users[option.name]}. "
                "Leave it out."
            )
    loss_class.check_options(args)
