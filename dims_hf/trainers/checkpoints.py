# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Checkpoints: the best of a run and their average, and which one a run goes on from, whole and unchanged."""

from __future__ import annotations

import json
import logging
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from dims_hf._output import move, remove_folder, replacing
from dims_hf.translation.loading import load_checkpoint


logger = logging.getLogger(__name__)

_RECORD = "record.json"
_STATE = "trainer_state.json"

# The files of a checkpoint with their sizes and CRC-32, written when all of them are there.
MANIFEST = "files.json"

# What a run cannot go on without, and what each holds, in transformers' names; any of the patterns will do.
_NEEDED = {
    "the weights": ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"),
    "the optimizer's state": ("optimizer.pt",),
    "the schedule's state": ("scheduler.pt",),
    "the random state": ("rng_state.pth", "rng_state_0.pth"),
}
_BLOCK = 1 << 22


# ---- the best ------------------------------------------------------------------------------------------------------


class BestCheckpoints:
    """
    The k checkpoints with the best metric, as fp32 weights in `directory/step-N/`.

    What is on disk is the state: a resumed run finds what it kept before. Weights that training does not change
    (`requires_grad=False`) are not kept.

    Args:
        directory (`Path`): where they live.
        limit (`int`): k; 0 keeps none.
        greater_is_better (`bool`): direction of the metric.
    """

    def __init__(self, directory: str | Path, limit: int, *, greater_is_better: bool = True):
        self.directory, self.limit, self.sign = Path(directory), limit, 1 if greater_is_better else -1

    def of_run(self, output_dir: Path) -> BestCheckpoints:
        """Those that another run keeps in its folder, in the same way."""
        return BestCheckpoints(output_dir / self.directory.name, self.limit, greater_is_better=self.sign > 0)

    def records(self) -> list[dict]:
        """Kept checkpoints, best first; of equal ones the earlier. Each has `step`, `metric` and `path`."""
        found = []
        for path in self.directory.glob(f"step-*/{_RECORD}"):
            record = _read_record(path)
            if record is not None:
                found.append({**record, "path": path.parent})
        return sorted(found, key=lambda record: (-self.sign * record["metric"], record["step"]))

    def offer(self, model: torch.nn.Module, step: int, metric: float) -> bool:
        """Keeps `model` if it is among the best k; returns whether it was kept."""
        if self.limit < 1:
            return False
        # a resumed run measures a step again that it kept before
        records = [record for record in self.records() if record["step"] != step]
        # of equal metrics the earlier checkpoint stays
        if len(records) >= self.limit and not self.beats(metric, records[self.limit - 1]["metric"]):
            return False
        target, staging = self.directory / f"step-{step}", self.directory / f".step-{step}"
        for stale in (staging, target):
            shutil.rmtree(stale, ignore_errors=True)
        staging.mkdir(parents=True)
        # under another name until both files are there: `records` sees whole checkpoints only
        save_file(unique_parameters(model), staging / "model.safetensors")
        (staging / _RECORD).write_text(json.dumps({"step": step, "metric": metric}))
        move(staging, target)
        # after the new one is in place: a kill in between leaves one too many, not one too few
        for record in self.records()[self.limit :]:
            remove_folder(record["path"])
        return True

    def beats(self, metric: float, other: float) -> bool:
        """Whether a metric is better than another."""
        return self.sign * metric > self.sign * other

    def forget_after(self, step: int) -> None:
        """
        Drops checkpoints of later steps than the one a run resumes from, which will be made again, what a killed run
        left half-written, and, with a warning, what cannot be read any more.
        """
        for path in sorted(self.directory.glob(".step-*")):
            shutil.rmtree(path, ignore_errors=True)
        for path in sorted(self.directory.glob("step-*")):
            record, fault = _read_record(path / _RECORD), weights_fault(path / "model.safetensors")
            if record is not None and fault is None:
                if record["step"] > step:
                    remove_folder(path)
                continue
            logger.warning("%s cannot be averaged (%s) and is removed.", path, fault or f"{_RECORD} is not readable")
            remove_folder(path)

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
        for name, value in mean_weights(load_file(record["path"] / "model.safetensors") for record in records).items():
            parameters[name].copy_(value)
        return records


