# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Figures of the report, from documents alone: the mean over seeds, their range, and every point."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dims_hf.reports.figures import STYLES, save_figure
from dims_hf.reproduction import verdicts
from dims_hf.reproduction.verdicts import Document


# Of one seed, its points; x is a number or, for bars, a position.
Points = list[tuple[float, float]]

_PANEL = (5.6, 4.2)


def quality_versus_iterations(document: Document, path: Path) -> Path:
    """Fig. 3: every metric against decoder passes."""
    metrics = verdicts.metrics_of(document)
    figure, panels = _new_figure(document, len(metrics))
    for axes, metric in zip(panels, metrics, strict=True):
        for index, (label, seeds) in enumerate(document["systems"].items()):
            curves = [
                [
                    (int(count), verdicts.value(document, label, seed, int(count), metric))
                    for count in system["records"]
                ]
                for seed, system in seeds.items()
            ]
            _draw_curves(axes, label, curves, index)
        counts = sorted(document["study"]["budget"]["iterations"])
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        _finish(axes, "decoder passes", _axis(metric))
    return save_figure(figure, path)


def rounds(document: Document, path: Path) -> Path:
    """Fig. 4: single-pass validation BLEU over all updates."""
    figure, (axes,) = _new_figure(document, 1)
    for index, label in enumerate(("moving average", "rounds")):
        systems = document["systems"].get(label, {}).values()
        _draw_curves(axes, label, [verdicts.validation_bleu(system) for system in systems], index)
        for system in systems:
            for end in _last_of_rounds(system):
                axes.axvline(end, color=STYLES[index][0], linewidth=0.6, linestyle=":", zorder=0)
    _finish(axes, "updates (dotted: ends of rounds)", "validation BLEU, 1 pass")
    return save_figure(figure, path)


def _last_of_rounds(system: Mapping[str, Any]) -> list[int]:
    ends: dict[int, int] = {}
    for point in system["validation"]:
        ends[point["round"]] = point["step"]
    return list(ends.values()) if len(ends) > 1 else []


def length_buckets(document: Document, path: Path) -> Path:
    """Fig. 5: BLEU of one pass against target length."""
    figure, (axes,) = _new_figure(document, 1)
    names = list(
        dict.fromkeys(
            verdicts.bucket_name(bucket)
            for seeds in document["systems"].values()
            for system in seeds.values()
            for bucket in verdicts.buckets(system)
        )
    )
    for index, (label, seeds) in enumerate(document["systems"].items()):
        curves = [
            [(names.index(verdicts.bucket_name(bucket)), bucket["bleu"]) for bucket in verdicts.buckets(system)]
            for system in seeds.values()
        ]
        _draw_curves(axes, f"{label}, 1 pass", curves, index)
    axes.set_xticks(range(len(names)), names)
    _finish(axes, "target length (tokens)", "BLEU")
    return save_figure(figure, path)


def lengths(document: Document, path: Path) -> Path:
    """Fig. 6: share of right lengths among the k likeliest."""
    figure, (axes,) = _new_figure(document, 1)
    groups = {
        label: [[100 * system["length"][f"length_top_{top}"] for top in (1, 3, 5)] for system in seeds.values()]
        for label, seeds in document["systems"].items()
    }
    _draw_bars(axes, groups, ["top 1", "top 3", "top 5"])
    _finish(axes, "predicted lengths", "right length among them (%)")
    return save_figure(figure, path)


def validation_curves(document: Document, path: Path) -> Path:
    """Fig. 7 and the collapse: single-pass validation BLEU over training, one line per momentum."""
    figure, (axes,) = _new_figure(document, 1)
    for index, (label, seeds) in enumerate(document["systems"].items()):
        _draw_curves(axes, label, [verdicts.validation_bleu(system) for system in seeds.values()], index)
    _finish(axes, "updates", "validation BLEU, 1 pass")
    return save_figure(figure, path)


