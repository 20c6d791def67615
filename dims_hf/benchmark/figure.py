# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The benchmark's figure, from its results alone: speed against batch size, or quality against latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dims_hf.benchmark.settings import BULK, TEXT
from dims_hf.reports.figures import new_figure, save_figure


Results = Mapping[str, Any]

# Colours of Okabe and Ito. Ours are cold, drawn through; peers are warm, broken: the kinds are told apart in grey too.
_OURS = (("#0072B2", "o"), ("#009E73", "^"), ("#56B4E9", "D"), ("#332288", "v"), ("#44AA99", "P"), ("#005A6E", "X"))
_PEERS = (("#D55E00", "s"), ("#E69F00", "X"), ("#CC79A7", "P"), ("#8C3B00", "*"), ("#B8860B", "h"), ("#7B3F61", "<"))

_MEASURES = {
    "p50_ms": "latency of a batch, p50 (ms)",
    "sentences_per_second": "throughput (sentences/s)",
}

# Of these, the first that was measured is drawn: more than a handful of lines cannot be told apart.
_DRAWN_OURS = (
    ("torch-fp32-packed", "torch-fp32"),
    ("onnx-fp32",),
    ("torch-bf16",),
    ("native-int8",),
    ("onnx-int8", "torch-int8"),
)
_DRAWN_PEERS = (("marian-greedy",), ("ctranslate2-fp32", "ctranslate2-fp16"), ("ctranslate2-int8",))


def plot_benchmark(results: Results, path: Path) -> Path:
    """
    Draws random models' speed against batch size, a row per device and number of threads; of trained models, quality
    against latency for the smallest and the largest batch.

    Returns:
        `Path`: the file.

    Raises:
        ValueError: nothing was measured.
    """
    if not any(group["systems"] for group in results["groups"].values()):
        raise ValueError("Nothing was measured, so there is nothing to draw.")
    # from text to text, batch sizes mean something else
    of_ids = {key: group for key, group in results["groups"].items() if group["batch"] not in (TEXT, BULK)}
    results = {**results, "groups": of_ids or results["groups"]}
    return save_figure(_quality(results) if results["quality"] else _speed(results), path)


def _speed(results: Results) -> Any:
    length = next(iter(results["groups"].values()))["length"]
    groups = [group for group in results["groups"].values() if group["length"] == length]
    places = list(dict.fromkeys((group["device"], group["threads"]) for group in groups))
    lines = _drawn(results, groups)
    figure, panels = new_figure(len(places), 2)
    for row, place in zip(panels, places, strict=True):
        here = sorted(
            (group for group in groups if (group["device"], group["threads"]) == place),
            key=lambda group: group["batch_size"],
        )
        for axes, (measure, title) in zip(row, _MEASURES.items(), strict=True):
            for name, style in lines.items():
                known = [group for group in here if name in group["systems"]]
                points = [(group["batch_size"], group["systems"][name][measure]) for group in known]
                if points:
                    axes.plot(*zip(*points), **style, label=results["systems"][name]["label"])
            sizes = [group["batch_size"] for group in here]
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.minorticks_off()
            _finish(axes, "batch (sentences)", title, _place(*place))
    _share_legend(figure, panels)
    kind = "trained" if results["settings"]["models"] else "random weights: speed only"
    tokens = "" if length is None else f", {length} tokens in and out"
    figure.suptitle(f"One pass against autoregressive decoding{tokens} ({kind})")
    return figure


def _drawn(results: Results, groups: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Names of the systems that get a line, with its style; ours first."""
    measured = {name for group in groups for name in group["systems"]}
    systems = {name: system for name, system in results["systems"].items() if name in measured and system["is_plain"]}
    lines: dict[str, dict[str, Any]] = {}
    for choices, styles, line in ((_DRAWN_OURS, _OURS, "-"), (_DRAWN_PEERS, _PEERS, "--")):
        names = []
        for runtimes in choices:
            there = next((each for each in runtimes if any(s["runtime"] == each for s in systems.values())), None)
            names += [name for name, system in systems.items() if system["runtime"] == there]
        for index, name in enumerate(names):
            color, marker = styles[index % len(styles)]
            lines[name] = {"color": color, "marker": marker, "linestyle": line, "markersize": 6, "linewidth": 1.6}
    return lines


def _quality(results: Results) -> Any:
    groups = sorted(results["groups"].values(), key=lambda group: (group["threads"], group["batch_size"]))
    groups = [group for group in groups if group["device"] == groups[0]["device"]]
    groups = [group for group in groups if group["threads"] == groups[0]["threads"]]
    chosen = [groups[0], groups[-1]] if len(groups) > 1 else groups
    figure, panels = new_figure(1, len(chosen))
    for axes, group in zip(panels[0], chosen, strict=True):
        for label, (style, names) in _families(results, group).items():
            points = [_point(results, group, name) for name in names]
            axes.plot(*zip(*points), **style, label=label)
        axes.set_xscale("log")
        title = f"{_place(group['device'], group['threads'])}, batch {group['batch']}"
        _finish(axes, "time per sentence (ms)", "BLEU", title, is_logarithmic=False)
    _share_legend(figure, panels)
    task, drawn = results["task"], {name for group in chosen for name in group["systems"]}
    passes = sorted(
        {results["systems"][name]["num_iterations"] for name in drawn if results["systems"][name]["is_ours"]}
    )
    figure.suptitle(
        f"Quality and speed: {task['data']} {task['source_lang']}→{task['target_lang']}, {task['split']} set; "
        f"points of a line: {', '.join(map(str, passes))} passes"
    )
    return figure


def _families(results: Results, group: Mapping[str, Any]) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """Label, style and systems of every line: those that differ in decoder passes alone. A runtime has one colour."""
    colors: dict[tuple[str, str, bool], tuple[str, str]] = {}
    families: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for name in group["systems"]:
        system = results["systems"][name]
        kind = (system["model"], system["runtime"], system["is_ours"])
        palette = _OURS if system["is_ours"] else _PEERS
        color, marker = colors.setdefault(kind, palette[sum(each[2] == kind[2] for each in colors) % len(palette)])
        style = {"color": color, "marker": marker, "markersize": 6 if system["is_ours"] else 9, "linewidth": 1.4}
        style["linestyle"] = "-" if system["is_ours"] else "none"
        label = f"{system['model']} {system['runtime_label']}" if system["is_ours"] else system["label"]
        if system["length_beam_size"] > 1:
            label += f", length beam {system['length_beam_size']}"
            style |= {"linestyle": ":", "markerfacecolor": "white"}
        families.setdefault(label, (style, []))[1].append(name)
    return families


def _point(results: Results, group: Mapping[str, Any], name: str) -> tuple[float, float]:
    return 1000 / group["systems"][name]["sentences_per_second"], results["quality"][name]["bleu"]


def _place(device: str, threads: int) -> str:
    return f"{device}, {threads} thread{'s' * (threads > 1)}" if device == "cpu" else device


def _finish(axes: Any, x_label: str, y_label: str, title: str, *, is_logarithmic: bool = True) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    if is_logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.tick_params(axis="y", which="minor", length=0, labelleft=False)
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.tick_params(axis="x", which="minor", length=0, labelbottom=False)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _share_legend(figure: Any, panels: Any) -> None:
    """One legend below all panels."""
    entries: dict[str, Any] = {}
    for axes in panels.flat:
        handles, labels = axes.get_legend_handles_labels()
        entries.update(zip(labels, handles))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
