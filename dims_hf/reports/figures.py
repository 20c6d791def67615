# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Figures drawn from a results document, never from a model."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dims_hf.evaluation.comparison import plain_records

from .files import replacing


# Colours of Okabe and Ito, which stay apart for colour-blind readers; the marker says the same once more.
STYLES = (
    ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"),
    ("#000000", "X"),
)  # fmt: skip

# Inches of a panel.
_PANEL = (5.6, 4.2)

_PANELS = {
    "bleu": ("BLEU", 1.0),
    "chrf": ("chrF", 1.0),
    "valid": ("valid outputs (%)", 100.0),
    "mixture_before_collapse": ("mixtures, before collapse (%)", 100.0),
    "repeated_tokens": ("repeated tokens (%)", 100.0),
}

# Panels whose curves rise, and leave the lower right free.
_RISING = ("bleu", "chrf", "valid")


def plot_quality_versus_iterations(
    results: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    metrics: Sequence[str] | None = None,
    length_beam_size: int | None = None,
    title: str | None = None,
) -> Path:
    """Quality against the number of decoder iterations, one line per system.

    Source: Fig. 3 of Norouzi et al. 2023 (Findings of ACL).

    Args:
        results (`Mapping[str, Any]`): a results document.
        path (`str` or `os.PathLike`): file to write; its suffix (`.png`, `.svg`, `.pdf`) is the format.
        metrics (`Sequence[str]`, *optional*): record fields, one panel each; BLEU, and validity where it was judged,
            when `None`.
        length_beam_size (`int`, *optional*): which records to draw; the smallest there is when `None`.
        title (`str`, *optional*): title; the task when `None`.

    Returns:
        `Path`: the file.

    Raises:
        ValueError: an unknown metric, or no record to draw.
    """
    curves = _curves(results, length_beam_size)
    metrics = _panel_metrics(curves, metrics)
    figure, panels = new_figure(1, len(metrics))
    for axes, metric in zip(panels[0], metrics, strict=True):
        _draw_panel(axes, curves, metric)
    task = results["task"]
    figure.suptitle(title or f"{task['data']} {task['source_lang']}→{task['target_lang']}, {task['split']} set")
    return save_figure(figure, Path(path))


def plot_training(log: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """
    Loss and validation scores against updates, from what a trainer logged.

    Args:
        log (`Sequence[Mapping[str, Any]]`): entries of `trainer.state.log_history`, or of a summary's `log`.
        path (`str` or `os.PathLike`): file to write; its suffix is the format.

    Returns:
        `Path`: the file.

    Raises:
        ValueError: nothing in the log that could be drawn.
    """
    losses = {name: _logged(log, name) for name in ("loss", "eval_loss")}
    names = sorted({name for entry in log for name in entry if re.fullmatch(r"eval_(?:bleu|chrf)\w*", name)})
    panels = {"loss": losses, "BLEU, chrF": {name: _logged(log, name) for name in names}}
    panels = {label: {name: points for name, points in each.items() if points} for label, each in panels.items()}
    panels = {label: each for label, each in panels.items() if each}
    if not panels:
        raise ValueError("The log holds neither a loss nor a score. Train with logging_steps, or evaluate.")
    figure, grid = new_figure(1, len(panels))
    for axes, (label, curves) in zip(grid[0], panels.items(), strict=True):
        for index, (name, points) in enumerate(curves.items()):
            color, marker = STYLES[index % len(STYLES)]
            is_dense = len(points) > 40
            axes.plot(*zip(*points, strict=True), color=color, marker="" if is_dense else marker, label=name)
        axes.set(xlabel="update", ylabel=label)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return save_figure(figure, Path(path))


def _logged(log: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Update and value wherever a log has a name; a resumed run's repeated updates once, as they were made last."""
    return sorted({entry["step"]: float(entry[name]) for entry in log if name in entry and "step" in entry}.items())


def _curves(results: Mapping[str, Any], length_beam_size: int | None) -> dict[str, list[dict[str, Any]]]:
    """System name to its records with predicted lengths at one length beam, by number of iterations."""
    records = [(system["name"], record) for system in results["systems"] for record in plain_records(system)]
    records = [(name, record) for name, record in records if not record["oracle_length"]]
    beams = sorted({record["length_beam_size"] for _, record in records})
    beam = beams[0] if length_beam_size is None and beams else length_beam_size
    curves: dict[str, list[dict[str, Any]]] = {}
    for name, record in sorted(records, key=lambda pair: pair[1]["num_iterations"]):
        if record["length_beam_size"] == beam:
            curves.setdefault(name, []).append(record)
    if not curves:
        raise ValueError(f"No record has length_beam_size={length_beam_size}. There are {beams}.")
    # systems in the order of the document, whichever has the smallest number of iterations
    return {system["name"]: curves[system["name"]] for system in results["systems"] if system["name"] in curves}


def _panel_metrics(curves: Mapping[str, list[dict[str, Any]]], metrics: Sequence[str] | None) -> Sequence[str]:
    if metrics is None:
        is_judged = any("valid" in record for records in curves.values() for record in records)
        return ("bleu", "valid") if is_judged else ("bleu",)
    unknown = [metric for metric in metrics if metric not in _PANELS]
    if unknown or not metrics:
        raise ValueError(f"Cannot draw {unknown or 'nothing'}. Choose from {', '.join(_PANELS)}.")
    return metrics


def _draw_panel(axes: Any, curves: Mapping[str, list[dict[str, Any]]], metric: str) -> None:
    label, factor = _PANELS[metric]
    for index, (name, records) in enumerate(curves.items()):
        records = [record for record in records if metric in record]
        if not records:
            continue
        color, marker = STYLES[index % len(STYLES)]
        counts = [record["num_iterations"] for record in records]
        values = [factor * record[metric] for record in records]
        line = "-" if len(counts) > 1 else "none"
        axes.plot(counts, values, color=color, marker=marker, markersize=7, linewidth=1.8, linestyle=line, label=name)
        if len(curves) > 1 and index == len(curves) - 1:
            # the question of the figure: how many teacher iterations is one pass of the student worth?
            label_of_level = f"level of {name} at {counts[0]} iteration{'s' * (counts[0] > 1)}"
            axes.axhline(values[0], color=color, linewidth=1, linestyle=":", zorder=0, label=label_of_level)
    counts = sorted({record["num_iterations"] for records in curves.values() for record in records})
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlim(counts[0] / 1.25, counts[-1] * 1.25)
    axes.set_xlabel("decoder iterations")
    axes.set_ylabel(label)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right" if metric in _RISING else "best")


def new_figure(num_rows: int, num_columns: int) -> tuple[Any, Any]:
    """A figure and its panels, an array of axes (num_rows, num_columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # no pyplot: a library must not switch the backend of the program that calls it
    figure = Figure(figsize=(_PANEL[0] * num_columns, _PANEL[1] * num_rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(num_rows, num_columns, squeeze=False)


def save_figure(figure: Any, path: Path) -> Path:
    """Writes a figure in the format of its suffix; a reader never finds a half-written one."""
    from matplotlib.text import Text

    for axes in figure.axes:
        _number_plainly(axes.xaxis)
        _number_plainly(axes.yaxis)
    with replacing(path) as temporary:
        for text in figure.findobj(Text):
            text.set_parse_math(False)  # a dollar sign in a name is one
        figure.savefig(temporary, dpi=150, format=path.suffix.lstrip(".") or "png")
    return path


def _number_plainly(axis: Any) -> None:
    """1, 2, 5, 10, … on a logarithmic axis that has no labels of its own, where matplotlib writes powers in markup."""
    from matplotlib.ticker import LogFormatterMathtext, LogLocator, NullLocator

    if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
        axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