def mean_weights(models: Iterable[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of each weight over models that have the same; in double precision, so that no order matters."""
    sums: dict[str, torch.Tensor] = {}
    count = 0
    for count, weights in enumerate(models, start=1):  # noqa: B007  (the last one is how many there were)
        for name, value in weights.items():
            sums[name] = sums[name] + value.double() if name in sums else value.double()
    return {name: value / count for name, value in sums.items()}


def unique_parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter that is trained, once (tied ones under their first name), fp32 and on the CPU."""
    return {
        name: value.detach().float().cpu().clone().contiguous()
        for name, value in model.named_parameters()
        if value.requires_grad
    }


@torch.no_grad()
def load_weights(model: PreTrainedModel, folder: str | Path) -> None:
    """Sets a model's parameters, in place, to those saved in a folder."""
    model.load_state_dict(load_checkpoint(folder, dtype=torch.float32).state_dict())


# ---- writing those a run goes on from ------------------------------------------------------------------------------


def checkpoint_folder(output_dir: str | Path, step: int) -> Path:
    """Folder of the checkpoint after so many updates."""
    return Path(output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def staging_folder(output_dir: str | Path, step: int) -> Path:
    """Where that checkpoint is written until it is complete."""
    return Path(output_dir) / f".{PREFIX_CHECKPOINT_DIR}-{step}"


def commit_checkpoint(staging: Path, place: Path) -> None:
    """Lists what a complete checkpoint consists of, and gives it its name once all of it is on the disk."""
    files = sorted(path for path in staging.rglob("*") if path.is_file())
    # sizes tell cut files, checksums changed ones
    listed = {path.relative_to(staging).as_posix(): [path.stat().st_size, _crc32(path)] for path in files}
    with replacing(staging / MANIFEST) as temporary:
        temporary.write_text(json.dumps(listed, indent=1), encoding="utf-8")
    if place.is_symlink():
        logger.warning("%s was a link and is replaced; what it pointed to is left alone.", place)
        place.unlink()
    # a folder cannot be renamed over another that has files in it
    remove_folder(place)
    move(staging, place)


def rotate_checkpoints(output_dir: str | Path, *, newest: int, limit: int | None, keep: str | None = None) -> None:
    """
    Removes checkpoints beyond a number of them, by the numbers in their names; clocks do not matter.

    Later ones than the newest are of a run that was given up for an earlier checkpoint: they go first.

    Args:
        output_dir (`str` or `Path`): folder of the run.
        newest (`int`): step of the checkpoint written last.
        limit (`int`, *optional*): how many stay; `None` for all.
        keep (`str`, *optional*): folder of one that stays besides the newest.
    """
    if limit is None:
        return
    # False sorts first: later steps than the newest go first
    steps = sorted(_checkpoints(output_dir), key=lambda step: (step <= newest, step))
    kept = None if keep is None else Path(keep).name
    doomed = [step for step in steps if step != newest and checkpoint_folder(output_dir, step).name != kept]
    for step in doomed[: max(len(steps) - limit, 0)]:
        remove_folder(checkpoint_folder(output_dir, step))


# ---- going on from one ---------------------------------------------------------------------------------------------


def finished_checkpoints(output_dir: str | Path) -> list[Path]:
    """Checkpoints that a run in a folder has come as far as, whatever became of them since, earliest first."""
    return [checkpoint_folder(output_dir, step) for step in sorted(_checkpoints(output_dir))]


def last_complete_checkpoint(output_dir: str | Path, *, needs_scaler: bool = False) -> str | None:
    """
    The checkpoint with the highest number that a run can go on from.

    Those that were never finished, or are half deleted, are passed over. Those that have lost something, or were
    changed, are named in a warning.

    Args:
        output_dir (`str` or `Path`): folder of the run.
        needs_scaler (`bool`): whether the run trains in fp16 with a gradient scaler.

    Returns:
        `str`, *optional*: its folder; `None` where no run has got so far.

    Raises:
        ValueError: there are finished checkpoints, and a run can go on from none of them.
    """
    faults: list[str] = []
    for step in sorted(_checkpoints(output_dir), reverse=True):
        path = checkpoint_folder(output_dir, step)
        fault = checkpoint_fault(path, needs_scaler=needs_scaler)
        if fault is None:
            for each in faults:
                logger.warning("%s Going back to %s.", each, path.name)
            return str(path)
        faults.append(f"{path.name} cannot be resumed from: {fault}.")
    if faults:
        raise ValueError(
            f"{output_dir} has no checkpoint to go on from. {' '.join(faults)} Delete them to start anew, or name "
            "another output_dir."
        )
    return None


def check_checkpoint(path: str | Path, *, needs_scaler: bool = False) -> None:
    """
    Refuses a checkpoint that a run cannot go on from.

    Raises:
        ValueError: naming what is missing or was changed.
    """
    if not Path(path).is_dir():
        raise ValueError(f"There is no checkpoint {path}. Correct resume_from_checkpoint.")
    fault = checkpoint_fault(Path(path), needs_scaler=needs_scaler)
    if fault is not None:
        raise ValueError(
            f"{path} cannot be resumed from: {fault}. Name another checkpoint, or start a new run from its weights."
        )


def remove_unfinished_checkpoints(output_dir: str | Path) -> None:
    """Removes checkpoints without weights or trainer state: a killed run was writing or deleting them."""
    for path in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if _step_of(path) is not None and not path.is_symlink() and not _is_finished(path):
            logger.info("%s is half-written or half-deleted, and is removed.", path)
            shutil.rmtree(path, ignore_errors=True)


def checkpoint_fault(path: Path, *, needs_scaler: bool = False) -> str | None:
    """What keeps a run from going on from a checkpoint, or `None`."""
    state = _read_json(path / _STATE)
    if state is None:
        return f"{_STATE} is missing or not readable"
    needed = {**_NEEDED, **({"the gradient scaler's state": ("scaler.pt",)} if needs_scaler else {})}
    for what, names in needed.items():
        if not any((path / name).is_file() for name in names):
            cause = "; it was written with save_only_model" if names[0] == "optimizer.pt" else ""
            return f"{names[0]} ({what}) is missing{cause}"
    # As many processes as wrote it, which need not be as many as resume.
    try:
        num_processes = int(state["stateful_callbacks"]["RunRecord"]["attributes"]["num_processes"])
    except (KeyError, TypeError, ValueError):  # of a trainer that is not ours
        num_processes = 1
    # a run of one process calls its file otherwise
    for rank in range(num_processes) if (path / "rng_state_0.pth").is_file() else ():
        if not (path / f"rng_state_{rank}.pth").is_file():
            return f"rng_state_{rank}.pth (the random state) is missing"
    manifest = _read_json(path / MANIFEST)
    return _unlisted_fault(path) if manifest is None else _listed_fault(path, manifest)


def _listed_fault(path: Path, manifest: dict[str, Any]) -> str | None:
    for name, written in manifest.items():
        if not isinstance(written, list) or len(written) != 2:
            return f"{MANIFEST} is damaged"
        size, checksum = written
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes and should have {size}"
        if _crc32(file) != checksum:
            return f"{name} is not what was written"
    return None


def _unlisted_fault(path: Path) -> str | None:
    """Of a checkpoint without a list of its files, those that were cut can be told from their own directories."""
    for file in sorted(path.rglob("*.safetensors")):
        fault = weights_fault(file)
        if fault is not None:
            return fault
    for file in sorted((*path.rglob("*.pt"), *path.rglob("*.pth"))):
        # torch's files are zip archives, whose directory is at the end: a cut one has lost it
        if not zipfile.is_zipfile(file):
            return f"{file.name} is cut or damaged"
    return None


def weights_fault(path: Path) -> str | None:
    """Why a file of weights cannot be read, or `None`; the weights themselves are not looked at."""
    try:
        with safe_open(path, framework="pt"):
            return None
    except FileNotFoundError:
        return f"{path.name} is missing"
    except (OSError, SafetensorError):
        return f"{path.name} is cut or damaged"


def _checkpoints(output_dir: str | Path) -> list[int]:
    """Steps of the finished checkpoints of a run, in no order."""
    found = Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    return [step for path in found if (step := _step_of(path)) is not None and _is_finished(path)]


def _step_of(path: Path) -> int | None:
    match = re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", path.name)
    return int(match[1]) if match and path.is_dir() else None


def _is_finished(path: Path) -> bool:
    """Whether all of it was there once, and the weights still are: what deletes a folder may begin anywhere."""
    was_complete = any((path / name).is_file() for name in (MANIFEST, _STATE))
    return was_complete and any((path / name).is_file() for name in _NEEDED["the weights"])


def _read_json(path: Path) -> dict | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _read_record(path: Path) -> dict | None:
    """What is known of a best checkpoint; `None` where it is damaged."""
    record = _read_json(path) or {}
    is_whole = type(record.get("step")) is int and type(record.get("metric")) in (int, float)
    return record if is_whole else None


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum
