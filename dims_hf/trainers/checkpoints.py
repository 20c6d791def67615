# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Keeping the best checkpoints of a run, averaging them, and finding the last complete one to resume from."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from dims_hf.translation.loading import load_checkpoint


_RECORD = "record.json"


class BestCheckpoints:
    """
    The k checkpoints with the best metric, as fp32 weights in `directory/step-N/`.

    What is on disk is the state: a resumed run finds what it kept before.

    Args:
        directory (`Path`): where they live.
        limit (`int`): k; 0 keeps none.
        greater_is_better (`bool`): direction of the metric.
    """

    def __init__(self, directory: str | Path, limit: int, *, greater_is_better: bool = True):
        self.directory, self.limit, self.sign = Path(directory), limit, 1 if greater_is_better else -1

    def records(self) -> list[dict]:
        """Kept checkpoints, best first; of equal ones the earlier. Each has `step`, `metric` and `path`."""
        found = []
        for path in self.directory.glob(f"step-*/{_RECORD}"):
            found.append({**json.loads(path.read_text()), "path": path.parent})
        return sorted(found, key=lambda record: (-self.sign * record["metric"], record["step"]))

    def offer(self, model: torch.nn.Module, step: int, metric: float) -> bool:
        """Keeps `model` if it is among the best k; returns whether it was kept."""
        if self.limit < 1:
            return False
        records = [record for record in self.records() if record["step"] != step]
        if len(records) >= self.limit and not self.beats(metric, records[self.limit - 1]["metric"]):
            return False
        target, staging = self.directory / f"step-{step}", self.directory / f".step-{step}"
        for stale in (staging, target):
            shutil.rmtree(stale, ignore_errors=True)
        staging.mkdir(parents=True)
        save_file(unique_parameters(model), staging / "model.safetensors")
        (staging / _RECORD).write_text(json.dumps({"step": step, "metric": metric}))
        os.replace(staging, target)
        for record in self.records()[self.limit :]:
            shutil.rmtree(record["path"])
        return True

    def beats(self, metric: float, other: float) -> bool:
        """Whether a metric is better than another."""
        return self.sign * metric > self.sign * other

    def forget_after(self, step: int) -> None:
        """Drops checkpoints of later steps than the one a run resumes from; they will be made again."""
        for record in self.records():
            if record["step"] > step:
                shutil.rmtree(record["path"])
        for unfinished in self.directory.glob(".step-*"):
            shutil.rmtree(unfinished)

    @torch.no_grad()
    def load_average(self, model: torch.nn.Module) -> list[dict]:
        """
        Sets `model` to the mean (fp32) of the kept checkpoints; leaves it alone where there are none.

        Source: §4.1 of Norouzi et al. 2023 averages the 5 best of single-step BLEU.

        Returns:
            the records averaged, best first.
        """
        # A resumed run may keep fewer than it did, or none.
        records = self.records()[: self.limit]
        if not records:
            return []
        parameters = dict(model.named_parameters())
        sums: dict[str, torch.Tensor] = {}
        for record in records:
            for name, value in load_file(record["path"] / "model.safetensors").items():
                sums[name] = sums[name] + value.double() if name in sums else value.double()
        for name, value in sums.items():
            parameters[name].copy_(value / len(records))
        return records


def unique_parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter once (tied ones under their first name), fp32 and on the CPU."""
    return {name: value.detach().float().cpu().clone().contiguous() for name, value in model.named_parameters()}


@torch.no_grad()
def load_weights(model: PreTrainedModel, folder: str | Path) -> None:
    """Sets a model's parameters, in place, to those saved in a folder."""
    model.load_state_dict(load_checkpoint(folder, dtype=torch.float32).state_dict())


def last_complete_checkpoint(output_dir: str | Path) -> str | None:
    """
    Newest `checkpoint-N` whose writing was finished; a run killed while saving leaves an unfinished one behind.

    The main process writes the trainer state last, so a readable one means that its other files are there; what the
    other processes write is their random state.
    """
    numbered = []
    for path in Path(output_dir).glob("checkpoint-*"):
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if match and _is_complete(path):
            numbered.append((int(match.group(1)), path))
    return str(max(numbered)[1]) if numbered else None


def _is_complete(path: Path) -> bool:
    try:
        state = json.loads((path / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    # As many processes as wrote it, which need not be as many as resume; save_only_model writes no random state.
    record = state.get("stateful_callbacks", {}).get("RunRecord", {}).get("attributes", {})
    ranks = range(record.get("num_processes", 1)) if (path / "rng_state_0.pth").is_file() else ()
    return all((path / f"rng_state_{rank}.pth").is_file() for rank in ranks)
