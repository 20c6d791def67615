# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The program that trains one run: `python -m dims_hf.reproduction.worker KIND RECIPE`, in one process or many."""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dims_hf._commands import run_command
from dims_hf._output import why_disk_is_full
from dims_hf.reports.files import write_text
from dims_hf.trainers.callbacks import CollapseError


COLLAPSED = "collapsed.json"

# exit status of a run that found the disk full
FULL = errno.ENOSPC

# kind of run -> module and function of the command that does it
_COMMANDS = {
    "teacher": ("dims_hf.recipes.runs", "train_teacher"),
    "student": ("dims_hf.recipes.runs", "distill"),
    "autoregressive": ("dims_hf.recipes.autoregressive", "train_autoregressive"),
    "distilled_data": ("dims_hf.recipes.distilled_data", "make_distilled_data"),
}


def main(argv: Sequence[str]) -> int:
    """
    Runs the command of a kind of run on the recipe beside the output.

    A training that collapses has an outcome: it is written into `collapsed.json`, and the exit status is 0.

    Returns:
        `int`: as [`run_command`]; [`FULL`] where the disk is full, since the log may have no room to say so.
    """
    kind, recipe = argv
    module, function = _COMMANDS[kind]
    is_full = False

    def train() -> None:
        nonlocal is_full
        try:
            getattr(importlib.import_module(module), function)([recipe])
        except CollapseError as error:
            if os.environ.get("RANK", "0") == "0":
                outcome = {"message": str(error), "step": error.step, "metrics": error.metrics}
                write_text(json.dumps(outcome, indent=1), Path(recipe).parent / COLLAPSED)
        except Exception as error:
            is_full = why_disk_is_full(error) is not None
            raise

    status = run_command(train)
    return FULL if is_full else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
