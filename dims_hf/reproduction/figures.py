# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Figures of the report, from documents alone: the mean over seeds, their range, and every point."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dims_hf.reports.figures import STYLES, new_figure, save_figure
from dims_hf.reproduction import frames
from dims_hf.reproduction.frames import Document


# Of one seed, its points; x is a number or, for bars, a position.
Points = list[tuple[float, float]]


def quality_versus_iterations(document: Document, path: Path) -> Path:
    """Fig. 3: every metric against decoder passes."""
    counts = sorted(document["study"]["budget"]["iterations"])
    figure, panels = _new_figure(document, frames.metrics_of(document))
    for axes, metric in panels.items():
        _draw_systems(axes, document, partial(_by_passes, document, metric))
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        _finish(axes, "decoder passes", _axis(metric))
    return save_figure(figure, path)


def _by_passes(document: Document, metric: str, label: str, seed: str) -> Points:
    records = document["systems"][label][seed]["records"]
    return [(int(count), frames.value(document, label, seed, int(count), metric)) for count in records]


def rounds(document: Document, path: Path) -> Path:
    """Fig. 4: single-pass validation BLEU over all updates."""
    figure, panels = _new_figure(document, [""])
    (axes,) = panels
    for index, label in enumerate(("moving average", "rounds")):
        systems = document["systems"].get(label, {}).values()
        _draw_curves(axes, label, [frames.validation_bleu(system) for system in systems], index)
        for system in systems:
            ends = {point["round"]: point["step"] for point in system["validation"]}
            for end in ends.values() if len(ends) > 1 else ():
                axes.axvline(end, color=STYLES[index][0], linewidth=0.6, linestyle=":", zorder=0)
    _finish(axes, "updates (dotted: ends of rounds)", "validation BLEU, 1 pass")
    return save_figure(figure, path)


def length_buckets(document: Document, path: Path) -> Path:
    """Fig. 5: BLEU of one pass against target length."""
    names = frames.bucket_names(document)
    figure, panels = _new_figure(document, [""])
    (axes,) = panels

    def points(label: str, seed: str) -> Points:
        found = frames.buckets(document["systems"][label][seed])
        return [(names.index(name), bucket["bleu"]) for name, bucket in found.items()]

    _draw_systems(axes, document, points, "{}, 1 pass")
    axes.set_xticks(range(len(names)), names)
    _finish(axes, "target length (tokens)", "BLEU")
    return save_figure(figure, path)


def lengths(document: Document, path: Path) -> Path:
    """Fig. 6: share of lengths that are right, or off by at most one or two tokens."""
    figure, panels = _new_figure(document, [""])
    (axes,) = panels
    frame = frames.systems_frame(document)
    _draw_bars(axes, frame, frames.LENGTHS, ["exact\n(top 1)", "off by ≤ 1\n(top 3)", "off by ≤ 2\n(top 5)"])
    _finish(axes, "", "sentences (%)")
    return save_figure(figure, path)


def validation_curves(document: Document, path: Path) -> Path:
    """Fig. 7 and the collapse: single-pass validation BLEU over training, one line per momentum."""
    figure, panels = _new_figure(document, [""])
    (axes,) = panels
    systems = document["systems"]
    _draw_systems(axes, document, lambda label, seed: frames.validation_bleu(systems[label][seed]))
    _finish(axes, "updates", "validation BLEU, 1 pass")
    return save_figure(figure, path)


def weights(document: Document, path: Path) -> Path:
    """Fig. 8: every metric of one pass against λ."""
    figure, panels = _new_figure(document, frames.metrics_of(document))
    for axes, metric in panels.items():
        places = [(float(label.removeprefix("λ = ")), label) for label in document["systems"]]
        curves = [
            [(weight, frames.value(document, label, seed, 1, metric)) for weight, label in places]
            for seed in document["seeds"]
        ]
        _draw_curves(axes, "student, 1 pass", curves, 1)
        _finish(axes, "weight λ of the hidden-state loss", _axis(metric))
    return save_figure(figure, path)


def costs(document: Document, path: Path) -> Path:
    """Fig. 9: updates, minutes and tokens of training and of distillation."""
    figure, panels = _new_figure(document, ["updates", "minutes", "million tokens"])
    frame = frames.systems_frame(document)
    for axes, column in panels.items():
        _draw_bars(axes, frame, [column], [""])
        _finish(axes, "", column)
    return save_figure(figure, path)


def _new_figure(document: Document, names: Sequence[str]) -> tuple[Any, dict[Any, str]]:
    """A figure with a panel per name, under the corpus and its seeds; panels with their names."""
    figure, panels = new_figure(1, len(names))
    study, seeds = document["study"], document["seeds"]
    seeds = f"seed {seeds[0]}" if len(seeds) == 1 else f"mean and range of {len(seeds)} seeds"
    figure.suptitle(f"{study['data']} {study['source_lang']}→{study['target_lang']}, {seeds}")
    return figure, dict(zip(panels[0], names, strict=True))


def _draw_systems(axes: Any, document: Document, points: Callable[[str, str], Points], name: str = "{}") -> None:
    """A line per system, of the points of its seeds."""
    for index, (label, seeds) in enumerate(document["systems"].items()):
        _draw_curves(axes, name.format(label), [points(label, seed) for seed in seeds], index)


def _draw_curves(axes: Any, label: str, curves: Sequence[Points], index: int) -> None:
    """Mean line, range band and every seed's points; seeds that stopped at different places get a line each."""
    curves = [sorted(point for point in curve if not math.isnan(point[1])) for curve in curves]
    curves = [curve for curve in curves if curve]
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


def _draw_bars(axes: Any, frame: Any, columns: Sequence[str], names: Sequence[str]) -> None:
    """Groups of bars, a bar per system: the mean, the range as a line, every seed as a point."""
    groups: Mapping[str, Any] = dict(list(frame.groupby("system", sort=False)))
    width = 0.8 / len(groups)
    for index, (label, group) in enumerate(groups.items()):
        color, _ = STYLES[index % len(STYLES)]
        places = [place - 0.4 + width * (index + 0.5) for place in range(len(names))]
        known = [list(group[column].dropna()) for column in columns]
        means = [statistics.fmean(values) if values else 0.0 for values in known]
        axes.bar(places, means, 0.9 * width, color=color, label=label)
        for place, values in zip(places, known, strict=True):
            if len(values) > 1:
                axes.plot([place, place], [min(values), max(values)], color="black", linewidth=1)
                axes.plot([place] * len(values), values, color="black", marker=".", markersize=5, linestyle="none")
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
    name, unit, _ = frames.METRICS[metric]
    return name if name == unit else f"{name} (%)"