def weights(document: Document, path: Path) -> Path:
    """Fig. 8: every metric of one pass against λ."""
    metrics = verdicts.metrics_of(document)
    figure, panels = _new_figure(document, len(metrics))
    for axes, metric in zip(panels, metrics, strict=True):
        curves = []
        for seed in document["seeds"]:
            points = [
                (float(label.removeprefix("λ = ")), verdicts.value(document, label, seed, 1, metric))
                for label in document["systems"]
            ]
            curves.append([(weight, score) for weight, score in points if score is not None])
        _draw_curves(axes, "student, 1 pass", curves, 1)
        _finish(axes, "weight λ of the hidden-state loss", _axis(metric))
    return save_figure(figure, path)


def costs(document: Document, path: Path) -> Path:
    """Fig. 9: updates, minutes and tokens of training and of distillation."""
    measures = {"updates": ("updates", 1), "minutes": ("seconds", 1 / 60), "million tokens": ("tokens", 1e-6)}
    figure, panels = _new_figure(document, len(measures))
    for axes, (title, (name, factor)) in zip(panels, measures.items(), strict=True):
        groups = {
            label: [[factor * system[name]] for system in seeds.values() if system[name] is not None]
            for label, seeds in document["systems"].items()
        }
        _draw_bars(axes, groups, [""])
        _finish(axes, "", title)
    return save_figure(figure, path)


def _new_figure(document: Document, num_panels: int) -> tuple[Any, Sequence[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # no pyplot: a library must not switch the backend of the program that calls it
    figure = Figure(figsize=(_PANEL[0] * num_panels, _PANEL[1]), layout="constrained")
    FigureCanvasAgg(figure)
    study, seeds = document["study"], document["seeds"]
    seeds = f"seed {seeds[0]}" if len(seeds) == 1 else f"mean and range of {len(seeds)} seeds"
    figure.suptitle(f"{study['data']} {study['source_lang']}→{study['target_lang']}, {seeds}")
    return figure, figure.subplots(1, num_panels, squeeze=False)[0]


def _draw_curves(axes: Any, label: str, curves: Sequence[Points], index: int) -> None:
    """Mean line, range band and every seed's points; seeds that stopped at different places get a line each."""
    curves = [sorted(curve) for curve in curves if curve]
    if not curves:
        return
    color, marker = STYLES[index % len(STYLES)]
    # a colour comes back after five systems; its line is then broken
    style = {"color": color, "linestyle": "-" if index < len(STYLES) else "--"}
    if len({tuple(x for x, _ in curve) for curve in curves}) > 1:
        for number, curve in enumerate(curves):
            name = {"label": label} if number == 0 else {}
            axes.plot(*zip(*curve), **style, **name, marker=marker, markersize=4, linewidth=1.2)
        return
    xs = [x for x, _ in curves[0]]
    columns = list(zip(*([y for _, y in curve] for curve in curves), strict=True))
    means = [statistics.fmean(column) for column in columns]
    axes.plot(xs, means, **style, marker=marker, markersize=6, linewidth=1.8, label=label)
    if len(curves) > 1:
        low, high = [min(column) for column in columns], [max(column) for column in columns]
        axes.fill_between(xs, low, high, color=color, alpha=0.15, linewidth=0)
        points = [point for curve in curves for point in curve]
        axes.plot(*zip(*points), color=color, marker=".", markersize=4, linestyle="none", alpha=0.8)


def _draw_bars(axes: Any, groups: Mapping[str, Sequence[Sequence[float]]], names: Sequence[str]) -> None:
    """Groups of bars, a bar per system: the mean, the range as a line, every seed as a point."""
    width = 0.8 / len(groups)
    for index, (label, rows) in enumerate(groups.items()):
        if not rows:
            continue
        color, _ = STYLES[index % len(STYLES)]
        places = [place - 0.4 + width * (index + 0.5) for place in range(len(names))]
        columns = list(zip(*rows, strict=True))
        axes.bar(places, [statistics.fmean(column) for column in columns], 0.9 * width, color=color, label=label)
        for place, column in zip(places, columns, strict=True):
            if len(column) > 1:
                axes.plot([place, place], [min(column), max(column)], color="black", linewidth=1)
                axes.plot([place] * len(column), column, color="black", marker=".", markersize=5, linestyle="none")
    axes.set_xticks(range(len(names)), names)


def _finish(axes: Any, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def _axis(metric: str) -> str:
    name, unit, _ = verdicts.METRICS[metric]
    return name if name == unit else f"{name} (%)"
