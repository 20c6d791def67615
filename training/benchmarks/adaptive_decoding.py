# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Quality against cost of adaptive decoding: one pass where the model is sure, several where it is not.

    python training/benchmarks/adaptive_decoding.py MODEL --data tatoeba=FOLDER europarl=FOLDER --output adaptive.json

For every corpus, fixed numbers of passes beside adaptive decoding at several thresholds of confidence; cost is
processor time of this process, second tries counted, so that a busy machine changes little. A figure is drawn, too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from dims_hf.data import load_corpus
from dims_hf.evaluation import bleu, chrf
from dims_hf.reports import provenance, write_json
from dims_hf.reports.figures import STYLES, new_figure, save_figure
from dims_hf.translation import Adaptive, Runtime, Translation, open_runtime, translate_texts


THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# Four passes are equalled where no more than this much BLEU is missing.
TOLERANCE = 0.05
# Share of a panel that two labels need between them.
_APART = 0.05


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("model", help="checkpoint folder")
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=CORPUS", help="corpora: test splits")
    parser.add_argument("--pair", default="en-de", help="languages")
    parser.add_argument("--passes", type=int, default=4, help="passes of the second try")
    parser.add_argument("--max_examples", type=int, default=1000, help="sentences of each corpus")
    parser.add_argument("--output", type=Path, required=True, help="JSON file; the figure has its name")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    runtime = open_runtime(args.model, threads=1)
    source, target = args.pair.split("-")
    corpora = {}
    for entry in args.data:
        name, _, place = entry.partition("=")
        limits = {"test": args.max_examples}
        split = load_corpus(place, source, target, splits=("test",), max_examples=limits)["test"]
        corpora[name] = measure(runtime, list(split["source"]), list(split["target"]), args.passes, target)
        sys.stdout.write(f"{name}: {corpora[name]['finding']}\n")
    model = Path(args.model).name
    write_json({"model": model, "passes": args.passes, "corpora": corpora, "provenance": provenance()}, args.output)
    draw(corpora, args.output.with_suffix(".png"))


def measure(runtime: Runtime, sources: list[str], references: list[str], passes: int, language: str) -> dict[str, Any]:
    """Fixed and adaptive points of one corpus, and what they say."""
    translate_texts(runtime, sources[:64], on_long="split", num_iterations=1)  # warms up
    fixed, outputs, costs = [], {}, {}
    for count in range(1, passes + 1):
        outputs[count], costs[count] = timed(runtime, sources, count)
        fixed.append({"passes": count, **scores(outputs[count], references, language), **cost(costs[count], sources)})
    adaptive = []
    for threshold in THRESHOLDS:
        rule = Adaptive(threshold, num_iterations=passes)
        pairs = zip(sources, outputs[1], strict=True)
        rows = [row for row, (source, first) in enumerate(pairs) if rule.is_unsure(source, first)]
        again, seconds = timed(runtime, [sources[row] for row in rows], passes) if rows else ([], 0.0)
        mixed = list(outputs[1])
        for row, second in zip(rows, again, strict=True):
            mixed[row] = replace(second, is_fallback=True)
        share = len(rows) / len(sources)
        adaptive.append(
            {"threshold": threshold, "again": round(share, 4), "mean_passes": round(1 + passes * share, 3)}
            | scores(mixed, references, language)
            | cost(costs[1] + seconds, sources)
        )
    return {"sentences": len(sources), "fixed": fixed, "adaptive": adaptive, "finding": conclude(fixed, adaptive)}


def timed(runtime: Runtime, sources: list[str], passes: int) -> tuple[list[Translation], float]:
    """Translations, and the processor seconds they took."""
    start = time.process_time()
    translations = translate_texts(runtime, sources, on_long="split", num_iterations=passes)
    return translations, time.process_time() - start


def scores(translations: list[Translation], references: list[str], language: str) -> dict[str, float]:
    texts = [translation.text for translation in translations]
    scored = bleu(texts, references, target_lang=language)
    found = {"bleu": scored["bleu"], "brevity_penalty": scored["brevity_penalty"], **chrf(texts, references)}
    return {name: round(float(found[name]), 3) for name in ("bleu", "brevity_penalty", "chrf")}


def cost(seconds: float, sources: list[str]) -> dict[str, float]:
    return {"processor_milliseconds_per_sentence": round(1000 * seconds / len(sources), 3)}


def conclude(fixed: list[dict[str, float]], adaptive: list[dict[str, float]]) -> str:
    """Whether some threshold equals all passes, in BLEU and chrF, at less than half their cost."""
    whole, key = fixed[-1], "processor_milliseconds_per_sentence"
    equal = [point for point in adaptive if all(point[each] >= whole[each] - TOLERANCE for each in ("bleu", "chrf"))]
    cheapest = min(equal, key=lambda point: point[key], default=None)
    count = whole["passes"]
    if cheapest is None:
        best = max(adaptive, key=lambda point: point["chrf"])
        share = best[key] / whole[key]
        return (
            f"no threshold equals {count} passes (BLEU {whole['bleu']}, chrF {whole['chrf']}); the best, "
            f"{best['threshold']}, reaches {best['bleu']} and {best['chrf']} at {share:.2f} of their cost"
        )
    verdict = "less" if cheapest[key] < whole[key] / 2 else "not less"
    return (
        f"threshold {cheapest['threshold']} equals {count} passes at {cheapest[key] / whole[key]:.2f} of their cost, "
        f"{verdict} than half; {cheapest['again']:.0%} of the sentences are translated again"
    )


def draw(corpora: dict[str, dict[str, Any]], path: Path) -> None:
    """chrF against processor time, a panel for each corpus."""
    figure, panels = new_figure(1, len(corpora))
    for axes, (name, corpus) in zip(panels[0], corpora.items(), strict=True):
        curves = {"fixed passes": corpus["fixed"], "adaptive": corpus["adaptive"]}
        for (label, points), (color, marker) in zip(curves.items(), STYLES, strict=False):
            axes.plot(*zip(*map(place, points), strict=True), color=color, marker=marker, label=label)
        for point in told_apart(curves.values()):
            text = str(point.get("threshold", point.get("passes")))
            axes.annotate(text, place(point), textcoords="offset points", xytext=(4, -10), fontsize=8)
        axes.set(title=name, xlabel="processor time per sentence (ms)", ylabel="chrF")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower right")
    save_figure(figure, path)


def place(point: dict[str, float]) -> tuple[float, float]:
    """Where a point lies in its panel."""
    return point["processor_milliseconds_per_sentence"], point["chrf"]


def told_apart(curves: Iterable[list[dict[str, float]]]) -> list[dict[str, float]]:
    """The points whose labels can be read: of those that lie on one another, the first."""
    points = list(chain.from_iterable(curves))
    spans = [(max(values) - min(values)) or 1.0 for values in zip(*map(place, points), strict=True)]
    shown: list[dict[str, float]] = []
    for point in points:
        distances = [
            max(abs(a - b) / span for a, b, span in zip(place(point), place(other), spans, strict=True))
            for other in shown
        ]
        if min(distances, default=1.0) > _APART:
            shown.append(point)
    return shown


if __name__ == "__main__":
    main()
