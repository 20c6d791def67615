# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""All areas, and the counts of a campaign over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.fuzz.checkpoints import Configurations, Tokenizers, Weights
from tests.fuzz.corpora import JsonCorpora, Sources, TextCorpora
from tests.fuzz.exports import FairseqFiles, NativeFolders, OnnxFolders, native_is_possible
from tests.fuzz.harness import Area, Outcome, run_cases
from tests.fuzz.recipes import CommandLines, Recipes


AREAS: dict[str, Callable[[], Area]] = {
    area.name: area
    for area in (
        TextCorpora, JsonCorpora, Sources, Recipes, CommandLines, Configurations, Weights, Tokenizers, OnnxFolders,
        NativeFolders, FairseqFiles,
    )
}  # fmt: skip

KINDS = ("survived", "refused", "traceback", "unclear", "hang", "crash")


def run_campaign(
    names: Iterable[str], seeds: range, folder: Path, say: Callable[[str], None]
) -> dict[str, Counter[str]]:
    """
    Runs the cases of some areas.

    Args:
        names (`Iterable[str]`): keys of `AREAS`.
        seeds (`range`): one case for each, in every area.
        folder (`Path`): for what is to be damaged.
        say (`Callable[[str], None]`): told every defect, a line each.

    Returns:
        `dict[str, Counter]`: kinds of outcomes of each area.
    """
    counts: dict[str, Counter[str]] = {}
    for name in names:
        if name == NativeFolders.name and not native_is_possible():
            say(f"{name}: left out, there is no compiler")
            continue
        area = AREAS[name]()
        area.prepare(folder / name.replace(" ", "-"))
        counts[name] = Counter()
        for outcome in run_cases(area, seeds):
            counts[name][outcome.kind] += 1
            if outcome.is_defect:
                say(str(outcome))
    return counts


def table(counts: dict[str, Counter[str]]) -> str:
    """The counts in Markdown."""
    rows = [("area", "tried", *KINDS)]
    rows += [(name, sum(each.values()), *(each[kind] for kind in KINDS)) for name, each in counts.items()]
    total = sum(counts.values(), Counter())
    rows.append(("all", sum(total.values()), *(total[kind] for kind in KINDS)))
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(KINDS) + 1), *lines[1:]]) + "\n"


def defects(area: Area, seeds: range) -> list[Outcome]:
    """Outcomes of an area that are to be mended."""
    return [outcome for outcome in run_cases(area, seeds) if outcome.is_defect]
