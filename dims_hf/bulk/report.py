# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What became of a corpus: counts over all shards, what this run did of them, and how fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .shards import Record


FLAGS = ("empty", "repeats", "length", "copied")


@dataclass(frozen=True)
class CorpusReport:
    """
    The end of a `translate_corpus`.

    Args:
        output_dir (`Path`): folder of the shards.
        model (`str`): name of the model.
        runtime (`str`): what ran it: `torch`, `onnx` or `native`.
        corpus (`str`): name of the sources.
        rows (`int`): rows of all shards.
        blank, too_long (`int`): of these, left out by the policies.
        split (`int`): sources that were translated in several pieces.
        flagged (`dict[str, int]`): translations that look wrong, for each reason.
        mean_confidence (`float`, *optional*): of the translated rows; `None` where there is none.
        shards (`int`): files.
        shards_found (`int`): of these, there already when this run began.
        rows_translated (`int`): rows that this run translated.
        seconds (`float`): wall-clock seconds of this run, loading of models counted.
        processes (`int`): processes that translated.
        processes_replaced (`int`): processes that died and were replaced.
        settings (`dict[str, Any]`): what the shards depend on.
        provenance (`dict[str, Any]`): command, versions, hardware.
    """

    output_dir: Path
    model: str
    runtime: str
    corpus: str
    rows: int
    blank: int
    too_long: int
    split: int
    flagged: dict[str, int]
    mean_confidence: float | None
    shards: int
    shards_found: int
    rows_translated: int
    seconds: float
    processes: int
    processes_replaced: int
    settings: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def rows_per_second(self) -> float:
        """Rate of this run, loading of models counted; 0 where nothing was left to do."""
        return self.rows_translated / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As `report.json` has it."""
        seconds, rate = round(self.seconds, 3), round(self.rows_per_second, 3)
        # where the folder lay on this machine tells a reader nothing
        return {**asdict(self), "output_dir": self.output_dir.name, "seconds": seconds, "rows_per_second": rate}

    def table(self) -> str:
        """Two columns of plain text."""
        flagged = ", ".join(f"{name} {count:,}" for name, count in self.flagged.items() if count) or "none"
        lines = {
            "model": f"{self.model} ({self.runtime})",
            "sources": f"{self.corpus}, {self.rows:,} rows",
            "left out": f"{self.blank:,} blank, {self.too_long:,} too long",
            "split": f"{self.split:,}",
            "looks wrong": flagged,
            "mean confidence": "–" if self.mean_confidence is None else f"{self.mean_confidence:.3f}",
            "shards": f"{self.shards:,}, {self.shards_found:,} of them there already",
            "now": f"{self.rows_translated:,} rows in {self.seconds:.1f} s, {self.rows_per_second:,.1f} a second",
            "processes": f"{self.processes}, {self.processes_replaced} died and were replaced",
            "folder": str(self.output_dir),
        }  # fmt: skip
        width = max(map(len, lines))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())


def sum_counts(records: Sequence[Record]) -> dict[str, Any]:
    """The fields of a report that are sums over the shards."""
    sums: Counter[str] = Counter()
    for record in records:
        sums.update(record.counts)
    rows = sum(record.rows for record in records)
    translated = rows - int(sums["blank"]) - int(sums["long"])
    return {
        "rows": rows,
        "blank": int(sums["blank"]),
        "too_long": int(sums["long"]),
        "split": int(sums["split"]),
        "flagged": {name: int(sums[name]) for name in FLAGS},
        "mean_confidence": round(sums["confidence"] / translated, 6) if translated else None,
        "shards": len(records),
    }
